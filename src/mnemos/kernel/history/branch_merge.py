"""Bringing a branch back: what it changed becomes new versions of the originals, what it added new memories, what it took away is archived."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from mnemos.base.clock import Moment
from mnemos.base.cube import Link, MemCube
from mnemos.base.errors import Conflict, Invalid, shown
from mnemos.base.lineage import BRANCHED_FROM
from mnemos.kernel.forgetting import Certificate
from mnemos.kernel.history.branch_diff import Change, Comparison, Diff, diff
from mnemos.kernel.history.branches import Copying, Origin, branch, branches, drop, origin_of
from mnemos.kernel.history.snapshots import NamedPosition
from mnemos.kernel.life.lifecycle import VISIBLE
from mnemos.kernel.rights.limits import use_quota
from mnemos.store.base import VersionRow
from mnemos.store.sqlite_write import Writer
from mnemos.text.encoding import terms_text

if TYPE_CHECKING:
    from mnemos.kernel.space import Space

RESOLUTIONS = ("error", "ours", "theirs")
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge did in the original space, by the ids of its memories."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    archived: tuple[str, ...]
    restored: tuple[str, ...]
    left: tuple[str, ...]
    """Those of whose changes nothing was taken, because of conflicts that were resolved for the original."""

    def as_json(self) -> dict[str, list[str]]:
        return {name: list(getattr(self, name)) for name in self.__slots__}


def merge(space: Space, on_conflict: str) -> Merged:
    """Bring what a branch changed back to its original space, in one transaction.

    Raises `Conflict` where both sides changed the same and `on_conflict` is "error" ("ours" keeps what the original says, "theirs" takes what
    the branch says), `Frozen` where an original that would change is frozen.
    """
    if on_conflict not in RESOLUTIONS:
        raise Invalid(f"on_conflict: {shown(on_conflict)} is none of {', '.join(RESOLUTIONS)}")
    space.admit("read")
    with space.system.writing(alone=True) as transaction:
        comparison = Comparison(space, transaction)
        comparison.base.admit("write")
        changes = comparison.changes()
        conflicts = [change for change in changes if change.conflicts]
        if conflicts and on_conflict == "error":
            raise Conflict(f"merge: {_told(conflicts)}; look at them with diff(), and merge with on_conflict='ours' or 'theirs'")
        work = _Merging(space, transaction, comparison, take_theirs=on_conflict == "theirs")
        for change in changes:
            work.apply(change)
        work.add([change.branch for change in changes if change.kind == "added" and change.branch is not None])
    return Merged(tuple(work.added), tuple(work.changed), tuple(work.archived), tuple(work.restored), tuple(work.left))


def _told(conflicts: Sequence[Change]) -> str:
    """The first conflicts, in words."""
    named = [f"{change.base.id} ({', '.join(change.conflicts)})" for change in conflicts[:_NAMED] if change.base is not None]
    more = f" and {len(conflicts) - _NAMED} more" if len(conflicts) > _NAMED else ""
    return f"changed on both sides: {'; '.join(named)}{more}"


class _Merging:
    """One merge, change by change."""

    def __init__(self, space: Space, transaction: Writer, comparison: Comparison, *, take_theirs: bool) -> None:
        self._space = space
        self._transaction = transaction
        self._comparison = comparison
        self._base = comparison.base
        self._theirs = take_theirs
        self.added: list[str] = []
        self.changed: list[str] = []
        self.archived: list[str] = []
        self.restored: list[str] = []
        self.left: list[str] = []

    def apply(self, change: Change) -> None:
        """Bring one change of a memory that the original space has, too."""
        if change.base is None:
            return
        id, kept = change.base.id, () if self._theirs else change.conflicts
        fields = {name: getattr(change.branch, name) for name in change.fields if name not in kept}
        moves = change.kind in ("archived", "restored") and "state" not in kept
        if not fields and not moves:
            self.left.append(id)
        if fields:
            with self._space.system.embedding.lending(self._vectors(change)):
                self._base.update(id, **fields)
            self.changed.append(id)
        visible = self._visible(UUID(id))  # a change may have brought it back to searches
        if moves and change.kind == "restored":
            if not visible:
                self._base.restore(id)
            self.restored.append(id)
        elif moves:
            self._base.archive(id)
            self.archived.append(id)
        elif visible and not self._was_visible(change.base) and ("state" in kept or not self._was_visible(change.branch)):
            self._base.archive(id)
        if change.branch is not None:
            self._agree(change.branch, UUID(id))

    def _visible(self, cube: UUID) -> bool:
        standing = self._transaction.standing(cube)
        return standing is not None and standing.state in VISIBLE

    @staticmethod
    def _was_visible(cube: MemCube | None) -> bool:
        return cube is not None and cube.state in [state.word for state in VISIBLE]

    def _vectors(self, change: Change) -> dict[str, bytes]:
        """The vectors that the texts of a changed memory have in the branch: they are copied, not computed."""
        assert change.branch is not None
        snapshot, number = self._transaction, self._comparison.here.num
        row = self._comparison.here.current(UUID(change.branch.id))
        rows = snapshot.versions([row.seq, *snapshot.parts(row.content.id, row.content.version)])
        own = self._space.system.embedding.fingerprint
        numbers = {num for num, (fingerprint, _) in snapshot.embedders().items() if fingerprint == own}
        out = {}
        for seq, version in rows.items():
            found, embedder, value = next(iter(snapshot.vectors(number, seq - 1)), (0, 0, b""))
            if found == seq and embedder in numbers:
                out[terms_text(version.content)] = value
        return out

    def add(self, cubes: Sequence[MemCube]) -> None:
        """New memories of the branch, as new ones of the original space, with their vectors."""
        if not cubes:
            return
        here, snapshot = self._comparison.here, self._transaction
        rows: list[VersionRow] = []
        for cube in cubes:
            whole = here.current(UUID(cube.id))
            rows += [whole, *snapshot.versions(snapshot.parts(whole.content.id, whole.content.version) if whole.has_parts else []).values()]
        settings = self._base.settings_for(snapshot, "write")
        use_quota(snapshot, self._base.num, self._base.name, settings, [row.content for row in rows], len(cubes))
        copying = Copying(self._space.system, snapshot, here.num, self._base.num)
        for row in rows:
            for link in row.content.derived_from:
                self._lead_home(copying, link)
        copying.copy(sorted(rows, key=lambda row: row.seq), branched=False)
        for cube in cubes:
            new = copying.ids[UUID(cube.id)]
            self._agree(cube, new)
            self.added.append(str(new))

    def _lead_home(self, copying: Copying, link: Link) -> None:
        """Let links of new memories to copies lead to the originals, in their present versions."""
        agreed = self._comparison.agreed(link.id)
        standing = None if agreed is None else self._transaction.standing(agreed.base)
        if standing is not None:
            copying.ids[link.id] = standing.id
            copying.versions[standing.id] = standing.version

    def _agree(self, cube: MemCube, base: UUID) -> None:
        """Remember that both sides agree from here on."""
        standing, here = self._transaction.standing(base), self._transaction.standing(UUID(cube.id))
        assert standing is not None
        assert here is not None
        self._transaction.link(here.id, here.version, base, standing.version, BRANCHED_FROM)


class Branch:
    """A branch of a space. `space` is where it is read and changed, like any other space; `origin` says what it was made from."""

    def __init__(self, space: Space) -> None:
        """Raises `Invalid` for a space that is no branch."""
        self.space = space
        with space.system.snapshot() as snapshot:
            self.origin: Origin = origin_of(space, snapshot)

    def __repr__(self) -> str:
        return f"Branch({self.space.name!r} of {self.origin.of!r}, at {self.origin.position})"

    @property
    def name(self) -> str:
        return self.space.name

    @classmethod
    def make(cls, space: Space, name: str, at: NamedPosition | int | Moment | None) -> Branch:
        """A new branch of `space`, as `branches.branch` says."""
        return cls(branch(space, name, at))

    @classmethod
    def all_of(cls, space: Space) -> list[Branch]:
        """The branches of `space` that the principal may read, oldest first."""
        return [cls(space.system.existing_space(name)) for name in branches(space)]

    def diff(self) -> Diff:
        """What the branch changed since it was made or last merged, and what of it contradicts changes of the original."""
        return diff(self.space)

    def merge(self, on_conflict: str = "error") -> Merged:
        """Bring the changes back: originals get new versions (field by field, against what both sides were when they last agreed), new memories
        are added, and what was archived or forgotten in the branch goes to the archive. The branch stays, and can be merged again.

        Where both sides changed the same, "error" raises `Conflict` and does nothing, "ours" keeps what the original says, "theirs" takes what the
        branch says. Raises `Frozen` where an original that would change is frozen.
        """
        return merge(self.space, on_conflict)

    def drop(self, reason: str | None = None) -> Certificate | None:
        """Forget the branch and what was made from it; the originals stay. Gives the certificate, None where nothing was left in it."""
        return drop(self.space, reason)
