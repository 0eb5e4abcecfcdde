"""Guard (NeurIPS 2025, arXiv 2507.16242): trusts the bits until a page comes back that they cost, and then evicts at random for once."""

from __future__ import annotations

import random
from collections import OrderedDict

from mnemos.cache.base import Key, Meta, Predictor
from mnemos.cache.bit_policy import BitPolicy
from mnemos.cache.random_set import RandomSet


class Guard(BitPolicy):
    """1-pages first, then the least recently used 0-page, with a constant amount of work more than that for each request.

    For k equal pages: with true bits as many misses as the optimum, with any bits at most 2 H_(k-1) + 2 times as many, in expectation. A phase
    ends when all pages have been asked for that were held at its start. A page that was evicted in a phase and comes back in it is the proof of
    a bad bit: a random page of those not yet asked for makes room for it, and for the rest of the phase it is safe from bits.
    """

    name = "guard"

    def __init__(self, capacity: int, predictor: Predictor | None = None, rng: random.Random | None = None) -> None:
        super().__init__(capacity, predictor)
        self._rng = rng or random.Random(0)
        self._order: OrderedDict[Key, None] = OrderedDict()  # the pages that are not guarded, least recently used first
        self._guarded: OrderedDict[Key, bool] = OrderedDict()  # with their bits; safe until the phase ends
        self._old = RandomSet()  # held since the phase began and not asked for in it
        self._evicted: set[Key] = set()  # in this phase
        self._proven = False  # the page being loaded was evicted in this phase

    def _miss(self, key: Key, meta: Meta) -> None:
        super()._miss(key, meta)
        self._proven = key in self._evicted

    def _enter(self, key: Key) -> None:
        self.pages[key] = None
        self._proven = False
        if key in self._evicted:  # and the phase is still the same
            self._guarded[key] = False
        else:
            self._order[key] = None

    def _touch(self, key: Key, meta: Meta) -> None:
        self._old.discard(key)
        (self._guarded if key in self._guarded else self._order).move_to_end(key)
        self._ask(key, meta)

    def bit_of(self, key: Key) -> int:
        return int(self._guarded.get(key, False) or super().bit_of(key))

    def _set(self, key: Key, bit: bool) -> None:
        if key in self._guarded:
            self._guarded[key] = bit
        else:
            super()._set(key, bit)

    def _evict(self) -> Key:
        if not self._old:
            self._start_phase()
        key = self._old.choice(self._rng) if self._proven else self._first_clean(self._ones or self._order)
        self._discard(key)
        self._evicted.add(key)
        return key

    def _start_phase(self) -> None:
        for key, bit in self._guarded.items():
            self._order[key] = None
            super()._set(key, bit)
        self._guarded.clear()
        self._evicted.clear()
        self._proven = False
        self._old.extend(self.pages)

    def _discard(self, key: Key) -> None:
        super()._discard(key)
        self._order.pop(key, None)
        self._guarded.pop(key, None)
        self._old.discard(key)

    def _forget(self, key: Key) -> None:
        super()._forget(key)
        self._evicted.discard(key)
