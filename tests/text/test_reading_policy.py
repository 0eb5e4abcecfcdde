"""How much of a history is read for a question: the cut of a ranking, the plan by size and budget, and what ways of reading cost."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.errors import Invalid
from mnemos.text.question import analyse
from mnemos.text.reading_costs import Prices, ReadingAccuracy, ReadingCosts
from mnemos.text.reading_policy import HistoryStats, Plan, ReadPolicy, adaptive_cut

ONE, SEVERAL, ADVICE = "Where does Ann live?", "List all trips", "What should I cook on Saturday?"


# -- the cut --
def test_the_cut_follows_the_scores() -> None:
    assert adaptive_cut(np.array([9.0, 0, -0.1, -0.2, -0.3, -0.4])) == 3
    assert adaptive_cut(np.array([9.0, 0, -0.1, -0.2, -0.3, -0.4, -0.5]), multi_evidence=True) == 6
    assert adaptive_cut(np.array([5.0, 4.9, 4.8, 4.7, 4.6, -3, -3.1, -3.2, -3.3])) == 5
    for gap, kept in ((3.0, 5), (None, 7)):
        assert adaptive_cut(np.array([5.0, 4.9, 4.8, 4.7, 4.6, 3.0, 2.9, 2.8, 2.7]), gap=gap) == kept
    assert adaptive_cut(np.zeros(100)) == 40
    assert adaptive_cut(np.array([1.0, -np.inf])) == 1
    assert adaptive_cut(np.zeros(0)) == 0


def test_a_cut_by_odds_ends_where_hits_are_much_less_likely_than_the_best() -> None:
    scores = np.array([5.0, 4.8, 4.4, 4.1, 3.9, 3.7, 3.6, 3.3, 2.9, 2.0])
    assert adaptive_cut(scores, gap=None, drop=1.0) == 4
    assert adaptive_cut(scores, gap=None, drop=1.0, multi_evidence=True) == 8  # twice as far, and twice as many at least
    assert adaptive_cut(scores, gap=None, drop=0.0) == 3
    assert adaptive_cut(scores, gap=None, drop=50.0) == adaptive_cut(scores, gap=None)


def test_a_gap_may_end_the_evidence_early() -> None:
    scores = np.array([5.0, 4.9, 4.8, 3.0, *np.linspace(2.9, 2.6, 40)])
    assert adaptive_cut(scores) > 3  # the first three hold less than half of the relevance
    assert adaptive_cut(scores, enough=0.0) == 3


@given(st.lists(st.floats(-50, 50), max_size=60), st.integers(0, 10), st.integers(0, 50), st.booleans(), st.none() | st.floats(0, 9))
def test_the_cut_keeps_its_bounds(scores: list[float], minimum: int, more: int, several: bool, drop: float | None) -> None:
    kept = adaptive_cut(np.array(sorted(scores, reverse=True)), minimum, minimum + more, several, drop=drop)
    assert min(minimum, len(scores)) <= kept <= min(minimum + more, len(scores))


@pytest.mark.parametrize("scores", [[1.0, 2.0], [np.nan, 1.0]])
def test_the_cut_refuses_what_is_no_ranking(scores: list[float]) -> None:
    with pytest.raises(Invalid):
        adaptive_cut(np.array(scores), minimum=1)


@pytest.mark.parametrize("wrong", [{"minimum": 5, "maximum": 4}, {"minimum": -1}, {"drop": -1.0}, {"enough": 1.5}])
def test_the_cut_refuses_bounds_that_contradict_each_other(wrong: dict[str, float]) -> None:
    with pytest.raises(Invalid, match="adaptive cut"):
        adaptive_cut(np.zeros(9), **wrong)  # type: ignore[arg-type]


# -- the plan --
@pytest.mark.parametrize(
    ("question", "conversations", "tokens", "kind"),
    [
        (ONE, 10, 12_000, "exhaustive"),
        (SEVERAL, 30, 40_000, "exhaustive"),
        (ONE, 31, 40_000, "retrieve"),
        (ONE, 10, 90_000, "retrieve"),  # few, but long: tokens count as well
        (ONE, 400, 600_000, "retrieve"),
        (ADVICE, 60, 25_000, "exhaustive"),  # a search finds little of what advice rests on
        (ADVICE, 100, 120_000, "blocks"),
        (ADVICE, 400, 600_000, "blocks"),
    ],
)
def test_the_policy_fits_the_size_and_the_question(question: str, conversations: int, tokens: int, kind: str) -> None:
    assert ReadPolicy().plan(analyse(question), HistoryStats(conversations, tokens)).kind == kind


def test_a_reader_that_long_prompts_do_not_harm_reads_around_the_hits() -> None:
    """Then the conversations around hits, which hold more of the evidence, are worth their tokens."""
    steady = ReadPolicy(accuracy=ReadingAccuracy(long=0.945))
    assert steady.plan(analyse(SEVERAL), HistoryStats(300, 180_000)).kind == "hybrid"
    assert ReadPolicy().plan(analyse(SEVERAL), HistoryStats(300, 180_000)).kind == "retrieve"


def test_a_cached_prompt_moves_the_crossover() -> None:
    """Between ways that are about as good, the cheaper one is read: a cache makes that reading everything."""
    question, stats = analyse(ADVICE), HistoryStats(145, 62_000)
    accuracy = ReadingAccuracy(blocks=0.85)
    plans = [ReadPolicy(accuracy=accuracy, costs=ReadingCosts(cached_share=share)).plan(question, stats) for share in (0.0, 1.0)]
    assert [plan.kind for plan in plans] == ["blocks", "exhaustive"]
    assert plans[1].cost < plans[0].cost


_stats = st.tuples(st.integers(0, 500), st.integers(0, 10**6))


@given(_stats, st.integers(1, 10**6), st.sampled_from([ONE, SEVERAL, ADVICE]), st.integers(1, 200_000))
def test_a_plan_never_exceeds_the_budget_nor_the_window(stats: tuple[int, int], budget: int, text: str, window: int) -> None:
    plan = ReadPolicy(budget_tokens=budget, window_tokens=window).plan(analyse(text), HistoryStats(*stats))
    assert plan.tokens <= budget
    assert plan.kind == "blocks" or plan.tokens <= window / 2


@given(_stats, st.sampled_from([ONE, SEVERAL, ADVICE]))
def test_a_plan_says_what_it_costs_and_what_it_promises(stats: tuple[int, int], text: str) -> None:
    policy = ReadPolicy()
    plan = policy.plan(analyse(text), HistoryStats(*stats))
    assert isinstance(plan, Plan)
    assert plan.cost > 0
    assert 0 <= plan.accuracy <= 1
    assert (plan.hits > 0) == (plan.kind in ("retrieve", "hybrid"))


def test_a_history_has_no_negative_size() -> None:
    with pytest.raises(Invalid):
        HistoryStats(-1, 5)


# -- costs --
def test_costs_are_linear_and_add_up() -> None:
    costs = ReadingCosts(Prices(read=1, cached=0.1, write=2, helper_read=0.5, helper_write=1, remember=3), frame_tokens=10, answer_tokens=5)
    assert costs.exhaustive(100) * 1e6 == pytest.approx(100 + 10 + 10)
    assert costs.blocks(100, 20) * 1e6 == pytest.approx(50 + 20 + 20 + 20)
    assert costs.retrieve(30, 1000) * 1e6 == pytest.approx(30 + 1000 * 3 / 100 + 20)


@given(st.floats(0, 1), st.floats(1, 5_000), st.floats(1, 3_000), st.floats(0, 5))
def test_at_the_crossover_both_cost_the_same(cached: float, found: float, each: float, remember: float) -> None:
    costs = ReadingCosts(Prices(remember=remember), cached)
    n = costs.crossover(found, each)
    assert math.isfinite(n)
    assert costs.exhaustive(n * each) == pytest.approx(costs.retrieve(found, n * each))
    assert costs.exhaustive(2 * n * each) > costs.retrieve(found, 2 * n * each)


def test_a_memory_that_costs_more_than_reading_never_pays() -> None:
    assert ReadingCosts(Prices(remember=40.0)).crossover(500, 400) == math.inf


def test_a_cache_moves_the_crossover_at_least_twofold() -> None:
    assert ReadingCosts(cached_share=0.9).crossover(2_000, 400) >= 2 * ReadingCosts().crossover(2_000, 400)


@pytest.mark.parametrize(("kind", "wrong"), [(Prices, {"read": 0}), (Prices, {"cached": 9}), (ReadingCosts, {"cached_share": 2}),
                                             (ReadingCosts, {"questions": 0}), (Prices, {"remember": -1})])  # fmt: skip
def test_prices_and_shares_are_checked(kind: type, wrong: dict[str, float]) -> None:
    with pytest.raises(Invalid):
        kind(**wrong)


def test_accuracy_is_that_of_the_published_points() -> None:
    accuracy = ReadingAccuracy()
    assert accuracy.exhaustive(1_500) == pytest.approx(0.95)
    assert accuracy.exhaustive(10) == pytest.approx(0.95)
    assert accuracy.exhaustive(228_000) == pytest.approx(0.82)
    assert accuracy.retrieve(1_000, several=True, advice=False) < accuracy.retrieve(1_000, several=False, advice=False)
    assert accuracy.retrieve(1_000, several=True, advice=False) < accuracy.retrieve(1_000, several=True, advice=False, around=True)


@pytest.mark.parametrize(("text", "several"), [("What is the colour?", False), ("What does Ann do?", False), ("Which trips did I make?", True),
                                               ("What books did I read?", True), ("How many dogs?", True), ("Where was I?", False)])  # fmt: skip
def test_several_things_are_asked_for_in_the_plural(text: str, several: bool) -> None:
    assert analyse(text).asks_several is several


@pytest.mark.parametrize(
    "field",
    [{"window_tokens": "x"}, {"window_tokens": 0}, {"hit_tokens": 0}, {"extract_share": 5}, {"extract_share": float("nan")}, {"within": float("nan")},
     {"budget_tokens": -1}, {"whole_tokens": 1.5}],
)  # fmt: skip
def test_a_policy_that_is_none_is_refused_when_it_is_made(field: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match=f"read policy: {next(iter(field))}: expected"):
        ReadPolicy(**field)


@pytest.mark.parametrize("size", [("a", 1), (float("nan"), 1), (1, 1.5), (1, True), (1, -1)])
def test_a_history_is_measured_in_whole_numbers(size: tuple[Any, Any]) -> None:
    with pytest.raises(Invalid, match="history: "):
        HistoryStats(*size)


@pytest.mark.parametrize("scores", [[float("nan")], [float("inf"), 1.0, 0.0, 0.0, 0.0], [[1.0, 2.0]]])
def test_scores_that_are_none_are_refused(scores: Any) -> None:
    with pytest.raises(Invalid, match="adaptive cut: expected scores"):
        adaptive_cut(np.array(scores))


@pytest.mark.parametrize("bound", [{"drop": float("nan")}, {"gap": float("nan")}, {"gap": -1.0}, {"minimum": "a"}, {"maximum": 2}])
def test_bounds_of_a_cut_that_are_none_are_refused(bound: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="adaptive cut: "):
        adaptive_cut(np.array([5.0, 4.0, 3.0, 2.0, 1.0]), **bound)
