"""Belady's rule, the best that any policy can do with pages of one size: the page goes whose next request lies farthest ahead."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from mnemos.base.errors import Invalid, shown
from mnemos.cache.base import Key, Meta
from mnemos.cache.policy import Policy


def next_requests(requests: Sequence[Key]) -> list[int]:
    """For each request the number of the next one for the same page. Of pages not asked for again the one asked for first counts as farthest."""
    following: dict[Key, int] = {}
    ahead = [0] * len(requests)
    for number in range(len(requests) - 1, -1, -1):
        ahead[number] = following.get(requests[number], 2 * len(requests) - number)
        following[requests[number]] = number
    return ahead


class Belady(Policy):
    """Offline: `future` is the whole sequence of requests that will come. The minimum of misses where all sizes are equal (Belady 1966).

    Every request loads its page: caches that may refuse a page have another optimum.
    """

    name = "belady"
    _apart = frozenset({"_future", "_next"})

    def __init__(self, capacity: int, future: Sequence[Key]) -> None:
        super().__init__(capacity)
        self._future = future
        self._next = next_requests(future)
        self._now = 0
        self._last: dict[Key, int] = {}  # number of the last request for it
        self.pages: dict[Key, int] = {}  # when it is asked for next
        self._farthest: list[tuple[int, int]] = []  # (minus the next request, the one before it); outdated entries are skipped

    def _miss(self, key: Key, meta: Meta) -> None:
        self._look_ahead(key)

    def _enter(self, key: Key) -> None:
        last = self._last[key]
        self.pages[key] = self._next[last]
        heapq.heappush(self._farthest, (-self._next[last], last))

    def _touch(self, key: Key, meta: Meta) -> None:
        self._look_ahead(key)
        self._enter(key)

    def _look_ahead(self, key: Key) -> None:
        if self._now >= len(self._future) or self._future[self._now] != key:
            raise Invalid(f"belady: request {self._now} is for {shown(key)}, which is not what the given future says")
        self._last[key] = self._now
        self._now += 1

    def _evict(self) -> Key:
        while True:
            ahead, number = heapq.heappop(self._farthest)
            key = self._future[number]
            if self.pages.get(key) == -ahead:
                del self.pages[key]
                return key

    def _discard(self, key: Key) -> None:
        del self.pages[key]
