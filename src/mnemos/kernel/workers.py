"""Doing jobs: one is leased, run, and settled; workers are threads that do so one after the other."""

from __future__ import annotations

import logging
import os
import random
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mnemos.base.errors import Invalid, MnemosError
from mnemos.store.base import JobRow, Runnable, Snapshot
from mnemos.store.sqlite_write import Writer

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos

PAUSED = "jobs/paused"
"""The setting that lists the kinds of which no job is begun; "*" stands for all."""
_IDLE_SECONDS = 1.0
_REST_SECONDS = 1.0
_LONGEST_ERROR = 500
_log = logging.getLogger("mnemos.jobs")
_log.addHandler(logging.NullHandler())  # what fails is told by the job itself; a program that wants tracebacks listens to the log


@dataclass(frozen=True)
class Kind:
    """How jobs of a kind are run. What `run` does must come to the same when it is done twice.

    `key`: the only key of which this open store can run jobs (None: any). `lease_seconds`: how long a worker may be silent before its job goes
    to another; living workers prolong it by themselves. `attempts`: after so many a job is dead. `backoff_seconds`: the pause before a second
    attempt, doubled for each further one up to `backoff_most_seconds`, and shortened at random by up to a half, so that what failed together
    is not tried again together. The numbers are choices of ours; a kind that talks to a service wants longer pauses.
    """

    run: Callable[[Mnemos, Running], object]
    key: Callable[[Mnemos], str | None] | None = None
    lease_seconds: float = 60.0
    attempts: int = 8
    backoff_seconds: float = 1.0
    backoff_most_seconds: float = 3600.0

    def __post_init__(self) -> None:
        if not (self.attempts >= 1 and self.lease_seconds > 0 and 0 <= self.backoff_seconds <= self.backoff_most_seconds):
            raise Invalid("kind: expected at least one attempt, a lease of more than 0 seconds, and pauses that are not below 0")

    def pause_seconds(self, attempts: int, seed: str) -> float:
        """How long to wait after `attempts` failures; the same for the same seed."""
        whole = min(self.backoff_most_seconds, self.backoff_seconds * 2.0 ** min(attempts - 1, 64))
        return whole * random.Random(f"{seed}/{attempts}").uniform(0.5, 1.0)


class Stopped(Exception):
    """Ends a job's function: the job was cancelled, its lease went to another worker, or its worker is stopping."""


class Running:
    """A job while it runs, as its function sees it."""

    def __init__(self, system: Mnemos, kind: Kind, row: JobRow, stopping: Callable[[], bool] = lambda: False) -> None:
        self.id, self.kind, self.key, self.payload, self.attempt = row.id, row.kind, row.key, row.payload, row.attempts
        self._system = system
        self._how = kind
        self._row = row
        self._stopping = stopping
        self._said = row.updated_at
        self.lost = False
        """The lease went to another worker: what this one does does not count any more."""
        self.cancelled = False

    @property
    def worker(self) -> str:
        assert self._row.worker is not None
        return self._row.worker

    def progress(self, done: int, total: int | None = None) -> None:
        """Say how far the job is; written down about once a second, which also prolongs the lease. Raises `Stopped` where it is to stop: let it
        pass, after tidying up."""
        now = self._system.clock()
        if now - self._said >= 1_000_000 or now - self._said >= self._how.lease_seconds * 1e6 / 3:
            self._said = now
            self.renew({"done": done, **({} if total is None else {"total": total})})
        if self.lost or self.cancelled or self._stopping():
            raise Stopped

    def renew(self, progress: Any = None) -> None:
        """Prolong the lease."""
        with self._system.store.transaction() as transaction:
            now = self._system.clock()
            row = transaction.renew(self.id, self.worker, now + int(self._how.lease_seconds * 1e6), now, progress)
        self.lost = row is None
        self.cancelled = row is not None and row.cancel

    def require_lease(self, transaction: Writer) -> None:
        """Raise `Stopped` unless the job is still this worker's in `transaction`: what is written in it is then written once, however many
        workers may believe that they have the job."""
        if not transaction.holds(self.id, self.worker):
            self.lost = True
            raise Stopped


@dataclass(frozen=True)
class _Outcome:
    """What became of a job that ran."""

    id: int
    worker: str
    state: str
    run_at: int | None = None
    error: str | None = None

    def settle(self, transaction: Writer, now: int) -> JobRow | None:
        return transaction.settle(self.id, self.worker, self.state, now, run_at=self.run_at, error=self.error)


def paused_kinds(snapshot: Snapshot) -> set[str]:
    """The kinds that are paused; "*" stands for all."""
    return set(snapshot.setting(PAUSED) or ())


def runnable(system: Mnemos, kinds: Mapping[str, Kind], snapshot: Snapshot) -> list[Runnable]:
    """What of `kinds` may be run now, and here."""
    paused = paused_kinds(snapshot)
    out = []
    for name, kind in {} if "*" in paused else kinds.items():
        key = None if kind.key is None else kind.key(system)
        if name not in paused and (kind.key is None or key is not None):
            out.append(Runnable(name, key, int(kind.lease_seconds * 1e6), kind.attempts))
    return out


def _lease(system: Mnemos, kinds: Mapping[str, Kind], transaction: Writer, stopping: Callable[[], bool]) -> Running | None:
    worker = f"{os.getpid()}-{os.urandom(8).hex()}"  # nobody's before, so that it names this lease alone
    row = transaction.lease(runnable(system, kinds, transaction), worker, system.clock())
    return None if row is None else Running(system, kinds[row.kind], row, stopping)


def _run(system: Mnemos, kind: Kind, job: Running) -> _Outcome:
    """Run a job's function, and say what became of it."""
    try:
        kind.run(system, job)
    except Stopped:
        return _Outcome(job.id, job.worker, "cancelled" if job.cancelled else "waiting")
    except Exception as error:  # noqa: BLE001  (whatever a job raises is what became of it: it is kept, tried again, and dead in the end)
        _log.warning("job %d (%s %r), attempt %d: %s", job.id, job.kind, job.key, job.attempt, type(error).__name__, exc_info=error)
        now = system.clock()
        pause = kind.pause_seconds(job.attempt, f"{system.store_id}/{job.id}")
        state = "dead" if job.attempt >= kind.attempts else "waiting"
        return _Outcome(job.id, job.worker, state, now + int(pause * 1e6), _told(error))
    return _Outcome(job.id, job.worker, "done")


def _told(error: Exception) -> str:
    """What the store keeps of an error: its kind, and our own words, or where it was raised. Words of others may hold a memory's text, which
    would then outlive its being forgotten; they are in the log of the process."""
    name = type(error).__name__
    if isinstance(error, MnemosError):
        return f"{name}: {error}"[:_LONGEST_ERROR]
    at = traceback.extract_tb(error.__traceback__)[-1]
    return f"{name}, in {at.name} ({Path(at.filename).name}, line {at.lineno}); the log of the process that ran it says more"


def take_and_run(system: Mnemos, kinds: Mapping[str, Kind]) -> JobRow | None:
    """Run the job that is next in this thread; give it as it stands afterwards, None where none is due. Raises `Invalid` in a transaction."""
    with system.snapshot() as snapshot:
        if isinstance(snapshot, Writer):
            raise Invalid("jobs: none can be run inside a transaction, which would hold up everybody's writes; end it first")
        if snapshot.next_job(runnable(system, kinds, snapshot), system.clock())[0] is None:
            return None
    with system.store.transaction() as transaction:
        job = _lease(system, kinds, transaction, lambda: False)
    if job is None:
        return None
    outcome = _Outcome(job.id, job.worker, "waiting")
    try:
        outcome = _run(system, kinds[job.kind], job)
    finally:  # an interrupt gives the job back
        with system.store.transaction() as transaction:
            row = outcome.settle(transaction, system.clock()) or transaction.job(job.id)
    return row


class Workers:
    """Threads that run jobs until they are stopped; a context manager. `failure` is what last kept one of them from the store.

    `first` is called by the first thread before anything else. With `until_idle` they end by themselves when no job of their kinds is open, or
    all are paused; `ended` is called then, or when they are stopped.
    """

    def __init__(
        self,
        system: Mnemos,
        kinds: Mapping[str, Kind],
        threads: int,
        *,
        first: Callable[[], None] | None = None,
        until_idle: bool = False,
        ended: Callable[[Exception | None], None] | None = None,
    ) -> None:
        self.failure: Exception | None = None
        self._system = system
        self._kinds = kinds
        self._first = first
        self._until_idle = until_idle
        self._ended = ended
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._jobs: set[Running] = set()
        self._threads = [threading.Thread(target=self._work, name=f"mnemos jobs {n + 1}", daemon=True) for n in range(threads)]
        self._heart = threading.Thread(target=self._beat, name="mnemos leases", daemon=True)
        self._left = threads

    @property
    def alive(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Begin no other job; wait for those that run. One that says how far it is stops there, and waits for another worker."""
        self._stop.set()
        for thread in (*self._threads, self._heart):
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join()

    # -- one thread --
    def _work(self) -> None:
        try:
            if self._first is not None:
                self._first()
            self._loop()
        except Exception as error:  # noqa: BLE001  (a thread has no caller: the error is kept, and told by `ended`)
            self.failure = error
        finally:
            with self._lock:
                self._left -= 1
                last = self._left == 0
            if last:
                self._stop.set()
                if self._ended is not None:
                    self._ended(self.failure)

    def _loop(self) -> None:
        job: Running | None = None
        while not self._stop.is_set():
            try:
                if job is None:
                    seen = self._system.store.changes()
                    job, pause = self._next()
                    if job is None:
                        if pause is None:
                            return
                        self._system.store.await_change(seen, pause, self._stop.is_set)
                        continue
                job = self._perform(job)
            except MnemosError as error:  # the disk is full, or another process holds the store: what was leased comes back by itself
                if self._stop.is_set():
                    return
                _log.warning("workers: %s: %s", type(error).__name__, error)
                self.failure, job = error, None
                self._stop.wait(_REST_SECONDS)

    def _next(self) -> tuple[Running | None, float | None]:
        """(a job, 0), or (None, seconds to wait at most), or (None, None) where there is nothing more to wait for."""
        now = self._system.clock()
        with self._system.snapshot() as snapshot:
            able = runnable(self._system, self._kinds, snapshot)
            row, soonest = snapshot.next_job(able, now)
        if row is None:
            if self._until_idle and soonest is None:
                return None, None
            return None, _IDLE_SECONDS if soonest is None else min(_IDLE_SECONDS, max((soonest - now) / 1e6, 0.001))
        with self._system.store.transaction() as transaction:
            return _lease(self._system, self._kinds, transaction, self._stop.is_set), 0.0

    def _perform(self, job: Running) -> Running | None:
        """Run a job; settle it, and lease the next one in the same transaction."""
        with self._lock:
            self._jobs.add(job)
            if not self._heart.ident:
                self._heart.start()
        outcome = _Outcome(job.id, job.worker, "waiting")
        following: Running | None = None
        try:
            outcome = _run(self._system, self._kinds[job.kind], job)
        finally:
            with self._lock:
                self._jobs.discard(job)
            with self._system.store.transaction() as transaction:
                outcome.settle(transaction, self._system.clock())
                if not self._stop.is_set():
                    following = _lease(self._system, self._kinds, transaction, self._stop.is_set)
        return following

    # -- leases --
    def _beat(self) -> None:
        """Prolong the leases of what runs, three times in the shortest of them."""
        period = min((kind.lease_seconds for kind in self._kinds.values()), default=60.0) / 3
        while not self._stop.wait(period):
            with self._lock:
                jobs = list(self._jobs)
            for job in jobs:
                try:
                    job.renew()
                except MnemosError as error:  # tried again at the next beat; a lease that ends meanwhile is lost, not the job
                    _log.warning("job %d: its lease was not prolonged: %s", job.id, error)
