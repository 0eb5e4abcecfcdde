"""Comparisons: tests of two or more samples, paired and clustered tests, effect sizes, equivalence, and the power of a plan."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mnemos.base.errors import Invalid
from mnemos.base.stats.distributions import binomial_tail, f_tail, t_cdf, t_quantile
from mnemos.base.stats.intervals import Interval, ratio_error, studentised
from mnemos.base.stats.samples import Floats, cluster_numbers, pair, per_cluster, vector

_MOST_CLUSTERS = 100_000


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
    gap, error, df, _ = _welch_parts(a, b)
    return _one_sided_twice(gap, error, df, margin, alpha)


def tost_paired(ours: ArrayLike, theirs: ArrayLike, clusters: Sequence[Hashable], margin: float, alpha: float = 0.05) -> Equivalence:
    """Do two systems' means on the same observations differ by less than `margin`? Two one-sided t-tests on the clusters' differences."""
    first, second = pair(ours, theirs)
    sums, counts = per_cluster(first - second, cluster_numbers(clusters, len(first)))
    if len(sums) < 2:
        raise Invalid("tost: a paired comparison needs two clusters; with one nothing is known of others")
    gap, error = ratio_error(sums, counts)
    if error == 0:
        return Equivalence(0.0 if abs(gap) < margin else 1.0, abs(gap) < margin, gap)
    return _one_sided_twice(gap, error, len(sums) - 1, margin, alpha)


@dataclass(frozen=True)
class Anova:
    """One-way analysis of variance: F, its degrees of freedom between and within the groups, and p."""

    f: float
    between: int
    within: int
    p: float


def anova(*groups: ArrayLike) -> Anova:
    """Do the means of two or more independent samples differ? Equal variances assumed (Fisher 1925). Raises `Invalid` without variance."""
    samples = [vector(group) for group in groups]
    n, k = sum(map(len, samples)), len(samples)
    if k < 2 or n <= k:
        raise Invalid(f"anova: needs two groups and more values than groups, not {k} groups of {n} values in all")
    grand = float(np.concatenate(samples).mean())
    between = sum(len(x) * (float(x.mean()) - grand) ** 2 for x in samples)
    within = sum(float(((x - x.mean()) ** 2).sum()) for x in samples)
    if within == 0:
        raise Invalid("anova: every value equals its group's mean; there is no variance to compare with")
    f = (between / (k - 1)) / (within / (n - k))
    return Anova(f, k - 1, n - k, f_tail(f, k - 1, n - k))


def permutation_test(
    ours: ArrayLike, theirs: ArrayLike, clusters: Sequence[Hashable], rng: np.random.Generator, *, permutations: int = 10_000
) -> float:
    """Two-sided p-value of a paired difference: the signs of whole clusters are flipped (Fisher's randomisation test).

    Exact where all sign patterns are no more than `permutations`; else drawn, and then never below 1 / (permutations + 1).
    """
    first, second = pair(ours, theirs)
    sums, _ = per_cluster(first - second, cluster_numbers(clusters, len(first)))
    seen = abs(float(sums.sum())) - 1e-12 * float(np.abs(sums).sum())
    if 2 ** len(sums) <= permutations:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(sums))))
        return float(np.mean(np.abs(signs @ sums) >= seen))
    reached = 0
    step = max(1, 2_000_000 // len(sums))
    for start in range(0, permutations, step):
        signs = rng.integers(0, 2, size=(min(step, permutations - start), len(sums))) * 2.0 - 1.0
        reached += int(np.count_nonzero(np.abs(signs @ sums) >= seen))
    return (reached + 1) / (permutations + 1)


def paired_bootstrap_test(
    ours: ArrayLike, theirs: ArrayLike, clusters: Sequence[Hashable], rng: np.random.Generator, *, resamples: int = 10_000
) -> float:
    """Two-sided p-value of a paired difference by the studentised cluster bootstrap (Davison and Hinkley 1997, 4.4.1). 1 without clusters to
    compare."""
    first, second = pair(ours, theirs)
    sums, counts = per_cluster(first - second, cluster_numbers(clusters, len(first)))
    if len(sums) < 2:
        return 1.0
    gap, error = ratio_error(sums, counts)
    if error == 0:
        return 1.0 if gap == 0 else 1 / (resamples + 1)
    deviations = studentised(sums, counts, rng, resamples)
    return (int(np.count_nonzero(np.abs(deviations) >= abs(gap) / error)) + 1) / (resamples + 1)


@dataclass(frozen=True)
class McNemar:
    """Discordant pairs (`gained`: only ours is right; `lost`: only theirs) and the exact two-sided p."""

    gained: int
    lost: int
    p: float


def mcnemar(ours: ArrayLike, theirs: ArrayLike) -> McNemar:
    """Are two systems right equally often on the same independent items? The exact test on discordant pairs (McNemar 1947)."""
    first, second = pair(ours, theirs)
    for values in (first, second):
        if not np.isin(values, (0.0, 1.0)).all():
            raise Invalid("mcnemar: compares right (1) with wrong (0); other values need another test")
    gained, lost = int(np.sum((first == 1) & (second == 0))), int(np.sum((first == 0) & (second == 1)))
    p = min(1.0, 2 * binomial_tail(max(gained, lost), gained + lost, 0.5)) if gained + lost else 1.0
    return McNemar(gained, lost, p)


def cohens_d(a: ArrayLike, b: ArrayLike) -> float:
    """Difference of two independent means in pooled standard deviations (Cohen 1988). Raises `Invalid` without variance."""
    first, second = vector(a), vector(b)
    freedom = len(first) + len(second) - 2
    if freedom < 1:
        raise Invalid("cohens_d: needs three values in all")
    pooled = (((first - first.mean()) ** 2).sum() + ((second - second.mean()) ** 2).sum()) / freedom
    if pooled == 0:
        raise Invalid("cohens_d: every value equals its sample's mean; there is no spread to measure in")
    return float((first.mean() - second.mean()) / math.sqrt(pooled))


def cliffs_delta(a: ArrayLike, b: ArrayLike) -> float:
    """P(x > y) − P(x < y) for x of `a` and y of `b`: −1 to 1, and 0 where neither tends to be larger (Cliff 1993)."""
    first, second = vector(a), np.sort(vector(b))
    below = np.searchsorted(second, first, side="left")
    above = len(second) - np.searchsorted(second, first, side="right")
    return float((below.sum() - above.sum()) / (len(first) * len(second)))


def power(effect: float, spread: float, clusters: int, per_cluster: float, correlation: float, alpha: float = 0.05) -> float:
    """Probability that a paired, clustered comparison finds a true difference `effect` at level `alpha`, two-sided.

    `spread` is the standard deviation of one observation's difference, `correlation` the share of its variance that a cluster's observations
    have in common, so that a cluster of m counts as m / (1 + (m − 1) · correlation) observations (Kish 1965). The t-test on clusters, its
    noncentral distribution approximated by a shifted one.
    """
    if spread <= 0 or clusters < 2 or per_cluster < 1 or not 0 <= correlation <= 1 or not 0 < alpha < 1:
        raise Invalid(
            f"power: need spread > 0, clusters >= 2, per_cluster >= 1, and correlation and alpha within 0 to 1, not {spread}, {clusters}, "
            f"{per_cluster}, {correlation}, {alpha}"
        )
    error = spread * math.sqrt((1 + (per_cluster - 1) * correlation) / (clusters * per_cluster))
    df = clusters - 1
    reach, shift = t_quantile(1 - alpha / 2, df), abs(effect) / error
    return t_cdf(shift - reach, df) + t_cdf(-shift - reach, df)


def clusters_for_power(effect: float, spread: float, per_cluster: float, correlation: float, wanted: float = 0.8, alpha: float = 0.05) -> int:
    """The fewest clusters with which `power` reaches `wanted`. Raises `Invalid` for no effect, or where 100,000 do not suffice."""
    if effect == 0 or not 0 < wanted < 1:
        raise Invalid(f"clusters_for_power: need an effect other than 0 and a power between 0 and 1, not {effect} and {wanted}")
    low, high = 2, 2
    while power(effect, spread, high, per_cluster, correlation, alpha) < wanted:
        low, high = high, high * 2
        if high > _MOST_CLUSTERS:
            raise Invalid(f"clusters_for_power: an effect of {effect} needs more than {_MOST_CLUSTERS:,} clusters; look for a larger one")
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, spread, middle, per_cluster, correlation, alpha) >= wanted else (middle + 1, high)
    return high


def _one_sided_twice(gap: float, error: float, df: float, margin: float, alpha: float) -> Equivalence:
    if margin <= 0:
        raise Invalid(f"tost: the margin must be positive, not {margin}")
    p = max(t_cdf(-(gap + margin) / error, df), t_cdf((gap - margin) / error, df))
    return Equivalence(p, p < alpha, gap)


def _welch_parts(a: ArrayLike, b: ArrayLike) -> tuple[float, float, float, int]:
    first, second = vector(a), vector(b)
    if len(first) < 2 or len(second) < 2:
        raise Invalid(f"Welch's test needs two values in each sample, not {len(first)} and {len(second)}")
    parts = [_variance(x) / len(x) for x in (first, second)]
    if sum(parts) == 0:
        raise Invalid("Welch's test needs some variance; every value of both samples is the same")
    df = sum(parts) ** 2 / (parts[0] ** 2 / (len(first) - 1) + parts[1] ** 2 / (len(second) - 1))
    return float(first.mean() - second.mean()), math.sqrt(sum(parts)), df, len(first) + len(second)


def _variance(values: Floats) -> float:
    return float(values.var(ddof=1))
