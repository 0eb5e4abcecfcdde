"""Mark&Predict ("Paging with Succinct Predictions", section 4): marking that evicts, of the unmarked pages, those with bit 1 first."""

from __future__ import annotations

import random

from mnemos.cache.base import Key, Meta, Predictor
from mnemos.cache.bit_policy import BitPolicy
from mnemos.cache.random_set import RandomSet


class MarkAndPredict(BitPolicy):
    """With phase bits (2, H_k, 1)-competitive in expectation, for k equal pages. Phase bits depend on k: a change of the capacity outdates them."""

    name = "mark-and-predict"

    def __init__(self, capacity: int, predictor: Predictor | None = None, rng: random.Random | None = None) -> None:
        super().__init__(capacity, predictor)
        self._rng = rng or random.Random(0)
        self._unmarked = {0: RandomSet(), 1: RandomSet()}  # by bit; a page is marked when it is asked for

    def _touch(self, key: Key, meta: Meta) -> None:
        self._mark(key)
        self._ask(key, meta)

    def hint(self, key: Key, bit: int) -> None:
        super().hint(key, bit)
        if key in self._unmarked[1 - bit]:
            self._mark(key)
            self._unmarked[bit].add(key)

    def _evict(self) -> Key:
        if not self._unmarked[0] and not self._unmarked[1]:
            for key in self.pages:
                self._unmarked[key in self._ones].add(key)
        key = (self._unmarked[1] or self._unmarked[0]).choice(self._rng)
        self._discard(key)
        return key

    def _discard(self, key: Key) -> None:
        super()._discard(key)
        self._mark(key)

    def _mark(self, key: Key) -> None:
        self._unmarked[0].discard(key)
        self._unmarked[1].discard(key)
