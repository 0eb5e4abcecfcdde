"""Remembering what a function gave, in a cache that evicts by policy: in place of `functools.lru_cache`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, overload

from mnemos.cache.base import Key
from mnemos.cache.mapping import CacheInfo, EvictingCache
from mnemos.cache.policy import Policy

P = ParamSpec("P")
R = TypeVar("R")

_KEYWORDS = object()


class Memoized(Generic[P, R]):
    """A function that remembers. Arguments have to be hashable; with `typed`, 1 and 1.0 are different ones."""

    def __init__(self, function: Callable[P, R], cache: EvictingCache[Key, R], typed: bool) -> None:
        functools.update_wrapper(self, function)
        self.cache = cache
        self._function = function
        self._typed = typed

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.cache.fetch(self._key(args, kwargs), lambda _: self._function(*args, **kwargs))

    def __get__(self, instance: object, owner: type | None = None) -> Callable[..., R]:
        return self if instance is None else functools.partial(self, instance)  # type: ignore[arg-type]

    def cache_info(self) -> CacheInfo:
        """Hits, misses, size at most, size now."""
        return self.cache.info()

    def cache_clear(self) -> None:
        """Forget all values and counts."""
        self.cache.clear()
        self.cache.hits = self.cache.misses = self.cache.evictions = 0

    def cache_parameters(self) -> dict[str, Any]:
        """As of `functools.lru_cache`, and the policy."""
        return {"maxsize": self.cache.maxsize, "typed": self._typed, "policy": self.cache.policy.name}

    def _key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Key:
        key = (*args, _KEYWORDS, *kwargs.items()) if kwargs else args
        if self._typed:
            key = (key, *map(type, args), *map(type, kwargs.values()))
        return key


@overload
def memoized(capacity: Callable[P, R]) -> Memoized[P, R]: ...


@overload
def memoized(
    capacity: int = 128, *, typed: bool = False, policy: str | Policy = "auto", size: Callable[[Any], int] | None = None
) -> Callable[[Callable[P, R]], Memoized[P, R]]: ...


def memoized(
    capacity: Any = 128, *, typed: bool = False, policy: str | Policy = "auto", size: Callable[[Any], int] | None = None
) -> Any:
    """`@memoized`, `@memoized(1000)` or `@memoized(2**20, size=len)`: see `EvictingCache` for the capacity, the policy and `size`."""
    if callable(capacity):
        return memoized()(capacity)

    def wrap(function: Callable[P, R]) -> Memoized[P, R]:
        return Memoized(function, EvictingCache(capacity, policy, size=size), typed)

    return wrap
