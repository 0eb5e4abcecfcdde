"""The seam of vector search: what a space's index asks of whatever holds its vectors."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


class VectorIndex(Protocol):
    """Unit vectors of rows 0, 1, 2, … of a space; a row may have none. Drivers: `ExactIndex` in memory, `DiskVectors` beyond it."""

    dimensions: int

    def __len__(self) -> int:
        """How many rows have a vector."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        ...

    def put(self, rows: Rows, vectors: Floats) -> None:
        """Set the vectors (m, dimensions) of `rows`; a row that had one gets the new one."""
        ...

    def scores(self, query: Floats, n: int, allowed: Mask | None = None) -> Floats:
        """Cosine of the unit vector `query` with each of rows 0 … n-1: (n,), NaN where a row has no vector.

        The nearest of the rows `allowed`, or of all, have their exact cosine (a row beyond the end of `allowed` is not allowed). A driver that does
        not look at every row gives those that it did not look at about their mean cosine, and no more than the nearest have.
        """
        ...

    def scores_of(self, queries: Floats, n: int, allowed: Mask | None = None) -> Floats:
        """Likewise for several queries (m, dimensions): (m, n)."""
        ...

    def vectors(self, rows: Rows) -> Floats:
        """The vectors (m, dimensions) of `rows`; zeros where a row has none."""
        ...
