"""What a branch changed: three-way, field by field, against what both sides were when they last agreed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mnemos.base.cube import Content, MemCube, State
from mnemos.base.lineage import BRANCHED_FROM, VIEW_OF
from mnemos.kernel.history.branches import base_of, origin_of, sources
from mnemos.kernel.life.lifecycle import VISIBLE
from mnemos.kernel.lineage import is_reading
from mnemos.kernel.reading.viewing import Viewing, whole_of
from mnemos.kernel.writing.drafts import CHANGEABLE
from mnemos.store.base import Filter, Snapshot, VersionRow
from mnemos.text.registry import STRATEGIES

if TYPE_CHECKING:
    from mnemos.kernel.space import Space

_ANY_TIME = -(2**62)  # asked for at this time, what has expired is there, too


@dataclass(frozen=True, slots=True)
class Change:
    """What a branch did to one memory. `kind`: added, changed, archived, or restored (from the archive). `branch` is the memory there (None
    where it was forgotten there), `base` the original as it is now. `fields` changed there; of those, `conflicts` changed here as well, to
    something else ("state" stands for being in searches or not)."""

    kind: str
    branch: MemCube | None
    base: MemCube | None
    fields: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "fields": list(self.fields), "conflicts": list(self.conflicts),
            "branch": self.branch.as_json() if self.branch else None, "base": self.base.as_json() if self.base else None,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Diff:
    """What a branch changed since it was made, or was last merged."""

    of: str
    changes: tuple[Change, ...]

    @property
    def conflicts(self) -> tuple[Change, ...]:
        """The changes that contradict what has happened in the original space meanwhile."""
        return tuple(change for change in self.changes if change.conflicts)

    def __bool__(self) -> bool:
        return bool(self.changes)

    def as_json(self) -> dict[str, Any]:
        return {"of": self.of, "changes": [change.as_json() for change in self.changes]}


@dataclass(frozen=True, slots=True)
class Agreed:
    """When a memory of the branch and its original last agreed: version `version` of the one with version `base_version` of the other, when the
    log ended at `position`."""

    base: UUID
    base_version: int
    version: int
    position: int
    untouched: bool = False
    """Nothing has happened to the copy since it was made."""


class Comparison:
    """One look at a branch and its original space."""

    def __init__(self, space: Space, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.origin = origin_of(space, snapshot)
        self.base = base_of(space, snapshot)
        self.here = Viewing.of(space, snapshot)
        self.there = Viewing.of(self.base, snapshot)

    def changes(self) -> list[Change]:
        """What to bring back. The views of strategies are left out: the original's own strategy makes them, of what comes back."""
        where = self.here.narrowed(Filter(states=tuple(State)))
        seqs = self.snapshot.query(self.here.num, where, after=0, limit=2**31, now=_ANY_TIME)
        rows = self.snapshot.versions(seqs)
        known: set[UUID] = set()
        out = []
        for seq in seqs:
            if _is_made(rows[seq].content):
                continue
            agreed = self.agreed(rows[seq].content.id)
            change = self._added(rows[seq]) if agreed is None else None if agreed.untouched else self._compared(rows[seq], agreed)
            known |= {agreed.base} if agreed else set()
            if change is not None:
                out.append(change)
        return out + self._forgotten(known)

    def agreed(self, cube: UUID) -> Agreed | None:
        """When a memory of the branch last agreed with its original; None for one that has none."""
        entries = self.snapshot.entries_of(cube)
        for entry in reversed(entries):  # a merge says so in the log; before the first one, it is what the copy was made from
            if entry.kind == "link" and (body := entry.body_json())["relation"] == BRANCHED_FROM and self._is_original(UUID(body["to"])):
                assert entry.version is not None
                return Agreed(UUID(body["to"]), body["version"], entry.version, entry.seq)
        for edge in self.snapshot.derivations(cube):
            if edge.child == cube and edge.version == 1 and edge.relation == BRANCHED_FROM and self._is_original(edge.parent):
                return Agreed(edge.parent, edge.parent_version, 1, self.origin.position, all(e.kind not in ("update", "state") for e in entries))
        return None

    def _is_original(self, cube: UUID) -> bool:
        standing = self.snapshot.standing(cube)
        return standing is not None and standing.space == self.there.num

    def _added(self, row: VersionRow) -> Change | None:
        return Change("added", self.here.cube(row), None) if row.state in VISIBLE else None

    def _compared(self, row: VersionRow, agreed: Agreed) -> Change | None:
        now = self.there.current(agreed.base)
        ours, theirs = self.there.cube(now), self.here.cube(row)
        theirs_before, ours_before = self.here.cube(self.here.version(row.content.id, agreed.version)), self._base_at(agreed)
        fields = tuple(name for name in CHANGEABLE if _differ(theirs, theirs_before, name) and _differ(ours, theirs, name))
        conflicts = [name for name in fields if _differ(ours, ours_before, name)]
        here, there = row.state in VISIBLE, now.state in VISIBLE
        here_before, there_before = self._visible_at(row, agreed)
        if here != here_before and here != there:  # it left searches, or came back to them, in the branch alone
            if not here and any(_differ(ours, ours_before, name) for name in CHANGEABLE):
                conflicts.append("state")
            return Change("restored" if here else "archived", theirs, ours, fields, tuple(conflicts))
        if not fields:
            return None
        if there_before and not there:  # it was taken out of searches here, and changed in the branch
            conflicts.append("state")
        return Change("changed", theirs, ours, fields, tuple(conflicts))

    def _base_at(self, agreed: Agreed) -> MemCube:
        return self.there.cube(self.there.version(agreed.base, agreed.base_version))

    def _visible_at(self, row: VersionRow, agreed: Agreed) -> tuple[bool, bool]:
        """Whether a memory of the branch, and its original, were found by searches when they last agreed."""
        base = self.there.version(agreed.base, agreed.base_version)
        there = self.there.then({base.seq: base}, agreed.position)[base.seq].state in VISIBLE
        if agreed.position == self.origin.position:  # the copy stood as the original did
            return there, there
        return self.here.then({row.seq: row}, agreed.position)[row.seq].state in VISIBLE, there

    def _forgotten(self, known: set[UUID]) -> list[Change]:
        """Originals whose copies were forgotten in the branch. Those whose rules were changed since are left out: a copy may never have been."""
        if not any(entry.kind == "forget" and entry.space == self.here.num for entry in self.snapshot.log(self.origin.position)):
            return []
        then = Viewing.of(self.base, self.snapshot)
        then.position = self.origin.position
        out = []
        for row in sources(self.snapshot, then, self.base.system.clock()):
            cube = row.content.id
            if cube in known or whole_of(row.content) != cube or row.state not in VISIBLE or self.snapshot.standing(cube) is None:
                continue
            if _is_made(row.content):
                continue
            now = self.there.current(cube)
            if now.state in VISIBLE and not any(entry.kind == "permission" for entry in self.snapshot.entries_of(cube)):
                changed = now.content.version != row.content.version
                out.append(Change("archived", None, self.there.cube(now), (), ("state",) if changed else ()))
        return out


def _is_made(content: Content) -> bool:
    """Whether a memory is a view that a strategy made, or what a language model has read of a text."""
    by_strategy = content.metadata.get("strategy") in list(STRATEGIES) and any(link.relation == VIEW_OF for link in content.derived_from)
    return by_strategy or is_reading(content)


def _differ(one: MemCube, other: MemCube, field: str) -> bool:
    return bool(getattr(one, field) != getattr(other, field))


def diff(space: Space) -> Diff:
    """What a branch changed. Raises `Invalid` for a space that is no branch, `NotFound`, `PermissionDenied`."""
    space.admit("read")
    with space.system.snapshot() as snapshot:
        comparison = Comparison(space, snapshot)
        comparison.base.admit("read")
        return Diff(comparison.base.name, tuple(comparison.changes()))
