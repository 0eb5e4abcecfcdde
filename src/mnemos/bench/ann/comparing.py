"""Mnemos' index of lists beside the other systems on one world: the rows of the tables, and the checks of the claim."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from mnemos.bench.ann._measure import FIRST
from mnemos.bench.ann.arms import MNEMOS
from mnemos.bench.ann.curves import best_within, cost_at
from mnemos.bench.ann.measuring import Measured
from mnemos.bench.ann.runner import cores
from mnemos.bench.ann.worlds import K
from mnemos.bench.result import Check

RECALL = 0.95
MOST_MS, MOST_MEMORY, MOST_BUILD_SECONDS, MOST_INSERT_MS = 3.0, 0.15, 600.0, 10.0
AFTER_OPENING = f" of the first {FIRST} after opening"
FASTER_THAN_LANCE = 2.0
OURS, SCAN = "SPANN", "exact"


def row(found: Measured) -> dict[str, Any]:
    """One line of a world's table. Memory and disk are in multiples of the raw float32 vectors; `queries/s` at the arm's typical setting."""
    typical = found.typical()
    if typical is None:
        return {"": "; ".join(found.failures)}
    inserted, deleted = found.changes.get("inserted", {}), found.changes.get("deleted", {})
    raw = found.world.raw_bytes
    return {
        "recall@10": typical.recall,
        "best": max(point.recall for point in found.points),
        "p50 ms": typical.p50_ms,
        "p99 ms": typical.p99_ms,
        "cpu ms": typical.cpu_ms,
        f"p50 ms at {RECALL}": _or_none(p50_at(found, RECALL)),
        f"cpu ms at {RECALL}": _or_none(cost_at(((point.recall, point.cpu_ms) for point in found.points), RECALL)),
        "queries/s, 1 core": 1000 / typical.mean_ms,
        "2 cores": next(iter(found.qps.values()), None),
        "cold p50 ms": found.cold.get("p50_ms"),
        "memory ÷ raw": memory(found) / raw,
        "anonymous": max(point.anonymous for point in found.points) / raw,
        "peak": max(point.peak for point in found.points) / raw,
        "build peak": found.build.get("peak_anonymous", math.nan) / raw,
        "disk ÷ raw": found.disk / raw,
        "build s": found.build.get("seconds"),
        "build cpu s": found.build.get("cpu_seconds"),
        "inserts/s": inserted.get("rate"),
        "insert p99 ms": inserted.get("p99_ms"),
        f"insert p99 ms{AFTER_OPENING}": inserted.get("first_p99_ms"),
        "deletes/s": deleted.get("rate"),
        "delete p99 ms": deleted.get("p99_ms"),
    }


def filter_row(found: Measured) -> dict[str, Any]:
    """Recall, whole answers and latency by the share that a filter lets through."""
    out: dict[str, Any] = {}
    for each in found.filtered:
        share = f"{100 * each.share:g} %"
        out |= {f"{share} recall": each.recall, f"{share} whole": each.whole, f"{share} p50 ms": each.p50_ms}
    return out


def curve(found: Measured) -> dict[str, Any]:
    """All points of an arm, for the picture."""
    raw = found.world.raw_bytes
    points = [
        {
            "setting": dict(found.arm.settings[point.setting]),
            "recall": point.recall,
            "p50_ms": point.p50_ms,
            "cpu_ms": point.cpu_ms,
            "memory": point.resident / raw,
            "disk": point.disk / raw,
            "n": point.n,
            **{name: float(values.mean()) for name, values in point.noted.items()},
        }
        for point in found.points
    ]
    return {"system": found.arm.system, "arm": found.arm.name, "version": found.version, "baseline_bytes": found.baseline, "points": points,
            "failures": found.failures}  # fmt: skip


def memory(found: Measured) -> int:
    """Bytes resident after all settings were asked, beyond the interpreter with the library loaded: the most of them."""
    return max((point.resident for point in found.points), default=0)


def p50_at(found: Measured, recall: float) -> float:
    """Milliseconds at that recall; NaN where it is not reached."""
    return cost_at(((point.recall, point.p50_ms) for point in found.points), recall)


def checks(measured: Sequence[Measured], *, million: bool) -> list[Check]:
    """The claim on one world. Thresholds of speed, memory and build hold for the million vectors that the claim speaks of; elsewhere the numbers
    stand without them. What could not be measured of Mnemos is NaN, and holds nothing."""
    by_name = {found.arm.name: found for found in measured}
    ours, scan = by_name.get(OURS), by_name.get(SCAN)
    if ours is None:
        return []
    name, n = ours.world.name, len(ours.world.asked())
    raw = ours.world.raw_bytes
    limits = (MOST_MS, MOST_MEMORY * raw)
    best = best_within(((point.recall, (point.p50_ms, point.resident)) for point in ours.points), limits)
    graphs = [found for found in measured if "HNSW" in found.arm.name and found.points]
    out = [
        Check(f"{name}: recall@10 with p50 ≤ {MOST_MS:g} ms on one core and memory ≤ {MOST_MEMORY:.0%} of the raw vectors", best,
              RECALL if million else None, baseline=_best(graphs, limits), n=n),
        Check(f"{name}: recall@10 at its own settings", _typical(ours), RECALL, n=n),
        Check(f"{name}: build, seconds on {len(cores(2))} cores", ours.build.get("seconds", math.nan), MOST_BUILD_SECONDS if million else None,
              at_least=False, n=ours.world.n),
    ]  # fmt: skip
    out += _races(ours, measured, million, n)
    out += _filters(ours, scan, n)
    return out + _changes(ours)


def _races(ours: Measured, measured: Sequence[Measured], million: bool, n: int) -> list[Check]:
    """At the recall of the claim, the time of DiskANN with at least our memory, and of LanceDB's IVF-PQ, over ours."""
    mine, name = p50_at(ours, RECALL), ours.world.name
    disk = [found for found in measured if found.arm.system == "diskannpy" and found.points and memory(found) >= memory(ours)]
    lance = [found for found in measured if found.arm.name.startswith("LanceDB IVF-PQ") and found.points]
    races = (("diskannpy, of at least our memory,", disk, 1.0), ("LanceDB's IVF-PQ", lance, FASTER_THAN_LANCE))
    return [
        Check(f"{name}: p50 of {which} ÷ ours, at recall {RECALL}", _ratio(_least(p50_at(found, RECALL) for found in others), mine),
              bound if million else None, n=n)
        for which, others, bound in races if others
    ]  # fmt: skip


def _ratio(other: float, mine: float) -> float:
    """Infinite where the other never gets there and we do."""
    return math.inf if math.isnan(other) and not math.isnan(mine) else other / mine


def _filters(ours: Measured, scan: Measured | None, n: int) -> list[Check]:
    name = ours.world.name
    shares = {each.share: each for each in ours.filtered}
    if not shares:
        return [Check(f"{name}: filtered searches that gave {K}, or all there are (worst share)", math.nan, 1.0)]
    out = [
        Check(f"{name}: filtered searches that gave {K}, or all there are (worst share)", min(each.whole for each in shares.values()), 1.0, n=n),
        Check(f"{name}: recall@10 under filters (worst share)", min(each.recall for each in shares.values()), RECALL, n=n),
    ]
    exact = {each.share: each.p50_ms for each in scan.filtered} if scan else {}
    ratios = [each.p50_ms / exact[share] for share, each in shares.items() if share in exact]
    if ratios:
        out.append(Check(f"{name}: p50 under filters ÷ that of an exact scan (worst share)", max(ratios), 1.0, at_least=False, n=n))
    return out


def _changes(ours: Measured) -> list[Check]:
    name, inserted = ours.world.name, ours.changes.get("inserted")
    if inserted is None:
        return [Check(f"{name}: insert p99{when}, ms", math.nan, MOST_INSERT_MS, at_least=False) for when in ("", AFTER_OPENING)]
    again, gone = ours.changes.get("found again", {}), ours.changes.get("found after deletion", {})
    return [
        Check(f"{name}: insert p99, ms", inserted["p99_ms"], MOST_INSERT_MS, at_least=False, n=inserted["n"]),
        Check(f"{name}: insert p99{AFTER_OPENING}, ms", inserted["first_p99_ms"], MOST_INSERT_MS, at_least=False, n=min(inserted["n"], FIRST)),
        Check(f"{name}: inserted vectors that are found", again.get("share", math.nan), 0.99, n=again.get("n", 0)),
        Check(f"{name}: deleted vectors that are found", gone.get("share", math.nan), 0.0, at_least=False, n=gone.get("n", 0)),
    ]


def _typical(found: Measured) -> float:
    point = found.typical()
    return point.recall if point else math.nan


def _best(found: Iterable[Measured], limits: Sequence[float]) -> float | None:
    """The same within the same limits of others."""
    values = [best_within(((point.recall, (point.p50_ms, point.resident)) for point in each.points), limits) for each in found]
    return max((value for value in values if not math.isnan(value)), default=None)


def _least(values: Iterable[float]) -> float:
    return min((value for value in values if not math.isnan(value)), default=math.nan)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def rows(measured: Sequence[Measured]) -> dict[str, dict[str, dict[str, Any]]]:
    """The tables of one world: what ran, what filters gave, and what did not run."""
    name = measured[0].world.name
    ran = [found for found in measured if found.points]
    failed = {found.arm.name: {"what": "; ".join(found.failures)} for found in measured if found.failures}
    out = {
        f"{name}, {measured[0].world.dimensions} dimensions": {label(found): row(found) for found in ran},
        f"{name}, filters": {label(found): filter_row(found) for found in ran if found.filtered},
        f"{name}, what did not run": failed,
    }
    return {title: table for title, table in out.items() if table}


def label(found: Measured) -> str:
    """The arm with its version, as tables name it."""
    return f"{MNEMOS} {found.arm.name}" if found.arm.system == MNEMOS else f"{found.arm.name} ({found.version})"
