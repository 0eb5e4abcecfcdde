"""How much a set of vectors says again, which of its groups most, and which members of those add least."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.text.redundancy import MANY, amount, groups, topics


def unit(n: int, d: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_what_is_all_the_same_is_redundant_and_what_is_all_different_is_not() -> None:
    apart = np.eye(16, dtype=np.float32)
    assert amount(apart, np.zeros(16, dtype=np.float32)).different == pytest.approx(16)
    assert amount(apart, np.zeros(16, dtype=np.float32)).redundancy == pytest.approx(0, abs=1e-9)
    same = np.tile(unit(1, 16), (9, 1))
    assert amount(same).redundancy == 1
    assert amount(same).different == 1
    seen = amount(same, np.zeros(16, dtype=np.float32))
    assert (seen.redundancy, seen.different) == (pytest.approx(1, abs=1e-6), pytest.approx(1, abs=1e-6))
    assert amount(apart[:1]) == amount(unit(1, 16))
    assert amount(apart[:1]).redundancy == 0
    assert amount(apart[:0]).memories == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 40))
def test_the_more_is_said_again_the_more_redundant_it_is(seed: int, n: int) -> None:
    vectors, rng = unit(n, 48, seed), np.random.default_rng(seed)
    middle = np.zeros(48, dtype=np.float32)
    found = [amount(vectors, middle)]
    for at in rng.permutation(np.arange(1, n)):  # one after the other says what the first says
        vectors[at] = vectors[0]
        found.append(amount(vectors, middle))
    shares = [its.redundancy for its in found]
    assert all(later >= before - 1e-6 for before, later in itertools.pairwise(shares))
    assert shares[-1] == pytest.approx(1, abs=1e-5)
    turned = vectors @ np.linalg.qr(rng.normal(size=(48, 48)))[0].astype(np.float32)
    assert amount(turned, middle).redundancy == pytest.approx(shares[-1], abs=1e-4)


def test_the_group_in_which_things_are_said_again_stands_first_and_its_copies_first_in_it() -> None:
    vectors = unit(24, 64)
    labels = np.repeat(range(4), (8, 8, 7, 1))
    vectors[9], vectors[14] = vectors[8] + 0.01 * unit(1, 64, 5)[0], vectors[8]
    found = groups(vectors, labels)
    assert next(its.label for its in found) == 1
    assert 3 not in {its.label for its in found}
    assert set(found[0].members[:2]) <= {8, 9, 14}
    assert sorted(found[0].members) == list(range(8, 16))
    assert found[0].amount.different < 7 < 7.5 < found[1].amount.different
    assert [its.label for its in groups(vectors, labels, least=8)] == [1, 0]
    large = groups(unit(70, 8), np.zeros(70, dtype=np.int64))[0]
    assert sorted(large.members) == list(range(70))
    assert groups(np.tile(unit(2, 4), (MANY, 1)), np.zeros(2 * MANY, dtype=np.int64))[0].members == tuple(range(2 * MANY))


def test_topics_hold_what_is_alike_and_are_the_same_each_time() -> None:
    centres = unit(12, 32, 1)
    vectors = np.concatenate([centres + 0.05 * unit(12, 32, seed) for seed in range(2, 8)]).astype(np.float32)
    found = topics(vectors, np.random.default_rng(0))
    assert np.array_equal(found, topics(vectors, np.random.default_rng(0)))
    sizes = np.bincount(found)
    assert sizes.max() <= 9
    assert sizes.sum() == 72
    alike = [(vectors[found == label] @ vectors[found == label].T).mean() for label in set(found.tolist()) if (found == label).sum() > 1]
    assert np.mean(alike) > (vectors @ vectors.T).mean() + 0.3
    assert topics(vectors[:0], np.random.default_rng(0)).shape == (0,)
    assert topics(vectors[:1], np.random.default_rng(0)).tolist() == [0]
    assert not math.isnan(amount(vectors).different)
