"""Jobs: asked for with the write that causes them, done by workers of any thread or process, tried again, dead in the end, never lost."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mnemos.base.errors import Conflict, Invalid, ModelUnavailable, NotFound, PermissionDenied, StoreUnavailable
from mnemos.kernel.system import Mnemos
from mnemos.kernel.work import workers
from mnemos.kernel.work.background import KINDS
from mnemos.kernel.work.running import Kind, Running, Stopped
from support import EMBEDDER, HandClock

SECOND = 1_000_000


class Recorder:
    """A kind of job that says what it was asked to do, and fails where it is told to."""

    def __init__(self) -> None:
        self.did: list[tuple[str, Any, int]] = []
        self.fails: dict[str, Exception] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Semaphore(0)

    def __call__(self, mem: Mnemos, job: Running) -> None:
        self.began.release()
        assert self.gate.wait(30)
        self.did.append((job.key, job.payload, job.attempt))
        if job.key in self.fails:
            raise self.fails[job.key]

    @property
    def keys(self) -> list[str]:
        return [key for key, _, _ in self.did]


@pytest.fixture
def work() -> Recorder:
    return Recorder()


@pytest.fixture
def jobs(mem: Mnemos, work: Recorder) -> Any:
    mem.jobs.register("work", work, attempts=3, backoff_seconds=10, backoff_most_seconds=15)
    return mem.jobs


def until(holds: Callable[[], bool]) -> None:
    """Wait until a thread has come so far."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("mnemos jobs")}


# -- asking --
def test_a_job_is_asked_for_in_the_transaction_that_causes_it(mem: Mnemos, jobs: Any, work: Recorder) -> None:
    def fail() -> None:
        with mem.transaction():
            mem.space("a").add("undone")
            jobs.enqueue("work", key="undone")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert jobs.run_once() is None
    with mem.transaction():
        cube = mem.space("a").add("kept")
        job = jobs.enqueue("work", key=cube.id, payload={"why": ["kept"]})
        with pytest.raises(Invalid, match="inside a transaction"):
            jobs.run_once()
    assert (job.state, job.attempts, job.every, job.worker) == ("waiting", 0, None, None)
    done = jobs.run_once()
    assert (done.id, done.state, done.attempts, done.error) == (job.id, "done", 1, None)
    assert work.did == [(cube.id, {"why": ["kept"]}, 1)]
    assert jobs.run_once() is None
    assert jobs.get(job.id) == done


def test_nobody_works_unless_asked(mem: Mnemos, jobs: Any, work: Recorder) -> None:
    before = threads()
    jobs.enqueue("work")
    mem.space("a").add("something")
    assert threads() == before
    assert work.did == []


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"kind": "nonsense"}, NotFound, "there are ahead, checkpoint, compact, .*work"),
        ({"kind": 7}, NotFound, "no kind of job 7"),
        ({"key": 7}, Invalid, "key: expected text"),
        ({"key": None}, Invalid, "key: expected a text"),
        ({"payload": {1: 2}}, Invalid, "payload: keys are texts"),
        ({"payload": "x" * 70_000}, Invalid, "payload: more than 65,536 bytes"),
        ({"payload": object()}, Invalid, "payload: object is no JSON value"),
        ({"run_at": "tomorrow"}, Invalid, "run_at"),
        ({"priority": 1.5}, Invalid, "priority: expected a whole number"),
        ({"priority": 2**40}, Invalid, "priority"),
        ({"every": 0}, Invalid, "every: expected a number of seconds"),
        ({"every": float("nan")}, Invalid, "every"),
        ({"every": "1 h"}, Invalid, "every"),
    ],
)
def test_what_cannot_be_asked_for(jobs: Any, keywords: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        jobs.enqueue(**{"kind": "work"} | keywords)
    assert jobs.list() == []


def test_what_cannot_be_looked_for_or_changed(jobs: Any) -> None:
    for call in (jobs.get, jobs.cancel, jobs.retry, jobs.drop):
        with pytest.raises(NotFound, match="no job 99"):
            call(99)
        for bad in (-1, True, "1", None, 2**64):
            with pytest.raises(Invalid, match="no job's number"):
                call(bad)
    with pytest.raises(Invalid, match="state: 'asleep' is none of"):
        jobs.list("asleep")
    with pytest.raises(Invalid, match="limit"):
        jobs.list(limit=0)
    with pytest.raises(Invalid, match="timeout"):
        jobs.drain(timeout=-1)
    with pytest.raises(Invalid, match="threads"):
        jobs.work(threads=0)
    with pytest.raises(Conflict, match="known already"):
        jobs.register("expire", print)
    for wrong in ({"attempts": 0}, {"lease_seconds": 0}, {"backoff_seconds": 9, "backoff_most_seconds": 1}):
        with pytest.raises(Invalid, match="kind:"):
            jobs.register("new", print, **wrong)


def test_only_the_owner_deals_with_jobs(mem: Mnemos) -> None:
    bob = mem.as_principal("bob")
    with pytest.raises(PermissionDenied, match="owns the file"):
        _ = bob.jobs


# -- order and time --
def test_priority_time_and_order_decide(mem: Mnemos, jobs: Any, work: Recorder, clock: HandClock) -> None:
    soon = datetime.fromtimestamp(clock.now / 1e6, UTC) + timedelta(seconds=60)
    jobs.enqueue("work", key="later", run_at=soon, priority=9)
    jobs.enqueue("work", key="second")
    jobs.enqueue("work", key="first", priority=1)
    jobs.enqueue("work", key="third", priority=-1)
    assert jobs.drain()
    assert work.keys == ["first", "second", "third"]
    clock.now += 60 * SECOND
    assert jobs.drain()
    assert work.keys[3:] == ["later"]


def test_a_failing_job_is_tried_again_later_and_later_and_is_dead_then(
    mem: Mnemos, jobs: Any, work: Recorder, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    work.fails["k"] = ModelUnavailable("the model is asleep")
    id = jobs.enqueue("work", key="k", payload=5).id
    pauses = []
    with caplog.at_level(logging.WARNING, "mnemos.jobs"):
        for attempt in (1, 2):
            job = jobs.run_once()
            assert (job.state, job.attempts, job.error) == ("waiting", attempt, "ModelUnavailable: the model is asleep")
            pauses.append(job.run_at.timestamp() - clock.now / 1e6)
            assert jobs.run_once() is None
            assert jobs.drain()  # what waits for another attempt is not waited for
            clock.now += 15 * SECOND
        assert jobs.run_once().state == "dead"
    assert 5 <= pauses[0] <= 10
    assert 7.5 <= pauses[1] <= 15
    assert [job.id for job in jobs.dead()] == [id]
    assert jobs.counts() == {"waiting": 0, "running": 0, "done": 0, "dead": 1, "cancelled": 0}
    assert len(caplog.records) == 3
    clock.now += 3600 * SECOND
    assert jobs.run_once() is None
    del work.fails["k"]
    assert jobs.retry(id).attempts == 0
    assert jobs.run_once().state == "done"
    with pytest.raises(Conflict, match="is done; only one that is dead or cancelled can be retried"):
        jobs.retry(id)
    assert jobs.drop(id).state == "done"
    assert jobs.list() == []


def test_pauses_double_up_to_the_longest_and_repeat_by_their_seed() -> None:
    kind = Kind(lambda mem, job: None, backoff_seconds=2, backoff_most_seconds=60)
    pauses = [[kind.pause_seconds(attempt, f"job {n}") for attempt in range(1, 12)] for n in range(200)]
    assert pauses[7] == [kind.pause_seconds(attempt, "job 7") for attempt in range(1, 12)]
    for place, whole in enumerate((2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60)):
        found = [row[place] for row in pauses]
        assert all(whole / 2 <= pause <= whole for pause in found)
        assert max(found) - min(found) > whole * 0.45
    assert kind.pause_seconds(10**6, "x") <= 60


def test_errors_of_others_are_not_written_down(jobs: Any, work: Recorder) -> None:
    work.fails["k"] = RuntimeError("could not embed 'my secret'")
    jobs.enqueue("work", key="k")
    error = jobs.run_once().error
    assert "secret" not in error
    assert error.startswith("RuntimeError, in __call__ (test_jobs.py, line ")


def test_recurring_jobs(jobs: Any, work: Recorder, clock: HandClock) -> None:
    id = jobs.enqueue("work", key="k", every=60).id
    for _ in range(3):
        assert jobs.run_once().state == "waiting"
        assert jobs.run_once() is None
        clock.now += 60 * SECOND
    clock.now += 600 * SECOND  # ten were missed: one is made up for
    assert jobs.run_once().id == id
    assert jobs.run_once() is None
    assert len(work.did) == 4
    work.fails["k"] = Invalid("no")
    for _ in range(3):
        clock.now += 60 * SECOND
        job = jobs.run_once()
    assert (job.state, job.attempts, job.error, job.every) == ("waiting", 0, "Invalid: no", 60)
    assert jobs.cancel(id).state == "cancelled"
    clock.now += 600 * SECOND
    assert jobs.run_once() is None


# -- while it runs --
def test_a_job_says_how_far_it_is_and_keeps_its_lease(mem: Mnemos, clock: HandClock) -> None:
    seen: list[Any] = []

    def steady(system: Mnemos, job: Running) -> None:
        for step in range(4):
            clock.now += 20 * SECOND
            job.progress(step + 1, 4)
            seen.append(mem.jobs.get(job.id))
        with mem.store.transaction() as transaction:
            job.require_lease(transaction)

    mem.jobs.register("steady", steady, lease_seconds=30)
    mem.jobs.enqueue("steady")
    assert mem.jobs.run_once().state == "done"
    assert [job.progress for job in seen] == [{"done": n, "total": 4} for n in (1, 2, 3, 4)]
    assert all(later.leased_until - earlier.leased_until >= timedelta(seconds=20) for earlier, later in itertools.pairwise(seen))


def test_who_was_silent_too_long_has_lost_his_job(mem: Mnemos, clock: HandClock) -> None:
    attempts: list[int] = []
    raised: list[int] = []

    def slow(system: Mnemos, job: Running) -> None:
        attempts.append(job.attempt)
        if job.attempt > 1:
            return
        clock.now += 31 * SECOND
        assert mem.jobs.run_once().state == "done"  # another worker takes it, and finishes
        with mem.store.transaction() as transaction:
            transaction.create_space("written by the loser", {})
            with pytest.raises(Stopped):
                job.require_lease(transaction)
        clock.now += 31 * SECOND
        try:
            job.progress(1)
        except Stopped:
            raised.append(job.attempt)
            raise

    mem.jobs.register("slow", slow, lease_seconds=30)
    id = mem.jobs.enqueue("slow").id
    mem.jobs.run_once()
    assert (attempts, raised) == ([1, 2], [1])
    assert (mem.jobs.get(id).state, mem.jobs.get(id).attempts) == ("done", 2)


def test_a_running_job_is_cancelled_where_it_says_how_far_it_is(mem: Mnemos, clock: HandClock) -> None:
    def cancelled(system: Mnemos, job: Running) -> None:
        mem.jobs.cancel(job.id)
        clock.now += 2 * SECOND
        job.progress(1)
        raise AssertionError("was not stopped")

    mem.jobs.register("long", cancelled)
    mem.jobs.enqueue("long", every=5)
    job = mem.jobs.run_once()
    assert (job.state, job.every, job.error) == ("cancelled", None, None)
    clock.now += 99 * SECOND
    assert mem.jobs.run_once() is None


def test_an_interrupt_gives_the_job_back(jobs: Any, work: Recorder) -> None:
    work.fails["k"] = KeyboardInterrupt()  # type: ignore[assignment]
    id = jobs.enqueue("work", key="k").id
    with pytest.raises(KeyboardInterrupt):
        jobs.run_once()
    assert (jobs.get(id).state, jobs.get(id).attempts) == ("waiting", 0)


# -- workers --
def test_workers_share_the_work_and_stop(jobs: Any, work: Recorder) -> None:
    before = threads()
    with jobs.work(threads=3) as pool:
        for i in range(30):
            jobs.enqueue("work", key=f"{i}")
        assert jobs.drain(30)
        assert pool.alive
    assert not pool.alive
    assert threads() == before
    assert sorted(work.keys) == sorted(f"{i}" for i in range(30))
    jobs.enqueue("work", key="left")
    time.sleep(0.05)
    assert "left" not in work.keys


def test_workers_sleep_until_a_job_is_due(jobs: Any, work: Recorder, clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_IDLE_SECONDS", 0.05)
    at = datetime.fromtimestamp(clock.now / 1e6, UTC) + timedelta(seconds=3600)
    jobs.enqueue("work", key="late", run_at=at)
    with jobs.work():
        jobs.enqueue("work", key="now")
        assert work.began.acquire(timeout=30)
        assert jobs.drain(30)
        assert work.keys == ["now"]
        clock.now += 3600 * SECOND
        assert work.began.acquire(timeout=30)


def test_leases_of_what_runs_are_prolonged(mem: Mnemos) -> None:
    release = threading.Event()
    mem.jobs.register("long", lambda system, job: release.wait(30), lease_seconds=0.15)
    id = mem.jobs.enqueue("long").id
    with mem.jobs.work():
        until(lambda: mem.jobs.get(id).state == "running")
        first = mem.jobs.get(id).leased_until
        until(lambda: mem.jobs.get(id).leased_until > first)
        assert mem.jobs.get(id).attempts == 1
        release.set()
        assert mem.jobs.drain(30)
    assert mem.jobs.get(id).state == "done"


def test_a_kind_may_be_registered_while_others_run(mem: Mnemos, jobs: Any, work: Recorder) -> None:
    """Also one with a much shorter lease: it is prolonged in its own time."""
    work.gate.clear()
    release = threading.Event()
    with jobs.work(threads=2):
        jobs.enqueue("work", key="long")
        assert work.began.acquire(timeout=30)
        jobs.register("short", lambda system, job: release.wait(30), lease_seconds=0.15)
        id = jobs.enqueue("short").id
        until(lambda: jobs.get(id).state == "running")
        first = jobs.get(id).leased_until
        until(lambda: jobs.get(id).leased_until > first)
        work.gate.set()
        release.set()
        assert jobs.drain(30)
    assert jobs.get(id).attempts == 1


def test_stopping_gives_back_what_says_how_far_it_is(mem: Mnemos) -> None:
    began = threading.Event()

    def endless(system: Mnemos, job: Running) -> None:
        while True:
            began.set()
            job.progress(1)
            time.sleep(0.001)

    mem.jobs.register("endless", endless)
    id = mem.jobs.enqueue("endless").id
    pool = mem.jobs.work()
    assert began.wait(30)
    pool.stop()
    assert (mem.jobs.get(id).state, mem.jobs.get(id).attempts) == ("waiting", 0)


def test_closing_the_store_stops_its_workers(open_memory: Callable[..., Mnemos], work: Recorder) -> None:
    mem = open_memory()
    mem.jobs.register("work", work)
    work.gate.clear()
    jobs = mem.jobs
    jobs.enqueue("work", key="k")
    pool = jobs.work(threads=2)
    assert work.began.acquire(timeout=30)
    threading.Timer(0.05, work.gate.set).start()
    mem.close()
    assert not pool.alive
    with pytest.raises(StoreUnavailable):
        jobs.list()
    again = open_memory()
    assert again.jobs.list()[0].state == "done"  # what ran was run to its end


def test_a_store_that_fails_for_a_while_does_not_end_the_workers(mem: Mnemos, jobs: Any, work: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_REST_SECONDS", 0.01)
    real, left = mem.store.changes, [3]

    def failing() -> int:
        if left[0]:
            left[0] -= 1
            raise StoreUnavailable("somebody holds the store")
        return real()

    monkeypatch.setattr(mem.store, "changes", failing)
    with jobs.work() as pool:
        jobs.enqueue("work", key="k")
        assert work.began.acquire(timeout=30)
    assert "somebody holds" in str(pool.failure)


# -- pausing --
def test_pausing_is_remembered_and_ends_nothing(open_memory: Callable[..., Mnemos], work: Recorder) -> None:
    mem = open_memory()
    mem.jobs.register("work", work)
    mem.jobs.enqueue("work", key="k")
    mem.jobs.enqueue("expire")
    mem.jobs.pause()
    mem.close()
    mem = open_memory()
    mem.jobs.register("work", work)
    assert mem.jobs.paused() == ("*",)
    assert mem.jobs.run_once() is None
    assert mem.jobs.drain(5)  # nothing runs, and nothing may be begun
    mem.jobs.resume()
    mem.jobs.pause("work")
    assert mem.jobs.paused() == ("work",)
    assert mem.jobs.run_once().kind == "expire"
    assert mem.jobs.run_once() is None
    mem.jobs.resume("work")
    assert mem.jobs.paused() == ()
    assert mem.jobs.run_once().kind == "work"
    position = mem.position()
    mem.jobs.resume()
    assert mem.position() == position
    with pytest.raises(NotFound, match="no kind"):
        mem.jobs.pause("nonsense")


def test_draining_waits_for_others_and_not_for_ever(mem: Mnemos, jobs: Any, work: Recorder) -> None:
    work.gate.clear()
    jobs.enqueue("work", key="k")
    with jobs.work():
        assert work.began.acquire(timeout=30)
        assert jobs.drain(0.05) is False
        threading.Timer(0.05, work.gate.set).start()
        assert jobs.drain(30) is True
        assert jobs.list("done")


# -- the kinds that there are --
def test_expiry_tending_and_compaction_are_jobs(filed: Mnemos, clock: HandClock) -> None:
    space = filed.space("a")
    cube = space.add("short-lived", expires_at=datetime.fromtimestamp(clock.now / 1e6 + 5, UTC))
    clock.now += 9 * SECOND
    for kind in ("expire", "tend", "compact"):
        filed.jobs.enqueue(kind)
    assert filed.jobs.drain()
    assert {job.kind: job.state for job in filed.jobs.list()} == {"expire": "done", "tend": "done", "compact": "done"}
    assert space.get(cube.id).state == "expired"
    assert {"embedding", "expire", "tend", "compact"} <= set(KINDS)


def test_missing_vectors_are_a_job_of_their_embedder(open_memory: Callable[..., Mnemos]) -> None:
    mem = open_memory(embedder="none")
    mem.space("a").add_many([{"text": f"tram number {i}"} for i in range(5)])
    mem.jobs.pause()
    mem.close()
    mem = open_memory()
    mem.embedding.wait()  # paused: it cannot be begun, and nobody waits for it for ever
    waiting = mem.jobs.list()
    assert [(job.kind, job.key, job.state) for job in waiting] == [("embedding", EMBEDDER.fingerprint, "waiting")]
    mem.close()
    mem = open_memory(embedder="none")
    mem.jobs.resume()
    assert mem.jobs.run_once() is None  # it is not for whoever has no such embedder
    mem.close()
    mem = open_memory()
    mem.embedding.wait()
    until(lambda: mem.jobs.list()[0].state == "done")
    assert (mem.embedding.done, mem.embedding.total) == (5, 5)
    with mem.snapshot() as snapshot:
        assert snapshot.count()["vectors"] == 5


def test_a_failed_embedding_is_told_and_tried_again(open_memory: Callable[..., Mnemos], clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> None:
    mem = open_memory(embedder="none")
    mem.space("a").add("the tram")
    mem.close()
    broken = [True]
    real = type(EMBEDDER).embed

    def embed(self: Any, texts: Any, **more: Any) -> Any:
        if broken[0]:
            raise ModelUnavailable("asleep")
        return real(self, texts, **more)

    monkeypatch.setattr(type(EMBEDDER), "embed", embed)
    mem = open_memory()
    with pytest.raises(ModelUnavailable, match="asleep"):
        mem.embedding.wait()
    until(lambda: mem.jobs.list()[0].error == "ModelUnavailable: asleep")
    broken[0] = False
    clock.now += 60 * SECOND
    until(lambda: mem.jobs.list()[0].state == "done")
    mem.embedding.wait()
    assert mem.embedding.failure is None
    assert mem.verify().ok
