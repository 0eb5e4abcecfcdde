"""The pure parts of `mnemos bench ann`: generated data, exact answers, recall, and the runner of systems in processes of their own."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnemos.base.errors import Corrupt, Invalid
from mnemos.bench import peers
from mnemos.bench.ann import arms, measuring, runner, worlds
from mnemos.bench.ann.arms import Arm
from mnemos.bench.ann.measuring import Effort, measure
from mnemos.bench.ann.mixtures import Mixture, clusters_of, intrinsic_dimension
from mnemos.bench.ann.truth import exact, recall, squared_distances

GOOD = """# requires: numpy
import numpy as np

class Index:
    why_no_change = "this one is static"

    def __init__(self, folder, dimensions, options, cores):
        self.path = folder + "/v.npy"

    def build(self, vectors, attributes):
        np.save(self.path, vectors)
        np.save(self.path + ".a.npy", attributes)

    def open(self):
        self.vectors = np.load(self.path)
        self.attributes = np.load(self.path + ".a.npy")
        self.noted = {"lists": 3}

    def filter(self, below):
        return self.attributes < below

    def search(self, query, k, setting, allowed):
        distances = ((self.vectors - query) ** 2).sum(1)
        if allowed is not None:
            distances[~allowed] = np.inf
        best = np.argsort(distances, kind="stable")[:k]
        return best[np.isfinite(distances[best])][: setting.get("give", k)].tolist()

    def close(self):
        pass
"""


def arm(folder: Path, text: str = GOOD, **more: Any) -> Arm:
    (folder / "adapter.py").write_text(text)

    class Here(Arm):
        @property
        def path(self) -> Path:
            return folder / "adapter.py"

    return Here("here", "here", "adapter", more.pop("settings", ({},)), **more)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> worlds.World:
    """Four hundred vectors of eight dimensions; adapters run by this interpreter."""
    monkeypatch.setattr(runner, "interpreter", lambda packages, install: Path(sys.executable))
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((400, 8)).astype(np.float32)
    return worlds.world("small", tmp_path / "world", vectors, rng.standard_normal((40, 8)).astype(np.float32), rng)


EFFORT = Effort(phase_seconds=20, setting_seconds=0.05, changes=0, clients=False)


def test_intrinsic_dimension_is_that_of_the_data() -> None:
    rng = np.random.default_rng(0)
    rows = np.arange(0, 4000, 20)
    for dimension in (1, 3, 6):  # higher ones are known to be underestimated, the more the fewer points there are
        cube = rng.random((4000, dimension)) @ np.linalg.qr(rng.standard_normal((64, dimension)))[0].T
        assert intrinsic_dimension(cube.astype(np.float32), rows) == pytest.approx(dimension, rel=0.2)
    copies = np.repeat(cube[:100], 40, axis=0).astype(np.float32)
    with pytest.raises(Invalid, match="same distance"):
        intrinsic_dimension(copies, np.arange(10))


def test_a_mixture_is_as_wide_as_asked_and_no_wider() -> None:
    found = {}
    for intrinsic in (4, 24):
        rng = np.random.default_rng(3)
        mixture = Mixture(96, clusters_of(8000), rng, intrinsic=intrinsic)
        vectors = mixture.sample(8000, rng)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        found[intrinsic] = intrinsic_dimension(vectors, np.arange(0, 8000, 40))
    assert 3 < found[4] < 7
    assert 9 < found[24] < 24 < 96
    with pytest.raises(Invalid, match="mixture"):
        Mixture(8, 3, rng, intrinsic=9)


def test_a_mixture_comes_back_from_its_seed_and_drifts(tmp_path: Path) -> None:
    def made(name: str, drifting: bool) -> Any:
        rng = np.random.default_rng(5)
        Mixture(32, 20, rng).write(tmp_path / name, 0 if drifting else 3000, rng, 3000 if drifting else 0)
        return np.load(tmp_path / name)

    still = made("a.npy", False)
    assert np.array_equal(still, made("b.npy", False))
    moving = made("c.npy", True)
    assert np.linalg.norm(moving[:300].mean(0) - moving[-300:].mean(0)) > 2 * np.linalg.norm(still[:300].mean(0) - still[-300:].mean(0))


def test_exact_neighbours_in_blocks_are_those_of_a_full_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnemos.bench.ann.truth.BLOCK", 37)
    rng = np.random.default_rng(2)
    base = rng.integers(0, 4, (500, 3)).astype(np.float32)  # full of ties
    queries = rng.integers(0, 4, (20, 3)).astype(np.float32)
    ids, squared = exact(base, queries, 10)
    for query, row, distances in zip(queries, ids, squared, strict=True):
        all_distances = squared_distances(base, query, np.arange(500))
        assert np.array_equal(distances, np.sort(all_distances)[:10])
        assert np.array_equal(all_distances[row], distances)
    rows = np.array([3, 77, 400])
    ids, squared = exact(base, queries, 10, rows)
    assert set(ids[:, :3].ravel()) == set(rows)
    assert (ids[:, 3:] == -1).all()
    assert np.isinf(squared[:, 3:]).all()
    with pytest.raises(Invalid, match="shape"):
        exact(base, queries[:, :2], 10)


def test_recall_counts_equals_and_no_id_twice() -> None:
    base = np.array([[0], [0], [1], [2], [3]], dtype=np.float32)
    query = np.zeros((1, 1), dtype=np.float32)
    _, truth = exact(base, query, 2)

    def of(*found: int) -> float:
        return float(recall(base, query, np.array([found]), truth)[0])

    assert of(0, 1) == of(1, 0) == 1
    assert of(0, 0) == of(0, -1) == of(1, 3) == 0.5
    assert of(-1, -1) == of(3, 4) == 0
    _, third = exact(base, query, 3)
    assert recall(base, query, np.array([[2, 0, 3]]), third)[0] == pytest.approx(2 / 3)
    assert recall(base, query, np.array([[4, -1]]), np.array([[9.0, np.inf]]))[0] == 1
    assert recall(base, query, np.array([[-1, -1]]), np.full((1, 2), np.inf))[0] == 1


def test_a_system_is_measured(world: worlds.World, tmp_path: Path) -> None:
    found = measure(arm(tmp_path, settings=({}, {"give": 5})), world, replace(EFFORT, changes=50), install=False)
    assert found.failures == ["changes: this one is static"]
    whole, half = found.points
    assert (whole.recall, half.recall) == (1, 0.5)
    assert whole.n >= 20
    assert set(whole.noted["lists"]) == {3}
    assert found.version == np.__version__
    assert found.disk > world.raw_bytes
    assert 0 < whole.p50_ms <= whole.p99_ms
    assert [(row.share, row.recall, row.whole) for row in found.filtered] == [(share, 1, 1) for share in measuring.SHARES]
    assert not list(world.folder.glob("index-*"))


def test_clients_ask_at_the_same_time(world: worlds.World, tmp_path: Path) -> None:
    found = measure(arm(tmp_path), world, Effort(phase_seconds=20, setting_seconds=0.1, changes=0, filters=False), install=False)
    assert list(found.qps) == [len(runner.cores(2))]
    assert min(found.qps.values()) > 0
    assert found.filtered == []


def test_memory_is_that_of_the_index(world: worlds.World, tmp_path: Path) -> None:
    big = GOOD.replace("self.noted =", "self.held = np.ones(40_000_000, dtype=np.uint8); self.noted =")
    small, large = (measure(arm(tmp_path, text), world, EFFORT, install=False).points[0] for text in (GOOD, big))
    assert 36e6 < large.anonymous - small.anonymous < 50e6
    assert large.resident < 60e6 < large.resident + 60e6


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("import os; os.kill(os.getpid(), 9)", "build: died of SIGKILL"),
        ("import os; os._exit(0)", "build: ended without saying that it was done"),
        ("raise RuntimeError('no such metric')", "build: RuntimeError: no such metric"),
        ("import time; time.sleep(60)", "build: ended after 1 s"),
        ("import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(60)", "build: ended after 1 s"),
        ("import socket; socket.getaddrinfo('hub.example', 443)", "build: ConnectionRefusedError: peers run without a network"),
    ],
)
def test_what_goes_wrong_is_reported_and_not_fatal(world: worlds.World, tmp_path: Path, wrong: str, says: str) -> None:
    text = GOOD.replace("np.save(self.path, vectors)", wrong)
    found = measure(arm(tmp_path, text), world, Effort(phase_seconds=1 if "after" in says else 20, changes=0, clients=False), install=False)
    assert len(found.failures) == 1
    assert found.failures[0].startswith(says)
    assert found.points == []


def test_what_was_said_before_a_death_counts(world: worlds.World, tmp_path: Path) -> None:
    text = GOOD.replace("distances =", "1 / setting['fine']; distances =")
    found = measure(arm(tmp_path, text, settings=({"fine": 1}, {"fine": 0})), world, EFFORT, install=False)
    assert [point.recall for point in found.points] == [1]
    assert found.failures == ["serve: ZeroDivisionError: division by zero"]


def test_a_system_that_is_not_installed_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "peer_folder", lambda: tmp_path / "none")
    rng = np.random.default_rng(0)
    world = worlds.world("w", tmp_path / "w", rng.random((20, 4)), rng.random((3, 4)), rng)
    found = measure(arms.named("faiss flat"), world, EFFORT, install=False)
    assert found.failures[0].startswith("not installed: faiss-cpu==")
    assert not (tmp_path / "none").exists()


def test_arms_are_chosen_by_size_and_name() -> None:
    quick = arms.chosen(10_000, True, ())
    assert {"mnemos", "faiss", "usearch"} <= {each.system for each in quick}
    assert len(quick) < len(arms.chosen(10_000, False, ()))
    assert {each.system for each in arms.chosen(10_000, False, ("usearch",))} == {"mnemos", "usearch"}
    assert all(each.most >= 10**7 for each in arms.chosen(10**7, False, ()))
    with pytest.raises(Invalid, match="no system is named faisss"):
        arms.chosen(10, True, ("faisss",))
    for each in arms.ARMS:
        assert each.path.is_file()
        assert 0 <= each.typical < len(each.settings)
        assert (each.system == "mnemos") != ("==" in "".join(each.packages[:1]))


def test_pixels_are_read(tmp_path: Path) -> None:
    import gzip

    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    head = b"\0\0\x08\x03" + b"".join(size.to_bytes(4, "big") for size in pixels.shape)
    path = tmp_path / "p.idx3.gz"
    path.write_bytes(gzip.compress(head + pixels.tobytes()))
    assert np.array_equal(worlds.read_idx(path), pixels)
    for data in (gzip.compress(head + pixels.tobytes()[:-1]), gzip.compress(b""), b"plain", gzip.compress(head)[:-4]):
        path.write_bytes(data)
        with pytest.raises(Corrupt, match="images"):
            worlds.read_idx(path)


def test_real_pixels_become_a_world(data: Path, tmp_path: Path) -> None:
    found = worlds.pictures(data, tmp_path / "images", 100, np.random.default_rng(0))
    assert (found.n, found.dimensions, len(found.asked())) == (9520, 784, 100)
    assert 0 <= found.base().min() < found.base().max() <= 1
    assert np.isfinite(found.truth(0.001)).all()
    assert len(found.allowed(0.001)) == found.below(0.001) == 10


def test_cores_are_those_that_are_there() -> None:
    assert runner.cores(1) == sorted(os.sched_getaffinity(0))[-1:]
