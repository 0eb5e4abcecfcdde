"""Who earned an outcome: counts per entry, base rates, shared credit over what was injected together, and two rules for what is let go.

f and u, and the rule of alpha and beta: ReMe (arXiv 2512.10696, section 3.3). The uplift over a base rate, shared credit and withholding are
ours: an absolute bound on u/f removes what helps wherever the agent mostly fails.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ALPHA = 5
"""Uses before which nothing is let go (the paper's α)."""
BETA = 0.5
"""Share of successes below which the paper's rule lets go (its β)."""
SURE = 0.9
"""Probability of a negative uplift from which on our rule lets go."""
HOLD_OUT = 0.1
"""Share of the runs in which one of the retrieved entries, drawn at random, is withheld: an unbiased look at what it adds."""
PRIOR_RUNS = 4.0
"""Runs that the broader base rate weighs as, when the narrower one is estimated."""
_GRID = (np.arange(4096) + 0.5) / 4096


@dataclass(frozen=True, slots=True)
class Counts:
    """What is known of an entry's use.

    `f` runs had it injected, and `u` of them succeeded. `shared` is the sum of its shares of these runs (each run's shares add up to 1), `earned`
    that over the successes. It was retrieved and withheld in `without` runs, of which `without_u` succeeded.
    """

    f: int = 0
    u: int = 0
    shared: float = 0.0
    earned: float = 0.0
    without: int = 0
    without_u: int = 0

    @property
    def rate(self) -> float | None:
        """u / f; None before the first use."""
        return self.u / self.f if self.f else None


@dataclass(frozen=True, slots=True)
class Tally:
    """Successes among runs."""

    runs: int = 0
    successes: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.runs + other.runs, self.successes + other.successes)


@dataclass(frozen=True, slots=True)
class Base:
    """How often runs succeed without an entry: a Beta distribution."""

    a: float
    b: float

    @property
    def mean(self) -> float:
        return self.a / (self.a + self.b)


def base_rate(own: Tally, family: Tally, without: Tally, everything: Tally) -> Base:
    """The base rate that an entry is measured against, each look weighing as many runs as it saw: runs for which the entry was retrieved and
    withheld (`own`), runs of its tasks' families without anything injected, runs `without` anything injected, and where none of these exist
    all runs of the pool."""
    broad = without if without.runs else everything
    mean = (broad.successes + 1) / (broad.runs + 2)
    weight = min(PRIOR_RUNS, broad.runs + 2.0)
    narrow = own + family
    if not narrow.runs:  # the broad rate itself, as sure as it is
        return Base(1.0 + broad.successes, 1.0 + broad.runs - broad.successes)
    return Base(weight * mean + narrow.successes, weight * (1 - mean) + narrow.runs - narrow.successes)


def harm(counts: Counts, base: Base, *, shared: bool = True) -> float:
    """Probability that the entry's success rate lies below the base rate: P(uplift < 0).

    The entry's rate is Beta(1 + u, 1 + f − u), or, with `shared`, of its shares of these runs; the base rate's own uncertainty counts.
    """
    n, won = (counts.shared, counts.earned) if shared else (float(counts.f), float(counts.u))
    ours, theirs = _density(1 + won, 1 + n - won), _density(base.a, base.b)
    below = np.cumsum(ours) - ours / 2
    return float(np.clip(below @ theirs, 0.0, 1.0))


def uplift(counts: Counts, base: Base) -> float:
    """Posterior mean of the entry's success rate, less that of the base rate; 0 where it was never used."""
    return (1 + counts.earned) / (2 + counts.shared) - base.mean if counts.f else 0.0


def _density(a: float, b: float) -> NDArray[np.float64]:
    """Probability of each cell of the grid under Beta(a, b)."""
    log = (a - 1) * np.log(_GRID) + (b - 1) * np.log1p(-_GRID)
    weights: NDArray[np.float64] = np.exp(log - log.max())
    weights /= weights.sum()
    return weights


def absolute(counts: Counts, alpha: int = ALPHA, beta: float = BETA) -> bool:
    """Whether the paper's rule lets the entry go: f ≥ α and u / f < β."""
    return counts.f >= max(alpha, 1) and counts.u / counts.f < beta


def by_uplift(counts: Counts, base: Base, alpha: int = ALPHA, sure: float = SURE) -> bool:
    """Whether our rule lets the entry go: f ≥ α and P(uplift < 0) ≥ `sure`."""
    return counts.f >= alpha and harm(counts, base) >= sure


def shares(scores: Sequence[float]) -> list[float]:
    """How the credit of one run is shared among what was injected in it: softmax of the scores, as they are; equal where they are. Adds up to 1."""
    if not scores:
        return []
    highest = max(scores)
    weights = [math.exp(score - highest) for score in scores]
    return [weight / sum(weights) for weight in weights]


def withheld(count: int, rng: np.random.Generator, share: float = HOLD_OUT) -> int | None:
    """Which of `count` retrieved entries is withheld from this run: one at random in a `share` of the runs, else None."""
    if not count or rng.random() >= share:
        return None
    return int(rng.integers(count))
