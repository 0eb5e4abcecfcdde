"""Statistics for benchmarks: intervals that respect clusters, comparisons that are paired, tests that need no SciPy.

Questions about one conversation share its difficulty, so the effective sample is the number of conversations, not of questions:
intervals here resample whole clusters (the cluster bootstrap; Davison and Hinkley, Bootstrap Methods and their Application, 3.8).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mnemos.base.errors import Invalid

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    `n` counts observations, `clusters` the independent groups they fall into. With one cluster nothing can be said about other
    clusters, so `low` and `high` are NaN.
    """

    value: float
    low: float
    high: float
    n: int
    clusters: int
    level: float = 0.95


def percentiles(values: ArrayLike, *ranks: float) -> tuple[float, ...]:
    """The values below which `ranks` per cent of `values` lie, interpolated linearly. Raises `Invalid` without values."""
    data = _vector(values)
    return tuple(float(x) for x in np.percentile(data, ranks))


def bootstrap_mean(
    values: ArrayLike, clusters: Sequence[Hashable], rng: np.random.Generator, *, level: float = 0.95, resamples: int = 2000
) -> Interval:
    """Mean over all observations, with the percentile interval of `resamples` draws of whole clusters."""
    data, groups = _clustered(values, clusters)
    sums, counts = _per_cluster(data, groups)
    draws = _draws(len(counts), rng, resamples)
    return _interval(float(data.mean()), sums[draws].sum(1) / counts[draws].sum(1), len(data), len(counts), level)


def bootstrap_difference(
    ours: ArrayLike,
    theirs: ArrayLike,
    clusters: Sequence[Hashable],
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Mean of `ours - theirs`, paired by observation, with the cluster-bootstrap interval."""
    first, second = _pair(ours, theirs)
    return bootstrap_mean(first - second, clusters, rng, level=level, resamples=resamples)


def bootstrap_ratio(
    ours: ArrayLike,
    theirs: ArrayLike,
    clusters: Sequence[Hashable],
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Ratio of the means of `ours` and `theirs`, paired by observation, with the cluster-bootstrap interval.

    Raises `Invalid` where the mean of `theirs` is zero. Resamples in which it is zero count as infinite.
    """
    first, second = _pair(ours, theirs)
    if second.sum() == 0:
        raise Invalid("ratio: the mean of the second sample is zero; compare by difference instead")
    _, groups = _clustered(first, clusters)
    over, counts = _per_cluster(first, groups)
    under, _ = _per_cluster(second, groups)
    draws = _draws(len(counts), rng, resamples)
    top, bottom = over[draws].sum(1), under[draws].sum(1)
    ratios = np.divide(top, bottom, out=np.full_like(top, np.inf), where=bottom != 0)
    return _interval(float(first.sum() / second.sum()), ratios, len(first), len(counts), level)


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """A proportion with Wilson's score interval (Wilson 1927), which holds for small n and near 0 and 1; observations independent."""
    if n < 1 or not 0 <= successes <= n:
        raise Invalid(f"wilson: need 0 <= successes <= n and n >= 1, not {successes} of {n}")
    z = _z(level)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Interval(share, low, high, n, n, level)


@dataclass(frozen=True)
class Welch:
    """Welch's t-test of two independent means: statistic, degrees of freedom, two-sided p, and the difference with its interval."""

    t: float
    df: float
    p: float
    difference: Interval


def welch(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Welch:
    """Are the means of two independent samples different? Unequal variances allowed (Welch 1947). Needs two values in each."""
    gap, error, df, n = _welch_parts(a, b)
    t = gap / error
    half = t_quantile((1 + level) / 2, df) * error
    return Welch(t, df, 2 * t_cdf(-abs(t), df), Interval(gap, gap - half, gap + half, n, n, level))


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests: `p` is the larger of the two; `equivalent` says that it is below the level asked for."""

    p: float
    equivalent: bool
    difference: float


def tost(a: ArrayLike, b: ArrayLike, margin: float, alpha: float = 0.05) -> Equivalence:
    """Do the means of two independent samples differ by less than `margin`? Two one-sided Welch tests (Schuirmann 1987)."""
    if margin <= 0:
        raise Invalid(f"tost: the margin must be positive, not {margin}")
    gap, error, df, _ = _welch_parts(a, b)
    p = max(t_cdf(-(gap + margin) / error, df), t_cdf((gap - margin) / error, df))
    return Equivalence(p, p < alpha, gap)


def sample_size(proportion: float, half_width: float, level: float = 0.95) -> int:
    """Independent observations needed to know `proportion` to within `half_width`, by the normal approximation."""
    if not 0 < proportion < 1 or half_width <= 0:
        raise Invalid(f"sample_size: need 0 < proportion < 1 and half_width > 0, not {proportion} and {half_width}")
    return math.ceil(_z(level) ** 2 * proportion * (1 - proportion) / half_width**2)


def t_cdf(t: float, df: float) -> float:
    """Student's t distribution function with `df` degrees of freedom."""
    if t * t < df:  # the other form would lose small t to rounding
        return 0.5 + math.copysign(0.5, t) * incomplete_beta(0.5, df / 2, t * t / (df + t * t))
    tail = 0.5 * incomplete_beta(df / 2, 0.5, df / (df + t * t))
    return tail if t < 0 else 1 - tail


def t_quantile(probability: float, df: float) -> float:
    """The t below which `probability` of Student's distribution lies, to about 1e-12, by bisection."""
    if not 0 < probability < 1:
        raise Invalid(f"t_quantile: the probability must lie between 0 and 1, not {probability}")
    low, high = -1.0, 1.0
    while t_cdf(low, df) > probability:
        low *= 2
    while t_cdf(high, df) < probability:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if t_cdf(middle, df) < probability else (low, middle)
    return (low + high) / 2


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22, modified Lentz)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    tiny = 1e-300
    front = math.exp(a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)) / a
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1), tiny)
    total = d
    for m in range(1, 1000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _away_from_zero(1 + term * d, tiny)
            c = _away_from_zero(1 + term / c, tiny)
            total *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * total


def _away_from_zero(x: float, tiny: float) -> float:
    return x if abs(x) > tiny else tiny


def _z(level: float) -> float:
    if not 0 < level < 1:
        raise Invalid(f"level: must lie between 0 and 1, not {level}")
    return NormalDist().inv_cdf((1 + level) / 2)


def _vector(values: ArrayLike) -> Floats:
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or data.size == 0:
        raise Invalid(f"statistics need a non-empty list of numbers, not an array of shape {data.shape}")
    return data


def _pair(ours: ArrayLike, theirs: ArrayLike) -> tuple[Floats, Floats]:
    first, second = _vector(ours), _vector(theirs)
    if len(first) != len(second):
        raise Invalid(f"a paired comparison needs as many values on both sides, not {len(first)} and {len(second)}")
    return first, second


def _clustered(values: ArrayLike, clusters: Sequence[Hashable]) -> tuple[Floats, NDArray[np.int64]]:
    data = _vector(values)
    if len(clusters) != len(data):
        raise Invalid(f"each value needs its cluster: {len(data)} values, {len(clusters)} clusters")
    numbers: dict[Hashable, int] = {}
    return data, np.array([numbers.setdefault(name, len(numbers)) for name in clusters], dtype=np.int64)


def _per_cluster(data: Floats, groups: NDArray[np.int64]) -> tuple[Floats, Floats]:
    return np.bincount(groups, weights=data).astype(np.float64), np.bincount(groups).astype(np.float64)


def _draws(clusters: int, rng: np.random.Generator, resamples: int) -> NDArray[np.int64]:
    return rng.integers(0, clusters, size=(resamples, clusters))


def _interval(value: float, resampled: Floats, n: int, clusters: int, level: float) -> Interval:
    if clusters < 2:
        return Interval(value, math.nan, math.nan, n, clusters, level)
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), n, clusters, level)


def _welch_parts(a: ArrayLike, b: ArrayLike) -> tuple[float, float, float, int]:
    first, second = _vector(a), _vector(b)
    if len(first) < 2 or len(second) < 2:
        raise Invalid(f"Welch's test needs two values in each sample, not {len(first)} and {len(second)}")
    parts = [float(x.var(ddof=1)) / len(x) for x in (first, second)]
    if sum(parts) == 0:
        raise Invalid("Welch's test needs some variance; every value of both samples is the same")
    df = sum(parts) ** 2 / (parts[0] ** 2 / (len(first) - 1) + parts[1] ** 2 / (len(second) - 1))
    return float(first.mean() - second.mean()), math.sqrt(sum(parts)), df, len(first) + len(second)
