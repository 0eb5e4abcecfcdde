"""Counts of procedures in a store: durable, exact under any number of threads and processes, and one transaction with the run that they are of.

They stand in the store's counters, which are added to and never written over. An entry's counts go by its revision: they begin anew when what it
advises changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mnemos.base.errors import NotFound
from mnemos.store.base import Snapshot
from mnemos.store.sqlite_write import Writer
from mnemos.text.trajectories.credit import Base, Counts, Tally, base_rate

_SHARE = 1_000_000
"""Shares of credit are counted in millionths."""


@dataclass(frozen=True, slots=True)
class Injected:
    """An entry that a run had in its prompt, or that was withheld from it (`share` 0)."""

    id: str
    revision: int
    share: float


class Ledger:
    """The counts of one space; `kind` is a short word for what is counted, so that services of several kinds do not count as one."""

    def __init__(self, space: int, kind: str = "procedures") -> None:
        self._prefix = f"{kind}/{space}"

    # -- reading --
    def counts(self, snapshot: Snapshot, id: str, revision: int) -> Counts:
        at = self._entry(id, revision)
        read = snapshot.counter
        return Counts(
            read(f"{at}/f"), read(f"{at}/u"), read(f"{at}/shared") / _SHARE, read(f"{at}/earned") / _SHARE, read(f"{at}/without"),
            read(f"{at}/without_u"),
        )  # fmt: skip

    def support(self, snapshot: Snapshot, id: str, revision: int) -> tuple[int, int]:
        """Runs for and against an entry that came after it was written."""
        at = self._entry(id, revision)
        return snapshot.counter(f"{at}/support"), snapshot.counter(f"{at}/contradiction")

    def tally(self, snapshot: Snapshot, which: str) -> Tally:
        return Tally(snapshot.counter(f"{self._prefix}/{which}/n"), snapshot.counter(f"{self._prefix}/{which}/u"))

    def base(self, snapshot: Snapshot, families: Iterable[str], counts: Counts) -> Base:
        """The base rate that an entry for these families of tasks is measured against."""
        own = Tally(counts.without, counts.without_u)
        family = sum((self.tally(snapshot, f"family/{name}") for name in families), Tally())
        return base_rate(own, family, self.tally(snapshot, "without"), self.tally(snapshot, "all"))

    # -- writing --
    def add_support(self, transaction: Writer, id: str, revision: int, support: int, contradiction: int) -> None:
        at = self._entry(id, revision)
        for name, by in (("support", support), ("contradiction", contradiction)):
            if by:
                transaction.count_up(f"{at}/{name}", by)

    def restore(self, transaction: Writer, id: str, revision: int, counts: Counts) -> None:
        """Set an entry's counts, as an export has them; what was counted since is added."""
        at = self._entry(id, revision)
        values = {"f": counts.f, "u": counts.u, "shared": round(counts.shared * _SHARE), "earned": round(counts.earned * _SHARE),
                  "without": counts.without, "without_u": counts.without_u}  # fmt: skip
        for name, value in values.items():
            if value:
                transaction.count_up(f"{at}/{name}", value)

    def open_run(self, transaction: Writer, run: str, injected: Sequence[Injected], withheld: Injected | None, family: str) -> None:
        """Note what a run has, so that its outcome can be credited by whoever knows its id."""
        value: dict[str, Any] = {"injected": [[one.id, one.revision, one.share] for one in injected], "family": family}
        if withheld is not None:
            value["withheld"] = [withheld.id, withheld.revision]
        transaction.set_setting(self._run(run), value)

    def close_run(self, transaction: Writer, run: str, success: bool) -> None:
        """Credit the outcome of a run, once. Raises `NotFound` where no such run is open."""
        value = transaction.setting(self._run(run))
        if value is None:
            raise NotFound(f"report: no run {run!r} is open here; it was reported before, or never begun with `guide`")
        transaction.set_setting(self._run(run), None)
        withheld = Injected(value["withheld"][0], value["withheld"][1], 0.0) if "withheld" in value else None
        injected = [Injected(id, revision, share) for id, revision, share in value["injected"]]
        self.credit(transaction, injected, success, withheld=withheld, family=value["family"])

    def credit(
        self, transaction: Writer, injected: Sequence[Injected], success: bool, *, withheld: Injected | None = None, family: str | None = None
    ) -> None:
        """Count one run: for what was injected, what was withheld, and the base rates."""
        for one in injected:
            at, share = self._entry(one.id, one.revision), round(one.share * _SHARE)
            transaction.count_up(f"{at}/f")
            transaction.count_up(f"{at}/shared", share)
            if success:
                transaction.count_up(f"{at}/u")
                transaction.count_up(f"{at}/earned", share)
        if withheld is not None:
            at = self._entry(withheld.id, withheld.revision)
            self._tally(transaction, f"{at}/without", f"{at}/without_u", success)
        self._tally(transaction, f"{self._prefix}/all/n", f"{self._prefix}/all/u", success)
        if not injected:
            for which in ("without", *([f"family/{family}"] if family else [])):
                self._tally(transaction, f"{self._prefix}/{which}/n", f"{self._prefix}/{which}/u", success)

    def task_done(self, transaction: Writer) -> int:
        """Count a task that was solved or given up; gives which one it was, from 1."""
        return transaction.count_up(f"{self._prefix}/tasks")

    @staticmethod
    def _tally(transaction: Writer, runs: str, successes: str, success: bool) -> None:
        transaction.count_up(runs)
        if success:
            transaction.count_up(successes)

    def _entry(self, id: str, revision: int) -> str:
        return f"{self._prefix}/{id}/{revision}"

    def _run(self, run: str) -> str:
        return f"{self._prefix}/run/{run}"

    def own_setting(self, name: object) -> bool:
        """Whether a setting of the store is one of these: it changes nothing of what the pool holds."""
        return isinstance(name, str) and name.startswith(f"{self._prefix}/")
