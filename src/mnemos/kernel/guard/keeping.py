"""Where a guard's experience is kept in a store: lessons as cubes of a space of their own, counts and bounds as settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mnemos.base.clock import from_micros
from mnemos.base.errors import PermissionDenied
from mnemos.base.ids import parse_id
from mnemos.kernel.guard.calibration import Calibration
from mnemos.kernel.guard.lessons import Lesson, LessonStore, MemoryLessons
from mnemos.kernel.guard.suspicion import Suspicion
from mnemos.kernel.guard.vocabulary import Vocabulary
from mnemos.kernel.rights import governance

if TYPE_CHECKING:
    from mnemos.kernel.space import Space

LESSONS = "/lessons"
"""What the name of a space's lessons ends in."""
_NEW = Suspicion()


def lessons_of(space: Space) -> LessonStore:
    """The lessons of a space: kept in the store, or, for whom only may read and before anybody made their space, in memory.

    Whoever owns the lessons decides what is vetoed, so that it has to be somebody who may share the space. Raises `PermissionDenied` where the
    space of that name is somebody else's.
    """
    system, name = space.system, space.name + LESSONS
    with system.snapshot() as snapshot:
        settings, held = system.space_row(snapshot, space.num).settings, snapshot.space(name)
        owner = system.principal if held is None else held.settings.get("owner")
        entitled = governance.access(owner, snapshot).may("share", settings)
    if not entitled and held is not None:
        raise PermissionDenied(
            f"space {name!r} is not that of the lessons of {space.name!r}: its owner may not share {space.name!r}; guard a space of another name"
        )
    return SpaceLessons(space) if entitled else MemoryLessons()


class SpaceLessons:
    """Keeps lessons as cubes of type "lesson" in the space NAME/lessons, which is made with the rules of the space that they protect.

    A lesson is written when it is learnt and whenever it changes, but for its counters, which are kept by `flush`. What another process
    learnt is seen at the next call. A lesson is derived from the memory that it was learnt from, and is forgotten with it: to keep the lesson,
    leave the memory in quarantine. What a principal learns who may not write there lasts as long as the process.
    """

    def __init__(self, space: Space) -> None:
        self._system = space.system
        settings = space.system.settings(space.name)
        rules = {key: settings[key] for key in ("acl", "deny") if key in settings}
        name = space.name + LESSONS
        known = name in space.system.spaces()
        self.space = space.system.existing_space(name) if known else space.system.space(name, **rules)
        self._held: dict[str, Lesson] = {}
        self._cubes: dict[str, str] = {}
        self._dirty: set[str] = set()
        self._seen = -1

    def put(self, lesson: Lesson) -> None:
        self._refresh()
        known = self._held.get(lesson.id)
        self._held[lesson.id] = lesson
        if known is not None and replace(known, matched=lesson.matched, overridden=lesson.overridden) == lesson:
            self._dirty.add(lesson.id)
        else:
            self._write(lesson)

    def all(self) -> Iterable[Lesson]:
        self._refresh()
        return list(self._held.values())

    def flush(self) -> None:
        """Keep the counters that changed."""
        for id in sorted(self._dirty):
            self._write(self._held[id])

    def _write(self, lesson: Lesson) -> None:
        fields: dict[str, Any] = {"metadata": {"lesson": lesson.as_json()}, "expires_at": from_micros(lesson.expires).isoformat()}
        try:
            if lesson.id in self._cubes:
                self.space.update(self._cubes[lesson.id], lesson.rendered(), **fields)
            else:
                cube = self.space.add(lesson.rendered(), type="lesson", origin="inference", derived_from=self._stored(lesson.sources[:1]), **fields)
                self._cubes[lesson.id] = cube.id
        except PermissionDenied:  # a search must not fail for whoever may only read because it found something suspicious
            self._dirty.add(lesson.id)
        else:
            self._dirty.discard(lesson.id)

    def _stored(self, ids: Iterable[str]) -> list[str]:
        """Those of the ids that are memories: a record that only taught a lesson is none."""
        with self._system.snapshot() as snapshot:
            return [id for id in ids if snapshot.standing(parse_id(id)) is not None]

    def _refresh(self) -> None:
        """Read the lessons again where the log says that they may have changed."""
        position = self._system.position()
        if position == self._seen:
            return
        if self._seen >= 0 and not any(entry.space == self.space.num for entry in self._system.log(self._seen)):
            self._seen = position
            return
        self._seen = position
        read: dict[str, Lesson] = {}
        cursor = None
        while True:
            page = self.space.list(types=["lesson"], limit=1000, cursor=cursor)
            for cube in page:
                lesson = Lesson.from_json(cube.metadata.get("lesson", {}))
                read[lesson.id] = lesson
                self._cubes[lesson.id] = cube.id
            cursor = page.cursor
            if cursor is None:
                break
        gone = {id for id in self._dirty if id in self._cubes and id not in read}  # forgotten with their source
        self._dirty -= gone
        self._held = read | {id: self._held[id] for id in self._dirty}


class StoreSuspicions:
    """Keeps counts as settings of the store, `guard/SPACE/count/ID`: at once where a record was suspected, the agreements of others at `flush`.

    The log of a store keeps every value of a setting, so that a setting for each agreement would make it grow with every search. The counts of a
    principal who may not write the space last as long as the process: who only reads shall not set aside what others find.
    """

    def __init__(self, space: Space) -> None:
        self._system = space.system
        self._prefix = f"guard/{space.num}/count/"
        with space.system.snapshot() as snapshot:
            read = snapshot.settings(self._prefix)
            settings = {**space.system.space_row(snapshot, space.num).settings, "read_only": False}
            self._kept = space.system.access(snapshot).may("write", settings)
        self._held = {name.removeprefix(self._prefix): Suspicion.from_json(value) for name, value in read.items()}
        self._dirty: set[str] = set()

    def get(self, id: str) -> Suspicion:
        return self._held.get(id, _NEW)

    def put(self, changed: Mapping[str, Suspicion]) -> None:
        now = [id for id, held in changed.items() if held.diverged > self.get(id).diverged or held.quarantined is not self.get(id).quarantined
               or (held == _NEW and id in self._held)]  # fmt: skip
        self._held |= changed
        self._dirty |= changed.keys()
        self._keep(now)

    def flush(self) -> None:
        """Keep the counts that changed."""
        self._keep(sorted(self._dirty))

    def _keep(self, ids: Iterable[str]) -> None:
        chosen = list(ids)
        if not chosen:
            return
        if self._kept:
            with self._system.writing() as transaction:
                for id in chosen:
                    held = self._held[id]
                    transaction.set_setting(self._prefix + id, None if held == _NEW else held.as_json())
        for id in chosen:
            self._dirty.discard(id)
            if self._held[id] == _NEW:
                del self._held[id]


def keep_bounds(space: Space, calibration: Calibration) -> None:
    """Keep the bounds of a space, without their vocabulary: it would outlive what is forgotten, and is read again from what is there."""
    with space.system.writing() as transaction:
        space.settings_for(transaction, "write")
        transaction.set_setting(f"guard/{space.num}/bounds", replace(calibration, vocabulary=Vocabulary()).as_json())


def kept_bounds(space: Space) -> Calibration | None:
    """The bounds that were kept, without vocabulary; None where there are none."""
    with space.system.snapshot() as snapshot:
        value = snapshot.setting(f"guard/{space.num}/bounds")
    return None if value is None else Calibration.from_json(value)
