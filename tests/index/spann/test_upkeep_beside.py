"""Upkeep thinks beside changes, and inserts wait for no page: others go on meanwhile, and what they change is not lost; stops at any write, too."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.spann import life
from index.spann.faulty_disk import FULL, FaultyDisk
from mnemos.base.errors import StoreFull
from mnemos.index.spann.codes import Entries
from mnemos.index.spann.extents import Extents
from mnemos.index.spann.index import SpannIndex
from mnemos.index.spann.lists import Lists
from mnemos.index.spann.opening import LISTS
from mnemos.index.spann.options import Options

D, N = 12, 300
OPTIONS = Options(metric="l2", list_limit=48, merge_below=2, candidates=24, replicas=4, reassign_heads=8, head_ratio=0.08)
OLD = np.random.default_rng(1).standard_normal((N, D)).astype(np.float32)
NEW = np.random.default_rng(2).standard_normal((N, D)).astype(np.float32)


class WatchedDisk(FaultyDisk):
    """Counts what is read of the lists, and written to them."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = self.writes = 0

    def read(self, name: str, offset: int, size: int) -> bytes:
        self.reads += name == LISTS
        return super().read(name, offset, size)

    def write(self, name: str, offset: int, data: bytes | memoryview) -> None:
        self.writes += name == LISTS
        super().write(name, offset, data)


def built(disk: FaultyDisk | None = None) -> SpannIndex:
    index = SpannIndex.create(disk or FaultyDisk(), D, OPTIONS)
    index.add(np.arange(N), OLD)
    while index.tend(50):
        pass
    index.checkpoint()
    return index


def waits_for(index: SpannIndex, task: str, number: int) -> None:
    """That list, and no other, waits for that step."""
    index._parts.waiting.clear()
    index._parts.waiting[number] = task  # type: ignore[assignment]


def crowded(index: SpannIndex) -> int:
    """A list that has to be split; those that came for it have the ids from 1000 on."""
    parts = index._parts
    number = int(parts.lists.numbers()[3])
    some = OLD[parts.slots.ids.view()[np.flatnonzero(parts.slots.homes.view() == number)]]
    near = np.repeat(some, 60 // len(some) + 1, axis=0)[:60]
    index.add(np.arange(1000, 1060), near + 0.05 * np.random.default_rng(3).standard_normal(near.shape).astype(np.float32))
    assert parts.lists.counts()[number] > parts.limit
    return number


def in_a_thread(work: Callable[[], object], wait: float = 20) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(wait)
    return thread


def while_thinking(monkeypatch: pytest.MonkeyPatch, module: str, change: Callable[[int], object]) -> list[int]:
    """Calls `change` with how often it has been, when a step of that module looks for new heads; the list says so."""
    kmeans = importlib.import_module(f"mnemos.index.spann.{module}").balanced_kmeans
    times: list[int] = []

    def overtaken(*what: Any, **how: Any) -> Any:
        times.append(len(times))
        change(times[-1])
        return kmeans(*what, **how)

    monkeypatch.setattr(f"mnemos.index.spann.{module}.balanced_kmeans", overtaken)
    return times


def holds(index: SpannIndex, there: dict[int, np.ndarray]) -> None:
    """Whether the index has these vectors by id, each once, all found, and nothing is wrong."""
    ids = np.array(sorted(there))
    matrix = np.array([there[key] for key in ids.tolist()])
    assert index.verify() == []
    assert index.ids().tolist() == ids.tolist()
    np.testing.assert_array_equal(index.vectors(ids), matrix)
    for query in (matrix[7] + np.float32(0.1), matrix[-1]):
        away = matrix - query
        order = np.lexsort((ids, np.einsum("ij,ij->i", away, away)))[:10]
        assert index.search(query, 10, lists=10**6, rescore=10**6, spread=np.inf).ids.tolist() == ids[order].tolist()


@pytest.mark.parametrize(("task", "module"), [("renew", "renewing"), ("split", "lire")])
def test_changes_and_searches_go_on_while_a_step_thinks_and_are_not_lost(monkeypatch: pytest.MonkeyPatch, task: str, module: str) -> None:
    index = built()
    number = crowded(index)
    there = dict(enumerate(OLD)) | {key: index.vectors(np.array([key]))[0] for key in range(1000, 1060)}
    home = index._parts.slots.ids.view()[np.flatnonzero(index._parts.slots.homes.view() == number)].tolist()
    gone, changed, came = home[0], home[1], there[home[2]] + np.float32(0.01)

    def change(time: int) -> None:
        def all_of_it() -> None:
            index.remove(np.array([gone]))
            index.add(np.array([5000]), came[None])
            index.add(np.array([changed]), came[None] + np.float32(0.02))
            assert index.search(came, 1).ids.tolist() == [5000]
            index.checkpoint()
            index.add(np.array([6000]), there[gone][None])  # in the slot of the one that went
            done.append(True)

        if not time:
            assert not in_a_thread(all_of_it).is_alive()

    done: list[bool] = []
    waits_for(index, task, number)
    times = while_thinking(monkeypatch, module, change)
    index.tend(1)
    assert times == [0]
    assert done == [True]
    there[6000] = there.pop(gone)
    there |= {5000: came, changed: came + np.float32(0.02)}
    holds(index, there)
    while index.tend(10):
        pass
    holds(index, there)
    index.checkpoint()
    holds(SpannIndex.open(index._disk), there)


@pytest.mark.parametrize(("task", "module"), [("renew", "renewing"), ("split", "lire")])
def test_where_much_comes_meanwhile_it_is_thought_about_again_and_in_the_end_others_wait(
    monkeypatch: pytest.MonkeyPatch, task: str, module: str
) -> None:
    index = built()
    number = crowded(index)
    there = dict(enumerate(OLD)) | {key: index.vectors(np.array([key]))[0] for key in range(1000, 1060)}
    late: list[threading.Thread] = []

    def change(time: int) -> None:
        more = there[1000] + 0.01 * np.random.default_rng(time).standard_normal((12, D)).astype(np.float32)
        ids = np.arange(2000 + 20 * time, 2012 + 20 * time)
        there.update(zip(ids.tolist(), more, strict=True))
        late.append(in_a_thread(lambda: index.add(ids, more), 0.3 if time == 3 else 20))

    waits_for(index, task, number)
    times = while_thinking(monkeypatch, module, change)
    index.tend(1)
    assert times == [0, 1, 2, 3]
    for thread in late:
        thread.join()
    monkeypatch.undo()
    holds(index, there)


@pytest.mark.parametrize(("task", "module"), [("renew", "renewing"), ("split", "lire")])
def test_a_list_that_was_made_again_meanwhile_is_thought_about_again(monkeypatch: pytest.MonkeyPatch, task: str, module: str) -> None:
    index = built()
    number = crowded(index)

    def change(time: int) -> None:
        if not time:  # which loses the copies of others that it had
            with index._parts.lock:
                index._mender.make_again([number])

    there = {key: index.vectors(np.array([key]))[0] for key in index.ids().tolist()}
    waits_for(index, task, number)
    times = while_thinking(monkeypatch, module, change)
    index.tend(1)
    assert times == [0, 1]
    holds(index, there)


def test_an_insert_reads_no_list_and_writes_none() -> None:
    disk = WatchedDisk()
    index = built(disk)
    disk.reads = disk.writes = 0
    for row in range(100):
        index.add(np.array([1000 + row]), NEW[row : row + 1])
    assert disk.reads == disk.writes == 0
    before = index._parts.nbytes
    assert index.nbytes >= before + index._parts.lists.pending > before
    there = dict(enumerate(OLD)) | dict(zip(range(1000, 1100), NEW, strict=False))
    holds(index, there)
    index.checkpoint()
    assert disk.writes > 0
    assert index._parts.lists.pending == 0
    holds(SpannIndex.open(disk), there)


def test_what_is_in_memory_of_lists_keeps_within_what_is_left_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnemos.index.spann.parts.PENDING", 12_000)
    disk = WatchedDisk()
    index = built(disk)
    disk.writes, most = 0, 0
    for row in range(N):
        index.add(np.array([1000 + row]), NEW[row : row + 1])
        most = max(most, index._parts.lists.pending)
    assert 4000 < most <= 12_000
    assert disk.writes > 0
    index.add(np.arange(2000, 2000 + N), NEW)
    assert index._parts.lists.pending <= 12_000
    holds(index, dict(enumerate(OLD)) | dict(zip(range(1000, 1300), NEW, strict=True)) | dict(zip(range(2000, 2300), NEW, strict=True)))


def test_an_insert_for_which_the_disk_has_no_room_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnemos.index.spann.parts.PENDING", 2000)
    disk = FaultyDisk()
    index = built(disk)
    there = dict(enumerate(OLD))
    for row in range(60):
        disk.fail_at(1 + row % 7, FULL)
        try:
            index.add(np.array([1000 + row]), NEW[row : row + 1])
        except StoreFull:
            continue
        there[1000 + row] = NEW[row]
    disk.reopen()
    assert 300 < len(there) < 360
    holds(index, there)


@pytest.mark.parametrize("power", [False, True])
def test_a_stop_at_any_write_of_a_life_in_which_little_stays_in_memory_loses_nothing(monkeypatch: pytest.MonkeyPatch, power: bool) -> None:
    monkeypatch.setattr("mnemos.index.spann.parts.PENDING", 3000)
    every = life.calls(4, steps=14)
    for at in range(2 + power, every, 13):
        assert life.cut_short(4, at, power, steps=14)


@given(steps=st.lists(st.tuples(st.sampled_from(["append", "create", "drop", "settle", "save"]), st.integers(0, 4), st.integers(0, 40)), max_size=40))
@settings(max_examples=60, deadline=None)
def test_lists_are_what_was_put_into_them_wherever_it_stands(steps: Sequence[tuple[str, int, int]]) -> None:
    disk = FaultyDisk()
    lists = Lists(Extents(disk, LISTS), Entries("int8", D))
    held: dict[int, bytes] = {}
    rng = np.random.default_rng(len(steps))
    for name, number, count in steps:
        entries = rng.integers(0, 256, (count, lists.entries.size), dtype=np.uint8)
        if name == "append" and number in held:
            assert lists.append(number, entries) * lists.entries.size == len(held[number]) + entries.nbytes
            held[number] += entries.tobytes()
        elif name == "create":
            lists.create(number, OLD[number], entries)
            held[number] = entries.tobytes()
        elif name == "drop" and held.pop(number, None) is not None:
            lists.drop(number)
        elif name == "settle":
            lists.settle(lists=count % 4)
        elif name == "save":
            lists.settle()
            assert lists.pending == 0
            lists.extents.published(lists.extents.begin())
        assert lists.numbers().tolist() == sorted(held)
        assert [piece.tobytes() for piece in lists.read_many(sorted(held))] == [held[one] for one in sorted(held)]
        assert all(np.array_equal(lists.head(one), OLD[one]) for one in held)
        assert lists.total * lists.entries.size == sum(map(len, held.values()))
        assert lists.damaged() == []
    again = Lists(Extents(disk, LISTS), Entries("int8", D), lists.table)
    lists.settle()
    again.clear_behind()
    assert [piece.tobytes() for piece in again.read_many(sorted(held))] == [held[one] for one in sorted(held)]


def test_settings_that_are_chosen_later_keep_the_recall_of_the_first() -> None:
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((1000, D)).astype(np.float32)
    index = SpannIndex.create(FaultyDisk(), D, Options(metric="l2", list_limit=48, head_ratio=0.08, recall=0.7))
    index.build(np.arange(1000), vectors)
    first = index.settings
    assert first.recall is not None
    assert first.floor == first.recall >= 0.7
    index._parts.settings = type(first)(first.lists, first.spread, first.rescore, first.recall, floor=0.97)  # as a build that reached more has it
    index.add(np.arange(2000, 2300), vectors[:300] + 2)
    while index.tend(20):
        pass
    later = index.settings
    assert later.floor == 0.97
    assert later.recall is not None
    assert later.recall >= 0.97 > first.recall
    index.checkpoint()
    assert SpannIndex.open(index._disk).settings == later
    assert index.calibrate().floor == index.settings.recall < 0.97  # who asks for it anew is promised what was asked for
