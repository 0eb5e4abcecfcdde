"""The working memory of one question: points, each a statement over any number of names, that are inserted, updated and merged, and a journal.

Source: HGMem, arXiv 2512.23959, section 3.1. A point is a hyperedge, and its identity is a number of its own, not the set of its names: two
statements about the same names stand side by side. Every operation takes time in the size of its points, and is journaled, so that every earlier
state can be rebuilt, and each sentence of an answer traced to points, and from there to places in passages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from mnemos.base.errors import Invalid, NotFound, shown


class Span(NamedTuple):
    """`text[start:end]` of a passage: what a point rests on."""

    passage: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Point:
    """A statement over the names that it joins."""

    id: int
    statement: str
    names: frozenset[str]
    """Keys of the names (`text.entities.key_of`); at least one."""
    spans: frozenset[Span]
    """What it rests on; at least one. Only passages that were retrieved in this session."""
    turn: int
    """The turn in which it became what it is."""
    parents: tuple[int, ...] = ()
    """The points that it was merged from."""
    by: str = "rules"

    @property
    def passages(self) -> frozenset[str]:
        return frozenset(span.passage for span in self.spans)

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id, "statement": self.statement, "names": sorted(self.names), "spans": [list(span) for span in sorted(self.spans)],
            "turn": self.turn, "parents": list(self.parents), "by": self.by,
        }  # fmt: skip

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Point:
        return cls(
            int(value["id"]), value["statement"], frozenset(value["names"]), frozenset(Span(*span) for span in value["spans"]),
            int(value["turn"]), tuple(value["parents"]), value["by"],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Change:
    """An entry of the journal: `removed` points go, and `point` comes in the place of the first of them (update) or at the end."""

    kind: Literal["insert", "update", "merge", "remove"]
    removed: tuple[int, ...]
    point: Point | None

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "removed": list(self.removed), "point": None if self.point is None else self.point.as_json()}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Change:
        return cls(value["kind"], tuple(value["removed"]), None if value["point"] is None else Point.of_json(value["point"]))


class WorkingMemory:
    """Points in order, and which of them hold a name."""

    def __init__(self) -> None:
        self._points: dict[int, Point] = {}
        self._holding: dict[str, set[int]] = {}
        self._last = 0
        self.journal: list[Change] = []

    @classmethod
    def replayed(cls, journal: Iterable[Change]) -> WorkingMemory:
        """The memory that a journal, or the beginning of one, leads to."""
        memory = cls()
        for change in journal:
            memory._apply(change)
        return memory

    # -- reading --
    def __len__(self) -> int:
        return len(self._points)

    def __iter__(self) -> Iterator[Point]:
        return iter(list(self._points.values()))

    def __contains__(self, id: object) -> bool:
        return id in self._points

    def point(self, id: int) -> Point:
        """Raises `NotFound`."""
        if id not in self._points:
            raise NotFound(f"working memory: there is no point {shown(id)}; there are {', '.join(map(str, self._points)) or 'none'}")
        return self._points[id]

    @property
    def names(self) -> frozenset[str]:
        """All names that any point holds."""
        return frozenset(self._holding)

    @property
    def passages(self) -> frozenset[str]:
        return frozenset(span.passage for point in self._points.values() for span in point.spans)

    def holding(self, name: str) -> list[Point]:
        """The points that hold a name, oldest id first."""
        return [self._points[id] for id in sorted(self._holding.get(name, ()))]

    # -- changing --
    def insert(self, statement: str, names: Iterable[str], spans: Iterable[Span], turn: int, by: str = "rules") -> Point:
        """A new point at the end. Raises `Invalid` without statement, names or spans."""
        return self._put("insert", (), statement, frozenset(names), frozenset(spans), turn, (), by)

    def update(self, id: int, statement: str, names: Iterable[str], spans: Iterable[Span], turn: int, by: str = "rules") -> Point:
        """What a point says from now on, in its place. It goes on to rest on what it rested on, too. Raises `NotFound`, `Invalid`."""
        old = self.point(id)
        return self._put("update", (id,), statement, frozenset(names), old.spans | frozenset(spans), turn, old.parents, by)

    def merge(self, ids: Sequence[int], statement: str, turn: int, by: str = "rules") -> Point:
        """One point in the place of several, at the end: it joins all their names, and rests on all that they rest on. Raises `Invalid` for fewer
        than two, `NotFound`."""
        parts = [self.point(id) for id in dict.fromkeys(ids)]
        if len(parts) < 2:
            raise Invalid(f"working memory: a merge takes two points or more, not {len(parts)}")
        names = frozenset[str]().union(*(part.names for part in parts))
        spans = frozenset[Span]().union(*(part.spans for part in parts))
        parents = tuple(part.id for part in parts)
        return self._put("merge", parents, statement, names, spans, turn, parents, by)

    def remove(self, id: int) -> None:
        """Raises `NotFound`."""
        self._apply(Change("remove", (self.point(id).id,), None))

    def keep(self, passages: Iterable[str]) -> list[int]:
        """Let points rest on some passages only, as the others were forgotten or may not be read any more. A point that rests on others, too, says
        more than is left: it goes, and of what it was merged from that comes back which is left. Gives the ids of those that went."""
        left = frozenset(passages)
        gone = [point.id for point in self if not point.passages <= left]
        if gone:
            latest = {change.point.id: change.point for change in self.journal if change.point is not None}
            for id in gone:
                parents = self.point(id).parents
                self.remove(id)
                for parent in _left(parents, latest, left):
                    self._apply(Change("insert", (), parent))
        return gone

    def _put(
        self, kind: Literal["insert", "update", "merge"], removed: tuple[int, ...], statement: str, names: frozenset[str], spans: frozenset[Span],
        turn: int, parents: tuple[int, ...], by: str,
    ) -> Point:  # fmt: skip
        for what, given in (("a statement", statement.strip()), ("a name", names - {""}), ("what it rests on", spans)):
            if not given:
                raise Invalid(f"working memory: a point needs {what}")
        id = removed[0] if kind == "update" else self._last + 1
        point = Point(id, statement.strip(), names - {""}, spans, turn, parents, by)
        self._apply(Change(kind, removed, point))
        return point

    def _apply(self, change: Change) -> None:
        for id in change.removed:
            for name in self.point(id).names:
                holding = self._holding[name]
                holding.discard(id)
                if not holding:
                    del self._holding[name]
            if change.kind != "update":
                del self._points[id]
        if change.point is not None:
            self._points[change.point.id] = change.point
            self._last = max(self._last, change.point.id)
            for name in change.point.names:
                self._holding.setdefault(name, set()).add(change.point.id)
        self.journal.append(change)


def _left(ids: Sequence[int], latest: Mapping[int, Point], passages: frozenset[str]) -> Iterator[Point]:
    """Of some points, each as it was last, those that rest on nothing but `passages`; of the others, those of what they were merged from."""
    for id in ids:
        point = latest[id]
        if point.passages <= passages:
            yield point
        else:
            yield from _left(point.parents, latest, passages)


def apart(groups: Iterable[Sequence[int]], present: Iterable[int]) -> list[tuple[int, ...]]:
    """Groups to merge, without overlap: an id belongs to the first group that names it; unknown ids are left out, and groups of fewer than two."""
    free = set(present)
    out: list[tuple[int, ...]] = []
    for group in groups:
        own = tuple(id for id in dict.fromkeys(group) if id in free)
        if len(own) > 1:
            out.append(own)
            free -= set(own)
    return out
