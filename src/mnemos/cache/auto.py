"""The default policy of every hot set: of S3-FIFO, two LRFUs and learnt bits, run as shadows, the one with the fewest recent misses is followed."""

from __future__ import annotations

import random

from mnemos.cache.greedy_dual import GreedyDual1Bit
from mnemos.cache.learned import LearnedBit, Learning
from mnemos.cache.lrfu import LRFU
from mnemos.cache.lru_1bit import LRU1Bit
from mnemos.cache.s3fifo import S3FIFO
from mnemos.cache.switching import Tracking

_HALF_LIVES = (2.0, 16.0)
"""Of the two LRFUs: one near LRU, which it replaces, and one near LFU that remembers."""


class Auto(Tracking):
    """`sized`: pages differ in size or cost, and the learning expert weighs them. `seed` draws its samples.

    Misses at most those of the leading experts while they led, and k more for the start and each change of the lead. It starts with S3-FIFO.
    """

    name = "auto"

    def __init__(self, capacity: int, sized: bool = False, learning: Learning | None = None, seed: int = 0) -> None:
        learned = LearnedBit(capacity, learning, random.Random(seed))
        predicting = (GreedyDual1Bit if sized else LRU1Bit)(capacity, learned, random.Random(seed + 1))
        super().__init__([S3FIFO(capacity), *(LRFU(capacity, half_life) for half_life in _HALF_LIVES), predicting])
