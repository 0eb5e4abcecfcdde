"""Heads that stand together in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


class HeadGroup:
    """Heads that stand together: `vectors` (capacity, d), `numbers` (capacity,), half the squared lengths; the first `count` of each hold."""

    __slots__ = ("changes", "count", "halves", "numbers", "vectors")

    def __init__(self, vectors: Floats, numbers: Ints) -> None:
        self.vectors = vectors
        self.numbers = numbers.astype(np.int32)
        self.halves: Floats = np.einsum("ij,ij->i", vectors, vectors) / 2
        self.count = len(vectors)
        self.changes = 0

    @property
    def nbytes(self) -> int:
        return self.vectors.nbytes + self.numbers.nbytes + self.halves.nbytes

    def mean(self) -> Floats:
        return np.asarray(self.vectors[: self.count].mean(axis=0, dtype=np.float64), dtype=np.float32)

    def append(self, number: int, vector: Floats) -> int:
        """The place that it got."""
        if self.count == len(self.vectors):
            more = max(self.count // 8, 4)
            self.vectors = np.concatenate([self.vectors, np.empty((more, self.vectors.shape[1]), dtype=np.float32)])
            self.numbers = np.concatenate([self.numbers, np.empty(more, dtype=np.int32)])
            self.halves = np.concatenate([self.halves, np.empty(more, dtype=np.float32)])
        self.vectors[self.count], self.numbers[self.count], self.halves[self.count] = vector, number, vector @ vector / 2
        self.count += 1
        self.changes += 1
        return self.count - 1

    def drop(self, place: int) -> int:
        """Puts the last head in this place, and gives its number."""
        last = self.count - 1
        self.vectors[place], self.numbers[place], self.halves[place] = self.vectors[last], self.numbers[last], self.halves[last]
        self.count = last
        self.changes += 1
        number = int(self.numbers[place])
        if last < len(self.vectors) * 3 // 4 - 4:
            room = last + max(last // 8, 4)
            self.vectors, self.numbers, self.halves = self.vectors[:room].copy(), self.numbers[:room].copy(), self.halves[:room].copy()
        return number
