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
ALIKE = 0.8
"""Probability, before any run is seen, that runs like those of an entry succeed as often as runs at large."""
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
    """How often runs succeed without an entry: a mixture of Beta distributions, (weight, a, b) each, the weights adding up to 1."""

    parts: tuple[tuple[float, float, float], ...]

    @classmethod
    def of(cls, tally: Tally) -> Base:
        """What runs say by themselves, from a uniform prior."""
        return cls(((1.0, 1.0 + tally.successes, 1.0 + tally.runs - tally.successes),))

    @property
    def mean(self) -> float:
        return sum(weight * a / (a + b) for weight, a, b in self.parts)


def base_rate(own: Tally, family: Tally, without: Tally, everything: Tally) -> Base:
    """The base rate that an entry is measured against: that of runs like its own, as far as they differ from runs at large.

    Runs like its own are those for which it was retrieved and withheld (`own`), or those of its tasks' families without anything injected,
    whichever are more. Runs at large are those `without` anything injected, or, before there are any, all runs of the pool. Where the two
    agree, the many say how much; where they do not, the few stand for themselves: a robust mixture prior (Schmidli and others, Robust
    meta-analytic-predictive priors, Biometrics 2014, section 3), with `ALIKE` as its weight.
    """
    broad = without if without.runs else everything
    narrow = max(own, family, key=lambda tally: tally.runs)
    if not narrow.runs:
        return Base.of(broad)
    if not broad.runs:
        return Base.of(narrow)
    a, b = 1.0 + broad.successes, 1.0 + broad.runs - broad.successes
    won, lost = narrow.successes, narrow.runs - narrow.successes
    alike = math.log(ALIKE) + _log_beta(a + won, b + lost) - _log_beta(a, b)
    apart = math.log(1 - ALIKE) + _log_beta(1.0 + won, 1.0 + lost)
    weight = 1 / (1 + math.exp(min(apart - alike, 700.0)))
    return Base(((weight, a, b), (1 - weight, 1.0 + won, 1.0 + lost)))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def harm(counts: Counts, base: Base, *, shared: bool = True) -> float:
    """Probability that the entry's success rate lies below the base rate: P(uplift < 0).

    The entry's rate is Beta(1 + u, 1 + f − u), or, with `shared`, of its shares of these runs; the base rate's own uncertainty counts.
    """
    n, won = (counts.shared, counts.earned) if shared else (float(counts.f), float(counts.u))
    ours = _density(1 + won, 1 + n - won)
    below = np.cumsum(ours) - ours / 2
    return float(np.clip(sum(weight * float(below @ _density(a, b)) for weight, a, b in base.parts), 0.0, 1.0))


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
