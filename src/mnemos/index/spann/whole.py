"""Small sets of vectors, held in memory whole where they are filtered: looking at every one of them costs less than choosing among lists."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnemos.index.spann.codes import Floats

Numbers = NDArray[np.int64]

_GATHERED = 0.25
"""Where a larger share of all is asked for, a product with all is cheaper than fetching the rows together."""
_ROUNDING = float(np.finfo(np.float32).eps)


class Whole:
    """Vectors by slot, as the measure stores them, each from when a search first read it. Whoever calls holds the lock of the index."""

    def __init__(self, dimensions: int) -> None:
        self.size = 4 * dimensions + 5
        """Bytes of a slot."""
        self._vectors: Floats = np.zeros((0, dimensions), dtype=np.float32)
        self._halves: Floats = np.zeros(0, dtype=np.float32)
        self._made = np.zeros(0, dtype=bool)

    @property
    def nbytes(self) -> int:
        return self._vectors.nbytes + self._halves.nbytes + self._made.nbytes

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
            self._vectors = np.concatenate([self._vectors, np.zeros((more, self._vectors.shape[1]), dtype=np.float32)])
            self._halves = np.concatenate([self._halves, np.zeros(more, dtype=np.float32)])
            self._made = np.concatenate([self._made, np.zeros(more, dtype=bool)])
        self._vectors[slots] = vectors
        self._halves[slots] = np.einsum("ij,ij->i", vectors, vectors) / np.float32(2)
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
        count = int(np.count_nonzero(mask))
        if count > max(_GATHERED * n, k):
            ranks = np.where(mask[:n], self._halves[:n] - self._vectors[:n] @ query, np.float32(np.inf))
            slots = np.flatnonzero(~(ranks > self._bound(query, ranks, k)) & mask[:n])
            return slots, self._vectors[slots]
        slots = np.flatnonzero(mask)
        vectors = self._vectors[slots]
        if count > k:
            ranks = self._halves[slots] - vectors @ query
            near = ~(ranks > self._bound(query, ranks, k))
            slots, vectors = slots[near], vectors[near]
        return slots, vectors

    def _bound(self, query: Floats, ranks: Floats, k: int) -> float:
        """A rank that none of the `k` nearest can be above; no number where a rank is none, and any may be."""
        reach = float(np.sqrt(2 * self._halves.max(initial=0))) + float(np.linalg.norm(query))
        wrong = _ROUNDING * (len(query) + 2) * reach**2  # of a rank, at most; half of it of a distance
        return float(np.partition(ranks, k - 1)[k - 1]) + 3 * wrong
