"""Marker (Fiat and others 1991): a uniformly random page goes of those not asked for in this phase."""

from __future__ import annotations

import random

from mnemos.cache.base import Key, Meta
from mnemos.cache.policy import Policy
from mnemos.cache.random_set import RandomSet


class Marker(Policy):
    """In expectation at most 2 H_k times the misses of the best offline policy, H_k = 1 + 1/2 + … + 1/k, for a cache of k equal pages.

    A phase ends when room is needed and every page has been asked for in it.
    """

    name = "marker"

    def __init__(self, capacity: int, rng: random.Random | None = None) -> None:
        super().__init__(capacity)
        self._rng = rng or random.Random(0)
        self._unmarked = RandomSet()

    def _enter(self, key: Key) -> None:
        self.pages[key] = None

    def _touch(self, key: Key, meta: Meta) -> None:
        self._unmarked.discard(key)

    def _evict(self) -> Key:
        if not self._unmarked:
            self._unmarked.extend(self.pages)
        key = self._unmarked.choice(self._rng)
        self._discard(key)
        return key

    def _discard(self, key: Key) -> None:
        del self.pages[key]
        self._unmarked.discard(key)
