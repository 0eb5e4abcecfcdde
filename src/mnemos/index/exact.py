"""Exact vector search: every vector of a space in one float32 matrix, one matrix-vector product a query."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid
from mnemos.index.growing import Growing

Floats = NDArray[np.float32]


class ExactIndex:
    """Unit vectors of rows 0, 1, 2, …; a row may have none. Cosines are exact: nothing is approximated, nothing is pruned."""

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self._rows = Growing(np.int64)
        self._matrix = Growing(np.float32, dimensions)
        self._place: NDArray[np.int64] = np.zeros(0, dtype=np.int64)  # of each row in the matrix; -1 for a row without a vector

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        return self._matrix.view().nbytes + self._rows.view().nbytes

    @property
    def rows(self) -> NDArray[np.int64]:
        """The rows that have a vector, in the order in which they got one."""
        return self._rows.view()

    def put(self, rows: NDArray[np.int64], vectors: Floats) -> None:
        """Set the vectors (m, dimensions) of `rows`; a row that had one gets the new one."""
        if not len(rows):
            return
        self._reach(int(rows.max()) + 1)
        known = self._place[rows] >= 0
        self._matrix.view()[self._place[rows[known]]] = vectors[known]
        new = rows[~known]
        start = len(self._rows)
        self._place[new] = np.arange(start, start + len(new))
        self._rows.extend(new)
        self._matrix.extend(vectors if len(new) == len(rows) else vectors[~known])

    def _reach(self, rows: int) -> None:
        """Let the places of so many rows be known."""
        if rows > len(self._place):
            grown = np.full(max(rows, len(self._place) * 3 // 2), -1, dtype=np.int64)
            grown[: len(self._place)] = self._place
            self._place = grown

    def scores(self, query: Floats, n: int, allowed: NDArray[np.bool_] | None = None) -> Floats:
        """Cosine of the unit vector `query` (dimensions,) with each of rows 0 … n-1: (n,) float32, NaN where a row has no vector."""
        if query.shape != (self.dimensions,):
            raise Invalid(f"query vector: has shape {query.shape}, vectors here have {self.dimensions} dimensions")
        rows = self._rows.view()
        # In whole blocks: what is left over at the end of a product is added up in another order, and a cosine must not depend on its row.
        values = (self._matrix.blocks() @ query)[: len(rows)]
        if len(rows) == n and (n == 0 or (rows[0] == 0 and rows[-1] == n - 1 and self._ordered(rows))):
            return np.asarray(values, dtype=np.float32)
        out = np.full(n, np.nan, dtype=np.float32)
        inside = rows < n
        out[rows[inside]] = values[inside]
        return out

    def scores_of(self, queries: Floats, n: int, allowed: NDArray[np.bool_] | None = None) -> Floats:
        """Cosines of several unit vectors (m, dimensions) with each of rows 0 … n-1, in one product: (m, n) float32, NaN where a row has none."""
        if queries.ndim != 2 or queries.shape[1] != self.dimensions:
            raise Invalid(f"query vectors: have shape {queries.shape}, vectors here have {self.dimensions} dimensions")
        rows, matrix = self._rows.view(), self._matrix.view()
        out = np.full((len(queries), n), np.nan, dtype=np.float32)
        inside = rows < n
        out[:, rows[inside]] = (queries @ matrix[: len(rows)].T)[:, inside]
        return out

    def vectors(self, rows: NDArray[np.int64]) -> Floats:
        """The vectors (m, dimensions) of `rows`; zeros where a row has none."""
        inside = (rows >= 0) & (rows < len(self._place))
        places = np.full(len(rows), -1, dtype=np.int64)
        places[inside] = self._place[rows[inside]]
        if not len(self._rows):
            return np.zeros((len(rows), self.dimensions), dtype=np.float32)
        out: Floats = self._matrix.view()[places]
        out[places < 0] = 0
        return out

    @staticmethod
    def _ordered(rows: NDArray[np.int64]) -> bool:
        return bool(np.all(rows[1:] > rows[:-1]))
