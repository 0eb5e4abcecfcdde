"""Least frequently used: the page goes that was asked for least often since it came in; among equals, least recently."""

from __future__ import annotations

from collections import OrderedDict

from mnemos.cache.base import Key, Meta
from mnemos.cache.policy import Policy


class LFU(Policy):
    """Counts begin anew when a page comes back. No guarantee: pages that were popular once stay (a drift is its worst case)."""

    name = "lfu"

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.pages: dict[Key, int] = {}
        self._counted: dict[int, OrderedDict[Key, None]] = {}  # by number of requests, each in order of the last one
        self._least = 1

    def _enter(self, key: Key) -> None:
        self._count(key, 1)
        self._least = 1

    def _touch(self, key: Key, meta: Meta) -> None:
        count = self.pages[key]
        self._leave(key)
        self._count(key, count + 1)
        if self._least == count and count not in self._counted:
            self._least = count + 1

    def _evict(self) -> Key:
        while self._least not in self._counted:  # where the last page of the least count was removed
            self._least = min(self._counted)
        key = next(iter(self._counted[self._least]))
        self._leave(key)
        return key

    def _discard(self, key: Key) -> None:
        self._leave(key)

    def _count(self, key: Key, count: int) -> None:
        self.pages[key] = count
        self._counted.setdefault(count, OrderedDict())[key] = None

    def _leave(self, key: Key) -> None:
        count = self.pages.pop(key)
        of_count = self._counted[count]
        del of_count[key]
        if not of_count:
            del self._counted[count]
