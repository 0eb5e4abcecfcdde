"""What is remembered of the requests for each page, and what a predictor sees of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mnemos.cache.base import Key

Slots = NDArray[np.int64]
Rows = NDArray[np.float32]

FEATURES = 15
NEW = 0
"""The row that stands for a page just asked for the first time."""

_HALF_LIVES = np.array([0.5, 2.0], dtype=np.float32)  # of the decayed counts of requests, in multiples of k
_NOVELTY = 15 / 16  # what each request leaves of the share of new pages among the latest requests
_NO_GAP = 1.2  # stands for the logarithm of a gap where there was but one request
_MOST_COUNTED = 255
_LABEL = 0.3  # weight of a new label against those before
_GRADES, _UNKNOWN = 200, 255  # a mean of labels is kept in so many steps
_ROWS = 64


def _of_counts() -> Rows:
    """By number of requests: whether it is one, and its logarithm."""
    counts = np.arange(_MOST_COUNTED + 1)
    return np.stack((counts <= 1, np.log2(np.maximum(counts, 1)) / 3), axis=1).astype(np.float32)


def _of_labels() -> Rows:
    """By mean of labels in steps: the mean less a half, whether there is none, whether it is near 1, and near 0."""
    means = np.arange(256) / _GRADES
    table = np.stack((means - 0.5, np.zeros(256), means > 0.9, means < 0.1), axis=1)
    table[_UNKNOWN] = (0, 1, 0, 0)
    return table.astype(np.float32)


_COUNTS, _LABELS = _of_counts(), _of_labels()


class History:
    """A row for each page asked for lately, `most` at the most; then the row of a page that was not asked for since the last round is used again.

    Time is the number of the request; k, the number of pages that the cache holds, is the unit of gaps. Features are of the order of 1.
    """

    def __init__(self, k: int, most: int) -> None:
        self.k = max(1, k)
        self.most = most
        self.now = 0
        self.slots: dict[Key, int] = {}
        self._keys: list[Key] = [None]  # by slot
        self._free: list[int] = []
        self._hand = 1
        self._novelty = 0.0
        self._last = np.zeros(_ROWS, dtype=np.int64)  # number of the last request, from 1; 0: there was none
        self._gaps = np.full(_ROWS, _NO_GAP, dtype=np.float32)  # logarithm of the gap between the last two
        self._recent = np.zeros((_ROWS, 2), dtype=np.float32)  # decayed counts at the last one
        self._novelties = np.zeros(_ROWS, dtype=np.float32)  # share of new pages at the last one
        self._counts = np.zeros(_ROWS, dtype=np.uint8)
        self._labels = np.full(_ROWS, _UNKNOWN, dtype=np.uint8)
        self._seen = np.zeros(_ROWS, dtype=np.bool_)  # since the hand came by
        self._recent[NEW], self._counts[NEW] = 1, 1

    def __len__(self) -> int:
        """Rows, of pages and unused."""
        return len(self._keys)

    def rows_of(self, keys: Sequence[Key]) -> tuple[Slots, list[int]]:
        """The rows of fewer pages than `most`, shape (keys,), made where there were none; and the new ones, some of them other pages' before."""
        known = self.slots
        slots = [known.get(key, -1) for key in keys]
        made = []
        in_use = set(slots)  # none of these is to make way for another
        for place, slot in enumerate(slots):
            if slot < 0:
                slots[place] = slot = known.get(keys[place], -1)
                if slot < 0:
                    slots[place] = slot = self._make(keys[place], in_use)
                    made.append(slot)
                    in_use.add(slot)
        return np.array(slots, dtype=np.int64), made

    def forget(self, key: Key) -> int | None:
        """Nothing of the page stays; gives the row that it had."""
        slot = self.slots.pop(key, None)
        if slot is not None:
            self._keys[slot] = None
            self._last[slot] = 0
            self._gaps[slot] = _NO_GAP
            self._recent[slot] = 0
            self._counts[slot] = 0
            self._labels[slot] = _UNKNOWN
            self._seen[slot] = False
            self._free.append(slot)
        return slot

    def record(self, slots: Slots) -> None:
        """Requests, in their order, of which there is at least one; shape (requests,), at most some hundreds."""
        n = len(slots)
        times = np.arange(self.now + 1, self.now + 1 + n)
        self.now += n
        order = np.argsort(slots, kind="stable")
        of, at = slots[order], times[order]
        starts = np.empty(n, dtype=np.bool_)
        starts[0] = True
        np.not_equal(of[1:], of[:-1], out=starts[1:])
        first = np.flatnonzero(starts)
        last = np.append(first[1:], n) - 1
        rows = of[first]
        before = self._last[rows]  # each page's last request before these
        new = before == 0
        latest = at[last]
        several = last > first
        previous = np.where(several, at[last - several], before)
        again = previous > 0
        self._gaps[rows[again]] = self._logarithm(latest - previous)[again]
        counts = np.minimum(self._counts[rows] + (last - first + 1), _MOST_COUNTED)
        self._counts[rows] = counts
        halves = self.k * _HALF_LIVES
        since = (at - latest[np.cumsum(starts) - 1])[:, None] / halves
        self._recent[rows] *= np.exp2((before - latest)[:, None] / halves)
        self._recent[rows] += np.add.reduceat(np.exp2(since), first, axis=0)
        self._novelties[rows] = self._shares_of_new(order[first[new]], n)[order[last]]
        self._last[rows] = latest
        self._seen[rows] = True
        self._last[NEW], self._novelties[NEW] = self.now, self._novelty

    def label(self, slot: int, bit: int) -> None:
        """What the page's last bit should have been is known now."""
        before = int(self._labels[slot])
        self._labels[slot] = bit * _GRADES if before == _UNKNOWN else round(before + _LABEL * (bit * _GRADES - before))

    def ages(self, slots: Slots) -> Slots:
        """Requests since each page's last one."""
        return self.now - self._last[slots]

    def features(self, slots: Slots) -> Rows:
        """What is known of these pages now, shape (slots, FEATURES)."""
        out = np.empty((len(slots), FEATURES), dtype=np.float32)
        age = self.ages(slots)
        aged = np.maximum(self._logarithm(age), np.float32(-2))
        gap, novelty = self._gaps[slots], self._novelties[slots]
        out[:, 0] = 1
        out[:, 1:3] = _COUNTS[self._counts[slots]]
        out[:, 3:7] = _LABELS[self._labels[slots]]
        out[:, 7] = gap
        out[:, 8] = novelty
        out[:, 9] = aged
        out[:, 10] = novelty * aged
        once = out[:, 1]
        out[:, 11] = once * aged
        out[:, 12] = (1 - once) * (aged - gap)
        out[:, 13:] = np.log2(1 + self._recent[slots] * np.exp2(-age[:, None] / (self.k * _HALF_LIVES))) / 2
        return out

    def _logarithm(self, requests: NDArray[np.int64]) -> Rows:
        return np.asarray(np.log2((1 + requests) / (1 + self.k)) / 3, dtype=np.float32)

    def _shares_of_new(self, new: NDArray[np.int64], n: int) -> NDArray[np.float64]:
        """The share of new pages, fading, after each of `n` requests of which those at `new` are for new pages."""
        fading = _NOVELTY ** np.arange(1, n + 1)
        first = np.zeros(n)
        first[new] = 1 - _NOVELTY
        shares: NDArray[np.float64] = fading * (self._novelty + np.cumsum(first / fading))
        self._novelty = float(shares[-1])
        return shares

    def _make(self, key: Key, in_use: set[int]) -> int:
        if not self._free and len(self._keys) > self.most:
            while self._seen[self._hand] or self._hand in in_use:
                self._seen[self._hand] = False
                self._hand = self._hand % (len(self._keys) - 1) + 1
            self.forget(self._keys[self._hand])
        if self._free:
            slot = self._free.pop()
            self._keys[slot] = key
        else:
            slot = len(self._keys)
            self._keys.append(key)
            if slot == len(self._last):
                self._grow()
        self.slots[key] = slot
        return slot

    def _grow(self) -> None:
        for name in ("_last", "_recent", "_novelties", "_counts", "_seen"):
            array = getattr(self, name)
            setattr(self, name, np.concatenate((array, np.zeros_like(array))))
        self._gaps = np.concatenate((self._gaps, np.full_like(self._gaps, _NO_GAP)))
        self._labels = np.concatenate((self._labels, np.full_like(self._labels, _UNKNOWN)))
