"""Estimates with intervals: the cluster bootstrap of means, differences, ratios and any statistic, and Wilson's interval of a share.

Means, differences and ratios have the studentised bootstrap's interval (Davison and Hinkley, Bootstrap Methods and their Application,
5.2), whole clusters resampled: with few, skewed or unequal clusters the percentile interval is too short by a third of its misses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from mnemos.base.errors import Invalid
from mnemos.base.stats.distributions import t_quantile
from mnemos.base.stats.samples import Floats, Ints, cluster_numbers, pair, per_cluster, vector, z_of

FEWEST = 5
"""Clusters below which a resample often holds one cluster only, so that there is no spread to studentise by."""

_AT_ONCE = 2_000_000
Bounds = tuple[float, float]


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
    data = vector(values)
    return tuple(float(x) for x in np.percentile(data, ranks))


def bootstrap_mean(
    values: ArrayLike,
    clusters: Sequence[Hashable],
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    bounds: Bounds | None = None,
) -> Interval:
    """Mean over all observations, with the studentised interval of `resamples` draws of whole clusters.

    `bounds` are the least and the largest value that an observation can have, such as (0, 1): the interval is cut there. Below 5 clusters
    the interval is Student's, on the clusters; it is infinite where so few clusters differ that nothing bounds it.
    """
    data = vector(values)
    sums, counts = per_cluster(data, cluster_numbers(clusters, len(data)))
    return _ratio_interval(sums, counts, len(data), rng, level, resamples, bounds)


def bootstrap_difference(
    ours: ArrayLike,
    theirs: ArrayLike,
    clusters: Sequence[Hashable],
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Mean of `ours - theirs`, paired by observation, with the interval of `bootstrap_mean`."""
    first, second = pair(ours, theirs)
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
    """Ratio of the means of `ours` and `theirs`, paired by observation, with the studentised interval.

    Raises `Invalid` where the mean of `theirs` is zero. Resamples in which it is zero count as infinite.
    """
    first, second = pair(ours, theirs)
    if second.sum() == 0:
        raise Invalid("ratio: the mean of the second sample is zero; compare by difference instead")
    groups = cluster_numbers(clusters, len(first))
    return _ratio_interval(per_cluster(first, groups)[0], per_cluster(second, groups)[0], len(first), rng, level, resamples, None)


def bootstrap_statistic(
    statistic: Callable[[Ints], float],
    clusters: Sequence[Hashable],
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    resamples: int = 1000,
) -> Interval:
    """Any statistic with its expanded percentile interval, whole clusters resampled (Hesterberg 2015, What Teachers Should Know about the
    Bootstrap, 3.3: the percentiles of Student's t stand in for the normal ones).

    `statistic` takes the indices of the observations to use, shape (n',), and gives a number; NaN where the sample does not define it.
    Such resamples are left out; where more than a tenth are, the interval is NaN.
    """
    groups = cluster_numbers(clusters, len(clusters))
    if not len(groups):
        raise Invalid("statistics need at least one observation")
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(groups))[:-1])
    value = statistic(np.arange(len(groups)))
    if len(members) < 2:
        return Interval(value, math.nan, math.nan, len(groups), len(members), level)
    drawn = rng.integers(0, len(members), size=(resamples, len(members)))
    found = np.array([statistic(np.concatenate([members[i] for i in row])) for row in drawn])
    found = found[~np.isnan(found)]
    if len(found) < 0.9 * resamples:
        return Interval(value, math.nan, math.nan, len(groups), len(members), level)
    low, high = np.quantile(found, _expanded(len(members), level))
    return Interval(value, float(low), float(high), len(groups), len(members), level)


def mean_score(values: ArrayLike, clusters: Sequence[Hashable], rng: np.random.Generator, *, level: float = 0.95) -> Interval:
    """Mean of scores from 0 to 1, with an interval that says something of few clusters, too: that of `bootstrap_mean`, but below 5 clusters, and
    where all have one mean, Wilson's with each cluster as one observation. A score in 0 … 1 varies at most as a yes or no of the same mean does: so
    it is not too short, where Student's is nearly always all of 0 … 1, and that of equal scores has no width. Raises `Invalid` for others."""
    data = vector(values)
    if not ((data >= 0) & (data <= 1 + 1e-9)).all():
        raise Invalid("mean_score: scores lie from 0 to 1; use bootstrap_mean for others")
    found = bootstrap_mean(data, clusters, rng, level=level, bounds=(0, 1))
    if found.clusters >= FEWEST and found.low < found.high:
        return found
    within = wilson(min(found.value, 1.0) * found.clusters, found.clusters, level)
    return replace(found, low=within.low, high=within.high)


def wilson(successes: float, n: int, level: float = 0.95) -> Interval:
    """A proportion with Wilson's score interval (Wilson 1927), which holds for small n and near 0 and 1; observations independent, each 1, 0, or
    something between that counts in part."""
    if n < 1 or not 0 <= successes <= n:
        raise Invalid(f"wilson: need 0 <= successes <= n and n >= 1, not {successes} of {n}")
    z = z_of(level)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Interval(share, low, high, n, n, level)


def sample_size(proportion: float, half_width: float, level: float = 0.95) -> int:
    """Independent observations needed to know `proportion` to within `half_width`, by the normal approximation."""
    if not 0 < proportion < 1 or half_width <= 0:
        raise Invalid(f"sample_size: need 0 < proportion < 1 and half_width > 0, not {proportion} and {half_width}")
    return math.ceil(z_of(level) ** 2 * proportion * (1 - proportion) / half_width**2)


def ratio_error(top: Floats, bottom: Floats) -> tuple[float, float]:
    """The ratio of the sums of `top` and `bottom`, a value per cluster each, and its standard error by linearisation (two or more clusters)."""
    ratio = float(top.sum() / bottom.sum())
    return ratio, float(_errors(top[None], bottom[None], np.array([ratio]))[0])


def studentised(top: Floats, bottom: Floats, rng: np.random.Generator, resamples: int) -> Floats:
    """Deviations from the ratio of sums in `resamples` resamples of the clusters, each in standard errors of its own: shape (resamples,).

    Infinite where a resample differs but has no spread, zero where it has neither.
    """
    ratio, out = float(top.sum() / bottom.sum()), []
    for drawn in _draws(len(top), rng, resamples):
        tops, bottoms = top[drawn], bottom[drawn]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = tops.sum(1) / bottoms.sum(1)
            deviations = (ratios - ratio) / _errors(tops, bottoms, ratios)
        out.append(np.nan_to_num(deviations, nan=0.0, posinf=math.inf, neginf=-math.inf))
    return np.concatenate(out)


def _ratio_interval(
    top: Floats, bottom: Floats, n: int, rng: np.random.Generator, level: float, resamples: int, bounds: Bounds | None
) -> Interval:
    """Interval of the ratio of the sums over clusters; a mean is the ratio of sums to counts."""
    z_of(level)
    clusters = len(top)
    if clusters < 2:
        return Interval(float(top.sum() / bottom.sum()), math.nan, math.nan, n, clusters, level)
    ratio, error = ratio_error(top, bottom)
    if clusters < FEWEST:
        reach = t_quantile((1 + level) / 2, clusters - 1)
        below = above = reach
    else:
        deviations = studentised(top, bottom, rng, resamples)
        low, high = np.quantile(deviations, [(1 - level) / 2, (1 + level) / 2], method="nearest")
        below, above = max(float(high), 0.0), max(-float(low), 0.0)
    least, most = bounds or (-math.inf, math.inf)
    if error == 0:
        return Interval(ratio, ratio, ratio, n, clusters, level)
    return Interval(ratio, max(least, ratio - below * error), min(most, ratio + above * error), n, clusters, level)


def _errors(top: Floats, bottom: Floats, ratios: Floats) -> Floats:
    """Standard errors of ratios of sums, shapes (m, clusters) and (m,): clusters differ by what they add beyond the ratio."""
    clusters = top.shape[1]
    beyond = top - ratios[:, None] * bottom
    errors: Floats = np.sqrt((beyond**2).sum(1) / (clusters * (clusters - 1))) / np.abs(bottom.mean(1))
    return errors


def _draws(clusters: int, rng: np.random.Generator, resamples: int) -> Iterator[Ints]:
    """Resamples of cluster numbers, shape (some, clusters), a part at a time so that memory stays small."""
    step = max(1, _AT_ONCE // clusters)
    for start in range(0, resamples, step):
        yield rng.integers(0, clusters, size=(min(step, resamples - start), clusters))


def _expanded(clusters: int, level: float) -> tuple[float, float]:
    reach = t_quantile((1 + level) / 2, clusters - 1) * math.sqrt(clusters / (clusters - 1))
    tail = NormalDist().cdf(-reach)
    return tail, 1 - tail
