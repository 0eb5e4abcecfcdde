"""What-if branches: a space of its own, made from another as it is or was, to be changed, compared, merged back, or dropped.

MemOS, arXiv 2507.03724, section 5.4 (time machine: a branch from an archived or past state that never touches the frozen original). A branch
holds a copy of each memory, with its vectors, as a memory of its own with the relation "branched_from": it does not become stale when the
original changes, and is gone when the original is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mnemos.base.clock import Moment, iso
from mnemos.base.cube import Content, Link, State
from mnemos.base.errors import Conflict, Invalid, NotFound, PermissionDenied
from mnemos.base.lineage import BRANCHED_FROM, PART_OF, VIEW_OF
from mnemos.kernel.forgetting import Certificate, forget
from mnemos.kernel.history.reverting import copy_vectors, derived_from_row
from mnemos.kernel.history.snapshots import NamedPosition, position_meant
from mnemos.kernel.life.lifecycle import VISIBLE
from mnemos.kernel.lineage import is_reading
from mnemos.kernel.reading.viewing import Viewing
from mnemos.kernel.rights.space_settings import check_space_name, look_after
from mnemos.store.base import Derived, Filter, NewVersion, Snapshot, SpaceRow, VersionRow
from mnemos.store.sqlite_write import Writer
from mnemos.text.encoding import restore

if TYPE_CHECKING:
    from mnemos.kernel.space import Space
    from mnemos.kernel.system import Mnemos

_CHUNK = 2000
"""Memories that are read and written together."""
COPIED = (*VISIBLE, State.ARCHIVED, State.MERGED, State.QUARANTINED)
"""The states of what goes into a branch: all but what has expired."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a branch was made from: the space `of` as it was at `position` of the log; `at` is when it was made."""

    of: str
    position: int
    at: str
    dropped: bool = False

    @classmethod
    def of_space(cls, row: SpaceRow) -> Origin | None:
        """Where a space comes from; None for one that is no branch."""
        found = row.settings.get("branch")
        return None if found is None else cls(**found)

    def as_setting(self) -> dict[str, Any]:
        return {"of": self.of, "position": self.position, "at": self.at, **({"dropped": True} if self.dropped else {})}


def branch(space: Space, name: str, at: NamedPosition | int | Moment | None) -> Space:
    """A branch of a space, as it is or was, as the new space `name`. All of it in one transaction; the original is not touched.

    Raises `Conflict` where there is such a space, `NotFound`, `Invalid`, `PermissionDenied` (it takes the rights to read and to derive).
    """
    system = space.system
    name = check_space_name(name)
    space.admit("read")
    with system.writing(alone=True) as transaction:
        settings = space.settings_for(transaction, "derive")
        viewing = Viewing.of(space, transaction)
        if at is not None:
            viewing.position = position_meant(space, transaction, at)
        position = transaction.position if viewing.position is None else viewing.position
        found = sources(transaction, viewing, system.clock())
        origin = Origin(space.name, position, iso(system.clock()) or "")
        strategy = {"strategy": settings["strategy"]} if "strategy" in settings else {}
        row = _new_space(system, transaction, name, {"owner": system.principal, **strategy, "branch": origin.as_setting()})
        Copying(system, transaction, viewing.num, row.num).copy(found, branched=True)
        look_after(system, transaction, name, strategy)
    return system.existing_space(name)


def _new_space(system: Mnemos, transaction: Writer, name: str, settings: dict[str, Any]) -> SpaceRow:
    """The space of a new branch; that of one which was dropped may be used again by its owner."""
    row = transaction.space(name)
    if row is None:
        return transaction.create_space(name, settings)
    origin = Origin.of_space(row)
    if origin is None or not origin.dropped or not system.access(transaction).may("share", row.settings) or transaction.count(row.num)["versions"]:
        raise Conflict(f"space: there is one called {name!r} already; choose another name for the branch")
    transaction.set_space(row.num, settings)
    return SpaceRow(row.num, name, row.created_at, settings)


def sources(snapshot: Snapshot, viewing: Viewing, now: int) -> list[VersionRow]:
    """What a branch of what `viewing` shows is made from: whole memories and the parts of documents, in the order in which they began. What a
    language model has read stays behind: it is made again from the texts."""
    where = viewing.narrowed(Filter(states=COPIED))
    seqs = snapshot.query(viewing.num, where, after=0, limit=2**31, now=now, at=viewing.position)
    found: list[tuple[int, VersionRow]] = []
    for start in range(0, len(seqs), _CHUNK):
        rows = viewing.then(snapshot.versions(seqs[start : start + _CHUNK]))
        for row in rows.values():
            if is_reading(row.content) or not viewing.access.may("derive", viewing.settings, row.acl):
                continue
            found.append((_began(snapshot, row), row))
            if row.has_parts:
                parts = snapshot.versions(snapshot.parts(row.content.id, row.content.version))
                found += [(part.seq, replace(part, state=row.state)) for part in parts.values()]
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]


def _began(snapshot: Snapshot, row: VersionRow) -> int:
    """Where the first version of a memory was written."""
    return row.seq if row.content.version == 1 else snapshot.entries_of(row.content.id)[0].seq


class Copying:
    """Copies of memories of one space as new memories of another, with their terms and vectors."""

    def __init__(self, system: Mnemos, transaction: Writer, source: int, target: int) -> None:
        self._system = system
        self._transaction = transaction
        self._source = source
        self._target = target
        self.ids: dict[UUID, UUID] = {}
        """Of each memory the copy that stands for it in the target."""
        self.versions: dict[UUID, int] = {}
        """Of memories of the target that stood for one before: the version that links to them are to name."""
        self._told: dict[str, str] = {}

    def copy(self, rows: Sequence[VersionRow], *, branched: bool) -> None:
        """Write the copies. `branched` says that they come from their originals; else they stand for themselves."""
        self.ids |= {row.content.id: self._system.new_id() for row in rows}
        derived = self._derived(rows)
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            new = [NewVersion(self._content(row.content, branched), self._moved(derived, row)) for row in part]
            seqs = self._transaction.add(self._target, new)
            places = {row.seq: seq for row, seq in zip(part, seqs, strict=True) if not row.has_parts}
            copy_vectors(self._transaction, self._source, places)
        for row in rows:
            self._stand(row)

    def _content(self, content: Content, branched: bool) -> Content:
        links = [self._link(link) for link in content.derived_from if link.relation != BRANCHED_FROM]
        if branched:
            links.append(Link(content.id, content.version, BRANCHED_FROM))
        metadata = self._renamed(content.metadata) if any(link.relation == VIEW_OF for link in links) else content.metadata
        return replace(content, id=self.ids[content.id], version=1, parents=(), derived_from=tuple(links), metadata=metadata)

    def _renamed(self, value: Any) -> Any:
        """What a view says of other memories, said of their copies: its edges and members name them by their ids."""
        if isinstance(value, str):
            return self._names().get(value, value)
        if isinstance(value, Mapping):
            return {name: self._renamed(one) for name, one in value.items()}
        return [self._renamed(one) for one in value] if isinstance(value, (list, tuple)) else value

    def _names(self) -> dict[str, str]:
        if len(self._told) != len(self.ids):
            self._told = {str(original): str(copy) for original, copy in self.ids.items()}
        return self._told

    def _link(self, link: Link) -> Link:
        """The same link among the copies; one that leads to what was not copied stays."""
        there = self.ids.get(link.id)
        return link if there is None else Link(there, self.versions.get(there, 1), link.relation)

    def _derived(self, rows: Iterable[VersionRow]) -> dict[int, Derived]:
        """Position → what was derived from each text when it was written."""
        wanted = {row.seq for row in rows if not row.has_parts}
        if not wanted:
            return {}
        found = self._transaction.index_rows(self._source, min(wanted) - 1)
        return {row[0]: derived_from_row(row) for row in found if row[0] in wanted}

    def _moved(self, derived: Mapping[int, Derived], row: VersionRow) -> Derived:
        if row.has_parts:
            return Derived()
        found = derived.get(row.seq) or restore(row.content).derived
        return found if found.part_of is None else replace(found, part_of=self.ids[found.part_of])

    def _stand(self, row: VersionRow) -> None:
        """Rules, a state that searches do not see, and staleness go with the copy; being frozen does not."""
        transaction, copy = self._transaction, self.ids[row.content.id]
        if row.acl is not None:
            transaction.set_acl(copy, row.acl)
        if row.state not in VISIBLE:
            transaction.set_state(copy, row.state)
        if row.stale is not None and not any(link.relation == PART_OF for link in row.content.derived_from):
            said = next(transaction.log(row.stale - 1, 1)).body_json()
            parent = UUID(said["of"])
            transaction.set_stale(copy, self.ids.get(parent, parent), said["version"])


def branches(space: Space) -> list[str]:
    """The names of the branches of a space that the principal may read, oldest first."""
    space.admit("read")
    system = space.system
    with system.snapshot() as snapshot:
        access = system.access(snapshot)
        found = [(row.name, Origin.of_space(row)) for row in snapshot.spaces() if access.may("read", row.settings)]
    return [name for name, origin in found if origin is not None and origin.of == space.name and not origin.dropped]


def origin_of(space: Space, snapshot: Snapshot) -> Origin:
    """Where a branch comes from. Raises `Invalid` for a space that is no branch."""
    origin = Origin.of_space(space.system.space_row(snapshot, space.num))
    if origin is None or origin.dropped:
        raise Invalid(f"space {space.name!r} is no branch{', or not any more' if origin else ''}; make one with space.branch(name)")
    return origin


def base_of(space: Space, snapshot: Snapshot) -> Space:
    """The space that a branch was made from. Raises `NotFound`, `PermissionDenied`."""
    system, origin = space.system, origin_of(space, snapshot)
    row = snapshot.space(origin.of)
    if row is None or not system.access(snapshot).may("read", row.settings):
        raise NotFound(f"the space that {space.name!r} is a branch of is none that you may see")
    return system.existing_space(origin.of)


def drop(space: Space, reason: str | None) -> Certificate | None:
    """Forget all of a branch; gives the certificate, None where nothing was left in it. What was made from it elsewhere is forgotten with it.

    Raises `Frozen`, `Invalid`, `PermissionDenied`.
    """
    system = space.system
    space.admit("forget")
    with system.writing(alone=True) as transaction:
        origin, row = origin_of(space, transaction), system.space_row(transaction, space.num)
        if not system.access(transaction).may("share", row.settings):
            raise PermissionDenied(f"principal {system.principal!r} may not drop branch {space.name!r}; ask its owner")
        held = transaction.count(space.num)["versions"]
        certificate = forget(system, space.num, space.name, None, Filter(parts=True), reason) if held else None
        transaction.set_space(space.num, {**row.settings, "branch": replace(origin, dropped=True).as_setting()})
    return certificate
