"""Heads against brute force: whatever comes and goes, what is found is what is nearest."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from index.spann.mixtures import mixture
from mnemos.base.errors import Invalid
from mnemos.index.spann.heads import Heads

SIZE = 6
FAISS = pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="faiss is not installed: pip install faiss-cpu")
Make = Callable[..., Any]


def in_faiss(vectors: np.ndarray, *, numbers: np.ndarray | None = None, groups: object = None, exact: int = 4096, probe: int | None = None) -> Any:
    """`Heads` in faiss; there are no groups, and `probe` is about the effort of a search."""
    from mnemos.index.spann.faiss_heads import EFFORT, FaissHeads

    return FaissHeads(vectors, numbers=numbers, exact=exact, effort=EFFORT if probe is None else min(probe, 2 * EFFORT))


@pytest.fixture(params=[pytest.param(Heads, id="numpy"), pytest.param(in_faiss, id="faiss", marks=FAISS)])
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


def brute_force(vectors: dict[int, np.ndarray], query: np.ndarray, k: int) -> tuple[list[int], np.ndarray]:
    ranked = sorted((float(((vector.astype(np.float64) - query) ** 2).sum()), number) for number, vector in vectors.items())[:k]
    return [number for _, number in ranked], np.array([distance for distance, _ in ranked])


class ComingAndGoing(RuleBasedStateMachine):
    """Few heads, and limits so low that groups are made, split, dissolved and given up all the time. Components are whole: ties are exact."""

    make: Make = staticmethod(Heads)

    def __init__(self) -> None:
        super().__init__()
        self.heads = self.make(np.empty((0, SIZE), dtype=np.float32), exact=40, probe=10)
        self.model: dict[int, np.ndarray] = {}
        self.rng = np.random.default_rng(0)

    @rule(count=st.integers(1, 60), spread=st.sampled_from([0, 1, 9]), at=st.integers(-20, 20))
    def add(self, count: int, spread: int, at: int) -> None:
        for _ in range(count):
            vector = (at + self.rng.integers(-spread, spread, SIZE, endpoint=True)).astype(np.float32)
            number = self.heads.add(vector)
            assert number == next(i for i in range(len(self.model) + 1) if i not in self.model)
            self.model[number] = vector

    @rule(share=st.floats(0, 1), first=st.booleans())
    def remove(self, share: float, first: bool) -> None:
        numbers = sorted(self.model)
        chosen = numbers[: int(share * len(numbers))] if first else self.rng.permutation(numbers)[: int(share * len(numbers))].tolist()
        for number in chosen:
            self.heads.remove(number)
            del self.model[number]

    @rule()
    def load_again(self) -> None:
        numbers = self.heads.numbers()
        self.heads = self.make(self.heads.vectors(numbers), numbers=numbers, groups=self.heads.groups(), exact=40, probe=10)

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        numbers = sorted(self.model)
        assert self.heads.numbers().tolist() == numbers
        assert len(self.heads) == len(numbers)
        if numbers:
            assert np.array_equal(self.heads.vectors(np.array(numbers)), np.array([self.model[number] for number in numbers]))
            assert len(self.heads.groups()) == len(numbers)
            assert (len(set(self.heads.groups().tolist())) > 1) == getattr(self.heads, "grouped", False)

    @invariant()
    def finds_what_is_nearest(self) -> None:
        queries = self.rng.integers(-20, 20, (3, SIZE)).astype(np.float32)
        everything = len(self.model) + 5
        together = self.heads.nearest(queries, everything)
        for row, query in enumerate(queries):
            numbers, distances = brute_force(self.model, query, everything)
            alone = self.heads.nearest(query[None], everything)
            for found, near in ((together[0][row], together[1][row]), (alone[0][0], alone[1][0])):
                assert found.tolist() == numbers + [-1] * 5
                assert near[: len(numbers)] == pytest.approx(distances, rel=1e-6)
                assert np.isinf(near[len(numbers) :]).all()


ComingAndGoing.TestCase.settings = settings(max_examples=12, stateful_step_count=10, deadline=None)
TestComingAndGoing = ComingAndGoing.TestCase


class ComingAndGoingInFaiss(ComingAndGoing):
    make = staticmethod(in_faiss)


@FAISS
def test_coming_and_going_in_faiss() -> None:
    run_state_machine_as_test(ComingAndGoingInFaiss, settings=ComingAndGoing.TestCase.settings)


@pytest.fixture(scope="module")
def drifting() -> tuple[np.ndarray, np.ndarray]:
    """Two mixtures that have no cluster, and no subspace, in common."""
    return mixture(6200, 64, seed=1), mixture(6200, 64, seed=2)


def test_recall_holds_when_all_heads_are_replaced_and_the_distribution_drifts(make: Make, drifting: tuple[np.ndarray, np.ndarray]) -> None:
    old, new = drifting
    heads = make(old[:6000], exact=1024, probe=2048)
    assert heads.recall(old[6000:]) >= 0.98
    for step, number in enumerate(np.random.default_rng(0).permutation(6000).tolist()):
        heads.add(new[step])
        heads.remove(number)
        if step % 1500 == 750:
            assert min(heads.recall(old[6000:]), heads.recall(new[6000:])) >= 0.98
    assert len(heads) == 6000
    assert heads.recall(new[6000:]) >= 0.98
    assert heads.nbytes < (1.4 if make is Heads else 2.4) * new[:6000].nbytes  # of faiss a quarter may be gone, and links are many for 64 dimensions


def test_what_is_found_is_the_same_again_and_after_loading_and_no_less_for_queries_together(
    make: Make, drifting: tuple[np.ndarray, np.ndarray]
) -> None:
    vectors, queries = drifting[0][:6000], drifting[0][6000:]
    heads = make(vectors, exact=1024, probe=1500)
    numbers, distances = heads.nearest(queries, 64)
    assert np.all(np.diff(distances, axis=1) >= 0)
    again = make(vectors, groups=heads.groups(), exact=1024, probe=1500)
    for found in (again.nearest(queries, 64), make(vectors, exact=1024, probe=1500).nearest(queries, 64)):
        assert np.array_equal(found[0], numbers)
        assert np.array_equal(found[1], distances)
    alone = np.concatenate([heads.nearest(query[None], 64)[1] for query in queries])
    assert np.all(distances <= alone)
    exact = ((vectors[numbers].astype(np.float64) - queries[:, None]) ** 2).sum(axis=2)
    assert distances == pytest.approx(exact, rel=1e-4)
    right = np.sort(((vectors[None].astype(np.float64) - queries[:10, None]) ** 2).sum(axis=2), axis=1)[:, :64]
    assert heads.nearest(queries[:10], 64, probe=6000)[1] == pytest.approx(right, rel=1e-4)


def test_thousands_of_identical_heads_are_taken_in_and_found(make: Make) -> None:
    heads = make(np.ones((0, 8), dtype=np.float32), exact=256, probe=300)
    for _ in range(2000):
        heads.add(np.ones(8, dtype=np.float32))
    assert make is not Heads or np.bincount(heads.groups()).max() <= 2 * np.sqrt(2000) + 1
    other = heads.add(np.full(8, 3, dtype=np.float32))
    assert heads.nearest(np.full((1, 8), 2.5, dtype=np.float32), 1)[0][0, 0] == other
    numbers, distances = heads.nearest(np.ones((1, 8), dtype=np.float32), 64)
    assert len(set(numbers[0].tolist())) == 64
    assert np.all(distances == 0)


def test_distances_of_near_twins_far_from_the_origin_are_not_lost_in_rounding(make: Make) -> None:
    rng = np.random.default_rng(0)
    centre = 100 * rng.standard_normal(384).astype(np.float32)
    vectors = centre + 0.01 * rng.standard_normal((200, 384)).astype(np.float32)
    found, distances = make(vectors).nearest(vectors[:5], 200)
    exact = ((vectors[found].astype(np.float64) - vectors[:5, None]) ** 2).sum(axis=2)
    assert distances == pytest.approx(exact, rel=1e-5, abs=1e-9)
    assert found[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_bad_input_is_refused_and_says_why(make: Make) -> None:
    heads = make(np.eye(3, dtype=np.float32))
    with pytest.raises(Invalid, match="finite"):
        heads.add(np.array([0, np.nan, 1], dtype=np.float32))
    with pytest.raises(Invalid, match=r"shape \(2,\)"):
        heads.add(np.zeros(2, dtype=np.float32))
    with pytest.raises(Invalid, match="no head 3 among the 3"):
        heads.remove(3)
    with pytest.raises(Invalid, match="no head -1"):
        heads.vectors(np.array([0, -1]))
    with pytest.raises(Invalid, match="k = 0"):
        heads.nearest(np.zeros((1, 3), dtype=np.float32), 0)
    with pytest.raises(Invalid, match="queries"):
        heads.nearest(np.zeros(3, dtype=np.float32), 1)
    with pytest.raises(Invalid, match="distinct numbers"):
        make(np.eye(2, dtype=np.float32), numbers=np.array([4, 4]))
    with pytest.raises(Invalid, match="groups"):
        Heads(np.eye(2, dtype=np.float32), groups=np.array([0]))
    with pytest.raises(Invalid, match="vectors"):
        make(np.zeros(3, dtype=np.float32))
    heads.remove(1)
    with pytest.raises(Invalid, match="no head 1"):
        heads.vector(1)


def test_no_heads_at_all(make: Make) -> None:
    heads = make(np.empty((0, 3), dtype=np.float32))
    for queries in (1, 2):
        numbers, distances = heads.nearest(np.zeros((queries, 3), dtype=np.float32), 2)
        assert numbers.tolist() == [[-1, -1]] * queries
        assert np.isinf(distances).all()
    assert heads.nearest(np.empty((0, 3), dtype=np.float32), 2)[0].shape == (0, 2)
    assert heads.add(np.ones(3, dtype=np.float32)) == 0
    heads.remove(0)
    assert len(heads) == 0
    assert heads.add(np.ones(3, dtype=np.float32)) == 0
