"""LRFU (Lee and others, IEEE Transactions on Computers 2001): recency and frequency in one number, the sum of a page's requests, each fading."""

from __future__ import annotations

import heapq
from collections import OrderedDict

from mnemos.base.errors import Invalid
from mnemos.cache.base import Key, Meta
from mnemos.cache.policy import Policy

_LARGE = 1e100
_FEW = 64


class LRFU(Policy):
    """A request counts half after `half_life` times as many requests as the cache holds pages; near 0 this is LRU, and LFU without end.

    Counts of the pages that left last are kept, half as many times the pages held as `half_life` says and at least twice as many, so that a page
    that comes back goes on where it was. The page goes whose count, times its cost, over its size, is least. No competitive guarantee.
    """

    name = "lrfu"

    def __init__(self, capacity: int, half_life: float = 2.0) -> None:
        super().__init__(capacity)
        if not half_life > 0:
            raise Invalid(f"LRFU: half_life is {half_life}; it has to be above 0, in capacities of requests")
        self.half_life = half_life
        self.pages: dict[Key, float] = {}  # counts, in units of 1 / _weight
        self._left_counts: OrderedDict[Key, float] = OrderedDict()
        self._heap: list[tuple[float, int, Key]] = []  # (value, number of the entry, page); one that is outdated comes up too early
        self._weight = 1.0  # of a request now
        self._pushed = 0
        self._fitted = 0.0  # pages held when full, for which the next two are right
        self._growth = 1.0  # of the weight from one request to the next
        self._most_left = 0  # counts kept of pages that left

    def _miss(self, key: Key, meta: Meta) -> None:
        if self._sizes or self._fitted != self.capacity:
            self._fit(self.expected_pages())
        self._fade()

    def _admit(self, key: Key, meta: Meta) -> None:
        self.pages[key] = self._left_counts.pop(key, 0.0) + self._weight
        self._push(key)

    def _enter(self, key: Key) -> None:
        self.pages[key] = self._left_counts.pop(key, self._weight)
        self._push(key)

    def _touch(self, key: Key, meta: Meta) -> None:
        self._fade()
        self.pages[key] += self._weight
        if self._costs:  # a cost may have fallen, and then the page's entry would come up too late
            self._push(key)

    def _evict(self) -> Key:
        heap, pages = self._heap, self.pages
        plain = not (self._sizes or self._costs)
        while True:
            value, _, key = heap[0]
            if key not in pages:
                heapq.heappop(heap)
            elif (pages[key] if plain else self._value(key)) > value:
                heapq.heapreplace(heap, self._entry(key))
            else:
                break
        heapq.heappop(heap)
        self._discard(key)
        return key

    def _discard(self, key: Key) -> None:
        self._left_counts[key] = self.pages.pop(key)
        while len(self._left_counts) > self._most_left:
            self._left_counts.popitem(last=False)

    def _forget(self, key: Key) -> None:
        self._left_counts.pop(key, None)
        self._heap = [entry for entry in self._heap if entry[2] != key]
        heapq.heapify(self._heap)

    def _value(self, key: Key) -> float:
        if not (self._sizes or self._costs):
            return self.pages[key]
        return self.pages[key] * self._costs.get(key, 1.0) / self.size_of(key)

    def _entry(self, key: Key) -> tuple[float, int, Key]:
        self._pushed += 1
        return (self._value(key), self._pushed, key)

    def _push(self, key: Key) -> None:
        heapq.heappush(self._heap, self._entry(key))
        if len(self._heap) > 2 * len(self.pages) + _FEW:  # more than half of it outdated
            self._sort()

    def _sort(self) -> None:
        self._heap = [self._entry(page) for page in self.pages]
        heapq.heapify(self._heap)

    def _fit(self, pages: float) -> None:
        self._fitted = pages
        self._growth = 2 ** (1 / (self.half_life * pages))
        self._most_left = int(max(2.0, self.half_life / 2) * pages)

    def _fade(self) -> None:
        self._weight *= self._growth
        if self._weight > _LARGE:
            self.pages = {key: count / self._weight for key, count in self.pages.items()}
            self._left_counts = OrderedDict((key, count / self._weight) for key, count in self._left_counts.items())
            self._weight = 1.0
            self._sort()
