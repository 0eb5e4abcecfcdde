"""What one sub-query finds: names by how well their passages answer it, relations of these names, their passages, and passages found plainly.

Source: HGMem, arXiv 2512.23959, section 3.2: 20 names by similarity, of which 5 are used, 5 relations of each, 5 passages of theirs, 5 found plainly.
A local investigation looks at names within two hops of the points that it is about; a global one at names that no point holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid, shown
from mnemos.text.entities import entities, keys
from mnemos.text.hypergraph.graph import Graph, Ints, Mask

Numbers = NDArray[np.float64]
_NONE: Ints = np.zeros(0, dtype=np.int64)
_FEW = 500
"""Names up to which each is looked up by itself."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a retrieval takes. Defaults are the paper's, but for those marked as ours."""

    found: int = 20
    """Names by similarity."""
    used: int = 5
    """Of these, those that are followed."""
    relations: int = 5
    """Sentences of each."""
    of_names: int = 5
    """Passages of all of them."""
    plain: int = 5
    """Passages found plainly."""
    hops: int = 2
    """Of a local investigation."""
    fewest: int = 5
    """Names away from the points below which a global search looks everywhere."""
    common: float = 0.05
    """Share of the passages, at least `common_least`, from which on a name joins nothing. Ours."""
    common_least: int = 8
    searched: int = 200
    """Passages that a retriever is asked for. Ours."""

    def __post_init__(self) -> None:
        for name in ("found", "used", "relations", "of_names", "plain", "hops", "fewest", "common_least", "searched"):
            if getattr(self, name) < 1:
                raise Invalid(f"limits.{name}: expected 1 or more, not {shown(getattr(self, name))}")
        if not 0 < self.common <= 1:
            raise Invalid(f"limits.common: expected a share above 0, up to 1, not {shown(self.common)}")

    def common_from(self, passages: int) -> int:
        """Passages in which a name joins something, at most."""
        return max(self.common_least, int(self.common * passages))


class Wanted(NamedTuple):
    """A sub-query as the graph sees it: names by number."""

    text: str
    near: Ints = _NONE
    away: Ints = _NONE
    deep: int = 0


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was found, by numbers of names, sentences and passages, the best first."""

    names: list[int]
    units: list[int]
    rows: list[int]
    common: frozenset[int] = field(default_factory=frozenset)
    """Those of all names in `rows` that join nothing."""
    widened: bool = False
    ranked: list[int] = field(default_factory=list)
    """The best rows by their scores alone, `Wanted.deep` of them."""


def retrieve(graph: Graph, allowed: Mask, scores: Numbers, wanted: Wanted, limits: Limits = Limits()) -> Gathered:
    """`scores`: (n,) how well each passage answers the sub-query, minus infinity where it is not known to; `allowed`: (n,) bool.

    What may not be seen has no bearing. Where nothing is near, or too little away, the whole corpus is searched: a turn never comes back empty
    for that.
    """
    scores = np.where(allowed, scores, -np.inf)
    plain = _best(scores, limits.plain)
    around = np.flatnonzero(graph.within(wanted.near, limits.hops, allowed)) if len(wanted.near) else None
    numbers, values = _valued(graph, scores, around)
    widened = around is not None and not len(numbers)
    if widened:
        numbers, values = _valued(graph, scores, None)
    elif around is None and len(wanted.away):
        apart = ~np.isin(numbers, wanted.away)
        widened = int(np.count_nonzero(apart)) < limits.fewest
        if not widened:
            numbers, values = numbers[apart], values[apart]
    names = _names(graph, numbers, values, wanted, allowed, limits)
    units = list(dict.fromkeys(unit for name in names for unit in _relations(graph, name, allowed, scores, limits)))
    of_names = np.unique(np.concatenate([graph.passages_of(name, allowed) for name in names])) if names else _NONE
    rows = list(dict.fromkeys([*of_names[_best(scores[of_names], limits.of_names)].tolist(), *plain.tolist()]))
    rows.sort(key=lambda row: (-scores[row], row))
    most = limits.common_from(int(np.count_nonzero(allowed)))
    inside = {name for unit in [*graph.units_in(np.array(rows, dtype=np.int64)).tolist(), *units] for name in graph.unit(unit).names}
    common = frozenset(name for name in inside if graph.frequency(name, allowed) > most)
    ranked = _best(scores, wanted.deep).tolist() if wanted.deep else []
    return Gathered(names, units, rows, common, widened, ranked)


def neighbours(graph: Graph, names: Ints, allowed: Mask, most: int) -> tuple[str, ...]:
    """Keys of names that share sentences of allowed passages with some of `names`: the rarer first."""
    if not len(names):
        return ()
    around = graph.within(names, 1, allowed)
    around[names] = False
    found = [(graph.frequency(name, allowed), graph.key(name)) for name in np.flatnonzero(around).tolist()]
    return tuple(key for _, key in sorted(found)[:most])


def _valued(graph: Graph, scores: Numbers, names: Ints | None) -> tuple[Ints, Numbers]:
    """(names that a passage of known score holds, the best such score of each): all of them, or those among some."""
    units, starts = graph.by_name()
    if names is not None and len(names) <= _FEW:
        values = np.array([scores[graph.passage_of(units[starts[name] : starts[name + 1]])].max(initial=-np.inf) for name in names.tolist()])
    elif not len(units):
        return _NONE, np.zeros(0)
    else:
        values = np.maximum.reduceat(scores[graph.passage_of(units)], starts[:-1])
        names, values = (np.arange(len(graph)), values) if names is None else (names, values[names])
    known = np.isfinite(values)
    return names[known], values[known]


def _names(graph: Graph, numbers: Ints, values: Numbers, wanted: Wanted, allowed: Mask, limits: Limits) -> list[int]:
    """The names to follow: those that the sub-query gives, then the best by their passages; of equal ones the rarer first, then by their keys, as
    the numbers of names depend on what may not be seen."""
    given = [number for key in keys(entities(wanted.text)) if (number := graph.number(key)) is not None and number in numbers]
    best = _best(values, limits.found)
    if len(best):
        best = np.flatnonzero(values >= values[best[-1]])
    ranked = sorted(best.tolist(), key=lambda at: (-values[at], graph.frequency(int(numbers[at]), allowed), graph.key(int(numbers[at]))))
    return list(dict.fromkeys([*given, *(int(numbers[at]) for at in ranked[: limits.found])]))[: limits.used]


def _relations(graph: Graph, name: int, allowed: Mask, scores: Numbers, limits: Limits) -> list[int]:
    """The sentences that join a name with others: of the passages that answer best, the most telling."""
    units = graph.units_of(name, allowed)
    units = units[graph.sizes(units) > 1]
    passages = scores[graph.passage_of(units)]
    best = units[_best(np.where(np.isfinite(passages), passages, -1e9), 4 * limits.relations)]
    return sorted(best.tolist(), key=lambda unit: (-graph.telling(unit, allowed), unit))[: limits.relations]


def _best(scores: Numbers, count: int) -> Ints:
    """Places of the `count` highest finite scores, best first, equal ones in order."""
    order = np.argsort(-scores, kind="stable")[:count] if len(scores) <= 4 * count else _largest(scores, count)
    return np.asarray(order[np.isfinite(scores[order])])


def _largest(scores: Numbers, count: int) -> Ints:
    limit = np.partition(scores, len(scores) - count)[len(scores) - count]
    above = np.flatnonzero(scores >= limit)
    return above[np.argsort(-scores[above], kind="stable")][:count]
