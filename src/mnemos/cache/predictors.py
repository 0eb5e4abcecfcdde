"""Predictors that do not learn: bits that callers give with a request, and bits that are known beforehand."""

from __future__ import annotations

from collections.abc import Sequence

from mnemos.base.errors import Invalid
from mnemos.cache.base import UNIT, Key, Meta


class Given:
    """The bit that the caller gives with the request (`Meta.bit`), 0 where it gives none."""

    def observe(self, key: Key, meta: Meta = UNIT) -> None:
        """Nothing is learnt."""

    def bit(self, key: Key, meta: Meta = UNIT) -> float:
        return meta.bit or 0

    def forget(self, key: Key) -> None:
        """Nothing is remembered."""


class Recorded:
    """The i-th bit is that of the i-th request: true bits, noisy ones, or those of a decision log."""

    def __init__(self, bits: Sequence[int]) -> None:
        self._bits = [int(bit) for bit in bits]
        self._now = -1

    def observe(self, key: Key, meta: Meta = UNIT) -> None:
        self._now += 1

    def bit(self, key: Key, meta: Meta = UNIT) -> float:
        if self._now >= len(self._bits):
            raise Invalid(f"recorded bits: there are {len(self._bits)}, and this is request {self._now + 1}; give one for each request")
        return self._bits[self._now]

    def forget(self, key: Key) -> None:
        """Bits are kept by request, not by page."""
