"""The job verbs of the `Store` seam, on every driver: one open job of a kind and key, one holder of a lease, nothing lost, nothing logged."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conformance import DRIVERS, Driver

from mnemos.base.errors import Conflict, StoreUnavailable
from mnemos.store.base import JobRow, Runnable
from mnemos.store.sqlite_jobs import KEPT

Store = Any
WORK = Runnable("work", None, 1000, 3)
OTHER = Runnable("other", None, 1000, 3)


@pytest.fixture(params=DRIVERS, ids=str)
def driver(request: pytest.FixtureRequest) -> Driver:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def reopen(driver: Driver, tmp_path: Path, clock: Callable[[], int]) -> Iterator[Callable[[], Store]]:
    opened: list[Store] = []

    def open_() -> Store:
        for store in opened:
            store.close()
        opened.append(driver.open(tmp_path, clock))
        return opened[-1]

    yield open_
    for store in opened:
        store.close()


@pytest.fixture
def store(reopen: Callable[[], Store]) -> Store:
    return reopen()


def ask(store: Store, key: str = "", *, kind: str = "work", payload: Any = None, run_at: int = 0, priority: int = 0, every: int | None = None) -> int:
    with store.transaction() as transaction:
        return transaction.enqueue(kind, key, payload, run_at=run_at, priority=priority, every=every, now=1)  # type: ignore[no-any-return]


def lease(store: Store, worker: str, now: int = 10, *runnable: Runnable) -> JobRow | None:
    with store.transaction() as transaction:
        return transaction.lease(runnable or (WORK,), worker, now)  # type: ignore[no-any-return]


def settle(store: Store, id: int, worker: str, state: str, now: int = 20, **how: Any) -> JobRow | None:
    with store.transaction() as transaction:
        return transaction.settle(id, worker, state, now, **how)  # type: ignore[no-any-return]


def change(store: Store, verb: str, *arguments: Any) -> None:
    with store.transaction() as transaction:
        getattr(transaction, verb)(*arguments)


def look(store: Store, id: int) -> JobRow:
    with store.snapshot() as snapshot:
        row = snapshot.job(id)
    assert row is not None
    return row  # type: ignore[no-any-return]


def test_a_job_waits_is_leased_and_is_done(store: Store, reopen: Callable[[], Store], driver: Driver) -> None:
    id = ask(store, "a", payload={"cube": [1, None, "é"]}, run_at=5, priority=2)
    if driver.durable:
        store = reopen()
    assert lease(store, "w", 4) is None
    row = lease(store, "w", 5)
    assert row is not None
    assert (row.id, row.payload, row.state, row.attempts, row.worker, row.leased_until) == (id, {"cube": [1, None, "é"]}, "running", 1, "w", 1005)
    assert lease(store, "v", 6) is None
    settled = settle(store, id, "w", "done", 9)
    assert settled is not None
    assert (settled.state, settled.worker, settled.leased_until, settled.updated_at) == ("done", None, None, 9)
    with store.snapshot() as snapshot:
        assert snapshot.count_jobs() == {"done": 1}
        assert snapshot.position == 0  # jobs are no part of the log
        assert snapshot.job(id + 1) is None
    assert store.verify()[1] == []


def test_a_job_belongs_to_the_transaction_that_asks_for_it(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.transaction() as transaction:
        transaction.create_space("s", {})
        transaction.enqueue("work", "", None, run_at=0, priority=0, every=None, now=1)
        raise ZeroDivisionError
    assert lease(store, "w") is None
    with store.transaction() as transaction:
        with pytest.raises(ZeroDivisionError), store.transaction() as inner:
            inner.enqueue("work", "undone", None, run_at=0, priority=0, every=None, now=1)
            raise ZeroDivisionError
        transaction.enqueue("work", "kept", None, run_at=0, priority=0, every=None, now=1)
    with store.snapshot() as snapshot:
        assert [row.key for row in snapshot.jobs()] == ["kept"]


def test_the_next_job_is_of_the_highest_priority_then_the_longest_due_then_the_first(store: Store) -> None:
    order = [ask(store, f"{i}", run_at=at, priority=priority, kind=kind) for i, (priority, at, kind) in enumerate(
        [(5, 1, "work"), (1, 2, "other"), (1, 3, "work"), (0, 0, "other"), (0, 1, "work"), (0, 1, "work"), (-3, 0, "work")]
    )]  # fmt: skip
    ask(store, "later", run_at=99, priority=9)
    ask(store, "unknown", kind="unknown", priority=9)
    with store.snapshot() as snapshot:
        assert snapshot.next_job((Runnable("later only", None, 1, 1),), 10) == (None, None)
    got = [row.id for row in iter(lambda: lease(store, "w", 10, WORK, OTHER), None)]
    assert got == order
    with store.snapshot() as snapshot:
        assert snapshot.next_job((WORK,), 20) == (None, 99)


def test_one_open_job_of_a_kind_and_key(store: Store) -> None:
    first = ask(store, "k", payload=1, run_at=50, priority=1)
    assert ask(store, "k", payload=2, run_at=70, priority=0) == first
    assert (look(store, first).payload, look(store, first).run_at, look(store, first).priority) == (2, 50, 1)
    assert ask(store, "k", payload=3, run_at=40, priority=4) == first
    assert (look(store, first).payload, look(store, first).run_at, look(store, first).priority) == (3, 40, 4)
    assert ask(store, "k", kind="other") != first
    assert ask(store, "other key") != first
    lease(store, "w", 60)
    settle(store, first, "w", "done")
    assert ask(store, "k") != first


def test_what_is_asked_for_while_it_runs_runs_once_more(store: Store) -> None:
    id = ask(store, "k", payload=1)
    lease(store, "w")
    assert ask(store, "k", payload=2, run_at=300) == id
    assert ask(store, "k", payload=3, run_at=200) == id
    assert look(store, id).state == "running"
    settled = settle(store, id, "w", "done")
    assert settled is not None
    assert (settled.state, settled.run_at, settled.payload, settled.attempts) == ("waiting", 200, 3, 0)
    lease(store, "v", 200)
    ended = settle(store, id, "v", "done")
    assert ended is not None
    assert ended.state == "done"


def test_a_lease_is_renewed_and_ends(store: Store) -> None:
    id = ask(store)
    lease(store, "w", 10)
    with store.transaction() as transaction:
        row = transaction.renew(id, "w", 2000, 15, {"done": 3})
        assert (row.leased_until, row.progress, row.updated_at) == (2000, {"done": 3}, 15)
        assert transaction.renew(id, "w", 2100, 16).progress == {"done": 3}
        assert transaction.renew(id, "v", 9000, 16) is None
        assert (transaction.holds(id, "w"), transaction.holds(id, "v")) == (True, False)
    assert lease(store, "v", 2099) is None
    with store.snapshot() as snapshot:
        assert snapshot.next_job((WORK,), 2099) == (None, 2100)
    row = lease(store, "v", 2100)
    assert row is not None
    assert (row.id, row.worker, row.attempts) == (id, "v", 2)
    assert settle(store, id, "w", "done") is None  # it is not his any more
    with store.transaction() as transaction:
        assert transaction.renew(id, "w", 9000, 2200) is None
    assert look(store, id).worker == "v"
    assert settle(store, id, "v", "done") is not None


def test_what_failed_waits_for_its_time_and_what_was_given_back_was_not_tried(store: Store) -> None:
    id = ask(store)
    lease(store, "w", 10)
    settle(store, id, "w", "waiting", 20, run_at=500, error="out of order")
    row = look(store, id)
    assert (row.state, row.run_at, row.attempts, row.error) == ("waiting", 500, 1, "out of order")
    assert lease(store, "w", 499) is None
    row = lease(store, "v", 500)
    assert row is not None
    assert row.attempts == 2
    settle(store, id, "v", "waiting", 600)
    assert (look(store, id).attempts, look(store, id).run_at) == (1, 600)


def test_one_whose_workers_vanish_is_dead_after_its_attempts(store: Store) -> None:
    id = ask(store)
    for attempt in range(3):
        row = lease(store, f"w{attempt}", 10 + 2000 * attempt)
        assert row is not None
        assert row.attempts == attempt + 1
    assert lease(store, "w3", 99_000) is None
    assert look(store, id).state == "dead"
    assert "vanished 3 times" in (look(store, id).error or "")
    change(store, "retry_job", id, 99_001)
    assert (look(store, id).state, look(store, id).attempts, look(store, id).error) == ("waiting", 0, None)


def test_a_recurring_job_comes_back_at_its_times_whatever_became_of_it(store: Store) -> None:
    id = ask(store, run_at=100, every=50)
    for now, state, following in ((100, "done", 150), (151, "dead", 200), (420, "done", 450), (450, "dead", 500)):
        row = lease(store, f"w{now}", now)
        assert row is not None
        settled = settle(store, id, f"w{now}", state, now, error="no" if state == "dead" else None)
        assert settled is not None
        assert (settled.state, settled.run_at, settled.attempts, settled.error) == ("waiting", following, 0, "no" if state == "dead" else None)
    for attempt in range(4):  # its workers vanish
        lease(store, f"v{attempt}", 500 + 2000 * attempt)
    assert (look(store, id).state, look(store, id).run_at) == ("waiting", 6550)


def test_cancelling(store: Store) -> None:
    waiting, running = ask(store, "a"), ask(store, "b", priority=3)
    recurring, again = ask(store, "c", priority=2, every=9), ask(store, "d", priority=1)
    change(store, "cancel_job", waiting, 5)
    assert look(store, waiting).state == "cancelled"
    for id, worker in ((running, "w"), (recurring, "v"), (again, "u")):
        row = lease(store, worker)
        assert row is not None
        assert row.id == id
        change(store, "cancel_job", id, 12)
        assert (look(store, id).state, look(store, id).cancel) == ("running", True)
    ask(store, "d", payload="after all", run_at=77)
    states = [settle(store, running, "w", "cancelled"), settle(store, recurring, "v", "done"), settle(store, again, "u", "cancelled")]
    assert [row and row.state for row in states] == ["cancelled", "done", "waiting"]
    assert (look(store, again).cancel, look(store, again).run_at, look(store, again).payload) == (False, 77, "after all")
    lost = ask(store, "e", priority=9)
    lease(store, "t", 80)
    change(store, "cancel_job", lost, 81)
    ask(store, "behind", run_at=82, priority=-1)
    row = lease(store, "s", 5000)  # its worker vanished: it is not tried again
    assert row is not None
    assert row.key == "d"
    assert look(store, lost).state == "cancelled"


def test_a_dead_job_is_dropped_or_retried_unless_another_took_its_place(store: Store) -> None:
    dead = ask(store, "k")
    lease(store, "w")
    settle(store, dead, "w", "dead", error="no")
    other = ask(store, "k")
    with pytest.raises(Conflict, match="another of its kind and key"):
        change(store, "retry_job", dead, 30)
    assert look(store, dead).state == "dead"
    change(store, "drop_job", other)  # it is open: nothing is dropped
    change(store, "drop_job", dead)
    with store.snapshot() as snapshot:
        assert [row.id for row in snapshot.jobs()] == [other]


def test_jobs_are_listed_by_state_kind_and_page(store: Store) -> None:
    ids = [ask(store, f"{i}", kind="work" if i % 2 else "other") for i in range(9)]
    change(store, "cancel_job", ids[3], 1)
    with store.snapshot() as snapshot:
        assert [row.id for row in snapshot.jobs()] == ids
        assert [row.id for row in snapshot.jobs(("cancelled",))] == [ids[3]]
        assert [row.id for row in snapshot.jobs(("waiting", "cancelled"), ("work",))] == ids[1::2]
        assert [row.id for row in snapshot.jobs(after=ids[2], limit=3)] == ids[3:6]
        assert snapshot.jobs((), None) == []


def test_those_that_ended_well_do_not_pile_up(store: Store) -> None:
    with store.transaction() as transaction:
        for number in range(2 * KEPT):
            id = transaction.enqueue("work", f"{number}", None, run_at=number, priority=0, every=None, now=1)
            assert transaction.lease((WORK,), f"w{number}", 10**6).id == id
            transaction.settle(id, f"w{number}", "dead" if number < 3 else "done", 10**6, error="no" if number < 3 else None)
    with store.snapshot() as snapshot:
        kept = snapshot.count_jobs()
    assert KEPT <= kept["done"] < 1.5 * KEPT
    assert kept["dead"] == 3


def test_two_threads_never_lease_the_same_job(store: Store) -> None:
    for i in range(40):
        ask(store, f"{i}")
    got: list[int] = []

    def take(name: str) -> None:
        while (row := lease(store, name)) is not None:
            got.append(row.id)

    threads = [threading.Thread(target=take, args=(f"w{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(set(got))
    assert len(got) == 40


def test_the_first_to_open_a_store_takes_over_what_its_predecessors_left(
    store: Store, reopen: Callable[[], Store], driver: Driver, tmp_path: Path
) -> None:
    if not driver.durable:
        pytest.skip("a store in memory has no predecessors")
    id = ask(store)
    lease(store, "w", 10)
    second = driver.open(tmp_path, lambda: 20)
    assert lease(second, "v", 20) is None  # the first is still here: the lease stands
    second.close()
    store = reopen()
    row = lease(store, "v", 20)
    assert row is not None
    assert (row.id, row.attempts) == (id, 2)


def test_a_commit_is_noticed_by_whoever_waits(store: Store, driver: Driver, tmp_path: Path) -> None:
    seen = store.changes()
    assert store.await_change(seen, 0.02) == seen
    assert store.await_change(seen, 60, unless=lambda: True) == seen
    noticed: list[int] = []
    waiting = threading.Thread(target=lambda: noticed.append(store.await_change(seen, 60)))
    waiting.start()
    ask(store)
    waiting.join(30)
    assert noticed
    assert noticed[0] != seen
    if driver.durable:
        seen = store.changes()
        with contextlib.closing(driver.open(tmp_path, lambda: 1)) as other, other.transaction() as transaction:  # as another process would
            transaction.enqueue("work", "theirs", None, run_at=0, priority=0, every=None, now=1)
        assert store.await_change(seen, 60) != seen


def test_closing_ends_the_waiting(store: Store) -> None:
    seen = store.changes()
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            store.await_change(seen, 60)
        except StoreUnavailable as error:
            raised.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    store.close()
    waiting.join(30)
    assert [type(error) for error in raised] == [StoreUnavailable]
