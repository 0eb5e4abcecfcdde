"""`mnemos bench ann`: Mnemos' indexes beside other libraries on texts, pixels and mixtures, a full replacement, and what the method shows by itself.

A full run takes hours, most of them builds of a million vectors; MNEMOS_BENCH_PARTS runs a part at a time ("images", "texts", "ten_thousand",
"hundred_thousand", "million", "ten_million", "replacement", "sheet", "list_cache"). `python -m mnemos.bench.ann.picture` draws what the results hold.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mnemos.bench.ann import caching, comparing, replacing, sheet, worlds
from mnemos.bench.ann.arms import chosen
from mnemos.bench.ann.measuring import Effort, measure, space_left, space_needed
from mnemos.bench.ann.mixtures import intrinsic_dimension
from mnemos.bench.ann.worlds import World
from mnemos.bench.datasets import data_folder
from mnemos.bench.embedding import CountingEmbedder, vector_folder
from mnemos.bench.parts import Measured as Part
from mnemos.bench.parts import in_parts
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.models.minilm import MiniLM

FULL = Effort()
QUICK = Effort(phase_seconds=120, setting_seconds=0.2, changes=200)
SAMPLE = 300
"""Vectors that the intrinsic dimension of a world is estimated from."""

NOTES = (
    "Every system runs in a process of its own for each phase: built on two cores, asked on one core that the process cannot leave (queries one "
    "after the other, k = 10), asked from two threads on two cores for queries/s on two. Times are wall time; `cpu ms` is processor time.",
    "Memory is that of the process that answers, beyond the interpreter with NumPy and the library loaded (RSS; `anonymous` leaves out pages mapped "
    "from files; `peak` is the most since then; `build peak` the most anonymous memory while building, seen every 20 ms). All as multiples of the "
    "raw float32 vectors.",
    "Indexes are opened with the page cache dropped; the first 30 queries are `cold`, later ones may read from the cache. diskannpy reads past it.",
    "Squared L2 everywhere; embedded texts and mixtures have unit length, so that this ranks as the cosine does. A filter lets through a share of "
    "the vectors that has nothing to do with where they lie.",
    "Truth is exact, in blocks; what is no farther than the tenth neighbour counts.",
)


@dataclass
class _Bench:
    """The parts, and the curves that they leave for the picture."""

    home: Path
    options: Options
    curves: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def effort(self) -> Effort:
        return QUICK if self.options.quick else FULL

    @property
    def installs(self) -> bool:
        """Whether what is not installed yet is fetched: in the quick run only what was named."""
        return not self.options.quick or bool(self.options.peers)

    def compare(self, world: World, effort: Effort | None = None) -> Part:
        """All chosen systems on one world."""
        measured = []
        for arm in chosen(world.n, self.options.quick, self.options.peers):
            measured.append(measure(arm, world, effort or self.effort, self.installs, self.options.say))
        self.curves[world.name] = [comparing.curve(found) for found in measured]
        rng = self.options.rng()
        dimension = intrinsic_dimension(world.base(), rng.choice(world.n, min(SAMPLE, world.n), replace=False))
        shape = {"vectors": world.n, "dimensions": world.dimensions, "intrinsic (Levina–Bickel)": dimension, "queries": len(world.asked())}
        tables = {f"{world.name}, the data": {world.name: shape}, **comparing.rows(measured)}
        return comparing.checks(measured, million=world.n == 10**6), tables

    def mixture(self, n: int, queries: int, effort: Effort | None = None) -> Part:
        """The same on a generated mixture, where the disk has room for it."""
        needed, left = space_needed(n, worlds.DIMENSIONS), space_left(self.home)
        if needed > left:
            self.left_out.append(f"{n:,} vectors: need about {needed / 1e9:.0f} GB of disk, {left / 1e9:.0f} GB are free.")
            return [Check(f"{n:,} vectors were left out: free disk ÷ what is needed", left / needed)], {}
        with tempfile.TemporaryDirectory(dir=self.home) as folder:
            self.options.say(f"{n:,} vectors")
            effort = effort or self.effort
            return self.compare(worlds.generated(Path(folder, "world"), n, queries, self.options.rng(), effort.changes), effort)

    def images(self, options: Options) -> Part:
        with tempfile.TemporaryDirectory(dir=self.home) as folder:
            queries = 200 if options.quick else 1000
            return self.compare(worlds.pictures(data_folder(options.data), Path(folder, "world"), queries, options.rng(), self.effort.changes))

    def texts(self, options: Options) -> Part:
        data, embedder = data_folder(options.data), CountingEmbedder(MiniLM(), vector_folder())
        with tempfile.TemporaryDirectory(dir=self.home) as folder:
            return self.compare(worlds.texts(data, Path(folder, "world"), 1000, embedder, options, options.rng(), self.effort.changes))

    def ten_thousand(self, options: Options) -> Part:
        return self.mixture(10_000, 200 if options.quick else 1000)

    def hundred_thousand(self, options: Options) -> Part:
        return self.mixture(100_000, 200 if options.quick else 1000)

    def million(self, options: Options) -> Part:
        return self.mixture(1_000_000, 1000)

    def ten_million(self, options: Options) -> Part:
        return self.mixture(10_000_000, 500, replace(self.effort, phase_seconds=4 * 3600))

    def replacement(self, options: Options) -> Part:
        """All vectors replaced once, while they drift and by their like: a hundred steps at the sheet's size, and, in full, ten at the claim's."""
        checks: list[Check] = []
        tables: dict[str, Any] = {}
        sizes = ((2000, 4, True),) if options.quick else ((100_000, 100, True), (100_000, 20, False), (1_000_000, 10, True))
        for n, steps, drifting in sizes:
            with tempfile.TemporaryDirectory(dir=self.home) as folder:
                world = worlds.replaced(Path(folder, "world"), n, steps, 100 if options.quick else 600, options.rng(), drifting=drifting)
                courses = {name: replacing.run(arm, world, steps, self.effort, options.say, n <= 100_000) for name, arm in replacing.arms().items()}
                fresh = replacing.fresh_recall(world, steps, self.effort, options.say)
                checks += replacing.checks(world.name, courses, fresh, n)
                tables |= {f"{world.name}, {name}": replacing.table(course) for name, course in courses.items()}
                self.left_out += [f"{world.name}, {name}: {failure}" for name, course in courses.items() for failure in course.failures]
        return checks, tables

    def sheet(self, options: Options) -> Part:
        """The method by itself, on a mixture, and, in full, on pixels and texts."""
        data = data_folder(options.data)
        with tempfile.TemporaryDirectory(dir=self.home) as folder:
            n = 4000 if options.quick else 30_000
            sets = [worlds.generated(Path(folder, "mixture"), n, 300, options.rng())]
            if not options.quick:
                sets.append(worlds.pictures(data, Path(folder, "images"), 300, options.rng()))
                embedder = CountingEmbedder(MiniLM(), vector_folder())
                sets.append(worlds.texts(data, Path(folder, "texts"), 300, embedder, options, options.rng()))
            found = sheet.run(sets, self.effort, self.installs, options.say)
            for name, measured in found.items():
                self.left_out += [f"{name}, {arm}: {failure}" for arm, each in measured.items() for failure in each.failures]
            return sheet.checks(found), {f"{name}, the method by itself": sheet.table(measured) for name, measured in found.items()}


def run(benchmark: Benchmark, options: Options) -> Result:
    """Every part in turn. Raises `NotFound` where the data is absent, `Invalid` for a peer that is none."""
    chosen(1, options.quick, options.peers)
    with tempfile.TemporaryDirectory(prefix="mnemos-bench-ann-") as home:
        bench = _Bench(Path(home), options)
        quick = (bench.ten_thousand, bench.replacement, bench.sheet, caching.list_cache)
        sizes = (bench.ten_thousand, bench.hundred_thousand, bench.million, bench.ten_million)
        full = (bench.images, bench.texts, *sizes, bench.replacement, bench.sheet, caching.list_cache)
        result = in_parts(benchmark, options, quick if options.quick else full, NOTES)
    details = {**result.details, "notes": [*result.details["notes"], *bench.left_out], "curves": bench.curves}
    return replace(result, details=details)
