"""How points come to be, grow and join, without a language model: by the names that sentences share, and by what they hold of the question.

Source: HGMem, arXiv 2512.23959, section 3.3 (update, insertion, merging), in the form without a language model: sentences that share a pair of names
are one point; a point whose names or words are nearly the same is updated; two points that share a rare name are merged where together they answer
the question better than either does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from mnemos.base.errors import Invalid, shown
from mnemos.text.hypergraph.corpus import Sentence
from mnemos.text.hypergraph.evidence import Evidence
from mnemos.text.hypergraph.memory import Point, WorkingMemory, apart


@dataclass(frozen=True, slots=True)
class Growth:
    """How points grow. Defaults are the sheet's for the mode without a model, but for those marked as ours."""

    sentences: int = 16
    """Sentences that a turn takes up, those that hold the most of what was asked. Ours."""
    same_names: float = 0.5
    """Jaccard index of the names from which on a statement updates a point."""
    same_words: float = 0.7
    """Cosine of the statements from which on it does."""
    gain: float = 0.02
    """By how much a merged point must answer the question better than the better of its parts."""
    largest: int = 12
    """Names of a merged point."""
    rounds: int = 4
    """Times in a turn that merged points are looked at again. Ours."""
    pairs: int = 60
    """Pairs of points that are compared at a time, those with the rarest common names first. Ours."""

    def __post_init__(self) -> None:
        for name in ("sentences", "largest", "rounds", "pairs"):
            if getattr(self, name) < 1:
                raise Invalid(f"growth.{name}: expected 1 or more, not {shown(getattr(self, name))}")


def evolve(
    memory: WorkingMemory, evidence: Evidence, fresh: Sequence[Sentence], targets: frozenset[str], turn: int, growth: Growth
) -> tuple[list[int], list[int]]:
    """Take up new sentences, and those that were read before and left, where they hold one of `targets`: the names that the turn was about.
    Gives the ids of points that were inserted, and updated."""
    inserted: list[int] = []
    updated: list[int] = []
    targets = evidence.joining(targets)
    taken = {span for point in memory for span in point.spans}
    left = [one for one in evidence.sentences.values() if one.span not in taken and targets & set(one.names)]
    sentences = list(dict.fromkeys([*fresh, *left]))
    for group in _groups(_telling(evidence, sentences, targets, growth.sentences), evidence):
        names = frozenset(name for one in group for name in one.names)
        spans = frozenset(one.span for one in group)
        same = _same(memory, evidence, names, evidence.describe(spans), growth)
        if same is None:
            inserted.append(memory.insert(evidence.describe(spans), names, spans, turn).id)
        else:
            memory.update(same.id, evidence.describe(same.spans | spans), same.names | names, spans, turn)
            updated.append(same.id)
    return inserted, list(dict.fromkeys(updated))


def _telling(evidence: Evidence, fresh: Sequence[Sentence], targets: frozenset[str], most: int) -> list[Sentence]:
    """The sentences that hold something of the question, or a name that the turn was about; those that hold the most first."""
    value = [evidence.share(evidence.terms(one)) + (0.5 if targets & set(one.names) else 0.0) for one in fresh]
    order = sorted((at for at in range(len(fresh)) if value[at] > 0), key=lambda at: (-value[at], fresh[at].span))
    return [fresh[at] for at in order[:most]]


def _groups(sentences: Sequence[Sentence], evidence: Evidence) -> list[list[Sentence]]:
    """Sentences that share a pair of names that join, or have one such name only and share that."""
    parent = list(range(len(sentences)))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    by_key: dict[tuple[str, ...], int] = {}
    for at, one in enumerate(sentences):
        names = sorted(evidence.joining(one.names))
        for key in combinations(names, 2) if len(names) > 1 else [tuple(names)] if names else []:
            first = by_key.setdefault(key, at)
            parent[root(at)] = root(first)
    groups: dict[int, list[Sentence]] = {}
    for at, one in enumerate(sentences):
        groups.setdefault(root(at), []).append(one)
    return list(groups.values())


def _same(memory: WorkingMemory, evidence: Evidence, names: frozenset[str], statement: str, growth: Growth) -> Point | None:
    """The point that a statement updates: the one that it shares the most names with, else the one that says nearly the same."""
    joining = evidence.joining(names)
    near = {point.id: point for name in joining for point in memory.holding(name)}
    ranked = sorted(((_jaccard(joining, evidence.joining(point.names)), -id_) for id_, point in near.items()), reverse=True)
    if ranked and ranked[0][0] >= growth.same_names:
        return near[-ranked[0][1]]
    if not len(memory):
        return None
    points = list(memory)
    vectors = evidence.vectors([statement, *(point.statement for point in points)])
    if vectors is None:
        return None
    cosines = (vectors[1:] @ vectors[0]).tolist()
    best = max(range(len(points)), key=lambda at: (cosines[at], -at))
    return points[best] if cosines[best] >= growth.same_words and joining & points[best].names else None


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one and other else 0.0


def merge(memory: WorkingMemory, evidence: Evidence, turn: int, growth: Growth) -> list[int]:
    """Join points that share a rare name and answer better together. Gives the ids of those that came of it and are still there."""
    made: list[int] = []
    for _ in range(growth.rounds):
        groups = apart(_gaining(memory, evidence, growth), [point.id for point in memory])
        if not groups:
            break
        for group in groups:
            spans = {span for id_ in group for span in memory.point(id_).spans}
            made.append(memory.merge(group, evidence.describe(spans), turn).id)
    return [id_ for id_ in made if id_ in memory]


def _gaining(memory: WorkingMemory, evidence: Evidence, growth: Growth) -> list[tuple[int, int]]:
    """Pairs of points that answer the question better together, those that gain the most first."""
    pairs = _candidates(memory, evidence, growth)
    if not pairs:
        return []
    together = [evidence.describe(one.spans | other.spans) for one, other in pairs]
    alone = list(dict.fromkeys(point.statement for pair in pairs for point in pair))
    values = evidence.relevance([*alone, *together])
    value = dict(zip(alone, values, strict=False))
    out = []
    for (one, other), relevance in zip(pairs, values[len(alone) :], strict=True):
        gain = relevance - max(value[one.statement], value[other.statement])
        if gain > growth.gain:
            out.append((-gain, one.id, other.id))
    return [(one, other) for _, one, other in sorted(out)]


def _candidates(memory: WorkingMemory, evidence: Evidence, growth: Growth) -> list[tuple[Point, Point]]:
    """Pairs of points that share a rare name and are not too large together, those with the rarest name first."""
    found: dict[tuple[int, int], int] = {}
    for name in sorted(evidence.joining(memory.names)):
        holding = memory.holding(name)
        for one, other in combinations(holding, 2):
            pair = (one.id, other.id)
            if len(one.names | other.names) <= growth.largest:
                found[pair] = min(found.get(pair, len(holding)), len(holding))
    ranked = sorted(found, key=lambda pair: (found[pair], pair))[: growth.pairs]
    return [(memory.point(one), memory.point(other)) for one, other in ranked]
