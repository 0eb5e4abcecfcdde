"""Walks on graphs, against dense linear algebra and breadth-first search."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.index.graph import Graph


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    n = draw(st.integers(1, 12))
    pairs = draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1), st.floats(0.1, 5.0)), max_size=30))
    source, target, weight = (np.array(column) for column in zip(*pairs, strict=True)) if pairs else (np.zeros(0, int), np.zeros(0, int), np.zeros(0))
    return n, source.astype(np.int64), target.astype(np.int64), weight.astype(np.float64)


def dense(n: int, source: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
    matrix = np.zeros((n, n))
    np.add.at(matrix, (source, target), weight)
    np.add.at(matrix, (target, source), weight)
    return matrix


@given(graphs(), st.floats(0.0, 0.9), st.integers(0, 2**32 - 1))
def test_pagerank_is_the_solution_of_its_equation(graph: tuple[int, np.ndarray, np.ndarray, np.ndarray], follow: float, seed: int) -> None:
    n, source, target, weight = graph
    seeds = np.random.default_rng(seed).random(n) + 1e-3
    start = seeds / seeds.sum()
    matrix = dense(*graph)
    out = matrix.sum(axis=1)
    walk = np.where(out[:, None] > 0, matrix / np.where(out > 0, out, 1)[:, None], start[None, :])
    exact = np.linalg.solve(np.eye(n) - follow * walk.T, (1 - follow) * start)
    assert np.abs(Graph(n, source, target, weight).pagerank(seeds, follow) - exact).max() < 1e-8


@given(graphs())
def test_without_following_the_seeds_stay_as_they_are(graph: tuple[int, np.ndarray, np.ndarray, np.ndarray]) -> None:
    n, source, target, weight = graph
    seeds = np.arange(1.0, n + 1)
    assert np.array_equal(Graph(n, source, target, weight).pagerank(seeds, 0.0), seeds / seeds.sum())


@given(graphs(), st.integers(0, 2**32 - 1))
def test_names_of_nodes_do_not_matter(graph: tuple[int, np.ndarray, np.ndarray, np.ndarray], seed: int) -> None:
    n, source, target, weight = graph
    names = np.random.default_rng(seed).permutation(n)
    seeds = np.arange(1.0, n + 1)
    renamed = np.empty(n)
    renamed[names] = seeds
    ranks = Graph(n, source, target, weight).pagerank(seeds, 0.5)
    assert np.allclose(Graph(n, names[source], names[target], weight).pagerank(renamed, 0.5)[names], ranks, atol=1e-12)


@given(graphs(), st.integers(0, 4), st.data())
def test_within_is_a_breadth_first_search(graph: tuple[int, np.ndarray, np.ndarray, np.ndarray], hops: int, data: st.DataObject) -> None:
    n, source, target, weight = graph
    allowed = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    seeds = data.draw(st.lists(st.integers(0, n - 1), max_size=3))
    found = {seed for seed in seeds if allowed[seed]}
    border = set(found)
    matrix = dense(*graph)
    for _ in range(hops):
        border = {int(other) for node in border for other in np.flatnonzero(matrix[node]) if allowed[other]} - found
        found |= border
    reached = Graph(n, source, target, weight).within(np.array(seeds, dtype=np.int64), hops, allowed)
    assert set(np.flatnonzero(reached).tolist()) == found


def test_one_way_edges_are_walked_one_way() -> None:
    graph = Graph(3, np.array([0, 1]), np.array([1, 2]), both_ways=False)
    assert graph.neighbours(0).tolist() == [1]
    assert graph.neighbours(2).tolist() == []
    assert graph.within(np.array([2]), 5).tolist() == [False, False, True]
    assert graph.pagerank(np.array([1.0, 0, 0]), 0.5).sum() == pytest.approx(1.0)
