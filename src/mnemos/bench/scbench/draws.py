"""Random draws that are the same on every platform and with every version of Python and NumPy.

NumPy keeps the stream of its bit generators stable (NEP 19), but not that of `Generator`; Python keeps `random.random()` only. So everything here
is made from the raw 64-bit words of PCG64.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from mnemos.base.errors import Invalid

T = TypeVar("T")
_BLOCK = 1024
_ALPHANUMERIC = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class Draws:
    """A stream of draws named by `key`: equal keys give equal streams."""

    def __init__(self, *key: str | int) -> None:
        digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
        self._bits = np.random.PCG64(int.from_bytes(digest, "little"))
        self._words: list[int] = []

    def word(self) -> int:
        """64 random bits."""
        if not self._words:
            self._words = self._bits.random_raw(_BLOCK).tolist()
        return self._words.pop()

    def below(self, n: int) -> int:
        """A whole number from 0 to n - 1; its bias is below n / 2^64. Raises `Invalid` for n below 1."""
        if n < 1:
            raise Invalid(f"draws: there is no number from 0 to {n - 1}")
        return self.word() % n

    def between(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + self.below(high - low + 1)

    def chance(self, percent: int) -> bool:
        """True with `percent` in a hundred."""
        return self.below(100) < percent

    def choice(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """All items in a random order (Fisher and Yates)."""
        out = list(items)
        for i in range(len(out) - 1, 0, -1):
            j = self.below(i + 1)
            out[i], out[j] = out[j], out[i]
        return out

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        """`k` different items in a random order. Raises `Invalid` where there are fewer."""
        if k > len(items):
            raise Invalid(f"draws: {k} of {len(items)} items cannot be different")
        if 3 * k > len(items):
            return self.shuffled(items)[:k]
        chosen: dict[int, None] = {}
        while len(chosen) < k:
            chosen[self.below(len(items))] = None
        return [items[i] for i in chosen]

    def text(self, length: int, alphabet: str = _ALPHANUMERIC) -> str:
        """`length` random characters."""
        return "".join(alphabet[self.word() % len(alphabet)] for _ in range(length))

    def identifier(self) -> str:
        """36 characters in the form of a UUID."""
        digits = f"{self.word():016x}{self.word():016x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def strata(self, slots: int, n: int) -> list[int]:
        """`n` places among `slots`, one in each of n equal parts of them, the parts in a random order: depths that are stratified.

        Where there are fewer slots than places, some are the same.
        """
        out = []
        for part in self.shuffled(range(n)):
            low, high = part * slots // n, (part + 1) * slots // n
            out.append(low + self.below(max(1, high - low)) if low < slots else slots - 1)
        return out
