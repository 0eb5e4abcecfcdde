"""Heads are chosen from the tree as the paper has it, read out node by node."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.spann.mixtures import mixture
from mnemos.base.errors import Invalid
from mnemos.index.spann.clustering import Tree, balanced_tree
from mnemos.index.spann.selection import SPLIT_FACTOR, TOLERANCE, _Covering, leaf_for, random_heads, select_heads


def node_by_node(parent: list[int], select: int, split: int, factor: int) -> set[int]:
    """The walk of the sheet: it gives the rows below a node that are not covered, and takes heads on its way."""
    heads: set[int] = set()

    def walk(node: int) -> int:
        left = [(walk(child), child) for child in range(len(parent)) if parent[child] == node]
        left = [(count, child) for count, child in left if count]
        count = 1 + sum(count for count, _ in left)
        if count < select:
            return count
        heads.add(node)
        if count > split:
            heads.update(child for _, child in sorted(left, key=lambda pair: (-pair[0], pair[1]))[: -(-count // factor)])
        return 0

    walk(parent.index(-1))
    return heads


@st.composite
def trees(draw: st.DrawFn) -> list[int]:
    count = draw(st.integers(1, 60))
    parent = [-1] + [draw(st.integers(max(0, i - 12), i - 1)) for i in range(1, count)]
    names = draw(st.permutations(range(count)))
    out = [-1] * count
    for node, above in enumerate(parent):
        out[names[node]] = -1 if above < 0 else names[above]
    return out


@given(trees(), st.integers(2, 20), st.integers(1, 40), st.integers(1, 7))
def test_heads_of_given_thresholds_are_those_of_the_walk(parent: list[int], select: int, split: int, factor: int) -> None:
    found = _Covering(Tree(np.array(parent)), select, factor).heads(split)
    assert found.tolist() == sorted(node_by_node(parent, select, split, factor))


@given(trees(), st.integers(2, 8), st.integers(1, 30))
def test_the_split_threshold_is_the_one_whose_number_of_heads_is_nearest(parent: list[int], select: int, wanted: int) -> None:
    covering = _Covering(Tree(np.array(parent)), select, SPLIT_FACTOR)
    counts = [len(node_by_node(parent, select, split, SPLIT_FACTOR)) for split in range(1, len(parent) + 2)]
    assert abs(len(covering.heads(covering.nearest_split(wanted))) - wanted) == min(abs(count - wanted) for count in counts)


@pytest.mark.parametrize("ratio", [0.02, 0.04, 0.1, 0.16])
def test_there_are_as_many_heads_as_the_ratio_says_and_vectors_are_nearer_to_one_than_by_chance(ratio: float) -> None:
    vectors = mixture(12_000, 32, seed=8)
    tree = balanced_tree(lambda rows: vectors[rows], 12_000, leaf=leaf_for(ratio), rng=np.random.default_rng(0))
    heads = select_heads(tree, ratio)
    assert np.all(np.diff(heads) > 0)
    assert len(heads) == pytest.approx(ratio * 12_000, rel=2 * TOLERANCE)
    assert np.array_equal(heads, select_heads(tree, ratio))

    def nearest(rows: np.ndarray) -> np.ndarray:
        squared = (vectors**2).sum(axis=1)[:, None] + (vectors[rows] ** 2).sum(axis=1) - 2 * vectors @ vectors[rows].T
        return squared.min(axis=1)

    chosen, chance = nearest(heads), nearest(random_heads(12_000, ratio, np.random.default_rng(0)))
    assert chosen.mean() < 0.95 * chance.mean()
    assert np.percentile(chosen, 99) < np.percentile(chance, 99)


@pytest.mark.parametrize("n", [1, 2, 9, 40])
def test_few_vectors_have_a_head_too(n: int) -> None:
    vectors = mixture(n, 16, intrinsic=4)
    tree = balanced_tree(lambda rows: vectors[rows], n, rng=np.random.default_rng(0))
    for ratio in (0.01, 0.5, 1.0):
        heads = select_heads(tree, ratio)
        assert 1 <= len(heads) <= n
        assert set(heads.tolist()) <= set(range(n))
    assert len(random_heads(n, 0.01, np.random.default_rng(0))) == 1


def test_bad_input_is_refused() -> None:
    tree = Tree(np.array([-1, 0]))
    for ratio, factor in ((0.0, 6), (1.5, 6), (0.1, 0)):
        with pytest.raises(Invalid, match="ratio"):
            select_heads(tree, ratio, split_factor=factor)
