"""What can be read off a curve of points: how fast at a recall, how good within limits of time and memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def frontier(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (recall, cost) those that no other beats in both, by rising recall."""
    kept: list[tuple[float, float]] = []
    for recall, cost in sorted(points, key=lambda point: (-point[0], point[1])):
        if not kept or cost < kept[-1][1]:
            kept.append((recall, cost))
    return kept[::-1]


def cost_at(points: Iterable[tuple[float, float]], recall: float) -> float:
    """The cost at which the curve reaches `recall`: between the two points about it, log-linearly; that of the first where even it has more; NaN
    where none has as much."""
    curve = frontier(points)
    above = next((i for i, point in enumerate(curve) if point[0] >= recall), None)
    if above is None:
        return math.nan
    if above == 0:
        return curve[0][1]
    (low, cheap), (high, dear) = curve[above - 1], curve[above]
    part = (recall - low) / (high - low)
    return math.exp((1 - part) * math.log(cheap) + part * math.log(dear)) if cheap > 0 else dear


def recall_at(points: Iterable[tuple[float, float]], cost: float) -> float:
    """The recall that the curve reaches at `cost`: between the two points about it, linear in the logarithm of the cost; NaN where even the first
    costs more."""
    curve = frontier(points)
    within = [point for point in curve if point[1] <= cost]
    if not within:
        return math.nan
    beyond = curve[len(within) : len(within) + 1]
    if not beyond or within[-1][1] <= 0:
        return within[-1][0]
    (low, cheap), (high, dear) = within[-1], beyond[0]
    return low + (high - low) * math.log(cost / cheap) / math.log(dear / cheap)


def best_within(points: Iterable[tuple[float, Sequence[float]]], limits: Sequence[float]) -> float:
    """The best recall of the points (recall, costs) none of whose costs is above its limit; NaN where there is none."""
    return max((recall for recall, costs in points if all(cost <= limit for cost, limit in zip(costs, limits, strict=True))), default=math.nan)
