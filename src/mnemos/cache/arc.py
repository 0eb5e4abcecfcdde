"""Adaptive replacement cache (Megiddo and Modha, FAST 2003): recency against frequency, weighed by hits among pages just evicted."""

from __future__ import annotations

from collections import OrderedDict

from mnemos.cache.base import Key, Meta
from mnemos.cache.policy import Policy


class ARC(Policy):
    """Pages asked for once (`recent`) and more often (`frequent`), each with a list of ghosts: keys evicted from it, with their sizes.

    A request for a ghost moves the target size of `recent` towards the list that it was evicted from. No competitive guarantee below LRU's.
    """

    name = "arc"

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.pages: dict[Key, bool] = {}  # whether it is among the frequent
        self._recent: OrderedDict[Key, None] = OrderedDict()
        self._frequent: OrderedDict[Key, None] = OrderedDict()
        self._ghosts: dict[bool, OrderedDict[Key, int]] = {False: OrderedDict(), True: OrderedDict()}
        self._weight: dict[bool, int] = {False: 0, True: 0}  # of the ghosts
        self._recent_size = 0
        self._target = 0.0
        self._returning = False  # the page being loaded is a ghost of the frequent

    def _miss(self, key: Key, meta: Meta) -> None:
        self._returning = key in self._ghosts[True]
        if not self._returning and key not in self._ghosts[False]:
            return
        mine, other = self._weight[self._returning], self._weight[not self._returning]
        step = max(1.0, other / mine) * meta.size
        self._target = max(0.0, self._target - step) if self._returning else min(float(self.capacity), self._target + step)

    def _enter(self, key: Key) -> None:
        if key in self._ghosts[True] or key in self._ghosts[False]:
            self._unghost(key)
            self._frequent[key] = None
            self.pages[key] = True
        else:
            self._recent[key] = None
            self.pages[key] = False
            self._recent_size += self.size_of(key)
        while self._recent_size + self._weight[False] > self.capacity and self._ghosts[False]:
            self._trim(False)
        while self.used + self._weight[False] + self._weight[True] > 2 * self.capacity and self._ghosts[True]:
            self._trim(True)
        self._returning = False

    def _touch(self, key: Key, meta: Meta) -> None:
        if self.pages[key]:
            self._frequent.move_to_end(key)
        else:
            del self._recent[key]
            self._recent_size -= self.size_of(key)
            self._frequent[key] = None
            self.pages[key] = True

    def _evict(self) -> Key:
        over = self._recent_size > self._target or (self._returning and self._recent_size == int(self._target))
        frequent = not ((self._recent and over) or not self._frequent)
        key = next(iter(self._frequent if frequent else self._recent))
        size = self.size_of(key)
        self._discard(key)
        self._ghosts[frequent][key] = size
        self._weight[frequent] += size
        return key

    def _discard(self, key: Key) -> None:
        if self.pages.pop(key):
            del self._frequent[key]
        else:
            del self._recent[key]
            self._recent_size -= self.size_of(key)

    def _forget(self, key: Key) -> None:
        self._unghost(key)

    def _unghost(self, key: Key) -> None:
        for frequent, ghosts in self._ghosts.items():
            if key in ghosts:
                self._weight[frequent] -= ghosts.pop(key)

    def _trim(self, frequent: bool) -> None:
        self._weight[frequent] -= self._ghosts[frequent].popitem(last=False)[1]
