import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.bench import metrics

RANKING = ["a", "b", "c", "d", "e", "f"]


def test_by_hand() -> None:
    evidence = frozenset({"b", "e", "x"})
    assert metrics.recall(RANKING, evidence, 5) == pytest.approx(2 / 3)
    assert metrics.recall(RANKING, evidence, 2) == pytest.approx(1 / 3)
    assert metrics.any_hit(RANKING, evidence, 1) == 0
    assert metrics.any_hit(RANKING, evidence, 2) == 1
    assert metrics.all_hit(RANKING, evidence, 6) == 0
    assert metrics.all_hit(RANKING, frozenset({"b", "e"}), 5) == 1
    assert metrics.reciprocal_rank(RANKING, evidence) == 0.5
    assert metrics.reciprocal_rank(RANKING, frozenset({"x"})) == 0
    gain = 1 / math.log2(3) + 1 / math.log2(6)
    assert metrics.ndcg(RANKING, evidence, 5) == pytest.approx(gain / (1 + 1 / math.log2(3) + 0.5))


def test_unique_keeps_the_first_of_each_and_drops_sourceless() -> None:
    assert metrics.unique(["b", None, "a", "b", "c", "a"]) == ["b", "a", "c"]


@given(st.permutations(list("abcdefghij")), st.sets(st.sampled_from("abcdefghij"), min_size=1))
def test_measures_keep_their_bounds(ranking: list[str], evidence: set[str]) -> None:
    wanted = frozenset(evidence)
    got = metrics.score(ranking, wanted)
    assert all(0 <= value <= 1 + 1e-12 for value in got.values())
    assert got["recall@5"] <= got["recall@10"] <= got["recall@20"]
    assert got["all@10"] <= got["recall@10"] <= got["any@10"]
    best = [*sorted(evidence), *(x for x in ranking if x not in evidence)]
    assert metrics.ndcg(best, wanted, 10) == pytest.approx(1)
    assert metrics.ndcg(ranking, wanted, 10) <= 1 + 1e-12
