"""What a user of the index sees: answers, errors, filters, batches, erasing, threads."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.spann.faulty_disk import FaultyDisk
from mnemos.base.errors import Conflict, Invalid, NotFound
from mnemos.cache.mapping import EvictingCache
from mnemos.index.spann.index import SpannIndex
from mnemos.index.spann.options import Options

D = 24
CODES = ["binary", "int8", "float16", "float32"]


def data(n: int, seed: int = 0, d: int = D) -> np.ndarray:
    centres = np.random.default_rng(1234).standard_normal((12, d)) * 2
    rng = np.random.default_rng(seed)
    return (centres[rng.integers(0, 12, n)] + rng.standard_normal((n, d))).astype(np.float32)


def nearest(vectors: np.ndarray, ids: np.ndarray, query: np.ndarray, k: int) -> list[int]:
    squares = np.einsum("ij,ij->i", vectors - query, vectors - query)
    return ids[np.lexsort((ids, squares))[:k]].tolist()


def built(n: int = 1500, **options: object) -> tuple[SpannIndex, np.ndarray, np.ndarray]:
    index = SpannIndex.create(FaultyDisk(), D, Options(**{"metric": "l2", "list_limit": 64, "head_ratio": 0.06, **options}))  # type: ignore[arg-type]
    vectors, ids = data(n), np.arange(n) * 3 + 1
    index.build(ids, vectors)
    return index, vectors, ids


@pytest.mark.parametrize("code", CODES)
def test_recall_is_what_was_asked_for_and_every_list_gives_the_exact_answer(code: str) -> None:
    index, vectors, ids = built(code=code)
    queries = data(60, seed=1)
    truth = [nearest(vectors, ids, query, 10) for query in queries]
    found = [index.search(query, 10) for query in queries]
    assert np.mean([len(set(f.ids.tolist()) & set(t)) / 10 for f, t in zip(found, truth, strict=True)]) >= 0.9
    assert np.mean([f.lists for f in found]) < index.lists / 2
    for query, expected in zip(queries[:10], truth, strict=False):
        every = index.search(query, 10, lists=10**6, rescore=10**6, spread=np.inf)
        assert every.exact
        assert every.ids.tolist() == index.search(query, 10, exact=True).ids.tolist() == expected
        assert every.distances.tolist() == sorted(every.distances.tolist())
    assert index.verify() == []


@pytest.mark.parametrize("code", CODES)
def test_added_one_by_one_is_found_as_well_as_built_at_once(code: str) -> None:
    vectors, ids = data(900), np.arange(900)
    index = SpannIndex.create(FaultyDisk(), D, Options(metric="l2", code=code, list_limit=64))  # type: ignore[arg-type]
    for start in range(0, 900, 30):
        index.add(ids[start : start + 30], vectors[start : start + 30])
        index.tend(4)
    while index.tend(10):
        pass
    assert index.verify() == []
    index.calibrate()
    hits = [len(set(index.search(query, 10).ids.tolist()) & set(nearest(vectors, ids, query, 10))) for query in data(40, seed=2)]
    assert np.mean(hits) >= 9


def test_metrics_mean_what_they_say() -> None:
    vectors, ids, queries = data(400), np.arange(400), data(5, seed=3)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = SpannIndex.create(FaultyDisk(), D)
    cosine.build(ids, vectors)
    product = SpannIndex.create(FaultyDisk(), D, Options(metric="inner_product", max_norm=20.0))
    product.build(ids, vectors)
    for query in queries:
        found = cosine.search(query, 5, exact=True)
        expected = 1 - unit @ (query / np.linalg.norm(query))
        assert found.ids.tolist() == np.argsort(expected)[:5].tolist()
        np.testing.assert_allclose(found.distances, np.sort(expected)[:5], atol=1e-6)
        best = product.search(query, 5, exact=True)
        assert best.ids.tolist() == np.argsort(-(vectors @ query))[:5].tolist()
        np.testing.assert_allclose(best.distances, np.sort(-(vectors @ query))[:5], rtol=1e-3)
    with pytest.raises(Invalid, match="max_norm"):
        product.add(np.array([999]), np.full((1, D), 100.0))
    with pytest.raises(Invalid, match="max_norm"):
        SpannIndex.create(FaultyDisk(), D, Options(metric="inner_product"))


@settings(max_examples=40, deadline=None)
@given(share=st.sampled_from([0.0, 0.001, 0.004, 0.02, 0.1, 0.5, 1.0]), k=st.integers(1, 40), seed=st.integers(0, 10**6))
def test_a_filter_gives_exactly_k_whenever_k_exist(share: float, k: int, seed: int) -> None:
    index, vectors, ids = SHARED
    rng = np.random.default_rng(seed)
    mask = np.zeros(int(ids.max()) + 1, dtype=bool)
    mask[ids[rng.random(len(ids)) < share]] = True
    query = vectors[int(rng.integers(len(ids)))] + rng.standard_normal(D).astype(np.float32) * 0.2
    there = int(mask[ids].sum())
    for allowed in (mask, lambda keys: mask[keys]):
        found = index.search(query, k, allowed)
        assert len(found.ids) == min(k, there) == len(set(found.ids.tolist()))
        assert mask[found.ids].all()
    if there <= 100:  # so few are looked at one by one
        assert found.exact
        assert found.ids.tolist() == nearest(vectors[mask[ids]], ids[mask[ids]], query, k)


SHARED = built(2000)


def test_filtered_recall() -> None:
    index, vectors, ids = SHARED
    rng = np.random.default_rng(4)
    for share in (0.5, 0.1, 0.03):
        mask = np.zeros(int(ids.max()) + 1, dtype=bool)
        mask[rng.choice(ids, int(share * len(ids)), replace=False)] = True
        inside = mask[ids]
        hits = [
            len(set(index.search(query, 10, mask).ids.tolist()) & set(nearest(vectors[inside], ids[inside], query, 10))) for query in data(40, seed=5)
        ]
        assert np.mean(hits) >= 9.5, share


def test_batches_go_on_until_every_vector_was_given_once() -> None:
    index, vectors, ids = built(700)
    batches = list(index.iterate(vectors[3]))
    assert len(batches) > 1
    given_ids = np.concatenate([batch.ids for batch in batches])
    assert sorted(given_ids.tolist()) == ids.tolist()
    assert given_ids[0] == ids[3]
    assert all(batch.distances.tolist() == sorted(batch.distances.tolist()) for batch in batches)
    odd = np.concatenate([batch.ids for batch in index.iterate(vectors[3], lambda keys: keys % 2 == 1)])
    assert sorted(odd.tolist()) == [key for key in ids.tolist() if key % 2]


def test_ten_thousand_equal_vectors_are_all_kept() -> None:
    index = SpannIndex.create(FaultyDisk(), D, Options(metric="l2"))
    one = data(1)
    index.add(np.arange(10_000), np.repeat(one, 10_000, axis=0))
    while index.tend(10):
        pass
    assert index.verify() == []
    assert index.ids().tolist() == list(range(10_000))
    statistics = index.statistics()
    assert statistics["longest"] <= index.options.list_limit
    found = index.search(one[0], 50)
    assert len(found.ids) == 50
    assert not found.distances.any()
    assert index.remove(np.arange(9_990)) == 9_990
    while index.tend(10):
        pass
    assert sorted(index.search(one[0], 50).ids.tolist()) == list(range(9_990, 10_000))
    assert index.lists < 5


def test_equal_vectors_among_copies_of_others_are_divided() -> None:
    index = SpannIndex.create(FaultyDisk(), D, Options(metric="l2", list_limit=256))
    vectors = np.concatenate([np.zeros((30, D), dtype=np.float32), data(40)])
    index.add(np.arange(70), vectors)
    parts, updater = index._parts, index._updater
    others = parts.slots.map.find(np.arange(30, 70))
    elsewhere = updater.writer.create(parts.rotate(vectors[30:31])[0], others, parts.rotate(vectors[30:]))
    parts.slots.move(others, np.full(40, elsewhere), np.full(40, 2))  # the first list has copies of them
    assert parts.lists.counts().tolist() == [70, 40]
    parts.options = replace(parts.options, list_limit=64)
    updater.lire.split(0)
    assert parts.lists.counts().max() <= 64
    assert index.backlog == 0
    assert index.verify() == []


def test_outliers_and_adversarial_clusters_are_found() -> None:
    rng = np.random.default_rng(0)
    far = rng.standard_normal((40, D)).astype(np.float32) * 10.0 ** rng.integers(-6, 6, (40, 1))
    line = np.outer(np.arange(500), np.ones(D)).astype(np.float32)
    vectors = np.concatenate([far, line, np.zeros((3, D), np.float32)]).astype(np.float32)
    index = SpannIndex.create(FaultyDisk(), D, Options(metric="l2", list_limit=32, merge_below=4))
    index.build(np.arange(len(vectors)), vectors)
    assert index.verify() == []
    for row in range(0, len(vectors), 7):
        found = index.search(vectors[row], 1)
        assert not found.distances[0] > 0, row


@pytest.mark.parametrize(
    ("ids", "vectors", "message"),
    [
        ([1], np.full((1, D), np.nan), "not finite"),
        ([1], np.full((1, D), np.inf), "not finite"),
        ([1], np.full((1, D), 1e39, dtype=np.float64), "not finite"),
        ([1], np.zeros((1, D + 1)), r"must be \(m, 24\)"),
        ([1], np.zeros(D), r"must be \(m, 24\)"),
        ([1, 1], np.zeros((2, D)), "1 is given twice"),
        ([1, 2], np.ones((1, D)), "1 for 2 ids"),
        ([1.5], np.ones((1, D)), "whole numbers"),
        ([[1]], np.ones((1, D)), "whole numbers"),
        ([1], np.array([["x"] * D]), "must be numbers"),
        ([1], np.zeros((1, D)), "no direction"),
    ],
)
def test_what_cannot_be_taken_is_refused_and_changes_nothing(ids: list[float], vectors: np.ndarray, message: str) -> None:
    index = SpannIndex.create(FaultyDisk(), D)
    index.add(np.array([1, 7]), data(2))
    with np.errstate(over="ignore"), pytest.raises(Invalid, match=message):
        index.add(np.array(ids), vectors)
    assert index.ids().tolist() == [1, 7]
    assert index.verify() == []


def test_questions_that_cannot_be_asked() -> None:
    index, vectors, _ = SHARED
    for query in (np.zeros(D + 1), np.full(D, np.nan), np.zeros((2, D))):
        with pytest.raises(Invalid):
            index.search(query, 3)
    for k in (0, -1, 1.5):
        with pytest.raises(Invalid, match="k is"):
            index.search(vectors[0], k)  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="rescore"):
        index.search(vectors[0], 3, rescore=0)
    with pytest.raises(NotFound, match="id 2"):
        index.vectors(np.array([2]))


def test_options_that_make_no_sense() -> None:
    for name, value in (("head_ratio", 0), ("replicas", 0), ("candidates", 4), ("code", "int4"), ("metric", "dot"), ("list_limit", 2)):
        with pytest.raises(Invalid, match=name):
            Options(**{name: value})
    with pytest.raises(Invalid, match="not known"):
        Options.from_json({"lists": 3})


def test_an_empty_index_answers() -> None:
    index = SpannIndex.create(FaultyDisk(), D, Options(metric="l2"))
    index.build(np.zeros(0, dtype=np.int64), np.zeros((0, D), np.float32))
    assert len(index.search(np.ones(D), 5).ids) == 0
    assert list(index.iterate(np.ones(D))) == []
    assert index.remove(np.array([4])) == 0
    assert index.verify() == []
    index.add(np.array([4]), data(1))
    index.remove(np.array([4]))
    assert len(index) == 0
    assert len(index.search(np.ones(D), 5).ids) == 0


def test_what_was_removed_or_replaced_never_returns(tmp_path: Path) -> None:
    index = SpannIndex.create(tmp_path / "i", D, Options(metric="l2", list_limit=64))
    vectors = data(600)
    index.build(np.arange(600), vectors)
    with pytest.raises(Conflict, match="holds 600"):
        index.build(np.arange(600), vectors)
    with pytest.raises(Conflict, match="holds one already"):
        SpannIndex.create(tmp_path / "i", D)
    index.remove(np.arange(0, 600, 2))
    moved = data(100, seed=9)
    index.add(np.arange(1, 200, 2), moved)
    for row in range(0, 600, 50):
        assert row not in index.search(vectors[row], 600).ids
    assert index.search(moved[3], 1).ids.tolist() == [7]
    index.checkpoint()
    index.close()
    with SpannIndex.open(tmp_path / "i") as again:
        assert again.ids().tolist() == list(range(1, 600, 2))
        np.testing.assert_array_equal(again.vectors(np.array([7])), moved[3:4])
    with pytest.raises(NotFound):
        SpannIndex.open(tmp_path / "j")


def test_nothing_is_left_in_the_files_of_what_was_erased(tmp_path: Path) -> None:
    index = SpannIndex.create(tmp_path, D, Options(metric="l2", list_limit=64, head_ratio=0.1))
    vectors = data(400)
    index.build(np.arange(300), vectors[:300])
    index.add(np.arange(300, 400), vectors[300:])
    while index.tend(5):
        pass
    parts = index._parts
    heads = parts.heads.vectors(parts.heads.numbers())
    rotated = parts.rotate(vectors)
    as_heads = [row for row in range(400) if (np.square(heads - rotated[row]).sum(axis=1) < 1e-9).any()][:3]
    gone = np.array([*as_heads, 11, 352])

    def made_of(row: int) -> list[bytes]:
        near = parts.heads.vectors(parts.heads.nearest(rotated[row][None], 30)[0][0])
        codes = [parts.entries.write(np.zeros(1, np.uint32), np.zeros(1, np.uint32), rotated[row : row + 1], head)[0, 8:] for head in near]
        return [vectors[row].tobytes(), rotated[row].tobytes(), *(code.tobytes() for code in codes if code.any())]

    traces = [trace for row in gone.tolist() for trace in made_of(row)]

    def left() -> int:
        files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        return sum(trace in files for trace in traces)

    assert left() >= 2 * len(gone)
    assert index.erase(gone) == len(gone)
    assert left() == 0
    assert index.verify() == []
    assert len(index) == 395
    assert index.erase(gone) == 0


def test_a_cache_of_lists_saves_reads_and_is_never_stale() -> None:
    cache: EvictingCache[int, bytes] = EvictingCache(200_000, "s3-fifo", size=len)
    disk = FaultyDisk()
    index = SpannIndex.create(disk, D, Options(metric="l2", list_limit=64), cache=cache)
    vectors = data(800)
    index.build(np.arange(800), vectors)
    before = [index.search(query, 10).ids.tolist() for query in vectors[:30]]
    assert cache.misses
    hits = cache.hits
    assert [index.search(query, 10).ids.tolist() for query in vectors[:30]] == before
    assert cache.hits > hits
    for row in range(0, 800, 20):
        index.add(np.array([row]), vectors[row : row + 1] + 50)
        index.tend(2)
        assert index.search(vectors[row] + 50, 1).ids.tolist() == [row]
    assert index.verify() == []


def test_searches_beside_changes_never_see_one_twice_nor_one_that_is_gone() -> None:
    index, vectors, ids = built(1200, list_limit=32, merge_below=4)
    kept = ids[::2]
    problems: list[str] = []
    done = threading.Event()

    def search() -> None:
        rng = np.random.default_rng(threading.get_ident() % 1000)
        while not done.is_set():
            row = 2 * int(rng.integers(len(kept)))
            found = index.search(vectors[row], 10, lists=10**6, rescore=10**6, spread=np.inf)
            if len(set(found.ids.tolist())) < len(found.ids):
                problems.append(f"twice: {found.ids}")
            if ids[row] not in found.ids:
                problems.append(f"lost: {ids[row]}")

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    others = ids[1::2]
    for round_ in range(3):
        for start in range(0, len(others), 60):
            part = others[start : start + 60]
            index.remove(part) if round_ % 2 else index.add(part, vectors[1::2][start : start + 60] + round_ / 5)
            index.tend(3)
    done.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert index.verify() == []


def test_the_same_seed_and_the_same_calls_make_the_same_files() -> None:
    def files() -> dict[str, bytes]:
        disk = FaultyDisk()
        index = SpannIndex.create(disk, D, Options(metric="l2", list_limit=64))
        index.build(np.arange(500), data(500), workers=2)
        for start in range(500, 700, 20):
            index.add(np.arange(start, start + 20), data(20, seed=start))
            index.tend(2)
        index.remove(np.arange(0, 300, 3))
        index.checkpoint()
        return {name: bytes(file.now) for name, file in disk.files.items()}

    assert files() == files()


def test_space_on_disk_follows_what_is_live() -> None:
    index, vectors, ids = built(1000)
    rng = np.random.default_rng(0)
    for _ in range(3):
        for start in range(0, 1000, 100):
            index.add(ids[start : start + 100], vectors[start : start + 100] + rng.standard_normal((100, D)).astype(np.float32) * 0.1)
            index.tend(20)
    while index.tend(50):
        pass
    index.checkpoint()
    index.checkpoint()
    counts = index._parts.lists.counts()
    assert index._parts.lists.total <= 1.5 * index._parts.slots.entries
    assert counts.max() <= index.options.list_limit
    assert index.verify() == []


def test_settings_are_chosen_for_the_queries_that_will_be_asked(tmp_path: Path) -> None:
    index = SpannIndex.create(tmp_path, D, Options(metric="l2", list_limit=64, head_ratio=0.06))
    vectors, ids = data(1500), np.arange(1500)
    index.build(ids, vectors)
    far = data(120, seed=3) + np.random.default_rng(0).standard_normal((120, D)).astype(np.float32) * 12

    def recall(queries: np.ndarray) -> float:
        return float(np.mean([len(set(index.search(query, 10).ids.tolist()) & set(nearest(vectors, ids, query, 10))) / 10 for query in queries]))

    before, own = recall(far[60:]), index.settings
    asked = index.calibrate(far[:60])
    assert asked.lists > own.lists
    assert recall(far[60:]) >= max(before, 0.9)
    assert asked.recall is not None
    assert asked.recall >= 0.95
    index.checkpoint()
    index.close()
    with SpannIndex.open(tmp_path) as again:
        assert again.settings == asked
        assert again.calibrate() == asked  # it kept the queries
        with pytest.raises(Invalid, match="queries"):
            again.calibrate(np.zeros((3, D + 1)))
