"""Mark0 ("Paging with Succinct Predictions", section 3.2): evict a 1-page; where there is none, a random page not asked for in this phase."""

from __future__ import annotations

import random

from mnemos.cache.base import Key, Meta, Predictor
from mnemos.cache.bit_policy import BitPolicy
from mnemos.cache.random_set import RandomSet


class Mark0(BitPolicy):
    """With discard bits (1, 2 H_k, 1)-competitive in expectation, for k equal pages.

    A phase starts when all pages are 0-pages and all were asked for in the last one. The paper evicts a 1-page right after it was served; here it
    stays until its room is needed, which is never worse.
    """

    name = "mark0"

    def __init__(self, capacity: int, predictor: Predictor | None = None, rng: random.Random | None = None) -> None:
        super().__init__(capacity, predictor)
        self._rng = rng or random.Random(0)
        self._unmarked = RandomSet()

    def _touch(self, key: Key, meta: Meta) -> None:
        self._unmarked.discard(key)
        self._ask(key, meta)

    def _evict(self) -> Key:
        if self._ones:
            key = self._first_clean(self._ones)
        else:
            if not self._unmarked:
                self._unmarked.extend(self.pages)
            key = self._unmarked.choice(self._rng)
        self._discard(key)
        return key

    def _discard(self, key: Key) -> None:
        super()._discard(key)
        self._unmarked.discard(key)
