"""Entries of the change log as events: what happened to which memory, and which of it a subscriber wants and may see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from mnemos.base import predicate
from mnemos.base.chain import Entry
from mnemos.base.clock import from_micros
from mnemos.base.cube import Json, MemCube, check_words
from mnemos.base.errors import Invalid, NotFound, shown
from mnemos.kernel.reading.conditions import question_text
from mnemos.kernel.reading.viewing import Viewing, whole_of
from mnemos.kernel.rights.governance import told
from mnemos.kernel.stream import log
from mnemos.store.base import Snapshot, VersionRow

if TYPE_CHECKING:
    from mnemos.base.protocols import Vectors
    from mnemos.kernel.system import Mnemos

KINDS = ("space", "add", "update", "state", "freeze", "unfreeze", "link", "stale", "permission", "setting", "forget")
"""The kinds of entries that the log has."""


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the log. `position` is where it stands there, `body` what it says beside the content.

    `cube` is the memory as it was when the entry was written; None where the entry is of no memory, or of one that has been forgotten since.
    """

    position: int
    at: datetime
    kind: str
    space: str | None
    id: str | None
    version: int | None
    actor: str | None
    body: Json
    cube: MemCube | None = None

    def as_json(self, *, content: bool = True) -> dict[str, Any]:
        """Plain JSON values; fields that hold nothing are left out. Without `content`, nothing of what the memory says."""
        plain = {
            "position": self.position, "at": self.at.isoformat(), "kind": self.kind, "space": self.space, "id": self.id, "version": self.version,
            "actor": self.actor, "body": dict(self.body) or None, "cube": self.cube.as_json() if content and self.cube else None,
        }  # fmt: skip
        return {name: value for name, value in plain.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries a subscriber wants; None is no condition. `spaces` to `parts` are met by the entry, the others by the memory as it was.

    `about`: only memories whose vector's cosine with that of this text is at least `similarity`. Entries that say that something was forgotten
    pass every condition on the memory, because nothing is left to judge by, and who keeps copies must learn of it.
    """

    spaces: tuple[str, ...] | None = None
    kinds: tuple[str, ...] | None = None
    parts: bool = False
    types: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    filter: Json | None = None
    about: str | None = None
    similarity: float = 0.5

    @classmethod
    def checked(cls, **given: Any) -> Wanted:
        """The conditions of a call. Raises `Invalid`, naming the keyword."""
        wanted = cls(
            spaces=_words(given.pop("spaces", None), "spaces"),
            kinds=_words(given.pop("kinds", None), "kinds"),
            types=_words(given.pop("types", None), "types"),
            tags=_words(given.pop("tags", None), "tags"),
            filter=None if (condition := given.pop("filter", None)) is None else predicate.checked(condition),
            about=None if (text := given.pop("about", None)) is None else question_text(text),
            **given,
        )
        for kind in wanted.kinds or ():
            if kind not in KINDS:
                raise Invalid(f"kinds: unknown kind {shown(kind)}; known are {', '.join(KINDS)}")
        similarity = wanted.similarity
        if isinstance(similarity, bool) or not isinstance(similarity, (int, float)) or not -1 <= similarity <= 1:
            raise Invalid(f"similarity: expected a number from -1 to 1, not {shown(similarity)}")
        return wanted

    @property
    def judges_content(self) -> bool:
        return self.types is not None or bool(self.tags) or bool(self.filter) or self.about is not None

    def fits(self, cube: MemCube) -> bool:
        """Whether a memory meets the conditions on it, but for its meaning."""
        if self.types is not None and cube.type not in self.types:
            return False
        if self.tags and not set(self.tags) <= set(cube.tags):
            return False
        return not self.filter or predicate.matches(cube.metadata, self.filter)


def _words(values: Any, name: str) -> tuple[str, ...] | None:
    return None if values is None else check_words([values] if isinstance(values, str) else values, name)


class Look:
    """One look at the log, in `snapshot`: the entries that `wanted` names and the principal may see, with the memories as they were."""

    def __init__(self, system: Mnemos, snapshot: Snapshot, wanted: Wanted, meaning: Vectors | None) -> None:
        self._system = system
        self._snapshot = snapshot
        self._wanted = wanted
        self._meaning = meaning
        self._spaces = {row.num: row for row in snapshot.spaces()}
        self._shown = log.shown_to(system, snapshot)
        self._access = system.access(snapshot)

    def events(self, since: int, limit: int) -> Iterator[tuple[int, Event | None]]:
        """(position, the event where it is wanted) of each of the `limit` entries beyond `since`."""
        for entry in self._snapshot.log(since, limit):
            yield entry.seq, self._event(entry) if self._named(entry) and self._shown(entry) else None

    def _named(self, entry: Entry) -> bool:
        wanted, row = self._wanted, self._spaces.get(entry.space)
        return (wanted.kinds is None or entry.kind in wanted.kinds) and (wanted.spaces is None or (row is not None and row.name in wanted.spaces))

    def _event(self, entry: Entry) -> Event | None:
        row = self._spaces.get(entry.space)
        event = Event(
            entry.seq, from_micros(entry.at), entry.kind, row.name if row is not None else None, str(entry.cube) if entry.cube else None,
            entry.version, entry.actor, told(entry, self._access, row.settings) if row is not None else entry.body_json(),
        )  # fmt: skip
        if entry.kind == "forget":
            return event
        bare = None if self._wanted.judges_content else event
        if row is None or entry.cube is None:
            return bare
        viewing = Viewing(self._snapshot, row, self._access, entry.seq)
        try:
            version = viewing.current(entry.cube)
        except NotFound:
            return bare if self._snapshot.standing(entry.cube) is None else None  # forgotten since; else what it was then is not for this principal
        if not self._wanted.parts and whole_of(version.content) != entry.cube:
            return None
        cube = viewing.cube(version)
        return replace(event, cube=cube) if self._wanted.fits(cube) and self._means(version) else None

    def _means(self, version: VersionRow) -> bool:
        """Whether a memory is about what is wanted: its own vector, or that of one of its parts, is near enough."""
        if self._wanted.about is None:
            return True
        seqs = [version.seq, *self._snapshot.parts(version.content.id, version.content.version)]
        return max(map(self._cosine, [version.space] * len(seqs), seqs)) >= self._wanted.similarity

    def _cosine(self, space: int, seq: int) -> float:
        """The cosine of a version's vector with the meaning that is wanted; -1 where it has none that can be compared."""
        assert self._wanted.about is not None
        found, embedder, value = next(iter(self._snapshot.vectors(space, seq - 1)), (0, 0, b""))
        query = self._system.embedding.align(self._wanted.about, self._meaning, [embedder], self._snapshot).get(embedder) if found == seq else None
        return -1.0 if query is None else float(np.dot(np.frombuffer(value, dtype="<f4"), query))
