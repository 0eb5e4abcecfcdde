"""What the default policy costs: processor time of a hit and of a miss, and bytes of an entry."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mnemos.bench.result import Check
from mnemos.cache.auto import Auto
from mnemos.cache.learned import LearnedBit
from mnemos.cache.lru_1bit import LRU1Bit

Table = dict[str, dict[str, Any]]
HIT_US, MISS_US, ENTRY_BYTES = 3.0, 15.0, 64.0
CAPACITIES = (100, 1000, 10_000)
CHECKED = 1000
"""The capacity whose times are checked; the others stand beside it. Below it, what a cache takes however small it is outweighs its entries."""


def measure(rng: np.random.Generator, requests: int) -> tuple[list[Check], Table]:
    """After requests by Zipf's law with exponent 0.9 over twenty times as many pages as the cache holds."""
    table: Table = {}
    for k in CAPACITIES:
        weights = 1 / np.arange(1, 20 * k + 1) ** 0.9
        keys = rng.choice(20 * k, 2 * requests, p=weights / weights.sum()).tolist()
        table[f"{k:,} pages"] = {**_times(k, keys), **_bytes(k, keys)}
    checked = table[f"{CHECKED:,} pages"]
    large = [table[f"{k:,} pages"]["entry bytes"] for k in CAPACITIES if k >= CHECKED]
    return [
        Check(f"a hit, µs of processor time, {CHECKED:,} pages, learning apart", checked["hit µs"], HIT_US, at_least=False, n=requests),
        Check(f"a miss, µs of processor time, {CHECKED:,} pages, learning apart", checked["miss µs"], MISS_US, at_least=False, n=requests),
        Check(f"bytes of an entry, shadows and history apart, from {CHECKED:,} pages on", max(large), ENTRY_BYTES, at_least=False, n=len(large)),
    ], table


def _times(k: int, keys: Sequence[int]) -> dict[str, float]:
    """Mean microseconds of this thread's processor time: of a hit in the cache and all shadows, of a miss in all, without learning, which is done in
    batches; and of a request of the mixture, with everything."""
    auto = Auto(k)
    learning = _Timed(auto)
    half = len(keys) // 2
    for key in keys[:half]:
        auto.request(key)
    whole = _spent(auto, keys[half:])
    misses = sum(auto.request(key) is not None for key in keys[half:])
    held = [key for key in keys[half:] if key in auto and all(key in expert for expert in auto.experts)]
    learning.nanoseconds = 0
    hits = _spent(auto, held) - learning.nanoseconds
    new = range(-half, 0)
    learning.nanoseconds = 0
    missed = _spent(auto, new) - learning.nanoseconds
    return {"hit µs": hits / len(held) / 1000, "miss µs": missed / len(new) / 1000, "all, µs a request": whole / half / 1000,
            "miss ratio": misses / half}


def _spent(auto: Auto, keys: Iterable[int]) -> int:
    start = time.thread_time_ns()
    for key in keys:
        auto.request(key)
    return time.thread_time_ns() - start


class _Timed:
    """Counts the time that the learner of a default policy spends on its batches."""

    def __init__(self, auto: Auto) -> None:
        self.nanoseconds = 0
        predicting = next(expert for expert in auto.experts if isinstance(expert, LRU1Bit))
        assert isinstance(predicting.predictor, LearnedBit)
        settle = predicting.predictor.settle

        def timed() -> None:
            start = time.thread_time_ns()
            settle()
            self.nanoseconds += time.thread_time_ns() - start

        predicting.predictor.settle = timed  # type: ignore[method-assign]


def _bytes(k: int, keys: Sequence[int]) -> dict[str, float]:
    """Bytes for each page held: of the cache's own tables, and of everything, shadows, ghosts and history; the keys themselves not counted."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        auto = Auto(k)
        for key in keys:
            auto.request(key)
        everything = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    return {"entry bytes": auto.table_bytes() / len(auto), "with shadows and history, bytes": everything / len(auto)}
