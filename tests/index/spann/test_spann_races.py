"""Searches that changes overtake, at the very moment between their reads: nothing is lost, given wrongly, or taken for damage."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from index.spann.faulty_disk import FaultyDisk
from mnemos.index.spann.index import SpannIndex
from mnemos.index.spann.opening import LISTS, VECTORS
from mnemos.index.spann.options import Options
from mnemos.index.spann.saving import Saver

D, N = 8, 400


class OvertakenDisk(FaultyDisk):
    """Calls `change` when a file is to be read, or has been and its reader does not know yet: once, or `always`."""

    def __init__(self) -> None:
        super().__init__()
        self.change: Callable[[], object] | None = None
        self.name, self.after, self.always = "", False, False

    def overtake(self, name: str, change: Callable[[], object], *, after: bool = False, always: bool = False) -> None:
        self.name, self.change, self.after, self.always = name, change, after, always

    def read_many(self, name: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        if self.after:
            pieces = super().read_many(name, spans)
            self._overtaken(name)
            return pieces
        self._overtaken(name)
        return super().read_many(name, spans)

    def _overtaken(self, name: str) -> None:
        change = self.change
        if change is not None and name == self.name:
            if not self.always:
                self.change = None
            change()


def built(**options: float) -> tuple[SpannIndex, OvertakenDisk, np.ndarray]:
    disk = OvertakenDisk()
    index = SpannIndex.create(disk, D, Options(metric="l2", **{"list_limit": 32, "merge_below": 4, **options}))  # type: ignore[arg-type]
    vectors = np.random.default_rng(1).standard_normal((N, D)).astype(np.float32)
    index.build(np.arange(N), vectors)
    return index, disk, vectors


def in_a_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_an_exact_search_finds_what_is_moved_between_lists_meanwhile() -> None:
    index, disk, vectors = built()
    slots = index._parts.slots
    disk.overtake(VECTORS, lambda: slots.restamp(slots.live()))  # as a reassignment does
    assert index.search(vectors[7], 3, exact=True).ids.tolist()[0] == 7
    assert disk.change is None


@pytest.mark.parametrize("exact", [True, False])
def test_what_is_replaced_meanwhile_is_found_as_it_was_or_as_it_is(exact: bool) -> None:
    index, disk, vectors = built()
    change = lambda: in_a_thread(lambda: index.add(np.array([7]), vectors[7:8] + np.float32(0.01)))  # noqa: E731
    disk.overtake(VECTORS if exact else LISTS, change, after=True)
    found = index.search(vectors[7], N, exact=exact, lists=N, spread=np.inf)
    assert disk.change is None
    assert sorted(found.ids.tolist()) == list(range(N))


def test_an_exact_search_does_not_give_a_new_vector_under_the_old_id_of_its_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnemos.index.spann.scanning._BLOCK", 64)
    index, disk, vectors = built()

    def change() -> None:
        index.remove(np.array([390]))
        index.checkpoint()
        index.add(np.array([5000]), vectors[7:8] + np.float32(0.01))

    before = index._parts.slots.map.find(np.array([390]))
    disk.overtake(VECTORS, lambda: in_a_thread(change))
    found = index.search(vectors[7], N, exact=True)
    assert index._parts.slots.map.find(np.array([5000])) == before
    assert sorted(found.ids.tolist()) == [key for key in range(N) if key != 390]


def test_a_filter_holds_for_a_vector_whose_entries_are_seen_before_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("small", "search"):
        monkeypatch.setattr(f"mnemos.index.spann.narrow.Narrow.{name}", lambda *_: None)  # lists are looked at
    index, disk, vectors = built()
    index.remove(np.array([7]))
    index.checkpoint()
    allowed = np.zeros(6000, dtype=bool)
    allowed[:N] = True
    index.add(np.arange(5001, 5001 + N), vectors + 3)
    index.remove(np.array([5100]))
    index.checkpoint()
    slots = index._parts.slots
    taken, go = threading.Event(), threading.Event()
    take = slots.take

    def late(*what: object) -> None:
        taken.set()
        assert go.wait(20)
        take(*what)  # type: ignore[arg-type]

    allowed[5100] = True  # the slot of this one, and with it its id for a moment, goes to 5999
    slots.take = late  # type: ignore[method-assign]
    adding = threading.Thread(target=lambda: index.add(np.array([5999]), vectors[7:8]))

    read_many = index._parts.lists.read_many

    def read_after(*what: Any, **how: Any) -> Any:
        index._parts.lists.read_many = read_many  # type: ignore[method-assign]
        adding.start()
        assert taken.wait(20)
        disk.overtake(VECTORS, go.set)
        return read_many(*what, **how)

    index._parts.lists.read_many = read_after  # type: ignore[method-assign]
    found = index.search(vectors[7], 10, allowed)
    go.set()
    adding.join()
    assert allowed[found.ids].all()
    assert len(found.ids) == 10


def test_pages_used_anew_under_a_search_are_no_damage() -> None:
    index, disk, vectors = built()
    parts, writer = index._parts, index._updater.writer

    def change() -> None:
        for _ in range(3):
            for number in parts.lists.numbers().tolist():
                writer.rewrite(number, parts.lists.read(number)[::-1])
            index.checkpoint()

    expected = index.search(vectors[3], 10, lists=N, rescore=N, spread=np.inf)
    disk.overtake(LISTS, lambda: in_a_thread(change))
    found = index.search(vectors[3], 10, lists=N, rescore=N, spread=np.inf)
    assert found.ids.tolist() == expected.ids.tolist()
    assert index.statistics()["mended"] == 0


def test_a_search_that_is_always_overtaken_comes_to_an_end() -> None:
    index, disk, vectors = built()
    threads: list[threading.Thread] = []

    def change() -> None:
        threads.append(threading.Thread(target=lambda: index.add(np.array([9]), vectors[9:10])))
        threads[-1].start()
        threads[-1].join(0.2)  # where the search holds the lock, it goes on alone

    disk.overtake(LISTS, change, always=True)
    found = index.search(vectors[7], 5)
    assert found.ids[0] == 7
    batch = next(index.iterate(vectors[7]))
    assert batch.ids[0] == 7
    disk.change = None
    for thread in threads:
        thread.join()
    assert 2 <= len(threads) <= 12
    assert index.verify() == []


def test_batches_give_all_when_lists_are_merged_between_them() -> None:
    index, _, vectors = built(head_ratio=0.3, list_limit=256)
    parts, lire = index._parts, index._updater.lire
    batches = index.iterate(vectors[0])
    given = next(batches).ids.tolist()
    for _ in range(len(parts.heads) // 2):
        counts = parts.lists.counts()
        numbers = parts.lists.numbers()
        with parts.lock:
            lire.merge(int(numbers[np.argmin(counts[numbers])]), whole=True)
    assert lire.merges > 3
    for batch in batches:
        given += batch.ids.tolist()
    assert sorted(given) == list(range(N))


def test_adding_threads_do_not_each_make_a_checkpoint_when_one_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnemos.index.spann.saving._WASTE", -1.0)
    index, _, vectors = built()
    monkeypatch.setattr(Saver, "_due", lambda self, patience: True)
    finish, inside, go = index._saver.checkpoints.finish, threading.Event(), threading.Event()
    made = []

    def slow(begun: object) -> None:
        made.append(begun)
        inside.set()
        assert go.wait(20)
        finish(begun)  # type: ignore[arg-type]

    monkeypatch.setattr(index._saver.checkpoints, "finish", slow)
    threads = [threading.Thread(target=index.add, args=(np.array([key]), vectors[:1])) for key in range(600, 604)]
    threads[0].start()
    assert inside.wait(20)
    for thread in threads[1:]:
        thread.start()
    for thread in threads[1:]:
        thread.join(5)
        assert not thread.is_alive()
    go.set()
    threads[0].join()
    assert len(made) == 1
    assert len(index) == N + 4


def test_where_the_best_are_removed_meanwhile_others_take_their_places() -> None:
    index, disk, vectors = built()
    disk.overtake(VECTORS, lambda: in_a_thread(lambda: index.remove(np.array([7]))), after=True)
    found = index.search(vectors[7], 10, lists=N, rescore=10, spread=np.inf)
    assert len(found.ids) == 10
    assert 7 not in found.ids
