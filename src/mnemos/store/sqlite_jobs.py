"""Jobs in a SQLite store: work that waits, is leased to one worker at a time, and ends or comes back.

All of it is one row of the table `job`, changed inside the one transaction that may write: two workers cannot lease the same row. A lease is
known by its worker's name, which nobody uses twice; what a worker says after its lease went to another is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apsw
import orjson

from mnemos.base.errors import Conflict
from mnemos.store.base import JobRow, Runnable
from mnemos.store.sqlite_tables import Tables

KEPT = 1000
"""About this many of the newest jobs are kept after they ended; dead ones stay until somebody retries or drops them."""

_COLUMNS = (
    "id, kind, key, payload, state, priority, run_at, every, again, cancel, leased_until, worker, attempts, progress, error, created_at, updated_at"
)
_OPEN = "state IN ('waiting', 'running')"
_PRUNED_EVERY = 256
PAYLOAD, PROGRESS, ERROR = "job payload", "job progress", "job error"
"""The places of the texts of jobs."""


def release_all(connection: apsw.Connection) -> None:
    """Give back every job that is leased: for the first process that opens a store, when whoever held a lease is gone."""
    if connection.execute("SELECT 1 FROM job WHERE state = 'running' LIMIT 1").fetchone():
        connection.execute("UPDATE job SET leased_until = 0 WHERE state = 'running'")


class JobReader(Tables):
    """The verbs of `Snapshot` that read jobs."""

    _db: apsw.Connection

    def _job(self, row: Any) -> JobRow:
        return JobRow(
            id=row[0], kind=row[1], key=self._said("job", row[2]), payload=orjson.loads(self._told(PAYLOAD, row[3])), state=row[4],
            priority=row[5], run_at=row[6], every=row[7], again=row[8], cancel=bool(row[9]), leased_until=row[10], worker=row[11],
            attempts=row[12], progress=None if row[13] is None else orjson.loads(self._told(PROGRESS, row[13])),
            error=None if row[14] is None else self._told(ERROR, row[14]), created_at=row[15], updated_at=row[16],
        )  # fmt: skip

    def job(self, id: int) -> JobRow | None:
        found = self._db.execute(f"SELECT {_COLUMNS} FROM job WHERE id = ?", (id,)).fetchone()
        return self._job(found) if found else None

    def jobs(self, states: Sequence[str] | None = None, kinds: Sequence[str] | None = None, *, after: int = 0, limit: int = 2**31) -> list[JobRow]:
        """Jobs in the order of their ids, beyond `after`; None asks for every state, or kind."""
        conditions, values = ["id > ?"], [after]
        for column, wanted in (("state", states), ("kind", kinds)):
            if wanted is not None:
                conditions.append(f"{column} IN ({','.join('?' * len(wanted))})")
                values += wanted  # type: ignore[arg-type]
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM job WHERE {' AND '.join(conditions)} ORDER BY id LIMIT ?", (*values, limit))
        return [self._job(row) for row in rows]

    def count_jobs(self) -> dict[str, int]:
        """State → how many jobs are in it."""
        return dict(self._db.execute("SELECT state, count(*) FROM job GROUP BY state ORDER BY state"))

    def next_job(self, runnable: Iterable[Runnable], now: int) -> tuple[JobRow | None, int | None]:
        """(the job that is to run next, None; or None and the time at which one will be due, None where none waits)."""
        best: JobRow | None = None
        soonest: int | None = None
        for one in runnable:
            for row in self._job_candidates(one):
                due = row.run_at if row.state == "waiting" else row.leased_until or 0
                if due > now:
                    soonest = due if soonest is None else min(soonest, due)
                elif best is None or (-row.priority, row.run_at, row.id) < (-best.priority, best.run_at, best.id):
                    best = row
        return best, None if best else soonest

    def _job_candidates(self, one: Runnable) -> Iterator[JobRow]:
        """Of each priority the waiting job that is due first, and every running one, whose lease may be over."""
        key, values = ("", ()) if one.key is None else (" AND key = ?", (self._word("job", one.key),))
        below = 2**62
        while True:
            found = self._db.execute(
                f"SELECT {_COLUMNS} FROM job WHERE state = 'waiting' AND kind = ? AND priority < ?{key} ORDER BY priority DESC, run_at, id LIMIT 1",
                (one.kind, below, *values),
            ).fetchone()
            if found is None:
                break
            row = self._job(found)
            yield row
            below = row.priority
        running: list[Any] = self._db.execute(
            f"SELECT {_COLUMNS} FROM job WHERE state = 'running' AND kind = ?{key}", (one.kind, *values)
        ).fetchall()
        yield from map(self._job, running)


class JobWriter(JobReader):
    """The verbs of `Transaction` that change jobs. Times are microseconds since 1970."""

    def unlogged(self) -> None:
        """Mark the transaction: jobs are no part of the log."""
        raise NotImplementedError

    def enqueue(self, kind: str, key: str, payload: Any, *, run_at: int, priority: int, every: int | None, now: int) -> int:
        """Let a job wait; gives its id. There is one open job of a kind and key: where one waits already it takes the new payload, the earlier
        time and the higher priority; where one runs, it runs once more after that."""
        name, text = self._word("job", key), self._shut(PAYLOAD, orjson.dumps(payload).decode())
        self.unlogged()
        found: Any = self._db.execute(
            f"UPDATE job SET payload = ?3, priority = max(priority, ?5), every = coalesce(?6, every), updated_at = ?7, "
            "again = CASE state WHEN 'running' THEN min(coalesce(again, ?4), ?4) END, "
            "run_at = CASE state WHEN 'running' THEN run_at ELSE min(run_at, ?4) END "
            f"WHERE kind = ?1 AND key = ?2 AND {_OPEN} RETURNING id",
            (kind, name, text, run_at, priority, every, now),
        ).fetchone()
        if found is None:
            self._db.execute(
                "INSERT INTO job(kind, key, payload, state, priority, run_at, every, cancel, attempts, created_at, updated_at) "
                "VALUES(?1, ?2, ?3, 'waiting', ?5, ?4, ?6, 0, 0, ?7, ?7)",
                (kind, name, text, run_at, priority, every, now),
            )
            return self._db.last_insert_rowid()
        return int(found[0])

    def lease(self, runnable: Sequence[Runnable], worker: str, now: int) -> JobRow | None:
        """Hand the job that is to run next to `worker`; None where none is due. One whose workers vanished too often is dead."""
        leases = {one.kind: one for one in runnable}
        while (row := self.next_job(runnable, now)[0]) is not None:
            self.unlogged()
            if row.cancel:
                self._job_over(row, "cancelled", row.error, now)
            elif row.attempts >= leases[row.kind].attempts:
                self._job_over(row, "dead", row.error or f"its worker vanished {row.attempts} times", now)
            else:
                self._db.execute(
                    "UPDATE job SET state = 'running', worker = ?2, leased_until = ?3, attempts = attempts + 1, updated_at = ?4 WHERE id = ?1",
                    (row.id, worker, now + leases[row.kind].lease, now),
                )
                return self.job(row.id)
        return None

    def renew(self, id: int, worker: str, until: int, now: int, progress: Any = None) -> JobRow | None:
        """Prolong a lease, and say how far the job is; None where the lease is not `worker`'s any more."""
        if not self.holds(id, worker):
            return None
        self.unlogged()
        self._db.execute(
            "UPDATE job SET leased_until = ?2, progress = coalesce(?3, progress), updated_at = ?4 WHERE id = ?1",
            (id, until, None if progress is None else self._shut(PROGRESS, orjson.dumps(progress).decode()), now),
        )
        return self.job(id)

    def holds(self, id: int, worker: str) -> bool:
        """Whether the job is leased to `worker`."""
        return self._db.execute("SELECT 1 FROM job WHERE id = ? AND worker = ? AND state = 'running'", (id, worker)).fetchone() is not None

    def settle(self, id: int, worker: str, state: str, now: int, *, run_at: int | None = None, error: str | None = None) -> JobRow | None:
        """End a lease: the job is done, dead or cancelled, or waits again until `run_at`; None where the lease is not `worker`'s any more.

        What is to recur, or was asked for while it ran, waits again instead of coming to an end; what is to be cancelled is not tried again.
        """
        if not self.holds(id, worker):
            return None
        self.unlogged()
        row = self.job(id)
        assert row is not None
        if state != "waiting":
            self._job_over(row, state, error, now)
        elif row.cancel:
            self._job_over(row, "cancelled", error, now)
        else:
            self._job_waits(id, now if run_at is None else run_at, row.attempts if error else row.attempts - 1, error, now)
        return self.job(id)

    def retry_job(self, id: int, now: int) -> None:
        """Let a job that ended wait again, as if it were new. Raises `Conflict` where another of its kind and key is open."""
        self.unlogged()
        try:
            self._job_waits(id, now, 0, None, now)
        except apsw.ConstraintError:
            raise Conflict(f"job {id}: another of its kind and key waits or runs already; drop this one") from None

    def cancel_job(self, id: int, now: int) -> None:
        """Cancel a waiting job; ask a running one to stop, and not to recur. What is asked for after that counts."""
        self.unlogged()
        self._db.execute("UPDATE job SET cancel = 1, every = NULL, again = NULL, updated_at = ?2 WHERE id = ?1 AND state = 'running'", (id, now))
        self._db.execute("UPDATE job SET state = 'cancelled', updated_at = ?2 WHERE id = ?1 AND state = 'waiting'", (id, now))

    def drop_job(self, id: int) -> None:
        """Remove a job that ended."""
        self.unlogged()
        self._db.execute(f"DELETE FROM job WHERE id = ? AND NOT {_OPEN}", (id,))

    def _job_over(self, row: JobRow, state: str, error: str | None, now: int) -> None:
        """A job came to an end; where it was asked for meanwhile, or is to recur, it waits again."""
        if row.again is not None:
            self._job_waits(row.id, row.again, 0, error, now)
        elif row.every is not None:
            self._job_waits(row.id, row.run_at + row.every * max(1, -(-(now + 1 - row.run_at) // row.every)), 0, error, now)
        else:
            self._job_ends(row.id, state, error, now)

    def _problem(self, error: str | None) -> str | None:
        return None if error is None else self._shut(ERROR, error)

    def _job_waits(self, id: int, run_at: int, attempts: int, error: str | None, now: int) -> None:
        self._db.execute(
            "UPDATE job SET state = 'waiting', run_at = ?2, attempts = ?3, error = ?4, again = NULL, cancel = 0, worker = NULL, "
            "leased_until = NULL, updated_at = ?5 WHERE id = ?1",
            (id, run_at, attempts, self._problem(error), now),
        )

    def _job_ends(self, id: int, state: str, error: str | None, now: int) -> None:
        self._db.execute(
            "UPDATE job SET state = ?2, error = ?3, again = NULL, worker = NULL, leased_until = NULL, updated_at = ?4 WHERE id = ?1",
            (id, state, self._problem(error), now),
        )
        if id % _PRUNED_EVERY == 0:
            self._db.execute("DELETE FROM job WHERE state IN ('done', 'cancelled') AND id <= ?", (id - KEPT,))
