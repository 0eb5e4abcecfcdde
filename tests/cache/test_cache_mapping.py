"""The dictionary that evicts: a mapping, for threads, in entries or bytes, with pins and dirty entries, and in place of two well-known caches."""

from __future__ import annotations

import contextlib
import functools
import json
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cache_support import EVERY
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mnemos.base.errors import Invalid, StoreFull
from mnemos.cache.base import Meta
from mnemos.cache.lru import LRU
from mnemos.cache.mapping import CacheInfo, EvictingCache
from mnemos.cache.memoized import memoized
from mnemos.cache.registry import POLICIES


@pytest.mark.parametrize("policy", POLICIES)
def test_it_is_a_mapping_of_limited_size(policy: str) -> None:
    cache: EvictingCache[str, int] = EvictingCache(3, policy)
    for number, key in enumerate("abcdefg"):
        cache[key] = number
        assert cache[key] == number
    assert len(cache) == cache.currsize == (1 if policy == "flush-when-all-0s" else 3) <= cache.maxsize
    assert set(cache) == set(cache.policy)
    assert cache.evictions == 7 - len(cache)
    key = next(iter(cache))
    assert cache.pop(key) == "abcdefg".index(key)
    assert key not in cache
    assert cache.get(key, -1) == -1
    assert cache.setdefault("h", 9) == 9
    cache.update(i=1)
    cache.clear()
    assert not cache
    assert cache.currsize == 0
    with pytest.raises(KeyError):
        cache.popitem()
    with pytest.raises(KeyError):
        del cache["a"]
    with pytest.raises(KeyError):
        cache["a"]


def test_reading_is_a_request_and_looking_is_not() -> None:
    cache: EvictingCache[str, int] = EvictingCache(2, "lru")
    cache["a"], cache["b"] = 1, 2
    assert cache["a"] == 1
    assert cache.peek("b") == 2
    assert "b" in cache
    assert list(cache) == ["a", "b"]
    cache["c"] = 3
    assert set(cache) == {"a", "c"}
    assert cache.info() == CacheInfo(hits=1, misses=0, maxsize=2, currsize=2)
    assert cache.get("b") is None
    assert cache.info().misses == 1
    assert "EvictingCache(2, 'lru', 2 entries" in repr(cache)


def test_bytes_are_counted_and_what_is_too_large_changes_nothing() -> None:
    cache: EvictingCache[str, bytes] = EvictingCache(100, "lru", size=len)
    cache["a"] = bytes(60)
    cache["b"] = bytes(40)
    assert cache.currsize == 100
    with pytest.raises(Invalid, match="too large"):
        cache["c"] = bytes(101)
    with pytest.raises(Invalid, match="too large"):
        cache["a"] = bytes(101)
    assert set(cache) == {"a", "b"}
    assert cache.fetch("c", lambda _: bytes(101)) == bytes(101)
    assert set(cache) == {"a", "b"}
    cache["b"] = bytes(10)
    cache["d"] = bytes(30)
    assert cache.currsize == 100
    cache["b"] = bytes(41)
    assert set(cache) == {"b", "d"}
    with pytest.raises(Invalid, match="size of a value"):
        cache["e"] = b""


def test_the_default_weighs_size_and_cost() -> None:
    cache: EvictingCache[int, bytes] = EvictingCache(1000, size=len, cost=lambda key, value: float(key))
    assert [expert.name for expert in cache.policy.experts] == ["s3-fifo", "lrfu", "lrfu", "greedy-dual-1bit"]  # type: ignore[attr-defined]
    for key in range(1, 300):
        cache[key] = bytes(1 + key % 50)
    assert cache.currsize <= 1000


def test_dropped_hears_of_what_was_evicted_and_of_nothing_else() -> None:
    out: list[tuple[str, int]] = []
    cache: EvictingCache[str, int] = EvictingCache(2, "lru", dropped=lambda key, value: out.append((key, value)))
    cache["a"], cache["b"], cache["c"] = 1, 2, 3
    del cache["b"]
    cache["d"] = 4
    cache["d"] = 5
    cache.fetch("e", lambda _: 6)
    assert out == [("a", 1), ("c", 3)]


def test_fetch_loads_what_is_missing_once() -> None:
    loaded: list[str] = []

    def load(key: str) -> str:
        loaded.append(key)
        return key.upper()

    cache: EvictingCache[str, str] = EvictingCache(2)
    assert [cache.fetch(key, load) for key in "aabab"] == ["A", "A", "B", "A", "B"]
    assert loaded == ["a", "b"]
    with pytest.raises(ZeroDivisionError):
        cache.fetch("c", lambda _: str(1 // 0))
    assert "c" not in cache


def test_pinned_entries_stay() -> None:
    cache: EvictingCache[str, int] = EvictingCache(2, "lru")
    cache["a"], cache["b"] = 1, 2
    with cache.pinned("a") as value, cache.pinned("a"):
        assert value == 1
        for number, key in enumerate("cdef"):
            cache[key] = number
        assert "a" in cache
        with cache.pinned("f"), pytest.raises(StoreFull, match="pinned"):
            cache["g"] = 1
        with cache.pinned("f"):
            assert cache.fetch("g", lambda _: 7) == 7
        assert "g" not in cache
    cache["g"] = 1
    cache["h"] = 1
    assert "a" not in cache
    with pytest.raises(KeyError), cache.pinned("gone"):
        pass


def test_an_entry_that_is_replaced_or_removed_while_pinned() -> None:
    cache: EvictingCache[str, bytes] = EvictingCache(10, "lru", size=len)
    cache["a"] = b"aa"
    with cache.pinned("a"):
        cache["a"] = b"aaaa"
        cache["b"] = bytes(6)
        cache["c"] = bytes(5)
        assert set(cache) == {"a", "c"}
    assert cache.policy.held == 0
    with cache.pinned("a"):
        del cache["a"]
        cache["a"] = b"a"
        with cache.pinned("a"):
            pass
        assert cache.policy.held == 0
    assert cache.policy.held == 0
    cache["a"] = b"aaaa"
    with cache.pinned("a"):
        cache["a"] = bytes(10)
        assert list(cache) == ["a"]
        with pytest.raises(StoreFull):
            cache["b"] = b"b"


def test_dirty_entries_are_written_back_before_they_go() -> None:
    written: dict[str, int] = {}
    cache: EvictingCache[str, int] = EvictingCache(3, "lru", write_back=lambda key, value: written.update({key: value}))
    cache.put("a", 1, dirty=True)
    cache.put("b", 2, dirty=True)
    cache["c"] = 3
    cache["d"] = 4
    assert set(cache) == {"a", "b", "d"}, "a clean entry goes before dirty ones"
    assert written == {}
    cache.put("d", 5, dirty=True)
    cache["e"] = 6
    assert written == {"a": 1}
    assert set(cache) == {"b", "d", "e"}
    cache.flush()
    assert written == {"a": 1, "b": 2, "d": 5}
    assert cache.policy.held == 0
    cache.put("b", 7, dirty=True)
    cache.invalidate("b")
    cache.flush()
    assert written["b"] == 2
    with pytest.raises(Invalid, match="write_back"):
        EvictingCache[str, int](3).put("a", 1, dirty=True)


def test_what_cannot_be_written_back_stays() -> None:
    broken = True

    def write(key: str, value: int) -> None:
        if broken:
            raise OSError("disk")

    cache: EvictingCache[str, int] = EvictingCache(2, "lru", write_back=write)
    cache.put("a", 1, dirty=True)
    cache.put("b", 2, dirty=True)
    with pytest.raises(OSError, match="disk"):
        cache["c"] = 3
    assert dict(cache.items()) == {"a": 1, "b": 2}
    broken = False
    cache["c"] = 3
    assert set(cache) == {"b", "c"}


def test_popitem_takes_what_is_next_to_go_and_writes_dirty_entries_back_first() -> None:
    written: list[str] = []
    cache: EvictingCache[str, int] = EvictingCache(3, "lru", write_back=lambda key, value: written.append(key))
    cache["a"], cache["b"] = 1, 2
    cache["a"]
    assert cache.popitem() == ("b", 2)
    cache.put("a", 3, dirty=True)
    assert cache.popitem() == ("a", 3)
    assert written == ["a"]
    assert len(cache) == 0


def test_forget_leaves_nothing_and_invalidate_keeps_what_is_known_of_the_key() -> None:
    cache: EvictingCache[str, int] = EvictingCache(10, "lru-1bit")
    for round_ in range(3):
        for key in ["secret", *map(str, range(30))]:
            cache[key] = round_
    cache.invalidate("secret")
    assert "secret" not in cache
    assert "secret" in json.dumps(cache.policy.state_dict())
    cache.forget("secret")
    assert "secret" not in json.dumps(cache.policy.state_dict())


def test_hints_reach_policies_that_follow_bits() -> None:
    cache: EvictingCache[str, int] = EvictingCache(2, "guard")
    cache["a"], cache["b"] = 1, 2
    cache.hint("b", 1)
    cache["c"] = 3
    assert set(cache) == {"a", "c"}
    cache.put("d", 4, Meta(bit=1))
    cache["e"] = 5
    assert "d" not in cache


def test_a_policy_of_another_capacity_or_with_pages_is_refused() -> None:
    used = LRU(3)
    used.request("a")
    for policy in (LRU(4), used):
        with pytest.raises(Invalid, match="capacity"):
            EvictingCache(3, policy)


def test_threads_see_one_cache() -> None:
    cache: EvictingCache[int, int] = EvictingCache(50)
    rng = random.Random(0)
    keys = [[min(int(rng.paretovariate(0.7)), 400) for _ in range(1500)] for _ in range(4)]

    def work(part: list[int]) -> None:
        for number, key in enumerate(part):
            assert cache.fetch(key, lambda key: key * key) == key * key
            if number % 50 == 0:
                cache.invalidate(key)
                with contextlib.suppress(KeyError), cache.pinned(part[number // 2]) as value:
                    assert value == part[number // 2] ** 2

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, keys))
    assert len(cache) == len(cache.policy) <= 50
    assert set(cache) == set(cache.policy)
    assert cache.hits + cache.misses >= 6000
    assert all(cache.peek(key) == key * key for key in cache)


def test_the_lock_is_free_while_a_value_is_loaded() -> None:
    cache: EvictingCache[str, int] = EvictingCache(5)
    cache["ready"] = 1
    entered, proceed = threading.Event(), threading.Event()

    def slow(key: str) -> int:
        entered.set()
        assert proceed.wait(10)
        return 2

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(cache.fetch, "slow", slow)
        assert entered.wait(10)
        assert cache["ready"] == 1
        cache["slow"] = 3
        proceed.set()
        assert waiting.result() == 3, "the value that was there first stays"


class Model(RuleBasedStateMachine):
    """Any calls, against a plain dictionary that is told what was evicted."""

    def __init__(self) -> None:
        super().__init__()
        self.evicted: list[tuple[int, bytes]] = []
        self.disk: dict[int, bytes] = {}
        self.expected: dict[int, bytes] = {}
        self.dirty: set[int] = set()
        self.cache: EvictingCache[int, bytes] = EvictingCache(
            40, "auto", size=len, dropped=lambda key, value: self.evicted.append((key, value)), write_back=self.write
        )

    def write(self, key: int, value: bytes) -> None:
        assert self.expected[key] == value
        self.disk[key] = value
        self.dirty.discard(key)

    @rule(key=st.integers(0, 9), size=st.integers(1, 30), dirty=st.booleans(), filler=st.integers(0, 255))
    def put(self, key: int, size: int, dirty: bool, filler: int) -> None:
        value = bytes([filler]) * size
        before = self.expected.get(key)
        self.cache.put(key, value, dirty=dirty)
        if before is not None and not dirty and key not in self.cache._dirty:
            self.dirty.discard(key)
        self.expected[key] = value
        if dirty:
            self.dirty.add(key)

    @rule(key=st.integers(0, 9))
    def read(self, key: int) -> None:
        assert self.cache.get(key) == self.expected.get(key)

    @rule(key=st.integers(0, 9))
    def remove(self, key: int) -> None:
        self.cache.forget(key)
        self.expected.pop(key, None)
        self.dirty.discard(key)

    @rule(key=st.integers(0, 9), size=st.integers(1, 60))
    def fetch(self, key: int, size: int) -> None:
        value = self.cache.fetch(key, lambda _: bytes(size))
        assert value == self.expected.get(key, bytes(size))
        if key in self.cache:
            self.expected[key] = value

    @precondition(lambda self: self.dirty)
    @rule()
    def flush(self) -> None:
        self.cache.flush()
        assert not self.dirty

    @invariant()
    def the_same(self) -> None:
        for key, value in self.evicted:
            assert self.expected.pop(key) == value
            assert key not in self.dirty, "a dirty entry was dropped before it was written back"
        self.evicted.clear()
        assert {key: self.cache.peek(key) for key in self.cache} == self.expected
        assert self.cache.currsize == sum(map(len, self.expected.values())) <= 40
        assert set(self.cache._dirty) == self.dirty


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("wrap", [memoized(3), memoized(3, policy="lru"), functools.lru_cache(3)])
def test_memoized_takes_the_place_of_lru_cache(wrap: Callable[..., Any]) -> None:
    calls: list[tuple[Any, ...]] = []

    @wrap
    def area(width: int, height: int = 1, *rest: int, **named: int) -> int:
        """The area."""
        calls.append((width, height))
        return width * height

    assert area(2, 3) == area(2, 3) == 6
    assert area(2, height=3) == 6
    assert len(calls) == 2
    info = area.cache_info()
    assert (info.hits, info.misses, info.maxsize, info.currsize) == (1, 2, 3, 2)
    assert area.__name__ == "area"
    assert area.__doc__ == "The area."
    assert area.__wrapped__(5, 5) == 25
    assert area.cache_parameters()["maxsize"] == 3
    area.cache_clear()
    assert tuple(area.cache_info()) == (0, 0, 3, 0)
    with pytest.raises(TypeError):
        area([1])
    assert area(1, x=2) == area(1, x=2)
    assert area.cache_info().hits == 1


def test_memoized_without_arguments_on_methods_and_typed() -> None:
    class Shape:
        def __init__(self, side: int) -> None:
            self.side, self.calls = side, 0

        @memoized
        def area(self, factor: int = 1) -> int:
            self.calls += 1
            return self.side**2 * factor

    small, large = Shape(2), Shape(3)
    assert [small.area(), small.area(), large.area(), small.area(2), small.area(factor=2)] == [4, 4, 9, 8, 8]
    assert (small.calls, large.calls) == (3, 1)
    assert Shape.area.cache_info().maxsize == 128

    @memoized(10, typed=True)
    def same(value: float) -> str:
        return repr(value)

    assert [same(1), same(1.0), same(True), same(1)] == ["1", "1.0", "True", "1"]
    assert same.cache_info().hits == 1


def test_memoized_counts_bytes_and_keeps_nothing_of_a_call_that_failed() -> None:
    @memoized(10, size=len, policy="lru")
    def text(n: int) -> str:
        if n < 0:
            raise ValueError(n)
        return "x" * n

    assert [len(text(n)) for n in (4, 6, 20, 4, 6)] == [4, 6, 20, 4, 6]
    assert text.cache_info().hits == 2
    for _ in range(2):
        with pytest.raises(ValueError):
            text(-1)
    assert text.cache_info().currsize == 10


@settings(max_examples=30, deadline=None)
@given(name=st.sampled_from(sorted(EVERY)), seed=st.integers(0, 10**6))
def test_the_cache_and_its_policy_agree_whatever_the_policy(name: str, seed: int) -> None:
    rng = random.Random(seed)
    cache: EvictingCache[int, int] = EvictingCache(6, EVERY[name](6))
    for _ in range(150):
        key = rng.randrange(15)
        if rng.random() < 0.7:
            assert cache.fetch(key, lambda key: -key) == -key
        elif rng.random() < 0.5:
            cache.invalidate(key)
        else:
            cache.forget(key)
        assert set(cache) == set(cache.policy)
        assert all(cache.peek(key) == -key for key in cache)
