"""Sketches of vectors, held in memory for searches under filters: a bit a dimension, or eight where those are few, that tell the nearest of many.

Lists lie by where vectors are, a filter need not. Where it lets through one vector in thirty, it takes thirty times as many lists to find as many of
them, and reading those costs more than comparing a sketch of each. A sketch is an entry as lists have them, about one point for all. It is made when
a search first reads the vector because a filter allowed it: nothing is held for an index that nobody filters, or for vectors that no filter lets
through.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnemos.index.spann.codes import Bytes, Entries, Floats
from mnemos.index.spann.metric import exact_squares

Numbers = NDArray[np.int64]

_FEW = 96
"""Bits of so many dimensions tell too little."""


class Sketches:
    """Sketches by slot. Whoever calls holds the lock of the index."""

    def __init__(self, dimensions: int) -> None:
        self._entries = Entries("binary" if dimensions > _FEW else "int8", dimensions)
        self._centre: Floats | None = None
        self._made = np.zeros(0, dtype=bool)
        self._held: Bytes = np.zeros((0, self._entries.size), dtype=np.uint8)

    @property
    def nbytes(self) -> int:
        return self._held.nbytes + self._made.nbytes

    def more(self, room: int) -> int:
        """Bytes that sketches of so many slots need beyond what they take now."""
        return max(0, room - len(self._made)) * 5 // 4 * (self._entries.size + 1)

    def missing(self, slots: Numbers) -> NDArray[np.bool_]:
        """Which of `slots` (m,) have no sketch."""
        inside = slots < len(self._made)
        absent = np.ones(len(slots), dtype=bool)
        absent[inside] = ~self._made[slots[inside]]
        return absent

    def make(self, slots: Numbers, rotated: Floats, room: int) -> None:
        """Sketches of `rotated` (m, dimensions), the vectors in `slots` (m,); `room`: how many slots there are."""
        if not len(slots):
            return
        if self._centre is None:  # any point will do, the nearer to all the better
            self._centre = rotated.mean(axis=0, dtype=np.float64).astype(np.float32)
        if room > len(self._made):
            room = max(room, len(self._made) * 9 // 8)
            held, made = np.zeros((room, self._entries.size), dtype=np.uint8), np.zeros(room, dtype=bool)
            held[: len(self._held)], made[: len(self._made)] = self._held, self._made
            self._held, self._made = held, made
        marks = slots.astype(np.uint32)
        self._held[slots] = self._entries.write(marks, marks, rotated, self._centre)
        self._made[slots] = True

    def forget(self, slots: Numbers) -> None:
        """Other vectors stand in `slots`, or none."""
        inside = slots[slots < len(self._made)]
        self._made[inside] = False
        self._held[inside] = 0

    def held(self, slots: Numbers) -> Bytes:
        """The sketches of `slots` (m,), of which there are some: copies, for `estimates`."""
        held: Bytes = self._held[slots]
        return held

    def estimates(self, rotated: Floats, held: Bytes) -> Floats:
        """Estimated squared distances (m,) of the query `rotated` (dimensions,) to vectors, from their sketches `held` (m, size). Needs no lock."""
        assert self._centre is not None
        return np.asarray(self._entries.estimate(rotated[None], held, exact_squares(rotated, self._centre[None]))[0])
