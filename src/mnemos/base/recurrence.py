"""What comes back: when things were used, the gaps between their uses, and what these say of the next use.

What was used again after a gap will be again, within gaps of about that length (LazyEviction, arXiv 2506.15969, section 3). That is said of tokens
of a cache and of memories of a store, and the mathematics stands here for both. `xp` is the module whose arrays are given, numpy or torch; times,
ages and gaps are in one unit, steps or seconds, of which 1 is the shortest gap there is.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Mapping
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import numpy as np

PATIENCE = 8.0
"""Silence, in gaps of its own, after which a thing is no longer due."""
MARGIN = 0.25
"""Share of its gap before which a thing may come back, and after which it is late."""
_TIE = 2.0**-23
"""Of a score, for each unit of age of what never came back: too small to matter where scores differ otherwise."""

Id = TypeVar("Id", bound=Hashable)


class AccessTracker(Protocol[Id]):
    """Who takes note of uses, and says who is due."""

    def observe(self, ids: Iterable[Id], t: float) -> None:
        """These were used at the time `t`, which is never earlier than the last."""
        ...

    def score(self, t: float) -> Mapping[Id, float]:
        """How worth keeping each is at the time `t`; larger is better."""
        ...


class EvictionPolicy(Protocol[Id]):
    """Who says what stays."""

    def select(self, budget: int) -> set[Id]:
        """The `budget` best, or all where there are fewer."""
        ...


def is_due(xp: Any, ages: Any, gaps: Any, patience: float = PATIENCE) -> Any:
    """Whether what came back once has not been silent for longer than `patience` times its longest gap; never for a gap of 0."""
    return (gaps > 0) & (ages <= patience * xp.clip(gaps, 1, None))


def scores(xp: Any, ages: Any, gaps: Any, interval: bool = True, age: bool = True, patience: float = PATIENCE) -> Any:
    """2σ(−age / gap) + 2σ(−1 / gap) of each thing: near its largest just after a use, falling the slower the longer the known gap, and larger for
    what once came back after long. What never came back, or is not due, has the first term alone, of gap 1, and there the later stands above the
    earlier however small the term. Ablations leave out the `interval` or the `age`."""
    due = is_due(xp, ages, gaps, patience)
    shares = 1 / xp.where(due, gaps, 1)
    first, second = xp.exp(-ages * shares), xp.exp(-shares)  # σ of what is negative, written so that nothing overflows
    return 2 * age * first / (1 + first) + xp.where(due, 2 * interval * second / (1 + second), -_TIE * ages)


def returns(last: Any, gaps: Any, margin: float = MARGIN) -> tuple[Any, Any]:
    """From when to when a thing is expected back that was used at `last`: after its longest gap, a `margin` of it less or more."""
    return last + (1 - margin) * gaps, last + (1 + margin) * gaps


def longest(times: Iterable[float]) -> float:
    """The longest gap between uses at these times, in order; 0 where there were not two."""
    return max((later - earlier for earlier, later in pairwise(times)), default=0)


class Recurrence(AccessTracker[Id], EvictionPolicy[Id]):
    """Both for things that have names. (Tokens, of which a model has thousands in each head, are tracked in tensors, `mnemos.activation`.)"""

    def __init__(self, known: Mapping[Id, tuple[float, float]] | None = None, now: float = -np.inf, patience: float = PATIENCE) -> None:
        """`known`: by name, the last use and the longest gap, where these were kept elsewhere; `now`, the time of the last use, or later."""
        self._known, self.now, self.patience = dict(known or {}), now, patience

    def __len__(self) -> int:
        return len(self._known)

    def observe(self, ids: Iterable[Id], t: float) -> None:
        self.now = max(self.now, t)
        for name in ids:
            last, gap = self._known.get(name, (t, 0.0))
            self._known[name] = t, max(gap, t - last)

    def score(self, t: float) -> dict[Id, float]:
        if not self._known:
            return {}
        last, gaps = np.array(list(self._known.values()), dtype=np.float64).T
        return dict(zip(self._known, scores(np, t - last, gaps, patience=self.patience).tolist(), strict=True))

    def select(self, budget: int) -> set[Id]:
        """At the time `now`; of equal ones those that became known later."""
        rated = self.score(self.now)
        places = {name: place for place, name in enumerate(rated)}
        return set(heapq.nlargest(budget, rated, key=lambda name: (rated[name], places[name])))

    def due(self, until: float, margin: float = MARGIN) -> list[Id]:
        """What is expected back before `until` and is not late at the time `now`, the soonest first: what to fetch."""
        expected = {name: returns(last, gap, margin) for name, (last, gap) in self._known.items() if gap > 0}
        return sorted((name for name, (soon, late) in expected.items() if soon <= until and late >= self.now), key=lambda name: expected[name])

    def drop(self, ids: Iterable[Id]) -> None:
        """Nothing is to be known of these any more."""
        for name in ids:
            self._known.pop(name, None)
