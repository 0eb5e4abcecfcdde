"""Vectors by slot: bit for bit what was written, or an error that names the slots."""

from __future__ import annotations

import threading
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from index.spann.faulty_disk import FaultyDisk
from mnemos.base.errors import Corrupt, Invalid
from mnemos.index.spann.disk import FolderDisk
from mnemos.index.spann.vector_file import DamagedVectors, VectorFile

NAME = "vectors.dat"


def filled(n: int, dimensions: int, seed: int = 0) -> tuple[FaultyDisk, VectorFile, np.ndarray]:
    disk = FaultyDisk()
    file, vectors = VectorFile(disk, NAME, dimensions), np.random.default_rng(seed).normal(size=(n, dimensions)).astype(np.float32)
    file.write(np.arange(n), vectors)
    return disk, file, vectors


@settings(max_examples=60, deadline=None)
@given(
    dimensions=st.sampled_from([1, 7, 384, 1500]),
    writes=st.lists(st.lists(st.integers(0, 60) | st.integers(0, 4000), min_size=1, max_size=20, unique=True), max_size=6),
    order=st.randoms(use_true_random=False),
)
def test_any_slots_in_any_order(dimensions: int, writes: list[list[int]], order: object) -> None:
    file, rng, model = VectorFile(FaultyDisk(), NAME, dimensions), np.random.default_rng(1), {}
    for slots in writes:
        vectors = rng.normal(size=(len(slots), dimensions)).astype(np.float32)
        file.write(np.array(slots), vectors)
        model.update(zip(slots, vectors, strict=True))
    asked = [*model, *list(model)[: len(model) // 3]]
    order.shuffle(asked)  # type: ignore[attr-defined]
    found = file.read(np.array(asked, dtype=np.int64))
    assert found.dtype == np.float32
    assert np.array_equal(found, np.array([model[slot] for slot in asked], dtype=np.float32).reshape(-1, dimensions))
    for some, part in file.read_all(np.array(asked, dtype=np.int64), block=7):
        assert len(some) <= 7
        assert all(np.array_equal(vector, model[slot]) for slot, vector in zip(some.tolist(), part, strict=True))
        asked = [slot for slot in asked if slot not in set(some.tolist())]
    assert asked == []
    asked = list(model)
    assert file.damaged(np.array(asked, dtype=np.int64)).tolist() == []


def test_bits_are_kept_also_those_of_no_number() -> None:
    file = VectorFile(FaultyDisk(), NAME, 4)
    bits = np.array([[0x7FC01234, 0x80000000, 0x00000001, 0xFF800000]], dtype=np.uint32)
    file.write(np.array([3]), bits.view(np.float32))
    assert np.array_equal(file.read(np.array([3])).view(np.uint32), bits)


def test_a_run_of_slots_is_one_write_and_neighbours_are_one_read() -> None:
    disk, file, vectors = filled(10, 384)
    writes: list[tuple[int, int]] = []
    reads: list[list[tuple[int, int]]] = []
    write, read_many = disk.write, disk.read_many
    disk.write = lambda name, offset, data: (writes.append((offset, len(data))), write(name, offset, data))[1]  # type: ignore[method-assign]
    disk.read_many = lambda name, spans: (reads.append(list(spans)), read_many(name, spans))[1]  # type: ignore[method-assign]
    file.write(np.array([5, 3, 9, 4]), vectors[[5, 3, 9, 4]])
    size = file.record
    assert writes == [(3 * size, 3 * size), (9 * size, size)]
    assert np.array_equal(file.read(np.array([4, 9, 3, 0])), vectors[[4, 9, 3, 0]])
    assert reads == [[(0, 5 * size), (9 * size, size)]]


@pytest.mark.parametrize("slots", [[3, 5, 2, 4], [27, 0, 36, 9, 18]], ids=["together", "scattered"])
def test_any_flipped_bit_is_found_and_its_slot_named(slots: list[int]) -> None:
    disk, file, vectors = filled(40, 384)
    rng = np.random.default_rng(2)
    for slot in slots:
        for bit in rng.integers(0, file.record * 8, 60).tolist():
            disk.flip(NAME, slot * file.record * 8 + bit)
            with pytest.raises(DamagedVectors, match=rf"vectors\.dat: the vector in slot {slot} is damaged") as caught:
                file.read(np.array(slots))
            assert caught.value.slots == [slot]
            disk.flip(NAME, slot * file.record * 8 + bit)
    assert np.array_equal(file.read(np.array(slots)), vectors[slots])
    for slot in (1, 7, 8, 30):
        disk.flip(NAME, slot * file.record * 8 + 11)
    assert file.damaged(np.arange(40), block=6).tolist() == [1, 7, 8, 30]
    file.write(np.array([7]), vectors[[7]])
    with pytest.raises(Corrupt, match="slot 1, 8, 30 is damaged"):
        file.read(np.arange(40))


def test_a_vector_at_the_wrong_place_is_damage() -> None:
    disk, file, _ = filled(40, 16)
    disk.write(NAME, 5 * file.record, disk.read(NAME, 4 * file.record, file.record))
    assert file.damaged(np.arange(40)).tolist() == [5]


def test_what_was_never_written_is_damage() -> None:
    disk, file, vectors = filled(3, 384)
    file.write(np.array([6]), vectors[:1])
    for slots in (np.arange(12), np.array([0, 5, 11])):
        assert file.damaged(slots).tolist() == [slot for slot in slots if slot in (3, 4, 5, 7, 8, 9, 10, 11)]
    file.cut(2)
    assert (file.bytes_total, file.damaged(np.array([0, 1, 2, 6])).tolist()) == (2 * file.record, [2, 6])
    disk.truncate(NAME, 2 * file.record - 1)
    assert file.damaged(np.arange(3)).tolist() == [1, 2]
    assert VectorFile(FaultyDisk(), "none", 8).damaged(np.array([0, 100])).tolist() == [0, 100]


def test_wrong_input_is_refused_and_nothing_is_written() -> None:
    disk, file, vectors = filled(3, 8)
    before = bytes(disk.files[NAME].now)
    with pytest.raises(Invalid, match="slot 1 is to be written twice"):
        file.write(np.array([1, 0, 1]), vectors)
    with pytest.raises(Invalid, match=r"want vectors of shape \(3, 8\), not \(3, 7\)"):
        file.write(np.arange(3), vectors[:, :7])
    for slots in ([-1], [1 << 32], [[0, 1]]):
        with pytest.raises(Invalid, match="slots are a row of numbers"):
            file.read(np.array(slots))
    with pytest.raises(Invalid):
        VectorFile(disk, NAME, 0)
    file.write(np.zeros(0, dtype=np.int64), np.zeros((0, 8), dtype=np.float32))
    assert file.read(np.zeros(0, dtype=np.int64)).shape == (0, 8)
    assert bytes(disk.files[NAME].now) == before


def test_threads_read_while_others_are_written(tmp_path: Path) -> None:
    file = VectorFile(FolderDisk(tmp_path), NAME, 64)
    vectors = np.random.default_rng(0).normal(size=(2000, 64)).astype(np.float32)
    file.write(np.arange(1000), vectors[:1000])
    wrong: list[object] = []

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(60):
            slots = rng.integers(0, 1000, 50)
            if not np.array_equal(file.read(slots), vectors[slots]):
                wrong.append(slots)

    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
    for reader in readers:
        reader.start()
    for at in range(1000, 2000, 10):
        file.write(np.arange(at, at + 10), vectors[at : at + 10])
    for reader in readers:
        reader.join()
    assert wrong == []
    assert np.array_equal(file.read(np.arange(2000)), vectors)
