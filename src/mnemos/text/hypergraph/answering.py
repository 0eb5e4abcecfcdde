"""What a session hands to whoever answers: the points, and the passages that they rest on, in the order of the documents.

Source: HGMem, arXiv 2512.23959, section 3.4: for each point up to five passages of its own names and up to five of their neighbours, of those that
were retrieved; at most 50 passages and 10,000 tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mnemos.base.errors import Invalid, shown
from mnemos.text.hypergraph.corpus import Passage
from mnemos.text.hypergraph.evidence import Evidence, terms_of
from mnemos.text.hypergraph.memory import Point, WorkingMemory
from mnemos.text.hypergraph.planning import ranked

POINTS = 4
"""One part in so many of the room is for the points: without a language model they repeat what their passages say."""
BEHIND = 2
"""Ranks by which a passage of a point stands behind the one before."""
STEADY = 5
"""Added to ranks before their reciprocals are summed. Smaller than usual, as the lists are short."""


@dataclass(frozen=True, slots=True)
class Room:
    """How much an answer's context holds. Defaults are the paper's."""

    passages: int = 50
    tokens: int = 10_000
    inner: int = 5
    """Passages of each point's own names; those that it rests on are always among them."""
    outer: int = 5
    """Passages of names that stand beside them."""

    def __post_init__(self) -> None:
        for name in ("passages", "tokens", "inner", "outer"):
            if getattr(self, name) < 1:
                raise Invalid(f"room.{name}: expected 1 or more, not {shown(getattr(self, name))}")


@dataclass(frozen=True, slots=True)
class Context:
    """What is known about a question: `points`, the best first, and `passages` in the order of their documents."""

    question: str
    points: tuple[Point, ...]
    passages: tuple[Passage, ...]
    tokens: int
    """Of the text."""
    best: tuple[str, ...] = ()
    """The ids of the passages, the best first."""

    @property
    def text(self) -> str:
        """Points with the numbers of their passages, then the passages: for a prompt."""
        number = {passage.id: at for at, passage in enumerate(self.passages, 1)}
        told = [_point(point, number) for point in self.points]
        return "\n".join([*told, "", *(_passage(at, passage) for at, passage in enumerate(self.passages, 1))]).strip()


def _point(point: Point, number: dict[str, int]) -> str:
    cited = ", ".join(str(number[id_]) for id_ in sorted(point.passages, key=lambda id_: number.get(id_, 0)) if id_ in number)
    return f"- {point.statement}{f' [{cited}]' if cited else ''}"


def _passage(number: int, passage: Passage) -> str:
    said = f"{passage.author}: " if passage.author else ""
    return f"[{number}] {said}{passage.text}"


def context(memory: WorkingMemory, evidence: Evidence, room: Room, count: Callable[[str], int], believed: bool = True) -> Context:
    """The context of a session as it stands: first what the points rest on and what the question found, the best first, then what else holds their
    names, then what stands beside, then what the sub-queries found best. `count`: tokens of a text.

    Where the points are not `believed`, what the question finds by itself comes before all that, and points take only what room passages leave.
    """
    points = ranked(memory, evidence)
    order = dict.fromkeys([] if believed else [id_ for id_ in evidence.ranked if id_ in evidence.passages])
    order |= dict.fromkeys(_first(points, evidence))
    order |= dict.fromkeys(id_ for point in points for id_ in _inner(point, evidence, room))
    order |= dict.fromkeys(id_ for point in points for id_ in _outer(point, evidence, room))
    order |= dict.fromkeys(sorted(evidence.passages, key=lambda id_: (-evidence.standing.get(id_, 0.0), id_)))
    told, tokens = _told(points, room, room.tokens // POINTS, count) if believed else ([], 0)
    chosen: list[Passage] = []
    for id_ in order:
        if len(chosen) == room.passages:
            break
        size = count(_passage(len(chosen) + 1, evidence.passages[id_])) + 1
        if tokens + size <= room.tokens:
            chosen.append(evidence.passages[id_])
            tokens += size
    if not believed:
        told, more = _told(points, room, min(room.tokens - tokens, room.tokens // POINTS), count)
        tokens += more
    best = tuple(passage.id for passage in chosen)
    chosen.sort(key=lambda passage: (passage.position, passage.id))
    return Context(evidence.question, tuple(told), tuple(chosen), tokens, best)


def _told(points: Sequence[Point], room: Room, most: int, count: Callable[[str], int]) -> tuple[list[Point], int]:
    """(the points that fit into so many tokens, the best first; their tokens)"""
    tokens = 0
    told: list[Point] = []
    for point in points:
        size = count(_point(point, dict.fromkeys(point.passages, room.passages))) + 1
        if tokens + size <= most:
            told.append(point)
            tokens += size
    return told, tokens


def _first(points: Sequence[Point], evidence: Evidence) -> list[str]:
    """What the points rest on and what the question itself found, by reciprocal ranks of both (Cormack, Clarke and Büttcher, SIGIR 2009). The
    passages of a point stand behind each other, so that a point of many does not push the next point's best one out."""
    place: dict[str, int] = {}
    for rank, point in enumerate(points, 1):
        share = {id_: evidence.share(evidence.held_in(point, id_)) for id_ in point.passages & evidence.passages.keys()}
        for behind, id_ in enumerate(sorted(share, key=lambda id_: (-share[id_], id_))):
            place[id_] = min(place.get(id_, rank + BEHIND * behind), rank + BEHIND * behind)
    value = {
        id_: sum(1 / (STEADY + places[id_]) for places in (place, evidence.direct) if id_ in places)
        for id_ in dict.fromkeys([*place, *evidence.direct]) if id_ in evidence.passages
    }  # fmt: skip
    return sorted(value, key=lambda id_: (-value[id_], id_))


def _inner(point: Point, evidence: Evidence, room: Room) -> list[str]:
    """Passages that hold names of a point, beside those that it rests on, those first that are the most like it."""
    joining = evidence.joining(point.names)
    others = (one.span.passage for one in evidence.sentences.values() if joining & set(one.names) and one.span.passage not in point.passages)
    more = sorted(dict.fromkeys(others), key=lambda id_: (-_likeness(point, evidence, id_), id_))
    return more[: max(room.inner - len(point.passages), 0)]


def _outer(point: Point, evidence: Evidence, room: Room) -> list[str]:
    """Passages of names that share a sentence with a point's names, and are not its own."""
    joining = evidence.joining(point.names)
    beside = {name for one in evidence.sentences.values() if joining & set(one.names) for name in evidence.joining(one.names)} - joining
    found = dict.fromkeys(one.span.passage for one in evidence.sentences.values() if beside & set(one.names))
    return sorted(found, key=lambda id_: (-_likeness(point, evidence, id_), id_))[: room.outer]


def _likeness(point: Point, evidence: Evidence, passage: str) -> float:
    """How much of a point's words a passage holds."""
    told = terms_of(point.statement)
    return len(told & terms_of(evidence.passages[passage].text)) / max(len(told), 1)
