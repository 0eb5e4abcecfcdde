"""The front: what is beaten is told, at equal bytes and at equal latency, and what the full cache does not answer is left out."""

from __future__ import annotations

import numpy as np
import pytest

from mnemos.base.stats import Interval
from mnemos.bench.scbench import curves, pareto
from mnemos.bench.scbench.harness import SessionResult, TurnRow
from mnemos.bench.scbench.pareto import Point, latency, near, whole


def point(name: str, score: float, near: float, all_: float | None = None, seconds: float | None = 1.0, aware: bool = False) -> Point:
    return Point(name, Interval(score, score, score, 4, 4), near, near if all_ is None else all_, seconds, aware)


FULL = point("full", 1.0, 1600, seconds=1.0)
SMALL = point("small", 0.5, 200, seconds=3.0)
LARGER = point("larger", 0.4, 400, seconds=2.0)
FAR = point("far", 0.9, 200, 1700, seconds=4.0)
KNOWS = point("knows", 1.0, 100, aware=True)
POINTS = [FULL, SMALL, LARGER, FAR, KNOWS]


def test_the_front_is_what_no_other_beats() -> None:
    assert pareto.front(POINTS, near) == [FULL, FAR]
    assert pareto.front(POINTS, whole) == [FULL, SMALL]
    assert pareto.front(POINTS, latency) == [FULL]
    assert pareto.front(POINTS, whole, latency) == [FULL, SMALL, LARGER]
    assert pareto.front([FULL, point("untold", 1.0, 1, seconds=None)], latency) == [FULL]


def test_equals_are_both_on_the_front() -> None:
    twin = point("twin", 0.5, 200, seconds=3.0)
    assert pareto.front([SMALL, twin], near) == [SMALL, twin]


def test_a_lead_is_over_the_best_that_costs_no_more() -> None:
    assert pareto.lead(FAR, POINTS, near) == pytest.approx(0.4)
    assert pareto.lead(LARGER, POINTS, near) == pytest.approx(-0.5)
    assert pareto.lead(SMALL, POINTS, whole) is None
    assert pareto.lead(FULL, [FULL, point("a little more", 0.7, 1620)], near) == pytest.approx(0.3)
    assert pareto.lead(FULL, [FULL, point("more", 0.7, 1700)], near) is None


def test_budgets_and_the_area_under_the_front() -> None:
    assert pareto.within(POINTS, 400, near) is FAR
    assert pareto.within(POINTS, 400, whole) is SMALL
    assert pareto.within(POINTS, 99, near) is None
    assert pareto.area(POINTS, FULL, near) == pytest.approx((1.0 + 0.9 + 0.9 + 0.9 + 0) / 5)
    assert pareto.area(POINTS, FULL, whole) == pytest.approx((1.0 + 0.5 + 0.5 + 0.5 + 0) / 5)
    table = pareto.budget_table(POINTS, FULL)
    assert table["1/8 of them"]["best, near bytes"] == "far"
    assert table["1/16 of them"] == {"best, near bytes": "none is that small", "score, near bytes": None,
                                     "best, all bytes": "none is that small", "score, all bytes": None}  # fmt: skip


def session(name: str, task: str, kinds: list[str], scores: list[float], device: int, mode: str = "multi-turn") -> SessionResult:
    rows = tuple(
        TurnRow("s", task, kind, turn, "x", score, None, 2, 0.01 * (turn + 1), 0.02, 0.0, {"device": device, "host": 10}, 0, 9, None, None, True)
        for turn, (kind, score) in enumerate(zip(kinds, scores, strict=True))
    )
    return SessionResult("s", task, name, False, mode, "reference", "t", 1.0, rows)


def test_points_are_of_later_turns_and_of_what_counts() -> None:
    rng = np.random.default_rng(0)
    full = [session("full", "kv", ["kv"] * 3, [0.9, 1, 1], 100), session("full", "repoqa_kv", ["repoqa_kv", "kv", "repoqa_kv"], [0, 1, 0], 100)]
    ours = [session("m", "kv", ["kv"] * 3, [1, 0.5, 0], 50), session("m", "repoqa_kv", ["repoqa_kv", "kv", "repoqa_kv"], [1, 0.1, 1], 70)]
    counted = curves.mastered(full)
    assert counted == {"kv", "repoqa_kv: kv"}
    assert curves.answered(full)["repoqa_kv"] == 0
    (found,) = pareto.points(ours, rng, counted)
    assert found.score.value == pytest.approx((0.5 + 0 + 0.1) / 3)
    assert (found.near, found.bytes, found.seconds) == (50, 60, pytest.approx(0.02))
    (requests,) = pareto.points([session("m", "kv", ["kv"] * 3, [1, 0.5, 0], 50, "multi-request")], rng)
    assert requests.score.value == pytest.approx(0.5)
    table = curves.score_table(ours, rng, counted)
    assert "repoqa_kv (does not count)" in table
    assert table["average"]["m"].startswith("0.400")
    assert pareto.points(ours, rng, {"summary"}) == []


def test_a_table_has_every_method_and_says_who_knew_the_question() -> None:
    table = pareto.table(POINTS)
    assert table["far"]["on the front of"] == "near bytes"
    assert table["full"]["on the front of"] == "near bytes, all bytes, latency"
    assert table["knows"]["on the front of"] == "knows the question"
    assert curves.transposed({"a": {"x": 1, "y": 2}, "b": {"x": 3}}) == {"x": {"a": 1, "b": 3}, "y": {"a": 2}}
