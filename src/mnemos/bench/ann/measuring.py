"""One system on one world: built, opened, asked, changed, each in a process of its own, and what came out, as points of a curve."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.base.meter import disk_bytes
from mnemos.bench.ann import runner
from mnemos.bench.ann.arms import MNEMOS, Arm
from mnemos.bench.ann.runner import Outcome, cores
from mnemos.bench.ann.truth import Ids, recall
from mnemos.bench.ann.worlds import K, World
from mnemos.bench.peers import PeerError

Say = Callable[[str], None]
SHARES = (0.5, 0.1, 0.01, 0.001)

"""Of all vectors, that the filters let through."""
CHANGES = ("inserted", "deleted", "found again", "found after deletion")


@dataclass(frozen=True)
class Effort:
    """How long each thing may take: seconds of a phase before it is ended, and of asking at one setting; changes that are made one by one."""

    phase_seconds: float = 3600
    setting_seconds: float = 10
    changes: int = 2000
    filters: bool = True
    clients: bool = True


@dataclass(frozen=True)
class Point:
    """One arm at one setting, on one core: recall@10, milliseconds, memory beyond the interpreter with the library loaded, bytes on disk."""

    arm: Arm
    setting: int
    recall: float
    p50_ms: float
    p99_ms: float
    mean_ms: float
    cpu_ms: float
    resident: int
    anonymous: int
    peak: int
    disk: int
    n: int
    noted: dict[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)
    """What the index says of each query: lists and bytes read."""


@dataclass(frozen=True)
class Filtered:
    """The same for a filter that lets `share` through; `whole` is the share of queries that got as many as exist, up to ten."""

    arm: Arm
    share: float
    recall: float
    whole: float
    p50_ms: float
    n: int


@dataclass
class Measured:
    """All that is known of one arm on one world. `failures` says what did not run, phase by phase."""

    arm: Arm
    world: World
    version: str = ""
    baseline: int = 0
    build: dict[str, Any] = field(default_factory=dict)
    disk: int = 0
    points: list[Point] = field(default_factory=list)
    filtered: list[Filtered] = field(default_factory=list)
    qps: dict[int, float] = field(default_factory=dict)
    cold: dict[str, Any] = field(default_factory=dict)
    space: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def typical(self) -> Point | None:
        """The point at the arm's typical setting."""
        return next((point for point in self.points if point.setting == self.arm.typical), None)


def measure(arm: Arm, world: World, effort: Effort, install: bool, say: Say = lambda _: None) -> Measured:
    """Builds the arm's index of the world, and measures it. Nothing that goes wrong in a system is raised: it stands in `failures`."""
    found = Measured(arm, world)
    try:
        python = runner.interpreter(arm.packages, install)
    except PeerError as error:
        found.failures.append(f"not installed: {error}")
        return found
    with tempfile.TemporaryDirectory(dir=world.folder, prefix="index-") as home:
        trial = _Trial(found, python, Path(home), effort, say)
        if trial.build():
            trial.serve()
            if effort.clients:
                trial.clients()
            if effort.changes:
                trial.change()
    return found


@dataclass
class _Trial:
    found: Measured
    python: Path
    home: Path
    effort: Effort
    say: Say

    def run(self, phase: str, cpus: Sequence[int], **more: Any) -> Outcome:
        arm, world = self.found.arm, self.found.world
        self.say(f"{world.name}: {arm.name}, {phase}")
        out = self.home / "out"
        out.mkdir(exist_ok=True)
        request = request_of(arm, world, self.home / "index", out, phase, cpus, self.effort) | more
        outcome = runner.run(self.python, arm.path, request, self.effort.phase_seconds)
        if outcome.failure:
            self.found.failures.append(f"{phase}: {outcome.failure}")
        return outcome

    def build(self) -> bool:
        (self.home / "index").mkdir()
        outcome = self.run("build", cores(2))
        if ready := outcome.event("ready"):
            self.found.version, self.found.baseline = ready["version"], ready["resident"]
        if built := outcome.event("built"):
            baseline = ready["anonymous"] if ready else 0
            self.found.build = {**built, "peak_anonymous": max(0, outcome.peak - baseline)}
        self.found.disk = disk_bytes(self.home / "index")
        return outcome.failure is None

    def serve(self) -> None:
        shares = SHARES if self.effort.filters else ()
        world = self.found.world
        outcome = self.run("serve", cores(1), filters=[(share, world.below(share)) for share in shares])
        base, queries, truth = world.base(), world.asked(), world.truth()
        self.found.cold, self.found.space = outcome.event("cold") or {}, outcome.event("space") or {}
        for event in outcome.events("searched"):
            rows, noted = read_found(self.home / "out" / event["found"])
            right = recall(base, queries[: len(rows)], rows, truth[: len(rows)])
            self.found.points.append(Point(self.found.arm, event["setting"], float(right.mean()), event["p50_ms"], event["p99_ms"], event["mean_ms"],
                                           event["cpu_ms"], event["resident"], event["anonymous"], event["peak"], self.found.disk, event["n"], noted))
        for event in outcome.events("filtered"):
            rows, _ = read_found(self.home / "out" / event["found"])
            near = world.truth(event["share"])[: len(rows)]
            allowed = np.isin(rows, world.allowed(event["share"]))
            rows = np.where(allowed, rows, -1)
            exist = np.isfinite(near).sum(1)
            whole = float(((rows >= 0).sum(1) == exist).mean())
            right = recall(base, queries[: len(rows)], rows, near)
            self.found.filtered.append(Filtered(self.found.arm, event["share"], float(right.mean()), whole, event["p50_ms"], event["n"]))
        self.found.failures += [f"filters: {event['why']}" for event in outcome.events("no filter")]

    def clients(self) -> None:
        outcome = self.run("clients", cores(2))
        self.found.qps |= {event["clients"]: event["qps"] for event in outcome.events("clients")}

    def change(self) -> None:
        outcome = self.run("change", cores(1))
        self.found.changes = {event["event"]: event for event in outcome.said if event["event"] in CHANGES}
        self.found.failures += [f"changes: {event['why']}" for event in outcome.events("no change")]


def read_found(path: Path) -> tuple[Ids, dict[str, NDArray[np.float64]]]:
    """The ids that a process found, -1 where nothing, and what the index noted of each query."""
    with np.load(path) as file:
        return file["found"], {name: file[name] for name in file.files if name != "found"}


def request_of(arm: Arm, world: World, folder: Path, out: Path, phase: str, cpus: Sequence[int], effort: Effort) -> dict[str, Any]:
    """What `_measure.py` is asked; see there. Where several threads work already, clients or Mnemos' own workers, each of their products has one."""
    return {
        "within": 1 if phase == "clients" or arm.system == MNEMOS else len(cpus),
        "phase": phase, "package": arm.package, "folder": str(folder), "out": str(out), "cpus": list(cpus), "cores": len(cpus),
        "vectors": str(world.vectors), "attributes": str(world.attributes), "queries": str(world.queries), "count": world.n,
        "dimensions": world.dimensions, "k": K, "options": dict(arm.options), "settings": [dict(setting) for setting in arm.settings],
        "filters": [], "filtered_settings": [arm.typical], "seconds": effort.setting_seconds,
        "changes": effort.changes, "steps": 10, "tend": True, "verify": False,
    }  # fmt: skip


def space_needed(n: int, dimensions: int) -> int:
    """Bytes of disk that a world and the largest index of it take, about."""
    return round(n * dimensions * 4 * 3.2)


def space_left(folder: Path) -> int:
    """Bytes free where `folder` lies."""
    return shutil.disk_usage(folder).free
