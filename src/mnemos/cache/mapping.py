"""A dictionary of limited size that evicts by policy: for threads, for entries or bytes, and in place of cachetools' caches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple, TypeVar

from mnemos.base.errors import Invalid, NotFound, StoreFull, shown
from mnemos.cache.base import UNIT, Meta
from mnemos.cache.policy import Policy
from mnemos.cache.registry import policy as new_policy

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class CacheInfo(NamedTuple):
    """As of `functools.lru_cache`."""

    hits: int
    misses: int
    maxsize: int
    currsize: int


class EvictingCache(MutableMapping[K, V]):
    """At most `capacity` entries or, with `size`, at most so many bytes (or what else `size` of a value counts, at least 1 each).

    `policy` is a name of `registry.POLICIES` or a new policy of that capacity. `cost(key, value)`: of making the value again, in any one unit.
    `dropped(key, value)` hears of each entry that was evicted, after the fact and outside of the lock. With `write_back(key, value)` entries may
    be put in as dirty: they stay until they are written back, which happens when their room is needed, or in `flush`.

    Reading an entry and putting one in are requests; asking whether it is there, iterating and `peek` are not. A value too large for the cache
    raises `Invalid`, one for which pins leave no room raises `StoreFull`; the cache is then as it was. `del` forgets all of a key, `invalidate`
    only its value. `maxsize`, `currsize`, `getsizeof` and `popitem` are those of cachetools, whose decorators take this cache.
    """

    def __init__(
        self,
        capacity: int,
        policy: str | Policy = "auto",
        *,
        size: Callable[[V], int] | None = None,
        cost: Callable[[K, V], float] | None = None,
        dropped: Callable[[K, V], object] | None = None,
        write_back: Callable[[K, V], object] | None = None,
    ) -> None:
        if isinstance(policy, str):
            options = {"sized": True} if policy == "auto" and (size or cost) else {}
            policy = new_policy(policy, capacity, **options)
        elif policy.capacity != capacity or len(policy):
            raise Invalid(f"cache: the policy has capacity {policy.capacity} and {len(policy)} pages; give a new one of capacity {capacity}")
        self.policy = policy
        self.hits = self.misses = self.evictions = 0
        self._size, self._cost, self._dropped, self._write_back = size, cost, dropped, write_back
        self._values: dict[K, V] = {}
        self._dirty: dict[K, None] = {}  # each pinned once for it
        self._pins: dict[K, list[object]] = {}
        self._lock = threading.RLock()

    def __getitem__(self, key: K) -> V:
        with self._lock:
            if key not in self._values:
                self.misses += 1
                raise KeyError(key)
            return self._hit(key, UNIT)

    def __setitem__(self, key: K, value: V) -> None:
        self.put(key, value)

    def __delitem__(self, key: K) -> None:
        with self._lock:
            if key not in self._values:
                raise KeyError(key)
            self.forget(key)

    def __iter__(self) -> Iterator[K]:
        with self._lock:
            return iter(list(self._values))

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __repr__(self) -> str:
        return f"EvictingCache({self.maxsize}, {self.policy.name!r}, {len(self)} entries of {self.currsize})"

    @property
    def maxsize(self) -> int:
        return self.policy.capacity

    @property
    def currsize(self) -> int:
        return self.policy.used

    def getsizeof(self, value: V) -> int:
        """What the value takes of the capacity. Raises `Invalid` where `size` gives no whole number of at least 1."""
        size = 1 if self._size is None else self._size(value)
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise Invalid(f"cache: the size of a value is {shown(size)}; it has to be a whole number of at least 1")
        return size

    def info(self) -> CacheInfo:
        return CacheInfo(self.hits, self.misses, self.maxsize, self.currsize)

    def peek(self, key: K, default: V | None = None) -> V | None:
        """The value, without that being a request for it."""
        return self._values.get(key, default)

    def put(self, key: K, value: V, meta: Meta = UNIT, dirty: bool = False) -> None:
        """Set the value; `meta` says more of it (its size and cost are taken from the cache's own functions, where it has them)."""
        if dirty and self._write_back is None:
            raise Invalid("cache: an entry is dirty, but there is no write_back to clean it; give one when making the cache")
        size = self.getsizeof(value)
        if size > self.maxsize:
            raise Invalid(f"cache: value too large: {size} for a cache of {self.maxsize}; do not cache it, or make the cache larger")
        meta = self._described(key, value, meta, size)
        with self._lock:
            out = self._put(key, value, meta)
            if dirty and key not in self._dirty:
                self._dirty[key] = None
                self.policy.pin(key)
        self._tell(out)

    def fetch(self, key: K, load: Callable[[K], V], meta: Meta = UNIT) -> V:
        """The value, loaded where it is missing. The lock is not held meanwhile: two threads may load the same, and the first value stays.

        A value that finds no room is given, and not kept.
        """
        with self._lock:
            if key in self._values:
                return self._hit(key, meta)
            self.misses += 1
        value = load(key)
        size = self.getsizeof(value)
        if size > self.maxsize:
            return value
        meta = self._described(key, value, meta, size)
        with self._lock:
            if key in self._values:
                return self._values[key]
            try:
                out = self._put(key, value, meta)
            except StoreFull:
                return value
        self._tell(out)
        return value

    def invalidate(self, key: K) -> None:
        """Drop the value, which is outdated, without writing it back; the policy keeps what it knows of the key. No error where it is missing."""
        with self._lock:
            self._remove(key)
            self.policy.drop(key)

    def forget(self, key: K) -> None:
        """Nothing of the key stays, neither here nor in the policy, whether it has a value or not."""
        with self._lock:
            self._remove(key)
            self.policy.on_remove(key)

    def clear(self) -> None:
        """`forget` for every key that has a value."""
        with self._lock:
            for key in list(self._values):
                self.forget(key)

    def popitem(self) -> tuple[K, V]:
        """Evict the entry that is the next to go. Raises `KeyError` where there is none that is not pinned."""
        with self._lock:
            if self._dirty and self.policy.held == self.policy.used:
                self.flush()
            try:
                key = self.policy.evict()
            except NotFound as error:
                raise KeyError(str(error)) from None
            return key, self._values.pop(key)  # type: ignore[return-value, arg-type]

    def flush(self) -> None:
        """Write back all dirty entries, the one that became dirty first before the others. Where this fails, what is not written stays dirty."""
        with self._lock:
            for key in list(self._dirty):
                self._clean(key)

    def hint(self, key: K, bit: int) -> None:
        """Say of an entry that it is not needed again (1) or that it is (0): to policies that follow bits, and no more than a hint."""
        with self._lock:
            self.policy.hint(key, bit)

    @contextmanager
    def pinned(self, key: K) -> Iterator[V]:
        """The value, whose entry is not evicted meanwhile. Raises `KeyError` where it is missing."""
        token = object()
        with self._lock:
            value = self[key]
            self.policy.pin(key)
            self._pins.setdefault(key, []).append(token)
        try:
            yield value
        finally:
            with self._lock:
                tokens = self._pins.get(key, [])
                if token in tokens:  # else the entry was removed, and its pins with it
                    tokens.remove(token)
                    self.policy.unpin(key)
                    if not tokens:
                        del self._pins[key]

    def _hit(self, key: K, meta: Meta) -> V:
        self.hits += 1
        self.policy.request(key, self._described(key, self._values[key], meta, None))
        return self._values[key]

    def _described(self, key: K, value: V, meta: Meta, size: int | None) -> Meta:
        """`meta` with the size and cost that the cache's own functions give."""
        if self._size is None and self._cost is None:
            return meta
        size = self.policy.size_of(key) if size is None else size
        return replace(meta, size=size, cost=meta.cost if self._cost is None else self._cost(key, value))

    def _put(self, key: K, value: V, meta: Meta) -> list[tuple[K, V]]:
        """Gives the entries that were evicted for it."""
        policy = self.policy
        if key in self._values:
            if policy.size_of(key) == meta.size:
                policy.request(key, meta)
                self._values[key] = value
                return []
            pins = len(self._pins.get(key, ())) + (key in self._dirty)
            self._find_room(meta.size, policy.size_of(key) if pins else 0, key)
            policy.drop(key)
        else:
            pins = 0
            self._find_room(meta.size, 0, key)
        victims = policy.on_miss(key, meta)
        for _ in range(pins):
            policy.pin(key)
        self._values[key] = value
        self.evictions += len(victims)
        return [(victim, self._values.pop(victim)) for victim in victims]  # type: ignore[misc, arg-type]

    def _find_room(self, size: int, released: int, key: K) -> None:
        """Write back dirty entries until the rest that is not pinned could make way."""
        for dirty in list(self._dirty):
            if size <= self.maxsize - self.policy.held + released:
                return
            if dirty != key:
                self._clean(dirty)
        if size > self.maxsize - self.policy.held + released:
            raise StoreFull(f"cache: pinned entries take {self.policy.held} of {self.maxsize}, which leaves no room for {size}; unpin some first")

    def _clean(self, key: K) -> None:
        assert self._write_back is not None
        self._write_back(key, self._values[key])
        del self._dirty[key]
        self.policy.unpin(key)

    def _remove(self, key: K) -> None:
        self._values.pop(key, None)
        self._dirty.pop(key, None)
        self._pins.pop(key, None)

    def _tell(self, out: list[tuple[K, V]]) -> None:
        if self._dropped is not None:
            for key, value in out:
                self._dropped(key, value)
