"""Balanced k-means, one set at a time and many, and the tree: nothing is lost, parts are tight and even, and the same seed gives the same."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.spann.mixtures import mixture
from mnemos.base.errors import Invalid
from mnemos.index.spann.clustering import Tree, balanced_kmeans, balanced_tree
from mnemos.index.spann.small_sets import divide_sets


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def tree_of(vectors: np.ndarray, seed: int = 0, **options: int) -> Tree:
    return balanced_tree(lambda rows: vectors[rows], len(vectors), rng=rng(seed), **options)


def blobs(k: int, each: int, dimensions: int = 8) -> np.ndarray:
    """`k` clusters far apart, `each` vectors in each, one cluster after the other."""
    centres = 100 * np.eye(k, dimensions, dtype=np.float32)
    return np.repeat(centres, each, axis=0) + rng(1).standard_normal((k * each, dimensions)).astype(np.float32)


def unevenness(sizes: np.ndarray) -> float:
    return float(sizes.std() / sizes.mean())


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 3), st.integers(0, 2**31))
def test_every_vector_is_in_one_part_and_there_are_several(count: int, k: int, values: int, seed: int) -> None:
    vectors = rng(seed).integers(0, values, (count, 3)).astype(np.float32)
    centres, assignment, arbitrary = balanced_kmeans(vectors, k, rng=rng(seed))
    k = min(k, count)
    assert centres.shape == (k, 3)
    assert np.isfinite(centres).all()
    assert assignment.shape == (count,)
    assert set(assignment.tolist()) <= set(range(k))
    assert len(set(assignment.tolist())) >= min(k, 2)
    assert not arbitrary or len(np.unique(vectors, axis=0)) < count


def test_clusters_that_stand_apart_are_found() -> None:
    vectors = blobs(6, 50)
    clusters = balanced_kmeans(vectors, 6, rng=rng(), inits=20)
    parts = clusters.assignment.reshape(6, 50)
    assert np.all(parts == parts[:, :1])
    assert len(set(parts[:, 0].tolist())) == 6
    assert clusters.centres[parts[:, 0]] == pytest.approx(vectors.reshape(6, 50, 8).mean(axis=1), abs=1e-3)
    assert not clusters.arbitrary


@pytest.mark.parametrize("k", [2, 7])
def test_identical_vectors_are_divided_equally_and_it_says_so(k: int) -> None:
    for value in (1.0, 0.1, 1e6):
        clusters = balanced_kmeans(np.full((10_000, 4), value, dtype=np.float32), k, rng=rng())
        assert clusters.arbitrary
        assert clusters.centres == pytest.approx(np.full((k, 4), value), rel=1e-6)
        sizes = np.bincount(clusters.assignment)
        assert sizes.max() - sizes.min() <= 1
        assert len(sizes) == k


def test_the_penalty_makes_sizes_more_equal() -> None:
    def uneven(balance: float) -> float:
        sizes = []
        for seed in range(12):
            vectors = mixture(400, 32, seed=seed)
            sizes.append(np.bincount(balanced_kmeans(vectors, 2, rng=rng(seed), balance=balance).assignment, minlength=2))
        return float(np.mean([unevenness(each) for each in sizes]))

    assert uneven(1.0) < 0.8 * uneven(1e12)


def test_bad_input_is_refused() -> None:
    for vectors, k in ((np.empty((0, 3)), 2), (np.ones((4, 3)), 0), (np.ones(4), 1)):
        with pytest.raises(Invalid, match="clustering"):
            balanced_kmeans(vectors.astype(np.float32), k, rng=rng())
    for n, leaf, branches in ((0, 8, 32), (5, 0, 32), (5, 8, 1)):
        with pytest.raises(Invalid, match="branches"):
            balanced_tree(lambda rows: np.ones((len(rows), 2), dtype=np.float32), n, leaf=leaf, branches=branches, rng=rng())


@given(st.lists(st.integers(2, 30), min_size=1, max_size=6), st.integers(1, 5), st.integers(1, 40), st.integers(0, 2**31))
def test_many_sets_at_once_lose_nothing_either(sizes: list[int], k: int, values: int, seed: int) -> None:
    k = min(k, *sizes)
    vectors = rng(seed).integers(0, values, (len(sizes), max(sizes), 4)).astype(np.float32)
    divided = divide_sets(vectors, np.array(sizes), k, rng=rng(seed))
    for i, size in enumerate(sizes):
        parts = divided.assignment[i]
        assert np.all(parts[size:] == -1)
        assert set(parts[:size].tolist()) <= set(range(k))
        assert len(set(parts[:size].tolist())) >= min(k, 2)
        for part in range(k):
            inside = np.flatnonzero(parts == part)
            assert (divided.medoids[i, part] == -1) == (len(inside) == 0)
            assert len(inside) == 0 or divided.medoids[i, part] in inside


def test_many_sets_at_once_are_divided_as_well_as_one_by_one() -> None:
    vectors = mixture(4000, 48, seed=5).reshape(40, 100, 48)
    divided = divide_sets(vectors, np.full(40, 100), 8, rng=rng())

    def spread(assignment: np.ndarray, members: np.ndarray) -> float:
        parts = [members[assignment == part] for part in set(assignment.tolist())]
        return sum(float(((part - part.mean(axis=0)) ** 2).sum()) for part in parts)

    together = sum(spread(divided.assignment[i], vectors[i]) for i in range(40))
    single = sum(spread(balanced_kmeans(vectors[i], 8, rng=rng(i)).assignment, vectors[i]) for i in range(40))
    assert together <= 1.02 * single
    blob = np.stack([blobs(5, 12)[rng(i).permutation(60)] for i in range(9)])
    found = divide_sets(blob, np.full(9, 60), 5, rng=rng(), inits=20).assignment
    for members, parts in zip(blob, found, strict=True):
        assert len({(int(members[row].argmax()), int(part)) for row, part in enumerate(parts)}) == 5


@pytest.mark.parametrize("n", [1, 2, 8, 9, 10, 500])
def test_every_row_is_one_node_of_the_tree(n: int) -> None:
    tree = tree_of(mixture(n, 16, intrinsic=4, seed=n))
    assert tree.parent.shape == (n,)
    assert (tree.parent == -1).sum() == 1
    assert np.array_equal(np.sort(np.concatenate(tree.levels)), np.arange(n))
    for above, level in zip(tree.levels, tree.levels[1:], strict=False):
        assert np.isin(tree.parent[level], above).all()


def test_nodes_have_as_many_children_as_they_may_and_stand_in_the_middle_of_what_is_below() -> None:
    vectors = mixture(20_000, 32, seed=6)
    tree = tree_of(vectors)
    children = np.bincount(tree.parent[tree.parent >= 0], minlength=20_000)
    assert children.max() <= 32
    assert len(tree.levels) <= 12
    below = np.ones(20_000, dtype=np.int64)
    for level in reversed(tree.levels[1:]):
        np.add.at(below, tree.parent[level], below[level])
    assert below[tree.levels[0]] == [20_000]
    leaves = (below > 1) & (below <= 9)
    assert np.array_equal(children[leaves], below[leaves] - 1)
    assert np.all(children[below > 9] <= np.minimum((below[below > 9] - 1) // 8 + 1, 32))
    inner = tree.parent[np.isin(tree.parent, np.flatnonzero(leaves))]
    row = np.flatnonzero(np.isin(tree.parent, np.flatnonzero(leaves)))
    near = ((vectors[row] - vectors[inner]) ** 2).sum(axis=1).mean()
    any_two = ((vectors[row] - vectors[rng().permutation(row)]) ** 2).sum(axis=1).mean()
    assert near < 0.5 * any_two


def test_the_tree_is_the_same_for_any_number_of_workers_whether_read_in_blocks_or_held(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, threads, reported = mixture(30_000, 32, seed=7), set(), list[tuple[int, int]]()

    def reader(rows: np.ndarray) -> np.ndarray:
        threads.add(threading.get_ident())
        assert np.all(np.diff(rows) > 0)
        return vectors[rows]

    monkeypatch.setattr("mnemos.index.spann.clustering._HELD", 9000 * 32 * 4)
    trees = [
        balanced_tree(reader, 30_000, rng=rng(3), workers=workers, progress=lambda done, total: reported.append((done, total)))
        for workers in (1, 3)
    ]
    assert np.array_equal(trees[0].parent, trees[1].parent)
    assert not np.array_equal(trees[0].parent, tree_of(vectors, seed=4).parent)
    assert len(threads) > 1
    half = reported[: len(reported) // 2]
    assert half == sorted(half)
    assert half[-1] == (60_000, 60_000)
    assert np.array_equal(np.sort(np.concatenate(trees[0].levels)), np.arange(30_000))


def test_ten_thousand_identical_vectors_and_a_few_others_make_a_tree() -> None:
    vectors = np.ones((10_003, 8), dtype=np.float32)
    vectors[[5, 7000, 10_002]] = rng().standard_normal((3, 8))
    tree = tree_of(vectors)
    assert np.array_equal(np.sort(np.concatenate(tree.levels)), np.arange(10_003))
    assert len(tree.levels) <= 12
