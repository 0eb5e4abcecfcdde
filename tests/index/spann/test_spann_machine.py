"""Any calls in any order, against a dictionary: with stops and failures of the disk at any write."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from index.spann.faulty_disk import BROKEN, FULL, FaultyDisk, Killed
from mnemos.base.errors import StoreFull, StoreUnavailable
from mnemos.index.spann.index import SpannIndex
from mnemos.index.spann.options import Options

D = 4
OPTIONS = Options(metric="l2", code="int8", list_limit=8, merge_below=2, candidates=8, replicas=4, reassign_heads=8)
IDS = st.lists(st.integers(-40, 40), min_size=1, max_size=20, unique=True).map(lambda ids: np.array(ids, dtype=np.int64))
PLACES = st.sampled_from([0.0, 0.0, 1.0, 5.0, 1000.0])
"""Where vectors lie, with a spread of 1 but at 1000, where all are equal."""
SEEDS = st.integers(0, 10**6)
FILTERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "all": lambda ids: np.ones(len(ids), dtype=bool),
    "odd": lambda ids: ids % 2 == 1,
    "few": lambda ids: (ids > 3) & (ids < 9),
    "none": lambda ids: ids > 99,
}


def matrix(state: dict[int, np.ndarray], keys: np.ndarray) -> np.ndarray:
    return np.array([state[key] for key in keys.tolist()], dtype=np.float32).reshape(-1, D)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.disk = FaultyDisk()
        self.index = SpannIndex.create(self.disk, D, OPTIONS)
        self.power = False
        """Whether it is for want of power that the next process ends."""
        self.states: list[dict[int, np.ndarray]] = [{}]
        """What the index held after each change; the number of the last stands in its note, and so in its checkpoints."""

    @property
    def state(self) -> dict[int, np.ndarray]:
        return self.states[-1]

    def change(self, state: dict[int, np.ndarray], call: Callable[[], object]) -> None:
        """Make a call after which the index holds `state`; where the disk fails in it, what it held before, or that."""
        before = self.state
        self.states.append(state)
        self.index.note["at"] = len(self.states) - 1
        try:
            call()
        except Killed:
            self.reopen()
        except (StoreFull, StoreUnavailable):
            if self.disk.unsure:
                self.reopen()
            elif not self.holds(state):
                self.states[-1] = before

    def holds(self, state: dict[int, np.ndarray]) -> bool:
        keys = np.array(sorted(state), dtype=np.int64)
        return self.index.ids().tolist() == keys.tolist() and np.array_equal(self.index.vectors(keys), matrix(state, keys))

    def reopen(self) -> None:
        """What the next process finds."""
        self.disk.lose_power() if self.power else self.disk.reopen()
        self.power = False
        self.index = SpannIndex.open(self.disk)
        del self.states[self.index.note.get("at", 0) + 1 :]

    def vectors(self, ids: np.ndarray, place: float, seed: int) -> np.ndarray:
        spread = 0 if place == 1000 else 1
        return (place + spread * np.random.default_rng(seed).standard_normal((len(ids), D))).astype(np.float32)

    @rule(ids=IDS, place=PLACES, seed=SEEDS)
    def add(self, ids: np.ndarray, place: float, seed: int) -> None:
        vectors = self.vectors(ids, place, seed)
        self.change({**self.state, **dict(zip(ids.tolist(), vectors, strict=True))}, lambda: self.index.add(ids, vectors))

    @rule(ids=IDS)
    def remove(self, ids: np.ndarray) -> None:
        self.change({key: vector for key, vector in self.state.items() if key not in ids}, lambda: self.index.remove(ids))

    @rule(ids=IDS)
    def erase(self, ids: np.ndarray) -> None:
        self.change({key: vector for key, vector in self.state.items() if key not in ids}, lambda: self.index.erase(ids))

    @rule(ids=IDS, removed=IDS, place=PLACES, seed=SEEDS, twice=st.booleans())
    def apply(self, ids: np.ndarray, removed: np.ndarray, place: float, seed: int, twice: bool) -> None:
        vectors = self.vectors(ids, place, seed)
        kept = {key: vector for key, vector in self.state.items() if key not in removed}
        position = self.index.position + 1

        def call() -> None:
            for _ in range(1 + twice):
                self.index.apply(position, ids, vectors, removed)

        self.change({**kept, **dict(zip(ids.tolist(), vectors, strict=True))}, call)

    @rule(steps=st.integers(1, 30))
    def tend(self, steps: int) -> None:
        self.change(self.state, lambda: self.index.tend(steps))

    @rule()
    def tend_to_the_end(self) -> None:
        def call() -> None:
            for _ in range(500):
                if not self.index.tend(5):
                    return
            raise AssertionError("there is always more to do")

        self.change(self.state, call)

    @rule()
    def checkpoint(self) -> None:
        self.change(self.state, lambda: self.index.checkpoint())

    @rule()
    def mend(self) -> None:
        self.change(self.state, lambda: self.index.mend())

    @rule(at=st.integers(1, 12), power=st.booleans())
    def stop(self, at: int, power: bool) -> None:
        """The process ends in a change, or here."""
        self.stop_later(at, power)
        self.checkpoint()
        self.reopen()

    @rule(at=st.integers(1, 40), power=st.booleans())
    def stop_later(self, at: int, power: bool) -> None:
        self.disk.kill_at(at)
        self.power = power

    @rule(at=st.integers(1, 12), code=st.sampled_from([FULL, BROKEN]))
    def fail_later(self, at: int, code: int) -> None:
        self.disk.fail_at(at, code)

    @rule(seed=SEEDS, k=st.sampled_from([1, 3, 10, 1000]), place=PLACES, of=st.sampled_from(["all", "odd", "few", "none"]), function=st.booleans())
    def search(self, seed: int, k: int, place: float, of: str, function: bool) -> None:
        query = self.vectors(np.zeros(1), place, seed)[0]
        mask = FILTERS[of]
        allowed = None if of == "all" else mask if function else mask(np.arange(60))
        keys = np.array([key for key in sorted(self.state) if mask(np.array([key]))[0] and (allowed is None or function or key >= 0)], dtype=np.int64)
        away = matrix(self.state, keys) - query
        squares = np.einsum("ij,ij->i", away, away)
        expected = keys[np.lexsort((keys, squares))[:k]].tolist()
        try:
            exact = self.index.search(query, k, allowed, exact=True)
            wide = self.index.search(query, k, allowed, lists=1000, rescore=1000, spread=np.inf)
            near = self.index.search(query, k, allowed, lists=1, rescore=1)
            batches = list(self.index.iterate(query, allowed))
        except Killed:
            self.reopen()
            return
        assert exact.ids.tolist() == wide.ids.tolist() == expected
        assert exact.exact
        assert wide.exact
        assert len(near.ids) == len(expected) == len(set(near.ids.tolist()))
        assert set(near.ids.tolist()) <= set(keys.tolist())
        given = [key for batch in batches for key in batch.ids.tolist()]
        assert sorted(given) == keys.tolist()

    @invariant()
    def holds_what_was_put_in(self) -> None:
        assert self.index.ids().tolist() == sorted(self.state)
        assert len(self.index) == len(self.state)

    def teardown(self) -> None:
        self.disk.reopen()
        assert self.index.verify() == []
        keys = np.array(sorted(self.state), dtype=np.int64)
        np.testing.assert_array_equal(self.index.vectors(keys), matrix(self.state, keys))


Machine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestMachine = Machine.TestCase
