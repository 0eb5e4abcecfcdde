"""Small sets of vectors, held in memory whole where they are filtered: looking at every one of them costs less than choosing among lists."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mnemos.index.spann.codes import Floats

Numbers = NDArray[np.int64]

_GATHERED = 0.4
"""Where a larger share of all is asked for, a product with all is cheaper than fetching the rows, a block after the other."""
_BLOCK_BYTES = 1 << 19
"""Of rows that are fetched together: they are multiplied while they are in the processor's own cache."""
_LINE = 64
_ROUNDING = float(np.finfo(np.float32).eps)


class Whole:
    """Vectors by slot, as the measure stores them, each from when a search first read it. Whoever calls holds the lock of the index."""

    def __init__(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self.size = 4 * dimensions + 5
        """Bytes of a slot."""
        self._vectors: Floats = _zeros(0, dimensions)
        self._longest = 0.0
        """At least the largest squared length, by two."""
        self._halves: Floats = np.zeros(0, dtype=np.float32)
        self._made = np.zeros(0, dtype=bool)
        self._block: Floats = _zeros(0, dimensions)

    @property
    def nbytes(self) -> int:
        return self._vectors.nbytes + self._halves.nbytes + self._made.nbytes + self._block.nbytes

    def needs(self, room: int) -> int:
        """Bytes that the vectors of so many slots take, and room to fetch some of them into."""
        return room * self.size + self._rows(room) * self._dimensions * 4

    def missing(self, slots: Numbers) -> NDArray[np.bool_]:
        """Which of `slots` (m,) are not held."""
        inside = slots < len(self._made)
        absent = np.ones(len(slots), dtype=bool)
        absent[inside] = ~self._made[slots[inside]]
        return absent

    def put(self, slots: Numbers, vectors: Floats, room: int) -> None:
        """Hold `vectors` (m, dimensions), those in `slots` (m,); `room`: how many slots there are."""
        if room > len(self._made):
            more = max(room, len(self._made) * 9 // 8) - len(self._made)
            grown = _zeros(len(self._made) + more, self._vectors.shape[1])
            grown[: len(self._made)] = self._vectors
            self._vectors = grown
            self._halves = np.concatenate([self._halves, np.zeros(more, dtype=np.float32)])
            self._made = np.concatenate([self._made, np.zeros(more, dtype=bool)])
        self._vectors[slots] = vectors
        halves = np.einsum("ij,ij->i", vectors, vectors) / np.float32(2)
        self._halves[slots] = halves
        self._longest = max(self._longest, float(halves.max(initial=0)))
        self._made[slots] = True

    def forget(self, slots: Numbers) -> None:
        """Other vectors stand in `slots`, or none."""
        inside = slots[slots < len(self._made)]
        self._made[inside] = False
        self._vectors[inside] = 0
        self._halves[inside] = 0

    def holds(self, mask: NDArray[np.bool_]) -> bool:
        """Whether all slots of `mask` (slots,) are held."""
        known = len(self._made)
        return not ((mask[:known] & ~self._made[: len(mask)]).any() or mask[known:].any())

    def nearest(self, query: Floats, mask: NDArray[np.bool_], k: int) -> tuple[NDArray[np.int64], Floats]:
        """Slots of `mask` (slots,), all of which are held, among which are those of the `k` nearest to `query` (dimensions,); and their vectors.

        Half the squared distance, but for what is the same for all, is |x|^2 / 2 - <x, query>: one product. It is wrong by its rounding, so all are
        given that may be among the `k` if each is wrong as far as it can be.
        """
        n = min(len(mask), len(self._made))
        slots = np.flatnonzero(mask)
        if len(slots) > k:
            if len(slots) > _GATHERED * n:
                ranks = (self._halves[:n] - self._vectors[:n] @ query).take(slots)
            else:
                ranks = self._halves.take(slots) - self._products(slots, query)
            slots = slots[~(ranks > self._bound(query, ranks, k))]
        return slots, self._vectors[slots]

    def _products(self, slots: NDArray[np.int64], query: Floats) -> Floats:
        """<x, query> (m,) of the vectors in `slots` (m,): only these are read, and nothing of their size is written."""
        rows = self._rows(len(self._made))
        if len(self._block) != rows:
            self._block = _zeros(rows, len(query))
        products = np.empty(len(slots), dtype=np.float32)
        for start in range(0, len(slots), rows):
            some = slots[start : start + rows]
            fetched = np.take(self._vectors, some, axis=0, out=self._block[: len(some)], mode="clip")
            np.dot(fetched, query, out=products[start : start + rows])
        return products

    def _rows(self, room: int) -> int:
        """Rows of a block, where there are so many slots."""
        return min(max(1, _BLOCK_BYTES // (4 * self._dimensions)), room)

    def _bound(self, query: Floats, ranks: Floats, k: int) -> float:
        """A rank that none of the `k` nearest can be above; no number where a rank is none, and any may be."""
        reach = math.sqrt(2 * self._longest) + math.sqrt(query @ query)
        wrong = _ROUNDING * (len(query) + 2) * reach**2  # of a rank, at most; half of it of a distance
        return float(np.partition(ranks, k - 1)[k - 1]) + 3 * wrong


def _zeros(rows: int, dimensions: int) -> Floats:
    """Zeros (rows, dimensions) that begin with a line of the processor's cache: a product with all of them takes a tenth less time."""
    line = _LINE // 4
    held = np.zeros(rows * dimensions + line, dtype=np.float32)
    start = -held.ctypes.data % _LINE // 4
    return held[start : start + rows * dimensions].reshape(rows, dimensions)
