"""Regions of lists whose vectors are others by now get new heads: what is found then, and under stops and failures at any write."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest

from index.spann.faulty_disk import BROKEN, FULL, FaultyDisk, Killed
from mnemos.base.errors import StoreFull, StoreUnavailable
from mnemos.index.spann.attributes import Where
from mnemos.index.spann.index import SpannIndex
from mnemos.index.spann.options import Options

D, N = 12, 400
OPTIONS = Options(metric="l2", list_limit=48, merge_below=2, candidates=24, replicas=4, reassign_heads=8, head_ratio=0.08)


def vectors(n: int, seed: int, moved: float = 0.0) -> np.ndarray:
    """From a mixture of a dozen places, which move on."""
    rng = np.random.default_rng(seed)
    places = np.random.default_rng(9).standard_normal((12, D)) * 2 + moved * np.random.default_rng(8).standard_normal((12, D))
    return (places[rng.integers(0, 12, n)] + 0.5 * rng.standard_normal((n, D))).astype(np.float32)


OLD, NEW = vectors(N, 1), vectors(N, 2, moved=1.0)


def built(disk: FaultyDisk, options: Options = OPTIONS, **more: object) -> SpannIndex:
    index = SpannIndex.create(disk, D, options, cache=more.pop("cache", None))
    index.build(np.arange(N), OLD, **more)
    return index


def replace(index: SpannIndex, rows: range, tend: bool = True) -> None:
    """Some rows after the others go, and those N further on come."""
    for start in range(rows.start, rows.stop, 5):
        some = np.arange(start, min(start + 5, rows.stop))
        index.remove(some)
        index.add(N + some, NEW[some], attributes=[["even" if row % 2 == 0 else "odd"] for row in some.tolist()])
        while tend and index.tend(4):
            pass


def holds(index: SpannIndex, until: int) -> None:
    """Whether rows from `until` on, and those that came for the others, are there once, each where it is looked for, and nothing is wrong."""
    ids = np.concatenate([np.arange(until, N), np.arange(N, N + until)])
    there = np.concatenate([OLD[until:], NEW[:until]])
    assert index.verify() == []
    assert index.ids().tolist() == ids.tolist()
    np.testing.assert_array_equal(index.vectors(ids), there)
    query = there[len(ids) // 3] + np.float32(0.05)
    away = there - query
    order = np.lexsort((ids, np.einsum("ij,ij->i", away, away)))[:10]
    wide = index.search(query, 10, lists=10**6, rescore=10**6, spread=np.inf)
    assert wide.exact
    assert wide.ids.tolist() == ids[order].tolist()


def lists_of(index: SpannIndex) -> dict[int, bytes]:
    parts = index._parts
    return {number: parts.lists.head(number).tobytes() + parts.lists.read(number).tobytes() for number in parts.lists.numbers().tolist()}


def heads_that_live(index: SpannIndex) -> float:
    """The share of heads that are vectors of the index."""
    parts = index._parts
    heads, live = parts.heads.vectors(parts.heads.numbers()), parts.rotated(parts.slots.live())
    squares = np.einsum("ij,ij->i", live, live)
    return float(np.mean([np.min(squares - 2 * live @ head + head @ head) < 1e-3 for head in heads]))


def found(index: SpannIndex, queries: np.ndarray, lists: int) -> float:
    near = [index.search(query, 10, lists=lists, rescore=200, spread=np.inf).ids for query in queries]
    right = [index.search(query, 10, exact=True).ids for query in queries]
    return float(np.mean([np.isin(one, other).mean() for one, other in zip(right, near, strict=True)]))


def test_after_all_was_replaced_heads_are_vectors_that_are_there_and_it_is_as_good_as_built() -> None:
    indexes = {}
    for after in (0.0, 1.0):
        index = indexes[after] = built(FaultyDisk(), Options.from_json({**OPTIONS.to_json(), "renew_after": after}))
        replace(index, range(N))
        holds(index, N)
    never, renewed = indexes.values()
    assert never.statistics()["renewed"] == 0
    assert renewed.statistics()["renewed"] > renewed.lists
    assert heads_that_live(renewed) > 0.4 + heads_that_live(never)
    fresh = SpannIndex.create(FaultyDisk(), D, OPTIONS)
    fresh.build(np.arange(N), NEW)
    assert 0.7 * fresh.lists < renewed.lists < 1.3 * fresh.lists
    queries = vectors(150, 3, moved=1.0)
    assert found(renewed, queries, 3) > found(fresh, queries, 3) - 0.03


def test_it_is_the_same_for_the_same_changes() -> None:
    one, other = built(FaultyDisk(1)), built(FaultyDisk(2))
    for index in (one, other):
        replace(index, range(150))
    assert one.statistics()["renewed"] > 0
    assert lists_of(one) == lists_of(other)


def test_words_of_vectors_and_a_cache_of_lists_go_along() -> None:
    cache: dict[int, bytes] = {}
    index = built(FaultyDisk(), cache=cache, attributes=[["even" if row % 2 == 0 else "odd"] for row in range(N)])
    for row in range(0, 200, 10):
        replace(index, range(row, row + 10))
        for word, rest in (("even", 0), ("odd", 1)):
            query = NEW[row] + np.float32(0.1)
            near = index.search(query, 12, where=Where(any_of=[word]))
            assert len(near.ids) == 12
            assert (near.ids % 2 == rest).all()
        holds(index, row + 10)
    assert cache
    assert index.statistics()["renewed"] > 0


def test_how_much_has_come_and_gone_is_known_after_a_stop() -> None:
    """A process that lives shortly would else never see a list become old."""
    disk = FaultyDisk()
    index, renewed = built(disk), 0
    for row in range(0, 300, 3):
        replace(index, range(row, row + 3))
        index.checkpoint()
        renewed += index.statistics()["renewed"]
        index = SpannIndex.open(disk)
    assert renewed > 20
    holds(index, 300)


def test_where_memory_has_no_room_there_are_not_more_heads() -> None:
    index, roomy = built(FaultyDisk()), built(FaultyDisk())
    for one in (index, roomy):
        replace(one, range(100), tend=False)
        parts = one._parts
        parts.options = dataclasses.replace(parts.options, head_ratio=0.3, memory=parts.nbytes + (10**6 if one is roomy else 0))
        before = one.lists
        while one.tend(5):
            pass
        assert one.statistics()["renewed"] > 0
        assert (one.lists > before) == (one is roomy)
        holds(one, 100)


def test_vectors_that_are_all_alike_have_no_better_heads() -> None:
    index = SpannIndex.create(FaultyDisk(), D, OPTIONS)
    same = np.ones((120, D), dtype=np.float32)
    index.add(np.arange(120), same)
    for start in range(0, 120, 10):
        index.remove(np.arange(start, start + 10))
        index.add(np.arange(start + 120, start + 130), same[:10])
        for _ in range(200):
            if not index.tend(5):
                break
        else:
            raise AssertionError("there is always more to do")
        assert index.verify() == []
    assert index.ids().tolist() == list(range(120, 240))
    assert len(index.search(same[0], 120, lists=1000).ids) == 120


def due(until: int) -> tuple[FaultyDisk, int]:
    """A disk with an index of which so many vectors were replaced, and a list whose turn it is."""
    disk = FaultyDisk(until)
    index = built(disk)
    replace(index, range(until - 60))
    replace(index, range(until - 60, until), tend=False)
    number = [number for number, task in index._parts.waiting.items() if task == "renew"][-1]
    index.checkpoint()
    return disk, number


def renew(disk: FaultyDisk, number: int) -> SpannIndex:
    index = SpannIndex.open(disk)
    index._parts.waiting[number] = "renew"
    index._parts.waiting.move_to_end(number, last=False)
    return index


@pytest.mark.parametrize(("power", "until"), [(False, 120), (True, 230)])
def test_a_stop_at_any_write_of_it_loses_nothing_and_doubles_nothing(power: bool, until: int) -> None:
    before, number = due(until)
    for at in range(1, 1000):
        disk = copy.deepcopy(before)
        index = renew(disk, number)
        disk.kill_at(at)
        try:
            assert index.tend(1) == 1
            index.checkpoint()
        except Killed:
            disk.lose_power() if power else disk.reopen()
        else:
            assert index.statistics()["renewed"] > 0
            holds(index, until)
            assert at > 20
            return
        index = SpannIndex.open(disk)
        holds(index, until)
        if at % 8 == 0:  # the life after it
            replace(index, range(until, until + 10))
            holds(index, until + 10)
    raise AssertionError("it never ended")


@pytest.mark.parametrize("code", [FULL, BROKEN], ids=["full", "broken"])
def test_a_disk_that_fails_in_it_costs_nothing(code: int) -> None:
    before, number = due(170)
    for at in range(1, 1000, 3):
        disk = copy.deepcopy(before)
        index = renew(disk, number)
        disk.fail_at(at, code)
        try:
            index.tend(1)
        except (StoreFull, StoreUnavailable):
            assert number in index._parts.waiting
        else:
            assert at > 10
            return
        holds(index, 170)  # what it held it still gives
        while index.tend(5):
            pass
        holds(index, 170)
    raise AssertionError("it never ended")
