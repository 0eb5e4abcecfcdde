"""The audit ledger of changes: who moved which change from which stage to which, on what numbers, by which thresholds, and why.

Entries of one change are a hash chain of their own, so that they can be checked apart from the store; in a store they are settings, and thus
entries of its log as well. They hold ids, versions, digests, numbers and codes, and never the text of a memory: the log keeps them for good.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from mnemos.base.cube import Json
from mnemos.base.errors import Corrupt, Invalid, NotFound

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos
    from mnemos.store.sqlite_read import Reader

_FIRST = "0" * 64
_PREFIX = "change/"
SPACE_TIER = "memory:"
"""How the tier of a space begins; its name follows."""


class Stage(StrEnum):
    """Where a change stands."""

    PROPOSED = "proposed"
    ADMITTED = "admitted"
    CANARY = "canary"
    LIVE = "live"
    REFUSED = "refused"
    ROLLED_BACK = "rolled back"

    @property
    def over(self) -> bool:
        """Whether nothing can follow."""
        return self in (Stage.REFUSED, Stage.ROLLED_BACK)


NEXT: Mapping[Stage | None, frozenset[Stage]] = {
    None: frozenset({Stage.PROPOSED}),
    Stage.PROPOSED: frozenset({Stage.PROPOSED, Stage.ADMITTED, Stage.REFUSED}),
    Stage.ADMITTED: frozenset({Stage.CANARY, Stage.REFUSED}),
    Stage.CANARY: frozenset({Stage.CANARY, Stage.LIVE, Stage.ROLLED_BACK}),
    Stage.LIVE: frozenset({Stage.LIVE, Stage.ROLLED_BACK}),
    Stage.REFUSED: frozenset(),
    Stage.ROLLED_BACK: frozenset(),
}
"""The state machine of a change. An entry that stays in a stage says something more of it, such as its thresholds."""


@dataclass(frozen=True)
class AuditEntry:
    """One step of one change. `at` is ISO 8601. `before` and `after` name each tier's version; `metrics` are measured values with intervals,
    bounds and verdicts; `reasons` are codes; `body` is what the step leaves for later ones."""

    change: str
    number: int
    at: str
    actor: str | None
    stage: Stage
    decision: str
    reasons: tuple[str, ...] = ()
    before: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[Json, ...] = ()
    body: Json = field(default_factory=dict)
    previous: str = _FIRST
    hash: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Json) -> AuditEntry:
        """The entry that `as_json` wrote. Raises `Invalid`."""
        try:
            values = {**record, "stage": Stage(record["stage"]), "reasons": tuple(record["reasons"]), "metrics": tuple(record["metrics"])}
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise Invalid(f"audit entry: {error!r}; give the JSON that the ledger wrote, unchanged") from None

    def sealed(self) -> AuditEntry:
        """This entry with its hash: SHA-256 over the hash before it and every other field."""
        fields = {name: value for name, value in self.as_json().items() if name != "hash"}
        return replace(self, hash=hashlib.sha256(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).hexdigest())


def check_chain(entries: Sequence[AuditEntry]) -> None:
    """Raise `Corrupt` where entries of one change are not a whole chain from its first on, or take a step that no change can take."""
    previous, stage = _FIRST, None
    for number, entry in enumerate(entries):
        if entry.number != number or entry.previous != previous or entry.sealed().hash != entry.hash:
            raise Corrupt(f"ledger of change {entry.change}: entry {number} does not follow from the one before it, or was altered")
        if entry.stage not in NEXT[stage]:
            raise Corrupt(f"ledger of change {entry.change}: entry {number} goes from {stage} to {entry.stage}, which no change can")
        previous, stage = entry.hash, entry.stage


class Ledger(Protocol):
    """Where audit entries are kept. Drivers: `MemoryLedger`, `StoreLedger`."""

    def append(self, entry: AuditEntry) -> AuditEntry:
        """Add the next entry of a change; `number`, `previous` and `hash` are set here. Raises `Invalid` for a step that cannot follow."""
        ...

    def entries(self, change: str) -> list[AuditEntry]:
        """The entries of a change, oldest first. Raises `NotFound`, and `Corrupt` where the chain is broken."""
        ...

    def changes(self) -> list[str]:
        """The ids of all changes, oldest first."""
        ...

    def together(self) -> AbstractContextManager[None]:
        """A block whose entries, and the writes to the same store, become durable together or not at all."""
        ...


def follow(entries: Sequence[AuditEntry], entry: AuditEntry) -> AuditEntry:
    """`entry` as the next after `entries`. Raises `Invalid` where its stage cannot follow."""
    stage = entries[-1].stage if entries else None
    if entry.stage not in NEXT[stage]:
        raise Invalid(f"change {entry.change}: cannot go from {stage or 'nothing'} to {entry.stage}")
    return replace(entry, number=len(entries), previous=entries[-1].hash if entries else _FIRST).sealed()


class MemoryLedger:
    """A ledger that lasts as long as the process."""

    def __init__(self) -> None:
        self._entries: dict[str, list[AuditEntry]] = {}

    def append(self, entry: AuditEntry) -> AuditEntry:
        known = self._entries.setdefault(entry.change, [])
        known.append(follow(known, entry))
        return known[-1]

    def entries(self, change: str) -> list[AuditEntry]:
        found = list(self._entries.get(change, ()))
        if not found:
            raise _absent(change)
        check_chain(found)
        return found

    def changes(self) -> list[str]:
        return list(self._entries)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        kept = {change: list(entries) for change, entries in self._entries.items()}
        try:
            yield
        except BaseException:
            self._entries = kept
            raise


class StoreLedger:
    """The ledger of a store: each entry is a setting, `change/ID/NUMBER`.

    A principal sees the changes of spaces that it may read, and of nothing else; the owner of the file sees all.
    """

    def __init__(self, memory: Mnemos) -> None:
        self._memory = memory

    def append(self, entry: AuditEntry) -> AuditEntry:
        with self._memory.writing() as transaction:
            known = _read(transaction.settings(f"{_PREFIX}{entry.change}/"))
            if known and not self._shown(transaction, known[0]):
                raise _absent(entry.change)
            next_ = follow(known, entry)
            transaction.set_setting(f"{_PREFIX}{entry.change}/{next_.number:06d}", next_.as_json())
        return next_

    def entries(self, change: str) -> list[AuditEntry]:
        with self._memory.snapshot() as snapshot:
            found = _read(snapshot.settings(f"{_PREFIX}{change}/"))
            if not found or not self._shown(snapshot, found[0]):
                raise _absent(change)
        check_chain(found)
        return found

    def changes(self) -> list[str]:
        with self._memory.snapshot() as snapshot:
            firsts = [AuditEntry.from_json(value) for name, value in snapshot.settings(_PREFIX).items() if name.endswith("/000000")]
            return [entry.change for entry in firsts if self._shown(snapshot, entry)]

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        with self._memory.transaction():
            yield

    def _shown(self, snapshot: Reader, first: AuditEntry) -> bool:
        """Whether the principal may know of a change: it may read every space that the change is of, and nothing else is of it."""
        if self._memory.principal is None:
            return True
        access = self._memory.access(snapshot)
        rows = [snapshot.space(tier.removeprefix(SPACE_TIER)) if tier.startswith(SPACE_TIER) else None for tier in first.before]
        return bool(rows) and all(row is not None and access.may("read", row.settings) for row in rows)


def _absent(change: str) -> NotFound:
    return NotFound(f"ledger: there is no change {change!r}")


def _read(settings: Mapping[str, Any]) -> list[AuditEntry]:
    return [AuditEntry.from_json(settings[name]) for name in sorted(settings)]
