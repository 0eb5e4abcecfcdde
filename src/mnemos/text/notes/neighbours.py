"""The notes nearest to a vector: exactly, or, among many, by signatures of one bit a dimension and a closer look at the best of them.

The share of bits in which two signatures differ is their angle, up to noise (Charikar, Similarity estimation techniques from rounding algorithms,
STOC 2002). Signatures of 100,000 notes of 384 dimensions are 5 MB, which is read in about a millisecond.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnemos.index.growing import Growing
from mnemos.index.vectors import Mask, VectorIndex
from mnemos.text.strategy import Floats, View

Rows = NDArray[np.int64]
EXACT_BELOW = 8192
"""Notes up to which all are compared."""
_LOOKED_AT = 256
"""Notes that are looked at closely, at least; of more than 51,200, one in two hundred."""
_HIDDEN = 65_535
"""Stands for a note that may not be found."""


class Signatures:
    """One bit a dimension of the vectors of some rows, each bit whether the vector is above the middle of the first ones there. Held beside an
    index, and caught up from row to row; as it learns the middle once, a signature says the same for ever."""

    def __init__(self) -> None:
        self._of: VectorIndex | None = None
        self._read = 0
        self._rows = Growing(np.int64)
        self._middle: Floats = np.zeros(0, dtype=np.float32)
        self._bits: list[Growing] = []

    @classmethod
    def of(cls, view: View, vectors: VectorIndex, notes: Mask) -> Signatures:
        """The signatures of the notes in the mask; one that leaves the mask stays, and is passed over."""
        held = view.index.attached("notes signatures", cls)
        held.catch_up(vectors, notes)
        return held

    def catch_up(self, vectors: VectorIndex, notes: Mask) -> None:
        if vectors is not self._of:  # another embedder's
            self.__init__()  # type: ignore[misc]
            self._of = vectors
        fresh = self._read + np.flatnonzero(notes[self._read :])
        self._read = len(notes)
        for start in range(0, len(fresh), 4096):
            self._add(fresh[start : start + 4096], vectors.vectors(fresh[start : start + 4096]))

    def _add(self, rows: Rows, vectors: Floats) -> None:
        if not len(self._middle):
            self._middle = vectors.mean(axis=0, dtype=np.float32)
            self._bits = [Growing(np.uint64) for _ in range(-(-vectors.shape[1] // 64))]
        self._rows.extend(rows)
        for column, words in zip(self._bits, self.signatures(vectors).T, strict=True):
            column.extend(words)

    def signatures(self, vectors: Floats) -> NDArray[np.uint64]:
        """(m, words of 64 bits) of vectors (m, d)."""
        bits = np.packbits(vectors > self._middle, axis=1)
        padded = np.zeros((len(vectors), 8 * len(self._bits)), dtype=np.uint8)
        padded[:, : bits.shape[1]] = bits
        return padded.view(np.uint64)

    def nearest(self, queries: Floats, notes: Mask, k: int) -> list[tuple[Rows, Floats]]:
        """For each unit vector of `queries` (m, d) about the `k` nearest notes of the mask, (rows, cosines), nearest first; the cosines are exact."""
        assert self._of is not None
        rows = self._rows.view()
        hidden = np.flatnonzero(~notes[rows])
        count = min(max(_LOOKED_AT, len(rows) // 200), len(rows))
        out = []
        for query, signature in zip(queries, self.signatures(queries) if len(rows) else queries, strict=True):
            apart = np.zeros(len(rows), dtype=np.uint16)
            for column, word in zip(self._bits, signature, strict=True) if len(rows) else ():
                apart += np.bitwise_count(column.view() ^ word)
            apart[hidden] = _HIDDEN
            limit = np.partition(apart, count - 1)[count - 1] if count else 0
            best = rows[np.flatnonzero((apart <= limit) & (apart < _HIDDEN))]
            out.append(closest(best, self._of.vectors(best) @ query, k))
        return out


def closest(rows: Rows, cosines: Floats, k: int) -> tuple[Rows, Floats]:
    """The `k` rows with the highest cosines, highest first; of equal ones the earlier row."""
    order = np.lexsort((rows, -cosines))[:k]
    return rows[order], np.asarray(cosines[order], dtype=np.float32)


def nearest(view: View, notes: Mask, queries: Floats, k: int) -> list[tuple[Rows, Floats]]:
    """For each unit vector of `queries` (m, d) the `k` nearest notes of the mask, (rows, cosines); exactly where there are few."""
    vectors = view.vectors
    if vectors is None:
        return [(np.zeros(0, np.int64), np.zeros(0, np.float32))] * len(queries)
    rows = np.flatnonzero(notes)
    if len(rows) <= EXACT_BELOW:
        likeness = queries @ vectors.vectors(rows).T
        return [closest(rows, one, k) for one in likeness]
    return Signatures.of(view, vectors, notes).nearest(queries, notes, k)
