"""Snapshots: a name for how a space was at a position of the log, and going back there, as new versions: nothing is ever overwritten."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mnemos.base.clock import Moment, iso
from mnemos.base.cube import Json, State, check_text
from mnemos.base.errors import Conflict, Invalid, NotFound, shown
from mnemos.kernel.history.reverting import say_again
from mnemos.kernel.life import lifecycle
from mnemos.kernel.life.lifecycle import VISIBLE
from mnemos.kernel.lineage import is_reading
from mnemos.kernel.reading.conditions import position_of
from mnemos.kernel.reading.viewing import Viewing, whole_of
from mnemos.kernel.rights.limits import use_quota
from mnemos.store.base import Snapshot, Standing, VersionRow
from mnemos.store.sqlite_write import Writer

if TYPE_CHECKING:
    from mnemos.kernel.space import Space

_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class NamedPosition:
    """A snapshot: how `space` was when the log ended at `position`."""

    name: str
    space: str
    position: int
    at: str
    by: str | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Rewound:
    """What going back changed: memories that say again what they said then (`reverted`), that were out of searches and are back or the other
    way round (`moved`), that did not exist then and are in the archive now (`archived`); those that have been forgotten since and do not come
    back (`gone`), and those that are in quarantine and stay there (`kept`)."""

    position: int
    reverted: tuple[str, ...]
    moved: tuple[str, ...]
    archived: tuple[str, ...]
    gone: tuple[str, ...]
    kept: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def _key(space: Space, name: object) -> str:
    text = check_text(name, "snapshot")
    if not text.strip() or len(text) > _LONGEST_NAME:
        raise Invalid(f"snapshot: a name has 1 to {_LONGEST_NAME} characters, not all blank")
    return f"snapshot/{space.num}/{text}"


def take(space: Space, name: str, at: int | Moment | None) -> NamedPosition:
    """Name how a space is now, or was at a position or time. Raises `Conflict` where the name is taken, `Invalid`, `PermissionDenied`."""
    key = _key(space, name)
    space.admit("write")
    space.admit("read", counted=False)
    with space.system.writing() as transaction:
        space.settings_for(transaction, "write")
        if transaction.setting(key) is not None:
            raise Conflict(f"snapshot: space {space.name!r} has one called {name!r} already; drop it first, or choose another name")
        position = transaction.position if at is None else position_of(transaction, at, "at")
        taken = NamedPosition(name, space.name, position, iso(space.system.clock()) or "", space.system.principal)
        transaction.set_setting(key, {"position": position, "at": taken.at, "by": taken.by})
    return taken


def listed(space: Space) -> list[NamedPosition]:
    """The snapshots of a space, the oldest position first."""
    space.admit("read")
    prefix = f"snapshot/{space.num}/"
    with space.system.snapshot() as snapshot:
        found = [NamedPosition(key.removeprefix(prefix), space.name, **value) for key, value in snapshot.settings(prefix).items()]
    return sorted(found, key=lambda one: (one.position, one.name))


def drop(space: Space, name: str) -> None:
    """Take a name away; how the space was can still be seen by its position. Raises `NotFound`."""
    key = _key(space, name)
    space.admit("write")
    with space.system.writing() as transaction:
        space.settings_for(transaction, "write")
        if transaction.setting(key) is None:
            raise NotFound(f"snapshot: space {space.name!r} has none called {shown(name)}")
        transaction.set_setting(key, None)


def position_meant(space: Space, snapshot: Snapshot, to: NamedPosition | int | Moment) -> int:
    """The position that a snapshot, its name, a position or a time stands for. Raises `NotFound`, `Invalid`."""
    if isinstance(to, NamedPosition):
        return position_of(snapshot, to.position, "to")
    if isinstance(to, str):
        if (kept := snapshot.setting(_key(space, to))) is not None:
            return int(kept["position"])
        try:
            return position_of(snapshot, to, "to")
        except Invalid:
            raise NotFound(f"snapshot: space {space.name!r} has none called {shown(to)}, and it is no time") from None
    return position_of(snapshot, to, "to")


def rewind(space: Space, to: NamedPosition | int | Moment, ids: Iterable[UUID] | None) -> Rewound:
    """Bring memories (None: all of the space) back to what they said and where they stood at a snapshot, in one transaction.

    Raises `Frozen` where one that would have to change is frozen, `NotFound`, `Invalid`, `PermissionDenied`.
    """
    system = space.system
    space.admit("write")
    space.admit("read", counted=False)
    chosen = None if ids is None else list(dict.fromkeys(ids))
    with system.writing(alone=True) as transaction:
        settings = space.settings_for(transaction, "write")
        position = position_meant(space, transaction, to)
        now, then = Viewing.of(space, transaction), Viewing.of(space, transaction)
        then.position = position
        work = _Rewinding(transaction, now, then, settings, system.clock())
        for cube in _touched(transaction, now, position) if chosen is None else chosen:
            work.bring_back(cube, alone=chosen is not None)
        gone = _gone(transaction, space.num, position) if chosen is None else []
    return Rewound(position, tuple(work.reverted), tuple(work.moved), tuple(work.archived), tuple(gone), tuple(work.kept))


def _touched(snapshot: Snapshot, viewing: Viewing, position: int) -> list[UUID]:
    """The whole memories, of those that the caller may see, to which something has happened since `position`."""
    cubes = dict.fromkeys(entry.cube for entry in snapshot.log(position) if entry.space == viewing.num and entry.kind in ("add", "update", "state"))
    found = []
    for cube in cubes:
        standing = None if cube is None else snapshot.standing(cube)
        if standing is not None:
            row = snapshot.versions([standing.seq])[standing.seq]
            if viewing.shows(row) and whole_of(row.content) == row.content.id and not is_reading(row.content):  # it follows its text
                found.append(row.content.id)
    return found


def _gone(snapshot: Snapshot, space: int, position: int) -> list[str]:
    """Memories of a space that were there at `position`, and have been forgotten since."""
    forgotten = [entry.cube for entry in snapshot.log(position) if entry.kind == "forget" and entry.space == space and entry.cube is not None]
    return [str(cube) for cube in forgotten if snapshot.entries_of(cube)[0].seq <= position]


class _Rewinding:
    """One going back, memory by memory."""

    def __init__(self, transaction: Writer, now: Viewing, then: Viewing, settings: Json, time: int) -> None:
        self._transaction = transaction
        self._now = now
        self._then = then
        self._settings = settings
        self._time = time
        assert then.position is not None
        self._position = then.position
        self.reverted: list[str] = []
        self.moved: list[str] = []
        self.archived: list[str] = []
        self.kept: list[str] = []

    def bring_back(self, cube: UUID, *, alone: bool) -> None:
        """`alone`: it was asked for by itself, so that it must have existed then."""
        current = self._now.changeable(cube)
        if alone or self._transaction.seq_at(cube, self._position) is not None:
            was = self._then.current(cube)
            if not says_the_same(current, was):
                use_quota(self._transaction, self._now.num, self._now.name, self._settings, [was.content], 0)
                say_again(self._transaction, current, was)
                self.reverted.append(str(cube))
            self._stand(cube, was)
        elif current.state in VISIBLE:
            lifecycle.move(self._transaction, self._standing(cube), State.ARCHIVED)
            self.archived.append(str(cube))

    def _stand(self, cube: UUID, was: VersionRow) -> None:
        """Lead a memory to the state that it was in, or to one that searches see alike; what is in quarantine, or whose time is over, stays."""
        standing, target = self._standing(cube), was.state
        if standing.state is target or (standing.state in VISIBLE and target in VISIBLE):
            return
        if standing.state is State.QUARANTINED:
            self.kept.append(str(cube))
            return
        if standing.state is State.EXPIRED:
            if was.content.expires_at is not None and was.content.expires_at <= self._time:
                return
            target = State.GENERATED
        elif target in VISIBLE:
            target = State.ACTIVATED
        if standing.state.may_become(target):
            lifecycle.move(self._transaction, standing, target)
            self.moved.append(str(cube))

    def _standing(self, cube: UUID) -> Standing:
        standing = self._transaction.standing(cube)
        assert standing is not None
        return standing


def says_the_same(one: VersionRow, other: VersionRow) -> bool:
    """Whether two versions of a memory say the same: all but their numbers. Those of documents do where they have the same parts."""
    if one.seq == other.seq:
        return True
    if one.has_parts or other.has_parts:
        return False
    records = [row.content.as_json() for row in (one, other)]
    for record in records:
        record.pop("version"), record.pop("parents", None)
    return records[0] == records[1]
