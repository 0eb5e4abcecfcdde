"""Where values stand in a column that grows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LATER = 4096
"""Values that are looked through before they are sorted, at least."""


class Places:
    """The places of each value of a column that is only ever added to: sorted once, and again when an eighth has come since; what came later is
    looked through."""

    def __init__(self) -> None:
        self._order: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._sorted: NDArray[Any] | None = None

    def of(self, column: NDArray[Any], value: int) -> NDArray[np.int64]:
        """The places of a value, ascending."""
        if self._sorted is None or len(column) - len(self._order) > max(LATER, len(self._order) // 8):
            self._order = np.argsort(column, kind="stable")
            self._sorted = column[self._order]
        key = column.dtype.type(value)
        low, high = np.searchsorted(self._sorted, key), np.searchsorted(self._sorted, key, side="right")
        before = self._order[low:high]
        if len(column) == len(self._order):
            return before
        return np.concatenate([before, len(self._order) + np.flatnonzero(column[len(self._order) :] == key)])
