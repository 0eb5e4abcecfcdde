"""Lists that are asked for often, held whole in memory beside the disk."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, MutableMapping

from mnemos.base.errors import StoreFull


class ListCache:
    """What a mapping that evicts holds of the lists of one index: their entries, by list number.

    `held` is safe for threads and counts a reading of an item as a request, as `mnemos.cache.mapping.EvictingCache` does. Nothing that it gives is
    trusted: an item counts only where it is what the directory of the lists says.
    """

    def __init__(self, held: MutableMapping[int, bytes]) -> None:
        self._held = held
        # A policy may keep what it knows of a list whose entries change, where the mapping tells that from a list that is gone.
        self._invalidate: Callable[[int], object] = getattr(held, "invalidate", self.drop)

    def get(self, number: int, length: int, check: int) -> bytes | None:
        """The entries of a list, of so many bytes and with that checksum; None where these are not held."""
        piece = self._held.get(number)
        if piece is None or (len(piece) == length and zlib.crc32(piece) == check):
            return piece
        self.invalidate(number)
        return None

    def put(self, number: int, piece: bytes) -> None:
        """Hold entries that were read. Where they find no room, they are not held: that is no error."""
        with contextlib.suppress(ValueError, StoreFull):  # too large for the whole cache; or for what of it is not pinned
            self._held[number] = piece

    def invalidate(self, number: int) -> None:
        """The list has other entries now."""
        self._invalidate(number)

    def drop(self, number: int) -> None:
        """There is no such list any more."""
        with contextlib.suppress(KeyError):
            del self._held[number]
