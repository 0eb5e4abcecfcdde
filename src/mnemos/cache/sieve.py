"""SIEVE (Zhang and others, NSDI 2024): one queue and a hand that spares, once, what was asked for since it last came by."""

from __future__ import annotations

from collections import OrderedDict

from mnemos.cache.base import Key, Meta
from mnemos.cache.policy import Policy


class SIEVE(Policy):
    """Simple and good on web traffic; not scan resistant: on some traces worse than LRU. No competitive guarantee.

    The queue, from the oldest page to the newest, is what lies behind the hand and then what lies ahead of it.
    """

    name = "sieve"

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.pages: dict[Key, bool] = {}  # whether it was asked for since the hand came by
        self._ahead: OrderedDict[Key, None] = OrderedDict()
        self._behind: OrderedDict[Key, None] = OrderedDict()

    def _enter(self, key: Key) -> None:
        if not self._ahead:  # the hand is through, and begins again with the oldest
            self._ahead, self._behind = self._behind, self._ahead
        self.pages[key] = False
        self._ahead[key] = None

    def _touch(self, key: Key, meta: Meta) -> None:
        self.pages[key] = True

    def _evict(self) -> Key:
        while True:
            if not self._ahead:
                self._ahead, self._behind = self._behind, self._ahead
            key, _ = self._ahead.popitem(last=False)
            if not self.pages[key]:
                del self.pages[key]
                return key
            self.pages[key] = False
            self._behind[key] = None

    def _discard(self, key: Key) -> None:
        del self.pages[key]
        del (self._ahead if key in self._ahead else self._behind)[key]
