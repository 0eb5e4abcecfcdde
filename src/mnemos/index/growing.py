"""Arrays that grow at the end at amortised constant cost."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


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
            grown = np.empty((max(end, 64, len(self._data) * 3 // 2), *self._data.shape[1:]), dtype=self._data.dtype)
            grown[: self._size] = self._data[: self._size]
            self._data = grown
        self._data[self._size : end] = rows
        self._size = end

    def view(self) -> NDArray[Any]:
        return self._data[: self._size]
