"""The index under stops at any write, loss of power, full and broken disks, and flipped bits."""

from __future__ import annotations

import random

import numpy as np
import pytest

from index.spann.faulty_disk import BROKEN, FULL, FaultyDisk, Killed
from index.spann.life import DIMENSIONS, Life, calls, cut_short
from mnemos.base.errors import Corrupt, MnemosError, StoreFull, StoreUnavailable
from mnemos.index.spann.extents import PAGE
from mnemos.index.spann.index import SpannIndex
from mnemos.index.spann.opening import LISTS, VECTORS
from mnemos.index.spann.options import Options

SEED = 11


@pytest.mark.parametrize("power", [False, True], ids=["kill", "power"])
def test_a_stop_at_any_write_loses_nothing_and_doubles_nothing(power: bool) -> None:
    whole = calls(SEED, 12)
    for at in range(1, whole + 1, 3 if power else 2):
        assert cut_short(SEED, at, power, 12), at


@pytest.mark.parametrize("seed", range(8))
def test_lives_of_other_seeds_are_cut_short(seed: int) -> None:
    at = random.Random(seed).randrange(1, 250)
    assert cut_short(1000 + seed, at, power=seed % 2 == 0)


@pytest.mark.parametrize("code", [FULL, BROKEN], ids=["full", "broken"])
@pytest.mark.parametrize("at", range(3, 220, 9))
def test_a_disk_that_fails_once_costs_nothing_that_was_there(code: int, at: int) -> None:
    life, disk = Life(SEED), FaultyDisk(at)
    index = life.open(disk)
    disk.fail_at(at, code)
    failed = 0
    for _ in range(3):
        try:
            life.live(index)
            break
        except (StoreFull, StoreUnavailable):
            failed += 1
            life.check(index)  # what it held it still gives, now
            if disk.unsure:  # a sync that failed: the disk is to be opened again
                disk.reopen()
                index = life.open(disk)
    assert failed <= 1
    life.check(index)
    assert index.verify() == []


@pytest.mark.parametrize("name", [LISTS, VECTORS])
def test_a_flipped_bit_is_found_and_mended_from_the_vectors_or_the_store(name: str) -> None:
    life, disk = Life(SEED), FaultyDisk()
    life.live(life.open(disk))
    state = life.states[-1]
    rng = random.Random(5)
    for _ in range(40):
        index = SpannIndex.open(disk, source=lambda ids: np.array([state[key] for key in ids.tolist()]))
        disk.flip(name, _used_bit(index, name, rng))
        assert index.verify()
        life.check(index)  # answers are right whatever is damaged
        index.mend()
        assert index.verify() == []
        index.checkpoint()
        index.close()


def _used_bit(index: SpannIndex, name: str, rng: random.Random) -> int:
    """A bit of a list, or of a vector, that is in use."""
    parts = index._parts
    if name == VECTORS:
        return 8 * parts.vectors.record * rng.choice(parts.slots.live().tolist()) + rng.randrange(8 * parts.vectors.record)
    record = parts.lists.table.view()[rng.choice(parts.lists.numbers().tolist())]
    used = 4 * DIMENSIONS + int(record["count"]) * parts.entries.size
    return 8 * PAGE * int(record["page"]) + rng.randrange(8 * used)


def test_a_flipped_bit_in_the_tables_is_refused_when_the_index_is_opened() -> None:
    life, disk = Life(SEED), FaultyDisk()
    life.live(life.open(disk))
    refused = 0
    for bit in range(0, 8 * disk.size("manifest"), 97):
        disk.flip("manifest", bit)
        with pytest.raises(MnemosError):
            SpannIndex.open(disk)
        disk.flip("manifest", bit)
        refused += 1
    assert refused > 10
    life.check(SpannIndex.open(disk))


def test_damaged_vectors_that_nobody_knows_any_more_are_named() -> None:
    life, disk = Life(SEED), FaultyDisk()
    index = life.open(disk)
    life.live(index)
    slot = int(index._parts.slots.live()[0])
    disk.flip(VECTORS, 8 * slot * index._parts.vectors.record + 3)
    with pytest.raises(Corrupt, match=f"slot {slot} "):
        index.search(np.zeros(DIMENSIONS, np.float32), 10, exact=True)
    assert any("damaged on disk" in problem for problem in index.verify())


@pytest.mark.parametrize("at", [3, 8, 20, 35, 50, 60])
def test_a_build_that_was_stopped_goes_on(at: int) -> None:
    rng = np.random.default_rng(at)
    vectors = rng.standard_normal((300, DIMENSIONS)).astype(np.float32)
    ids = np.arange(300) * 2
    disk = FaultyDisk(at)
    index = SpannIndex.create(disk, DIMENSIONS, Options(list_limit=16, merge_below=2, head_ratio=0.1))
    disk.kill_at(at)
    with pytest.raises(Killed):
        index.build(ids, vectors)
    disk.lose_power()
    index = SpannIndex.open(disk)
    index.build(ids, vectors, position=7)
    assert index.complete
    assert index.position == 7
    assert index.verify() == []
    assert index.ids().tolist() == ids.tolist()
    other = SpannIndex.open(disk)
    assert other.verify() == []
    assert other.search(vectors[5], 1).ids.tolist() == [10]


def test_choosing_settings_mends_a_damaged_vector_or_names_it() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((200, DIMENSIONS)).astype(np.float32)
    disk = FaultyDisk()
    index = SpannIndex.create(disk, DIMENSIONS, Options(metric="l2", list_limit=16, merge_below=2, head_ratio=0.1))
    index.build(np.arange(200), vectors)
    slot = int(index._parts.slots.live()[7])
    disk.flip(VECTORS, 8 * slot * index._parts.vectors.record + 3)
    before = index.settings
    with pytest.raises(Corrupt, match=f"slot {slot} "):
        index.calibrate()
    assert index.settings == before
    again = SpannIndex.open(disk, source=lambda ids: vectors[ids])
    again.calibrate()
    assert again.verify() == []
