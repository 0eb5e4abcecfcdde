"""Where an index could go wrong at its edges: numbers too large or too small, builds that were stopped, disks that fail at a bad moment."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

from index.spann.faulty_disk import BROKEN, FULL, FaultyDisk, Killed
from mnemos.base.errors import Conflict, Invalid, StoreFull, StoreUnavailable
from mnemos.index.spann.index import SpannIndex
from mnemos.index.spann.opening import LISTS, VECTORS
from mnemos.index.spann.options import Options

D = 8
CODES = ["binary", "int8", "float16", "float32"]


def data(n: int, seed: int = 0, d: int = D) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def small(disk: FaultyDisk | None = None, **options: object) -> SpannIndex:
    return SpannIndex.create(disk or FaultyDisk(), D, Options(**{"metric": "l2", "list_limit": 16, "merge_below": 4, "head_ratio": 0.1, **options}))  # type: ignore[arg-type]


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("scale", [1e16, 1e8, 1e-8, 1e-15])
def test_large_and_small_vectors_are_found_as_others_are(code: str, scale: float) -> None:
    vectors, index = data(300) * np.float32(scale), small(code=code)
    index.build(np.arange(200), vectors[:200])
    index.add(np.arange(200, 300), vectors[200:])
    while index.tend(10):
        pass
    assert index.verify() == []
    for row in (3, 250):
        squares = np.square(vectors.astype(np.float64) - vectors[row]).sum(axis=1)
        expected = np.argsort(squares)[:5].tolist()
        assert index.search(vectors[row], 5, exact=True).ids.tolist() == expected
        assert len(set(index.search(vectors[row], 5).ids.tolist()) & set(expected)) >= 4


def test_vectors_whose_squares_leave_float32_are_refused() -> None:
    index = small()
    index.add(np.array([1]), data(1))
    huge = np.full((1, D), 1e30, dtype=np.float32)
    with pytest.raises(Invalid, match="scale all vectors down"):
        index.add(np.array([2]), huge)
    with pytest.raises(Invalid, match="scale all vectors down"):
        small().build(np.array([2]), huge)
    with pytest.raises(Invalid, match="scale all vectors down"):
        index.search(huge[0], 1)
    assert index.ids().tolist() == [1]
    for name, value in (("max_norm", 1e30), ("epsilon", np.inf), ("rng_factor", np.inf), ("seed", -1), ("reassign_heads", -1)):
        with pytest.raises(Invalid, match=name):
            Options(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [1e30, 1e-30, 1e-42])
def test_cosines_do_not_depend_on_lengths(scale: float) -> None:
    vectors = data(200)
    index = small(metric="cosine")
    index.build(np.arange(200), (vectors * np.float32(scale)).astype(np.float32))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    found = index.search(vectors[5] * np.float32(scale), 5, exact=True)
    assert np.isfinite(found.distances).all()
    if scale > 1e-40:  # of numbers that small few digits are left
        assert found.ids.tolist() == np.argsort(1 - unit @ unit[5])[:5].tolist()
    assert found.ids[0] == 5


@pytest.mark.parametrize("length", [1e-6, 1.0, 1e6])
def test_inner_products_are_right_whatever_the_length_of_the_query(length: float) -> None:
    vectors = data(400)
    index = small(metric="inner_product", max_norm=1000.0, list_limit=64)
    index.build(np.arange(400), vectors)
    for seed in range(5):
        query = data(1, seed=50 + seed)[0] * np.float32(length)
        expected = -(vectors.astype(np.float64) @ query.astype(np.float64))
        found = index.search(query, 10, exact=True)
        assert found.ids.tolist() == np.argsort(expected)[:10].tolist()
        np.testing.assert_allclose(found.distances, np.sort(expected)[:10], rtol=1e-5)
        assert len(set(index.search(query, 10).ids.tolist()) & set(found.ids.tolist())) >= 8
    assert len(index.search(np.zeros(D), 3).ids) == 3


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("n", [0, 1, 2, 40])
def test_few_vectors_of_few_dimensions(n: int, d: int) -> None:
    index = SpannIndex.create(FaultyDisk(), d, Options(metric="l2", list_limit=8, merge_below=2))
    vectors = data(n, d=d)
    index.build(np.arange(n), vectors)
    index.add(np.arange(n, n + 30), data(30, seed=1, d=d))
    while index.tend(10):
        pass
    assert index.verify() == []
    assert sorted(index.search(np.zeros(d), 10**9).ids.tolist()) == list(range(n + 30))
    distances, ids = index.kneighbors(np.zeros((2, d)), np.int64(50))  # type: ignore[arg-type]
    assert np.count_nonzero(ids[0] >= 0) == min(50, n + 30)
    assert np.isinf(distances[ids < 0]).all()
    with pytest.raises(Invalid, match="k is"):
        index.kneighbors(np.zeros((0, d)), 0)


def test_filters_that_are_none() -> None:
    index = small()
    index.build(np.arange(100), data(100))
    for wrong in (np.array([1, 2, 3]), [True], np.ones((2, 2), dtype=bool), lambda ids: ids, lambda ids: np.ones(len(ids) + 1, dtype=bool)):
        with pytest.raises(Invalid, match="allowed"):
            index.search(np.zeros(D), 3, wrong)  # type: ignore[arg-type]
    for nothing in (np.zeros(0, dtype=bool), np.zeros(1000, dtype=bool), lambda ids: np.zeros(len(ids), dtype=bool)):
        found = index.search(np.zeros(D), 3, nothing)
        assert found.exact
        assert len(found.ids) == 0
        assert list(index.iterate(np.zeros(D), nothing)) == []
    negative = np.array([-5, -9])
    index.add(negative, data(2))
    assert index.search(data(1)[0], 3, np.ones(1, dtype=bool)).ids.tolist() == [0]
    assert sorted(index.search(data(1)[0], 3, lambda ids: ids < 0).ids.tolist()) == [-9, -5]


@pytest.mark.parametrize("stage", ["vectors", "heads"])
def test_an_index_whose_build_was_stopped_answers_all_and_takes_no_changes(stage: str) -> None:
    disk, vectors = FaultyDisk(), data(300)
    index = small(disk)

    def stop(done: int, total: int) -> None:
        if done / total > (0.06 if stage == "vectors" else 0.9):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.build(np.arange(300) * 2, vectors, progress=stop)
    for held in (SpannIndex.open(deepcopy(disk)), index):
        assert not held.complete
        found = held.search(vectors[7], 300)
        assert found.exact
        assert sorted(found.ids.tolist()) == list(range(0, 600, 2))
        assert found.ids[0] == 14
        assert sum(len(batch.ids) for batch in held.iterate(vectors[7])) == 300
        for change in (
            lambda held: held.add(np.array([1]), data(1)),
            lambda held: held.remove(np.array([14])),
            lambda held: held.erase(np.array([14])),
            lambda held: held.apply(3, np.array([1]), data(1), np.array([14])),
            lambda held: held.tend(),
        ):
            with pytest.raises(Conflict, match="build"):
                change(held)
        with pytest.raises(Conflict, match="other vectors"):
            held.build(np.arange(300), vectors)
        assert held.verify() == []
        held.build(np.arange(300) * 2, vectors)
        assert held.complete
        assert held.verify() == []
        assert held.search(vectors[7], 1).ids.tolist() == [14]
        held.remove(np.array([14]))


def test_a_build_after_failures_shares_no_slot_with_what_is_added_later() -> None:
    disk = FaultyDisk()
    index = small(disk)
    disk.fail_at(1, FULL)
    with pytest.raises(StoreFull):
        index.add(np.arange(5), data(5))

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.build(np.arange(100), data(100), progress=stop)
    assert index.complete
    index.build(np.arange(100), data(100))
    assert len(index._parts.slots.ids.view()) == 100  # what failed holds no room
    index.checkpoint()
    index.add(np.arange(100, 160), data(60, seed=1))
    assert index.verify() == []
    np.testing.assert_array_equal(index.vectors(np.arange(160)), np.concatenate([data(100), data(60, seed=1)]))


def test_adds_that_fail_again_and_again_take_no_room() -> None:
    disk = FaultyDisk()
    index = small(disk)
    index.build(np.arange(50), data(50))
    index.add(np.array([50]), data(1))
    for _ in range(20):
        disk.fail_at(1, FULL)
        with pytest.raises(StoreFull):
            index.add(np.arange(100, 140), data(40, seed=2))
    assert len(index._parts.slots.ids.view()) <= 51 + 40
    index.add(np.arange(100, 140), data(40, seed=2))
    assert index.verify() == []


@pytest.mark.parametrize("at", range(1, 40))
def test_what_could_not_be_erased_is_erased_when_it_is_tried_again(at: int) -> None:
    disk, vectors = FaultyDisk(at), data(200)
    index = small(disk)
    index.build(np.arange(150), vectors[:150])
    index.add(np.arange(150, 200), vectors[150:])
    parts = index._parts
    heads = parts.heads.vectors(parts.heads.numbers())
    rotated = parts.rotate(vectors)
    as_heads = [row for row in range(200) if (np.square(heads - rotated[row]).sum(axis=1) < 1e-9).any()]
    gone = np.array([*as_heads[:3], 160])
    index.checkpoint()
    disk.kill_at(at) if at % 2 else disk.fail_at(at, FULL if at % 4 else BROKEN)
    try:
        index.erase(gone)
    except Killed:
        disk.reopen()
        index = SpannIndex.open(disk)
    except (StoreFull, StoreUnavailable):
        if disk.unsure:
            disk.reopen()
            index = SpannIndex.open(disk)
    index.erase(gone)
    files = [bytes(disk.files[name].now) for name in (LISTS, VECTORS)]
    for row in gone.tolist():
        assert not any(trace.tobytes() in file for trace in (vectors[row], rotated[row]) for file in files)
    assert index.verify() == []
    assert not index.has(gone).any()


def test_entries_that_no_checkpoint_came_to_know_of_are_overwritten_too() -> None:
    disk = FaultyDisk()
    index = small(disk, list_limit=64, head_ratio=0.02, code="float32")
    index.build(np.arange(100), data(100))
    index.add(np.array([500]), data(1, seed=7))
    while index._updater.settle(10):
        pass
    parts = index._parts
    head = parts.heads.vector(int(parts.slots.homes.view()[parts.slots.map.find(np.array([500]))][0]))
    trace = (parts.rotate(data(1, seed=7))[0] - head).tobytes()
    assert trace in bytes(disk.files[LISTS].now)
    index = SpannIndex.open(disk)  # the process ended; the log says that it was forgotten before it was added again
    index.erase(np.array([500]))
    assert trace not in bytes(disk.files[LISTS].now)
    assert index.verify() == []


def test_equal_heads_go_all_when_their_vector_is_erased() -> None:
    disk = FaultyDisk()
    index = small(disk)
    index.build(np.arange(100), data(100))
    one = data(1, seed=9)
    index.add(np.arange(200, 400), np.repeat(one, 200, axis=0))
    while index.tend(10):
        pass
    rotated = index._parts.rotate(one)[0]
    trace = rotated.astype("<f4").tobytes()[:8]
    assert bytes(disk.files[LISTS].now).count(trace) > 3
    index.erase(np.arange(200, 400))
    assert trace not in bytes(disk.files[LISTS].now)
    assert index.verify() == []


def test_tending_comes_to_an_end_though_the_count_of_entries_is_wrong() -> None:
    index = small()
    index.build(np.arange(300), data(300))
    index._parts.slots.entries -= 2000
    steps = 0
    while done := index.tend(5):
        steps += done
        assert steps < 4 * index.lists
    assert index.backlog == 0
    assert index._parts.slots.entries == index._parts.lists.total


def test_calibrating_tiny_and_equal_data() -> None:
    for vectors in (data(3), np.repeat(data(1), 500, axis=0), np.repeat(data(5), 100, axis=0)):
        index = small(list_limit=64)
        index.build(np.arange(len(vectors)), vectors)
        assert index.settings.recall is None or index.settings.recall >= 0.95
        assert len(index.search(vectors[0], 3).ids) == 3


def test_a_closed_index_says_so(tmp_path: Path) -> None:
    index = SpannIndex.create(tmp_path, D, Options(metric="l2"))
    index.build(np.arange(50), data(50))
    batches = index.iterate(data(1)[0])
    index.close()
    for use in (lambda: index.search(data(1)[0], 3), lambda: index.add(np.array([99]), data(1)), index.checkpoint, lambda: next(batches)):
        with pytest.raises(StoreUnavailable, match="closed"):
            use()


def plant(index: SpannIndex, kind: str) -> None:
    """Make memory and lists disagree, as a mistake in the code would."""
    parts = index._parts
    slots, lists = parts.slots, parts.lists
    live = slots.live()
    number = int(slots.homes.view()[live[0]])
    head, raw = parts.heads.vector(number), lists.read(number)
    if kind == "no entry at home":
        lists.create(number, head, raw[parts.entries.slots(raw) != live[0]])
    elif kind == "at home elsewhere":
        slots.homes.set(live[:1], next(n for n in lists.numbers().tolist() if live[0] not in parts.entries.slots(lists.read(n))))
    elif kind == "at home in no list":
        slots.homes.set(live[:1], 5000)
    elif kind == "an entry of a slot that is empty":
        slot = slots.empty()[:1]
        lists.append(number, parts.entries.write(slot.astype(np.uint32), slots.stamps.view()[slot], parts.rotate(data(1)), head))
    elif kind == "an entry of no slot":
        lists.append(number, parts.entries.write(np.array([9999], np.uint32), np.array([0], np.uint32), parts.rotate(data(1)), head))
    elif kind == "an id twice":
        slots.ids.set(live[:1], slots.ids.view()[live[1]])
    elif kind == "a map that leads astray":
        slots.map.put(slots.ids.view()[live[:1]], live[1:2])
    elif kind == "a list without a head":
        parts.heads.remove(number)
    elif kind == "a head without a list":
        lists.drop(number)
    elif kind == "another head on disk":
        lists.create(number, head + 1, raw)
    elif kind == "a slot that is free and held":
        slots._free.append(int(live[0]))
    elif kind == "a wrong total":
        lists.total += 5
    elif kind == "pages of no list":
        lists.extents.allocate(10)


MENDED = ["no entry at home", "at home elsewhere", "at home in no list", "an entry of a slot that is empty", "an entry of no slot", "an id twice",
          "a map that leads astray", "a list without a head", "a head without a list", "another head on disk"]  # fmt: skip
FOUND = ["a slot that is free and held", "a wrong total", "pages of no list"]


@pytest.mark.parametrize("kind", MENDED + FOUND)
def test_whatever_disagrees_is_found_and_put_right(kind: str) -> None:
    index, vectors = small(), data(200)
    index.build(np.arange(200), vectors)
    index.remove(np.arange(190, 200))
    index.checkpoint()
    assert index.verify() == []
    plant(index, kind)
    assert index.verify() != []
    if kind in MENDED:
        index.mend()
        assert index.verify() == []
        assert len(index) == (190 if kind != "an id twice" else 189)
        everything = index.search(vectors[0], 500, lists=10**6, rescore=10**6, spread=np.inf)
        assert everything.ids.tolist() == index.search(vectors[0], 500, exact=True).ids.tolist()
        index.checkpoint()
        assert SpannIndex.open(index._disk).verify() == []


def test_mending_counts_the_copies_again() -> None:
    index = small()
    index.build(np.arange(200), data(200))
    copies = index._parts.slots.copies.view().copy()
    entries = index._parts.slots.entries
    index._parts.slots.copies.set(np.arange(50), np.full(50, 3))
    index._parts.slots.entries += 40
    index.mend()
    np.testing.assert_array_equal(index._parts.slots.copies.view(), copies)
    assert index._parts.slots.entries == entries


def test_an_empty_list_whose_head_is_damaged_goes_when_the_index_is_opened() -> None:
    disk = FaultyDisk()
    index = small(disk)
    vectors = data(200)
    index.build(np.arange(200), vectors)
    parts = index._parts
    home = int(parts.slots.homes.view()[0])
    index.remove(np.flatnonzero(parts.slots.homes.view() == home))
    index.checkpoint()
    disk.flip(LISTS, 8 * 4096 * int(parts.lists.table.view()[home]["page"]) + 9)
    again = SpannIndex.open(disk)
    assert again.verify() == []
    assert again.ids().tolist() == index.ids().tolist()
