"""OPTgen (Jain and Lin, "Back to the Future", ISCA 2016): what the best offline policy would have kept, told as requests come by."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

import numpy as np

from mnemos.base.errors import Invalid

K = TypeVar("K", bound=Hashable)


class OptGen(Generic[K]):
    """Labels the requests of the last `window` ones: 0 when a page is asked for again that was worth keeping until then, 1 when it was not worth it,
    or when a request falls out of the window.

    A page is kept from one request to the next where at each request between them there is room for it beside the page asked for then and all
    that is kept already. With pages of one size and a window of the whole sequence, the labels 0 are as many as Belady's hits: taking intervals
    in the order of their ends, wherever they fit, takes the most. Every request loads its page.
    """

    def __init__(self, capacity: int, window: int) -> None:
        if capacity < 1 or window < 1:
            raise Invalid(f"OPTgen: capacity {capacity} and window {window} have to be at least 1")
        self.capacity = capacity
        self.window = window
        self._occupied = np.zeros(2 * window, dtype=np.int64)  # at each request in the window, of the capacity
        self._keys: list[K | None] = [None] * window  # of the requests in the window, request t at t % window
        self._last: dict[K, int] = {}  # number of the last request for it, while in the window
        self._start = 0  # the request whose occupancy is first in `_occupied`
        self._now = 0

    def request(self, key: K, size: int = 1) -> list[tuple[K, int]]:
        """The labels that this request brings: pages, each with the bit that its last request should have had."""
        now = self._now
        labels: list[tuple[K, int]] = []
        expired = now - self.window
        if expired >= 0:
            old = self._keys[expired % self.window]
            if old is not None and self._last.get(old) == expired:
                del self._last[old]
                labels.append((old, 1))
        if now - self._start == len(self._occupied):
            self._occupied[: self.window] = self._occupied[self.window :]
            self._occupied[self.window :] = 0
            self._start += self.window
        last = self._last.get(key)
        if last is not None:
            between = self._occupied[last + 1 - self._start : now - self._start]
            kept = not len(between) or int(between.max()) + size <= self.capacity
            if kept:
                between += size
            labels.append((key, int(not kept)))
        self._occupied[now - self._start] = size
        self._keys[now % self.window] = key
        self._last[key] = now
        self._now += 1
        return labels

    def waits(self, key: K) -> bool:
        """Whether the page's last request has no label yet."""
        return key in self._last

    def drawn(self, place: float, latest: int) -> K | None:
        """The page asked for at `place`, 0 (now) to below 1, of the latest requests, unless it was asked for again since."""
        back = int(place * min(self._now, latest, self.window))
        number = self._now - 1 - back
        key = self._keys[number % self.window]
        return key if key is not None and self._last.get(key) == number else None

    def forget(self, key: K) -> None:
        """Forget the page; what it occupied stays occupied."""
        last = self._last.pop(key, None)
        if last is not None:
            self._keys[last % self.window] = None
