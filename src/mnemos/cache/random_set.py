"""A set of which uniformly random members are taken in constant time."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from mnemos.cache.base import Key


class RandomSet:
    """Members lie in a list without gaps; the last one moves to where one was taken out."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._keys: list[Key] = []
        self._places: dict[Key, int] = {}
        self.extend(keys)

    def __contains__(self, key: Key) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def add(self, key: Key) -> None:
        """Nothing changes where it is a member."""
        if key not in self._places:
            self._places[key] = len(self._keys)
            self._keys.append(key)

    def extend(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.add(key)

    def discard(self, key: Key) -> None:
        """Nothing changes where it is no member."""
        place = self._places.pop(key, None)
        if place is None:
            return
        last = self._keys.pop()
        if place < len(self._keys):
            self._keys[place] = last
            self._places[last] = place

    def choice(self, rng: random.Random) -> Key:
        """A uniformly random member, which stays."""
        return self._keys[int(rng.random() * len(self._keys))]

    def draw(self, n: int, rng: random.Random) -> list[Key]:
        """`n` members that lie together, from a uniformly random place on: each is drawn with the same probability. All where there are no more."""
        size = len(self._keys)
        if size <= n:
            return list(self._keys)
        start = int(rng.random() * size)
        return self._keys[start : start + n] + self._keys[: max(0, start + n - size)]

    def copy(self) -> RandomSet:
        twin = RandomSet()
        twin._keys, twin._places = self._keys.copy(), self._places.copy()
        return twin
