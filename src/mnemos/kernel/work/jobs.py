"""Durable work: jobs wait in the store, are leased to workers in the threads of any process, are tried again where they fail, and come to an end.

A job may run twice: when a process is killed, whoever leases its job next does it again. So what a kind's function does must come to the same
when it is done twice. No job is lost, and none is run by two workers while the lease of the first one lasts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from mnemos.base.clock import Moment, from_micros, optional_datetime, to_micros
from mnemos.base.cube import check_word, plain_json
from mnemos.base.errors import Conflict, Invalid, NotFound, PermissionDenied, shown
from mnemos.base.signing import SigningKey
from mnemos.kernel.reading.conditions import count
from mnemos.kernel.work.background import Work
from mnemos.kernel.work.running import PAUSED, Kind, Running, paused_kinds, take_and_run
from mnemos.kernel.work.workers import Workers
from mnemos.store.base import JobRow

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos

STATES = ("waiting", "running", "done", "dead", "cancelled")
MOST_PAYLOAD = 64 * 2**10
"""Bytes of a payload's JSON. A payload names memories by their ids: what is in it is not forgotten with them."""
_LONGEST_DELAY = 10 * 365 * 86_400
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands. `state`: waiting, running, done, dead (tried too often: `error` says what went wrong last), or cancelled."""

    id: int
    kind: str
    key: str
    payload: Any
    state: str
    priority: int
    run_at: datetime
    every: float | None
    attempts: int
    progress: Any
    error: str | None
    worker: str | None
    leased_until: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: JobRow) -> Job:
        return cls(
            row.id, row.kind, row.key, row.payload, row.state, row.priority, from_micros(row.run_at),
            None if row.every is None else row.every / 1e6, row.attempts, row.progress, row.error, row.worker,
            optional_datetime(row.leased_until), from_micros(row.created_at), from_micros(row.updated_at),
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; fields that hold nothing are left out."""
        plain = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(self).items()}
        return {name: value for name, value in plain.items() if value is not None}


Found = list[Job]
"""`Jobs.list` hides the builtin inside the class."""


class Jobs:
    """The jobs of an open store: `mem.jobs`. They may touch every space, so only whoever owns the file deals with them."""

    def __init__(self, system: Mnemos, work: Work) -> None:
        if system.principal is not None:
            raise PermissionDenied("jobs are dealt with by whoever owns the file: open the store without a principal")
        self._system = system
        self._work = work

    def register(
        self,
        name: str,
        run: Callable[[Mnemos, Running], object],
        *,
        lease_seconds: float = Kind.lease_seconds,
        attempts: int = Kind.attempts,
        backoff_seconds: float = Kind.backoff_seconds,
        backoff_most_seconds: float = Kind.backoff_most_seconds,
    ) -> None:
        """Let this open store run jobs of a kind of the program's own: `run(mem, job)`. The keywords are explained at `Kind`.

        What `run` does must come to the same when it is done twice. Raises `Conflict` where the kind is known already.
        """
        kind = Kind(run, None, lease_seconds, attempts, backoff_seconds, backoff_most_seconds)
        if self._work.kinds.setdefault(check_word(name, "kind") or "", kind) is not kind:
            raise Conflict(f"kind: {name!r} is known already; choose another name")

    # -- asking for work --
    def enqueue(
        self,
        kind: str,
        *,
        key: str = "",
        payload: Any = None,
        run_at: Moment | None = None,
        priority: int = 0,
        every: float | None = None,
    ) -> Job:
        """Let a job wait, from the moment on at which the transaction that this is called in is durable.

        One job of a kind and key is open at a time: where one waits already it takes the new payload, the earlier time and the higher
        priority; where one runs, it runs once more after that. `payload` is plain JSON of at most 64 KiB, and should name memories by their
        ids. `every` lets it recur after so many seconds, until it is cancelled. Raises `NotFound` for an unknown kind, `Invalid`.
        """
        self._known(kind)
        plain = plain_json(payload, "payload")
        if len(orjson.dumps(plain)) > MOST_PAYLOAD:
            raise Invalid(f"payload: more than {MOST_PAYLOAD:,} bytes; store what is long as a memory, and give its id")
        if isinstance(priority, bool) or not isinstance(priority, int) or abs(priority) >= 2**31:
            raise Invalid(f"priority: expected a whole number, not {shown(priority)}")
        word = check_word(key, "key")
        if word is None:
            raise Invalid("key: expected a text, not None; leave it out where there is one such job")
        period = None if every is None else int(_seconds(every, "every") * 1e6)
        now = self._system.clock()
        at = to_micros(run_at, "run_at")
        with self._system.writing() as transaction:
            id = transaction.enqueue(kind, word, plain, run_at=now if at is None else at, priority=priority, every=period, now=now)
            row = transaction.job(id)
        assert row is not None
        return Job.of(row)

    def sign_checkpoints(self, key: SigningKey, every: float = 86_400.0) -> Job:
        """Hold a signing key while the store is open, and let a checkpoint of the log be made now and after every so many seconds, where the log
        has grown. Only a process that holds that key runs the job; the store knows the key by its name alone. Raises `Invalid`."""
        if not isinstance(key, SigningKey):
            raise Invalid(f"key: expected a SigningKey (mnemos.base.signing), not {type(key).__name__}")
        job = self.enqueue("checkpoint", key=key.id, every=every)
        self._work.signer = key
        return job

    def cancel(self, id: int) -> Job:
        """Cancel a job that waits; ask one that runs to stop, which it does when it next says how far it is. Neither recurs."""
        return self._change(id, ("waiting", "running"), "cancelled", lambda transaction, now: transaction.cancel_job(id, now))

    def retry(self, id: int) -> Job:
        """Let a job that is dead or cancelled wait again, as if it had never been tried. Raises `Conflict`."""
        return self._change(id, ("dead", "cancelled"), "retried", lambda transaction, now: transaction.retry_job(id, now))

    def drop(self, id: int) -> Job:
        """Remove a job that came to an end; gives what it was."""
        return self._change(id, ("done", "dead", "cancelled"), "dropped", lambda transaction, now: transaction.drop_job(id))

    def _change(self, id: int, states: tuple[str, ...], what: str, change: Callable[[Any, int], None]) -> Job:
        with self._system.writing() as transaction:
            row = transaction.job(_number(id))
            if row is None:
                raise NotFound(f"there is no job {shown(id)}")
            if row.state not in states:
                raise Conflict(f"job {id} is {row.state}; only one that is {' or '.join(states)} can be {what}")
            change(transaction, self._system.clock())
            return Job.of(transaction.job(id) or row)

    # -- looking --
    def list(self, state: str | None = None, *, kind: str | None = None, after: int = 0, limit: int = 100) -> Found:
        """Jobs in the order in which they were asked for, beyond the id `after`. Of those that ended well about a thousand are kept."""
        if state is not None and state not in STATES:
            raise Invalid(f"state: {shown(state)} is none of {', '.join(STATES)}")
        after, limit = _number(after, "after"), count(limit, "limit")
        with self._system.snapshot() as snapshot:
            found = snapshot.jobs(None if state is None else (state,), None if kind is None else (kind,), after=after, limit=limit)
        return [Job.of(row) for row in found]

    def get(self, id: int) -> Job:
        """A job. Raises `NotFound`."""
        with self._system.snapshot() as snapshot:
            row = snapshot.job(_number(id))
        if row is None:
            raise NotFound(f"there is no job {shown(id)}; those that ended well are not kept for ever")
        return Job.of(row)

    def dead(self) -> Found:
        """The dead letters: jobs that failed as often as their kind allows. `retry` or `drop` them."""
        return self.list("dead", limit=2**31)

    def counts(self) -> dict[str, int]:
        """State → how many jobs are in it."""
        with self._system.snapshot() as snapshot:
            found = snapshot.count_jobs()
        return {state: found.get(state, 0) for state in STATES}

    # -- doing --
    def run_once(self) -> Job | None:
        """Run the job that is next, here and now; give it as it stands afterwards, or None where none is due. What it raises is in its `error`."""
        row = take_and_run(self._system, self._work.kinds)
        return None if row is None else Job.of(row)

    def work(self, threads: int = 1) -> Workers:
        """Start workers, which stop with the store, with `stop()`, or at the end of a `with` block.

        Each job that runs is leased; while its worker lives the lease is prolonged."""
        return self._work.start(Workers(self._system, self._work.kinds, count(threads, "threads")))

    def pause(self, kind: str | None = None) -> None:
        """Let no process begin another job (of a kind), until `resume`. It is remembered in the store; what runs is run to its end."""
        self._set_paused(kind, lambda names, name: names | {name})

    def resume(self, kind: str | None = None) -> None:
        """Take back a `pause`: that of one kind, or every one."""
        self._set_paused(kind, lambda names, name: set() if name == "*" else names - {name})

    def _set_paused(self, kind: str | None, change: Callable[[set[str], str], set[str]]) -> None:
        if kind is not None:
            self._known(kind)
        with self._system.writing() as transaction:
            before = paused_kinds(transaction)
            after = change(before, kind or "*")
            if after != before:
                transaction.set_setting(PAUSED, sorted(after) or None)

    def paused(self) -> tuple[str, ...]:
        """The kinds that are paused; ("*",) stands for all."""
        with self._system.snapshot() as snapshot:
            names = paused_kinds(snapshot)
        return ("*",) if "*" in names else tuple(sorted(names))

    def drain(self, timeout: float | None = None) -> bool:
        """Work, and wait for other workers, until no job is running or due; False where `timeout` seconds were not enough. Of what is paused
        only the jobs that run are waited for."""
        deadline = None if timeout is None else time.monotonic() + _seconds(timeout, "timeout")
        store, kinds = self._system.store, self._work.kinds
        while True:
            seen = store.changes()
            ran = self.run_once() is not None
            if not ran:
                with self._system.snapshot() as snapshot:
                    if not snapshot.jobs(("running",), tuple(kinds), limit=1):
                        return True
            left = _LOOK_SECONDS if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return False
            if not ran:
                store.await_change(seen, min(left, _LOOK_SECONDS))

    def _known(self, kind: object) -> None:
        if not isinstance(kind, str) or kind not in self._work.kinds:
            raise NotFound(f"kind: there is no kind of job {shown(kind)}; there are {', '.join(sorted(self._work.kinds))}")


def _number(id: object, name: str = "id") -> int:
    if isinstance(id, bool) or not isinstance(id, int) or not 0 <= id < 2**63:
        raise Invalid(f"{name}: {shown(id)} is no job's number")
    return id


def _seconds(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _LONGEST_DELAY:
        raise Invalid(f"{name}: expected a number of seconds, more than 0 and at most ten years, not {shown(value)}")
    return float(value)
