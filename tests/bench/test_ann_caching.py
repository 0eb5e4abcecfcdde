"""The benchmark of the cache of lists: what it asks, and what it counts, on little data."""

from pathlib import Path

import numpy as np
import pytest

from mnemos.bench.ann import caching, worlds
from mnemos.bench.registry import BENCHMARKS, Options
from mnemos.index.spann.index import SpannIndex


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> caching.Load:
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("caching")
    world = worlds.generated(folder / "world", 2000, 60, rng, dimensions=24)
    with SpannIndex.create(folder / "index", 24) as index:
        index.build(np.arange(2000), world.base())
    return caching.load_of(folder / "index", world.base(), world.asked(), 200, np.random.default_rng(1))


def test_topics_come_and_go_and_scans_are_of_vectors_that_lie_together() -> None:
    rng = np.random.default_rng(0)
    base, questions = rng.standard_normal((3000, 8)).astype(np.float32), rng.standard_normal((100, 8)).astype(np.float32)
    asked = np.array(list(caching.stream(base, questions, 4000, np.random.default_rng(3))))
    assert asked.shape == (4000, 8)
    assert np.array_equal(asked, np.array(list(caching.stream(base, questions, 4000, np.random.default_rng(3)))))
    rows = {row.tobytes(): number for number, row in enumerate(base)}
    numbers = np.array([rows.get(row.tobytes(), -1) for row in asked])
    stored = numbers >= 0
    assert all(any(np.array_equal(row, question) for question in questions) for row in asked[~stored][:50])
    scanned = np.flatnonzero(stored[1:] & (numbers[1:] == numbers[:-1] + 1))
    assert len(scanned) >= caching.SCAN[0] - 1
    topical = [set(part[part >= 0].tolist()) for part in (numbers[:500], numbers[-500:])]
    counts = np.unique(numbers[:500][numbers[:500] >= 0], return_counts=True)[1]
    assert counts.max() > 3
    assert len(topical[0] & topical[1]) < len(topical[0]) / 2


def test_what_is_replayed_is_what_searches_read(load: caching.Load) -> None:
    room = load.room(0.1)
    assert caching.read_whole(None, load, room)[0] == load.read.nbytes
    for policy in caching.POLICIES:
        assert caching.read_whole(policy, load, room)[0] == caching.read_with(policy, load, room).nbytes
    assert load.read.count == sum(map(len, load.asked))
    assert 0 < max(load.sizes.values()) < load.held


def test_no_policy_reads_fewer_lists_than_one_that_knows_what_comes(load: caching.Load) -> None:
    equal = caching.Load(load.folder, load.queries, load.asked, dict.fromkeys(load.sizes, 10), 10 * len(load.sizes))
    least = caching.read_at_least(equal, equal.room(0.2))
    assert len(load.sizes) <= least.count
    for policy in caching.POLICIES:
        read = caching.read_with(policy, equal, equal.room(0.2))
        assert least.count <= read.count <= equal.read.count
        assert read.nbytes == 10 * read.count


def test_a_cache_of_everything_reads_each_list_once(load: caching.Load) -> None:
    assert caching.read_with("lru", load, load.held).nbytes == caching.read_at_least(load, load.held).nbytes == sum(load.sizes.values())


def test_every_share_is_a_check_and_the_disk_agrees(load: caching.Load) -> None:
    checks, tables = caching.measure("little", load, (0.05, 0.2))
    assert [check.threshold for check in checks] == [caching.FEWER, caching.FEWER, 0.0]
    assert checks[-1].holds
    assert set(tables["little, a cache of 5% of the lists"]) == {*caching.POLICIES, "belady", "none"}


def test_the_part_is_one_of_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNEMOS_BENCH_PARTS", "list_cache")
    monkeypatch.setattr(caching, "worlds", _Little())
    result = BENCHMARKS["ann"].run(Options(quick=True))
    assert [check["metric"] for check in result.details["checks"]] == [
        "mixture 600: bytes of lists read ÷ LRU, a cache of 10%",
        "mixture 600: bytes of lists read ÷ LRU, a cache of 20%",
        "mixture 600: bytes counted at the disk, off what was replayed",
    ]
    assert result.details["checks"][-1]["holds"]


class _Little:
    """The quick world, made little."""

    def generated(self, folder: Path, n: int, queries: int, rng: np.random.Generator) -> worlds.World:
        return worlds.generated(folder, 600, 30, rng, dimensions=32)
