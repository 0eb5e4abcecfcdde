"""Pages of a file: what a manifest refers to stays as it is, whatever happens; the choice of pages is the one that was promised."""

from __future__ import annotations

import copy
import random
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from index.spann.faulty_disk import FULL, FaultyDisk, Killed
from mnemos.base.errors import Corrupt, Invalid, StoreFull
from mnemos.index.spann.extents import PAGE, Extent, Extents

NAME = "lists.dat"


def restored(disk: FaultyDisk, extents: list[Extent]) -> Extents:
    pages = Extents(disk, NAME)
    pages.restore(np.array([each.page for each in extents], np.int64), np.array([each.pages for each in extents], np.int64))
    return pages


def test_the_smallest_free_run_is_taken_and_of_those_the_first() -> None:
    pages = Extents(FaultyDisk(), NAME)
    a, b, c, d, e = (pages.allocate(n * PAGE) for n in (3, 1, 2, 1, 2))
    assert [each.page for each in (a, b, c, d, e)] == [0, 3, 4, 6, 7]
    last = pages.allocate(1)
    for extent in (a, c, e):
        pages.free(extent)
    assert pages.allocate(PAGE).page == 10  # all of them still wait
    assert pages.bytes_waiting == 7 * PAGE
    pages.published()
    assert pages.free_runs() == [(0, 3), (4, 2), (7, 2)]
    assert pages.allocate(PAGE + 1) == Extent(4, 2)
    assert pages.allocate(PAGE) == Extent(7, 1)
    assert pages.allocate(PAGE) == Extent(8, 1)
    assert pages.allocate(4 * PAGE) == Extent(11, 4)
    assert last == Extent(9, 1)
    assert (pages.bytes_total, pages.bytes_used, pages.bytes_waiting) == (15 * PAGE, 12 * PAGE, 0)


def test_free_neighbours_become_one_run_and_a_free_end_is_cut_off() -> None:
    disk = FaultyDisk()
    pages = Extents(disk, NAME)
    extents = [pages.allocate(PAGE) for _ in range(6)]
    for extent in extents:
        pages.write(extent, 0, bytes([extent.page]) * PAGE)
    for i in (1, 3, 2):
        pages.free(extents[i])
    pages.published()
    assert pages.free_runs() == [(1, 3)]
    pages.free(extents[5])
    pages.free(extents[4])
    assert disk.size(NAME) == 6 * PAGE
    pages.published()
    assert (pages.free_runs(), disk.size(NAME), pages.bytes_total) == ([], PAGE, PAGE)
    pages.free(extents[0])
    pages.published()
    assert (disk.size(NAME), pages.bytes_total) == (0, 0)


def test_a_file_grows_from_its_last_free_pages() -> None:
    pages = Extents(FaultyDisk(), NAME)
    pages.allocate(PAGE)
    pages.discard(pages.allocate(2 * PAGE))
    assert pages.free_runs() == [(1, 2)]
    assert pages.allocate(5 * PAGE) == Extent(1, 5)


def test_what_was_freed_after_a_manifest_was_begun_waits_for_the_next() -> None:
    pages = Extents(FaultyDisk(), NAME)
    a, b, _ = (pages.allocate(PAGE) for _ in range(3))
    pages.free(a)
    begun = pages.begin()
    pages.free(b)
    pages.published(begun)
    assert (pages.free_runs(), pages.bytes_waiting) == ([(0, 1)], PAGE)
    pages.published(pages.begin())
    assert pages.free_runs() == [(0, 2)]


def test_what_is_no_extent_in_use_is_refused() -> None:
    pages = Extents(FaultyDisk(), NAME)
    a, b = pages.allocate(2 * PAGE), pages.allocate(PAGE)
    for wrong in (Extent(0, 1), Extent(1, 1), Extent(0, 3), Extent(5, 1), Extent(-1, 1), Extent(0, 0)):
        with pytest.raises(Invalid, match="no extent in use"):
            pages.free(wrong)
        with pytest.raises(Invalid):
            pages.write(wrong, 0, b"x")
    pages.free(b)
    with pytest.raises(Invalid):
        pages.free(b)
    with pytest.raises(Invalid, match="leave"):
        pages.write(a, 2 * PAGE - 1, b"xy")
    with pytest.raises(Invalid):
        pages.read(a, 2 * PAGE + 1)
    with pytest.raises(Invalid):
        pages.allocate(-1)
    assert (pages.bytes_used, pages.bytes_waiting) == (2 * PAGE, PAGE)


def test_a_file_that_ends_too_early_is_found() -> None:
    disk = FaultyDisk()
    pages = Extents(disk, NAME)
    pages.allocate(PAGE)
    extent = pages.allocate(PAGE)
    pages.write(extent, 0, b"abc")
    assert pages.read(extent, 3) == b"abc"
    with pytest.raises(Corrupt, match=r"lists\.dat: ends after 3 of the 4 bytes at byte 4,096"):
        pages.read(extent, 4)
    assert pages.read_many([(1, 1, 9), (0, 0, 2)]) == [b"bc", b"\0\0"]


def test_free_pages_follow_from_the_extents_in_use() -> None:
    disk = FaultyDisk()
    disk.write(NAME, 0, bytes(20 * PAGE))
    pages = restored(disk, [Extent(9, 2), Extent(2, 3), Extent(5, 1)])
    assert pages.free_runs() == [(0, 2), (6, 3)]
    assert (pages.bytes_total, pages.bytes_used, disk.size(NAME)) == (11 * PAGE, 6 * PAGE, 11 * PAGE)
    pages.free(Extent(2, 3))
    assert (restored(disk, []).bytes_total, disk.size(NAME)) == (0, 0)


@pytest.mark.parametrize("wrong", [[Extent(0, 2), Extent(1, 1)], [Extent(-1, 1)], [Extent(3, 0)], [Extent(2, 1), Extent(2, 1)]])
def test_extents_that_overlap_are_damage(wrong: list[Extent]) -> None:
    with pytest.raises(Corrupt, match="overlaps"):
        restored(FaultyDisk(), wrong)


def test_a_full_disk_leaves_the_pages_as_they_were() -> None:
    disk = FaultyDisk()
    pages = Extents(disk, NAME)
    kept = pages.allocate(PAGE)
    pages.write(kept, 0, b"k" * PAGE)
    extent = pages.allocate(3 * PAGE)
    disk.fail_at(1, FULL)
    with pytest.raises(StoreFull):
        pages.write(extent, 0, b"x" * 3 * PAGE)
    pages.discard(extent)
    assert pages.read(kept, PAGE) == b"k" * PAGE
    again = pages.allocate(3 * PAGE)
    pages.write(again, 0, b"y" * 3 * PAGE)
    assert (again, pages.read(again, 3 * PAGE)) == (extent, b"y" * 3 * PAGE)


def test_nothing_stays_of_what_pages_held() -> None:
    disk = FaultyDisk()
    pages = Extents(disk, NAME)
    extents = [pages.allocate(2 * PAGE) for _ in range(300)]
    for extent in extents:
        pages.write(extent, 0, b"secret" * 1000)
    for extent in extents[:-1]:
        pages.free(extent)
    pages.wipe()
    assert disk.read(NAME, 0, 6) == b"secret"  # it waits: the last manifest may need it
    pages.published()
    new = pages.allocate(2 * PAGE)
    pages.fill(new, b"public")
    assert pages.read(new, 2 * PAGE) == b"public".ljust(2 * PAGE, b"\0")
    pages.wipe()
    disk.write("new", 0, b"x")
    disk.replace("new", "manifest")  # the names of files are durable after this
    disk.lose_power()
    left = disk.read(NAME, 0, disk.size(NAME))
    assert b"secret" not in left[: extents[-1].page * PAGE]
    assert left[extents[-1].page * PAGE :].startswith(b"secret" * 1000)
    with pytest.raises(Invalid):
        pages.fill(extents[-1], bytes(2 * PAGE + 1))


def test_the_same_calls_choose_the_same_pages() -> None:
    def run() -> list[Any]:
        rng, pages, held, seen = random.Random(7), Extents(FaultyDisk(), NAME), [], []
        for _ in range(2000):
            if held and rng.random() < 0.48:
                pages.free(held.pop(rng.randrange(len(held))))
            else:
                held.append(pages.allocate(rng.randint(1, 9 * PAGE)))
                seen.append(held[-1])
            if rng.random() < 0.05:
                pages.published(pages.begin())
        return [*seen, *pages.free_runs()]

    assert run() == run()


class Paging(RuleBasedStateMachine):
    """Extents beside a model: what each holds, and what the last durable manifest says. A manifest here is the extents and what counts of each."""

    @initialize(seed=st.integers(0, 2**32))
    def start(self, seed: int) -> None:
        self.disk = FaultyDisk(seed)
        self.pages = Extents(self.disk, NAME)
        self.random = random.Random(seed)
        self.held: dict[Extent, bytes] = {}
        self.fresh: set[Extent] = set()
        self.begun: tuple[int, dict[Extent, bytes]] | None = None
        self.durable: dict[Extent, bytes] = {}
        self._name_is_durable()

    def _name_is_durable(self) -> None:
        self.disk.write("new", 0, b"x")
        self.disk.sync(NAME)
        self.disk.replace("new", "manifest")

    def _pick(self, extents: Any) -> Extent:
        return self.random.choice(sorted(extents))

    @rule(nbytes=st.integers(1, 4 * PAGE), part=st.floats(0, 1))
    def allocate(self, nbytes: int, part: float) -> None:
        extent = self.pages.allocate(nbytes)
        assert extent.nbytes >= nbytes > extent.nbytes - PAGE
        for other in [*self.held, *self.durable, *(self.begun[1] if self.begun else ())]:
            assert extent.page + extent.pages <= other.page or other.page + other.pages <= extent.page
        content = self.random.randbytes(max(1, int(nbytes * part)))
        self.held[extent], self.fresh = content, self.fresh | {extent}
        self.pages.write(extent, 0, content)

    @precondition(lambda self: self.held)
    @rule(more=st.integers(1, PAGE))
    def append(self, more: int) -> None:
        extent = self._pick(self.held)
        room = extent.nbytes - len(self.held[extent])
        content = self.random.randbytes(min(more, room))
        self.pages.write(extent, len(self.held[extent]), content)
        self.held[extent] += content

    @precondition(lambda self: self.held)
    @rule()
    def free(self) -> None:
        extent = self._pick(self.held)
        del self.held[extent]
        self.fresh.discard(extent)
        self.pages.free(extent)

    @precondition(lambda self: self.fresh)
    @rule()
    def discard(self) -> None:
        extent = self._pick(self.fresh)
        del self.held[extent]
        self.fresh.discard(extent)
        self.pages.discard(extent)

    @precondition(lambda self: self.begun is None)
    @rule()
    def begin(self) -> None:
        self.begun = (self.pages.begin(), dict(self.held))
        self.fresh = set()

    @precondition(lambda self: self.begun is not None)
    @rule()
    def publish(self) -> None:
        assert self.begun is not None
        self.pages.sync()
        number, self.durable = self.begun
        self.begun = None
        self.pages.published(number)

    @rule(power=st.booleans())
    def stop(self, power: bool) -> None:
        if power:
            self.disk.lose_power()
        self.disk.reopen()
        self._go_on()

    @precondition(lambda self: self.held)
    @rule(power=st.booleans())
    def stop_in_a_write(self, power: bool) -> None:
        self.disk.kill_at(1)
        with pytest.raises(Killed):
            self.pages.write(self.pages.allocate(2 * PAGE), 0, self.random.randbytes(2 * PAGE))
        self.stop(power)

    def _go_on(self) -> None:
        self.pages = restored(self.disk, list(self.durable))
        self.held, self.fresh, self.begun = dict(self.durable), set(), None

    @invariant()
    def pages_add_up(self) -> None:
        free = sum(length for _, length in self.pages.free_runs()) * PAGE
        assert self.pages.bytes_total == self.pages.bytes_used + self.pages.bytes_waiting + free
        assert self.pages.bytes_used == sum(extent.nbytes for extent in self.held)

    @invariant()
    def contents_are_what_was_written(self) -> None:
        for extent, content in [*self.held.items(), *self.durable.items()]:
            assert self.pages.read(extent, len(content)) == content

    @invariant()
    def the_manifest_would_outlive_a_loss_of_power(self) -> None:
        disk = copy.deepcopy(self.disk)
        disk.lose_power()
        for extent, content in self.durable.items():
            assert disk.read(NAME, extent.page * PAGE, len(content)) == content


Paging.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestPaging = Paging.TestCase
