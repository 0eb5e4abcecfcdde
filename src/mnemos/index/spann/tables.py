"""Columns in memory that know which of their parts have changed since they were last written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid

CHUNK = 64 * 1024
"""Bytes of a chunk, the unit in which tables are written; at least one row."""


@dataclass(frozen=True)
class Changes:
    """What a table was when a manifest was begun: its rows, and the bytes of the chunks that had changed, by number."""

    rows: int
    chunks: dict[int, bytes | memoryview]


class Table:
    """Rows of one NumPy type, (n,) or (n, width), that grow and shrink at the end. New rows are zeros.

    `view()` may be written to, if `touch` says so afterwards. After a `resize` that grows the table, older views are copies of the past. Whoever
    changes a table sees to it that no other thread does.
    """

    def __init__(self, dtype: Any, width: int | None = None) -> None:
        self.dtype = np.dtype(dtype)
        self.width = width
        if self.dtype.hasobject or self.dtype.itemsize == 0 or (self.dtype.names and np.dtype(self.dtype.descr) != self.dtype):
            raise Invalid(f"table: rows of type {self.dtype} cannot be written: they hold objects, nothing at all, or gaps between fields")
        self._data: NDArray[Any] = np.zeros(0 if width is None else (0, width), dtype=self.dtype)
        self._rows = 0
        if width is not None and width < 1:
            raise Invalid(f"table: rows are at least one value wide, not {width}")
        self.row_nbytes = int(self.dtype.itemsize) * (1 if width is None else width)
        self.rows_per_chunk = max(1, CHUNK // self.row_nbytes)
        self._dirty: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)

    def __len__(self) -> int:
        return self._rows

    @property
    def nbytes(self) -> int:
        """Bytes in memory, rows that are held ready included."""
        return int(self._data.nbytes + self._dirty.nbytes)

    @property
    def chunks(self) -> int:
        """How many chunks the rows make."""
        return -(-self._rows // self.rows_per_chunk)

    def view(self) -> NDArray[Any]:
        return self._data[: self._rows]

    def resize(self, rows: int) -> None:
        """Have `rows` rows: the first of those there are, then zeros."""
        if rows < 0:
            raise Invalid(f"table: cannot have {rows} rows")
        before = self._rows
        if rows > len(self._data) or rows < len(self._data) // 2:
            room = max(rows, len(self._data) * 5 // 4) if rows > before else rows
            held = np.zeros((room, *self._data.shape[1:]), dtype=self.dtype)
            kept = min(before, rows)
            held[:kept] = self._data[:kept]
            self._data = held
        elif rows < before:
            self._data[rows:before] = np.zeros((), dtype=self.dtype)
        self._rows = rows
        dirty = np.zeros(self.chunks, dtype=np.bool_)
        kept = min(len(dirty), len(self._dirty))
        dirty[:kept] = self._dirty[:kept]
        if rows != before:
            dirty[min(before, rows) // self.rows_per_chunk :] = True
        self._dirty = dirty

    def set(self, rows: Any, values: Any) -> None:
        """Set rows (an index, or an array of them) to `values`. Raises `Invalid` where there is no such row."""
        self.touch(rows)
        self.view()[rows] = values

    def touch(self, rows: Any) -> None:
        """The rows (an index, or an array of them) have changed. Raises `Invalid` where there is no such row."""
        at = np.asarray(rows, dtype=np.int64)
        if at.size == 0:
            return
        if at.min() < 0 or at.max() >= self._rows:
            raise Invalid(f"table: there are rows 0 to {self._rows - 1}, not {int(at.min())} to {int(at.max())}")
        self._dirty[at // self.rows_per_chunk] = True

    def chunk(self, number: int) -> memoryview:
        """The bytes of a chunk, as they are now."""
        start = number * self.rows_per_chunk
        rows = np.ascontiguousarray(self._data[start : min(start + self.rows_per_chunk, self._rows)])
        return rows.reshape(-1).view(np.uint8).data

    def chunk_nbytes(self, number: int, rows: int) -> int:
        """Bytes of chunk `number` when the table has `rows` rows."""
        return min(self.rows_per_chunk, rows - number * self.rows_per_chunk) * self.row_nbytes

    def take(self, known: int, owed: Iterable[int], copy: bool) -> Changes:
        """What has changed, and the chunks that are `owed`, and every one from number `known` on; none of them counts as changed any more.

        `copy` where rows may change before it is written.
        """
        wanted = self._dirty.copy()
        wanted[known:] = True
        wanted[[number for number in owed if number < self.chunks]] = True
        numbers = [int(number) for number in np.flatnonzero(wanted)]
        taken: dict[int, bytes | memoryview] = {number: self.chunk(number).tobytes() if copy else self.chunk(number) for number in numbers}
        self._dirty[:] = False
        return Changes(self._rows, taken)

    @classmethod
    def of_bytes(cls, dtype: Any, width: int | None, rows: int, data: Iterable[bytes]) -> Table:
        """A table of `rows` rows from the bytes of its chunks, in order; nothing counts as changed."""
        table = cls(dtype, width)
        table.resize(rows)
        for number, chunk in enumerate(data):
            start = number * table.rows_per_chunk
            held = table._data[start : start + table.rows_per_chunk][: rows - start]
            held[...] = np.frombuffer(chunk, dtype=table.dtype).reshape(held.shape)
        table._dirty[:] = False
        return table
