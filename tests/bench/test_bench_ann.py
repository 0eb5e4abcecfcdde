"""The pure parts of `mnemos bench ann`: generated data, exact answers, recall, and the runner of systems in processes of their own."""

import math
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnemos.base.errors import Corrupt, Invalid
from mnemos.base.stats import spearman
from mnemos.bench import parts, peers, registry
from mnemos.bench.ann import arms, comparing, measuring, picture, replacing, runner, sheet, worlds
from mnemos.bench.ann.arms import Arm
from mnemos.bench.ann.curves import best_within, cost_at, frontier, recall_at
from mnemos.bench.ann.measuring import Effort, Filtered, Measured, Point, measure
from mnemos.bench.ann.mixtures import Mixture, clusters_of, intrinsic_dimension
from mnemos.bench.ann.truth import exact, recall, squared_distances
from mnemos.bench.registry import Options
from mnemos.bench.result import Check

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


def test_curves_are_read_between_their_points() -> None:
    points = [(0.9, 1.0), (0.98, 4.0), (0.95, 8.0), (0.5, 0.5)]
    assert frontier(points) == [(0.5, 0.5), (0.9, 1.0), (0.98, 4.0)]
    assert cost_at(points, 0.94) == pytest.approx(2)
    assert cost_at(points, 0.4) == 0.5
    assert cost_at(points, 0.98) == pytest.approx(4)
    assert math.isnan(cost_at(points, 0.99))
    assert recall_at(points, 2) == pytest.approx(0.94)
    assert recall_at(points, 100) == 0.98
    assert math.isnan(recall_at(points, 0.1))
    assert best_within([(0.9, (1, 5)), (0.8, (1, 1)), (0.7, (0, 0))], (1, 2)) == 0.8
    assert math.isnan(best_within([(0.9, (3, 3))], (1, 2)))


def test_ranks_correlate() -> None:
    assert spearman([1, 2, 3, 4], [10, 100, 1000, 1e9]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 1, 2, 2], [1, 2, 3, 4]) == pytest.approx(0.894, abs=1e-3)
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))


def measured(world: worlds.World, name: str, *points: tuple[float, float, float]) -> Measured:
    """An arm with those points: recall, milliseconds, memory over the raw vectors."""
    found = Measured(arms.named(name), world, build={"seconds": 60.0})
    for number, (right, ms, held) in enumerate(points):
        resident = int(held * world.raw_bytes)
        found.points.append(Point(found.arm, number, right, ms, ms, ms, ms, resident, resident, resident, 2 * world.raw_bytes, 40))
    return found


def test_the_claim_is_checked(world: worlds.World) -> None:
    ours = measured(world, "SPANN", (0.9, 1, 0.1), (0.97, 2, 0.1), (0.99, 4, 0.1), (0.99, 1, 0.4), (0.99, 5, 0.1), (0.97, 2, 0.1))
    ours.filtered = [Filtered(ours.arm, 0.5, 0.99, 1, 2, 40), Filtered(ours.arm, 0.01, 0.97, 1, 1, 40)]
    ours.changes = {"inserted": {"p99_ms": 3.0, "first_p99_ms": 9.0, "n": 50},
                    "found again": {"share": 1.0, "n": 50}, "found after deletion": {"share": 0.0, "n": 50}}
    scan = measured(world, "exact", (1, 30, 1))
    scan.filtered = [Filtered(scan.arm, 0.5, 1, 1, 8, 40), Filtered(scan.arm, 0.01, 1, 1, 4, 40)]
    small = measured(world, "diskannpy, 4 %", (0.96, 1, 0.04))
    large = measured(world, "diskannpy, 12 %", (0.9, 4, 0.5), (0.99, 16, 0.5))
    lance = measured(world, "LanceDB IVF-PQ", (0.9, 9, 0.1))
    checks = {check.metric.removeprefix("small: "): check for check in comparing.checks([ours, scan, small, large, lance], million=True)}
    assert all(check.holds for check in checks.values())
    assert checks["recall@10 with p50 ≤ 3 ms on one core and memory ≤ 15% of the raw vectors"].measured == 0.97
    mine, theirs = cost_at([(point.recall, point.p50_ms) for point in ours.points], 0.95), cost_at([(0.9, 4), (0.99, 16)], 0.95)
    assert checks["p50 of diskannpy, of at least our memory, ÷ ours, at recall 0.95"].measured == pytest.approx(theirs / mine)
    assert checks["p50 of LanceDB's IVF-PQ ÷ ours, at recall 0.95"].measured == math.inf
    assert checks["p50 under filters ÷ that of an exact scan (worst share)"].measured == 0.25
    ours.filtered[1] = Filtered(ours.arm, 0.01, 0.97, 0.99, 1, 40)
    ours.changes["inserted"] |= {"p99_ms": 11.0, "first_p99_ms": 12.0}
    failed = [check.metric for check in comparing.checks([ours, scan, small, large, lance], million=True) if check.holds is False]
    assert failed == ["small: filtered searches that gave 10, or all there are (worst share)", "small: insert p99, ms",
                      "small: insert p99 of the first 200 after opening, ms"]
    assert comparing.row(ours)["memory ÷ raw"] == pytest.approx(0.4, abs=0.01)
    assert comparing.filter_row(ours)["1 % whole"] == 0.99


def test_what_was_not_measured_holds_nothing(world: worlds.World) -> None:
    nothing = Measured(arms.named("SPANN"), world)
    assert not any(check.holds for check in comparing.checks([nothing], million=True))
    courses = {"with upkeep": replacing.Course(), "append only": replacing.Course()}
    assert not any(check.holds for check in replacing.checks("replaced", courses, math.nan, 10))
    arms_of = {name: Measured(arm, world) for name, arm in sheet.arms().items()}
    assert not any(check.holds for check in sheet.checks({"small": arms_of}))


def test_a_replacement_is_followed_step_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "interpreter", lambda packages, install: Path(sys.executable))
    home = worlds.replaced(tmp_path / "world", 300, 3, 8, np.random.default_rng(0), dimensions=32)
    assert (home.n, len(worlds.mapped(home.vectors)), len(home.asked())) == (300, 600, 32)
    assert replacing.alive(300, 3, 1).tolist() == list(range(100, 400))
    same = worlds.replaced(tmp_path / "same", 300, 3, 8, np.random.default_rng(0), dimensions=32, drifting=False)
    assert same.name == "replaced 300, no drift"
    assert (len(worlds.mapped(same.vectors)), len(same.asked())) == (600, 32)
    changing = GOOD.replace("    def close", """    def insert(self, row, vector, attribute):
        self.rows[row] = vector

    def delete(self, row):
        self.rows.pop(row)

    def tend(self):
        pass

    def verify(self):
        return []

    def space(self):
        return {"bytes_on_disk": 30, "live_bytes": 20, "p99": 7, "longest": 7}

    def close""").replace('self.noted = {"lists": 3}', 'self.noted = {"bytes": 5}; self.rows = dict(enumerate(self.vectors))')  # fmt: skip
    changing = changing.replace("distances = ((self.vectors - query) ** 2).sum(1)", """ids = np.array(list(self.rows))
        distances = ((np.array(list(self.rows.values())) - query) ** 2).sum(1)""").replace("return best[", "return ids[best][")
    course = replacing.run(arm(tmp_path, changing), home, 3, EFFORT, lambda _: None, verify=True)
    assert course.failures == []
    assert course.column("recall") == [1, 1, 1, 1]
    assert course.column("space") == [1.5] * 4
    assert course.column("beside") == [0, 0, 1]
    assert (course.wrong, course.problems, course.curve) == (0, 0, [(1, 5)])
    assert course.curves == {step: [(1, 5)] for step in (0, 1, 2, 3)}
    assert len(replacing.table(course)) == 4
    lazy = changing.replace("    def tend(self):\n        pass", """    def tend(self):
        self.times = getattr(self, "times", 0) + 1
        if self.times == 3:
            raise OSError("no room")""")
    course = replacing.run(arm(tmp_path, lazy), home, 3, EFFORT, lambda _: None, verify=False)  # what fails in the thread is said
    assert course.failures
    forgetful = changing.replace("self.rows.pop(row)", "pass")
    course = replacing.run(arm(tmp_path, forgetful), home, 3, EFFORT, lambda _: None, verify=False)
    assert course.wrong > 0
    assert course.column("recall")[-1] < 1


def test_reads_with_pruning_are_set_against_fixed_ones(world: worlds.World) -> None:
    found = Measured(sheet.arms()[sheet.CLOSURE], world)

    def add(setting: int, right: float, lists: list[float]) -> None:
        found.points.append(Point(found.arm, setting, right, 1, 1, 1, 1, 0, 0, 0, 0, 40, {"lists": np.array(lists)}))

    fixed = sheet.FIXED.index(32)
    add(fixed, 0.97, [32.0] * 40)
    add(fixed - 2, 0.93, [16.0] * 40)
    hard = world.truth()[:, -1] / ((world.base()[None] - world.asked()[:, None]) ** 2).sum(2).mean(1)
    reads = 20 + 10 * (np.argsort(np.argsort(hard)) / 40 - 0.5)
    add(len(sheet.FIXED), 0.95, reads.tolist())
    assert sheet.pruned_reads(found) == pytest.approx(reads.mean() / math.sqrt(32 * 16))
    assert sheet.hardness(found) == pytest.approx(1)
    assert sheet.at(found, 32) == 0.97
    assert math.isnan(sheet.at(found, 8))


def test_parts_are_run_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def first(options: Options) -> parts.Measured:
        return [Check("first", 1.0)], {}

    def _second(options: Options) -> parts.Measured:
        return [Check("second", 2.0)], {}

    def ran() -> list[str]:
        result = parts.in_parts(registry.find("ann"), Options(), (first, _second), [])
        return [check["metric"] for check in result.details["checks"]]

    assert ran() == ["first", "second"]
    monkeypatch.setenv(parts.VARIABLE, "second")
    assert ran() == ["second"]
    monkeypatch.setenv(parts.VARIABLE, "second, third")
    with pytest.raises(Invalid, match="ann has no part third; it has first, second"):
        ran()


def test_the_picture_is_of_one_world(world: worlds.World, tmp_path: Path) -> None:
    result = {"details": {"curves": {"small": [comparing.curve(measured(world, "SPANN", (0.9, 1, 0.1), (0.95, 0.5, 0.1), (0.97, 2, 0.2))),
                                               comparing.curve(measured(world, "usearch"))]}}}  # fmt: skip
    (curve,) = picture.curves_of([result], "small")
    assert picture.line(curve, "p50_ms") == [(0.95, 0.5), (0.97, 2)]
    with pytest.raises(Invalid, match="no curves of 'large' in these results; there are small"):
        picture.curves_of([result], "large")
    pytest.importorskip("matplotlib")
    out = tmp_path / "curves.png"
    picture.draw([curve], "small", out)
    assert out.read_bytes().startswith(b"\x89PNG")
    assert picture.main([]) == 2
