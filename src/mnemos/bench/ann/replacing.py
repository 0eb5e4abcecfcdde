"""Every vector replaced once, by its like or while the data drifts: what recall, space and the time of an insert do, with upkeep and without."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mnemos.bench.ann import runner
from mnemos.bench.ann.arms import Arm, named
from mnemos.bench.ann.curves import recall_at
from mnemos.bench.ann.measuring import Effort, Say, measure, read_found, request_of
from mnemos.bench.ann.runner import cores
from mnemos.bench.ann.truth import exact, recall
from mnemos.bench.ann.worlds import K, World, mapped, world
from mnemos.bench.peers import PeerError
from mnemos.bench.result import Check
from mnemos.index.spann.options import Options as SpannOptions

DRIFT, FRESH, SPACE, INSERT_MS = 0.01, 0.02, 1.6, 10.0
SETTINGS = ({}, *({"lists": count, "spread": 1e9} for count in (4, 8, 16, 32, 64)))
"""The index's own first."""
FIXED = 2
"""Of these, the one that asks for eight lists, whatever they hold."""
NO_UPKEEP = {"list_limit": 65536, "merge_below": 0, "renew_after": 0.0}
"""Lists that are never split, merged or renewed: vectors are only appended."""


@dataclass
class Course:
    """What one index did: a row for each step, after each quarter of them the curve (recall, bytes read) over the settings, and what was wrong."""

    steps: list[dict[str, float]] = field(default_factory=list)
    curves: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    wrong: int = 0
    problems: float = math.nan
    failures: list[str] = field(default_factory=list)

    @property
    def curve(self) -> list[tuple[float, float]]:
        """That of the end."""
        return self.curves[max(self.curves)] if self.curves else []

    def column(self, name: str) -> list[float]:
        return [row[name] for row in self.steps if name in row]


def arms() -> dict[str, Arm]:
    """The index as it is, and one that only appends."""
    ours = replace(named("SPANN"), settings=SETTINGS, typical=0)
    return {"with upkeep": ours, "append only": replace(ours, name="append only", options=NO_UPKEEP)}


def run(arm: Arm, home: World, steps: int, effort: Effort, say: Say, verify: bool) -> Course:
    """Builds the index of the first half of the file, and replaces it by the second, in so many steps."""
    course = Course()
    try:
        python = runner.interpreter(arm.packages, install=False)
    except PeerError as error:
        course.failures.append(str(error))
        return course
    with tempfile.TemporaryDirectory(dir=home.folder, prefix="index-") as name:
        folder, out = Path(name, "index"), Path(name, "out")
        folder.mkdir()
        out.mkdir()
        for phase, count in (("build", 2), ("replace", 2)):  # one for what goes on beside
            say(f"{home.name}: {arm.name}, {phase}")
            request = request_of(arm, home, folder, out, phase, cores(count), effort) | {"steps": steps, "verify": verify}
            outcome = runner.run(python, arm.path, request, effort.phase_seconds)
            if outcome.failure:
                course.failures.append(f"{phase}: {outcome.failure}")
                if phase == "build":
                    return course
        _read(course, outcome, home, steps, out)
    return course


def _read(course: Course, outcome: runner.Outcome, home: World, steps: int, out: Path) -> None:
    base, of_step = mapped(home.vectors), np.array_split(home.asked(), steps + 1)
    near = {}

    def right(event: Mapping[str, Any], step: int) -> float:
        queries, live = of_step[step], alive(home.n, steps, step)
        found, _ = read_found(out / event["found"])
        stands = np.isin(found, live)
        course.wrong += int(((found >= 0) & ~stands).sum())
        found = np.where(stands, found, -1)
        if step not in near:
            near[step] = exact(base, queries, K, live)[1]
        return float(recall(base, queries[: len(found)], found, near[step][: len(found)]).mean())

    for event in outcome.events("step"):
        numbers = {name: float(value) for name, value in event.items() if isinstance(value, int | float)}
        course.steps.append({**numbers, "recall": right(event, event["step"]), "space": event["bytes_on_disk"] / event["live_bytes"]})
    for event in outcome.events("quarter"):
        course.curves.setdefault(event["step"], []).append((right(event, event["step"]), event["noted"]["bytes"]))
    verified = outcome.events("verified")
    course.problems = float(sum(event["problems"] for event in verified)) if verified else math.nan


def alive(n: int, steps: int, step: int) -> Any:
    """The rows that stand after that step, ascending: the first so many of n were replaced by those n rows further on."""
    gone = sum(len(part) for part in np.array_split(np.arange(n), steps)[:step])
    return np.arange(gone, n + gone, dtype=np.int64)


def fresh_recall(home: World, steps: int, effort: Effort, say: Say) -> float:
    """Recall at its own settings of an index that is built of what stands at the end; NaN where it could not be."""
    queries = np.array_split(home.asked(), steps + 1)[-1]
    with tempfile.TemporaryDirectory(dir=home.folder, prefix="fresh-") as name:
        anew = world("fresh", Path(name, "world"), mapped(home.vectors)[home.n :], queries, np.random.default_rng(0))
        found = measure(arms()["with upkeep"], anew, replace(effort, changes=0, filters=False, clients=False), False, say)
        point = found.typical()
    return point.recall if point else math.nan


def checks(name: str, courses: Mapping[str, Course], fresh: float, n: int) -> list[Check]:
    """The claim of a full replacement of `n` vectors."""
    ours, appended = courses["with upkeep"], courses["append only"]
    recalls, spaces = ours.column("recall"), ours.column("space")
    long = max(ours.column("p99"), default=math.nan)
    whole = len(ours.curve) == len(SETTINGS)
    inserts = [max((row["insert_p99_ms"] for row in ours.steps if row.get("beside") == side), default=math.nan) for side in (0, 1)]
    drop = recalls[0] - min(recalls) if whole else math.nan
    fixed = [curve[FIXED][0] for curve in ours.curves.values() if len(curve) == len(SETTINGS)]
    gap = math.nan
    if whole and appended.curve:  # at what ours reads by its own settings, or the least that the other can read
        at = max(ours.curve[0][1], min(cost for _, cost in appended.curve))
        gap = recall_at(ours.curve, at) - recall_at(appended.curve, at)
    return [
        Check(f"{name}: recall@10 lost over one replacement of all vectors (worst step)", drop, DRIFT, at_least=False, n=n),
        Check(f"{name}: recall@10 at 8 lists lost over it (worst quarter)", fixed[0] - min(fixed) if whole else math.nan, DRIFT, at_least=False, n=n),
        Check(f"{name}: recall@10 of a fresh build − of the replaced one", fresh - recalls[-1] if whole else math.nan, FRESH, at_least=False, n=n),
        Check(f"{name}: recall@10 with upkeep − append only, at as many bytes read", gap, 0.01, n=n),
        Check(f"{name}: disk ÷ live bytes (worst step)", max(spaces) if whole else math.nan, SPACE, at_least=False, n=n),
        Check(f"{name}: insert p99, ms (worst step)", inserts[0], INSERT_MS, at_least=False, n=n),
        Check(f"{name}: insert p99 while upkeep goes on in a thread, ms (last step)", inserts[1], INSERT_MS, at_least=False, n=n),
        Check(f"{name}: 99th percentile of list lengths ÷ their limit (worst step)", long / list_limit(), 1.0, at_least=False, n=n),
        Check(f"{name}: deleted vectors among the answers", float(ours.wrong) if whole else math.nan, 0.0, at_least=False, n=n),
        Check(f"{name}: problems that verifying finds", ours.problems, 0.0, at_least=False, n=n),
    ]


def list_limit() -> int:
    """How long the lists of the index as it is may be."""
    return SpannOptions().list_limit


SHOWN = ("recall", "space", "insert_p50_ms", "insert_p99_ms", "insert_max_ms", "background_seconds", "p50_ms", "cpu_ms", "copies", "p99", "longest",
         "lists", "splits", "merges", "renewed", "reassigned")  # fmt: skip


def table(course: Course, most: int = 11) -> dict[str, dict[str, Any]]:
    """At most so many of the steps, evenly."""
    chosen = sorted({round(i) for i in np.linspace(0, len(course.steps) - 1, min(most, len(course.steps)))}) if course.steps else []
    rows = {f"step {int(course.steps[i]['step'])}": {name: course.steps[i].get(name) for name in SHOWN} for i in chosen}
    for step, curve in course.curves.items():
        if f"step {step}" in rows and len(curve) == len(SETTINGS):
            (_, own), (at_eight, read) = curve[0], curve[FIXED]
            rows[f"step {step}"] |= {"bytes read": own, "recall at 8 lists": at_eight, "bytes read at 8 lists": read}
    return rows
