"""A space's vectors beyond memory: those up to some position of the log in a SPANN index on disk, those after it exact, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid
from mnemos.index.exact import ExactIndex
from mnemos.index.growing import Growing
from mnemos.index.vectors import Floats, Mask, Rows

if TYPE_CHECKING:
    from mnemos.index.spann.index import SpannIndex

NEAR = 512
"""So many of the nearest rows get their exact cosine: more than a search weighs in full."""


class DiskVectors:
    """Vectors of rows whose log positions are `seq` (n,), ascending; an index on disk knows a vector by the log position of its version.

    The index on disk may hold versions that this space's view does not have (yet, or any more): they are never found. Several views share it.
    """

    def __init__(self, disk: SpannIndex, seq: Growing) -> None:
        self.dimensions = disk.dimensions
        self.disk = disk
        self.base = disk.position
        """Vectors of versions after this position are held in memory."""
        self._seq = seq
        self._tail = ExactIndex(self.dimensions)
        self._on_disk = np.zeros(0, dtype=bool)

    def __len__(self) -> int:
        return int(np.count_nonzero(self._known())) + len(self._tail)

    @property
    def nbytes(self) -> int:
        return self.disk.nbytes + self._tail.nbytes + self._on_disk.nbytes

    @property
    def tail(self) -> int:
        """How many vectors are held in memory, waiting to go to disk."""
        return len(self._tail)

    def put(self, rows: Rows, vectors: Floats) -> None:
        fresh = self._seq.view()[rows] > self.base
        self._tail.put(rows[fresh], vectors[fresh])

    def settle(self) -> None:
        """Let go of what has come to be on disk."""
        base = self.disk.position
        if base <= self.base:
            return
        end = int(np.searchsorted(self._seq.view(), base, side="right"))
        rows = np.arange(end, len(self._seq), dtype=np.int64)
        kept = ~np.isnan(self._tail.scores(np.zeros(self.dimensions, dtype=np.float32), len(self._seq))[end:])
        tail = ExactIndex(self.dimensions)
        tail.put(rows[kept], self._tail.vectors(rows[kept]))
        self.base, self._tail, self._on_disk = base, tail, self._on_disk[:0]

    def scores(self, query: Floats, n: int, allowed: Mask | None = None) -> Floats:
        if query.shape != (self.dimensions,):
            raise Invalid(f"query vector: has shape {query.shape}, vectors here have {self.dimensions} dimensions")
        out = self._tail.scores(query, n)
        known = self._known()[:n]
        if not known.any():
            return out
        seqs, limit = self._seq.view(), min(n, len(known))

        def may(ids: NDArray[np.int64]) -> Mask:
            rows = np.minimum(np.searchsorted(seqs, ids), len(seqs) - 1)
            there: Mask = (seqs[rows] == ids) & (rows < limit)
            return there if allowed is None else there & allowed[np.minimum(rows, len(allowed) - 1)]

        if not query.any():
            out[:limit][known] = 0.0
            return out
        found = self.disk.search(query, NEAR, may)
        cosines = 1 - found.distances
        out[:limit][known] = cosines.min(initial=1.0)
        out[np.searchsorted(seqs, found.ids)] = cosines
        return out

    def scores_of(self, queries: Floats, n: int) -> Floats:
        if queries.ndim != 2 or queries.shape[1] != self.dimensions:
            raise Invalid(f"query vectors: have shape {queries.shape}, vectors here have {self.dimensions} dimensions")
        return np.array([self.scores(query, n) for query in queries], dtype=np.float32).reshape(len(queries), n)

    def vectors(self, rows: Rows) -> Floats:
        out = self._tail.vectors(rows)
        known = self._known()
        there = np.flatnonzero(known[np.minimum(rows, max(len(known) - 1, 0))] & (rows < len(known))) if len(known) else np.zeros(0, dtype=np.int64)
        if len(there):
            out[there] = self.disk.vectors(self._seq.view()[rows[there]])
        return out

    def _known(self) -> Mask:
        """Which of the rows up to `base` have a vector on disk."""
        end = int(np.searchsorted(self._seq.view(), self.base, side="right"))
        if len(self._on_disk) < end:
            more = self.disk.has(self._seq.view()[len(self._on_disk) : end])
            self._on_disk = np.concatenate([self._on_disk, more])
        return self._on_disk

    def forget_rows(self, rows: list[int]) -> None:
        """Rows are gone, from the index on disk, too."""
        known = self._known()
        for row in rows:
            if row < len(known):
                known[row] = False
