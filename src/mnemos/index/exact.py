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
        self._where: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        return self._matrix.view().nbytes + self._rows.view().nbytes

    def put(self, rows: NDArray[np.int64], vectors: Floats) -> None:
        """Set the vectors (m, dimensions) of `rows`; a row that had one gets the new one."""
        known = [i for i, row in enumerate(rows.tolist()) if row in self._where] if self._where else []
        for i in known:
            self._matrix.view()[self._where[int(rows[i])]] = vectors[i]
        fresh = np.setdiff1d(np.arange(len(rows)), known) if known else slice(None)
        new = rows[fresh]
        start = len(self._rows)
        self._where.update(zip(new.tolist(), range(start, start + len(new)), strict=True))
        self._rows.extend(new)
        self._matrix.extend(vectors[fresh])

    def scores(self, query: Floats, n: int) -> Floats:
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

    def scores_of(self, queries: Floats, n: int) -> Floats:
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
        out = np.zeros((len(rows), self.dimensions), dtype=np.float32)
        matrix = self._matrix.view()
        for i, row in enumerate(rows.tolist()):
            at = self._where.get(row)
            if at is not None:
                out[i] = matrix[at]
        return out

    @staticmethod
    def _ordered(rows: NDArray[np.int64]) -> bool:
        return bool(np.all(rows[1:] > rows[:-1]))
