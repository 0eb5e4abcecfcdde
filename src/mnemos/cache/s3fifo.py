"""S3-FIFO (Yang and others, SOSP 2023): three FIFO queues; pages not asked for again soon leave through the small one."""

from __future__ import annotations

from collections import OrderedDict

from mnemos.base.errors import Invalid
from mnemos.cache.base import Key, Meta
from mnemos.cache.policy import Policy

_MOST = 3  # requests that are counted, of the two bits of the paper


class S3FIFO(Policy):
    """`small_share` of the capacity is for new pages, the rest for pages asked for more than once, or again after they left; paper: 0.1.

    The ghosts are as many as the main queue holds. No competitive guarantee; the best of the classical policies on most traces here.
    """

    name = "s3-fifo"

    def __init__(self, capacity: int, small_share: float = 0.1) -> None:
        super().__init__(capacity)
        if not 0 < small_share < 1:
            raise Invalid(f"S3-FIFO: small_share is {small_share}; it lies between 0 and 1")
        self.small_share = small_share
        self.pages: dict[Key, int] = {}  # requests since it came in or was last looked at, at most 3
        self._small: OrderedDict[Key, None] = OrderedDict()
        self._main: OrderedDict[Key, None] = OrderedDict()
        self._ghosts: OrderedDict[Key, int] = OrderedDict()
        self._small_size = 0
        self._ghost_size = 0

    def _enter(self, key: Key) -> None:
        self.pages[key] = 0
        if key in self._ghosts:
            self._forget(key)
            self._main[key] = None
        else:
            self._small[key] = None
            self._small_size += self.size_of(key)

    def _touch(self, key: Key, meta: Meta) -> None:
        count = self.pages[key]
        if count < _MOST:
            self.pages[key] = count + 1

    def _evict(self) -> Key:
        small_target = max(1, int(self.capacity * self.small_share))
        while True:
            if self._small and (self._small_size >= small_target or not self._main):
                key, _ = self._small.popitem(last=False)
                size = self._sizes.get(key, 1)
                self._small_size -= size
                if self.pages[key] < 2:
                    del self.pages[key]
                    self._remember(key, size)
                    return key
                self._main[key] = None
                self.pages[key] = 0
            else:
                key, _ = self._main.popitem(last=False)
                if not self.pages[key]:
                    del self.pages[key]
                    return key
                self.pages[key] -= 1
                self._main[key] = None

    def _discard(self, key: Key) -> None:
        del self.pages[key]
        if key in self._small:
            del self._small[key]
            self._small_size -= self.size_of(key)
        else:
            del self._main[key]

    def _remember(self, key: Key, size: int) -> None:
        self._ghosts[key] = size
        self._ghost_size += size
        most = max(1, int(self.capacity * (1 - self.small_share)))
        while self._ghost_size > most and len(self._ghosts) > 1:
            self._ghost_size -= self._ghosts.popitem(last=False)[1]

    def _forget(self, key: Key) -> None:
        self._ghost_size -= self._ghosts.pop(key, 0)
