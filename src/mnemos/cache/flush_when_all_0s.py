"""FlushWhenAll0s ("Paging with Succinct Predictions", section 3.1): evict a 1-page; where there is none, everything."""

from __future__ import annotations

from mnemos.cache.base import Key, Meta
from mnemos.cache.bit_policy import BitPolicy


class FlushWhenAll0s(BitPolicy):
    """With discard bits (1, k - 1, 1)-competitive on every sequence of equal pages, deterministic. A tool of theory: never a default, for at
    k = 100 one wrong bit in a hundred costs almost half as many misses again."""

    name = "flush-when-all-0s"

    def _touch(self, key: Key, meta: Meta) -> None:
        self._ask(key, meta)

    def _evict(self) -> Key:
        key = self._first_clean(self._ones or self.pages)
        self._discard(key)
        return key

    def _make_room(self, size: int) -> list[Key]:
        victims = []
        while self.used + size > self.capacity:
            if self._ones:
                victims.append(self._drop())
            else:
                victims += [self._drop() for _ in range(len(self.pages) - len(self._pinned))]
        return victims
