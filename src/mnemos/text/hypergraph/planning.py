"""Whether the points suffice, and what to look for next, without a language model: what of the question no point holds, and which names of the best
points have not been looked into.

Source: HGMem, arXiv 2512.23959, section 3.2 (adaptive evidence retrieval: local investigation, global exploration).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest

from mnemos.text.hypergraph.corpus import SubQuery
from mnemos.text.hypergraph.evidence import Evidence, Part, same_question
from mnemos.text.hypergraph.memory import Point, WorkingMemory

NEAR = 1.0
"""What standing near to a name of the question counts: a half of it at the name, a third one name on, a fourth two, beside relevance, 0..1."""


class Judgement(StrEnum):
    """What comes of a turn."""

    SUFFICIENT = "sufficient"
    LOCAL = "local"
    GLOBAL = "global"


class Mode(StrEnum):
    """Which ways a session may go on."""

    ADAPTIVE = "adaptive"
    LOCAL = "local"
    GLOBAL = "global"


@dataclass(frozen=True, slots=True)
class Plan:
    """A judgement, and the sub-queries that follow from it; none where it is "sufficient"."""

    judgement: Judgement
    queries: tuple[SubQuery, ...] = ()


def plan(memory: WorkingMemory, evidence: Evidence, asked: Sequence[str], looked: frozenset[str], mode: Mode, most: int) -> Plan:
    """`asked`: the sub-queries so far; `looked`: names that were looked into already; `most`: concerns.

    First what no point touches at all: names of the question. Then, for each part of the question, names that the points that bear on it have
    brought in and that are not looked into. Then words of the question that no point holds.
    """
    lacking = evidence.lacking(evidence.held(memory.point(id_) for id_ in anchored(memory, evidence)))
    missing = [part for part in evidence.parts if not part.names & memory.names]
    ways = []
    if mode is not Mode.LOCAL and 0 < len(missing) < len(evidence.parts):
        ways.append(Plan(Judgement.GLOBAL, tuple(SubQuery(part.text, away=memory.names) for part in missing)))
    if mode is not Mode.GLOBAL:
        ways.append(Plan(Judgement.LOCAL, tuple(_local(memory, evidence, looked))))
    if mode is not Mode.LOCAL and lacking:
        ways.append(Plan(Judgement.GLOBAL, (SubQuery(" ".join(lacking), away=memory.names),)))
    for way in ways:
        queries = distinct(way.queries, asked)[:most]
        if queries:
            return Plan(way.judgement, queries)
    return Plan(Judgement.SUFFICIENT)


def anchored(memory: WorkingMemory, evidence: Evidence, names: frozenset[str] | None = None) -> dict[int, int]:
    """The points that bear on `names`, by default those of the question: those that hold one of them (0), those that share a rare name with them (1),
    and so on. All points (0) where none of the question's names is held, as it gives none, or in another form."""
    asked = evidence.joining(evidence.asked if names is None else names)
    out: dict[int, int] = {}
    border = list(dict.fromkeys(point.id for name in sorted(asked) for point in memory.holding(name)))
    if not border and names is None:
        return {point.id: 0 for point in memory}
    hops = 0
    while border:
        out |= dict.fromkeys(border, hops)
        reached = sorted({name for id_ in border for name in evidence.joining(memory.point(id_).names)})
        border = list(dict.fromkeys(point.id for name in reached for point in memory.holding(name) if point.id not in out))
        hops += 1
    return out


def covered(memory: WorkingMemory, evidence: Evidence) -> float:
    """Share of the question, by weight, that the points hold that bear on it."""
    return evidence.share(evidence.held(memory.point(id_) for id_ in anchored(memory, evidence)))


def uncovered(memory: WorkingMemory, evidence: Evidence) -> SubQuery:
    """A global sub-query for what of the question no point holds that bears on it; the question itself where they hold all of it."""
    lacking = evidence.lacking(evidence.held(memory.point(id_) for id_ in anchored(memory, evidence)))
    return SubQuery(" ".join(lacking) if lacking else evidence.question, away=memory.names)


def distinct(queries: Sequence[SubQuery], asked: Sequence[str]) -> tuple[SubQuery, ...]:
    """Those of some sub-queries that differ from all that were asked, and from those before them."""
    out: list[SubQuery] = []
    for query in queries:
        if query.text.strip() and not any(same_question(query.text, other) for other in (*asked, *(one.text for one in out))):
            out.append(query)
    return tuple(out)


def ranked(memory: WorkingMemory, evidence: Evidence) -> list[Point]:
    """The points, those first that answer the question best: by what they hold of it, and how near to what it names."""
    points = list(memory)
    if not points:
        return []
    near = anchored(memory, evidence)
    relevance = evidence.relevance([point.statement for point in points])
    value = {
        point.id: one / 2
        + evidence.share(evidence.held([point])) / 2
        + evidence.bound(point)
        + (NEAR / (2 + near[point.id]) if point.id in near else 0.0)
        for point, one in zip(points, relevance, strict=True)
    }
    return sorted(points, key=lambda point: (-value[point.id], point.id))


def _local(memory: WorkingMemory, evidence: Evidence, looked: frozenset[str]) -> list[SubQuery]:
    """Names to look into, each with what its part of the question lacks: those of the best points first, a name for each part in turn; the parts
    first that lack something. A part that lacks nothing may have it from the wrong place: its names are looked into with all of its words."""
    best = ranked(memory, evidence)
    lacking_ways: list[list[SubQuery]] = []
    other_ways: list[list[SubQuery]] = []
    taken = set(looked)
    parts: Sequence[Part | None] = evidence.parts or (None,)
    for part in parts:
        bearing = anchored(memory, evidence, None if part is None else part.names)
        lacking = evidence.lacking(evidence.held(memory.point(id_) for id_ in bearing), part)
        wanted = lacking or evidence.lacking((), part)
        own: list[SubQuery] = []
        for point in best:
            if point.id not in bearing:
                continue
            fits = evidence.fits(point)
            for name in sorted(evidence.joining(point.names) - evidence.asked - taken, key=lambda name: (-fits.get(name, 0.0), name)):
                taken.add(name)
                own.append(SubQuery(" ".join([evidence.name(name), *wanted]), near=frozenset([name]), point=point.id))
        (lacking_ways if lacking else other_ways).append(own)
    return [query for ways in (lacking_ways, other_ways) for turn in zip_longest(*ways) for query in turn if query is not None]
