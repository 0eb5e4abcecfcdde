"""Accuracy at equal bytes and at equal latency: which methods no other beats, by how much each leads, and the best score within each budget."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnemos.base.stats import Interval
from mnemos.bench.scbench.curves import by_method, group, mean, rows_of, shown
from mnemos.bench.scbench.harness import MULTI_TURN, SessionResult, TurnRow

BUDGETS = (1.0, 1 / 2, 1 / 4, 1 / 8, 1 / 16)
"""Bytes, as shares of the full cache's."""
ALIKE_BYTES, ALIKE_SECONDS = 1.02, 1.10
"""What counts as equal: two per cent of bytes (a few positions more), a tenth of a time."""

Cost = Callable[["Point"], float | None]


@dataclass(frozen=True, slots=True)
class Point:
    """A method with what it answers and what that takes: medians over the turns that are scored."""

    method: str
    score: Interval
    near: float
    """Bytes near the compute; of a method that keeps nothing there, all of its bytes."""
    bytes: float
    """Bytes of all tiers."""
    seconds: float | None
    """To the first token, or to the answer where nobody tells of a first one."""
    query_aware: bool = False


def points(results: Sequence[SessionResult], rng: np.random.Generator, counted: Collection[str] | None = None) -> list[Point]:
    """A point for each method over turns 2 and on (multi-turn), or over all requests: what was kept is asked again there. Results of one mode; only
    kinds of questions that are `counted`, None: all."""
    out = []
    for name, sessions in by_method(results).items():
        kept = [row for row in rows_of(sessions) if counted is None or group(row) in counted]
        rows = [row for row in kept if row.turn or sessions[0].mode != MULTI_TURN] or kept
        if rows:
            times = [seconds for row in rows if (seconds := _seconds(row)) is not None]
            near, whole = float(np.median([near_bytes(row) for row in rows])), float(np.median([row.bytes for row in rows]))
            out.append(Point(name, mean(rows, rng), near, whole, float(np.median(times)) if times else None, sessions[0].query_aware))
    return out


def front(points: Sequence[Point], *costs: Cost) -> list[Point]:
    """The points that no other beats: none scores at least as much for at most these costs and is better in one of them. Methods that know the
    question are left out, and those whose costs nobody tells."""
    told = [point for point in points if not point.query_aware and None not in _costs(point, costs)]
    return [point for point in told if not any(_beats(other, point, costs) for other in told)]


def lead(point: Point, points: Sequence[Point], *costs: Cost) -> float | None:
    """By how much a method's score is above the best other one that costs about the same or less; None where there is no other."""
    told = [other for other in points if other is not point and not other.query_aware]
    rivals = [other.score.value for other in told if _within(other, point, costs)]
    return point.score.value - max(rivals) if rivals else None


def within(points: Sequence[Point], most: float, cost: Cost) -> Point | None:
    """The method with the best score of those that cost about `most` at most; the cheapest of equals. None where all cost more."""
    inside = [(point, value) for point in points if not point.query_aware and (value := cost(point)) is not None and value <= most]
    return max(inside, key=lambda each: (each[0].score.value, -each[1]), default=(None, 0.0))[0]


def area(points: Sequence[Point], full: Point, cost: Cost) -> float:
    """The mean of the best scores within `BUDGETS` of what the full cache costs, a halving a step: the area under the front, from 0 to 1. A budget
    that no method keeps to counts 0."""
    whole = cost(full) or 0.0
    best = [within(points, share * whole * ALIKE_BYTES, cost) for share in BUDGETS]
    return float(np.mean([point.score.value if point else 0.0 for point in best]))


def table(points: Sequence[Point]) -> dict[str, dict[str, Any]]:
    """Each method: score, costs, its lead at equal near bytes, and on which fronts it lies."""
    fronts = {"near bytes": front(points, near), "all bytes": front(points, whole), "latency": front(points, latency)}
    return {
        point.method: {
            "score": shown(point.score), "near KiB": point.near / 1024, "all KiB": point.bytes / 1024,
            "ms": None if point.seconds is None else 1e3 * point.seconds,
            "lead at equal near bytes": None if point.query_aware else lead(point, points, near),
            "on the front of": "knows the question" if point.query_aware else ", ".join(name for name, its in fronts.items() if point in its),
        }
        for point in points
    }  # fmt: skip


def budget_table(points: Sequence[Point], full: Point) -> dict[str, dict[str, Any]]:
    """For each budget of bytes, the best method within it, near and in all tiers."""
    out: dict[str, dict[str, Any]] = {}
    for share in BUDGETS:
        row: dict[str, Any] = {}
        for name, cost in (("near", near), ("all", whole)):
            best = within(points, share * (cost(full) or 0.0) * ALIKE_BYTES, cost)
            row[f"best, {name} bytes"] = best.method if best else "none is that small"
            row[f"score, {name} bytes"] = shown(best.score) if best else None
        out["the full cache's bytes" if share == 1 else f"1/{round(1 / share)} of them"] = row
    return out


def near(point: Point) -> float | None:
    return point.near


def whole(point: Point) -> float | None:
    return point.bytes


def latency(point: Point) -> float | None:
    return point.seconds


def near_bytes(row: TurnRow) -> int:
    """Bytes near the compute; of a method that keeps nothing there, all of its bytes."""
    return row.resident.get("device", row.bytes)


def _seconds(row: TurnRow) -> float | None:
    return row.first_seconds if row.first_seconds is not None else row.rest_seconds


def _costs(point: Point, costs: Sequence[Cost]) -> list[float | None]:
    return [cost(point) for cost in costs]


def _beats(other: Point, point: Point, costs: Sequence[Cost]) -> bool:
    ours, theirs = [point.score.value, *(-(cost(point) or 0.0) for cost in costs)], [other.score.value, *(-(cost(other) or 0.0) for cost in costs)]
    return all(b >= a for a, b in zip(ours, theirs, strict=True)) and ours != theirs


def _within(other: Point, point: Point, costs: Sequence[Cost]) -> bool:
    """Whether another method costs about as much, or less."""
    for cost in costs:
        mine, its = cost(point), cost(other)
        if mine is None or its is None or its > mine * (ALIKE_SECONDS if cost is latency else ALIKE_BYTES):
            return False
    return True
