"""Policies by name."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from mnemos.base.errors import NotFound
from mnemos.cache.arc import ARC
from mnemos.cache.auto import Auto
from mnemos.cache.flush_when_all_0s import FlushWhenAll0s
from mnemos.cache.greedy_dual import GreedyDual1Bit, GreedyDualSize
from mnemos.cache.guard import Guard
from mnemos.cache.learned import LearnedBit
from mnemos.cache.lfu import LFU
from mnemos.cache.lrfu import LRFU
from mnemos.cache.lru import LRU
from mnemos.cache.lru_1bit import LRU1Bit
from mnemos.cache.mark_0 import Mark0
from mnemos.cache.mark_and_predict import MarkAndPredict
from mnemos.cache.marker import Marker
from mnemos.cache.policy import Policy
from mnemos.cache.s3fifo import S3FIFO
from mnemos.cache.sieve import SIEVE
from mnemos.cache.switching import Hedge, Switching


def _learnt(policy: Callable[..., Policy]) -> Callable[..., Policy]:
    """The policy with bits that it learns, where it is given no other predictor."""

    def make(capacity: int, **options: Any) -> Policy:
        return policy(capacity, **{"predictor": LearnedBit(capacity, rng=random.Random(0)), **options})

    return make


def _robust(rule: Callable[..., Policy]) -> Callable[..., Policy]:
    """Learnt bits beside S3-FIFO, by the rule."""

    def make(capacity: int, **options: Any) -> Policy:
        return rule([S3FIFO(capacity), LRU1Bit(capacity, LearnedBit(capacity, rng=random.Random(0)))], **options)

    return make


POLICIES: dict[str, Callable[..., Policy]] = {
    "auto": Auto,
    "lru": LRU,
    "lfu": LFU,
    "lrfu": LRFU,
    "arc": ARC,
    "s3-fifo": S3FIFO,
    "sieve": SIEVE,
    "marker": Marker,
    "greedy-dual-size": GreedyDualSize,
    "flush-when-all-0s": _learnt(FlushWhenAll0s),
    "mark0": _learnt(Mark0),
    "mark-and-predict": _learnt(MarkAndPredict),
    "lru-1bit": _learnt(LRU1Bit),
    "greedy-dual-1bit": _learnt(GreedyDual1Bit),
    "guard": _learnt(Guard),
    "switching": _robust(Switching),
    "hedge": _robust(Hedge),
}
"""What makes each policy of a capacity. `belady` is not among them: it needs to know the requests that will come."""


def policy(name: str, capacity: int, **options: Any) -> Policy:
    """A new policy; `options` are those of its class. Raises `NotFound` for an unknown name, listing the names, and `Invalid` for a capacity."""
    if name not in POLICIES:
        raise NotFound(f"no eviction policy is named {name!r}; there are {', '.join(POLICIES)}")
    return POLICIES[name](capacity, **options)
