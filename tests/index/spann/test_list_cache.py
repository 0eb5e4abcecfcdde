"""The cache of lists: it saves reads, says nothing that the disk would not say now, and holds nothing that was forgotten."""

from __future__ import annotations

import threading
from collections.abc import Callable, MutableMapping, Sequence

import numpy as np
import pytest

from index.spann.faulty_disk import FaultyDisk
from mnemos.cache.mapping import EvictingCache
from mnemos.index.spann.index import SpannIndex
from mnemos.index.spann.opening import LISTS
from mnemos.index.spann.options import Options

D, N, LIMIT = 16, 500, 64
POLICIES = ("lru", "s3-fifo", "sieve", "auto", "switching")


class WatchedDisk(FaultyDisk):
    """Counts reads of lists, and calls `meanwhile`, once, when some were read and their reader does not have them yet."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.meanwhile: Callable[[], object] | None = None

    def read_many(self, name: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        pieces = super().read_many(name, spans)
        if name == LISTS:
            self.reads += len(spans)
            if (meanwhile := self.meanwhile) is not None:
                self.meanwhile = None
                meanwhile()
        return pieces


def data(n: int, seed: int = 0) -> np.ndarray:
    centres = np.random.default_rng(99).standard_normal((10, D)) * 2
    rng = np.random.default_rng(seed)
    return (centres[rng.integers(0, 10, n)] + rng.standard_normal((n, D))).astype(np.float32)


def built(cache: MutableMapping[int, bytes] | None, disk: WatchedDisk | None = None) -> SpannIndex:
    index = SpannIndex.create(disk or WatchedDisk(), D, Options(metric="l2", list_limit=LIMIT, head_ratio=0.06), cache=cache)
    index.build(np.arange(N), data(N))
    return index


def is_what_the_disk_has(index: SpannIndex, cache: MutableMapping[int, bytes]) -> bool:
    lists = index._parts.lists
    there = set(lists.numbers().tolist())
    return all(number in there and lists.read(number).tobytes() == piece for number, piece in dict(cache).items())


def test_what_is_held_is_not_read_and_each_list_is_one_request_of_a_search() -> None:
    cache: EvictingCache[int, bytes] = EvictingCache(1 << 20, "lru", size=len)
    disk = WatchedDisk()
    index = built(cache, disk)
    assert len(cache) == 0  # building and calibrating are no searches
    queries, before = data(20, seed=1), disk.reads
    first = [index.search(query) for query in queries]
    read = disk.reads - before
    assert read == cache.misses == len(cache) > 20
    again = [index.search(query) for query in queries]
    assert disk.reads - before == read
    assert cache.hits + cache.misses == sum(found.lists for found in first + again)
    assert [found.ids.tolist() for found in again] == [found.ids.tolist() for found in first]


@pytest.mark.parametrize(("policy", "capacity"), [*((policy, 8000) for policy in POLICIES), ("lru", 1), ("auto", 1), ("lru", 700), ("auto", 700)])
def test_lists_that_change_are_answered_as_without_a_cache(policy: str, capacity: int) -> None:
    cache: EvictingCache[int, bytes] = EvictingCache(capacity, policy, size=len)
    with_cache, without = built(cache), built(None)
    rng, queries = np.random.default_rng(2), data(12, seed=3)
    for step in range(6):
        ids = rng.choice(2 * N, 40, replace=False)
        vectors = data(40, seed=10 + step)
        for index in (with_cache, without):
            index.remove(ids) if step % 3 == 1 else index.add(ids, vectors)
            index.tend(4)
        for query in queries:
            found, expected = with_cache.search(query), without.search(query)
            assert found.ids.tolist() == expected.ids.tolist()
            assert (found.lists, found.nbytes) == (expected.lists, expected.nbytes)
        assert cache.currsize <= capacity
        assert is_what_the_disk_has(with_cache, cache)
    assert with_cache.statistics() == without.statistics()
    assert cache.hits if capacity == 8000 else cache.misses > cache.hits  # the others hold no list, or one or two
    assert with_cache.verify() == []


def test_upkeep_neither_fills_the_cache_nor_counts_as_a_request() -> None:
    cache: EvictingCache[int, bytes] = EvictingCache(1 << 20, "lru", size=len)
    index = built(cache)
    for query in data(5, seed=1):
        index.search(query)
    held, asked = len(cache), cache.hits + cache.misses
    index.add(np.arange(5000, 5200), data(200, seed=4))
    while index.tend(50):
        pass
    assert index.statistics()["splits"]
    assert index.verify() == []
    index.calibrate()
    assert len(cache) <= held
    assert cache.hits + cache.misses == asked


class Small(dict[int, bytes]):
    """A mapping that refuses what is too large, with the error that cachetools has for it."""

    def __setitem__(self, number: int, piece: bytes) -> None:
        if len(piece) > 800:
            raise ValueError("value too large")
        super().__setitem__(number, piece)


@pytest.mark.parametrize("make", [dict, Small])
def test_any_mapping_will_do(make: type[MutableMapping[int, bytes]]) -> None:
    cache = make()
    with_cache, without = built(cache), built(None)
    for step in range(4):
        for index in (with_cache, without):
            index.add(np.arange(step * 50, step * 50 + 50), data(50, seed=20 + step))
            index.tend(9)
        assert all(with_cache.search(query).ids.tolist() == without.search(query).ids.tolist() for query in data(10, seed=step))
        assert len(cache)
        assert is_what_the_disk_has(with_cache, cache)


def test_a_list_that_went_wrong_in_memory_is_read_again_and_not_made_again() -> None:
    cache: dict[int, bytes] = {}
    index = built(cache)
    query = data(1, seed=1)[0]
    expected = index.search(query)
    for number, piece in list(cache.items()):
        cache[number] = bytes([piece[0] ^ 4]) + piece[1:]
    assert index.search(query).ids.tolist() == expected.ids.tolist()
    assert index.statistics()["mended"] == 0
    assert is_what_the_disk_has(index, cache)


def test_what_is_forgotten_while_it_is_read_does_not_stay_in_the_cache() -> None:
    cache: EvictingCache[int, bytes] = EvictingCache(1 << 20, "lru", size=len)
    disk = WatchedDisk()
    index = built(cache, disk)
    query = data(N)[7]
    slot = int(index._parts.slots.map.find(np.array([7]))[0])

    entries = index._parts.entries

    def slots_held() -> set[int]:
        return {int(slot) for piece in dict(cache).values() for slot in entries.slots(np.frombuffer(piece, np.uint8).reshape(-1, entries.size))}

    index.search(query)
    assert slot in slots_held()
    index.erase(np.array([7]))
    assert slot not in slots_held()
    slot = int(index._parts.slots.map.find(np.array([8]))[0])
    cache.clear()
    disk.meanwhile = lambda: index.erase(np.array([8]))
    assert 8 not in index.search(data(N)[8]).ids.tolist()
    assert disk.meanwhile is None
    assert len(cache)
    assert slot not in slots_held()
    assert is_what_the_disk_has(index, cache)


@pytest.mark.parametrize("policy", ["lru", "auto"])
def test_searches_in_threads_beside_changes_never_meet_a_list_of_before(policy: str) -> None:
    cache: EvictingCache[int, bytes] = EvictingCache(12_000, policy, size=len)
    index = built(cache)
    vectors, kept = data(N), np.arange(0, N, 2)
    problems: list[str] = []
    done = threading.Event()

    def search() -> None:
        rng = np.random.default_rng(threading.get_ident() % 1000)
        while not done.is_set():
            row = int(kept[rng.integers(len(kept))])
            try:
                found = index.search(vectors[row], 5).ids.tolist()
            except Exception as error:  # noqa: BLE001  (a thread's error would be lost)
                problems.append(repr(error))
                return
            if row not in found or len(set(found)) < len(found):
                problems.append(f"{row}: {found}")

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    others = np.arange(1, N, 2)
    for step in range(4):
        for start in range(0, len(others), 45):
            part = others[start : start + 45]
            index.remove(part) if step % 2 else index.add(part, vectors[part] + np.float32(step / 4))
            index.tend(3)
    done.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert cache.hits
    assert index.statistics()["mended"] == 0
    assert is_what_the_disk_has(index, cache)
    assert index.verify() == []
