"""What all tests may import: a clock that only the test moves, and a small embedder."""

from __future__ import annotations

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
