"""LRU with one predicted bit: 1-pages go first, and among 0-pages the least recently used one. The predicting part of the default."""

from __future__ import annotations

import random
from collections import OrderedDict
from typing import Self

from mnemos.cache.base import Key, Meta, Predictor, Rescorer
from mnemos.cache.bit_policy import BitPolicy
from mnemos.cache.random_set import RandomSet

_CANDIDATES = 512  # pages scored again under pressure
_FLIPPED, _SHARE = 64, 16  # so many of them become 1-pages at most, and at most one in so many of all pages


class LRU1Bit(BitPolicy):
    """Mark0 with "least recently used" in place of "random": no bound by H_k, but fewer misses in practice; keep it under a robust wrapper.

    With a predictor that can be asked again (`Rescorer`) bits are made when room is needed and no 1-page is left: random pages are scored as they
    stand now, and those that score highest become 1-pages. So a 0-page that outlived its expected reuse flips to 1. The bit that comes with a
    request is then only what the caller gave.
    """

    name = "lru-1bit"
    _apart = frozenset({"predictor", "_rescorer"})

    def __init__(self, capacity: int, predictor: Predictor | None = None, rng: random.Random | None = None) -> None:
        super().__init__(capacity, predictor)
        self.pages: OrderedDict[Key, None] = OrderedDict()
        self._rng = rng or random.Random(0)
        self._rescorer: Rescorer | None = self.predictor if isinstance(self.predictor, Rescorer) else None
        self._drawn = RandomSet()  # the pages, to draw from; empty where nothing is scored again

    def _enter(self, key: Key) -> None:
        self.pages[key] = None
        if self._rescorer is not None:
            self._drawn.add(key)

    def _touch(self, key: Key, meta: Meta) -> None:
        self.pages.move_to_end(key)
        self._ask(key, meta)

    def _ask(self, key: Key, meta: Meta) -> None:
        if self._rescorer is None:
            super()._ask(key, meta)
            return
        self._rescorer.observe(key, meta)
        if key in self._ones or meta.bit:
            self._set(key, bool(meta.bit))

    def _evict(self) -> Key:
        if not self._ones and self._rescorer is not None and self._rescorer.trusted:
            self._flip(self._rescorer)
        key = self._choose()
        self._discard(key)
        return key

    def _choose(self) -> Key:
        return self._first_clean(self._ones or self.pages) if self._dirty else next(iter(self._ones or self.pages))

    def _flip(self, rescorer: Rescorer) -> None:
        candidates = self._drawn.draw(_CANDIDATES, self._rng)
        scores = rescorer.scores(candidates, len(self.pages))
        most = max(1, min(_FLIPPED, len(self.pages) // _SHARE))
        self._ones.update((candidates[place], None) for place in (-scores).argsort(kind="stable")[:most].tolist())

    def _discard(self, key: Key) -> None:
        super()._discard(key)
        if self._rescorer is not None:
            self._drawn.discard(key)

    def _twin(self) -> Self:
        twin = super()._twin()
        twin._rescorer = None  # looking ahead must not teach the predictor anything
        return twin
