"""Intervals and corrections against their promise, over simulated data sets whose truth is known; sessions share their difficulty."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mnemos.base import stats

DATA_SETS = 500


def sessions(rng: np.random.Generator, clusters: int, share: float, correlation: float, sizes: tuple[int, int]) -> tuple[np.ndarray, list[int]]:
    """Right and wrong answers in sessions of unequal size; each session has a success rate of its own (beta-binomial)."""
    strength = (1 - correlation) / correlation
    counts = rng.integers(sizes[0], sizes[1] + 1, clusters)
    rates = rng.beta(share * strength, (1 - share) * strength, clusters)
    names = np.repeat(np.arange(clusters), counts)
    return (rng.random(len(names)) < rates[names]).astype(float), names.tolist()


@pytest.mark.parametrize(
    ("clusters", "share", "correlation", "sizes"),
    [(12, 0.7, 0.1, (10, 40)), (20, 0.8, 0.1, (5, 60)), (30, 0.9, 0.2, (20, 20)), (60, 0.6, 0.3, (5, 100))],
)
def test_95_per_cent_intervals_cover_95_per_cent(clusters: int, share: float, correlation: float, sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    by_session = by_item = 0
    for _ in range(DATA_SETS):
        right, names = sessions(rng, clusters, share, correlation, sizes)
        got = stats.bootstrap_mean(right, names, rng, resamples=800, bounds=(0, 1))
        by_session += got.low <= share <= got.high
        naive = stats.wilson(int(right.sum()), len(right))
        by_item += naive.low <= share <= naive.high
    assert 0.93 <= by_session / DATA_SETS <= 0.97
    assert by_item / DATA_SETS < 0.8  # as if a session's answers were independent


def test_a_ratio_of_two_systems_covers() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(DATA_SETS):
        level = rng.uniform(0.3, 0.7, 25)[np.repeat(np.arange(25), 12)]
        theirs = (rng.random(300) < level).astype(float)
        ours = (rng.random(300) < level * 1.2).astype(float)
        got = stats.bootstrap_ratio(ours, theirs, np.repeat(np.arange(25), 12).tolist(), rng, resamples=800)
        covered += got.low <= 1.2 <= got.high
    assert 0.93 <= covered / DATA_SETS <= 0.97


def test_a_statistic_covers() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        right, names = sessions(rng, 30, 0.7, 0.1, (10, 20))
        got = stats.bootstrap_statistic(lambda rows, right=right: float(right[rows].mean()), names, rng, resamples=400)  # type: ignore[misc]
        covered += got.low <= 0.7 <= got.high
    assert 0.91 <= covered / 200 <= 0.985


@pytest.mark.parametrize("test", [stats.permutation_test, stats.paired_bootstrap_test])
def test_a_paired_test_keeps_its_level_and_finds_a_gain_of_five_points(test) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(40), 25).tolist()
    false = found = 0
    for _ in range(300):
        level = np.repeat(rng.beta(6, 3, 40), 25)
        before, after = (rng.random(1000) < level).astype(float), (rng.random(1000) < level).astype(float)
        false += _p(test, after, before, clusters, rng) < 0.05
        better = (rng.random(1000) < np.minimum(level + 0.05, 1)).astype(float)
        found += _p(test, better, before, clusters, rng) < 0.05
    assert false / 300 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 300)
    assert found / 300 > 0.6


def _p(test, ours, theirs, clusters, rng) -> float:  # type: ignore[no-untyped-def]
    keyword = {"permutations" if test is stats.permutation_test else "resamples": 500}
    return test(ours, theirs, clusters, rng, **keyword)


def test_families_and_false_discoveries_keep_their_level() -> None:
    runs, nulls, true = 500, 20, 10
    rng = np.random.default_rng(0)
    any_false = 0
    shares = []
    for _ in range(runs):
        p = np.array([2 * stats.t_cdf(-abs(t), 30) for t in rng.standard_t(30, nulls)])
        any_false += bool((stats.holm(p) <= 0.05).any())
        real = np.array([2 * stats.t_cdf(-abs(t), 30) for t in rng.standard_t(30, true) + 3.5])
        rejected = stats.benjamini_hochberg(np.concatenate([p, real])) <= 0.05
        shares.append(rejected[:nulls].sum() / max(1, rejected.sum()))
    assert any_false / runs <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)
    assert np.mean(shares) <= 0.05 + 2 * np.std(shares) / math.sqrt(runs)
    assert any_false > 0


def test_power_is_what_simulation_gives() -> None:
    rng = np.random.default_rng(0)
    clusters, each, correlation, spread, effect = 20, 15, 0.15, 0.6, 0.1
    found = 0
    for _ in range(400):
        common = np.repeat(rng.normal(0, spread * math.sqrt(correlation), clusters), each)
        difference = effect + common + rng.normal(0, spread * math.sqrt(1 - correlation), clusters * each)
        means = difference.reshape(clusters, each).mean(1)
        t = means.mean() / (means.std(ddof=1) / math.sqrt(clusters))
        found += abs(t) > stats.t_quantile(0.975, clusters - 1)
    assert stats.power(effect, spread, clusters, each, correlation) == pytest.approx(found / 400, abs=0.06)
    fewest = stats.clusters_for_power(effect, spread, each, correlation, 0.9)
    assert stats.power(effect, spread, fewest, each, correlation) >= 0.9 > stats.power(effect, spread, fewest - 1, each, correlation)
