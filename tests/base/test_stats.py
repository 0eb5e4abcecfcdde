"""Known values: tables of Student's t; Wilson's interval as tabulated by Newcombe (1998); closed forms; coverage by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base import stats
from mnemos.base.errors import Invalid


def generator() -> np.random.Generator:
    return np.random.default_rng(7)


def test_wilson_matches_newcombe() -> None:
    for successes, n, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]:
        got = stats.wilson(successes, n)
        assert (round(got.low, 4), round(got.high, 4)) == (low, high)


def test_wilson_is_exact_at_the_ends() -> None:
    assert stats.wilson(0, 9).low == 0.0
    assert stats.wilson(9, 9).high == 1.0


@pytest.mark.parametrize(("successes", "n"), [(-1, 3), (4, 3), (0, 0)])
def test_wilson_refuses(successes: int, n: int) -> None:
    with pytest.raises(Invalid):
        stats.wilson(successes, n)


def test_t_distribution_known_values() -> None:
    assert stats.t_cdf(0, 5) == 0.5
    assert stats.t_cdf(1, 1) == pytest.approx(0.75, abs=1e-12)  # Cauchy
    assert stats.t_cdf(2.0, 2) == pytest.approx(0.5 + 2 / (2 * math.sqrt(2 + 4)), abs=1e-12)  # closed form for two degrees
    assert stats.t_quantile(0.975, 10) == pytest.approx(2.228138852, abs=1e-8)
    assert stats.t_quantile(0.975, 1) == pytest.approx(12.7062047364, abs=1e-8)
    assert stats.t_quantile(0.025, 30) == pytest.approx(-2.0422724563, abs=1e-8)


@given(st.floats(0.001, 0.999), st.floats(1, 500))
def test_t_quantile_inverts_the_distribution(probability: float, df: float) -> None:
    assert stats.t_cdf(stats.t_quantile(probability, df), df) == pytest.approx(probability, abs=1e-9)


@given(st.floats(0.1, 50), st.floats(0.1, 50), st.floats(0.001, 0.999))
def test_incomplete_beta_is_symmetric(a: float, b: float, x: float) -> None:
    assert stats.incomplete_beta(a, b, x) + stats.incomplete_beta(b, a, 1 - x) == pytest.approx(1, abs=1e-9)


def test_welch_by_hand() -> None:
    a, b = [1.0, 2, 3, 4, 5], [2.0, 4, 6, 8, 10, 12]
    got = stats.welch(a, b)
    va, vb = np.var(a, ddof=1) / 5, np.var(b, ddof=1) / 6
    assert got.t == pytest.approx((3 - 7) / math.sqrt(va + vb))
    assert got.df == pytest.approx((va + vb) ** 2 / (va**2 / 4 + vb**2 / 5))
    assert got.p == pytest.approx(2 * stats.t_cdf(got.t, got.df))
    assert got.difference.low < -4 < got.difference.high


def test_welch_p_is_uniform_under_the_null() -> None:
    rng = generator()
    p = [stats.welch(rng.normal(0, 1, 12), rng.normal(0, 3, 20)).p for _ in range(1500)]
    assert 0.035 < np.mean(np.array(p) < 0.05) < 0.065


def test_welch_refuses_what_it_cannot_judge() -> None:
    with pytest.raises(Invalid):
        stats.welch([1.0], [1.0, 2.0])
    with pytest.raises(Invalid):
        stats.welch([1.0, 1.0], [1.0, 1.0])


def test_tost_tells_equal_from_unknown_from_different() -> None:
    rng = generator()
    a, b = rng.normal(0, 1, 400), rng.normal(0, 1, 400)
    assert stats.tost(a, b, margin=0.3).equivalent
    assert not stats.tost(a[:4], b[:4], margin=0.3).equivalent  # too few to say
    assert not stats.tost(a, b + 0.3, margin=0.3).equivalent
    with pytest.raises(Invalid):
        stats.tost(a, b, margin=0)


def test_sample_size_of_the_convomem_sheet() -> None:
    assert stats.sample_size(0.8, 0.05) == 246
    assert stats.sample_size(0.5, 0.05) == 385


def test_bootstrap_is_seeded_and_holds_the_mean() -> None:
    values, clusters = [1.0, 0, 1, 1, 0, 1], list("aabbcc")
    first = stats.bootstrap_mean(values, clusters, generator())
    assert first == stats.bootstrap_mean(values, clusters, generator())
    assert first.value == pytest.approx(4 / 6)
    assert first.low <= first.value <= first.high
    assert (first.n, first.clusters) == (6, 3)


def test_clusters_widen_the_interval() -> None:
    rng = generator()
    centre = rng.normal(0, 1, 40)
    values = np.repeat(centre, 25) + rng.normal(0, 0.1, 1000)
    clusters = np.repeat(np.arange(40), 25).tolist()
    by_cluster = stats.bootstrap_mean(values, clusters, rng)
    by_value = stats.bootstrap_mean(values, list(range(1000)), rng)
    assert (by_cluster.high - by_cluster.low) > 3 * (by_value.high - by_value.low)
    expected = 2 * 1.96 * centre.std(ddof=1) / math.sqrt(40)
    assert by_cluster.high - by_cluster.low == pytest.approx(expected, rel=0.2)


def test_one_cluster_gives_no_interval() -> None:
    got = stats.bootstrap_mean([1.0, 2.0], ["a", "a"], generator())
    assert got.value == 1.5
    assert math.isnan(got.low)
    assert math.isnan(got.high)


def test_paired_difference_and_ratio() -> None:
    rng = generator()
    base = rng.uniform(0.2, 0.9, 60)
    clusters = (np.arange(60) // 6).tolist()
    difference = stats.bootstrap_difference(base + 0.1, base, clusters, rng)
    assert difference.low == pytest.approx(0.1)
    assert difference.high == pytest.approx(0.1)
    ratio = stats.bootstrap_ratio(base * 1.25, base, clusters, rng)
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((1.25, 1.25, 1.25))
    with pytest.raises(Invalid):
        stats.bootstrap_ratio(base, base * 0, clusters, rng)
    with pytest.raises(Invalid):
        stats.bootstrap_difference(base, base[1:], clusters, rng)


def test_percentiles() -> None:
    assert stats.percentiles(range(101), 50, 95, 99) == (50, 95, 99)
    assert stats.percentiles([3.0], 50, 99) == (3, 3)
    with pytest.raises(Invalid):
        stats.percentiles([], 50)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.integers(1, 20))
def test_interval_holds_the_mean_and_keeps_its_bounds(values: list[float], groups: int) -> None:
    clusters = [i % groups for i in range(len(values))]
    bounds = min(values), max(values)
    got = stats.bootstrap_mean(values, clusters, generator(), resamples=50, bounds=bounds)
    if got.clusters > 1:
        slack = 1e-9 * (1 + max(map(abs, values)))
        assert bounds[0] - slack <= got.low <= got.value + slack
        assert got.value - slack <= got.high <= bounds[1] + slack


def test_few_clusters_give_students_interval() -> None:
    got = stats.bootstrap_mean([1.0, 3, 2, 4, 6, 8], list("aabbcc"), generator())
    half = stats.t_quantile(0.975, 2) * np.std([2.0, 3, 7], ddof=1) / math.sqrt(3)
    assert (got.low, got.value, got.high) == pytest.approx((4 - half, 4, 4 + half))


def test_any_statistic_has_an_interval() -> None:
    rng = generator()
    values = rng.normal(3, 1, 300)
    clusters = (np.arange(300) // 10).tolist()
    median = stats.bootstrap_statistic(lambda rows: float(np.median(values[rows])), clusters, rng)
    assert median.low < np.median(values) == median.value < median.high
    got = stats.bootstrap_statistic(lambda rows: float(values[rows].mean()), clusters, rng)
    mean = stats.bootstrap_mean(values, clusters, rng)
    assert (got.low, got.high) == pytest.approx((mean.low, mean.high), abs=0.03)
    assert (got.n, got.clusters) == (300, 30)
    rare = stats.bootstrap_statistic(lambda rows: math.nan if len(set(rows.tolist())) < 250 else 1.0, clusters, rng, resamples=100)
    assert math.isnan(rare.low)  # too seldom defined


def test_scores_of_few_sessions_have_an_interval_that_says_something() -> None:
    rng = np.random.default_rng(0)
    two = stats.mean_score([0.5, 1.0, 1.0, 0.5], ["a", "a", "b", "b"], rng)
    assert (two.value, two.n, two.clusters) == (0.75, 4, 2)
    assert 0 < two.low < 0.75 < two.high < 1  # Student's is all of 0 … 1, and of equal sessions nothing
    assert stats.mean_score([1.0] * 3, "abc", rng).low == pytest.approx(stats.wilson(3, 3).low)
    assert stats.mean_score([0.4] * 9, range(9), rng).low == pytest.approx(stats.wilson(3.6, 9).low)
    one = stats.mean_score([0.2, 0.4], "aa", rng)
    assert one.low < 0.1 < 0.6 < one.high
    many = rng.random(40)
    right = stats.bootstrap_mean(many, range(40), np.random.default_rng(1), bounds=(0, 1))
    assert stats.mean_score(many, range(40), np.random.default_rng(1)) == right
    with pytest.raises(Invalid, match="from 0 to 1"):
        stats.mean_score([0.5, 2], "ab", rng)


def test_the_interval_of_few_scores_holds_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    for sessions in (2, 3, 4):
        for mean in (0.3, 0.5, 0.9):
            hits = [
                found.low <= mean <= found.high
                for _ in range(300)
                if (found := stats.mean_score(rng.binomial(4, rng.beta(2 * mean, 2 * (1 - mean), sessions)) / 4, range(sessions), rng))
            ]
            assert np.mean(hits) >= 0.93
