"""The life of a small index: a log of additions and removals from a seed, applied with splits, merges and checkpoints in between, and cut short."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from index.spann.faulty_disk import FaultyDisk, Killed
from mnemos.index.spann.index import SpannIndex
from mnemos.index.spann.options import Options

DIMENSIONS = 8
OPTIONS = Options(metric="l2", code="binary", list_limit=8, merge_below=2, candidates=8, replicas=4, reassign_heads=8)
"""Lists so short that a few dozen vectors split, merge and move all the time."""


@dataclass(frozen=True)
class Step:
    """One entry of the log."""

    ids: np.ndarray
    vectors: np.ndarray
    removed: np.ndarray


class Life:
    """A log of `steps` entries, and what holds after each. Among its vectors are equal ones by the dozen, outliers, and places that move."""

    def __init__(self, seed: int, steps: int = 30, options: Options = OPTIONS) -> None:
        self.rng = np.random.default_rng(seed)
        self.options = options
        self.log: list[Step] = []
        self.states: list[dict[int, np.ndarray]] = [{}]
        for number in range(steps):
            state = dict(self.states[-1])
            some = int(self.rng.integers(1, 7))
            ids = self.rng.choice(120, some, replace=False)
            middle = np.full(DIMENSIONS, number / 10)
            vectors = (middle + self.rng.standard_normal((some, DIMENSIONS))).astype(np.float32)
            if number % 5 == 2:
                vectors[:] = np.float32(1.5)
            if number % 7 == 3:
                vectors[0] *= 1000
            free = [key for key in state if key not in set(ids.tolist())]
            removed = np.array(self.rng.choice(free, min(len(free), int(self.rng.integers(0, 5))), replace=False) if free else [], dtype=np.int64)
            for key in removed.tolist():
                del state[key]
            state.update(zip(ids.tolist(), vectors, strict=True))
            self.log.append(Step(ids.astype(np.int64), vectors, removed))
            self.states.append(state)

    def open(self, disk: FaultyDisk) -> SpannIndex:
        """What the next process does: open what there is, or begin anew."""
        return SpannIndex.open(disk) if disk.exists("manifest") else SpannIndex.create(disk, DIMENSIONS, self.options)

    def live(self, index: SpannIndex, checked: bool = False) -> None:
        """Go on from where the index is to the end of the log; `checked`: look at the answers meanwhile."""
        for position in range(index.position, len(self.log)):
            step = self.log[position]
            index.apply(position + 1, step.ids, step.vectors, step.removed)
            if position % 2:
                index.tend(3)
            if position % 6 == 5:
                index.checkpoint()
            if checked:
                self.check(index)
        while index.tend(10):
            pass
        index.checkpoint()

    def check(self, index: SpannIndex) -> None:
        """Whether the index holds what the log says at its position, finds it, and finds nothing else."""
        state = self.states[index.position]
        assert index.ids().tolist() == sorted(state)
        if not state:
            return
        keys = np.array(sorted(state))
        matrix = np.array([state[key] for key in keys.tolist()])
        np.testing.assert_array_equal(index.vectors(keys), matrix)
        query = matrix[len(keys) // 2] + np.float32(0.1)
        difference = matrix - query
        squares = np.einsum("ij,ij->i", difference, difference)
        order = np.lexsort((keys, squares))[:10]
        for found in (index.search(query, 10, exact=True), index.search(query, 10, lists=10**6, rescore=10**6, spread=np.inf)):
            assert found.exact
            assert found.ids.tolist() == keys[order].tolist()
        near = index.search(query, 10, lists=2)
        assert len(near.ids) == min(10, len(keys)) == len(set(near.ids.tolist()))
        assert set(near.ids.tolist()) <= set(keys.tolist())


def cut_short(seed: int, at: int, power: bool, steps: int = 30) -> bool:
    """A life with a stop in the `at`-th changing call to the disk, and the life after it; whether it came so far. Raises where it is wrong."""
    life, disk = Life(seed, steps), FaultyDisk(seed * 7919 + at)
    disk.kill_at(at)
    try:
        life.live(life.open(disk))
    except Killed:
        pass
    else:
        return False
    if power:
        disk.lose_power()
    else:
        disk.reopen()
    index = life.open(disk)
    assert index.verify() == []
    life.check(index)
    life.live(index, checked=True)
    assert index.verify() == []
    life.check(index)
    return True


def calls(seed: int, steps: int = 30) -> int:
    """How many changing calls a life makes."""
    life, disk = Life(seed, steps), FaultyDisk(seed)
    life.live(life.open(disk))
    return disk.calls
