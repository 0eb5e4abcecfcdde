"""Workers: threads that run jobs one after the other, and prolong the leases of those that run."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from mnemos.base.errors import MnemosError
from mnemos.kernel.work.running import Kind, Outcome, Running, lease, run, runnable

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos

_IDLE_SECONDS = 1.0
_REST_SECONDS = 1.0
_log = logging.getLogger("mnemos.jobs")


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
        self._jobs: dict[Running, float] = {}
        """What runs, each with the time of the monotonic clock at which its lease is to be prolonged."""
        self._sooner = threading.Event()
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
        self._sooner.set()
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
                self._sooner.set()
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
            return lease(self._system, self._kinds, transaction, self._stop.is_set), 0.0

    def _perform(self, job: Running) -> Running | None:
        """Run a job; settle it, and lease the next one in the same transaction."""
        self._keep_alive(job)
        outcome = Outcome(job.id, job.worker, "waiting")
        following: Running | None = None
        try:
            outcome = run(self._system, self._kinds[job.kind], job)
        finally:
            with self._lock:
                self._jobs.pop(job, None)
            with self._system.store.transaction() as transaction:
                outcome.settle(transaction, self._system.clock())
                if not self._stop.is_set():
                    following = lease(self._system, self._kinds, transaction, self._stop.is_set)
        return following

    # -- leases --
    def _keep_alive(self, job: Running) -> None:
        """Let the lease of a job be prolonged while it runs, each time a third of it is over."""
        with self._lock:
            soonest = min(self._jobs.values(), default=float("inf"))
            self._jobs[job] = due = time.monotonic() + job.lease_seconds / 3
            if not self._heart.ident:
                self._heart.start()
        if due < soonest:
            self._sooner.set()

    def _beat(self) -> None:
        while not self._stop.is_set():
            now = time.monotonic()
            with self._lock:
                due = [job for job, at in self._jobs.items() if at <= now]
                self._jobs |= {job: now + job.lease_seconds / 3 for job in due}
                soonest = min(self._jobs.values(), default=None)
            for job in due:
                try:
                    job.renew()
                except MnemosError as error:  # tried again at the next beat; a lease that ends meanwhile is lost, not the job
                    _log.warning("job %d: its lease was not prolonged: %s", job.id, error)
            self._sooner.wait(None if soonest is None else max(0.0, soonest - time.monotonic()))
            self._sooner.clear()
