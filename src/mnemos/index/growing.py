"""Arrays that grow at the end at amortised constant cost."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 64
"""Rows of a block; see `Growing.blocks`."""


class Growing:
    """A NumPy array that rows are appended to. `view()` shows the rows so far; it stays valid, and keeps its length, while others append."""

    def __init__(self, dtype: Any, width: int | None = None) -> None:
        self._data: NDArray[Any] = np.empty((0,) if width is None else (0, width), dtype=dtype)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def extend(self, rows: Any) -> None:
        """Append `rows`: shape (m,) or (m, width)."""
        rows = np.asarray(rows, dtype=self._data.dtype)
        end = self._size + len(rows)
        if end > len(self._data):
            size = -(-max(end, len(self._data) * 3 // 2) // BLOCK) * BLOCK
            grown = np.zeros((size, *self._data.shape[1:]), dtype=self._data.dtype)
            grown[: self._size] = self._data[: self._size]
            self._data = grown
        self._data[self._size : end] = rows
        self._size = end

    def view(self) -> NDArray[Any]:
        return self._data[: self._size]

    def blocks(self) -> NDArray[Any]:
        """The rows so far, and after them rows of zeros up to a whole number of blocks."""
        return self._data[: -(-self._size // BLOCK) * BLOCK]
