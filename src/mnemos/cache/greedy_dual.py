"""GreedyDual-Size (Cao and Irani, USITS 1997), for pages of different sizes and costs; alone, and under predicted bits."""

from __future__ import annotations

import heapq
import itertools
import random
from typing import cast

from mnemos.cache.base import Key, Meta, Predictor
from mnemos.cache.lru_1bit import LRU1Bit
from mnemos.cache.policy import Policy

_LOOKED_AT = 64
"""1-pages, oldest first, among which the one is sought that is cheapest to lose."""

_UNLIMITED = 2**62


class GreedyDualSize(Policy):
    """Each page has a credit, cost ÷ size more than the last page evicted had, renewed at each request; the page of least credit goes.

    k-competitive, k = capacity ÷ smallest size, and no deterministic policy does better. With equal sizes and costs it is LRU.
    """

    name = "greedy-dual-size"

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.pages: dict[Key, tuple[float, int]] = {}  # (credit, number of the request)
        self._heap: list[tuple[float, int, Key]] = []  # an outdated entry is never later than its page's credit
        self._floor = 0.0
        self._now = 0

    def _enter(self, key: Key) -> None:
        self.pages[key] = (-1.0, 0)
        self._renew(key)
        if len(self._heap) > 2 * len(self.pages) + _LOOKED_AT:  # more than half of it outdated
            self._heap = [(*standing, page) for page, standing in self.pages.items()]
            heapq.heapify(self._heap)

    def _touch(self, key: Key, meta: Meta) -> None:
        self._renew(key)

    def _renew(self, key: Key) -> None:
        self._now += 1
        before = self.pages[key][0]
        credit = self._floor + self._costs.get(key, 1.0) / self.size_of(key)
        self.pages[key] = (credit, self._now)
        if before < 0 or credit < before:  # new, or its cost fell: an entry that comes up early enough is wanted
            heapq.heappush(self._heap, (credit, self._now, key))

    def _evict(self) -> Key:
        key = self.next_victim()
        del self.pages[key]
        heapq.heappop(self._heap)
        return key

    def next_victim(self) -> Key:
        """The page of least credit, which is to go next: its credit becomes the floor."""
        while True:
            credit, number, key = self._heap[0]
            current = self.pages.get(key)
            if current == (credit, number):
                self._floor = credit
                return key
            if current is None:
                heapq.heappop(self._heap)
            else:
                heapq.heapreplace(self._heap, (*current, key))

    def age(self, key: Key) -> int:
        """Requests since the last one for this page, that one counted."""
        return self._now - self.pages[key][1] + 1

    def _discard(self, key: Key) -> None:
        del self.pages[key]

    def _forget(self, key: Key) -> None:
        self._heap = [entry for entry in self._heap if entry[2] != key]
        heapq.heapify(self._heap)


class GreedyDual1Bit(LRU1Bit):
    """LRU1Bit for pages of different sizes and costs: 0-pages go in the order of GreedyDual-Size, 1-pages in increasing cost ÷ size ÷ age.

    With equal sizes and costs it is LRU1Bit. What is proven of policies with bits holds for each class of pages of one size and cost.
    """

    name = "greedy-dual-1bit"

    def __init__(self, capacity: int, predictor: Predictor | None = None, rng: random.Random | None = None) -> None:
        super().__init__(capacity, predictor, rng)
        self._parts["credits"] = GreedyDualSize(_UNLIMITED)

    @property
    def _credits(self) -> GreedyDualSize:
        return cast(GreedyDualSize, self._parts["credits"])

    def _enter(self, key: Key) -> None:
        super()._enter(key)
        self._credits.request(key, Meta(size=self.size_of(key), cost=self._costs.get(key, 1.0)))

    def _touch(self, key: Key, meta: Meta) -> None:
        super()._touch(key, meta)
        self._credits.request(key, meta)

    def _choose(self) -> Key:
        if not self._ones:
            return self._credits.next_victim()
        oldest = [key for key in self._ones if key not in self._dirty][:_LOOKED_AT] if self._dirty else []
        return min(oldest or itertools.islice(self._ones, _LOOKED_AT), key=self._loss)

    def _loss(self, key: Key) -> float:
        return self._costs.get(key, 1.0) / self.size_of(key) / self._credits.age(key)

    def _discard(self, key: Key) -> None:
        super()._discard(key)
        self._credits.drop(key)

    def _forget(self, key: Key) -> None:
        super()._forget(key)
        self._credits.on_remove(key)
