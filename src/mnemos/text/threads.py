"""Rows in reading order: what stands before, after and around each row in its thread."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Places = NDArray[np.int64]


class Threads:
    """An order of rows in which those of one thread stand together, by `rank` (n,), or by row number where it is None. A row of thread -1 is
    a thread of its own.

    All methods take and give values in that order; `order` leads from rows to it, and `restore` back.
    """

    def __init__(self, thread: NDArray[np.int32], rank: Places | None = None) -> None:
        self.order: Places | None = None
        ranked = None if rank is None or (np.diff(rank) > 0).all() else np.argsort(rank, kind="stable")
        self._arrange(thread if ranked is None else thread[ranked])
        if ranked is not None:
            self.order = ranked if self.order is None else ranked[self.order]

    def _arrange(self, thread: NDArray[np.int32]) -> None:
        n = len(thread)
        key = thread.astype(np.int64)
        alone = key < 0
        if alone.any():
            key[alone] = np.arange(n)[alone] + (int(key.max()) + 1)
        breaks = np.diff(key)
        if breaks.min(initial=0) < 0:
            # NumPy sorts 16-bit keys by radix, several times faster than wider ones.
            self.order = np.argsort(key.astype(np.uint16) if key.max() < 1 << 16 else key, kind="stable")
            breaks = np.diff(key[self.order])
        self._cut(breaks != 0)

    def _cut(self, breaks: NDArray[np.bool_]) -> None:
        """`breaks` (n-1,): whether a new thread begins after each place."""
        n = self._n = len(breaks) + 1
        self._starts = np.concatenate([[0], np.flatnonzero(breaks) + 1])
        self._sizes = np.diff(np.concatenate([self._starts, [n]]))
        self._longest = int(self._sizes.max())
        self._first: Places | None = None
        self._last: Places | None = None
        self._same: dict[int, NDArray[np.bool_]] = {}
        self._bounds: dict[int, tuple[Places, Places, Floats]] = {}

    def part(self, at: Places) -> Threads:
        """The places `at`, ascending, as threads of their own: broken where a thread ends or places are left out."""
        out = Threads.__new__(Threads)
        out.order = None
        if len(at):
            first = self._span()[0][at]
            out._cut((np.diff(first) != 0) | (np.diff(at) != 1))
        return out

    @property
    def alone(self) -> Floats:
        """(n,) 1 for rows without a neighbour, else 0."""
        return np.repeat((self._sizes == 1).astype(np.float32), self._sizes)

    @property
    def trivial(self) -> bool:
        """No row has a neighbour."""
        return self._longest <= 1

    def arrange(self, values: Floats) -> Floats:
        """Values of rows, in this order."""
        return values if self.order is None else values[self.order]

    def restore(self, values: Floats) -> Floats:
        """Values in this order, by row."""
        if self.order is None:
            return values
        out = np.empty_like(values)
        out[self.order] = values
        return out

    def _span(self) -> tuple[Places, Places]:
        if self._first is None or self._last is None:
            self._first = np.repeat(self._starts, self._sizes)
            self._last = self._first + np.repeat(self._sizes, self._sizes)
        return self._first, self._last

    def before(self, values: Floats, distance: int) -> Floats:
        """The value of the row `distance` rows before in the thread; 0 where there is none."""
        out = np.zeros_like(values)
        if distance < self._longest:
            np.multiply(values[:-distance], self._together(distance), out=out[distance:])
        return out

    def after(self, values: Floats, distance: int) -> Floats:
        """The value of the row `distance` rows after in the thread; 0 where there is none."""
        out = np.zeros_like(values)
        if distance < self._longest:
            np.multiply(values[distance:], self._together(distance), out=out[:-distance])
        return out

    def _together(self, distance: int) -> NDArray[np.bool_]:
        known = self._same.get(distance)
        if known is None:
            first = self._span()[0]
            known = self._same[distance] = first[distance:] == first[:-distance]
        return known

    def mean(self, values: Floats, reach: int) -> Floats:
        """Mean over the rows at most `reach` rows away, the row itself included."""
        if self.trivial or reach <= 0:
            return values
        if reach not in self._bounds:
            first, last = self._span()
            places = np.arange(self._n)
            low, high = np.maximum(places - reach, first), np.minimum(places + reach + 1, last)
            self._bounds[reach] = low, high, (1 / (high - low)).astype(np.float32)
        low, high, share = self._bounds[reach]
        sums = np.zeros(self._n + 1, dtype=np.float64)
        np.cumsum(values, dtype=np.float64, out=sums[1:])
        return (sums[high] - sums[low]).astype(np.float32) * share

    def peak(self, values: Floats, reach: int) -> Floats:
        """Maximum of non-negative values over the rows at most `reach` rows away, the row itself included (by doubling the reach)."""
        if self.trivial or reach <= 0:
            return values
        reach = min(reach, self._longest - 1)
        back = ahead = values
        seen = 0
        while seen < reach:
            step = min(seen + 1, reach - seen)
            back = np.maximum(back, self.before(back, step))
            ahead = np.maximum(ahead, self.after(ahead, step))
            seen += step
        return np.maximum(back, ahead)
