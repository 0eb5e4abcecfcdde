"""Closure assignment against its definition, read out loop by loop."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.spann.mixtures import mixture
from mnemos.base.errors import Invalid
from mnemos.index.spann.closure import assign, assign_all, assign_among
from mnemos.index.spann.heads import Heads


def by_definition(x: np.ndarray, heads: dict[int, np.ndarray], candidates: int, epsilon: float, rng_factor: float, replicas: int) -> list[int]:
    def squared(a: np.ndarray, b: np.ndarray) -> float:
        return float(((a.astype(np.float64) - b) ** 2).sum())

    near = sorted((squared(x, head), number) for number, head in heads.items())[:candidates]
    taken: list[int] = []
    for distance, number in near:
        if distance > (1 + epsilon) * near[0][0] or len(taken) == replicas:
            break
        if rng_factor == np.inf or not any(rng_factor * squared(heads[other], heads[number]) <= distance for other in taken):
            taken.append(number)
    return taken


@given(
    st.integers(1, 70),
    st.integers(0, 2**31),
    st.integers(1, 40),
    st.sampled_from([0.0, 0.3, 10.0]),
    st.sampled_from([0.5, 1.0, np.inf]),
    st.integers(1, 9),
)
def test_the_lists_are_those_of_the_definition(count: int, seed: int, candidates: int, epsilon: float, rng_factor: float, replicas: int) -> None:
    rng = np.random.default_rng(seed)
    heads = Heads(rng.standard_normal((count + 3, 5)).astype(np.float32))
    for number in (0, 2, count + 2):
        heads.remove(number)
    known = {int(number): heads.vector(int(number)) for number in heads.numbers()}
    vectors = np.concatenate([rng.standard_normal((7, 5)).astype(np.float32), heads.vectors(heads.numbers()[:1])])
    candidates = max(candidates, replicas)
    wanted = [by_definition(x, known, candidates, epsilon, rng_factor, replicas) for x in vectors]
    for found in (
        assign(vectors, heads, candidates=candidates, epsilon=epsilon, rng_factor=rng_factor, replicas=replicas),
        assign_all(lambda rows: vectors[rows], 8, heads, candidates=candidates, epsilon=epsilon, rng_factor=rng_factor, replicas=replicas),
    ):
        assert found.shape == (8, replicas)
        assert [row[row >= 0].tolist() for row in found] == wanted
        assert all(np.all(row[len(taken) :] == -1) for row, taken in zip(found, wanted, strict=True))


def test_all_at_once_gives_what_each_alone_gives_for_any_number_of_workers() -> None:
    vectors = mixture(9000, 64, seed=3)
    heads = Heads(vectors[::6], exact=256, probe=1000)
    threads, reported = set(), list[tuple[int, int]]()

    def reader(rows: np.ndarray) -> np.ndarray:
        threads.add(threading.get_ident())
        return vectors[rows]

    once = assign_all(reader, 9000, heads, progress=lambda done, total: reported.append((done, total)))
    assert threads == {threading.get_ident()}
    assert np.array_equal(once, assign_all(reader, 9000, heads, workers=3))
    assert len(threads) > 1
    assert reported == sorted(reported)
    assert reported[-1] == (18000, 18000)
    exact = assign(vectors, Heads(vectors[::6]))
    assert np.mean(once[:, 0] == exact[:, 0]) >= 0.999
    assert np.mean(np.all(once == exact, axis=1)) >= 0.99
    alone = np.concatenate([assign(vector[None], heads) for vector in vectors[:500]])
    assert np.mean(alone[:, 0] == exact[:500, 0]) >= 0.99


@given(st.integers(1, 40), st.integers(0, 2**31), st.integers(8, 40), st.sampled_from([0.3, 10.0]), st.sampled_from([0.9, 1.0, np.inf]))
def test_among_given_heads_it_is_the_same_rule(count: int, seed: int, candidates: int, epsilon: float, rng_factor: float) -> None:
    rng = np.random.default_rng(seed)
    heads = rng.standard_normal((count, 6)).astype(np.float32) + np.float32(20)
    vectors = np.concatenate([rng.standard_normal((9, 6)).astype(np.float32) + np.float32(20), heads[:1]])
    found = assign_among(vectors, heads, candidates=candidates, epsilon=epsilon, rng_factor=rng_factor, replicas=8)
    wanted = assign(vectors, Heads(heads), candidates=candidates, epsilon=epsilon, rng_factor=rng_factor, replicas=8)
    np.testing.assert_array_equal(found[:, 0], wanted[:, 0])
    assert (found != wanted).mean() < 0.02  # where two distances differ by rounding


def test_of_identical_heads_one_is_taken() -> None:
    vectors = np.ones((3000, 8), dtype=np.float32)
    heads = Heads(np.concatenate([vectors[:300], np.zeros((1, 8), dtype=np.float32)]))
    for x in (1.0, 1.3):
        found = assign(np.full((2, 8), x, dtype=np.float32), heads)
        assert found[0, 0] in range(300)
        assert np.all(found[:, 1:] == -1)
    assert np.all(assign_all(lambda rows: vectors[rows], 3000, heads)[:, 1:] == -1)
    few = Heads(vectors[:20])
    few.remove(0)
    assert assign(np.zeros((2, 8), dtype=np.float32), few).tolist() == [[1] + [-1] * 7] * 2


def test_an_error_of_the_reader_is_raised_and_ends_the_work() -> None:
    heads, calls = Heads(np.eye(4, dtype=np.float32)), list[int]()

    def broken(rows: np.ndarray) -> np.ndarray:
        calls.append(len(rows))
        raise OSError("the disk is gone")

    for workers in (1, 2):
        with pytest.raises(OSError, match="the disk is gone"):
            assign_all(broken, 100_000, heads, workers=workers)
    assert len(calls) < 10


def test_where_nothing_can_be_assigned() -> None:
    nothing = Heads(np.empty((0, 4), dtype=np.float32))
    assert np.all(assign(np.ones((2, 4), dtype=np.float32), nothing) == -1)
    assert np.all(assign_all(lambda rows: np.ones((len(rows), 4), dtype=np.float32), 2, nothing) == -1)
    assert assign(np.empty((0, 4), dtype=np.float32), Heads(np.eye(4, dtype=np.float32))).shape == (0, 8)
    with pytest.raises(Invalid, match="replicas <= candidates"):
        assign(np.ones((2, 4), dtype=np.float32), nothing, candidates=4)
