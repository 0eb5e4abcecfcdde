"""Least recently used: the page goes whose last request lies longest back."""

from __future__ import annotations

from collections import OrderedDict

from mnemos.cache.base import Key, Meta
from mnemos.cache.policy import Policy


class LRU(Policy):
    """At most k times the misses of the best offline policy, for k equal pages (Sleator and Tarjan 1985); no deterministic policy does better."""

    name = "lru"

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.pages: OrderedDict[Key, None] = OrderedDict()

    def _enter(self, key: Key) -> None:
        self.pages[key] = None

    def _touch(self, key: Key, meta: Meta) -> None:
        self.pages.move_to_end(key)

    def _evict(self) -> Key:
        return self.pages.popitem(last=False)[0]

    def _discard(self, key: Key) -> None:
        del self.pages[key]
