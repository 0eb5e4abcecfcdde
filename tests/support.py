"""What all tests may import: a clock that only the test moves, a small embedder, and how work grows with its size."""

from __future__ import annotations

import time
from collections.abc import Callable

from mnemos.models.hashed import HashedEmbedder

START = 1_700_000_000_000_000
EMBEDDER = HashedEmbedder(dimensions=32)


class HandClock:
    """A clock that moves one millisecond at each reading, and otherwise as the test says."""

    def __init__(self, now: int = START) -> None:
        self.now = now

    def __call__(self) -> int:
        self.now += 1000
        return self.now


def growth(work: Callable[[int], object], size: int, factor: int = 8, rounds: int = 4) -> float:
    """How many times the processor time of `work(size)` is needed for `work(factor * size)`: `factor` where time is linear, its square where
    it is quadratic. The least of each over some rounds, so that what else the machine does hardly matters."""

    def seconds(size: int) -> float:
        start = time.thread_time()
        work(size)
        return time.thread_time() - start

    pairs = [(seconds(size), seconds(factor * size)) for _ in range(rounds)]
    return min(large for _, large in pairs) / min(small for small, _ in pairs)
