"""Exact vector search against NumPy, whatever the order in which rows come, and arrays that grow under a reader's eyes."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.errors import Invalid
from mnemos.index.exact import ExactIndex
from mnemos.index.growing import Growing

SIZE = 12


def unit(seed: int, count: int, size: int = SIZE) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


_puts = st.lists(st.tuples(st.lists(st.integers(0, 30), unique=True, max_size=12), st.integers(0, 2**31)), max_size=6)


@given(_puts, st.integers(0, 40))
def test_scores_are_those_of_brute_force_for_any_order_of_rows(puts: list[tuple[list[int], int]], n: int) -> None:
    index, model = ExactIndex(SIZE), dict[int, np.ndarray]()
    for rows, seed in puts:
        vectors = unit(seed, len(rows))
        index.put(np.array(rows, dtype=np.int64), vectors)
        model |= dict(zip(rows, vectors, strict=True))
    query = unit(7, 1)[0]
    scores = index.scores(query, n)
    assert (scores.shape, scores.dtype, len(index)) == ((n,), np.float32, len(model))
    for row in range(n):
        if row in model:
            assert scores[row] == pytest.approx(float(model[row].astype(np.float64) @ query), abs=1e-6)
        else:
            assert np.isnan(scores[row])
    asked = np.arange(n, dtype=np.int64)[::-1]
    assert np.array_equal(index.vectors(asked), np.array([model.get(row, np.zeros(SIZE)) for row in asked.tolist()]).reshape(n, SIZE))


@pytest.mark.parametrize("rows", [[2, 0, 1], [1, 2, 3], [0, 1, 3], [0, 2, 1], [2, 1, 0]])
def test_as_many_vectors_as_rows_need_not_be_a_vector_for_each_in_order(rows: list[int]) -> None:
    index, vectors, query = ExactIndex(SIZE), unit(3, 3), unit(4, 1)[0]
    index.put(np.array(rows), vectors)
    wanted = np.full(4, np.nan, dtype=np.float32)
    wanted[rows] = vectors @ query
    assert index.scores(query, 3) == pytest.approx(wanted[:3], abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("dimensions", [8, 384])
def test_many_rows_are_ranked_as_numpy_ranks_them(dimensions: int) -> None:
    vectors, index = unit(1, 5000, dimensions), ExactIndex(dimensions)
    for start in range(0, 5000, 777):
        stop = min(start + 777, 5000)
        index.put(np.arange(start, stop), vectors[start:stop])
    for seed in range(5):
        query = unit(100 + seed, 1, dimensions)[0]
        exact = vectors.astype(np.float64) @ query.astype(np.float64)
        scores = index.scores(query, 5000)
        assert np.abs(scores - exact).max() < 1e-6
        wanted = np.sort(exact)[::-1][:50]
        assert exact[np.argsort(-scores, kind="stable")[:50]] == pytest.approx(wanted, abs=1e-6)
    assert index.nbytes == 5000 * (4 * dimensions + 8)


def test_a_new_vector_replaces_the_old_one_and_only_that() -> None:
    index, old, new = ExactIndex(SIZE), unit(1, 4), unit(2, 2)
    index.put(np.arange(4), old)
    index.put(np.array([2, 5]), new)
    assert np.array_equal(index.vectors(np.arange(6)), np.array([old[0], old[1], new[0], old[3], np.zeros(SIZE), new[1]], dtype=np.float32))


@pytest.mark.parametrize("shape", [(SIZE + 1,), (SIZE - 1,), (1, SIZE), ()])
def test_a_query_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    index = ExactIndex(SIZE)
    index.put(np.arange(2), unit(1, 2))
    with pytest.raises(Invalid, match="dimensions"):
        index.scores(np.zeros(shape, dtype=np.float32), 2)


def test_several_queries_get_what_each_would_get() -> None:
    index, queries = ExactIndex(SIZE), unit(3, 5)
    index.put(np.array([4, 1, 7]), unit(1, 3))
    for n in (0, 5, 9):
        each = np.array([index.scores(query, n) for query in queries]).reshape(5, n)
        assert np.allclose(index.scores_of(queries, n), each, atol=1e-6, equal_nan=True)
    with pytest.raises(Invalid, match="dimensions"):
        index.scores_of(queries[0], 9)


@given(st.lists(st.integers(0, 90), max_size=8))
def test_a_view_keeps_what_it_showed_while_the_array_grows(steps: list[int]) -> None:
    array, views, total = Growing(np.int64), [], 0
    for step in steps:
        array.extend(np.arange(total, total + step))
        total += step
        views.append(array.view())
    for view in views:
        assert np.array_equal(view, np.arange(len(view)))
    assert len(array) == total == len(array.view())


def test_a_view_is_whole_while_another_thread_appends() -> None:
    array, stop, broken = Growing(np.int64, 3), threading.Event(), list[int]()

    def read() -> None:
        while not stop.is_set():
            view = array.view()
            if not (view == np.arange(len(view))[:, None]).all():
                broken.append(len(view))

    reader = threading.Thread(target=read)
    reader.start()
    for start in range(0, 20_000, 10):
        array.extend(np.repeat(np.arange(start, start + 10)[:, None], 3, axis=1))
    stop.set()
    reader.join()
    assert not broken


def test_rows_of_another_width_are_refused() -> None:
    array = Growing(np.float32, 3)
    with pytest.raises(ValueError, match="broadcast"):
        array.extend(np.zeros((2, 4), dtype=np.float32))
    assert len(array) == 0


def test_a_cosine_does_not_depend_on_where_its_row_stands() -> None:
    """Bit for bit: what is found does not change because other rows were written before, behind, or in another order."""
    rng = np.random.default_rng(5)
    for dimensions in (32, 384):
        vectors = rng.standard_normal((203, dimensions)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        query = vectors[3]
        wanted: dict[int, float] = {}
        for count in (5, 63, 64, 65, 130, 203):
            order = rng.permutation(count)
            index = ExactIndex(dimensions)
            for part in np.array_split(np.arange(count), 3):
                index.put(part, vectors[order[part]])
            scores = index.scores(query, count)
            for row, score in zip(order.tolist(), scores.tolist(), strict=True):
                assert wanted.setdefault(row, score) == score
