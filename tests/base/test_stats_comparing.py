"""Known values: published worked examples, hand tables, closed forms; scikit-learn where it is installed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base import stats
from mnemos.base.errors import Invalid

NAN = math.nan
RATINGS = [  # Krippendorff 2011, section C: four observers, twelve units
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
]


def generator() -> np.random.Generator:
    return np.random.default_rng(11)


def test_holm_and_benjamini_hochberg_by_hand() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    assert stats.holm(p).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.benjamini_hochberg(p).tolist() == pytest.approx([0.02, 0.04, 0.04, 0.02])
    for correct in (stats.holm, stats.benjamini_hochberg):
        assert correct([0.2]).tolist() == [0.2]
        with pytest.raises(Invalid):
            correct([0.2, 1.2])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_adjusted_p_values_keep_the_order_and_never_shrink(p: list[float]) -> None:
    for adjusted in (stats.holm(p), stats.benjamini_hochberg(p)):
        assert (adjusted >= np.array(p) - 1e-15).all()
        assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()
    assert (stats.benjamini_hochberg(p) <= stats.holm(p) + 1e-15).all()


def test_kappa_of_the_textbook_tables() -> None:
    a = ["yes"] * 25 + ["no"] * 25
    b = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert stats.cohen_kappa(a, b) == pytest.approx(0.4, abs=1e-12)
    assert stats.cohen_kappa([1, 1, 1], [1, 1, 1]) == 1
    assert stats.cohen_kappa([0, 1, 0, 1], [1, 0, 1, 0]) == -1
    # weights: [[11, 3, 1], [1, 9, 0], [0, 1, 4]] by hand, cost |i − j| against chance
    table = [(0, 0, 11), (0, 1, 3), (0, 2, 1), (1, 0, 1), (1, 1, 9), (2, 1, 1), (2, 2, 4)]
    x, y = ([row for row, column, n in table for row, column in [(row, column)] * n], [c for _, c, n in table for c in [c] * n])
    rows, columns = np.bincount(x), np.bincount(y)
    chance = sum(abs(i - j) * rows[i] * columns[j] for i, j in itertools.product(range(3), repeat=2)) / 30
    assert stats.cohen_kappa(x, y, "linear") == pytest.approx(1 - (3 + 2 * 1 + 1 + 1) / chance)
    with pytest.raises(Invalid):
        stats.cohen_kappa([1], [])


def test_krippendorff_of_the_published_example() -> None:
    assert stats.krippendorff_alpha(RATINGS, "nominal") == pytest.approx(0.743, abs=5e-4)
    assert stats.krippendorff_alpha(RATINGS, "ordinal") == pytest.approx(0.815, abs=5e-4)
    assert stats.krippendorff_alpha(RATINGS, "interval") == pytest.approx(0.849, abs=5e-4)
    assert stats.krippendorff_alpha([[1, 1], [1, 1]]) == 1
    assert math.isnan(stats.krippendorff_alpha([[1, NAN], [NAN, 2]]))
    with pytest.raises(Invalid):
        stats.krippendorff_alpha([1, 2])


def test_kendall_by_hand() -> None:
    assert stats.kendall_tau([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(4 / 6)
    assert stats.kendall_tau([1, 2, 3], [3, 2, 1]) == -1
    assert stats.kendall_tau([12, 2, 1, 12, 2], [1, 4, 7, 1, 0]) == pytest.approx(-0.47140452079103173)  # with ties
    assert math.isnan(stats.kendall_tau([1, 1], [1, 2]))


def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs() -> None:
    ours = [1] * 10 + [0] * 2 + [1] * 30
    theirs = [0] * 10 + [1] * 2 + [1] * 30
    got = stats.mcnemar(ours, theirs)
    assert (got.gained, got.lost) == (10, 2)
    assert got.p == pytest.approx(2 * (66 + 12 + 1) / 4096)
    assert stats.mcnemar([1, 0], [1, 0]).p == 1
    with pytest.raises(Invalid):
        stats.mcnemar([0.5], [1])


def test_binomial_tail_sums() -> None:
    for n, share in [(7, 0.3), (12, 0.5), (30, 0.9)]:
        terms = [math.comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(n + 1)]
        for k in range(n + 2):
            assert stats.binomial_tail(k, n, share) == pytest.approx(sum(terms[k:]), abs=1e-12)


def test_anova_of_the_textbook_example() -> None:
    got = stats.anova([6, 8, 4, 5, 3, 4], [8, 12, 9, 11, 6, 8], [13, 9, 11, 8, 7, 12])
    assert (got.between, got.within) == (2, 15)
    assert got.f == pytest.approx(9.3, abs=0.05)
    assert got.p == pytest.approx(0.002399, abs=5e-6)
    rng = generator()
    a, b = rng.normal(0, 1, 9), rng.normal(0.5, 1, 9)  # of two groups of one size it is the t-test, squared
    assert stats.anova(a, b).f == pytest.approx(stats.welch(a, b).t ** 2)
    assert stats.f_tail(3.7**2, 1, 16) == pytest.approx(2 * stats.t_cdf(-3.7, 16))
    for groups in ([[1.0, 2]], [[1.0], [2.0]], [[1.0, 1], [2.0, 2]]):
        with pytest.raises(Invalid):
            stats.anova(*groups)


def test_effect_sizes_by_hand() -> None:
    assert stats.cohens_d([2.0, 4, 6], [1.0, 3, 5]) == pytest.approx(0.5)
    assert stats.cliffs_delta([1, 2, 3], [0, 2, 9]) == pytest.approx((1 + 1 + 2 - 2 - 1 - 1) / 9)
    assert stats.cliffs_delta([5, 6], [1, 2]) == 1
    with pytest.raises(Invalid):
        stats.cohens_d([1.0, 1], [1.0, 1])
    with pytest.raises(Invalid):
        stats.cohens_d([1.0], [1.0])


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_cliffs_delta_counts_pairs(a: list[int], b: list[int]) -> None:
    expected = sum((x > y) - (x < y) for x in a for y in b) / (len(a) * len(b))
    assert stats.cliffs_delta(a, b) == pytest.approx(expected)


def test_permutation_is_exact_where_it_can_be() -> None:
    ours, theirs = [3.0, 4, 5, 7], [1.0, 1, 1, 1]
    assert stats.permutation_test(ours, theirs, list("abcd"), generator()) == 2 / 16
    assert stats.permutation_test(ours, theirs, list("aabb"), generator()) == 2 / 4
    assert stats.permutation_test(ours, ours, list("abcd"), generator()) == 1
    many = stats.permutation_test(np.arange(1.0, 31), np.zeros(30), list(range(30)), generator(), permutations=999)
    assert many == 1 / 1000


def test_paired_bootstrap_at_the_edges() -> None:
    rng = generator()
    assert stats.paired_bootstrap_test([1.0, 1], [0.0, 0], ["a", "a"], rng) == 1  # one cluster says nothing of others
    assert stats.paired_bootstrap_test([1.0] * 8, [1.0] * 8, list(range(8)), rng) == 1
    assert stats.paired_bootstrap_test([2.0] * 8, [1.0] * 8, list(range(8)), rng, resamples=99) == 0.01


def test_paired_equivalence() -> None:
    rng = generator()
    clusters = np.repeat(np.arange(30), 20).tolist()
    base = np.repeat(rng.normal(0, 2, 30), 20)
    a, b = base + rng.normal(0, 0.5, 600), base + rng.normal(0, 0.5, 600)
    assert stats.tost_paired(a, b, clusters, margin=0.1).equivalent
    assert not stats.tost(a, b, margin=0.1).equivalent  # unpaired, the sessions' own levels drown it
    assert not stats.tost_paired(a, b + 0.1, clusters, margin=0.1).equivalent
    assert stats.tost_paired(a, a, clusters, margin=0.1).p == 0
    with pytest.raises(Invalid):
        stats.tost_paired(a, b, ["one"] * 600, margin=0.1)
    with pytest.raises(Invalid):
        stats.tost_paired(a, b, clusters, margin=0)


def test_power_grows_with_what_should_help() -> None:
    base = stats.power(0.05, 0.5, 30, 20, 0.1)
    assert stats.power(0.0, 0.5, 30, 20, 0.1) == pytest.approx(0.05)
    assert base < stats.power(0.1, 0.5, 30, 20, 0.1)
    assert base < stats.power(0.05, 0.5, 60, 20, 0.1)
    assert base > stats.power(0.05, 0.5, 30, 20, 0.4)
    assert stats.power(0.05, 0.5, 30, 20, 1.0) == pytest.approx(stats.power(0.05, 0.5, 30, 1, 0.0))
    for bad in ({"spread": 0.0}, {"clusters": 1}, {"correlation": 2.0}):
        with pytest.raises(Invalid):
            stats.power(**{"effect": 0.1, "spread": 1.0, "clusters": 9, "per_cluster": 3, "correlation": 0.1} | bad)  # type: ignore[arg-type]
    with pytest.raises(Invalid):
        stats.clusters_for_power(0.0, 1.0, 5, 0.1)
    with pytest.raises(Invalid):
        stats.clusters_for_power(1e-6, 1.0, 5, 0.1)


def test_risk_and_coverage_by_hand() -> None:
    coverage, risk = stats.risk_coverage([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1])
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1]
    assert risk.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert stats.aurc([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1]) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert stats.aurc([1, 1], [0.1, 0.2]) == 0
    assert stats.aurc([0, 0], [-math.inf, -math.inf]) == 1
    with pytest.raises(Invalid):
        stats.aurc([1, 0], [0.5, NAN])


@given(st.lists(st.integers(0, 1), min_size=1, max_size=40))
def test_without_a_ranking_every_risk_is_the_error_rate(correct: list[int]) -> None:
    _, risk = stats.risk_coverage(correct, [0.5] * len(correct))
    assert risk == pytest.approx(1 - np.mean(correct))


def test_decay_of_exact_shares_and_of_outcomes() -> None:
    times = np.arange(0.0, 30)
    exact = stats.fit_decay(times, 0.9 * np.exp(-0.07 * times))
    assert (exact.start, exact.rate) == pytest.approx((0.9, 0.07), abs=1e-6)
    assert exact.half_life == pytest.approx(math.log(2) / 0.07, abs=1e-4)
    rng = generator()
    elapsed = rng.integers(0, 25, 2000).astype(float)
    drawn = stats.fit_decay(elapsed, (rng.random(2000) < 0.95 * np.exp(-0.1 * elapsed)).astype(float))
    assert (drawn.start, drawn.rate) == pytest.approx((0.95, 0.1), abs=0.02)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 1)), min_size=2, max_size=40))
def test_no_other_decay_is_likelier(asked: list[tuple[int, int]]) -> None:
    times, outcomes = (np.array(column, dtype=float) for column in zip(*asked, strict=True))
    found = stats.fit_decay(times, outcomes)
    if math.isnan(found.rate) or outcomes.min() == 1:
        return

    def likelihood(start: float, rate: float) -> float:
        p = start * np.exp(-rate * times)
        with np.errstate(divide="ignore"):
            return float(np.log(np.where(outcomes == 1, p, 1 - p)).sum()) if (p <= 1).all() else -math.inf

    best = likelihood(found.start, found.rate)
    assert math.isfinite(best)
    others = [likelihood(start, rate) for start in np.linspace(0.02, 0.98, 25) for rate in np.linspace(-0.2, 2, 56)]
    assert best >= max(others) - 1e-3


def test_decay_at_the_edges() -> None:
    assert math.isinf(stats.fit_decay([0, 1, 2], [1, 1, 1]).half_life)
    assert math.isnan(stats.fit_decay([0, 1, 2], [0, 0, 0]).half_life)
    assert math.isnan(stats.fit_decay([3, 3], [0, 1]).half_life)
    assert stats.fit_decay([0, 1, 2, 3, 3], [1, 1, 1, 1, 0]).rate > 0  # a single failure
    growing = stats.fit_decay([0, 0, 0, 0, 9, 9, 9, 9], [0, 0, 0, 1, 1, 1, 1, 0])
    assert growing.rate < 0
    assert math.isinf(growing.half_life)
    with pytest.raises(Invalid):
        stats.fit_decay([0, 1], [0, 2])


def test_slope_by_hand() -> None:
    assert stats.slope([0, 1, 2], [1, 3, 5]) == pytest.approx(2)
    assert math.isnan(stats.slope([1, 1], [0, 5]))


def test_scikit_learn_agrees() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = generator()
    a, b = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    for weights in (None, "linear", "quadratic"):
        assert stats.cohen_kappa(a.tolist(), b.tolist(), weights) == pytest.approx(metrics.cohen_kappa_score(a, b, weights=weights), abs=1e-9)  # type: ignore[arg-type]
