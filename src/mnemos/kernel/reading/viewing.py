"""One look at a space: a snapshot of the store, who looks, and as of when. What it does not show does not exist for the caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

from mnemos.base.clock import Moment
from mnemos.base.cube import Content, MemCube, State, memcube
from mnemos.base.errors import Invalid, NotFound, PermissionDenied
from mnemos.base.lineage import PART_OF
from mnemos.kernel.reading.conditions import position_of
from mnemos.kernel.rights.governance import LABELS, Access, label_level
from mnemos.store.base import Filter, Snapshot, SpaceRow, VersionRow

if TYPE_CHECKING:
    from mnemos.kernel.space import Space


def whole_of(content: Content) -> UUID:
    """The memory that a version belongs to: a part of a document to the document, everything else to itself."""
    for link in content.derived_from:
        if link.relation == PART_OF:
            return link.id
    return content.id


class Viewing:
    """What `access` sees of a space in `snapshot`: as it is now, or as it was when the log ended at `position`."""

    def __init__(self, snapshot: Snapshot, row: SpaceRow, access: Access, position: int | None = None) -> None:
        self.snapshot = snapshot
        self.num, self.name, self.settings = row.num, row.name, row.settings
        self.access = access
        self.position = position
        self._clearance = access.clearance(row.settings)

    @classmethod
    def of(cls, space: Space, snapshot: Snapshot) -> Viewing:
        """What the caller of a space sees in a snapshot; whether it may see the space at all is decided before."""
        system = space.system
        row = system.space_row(snapshot, space.num) if system.principal is not None else SpaceRow(space.num, space.name, 0, {})
        return cls(snapshot, row, system.access(snapshot), space.position)

    # -- what may be seen --
    def narrowed(self, where: Filter) -> Filter:
        """`where`, and only what the caller may read."""
        if self.access.principal is None:
            return where
        level = self._clearance
        labels = None if level is None or level == len(LABELS) - 1 else LABELS[: level + 1]
        return replace(where, readers=None if self.settings.get("owner") == self.access.principal else self.access.names, labels=labels)

    def shows(self, row: VersionRow) -> bool:
        """Whether the caller may read a version of this space."""
        if self.access.principal is None:
            return True
        if self._clearance is not None and label_level(row.content.sensitivity) > self._clearance:
            return False
        return self.settings.get("owner") == self.access.principal or row.acl is None or self.access.listed(row.acl, "read", absent=True)

    def derivable(self, cube: UUID) -> bool:
        """Whether the caller may derive something from a cube of this space: read it, and use it."""
        standing = self.snapshot.standing(cube)
        if standing is None or standing.space != self.num:
            return False
        if self.access.principal is None:
            return True
        row = self.snapshot.versions([standing.seq])[standing.seq]
        return self.access.may("derive", self.settings, row.acl) and self.shows(row)

    def shown_position(self, as_of: int | Moment | None) -> int:
        """The log position that a search looks at."""
        position = self.snapshot.position if as_of is None else position_of(self.snapshot, as_of, "as_of")
        return position if self.position is None else min(position, self.position)

    # -- cubes --
    def current(self, cube: UUID) -> VersionRow:
        """The version of a cube that this look shows. Raises `NotFound`, in the same words for what is elsewhere and what is not for the caller."""
        standing = self.snapshot.standing(cube)
        if standing is None or standing.space != self.num:
            if self.snapshot.forgotten(cube) and any(entry.space == self.num for entry in self.snapshot.entries_of(cube)):
                raise NotFound(f"cube {cube} was forgotten")
            raise self._absent(cube)
        seq = standing.seq if self.position is None else self.snapshot.seq_at(cube, self.position)
        if seq is None:
            raise NotFound(f"cube {cube} was not yet in space {self.name!r} at position {self.position}")
        if self.position is not None and not self.shows(self.own(cube, standing.seq)):  # the rules that hold are those of now
            raise self._absent(cube)
        return self.own(cube, seq)

    def version(self, cube: UUID, version: int) -> VersionRow:
        """One version of a cube. Raises `NotFound`."""
        seq = self.snapshot.version_seq(cube, version) if 0 < version < 2**31 else None
        if seq is None or (self.position is not None and seq > self.position):
            self.current(cube)
            raise NotFound(f"cube {cube} has no version {version if abs(version) < 2**31 else 'of that number'}")
        return self.own(cube, seq)

    def changeable(self, cube: UUID, verb: str = "write") -> VersionRow:
        """The current version of a whole memory that the caller may change. Raises `NotFound`, `Invalid` (a part of a document; it changes
        with the document, or the document's text would not be what was written), `PermissionDenied`."""
        row = self.current(cube)
        if (whole := whole_of(row.content)) != cube:
            raise Invalid(f"cube {cube} is a part of document {whole}; change the document")
        if row.acl is not None and not self.access.may(verb, self.settings, row.acl):
            raise PermissionDenied(f"principal {self.access.principal!r} may not {verb} cube {cube}; ask the owner of its space")
        return row

    def own(self, cube: UUID, seq: int) -> VersionRow:
        row = self.then(self.snapshot.versions([seq])).get(seq)
        if row is None or row.space != self.num or not self.shows(row):
            raise self._absent(cube)
        return row

    def _absent(self, cube: UUID) -> NotFound:
        return NotFound(f"cube {cube} is not in space {self.name!r}")

    def then(self, rows: dict[int, VersionRow], position: int | None = None) -> dict[int, VersionRow]:
        """The rows with the state that their cubes had when the log ended at `position` (None: where this look stands)."""
        position = self.position if position is None else position
        if position is None or position >= self.snapshot.position:
            return rows
        out = {}
        for seq, row in rows.items():
            state, frozen = State.GENERATED, False
            for entry in self.snapshot.entries_of(row.content.id):
                if entry.seq > position:
                    break
                if entry.kind == "state":
                    state = State(entry.body_json()["to"])
                elif entry.kind in ("freeze", "unfreeze"):
                    frozen = entry.kind == "freeze"
            stale = row.stale if row.stale is not None and row.stale <= position else None
            out[seq] = replace(row, state=state, frozen=frozen, stale=stale)
        return out

    # -- what callers get --
    def text(self, row: VersionRow) -> str:
        """The text of a version; that of a document is its parts, joined."""
        if not row.has_parts:
            return row.content.text or ""
        seqs = self.snapshot.parts(row.content.id, row.content.version)
        parts = self.snapshot.versions(seqs)
        return "".join(parts[seq].content.text or "" for seq in seqs if seq in parts)

    def cube(self, row: VersionRow, text: str | None = None) -> MemCube:
        """The caller's view of a version; `text` where it is known already."""
        return memcube(
            row.content,
            space=self.name,
            state=row.state,
            frozen=row.frozen,
            stale=row.stale is not None,
            updated_at=row.updated_at,
            position=row.seq,
            digest=row.digest,
            text=self.text(row) if text is None else text,
        )

    def cubes(self, seqs: Sequence[int], position: int | None = None) -> list[MemCube]:
        """The versions at `seqs`, in that order, as they stood when the log ended at `position`."""
        rows: Mapping[int, VersionRow] = self.then(self.snapshot.versions(seqs), position)
        return [self.cube(rows[seq]) for seq in seqs]

