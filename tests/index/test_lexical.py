"""BM25 against its formula; masks, growth, expansion."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.base.errors import Invalid
from mnemos.index.lexical import BM25, LexicalIndex
from mnemos.index.terms import pack_terms, query_terms, words

TEXTS = [
    "the cat sat on the mat",
    "a dog and a cat, a cat!",
    "dogs bark",
    "nothing in common",
    "",
    "the mat is red and the mat is old",
]


def index(texts: list[str]) -> LexicalIndex:
    out = LexicalIndex()
    out.append([pack_terms(text) for text in texts])
    return out


def by_hand(query: str, texts: list[str], k1: float = 0.9, b: float = 0.4) -> list[float]:
    bags = [[int(query_terms(word).hashes[0]) for word in words(text)] for text in texts]
    average = sum(map(len, bags)) / len(bags)
    scores = [0.0] * len(texts)
    for h in query_terms(query).hashes.tolist():
        df = sum(h in bag for bag in bags)
        idf = math.log(1 + (len(bags) - df + 0.5) / (df + 0.5))
        for i, bag in enumerate(bags):
            tf = bag.count(h)
            scores[i] += idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(bag) / average))
    return scores


@pytest.mark.parametrize("query", ["cat", "cats on the mat", "dog red", "zebra", "the"])
def test_scores_follow_the_formula(query: str) -> None:
    assert index(TEXTS).search(query).bm25 == pytest.approx(by_hand(query, TEXTS), rel=1e-5)


def test_parameters_are_used() -> None:
    assert index(TEXTS).search("cat", None, BM25(2.0, 0.9)).bm25 == pytest.approx(by_hand("cat", TEXTS, 2.0, 0.9), rel=1e-5)


@settings(deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(["ab", "bc", "cd", "de", "ef", "fg", "gh"]), max_size=6).map(" ".join), min_size=1, max_size=12),
    st.data(),
    st.lists(st.sampled_from(["ab", "bc", "cd", "de", "ef", "fg", "gh"]), min_size=1, max_size=3).map(" ".join),
)
def test_rows_that_are_not_allowed_do_not_exist(texts: list[str], data: st.DataObject, query: str) -> None:
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts))))
    whole, part = index(texts), index([text for text, keep in zip(texts, mask, strict=True) if keep])
    feedback = data.draw(st.permutations(range(int(mask.sum()))))[:2]
    weights = np.array([1.0, 0.5], dtype=np.float32)[: len(feedback)]
    mine, expected = whole.search(query, mask), part.search(query)
    for a, b in zip(mine[:3], expected[:3], strict=True):
        assert not a[~mask].any()
        assert a[mask] == pytest.approx(b, rel=1e-4)
    for (share, held), (same, holding) in zip(mine.holders, expected.holders, strict=True):
        assert share == pytest.approx(same)
        assert sorted(held.tolist()) == np.flatnonzero(mask)[np.sort(holding)].tolist()
    assert sum(share for share, _ in mine.holders) == pytest.approx(1.0 if mine.holders else 0.0)
    rows = np.flatnonzero(mask)[feedback]
    a = whole.expand(query_terms(query), rows, weights, mask)
    b = part.expand(query_terms(query), np.array(feedback, dtype=np.int64), weights)
    assert not a[~mask].any()
    assert a[mask] == pytest.approx(b, abs=1e-5)


def test_a_few_hidden_rows_count_as_little_as_many() -> None:
    rng = np.random.default_rng(5)
    texts = [" ".join(f"w{i}" for i in rng.integers(0, 12, 6)) for _ in range(80)]
    whole, query, weights = index(texts), query_terms("w1"), np.array([1.0, 0.5], dtype=np.float32)
    for share in (0.02, 0.03, 0.5, 0.05, 0.0, 0.9, 0.02):  # one after the other: what one search hid must not stay hidden for the next
        mask = rng.random(len(texts)) >= share
        kept = np.flatnonzero(mask)
        alone = index([texts[i] for i in kept]).expand(query, np.array([0, 1]), weights)
        assert whole.expand(query, kept[:2], weights, mask)[mask] == pytest.approx(alone, abs=1e-5)
        texts.append("w1 w2 w3")
        whole.append([pack_terms(texts[-1])])


@settings(deadline=None)
@given(st.lists(st.integers(1, 7), max_size=12))
def test_growth_in_any_steps_gives_the_same_index(steps: list[int]) -> None:
    texts = [TEXTS[i % len(TEXTS)] + f" w{i % 5}" for i in range(sum(steps))]
    grown, at = LexicalIndex(), 0
    for step in steps:
        grown.append([pack_terms(text) for text in texts[at : at + step]])
        at += step
        assert len(grown) == at
        assert np.array_equal(grown.search("cat w3").bm25, index(texts[:at]).search("cat w3").bm25)
    assert grown.lengths.tolist() == index(texts).lengths.tolist()


def test_coverage_and_heading() -> None:
    found = index(["Alan Turing\nborn in London", "London is large", "nothing here"]).search("Where was Alan Turing born, in London?")
    assert found.coverage[0] == pytest.approx(1.0)
    assert 0 < found.coverage[1] < 1
    assert found.heading.tolist() == [1.0, 0.0, 0.0]


def test_expansion_finds_the_second_step_and_nobody_vouches_for_himself() -> None:
    texts = ["Solaris was directed by Andrei Tarkovsky", "Andrei Tarkovsky was born in Zavrazhye", "The weather was fine", "Solaris is a film"]
    shared = index(texts).expand(query_terms("Where was the director of Solaris born?"), np.array([0]), np.array([1.0], dtype=np.float32))
    assert shared[1] == 1.0
    assert shared[0] == pytest.approx(0, abs=1e-6)
    assert shared[2] == 0


def test_a_mask_of_another_length_is_refused() -> None:
    with pytest.raises(Invalid, match="6 rows"):
        index(TEXTS).search("cat", np.ones(5, dtype=bool))


def test_an_empty_index_and_empty_queries() -> None:
    assert index([]).search("cat").bm25.shape == (0,)
    assert not index(TEXTS).search("…").bm25.any()
    assert not index(TEXTS).search("cat", np.zeros(6, dtype=bool)).bm25.any()
    assert not index(TEXTS).expand(query_terms("cat"), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)).any()
