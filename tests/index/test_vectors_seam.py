"""What every driver of the seam `VectorIndex` does alike: in memory, and on disk with a tail in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mnemos.base.errors import Invalid, MnemosError, StoreUnavailable
from mnemos.index.disk_vectors import NEAR, DiskVectors, VectorsLost
from mnemos.index.exact import ExactIndex
from mnemos.index.growing import Growing
from mnemos.index.spann.index import SpannIndex
from mnemos.index.vectors import Floats, VectorIndex

SIZE = 24
Filled = Callable[[Floats], VectorIndex]


def unit(seed: int, n: int) -> Floats:
    values = np.random.default_rng(seed).standard_normal((n, SIZE)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def positions(n: int) -> Growing:
    seq = Growing(np.int64)
    seq.extend(np.arange(n) * 3 + 5)
    return seq


def on_disk(folder: Path, vectors: Floats, until: int, rows: int | None = None) -> DiskVectors:
    """An index of which the rows before `until` are on disk, where they are not zero, the others in memory."""
    seq = positions(len(vectors) if rows is None else rows)
    disk = SpannIndex.create(folder, SIZE)
    some = vectors[:until].any(axis=1)
    disk.build(seq.view()[:until][some], vectors[:until][some], position=int(seq.view()[until - 1]) if until else 0)
    index = DiskVectors(disk, seq)
    index.put(np.arange(len(vectors)), vectors)
    return index


@pytest.fixture(params=["memory", "disk and memory", "all on disk", "all on disk, in a log of many spaces", "nothing on disk"])
def filled(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Filled:
    """Makes an index of the vectors of rows 0 … n-1."""
    if "many spaces" in request.param:
        monkeypatch.setattr("mnemos.index.disk_vectors._SPARSE", 0)

    def make(vectors: Floats) -> VectorIndex:
        if request.param == "memory":
            index = ExactIndex(SIZE)
            index.put(np.arange(len(vectors)), vectors)
            return index
        share = {"disk and memory": 2 * len(vectors) // 3, "nothing on disk": 0}.get(request.param, len(vectors))
        return on_disk(tmp_path / "index", vectors, share)

    return make


def test_cosines_are_exact_as_long_as_all_are_looked_at(filled: Filled) -> None:
    vectors, queries = unit(1, NEAR // 2), unit(2, 5)
    index: VectorIndex = filled(vectors)
    assert len(index) == len(vectors)
    assert index.nbytes > 0
    for query in queries:
        assert np.allclose(index.scores(query, len(vectors)), vectors @ query, atol=1e-5)
    assert np.allclose(index.scores_of(queries, len(vectors)), queries @ vectors.T, atol=1e-5)


def test_what_is_asked_for_is_what_there_is(filled: Filled) -> None:
    vectors = unit(3, 90)
    index = filled(vectors)
    rows = np.array([80, 3, 3, 41, 0])
    assert np.allclose(index.vectors(rows), vectors[rows], atol=1e-6)
    assert not index.vectors(np.array([1000, 90])).any()
    assert index.scores(vectors[7], 20).shape == (20,)
    assert np.isnan(index.scores(vectors[7], 120)[90:]).all()
    assert index.scores_of(vectors[:0], 20).shape == (0, 20)


def test_a_row_without_a_word_has_a_cosine_of_nought(filled: Filled) -> None:
    vectors = unit(4, 90)
    vectors[[5, 60, 89]] = 0
    index = filled(vectors)
    assert len(index) == 90
    assert np.allclose(index.scores(vectors[1], 90)[[5, 60, 89]], 0)
    assert not index.vectors(np.array([5])).any()
    assert np.allclose(index.scores(np.zeros(SIZE, dtype=np.float32), 90), 0)


@pytest.mark.parametrize("length", [0, 1, 37, 90])
def test_a_mask_may_be_shorter_than_the_rows(filled: Filled, length: int) -> None:
    vectors, query = unit(5, 90), unit(6, 1)[0]
    allowed = np.random.default_rng(length).random(length) < 0.5
    scores = filled(vectors).scores(query, 90, allowed)
    rows = np.flatnonzero(allowed)
    assert np.allclose(scores[rows], (vectors @ query)[rows], atol=1e-5)
    assert (scores >= -1 - 1e-5).all(), "others have some cosine, too"


def test_a_wrong_shape_is_told(filled: Filled) -> None:
    index = filled(unit(7, 30))
    with pytest.raises(Invalid, match="dimensions"):
        index.scores(np.zeros(SIZE + 1, dtype=np.float32), 30)
    with pytest.raises(Invalid, match="dimensions"):
        index.scores_of(np.zeros((2, SIZE + 1), dtype=np.float32), 30)


def test_the_nearest_of_many_are_exact_and_no_other_seems_nearer(tmp_path: Path) -> None:
    centres = unit(8, 60)
    vectors = np.repeat(centres, 50, axis=0) + 0.15 * unit(9, 3000)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index, allowed = on_disk(tmp_path / "index", vectors, 2900), np.arange(3000) % 3 == 0
    found = 0
    for query in vectors[::150]:
        for mask in (None, allowed):
            exact = vectors @ query
            scores = index.scores(query, 3000, mask)
            best = np.argsort(-np.where(allowed, exact, -2) if mask is not None else -exact)[:10]
            seen = np.isclose(scores, exact, atol=1e-5)
            found += int(seen[best].sum())
            others = ~seen if mask is None else ~seen & mask
            assert abs(scores[others].mean() - exact[others].mean()) < 0.03, "about what they are on average"
            assert (scores[~seen] <= np.sort(scores[seen])[-10:].min() + 1e-5).all()
    assert found >= 0.95 * 2 * 20 * 10


@pytest.mark.parametrize("sparse", [0, 32])
def test_rows_that_the_disk_has_first_are_no_rows_until_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sparse: int) -> None:
    vectors = unit(10, 60)
    seq = positions(20)
    disk = SpannIndex.create(tmp_path / "index", SIZE)
    disk.build(positions(60).view(), vectors, position=int(positions(60).view()[-1]))
    index = DiskVectors(disk, seq)
    monkeypatch.setattr("mnemos.index.disk_vectors._SPARSE", sparse)
    assert np.allclose(index.scores(vectors[50], 20), vectors[:20] @ vectors[50], atol=1e-5)
    seq.extend(positions(60).view()[20:])
    index.put(np.arange(20, 60), vectors[20:])
    assert index.tail == 0
    assert np.allclose(index.scores(vectors[50], 60), vectors @ vectors[50], atol=1e-5)


def test_what_others_put_on_disk_while_a_search_looks_is_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = unit(13, 60)
    index = on_disk(tmp_path / "index", vectors, 60)
    search = index.disk.search

    def first_somebody_else(*args: object, **options: object) -> object:
        index.disk.apply(10_000, np.array([9_999]), vectors[7:8], np.zeros(0, dtype=np.int64))
        return search(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(index.disk, "search", first_somebody_else)
    assert np.allclose(index.scores(vectors[7], 60), vectors @ vectors[7], atol=1e-5)


def test_what_comes_to_be_on_disk_leaves_memory_and_what_the_disk_lacks_stays(tmp_path: Path) -> None:
    vectors = unit(11, 90)
    vectors[70] = 0
    index = on_disk(tmp_path / "index", vectors, 30)
    assert (index.tail, index.waiting) == (60, 60)
    seqs = positions(90).view()
    rest = np.array([row for row in range(30, 80) if row != 70])
    index.disk.apply(int(seqs[79]), seqs[rest], vectors[rest], np.zeros(0, dtype=np.int64))
    index.settle()
    assert (index.tail, index.waiting) == (11, 10)
    assert np.allclose(index.scores(vectors[1], 90), vectors @ vectors[1], atol=1e-5)


def test_rows_that_nobody_has_are_told_once(tmp_path: Path) -> None:
    index = on_disk(tmp_path / "index", unit(12, 40), 30)
    index.disk.erase(positions(40).view()[[4, 9]])
    other = DiskVectors(index.disk, positions(40))
    assert other.lacking().tolist() == [4, 9]
    assert other.lacking().tolist() == []


def test_what_is_erased_while_somebody_looks_is_a_row_without_a_vector(tmp_path: Path) -> None:
    vectors = unit(13, 40)
    index = on_disk(tmp_path / "index", vectors, 40)
    assert len(index) == 40
    index.disk.erase(positions(40).view()[[4, 9]])
    found = index.vectors(np.array([3, 4, 9, 10]))
    assert found.any(axis=1).tolist() == [True, False, False, True]
    assert not index.forget_rows([4])
    assert np.isnan(index.scores(vectors[0], 40)[4])
    assert index.forget_rows([10]), "it is still there"


def test_a_disk_that_fails_is_told_before_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = unit(14, 40)
    index, told = on_disk(tmp_path / "index", vectors, 40), list[MnemosError]()
    index = DiskVectors(index.disk, positions(40), lambda disk, error: told.append(error))

    def broken(*_: object, **__: object) -> None:
        raise StoreUnavailable("the disk is gone")

    monkeypatch.setattr(index.disk, "search", broken)
    monkeypatch.setattr(index.disk, "vectors", broken)
    with pytest.raises(VectorsLost, match="the disk is gone"):
        index.scores(vectors[0], 40)
    with pytest.raises(VectorsLost, match="the disk is gone"):
        index.vectors(np.array([1]))
    assert len(told) == 2
