"""One job: how its kind is run, what its function sees while it runs, and what becomes of it."""

from __future__ import annotations

import logging
import os
import random
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnemos.base.errors import Invalid, MnemosError
from mnemos.store.base import JobRow, Runnable, Snapshot
from mnemos.store.sqlite_write import Writer

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos

PAUSED = "jobs/paused"
"""The setting that lists the kinds of which no job is begun; "*" stands for all."""
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
    def lease_seconds(self) -> float:
        """How long the lease lasts."""
        return self._how.lease_seconds

    @property
    def worker(self) -> str:
        assert self._row.worker is not None
        return self._row.worker

    def progress(self, done: int, total: int | None = None) -> None:
        """Say how far the job is; written down about once a second, which also prolongs the lease. Raises `Stopped` where it is to stop: let it
        pass, after tidying up."""
        now = self._system.clock()
        if now - self._said >= min(1.0, self.lease_seconds / 3) * 1e6:
            self._said = now
            self.renew({"done": done, **({} if total is None else {"total": total})})
        if self.lost or self.cancelled or self._stopping():
            raise Stopped

    def renew(self, progress: Any = None) -> None:
        """Prolong the lease."""
        with self._system.store.transaction() as transaction:
            now = self._system.clock()
            row = transaction.renew(self.id, self.worker, now + int(self.lease_seconds * 1e6), now, progress)
        self.lost = row is None
        self.cancelled = row is not None and row.cancel

    def require_lease(self, transaction: Writer) -> None:
        """Raise `Stopped` unless the job is still this worker's in `transaction`: what is written in it is then written once, however many
        workers may believe that they have the job."""
        if not transaction.holds(self.id, self.worker):
            self.lost = True
            raise Stopped


@dataclass(frozen=True)
class Outcome:
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
    for name, kind in [] if "*" in paused else list(kinds.items()):  # a copy: another thread may register a kind meanwhile
        key = None if kind.key is None else kind.key(system)
        if name not in paused and (kind.key is None or key is not None):
            out.append(Runnable(name, key, int(kind.lease_seconds * 1e6), kind.attempts))
    return out


def lease(system: Mnemos, kinds: Mapping[str, Kind], transaction: Writer, stopping: Callable[[], bool]) -> Running | None:
    worker = f"{os.getpid()}-{os.urandom(8).hex()}"  # nobody's before, so that it names this lease alone
    row = transaction.lease(runnable(system, kinds, transaction), worker, system.clock())
    return None if row is None else Running(system, kinds[row.kind], row, stopping)


def run(system: Mnemos, kind: Kind, job: Running) -> Outcome:
    """Run a job's function, and say what became of it."""
    try:
        kind.run(system, job)
    except Stopped:
        return Outcome(job.id, job.worker, "cancelled" if job.cancelled else "waiting")
    except Exception as error:  # noqa: BLE001  (whatever a job raises is what became of it: it is kept, tried again, and dead in the end)
        _log.warning("job %d (%s %r), attempt %d: %s", job.id, job.kind, job.key, job.attempt, type(error).__name__, exc_info=error)
        now = system.clock()
        pause = kind.pause_seconds(job.attempt, f"{system.store_id}/{job.id}")
        state = "dead" if job.attempt >= kind.attempts else "waiting"
        return Outcome(job.id, job.worker, state, now + int(pause * 1e6), _told(error))
    return Outcome(job.id, job.worker, "done")


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
        job = lease(system, kinds, transaction, lambda: False)
    if job is None:
        return None
    outcome = Outcome(job.id, job.worker, "waiting")
    try:
        outcome = run(system, kinds[job.kind], job)
    finally:  # an interrupt gives the job back
        with system.store.transaction() as transaction:
            row = outcome.settle(transaction, system.clock()) or transaction.job(job.id)
    return row
