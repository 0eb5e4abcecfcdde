"""Scores by turn and by task with intervals over sessions, and tables of what a turn costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from mnemos.base.errors import Invalid
from mnemos.base.stats import Interval, bootstrap_difference, bootstrap_mean
from mnemos.bench.scbench.harness import SessionResult, TurnRow


def rows_of(results: Iterable[SessionResult]) -> list[TurnRow]:
    """The turns of all sessions."""
    return [row for result in results for row in result.rows]


def mean(rows: Sequence[TurnRow], rng: np.random.Generator) -> Interval:
    """The mean score, with its interval over sessions. Raises `Invalid` without rows."""
    if not rows:
        raise Invalid("scbench: there are no turns to average")
    return bootstrap_mean([row.score for row in rows], [row.session for row in rows], rng, bounds=(0, 1))


def turn_curve(results: Iterable[SessionResult], rng: np.random.Generator) -> list[Interval]:
    """The mean score of each turn, the first one first."""
    rows = rows_of(results)
    return [mean([row for row in rows if row.turn == turn], rng) for turn in range(1 + max((row.turn for row in rows), default=-1))]


def drop(results: Iterable[SessionResult], rng: np.random.Generator) -> Interval:
    """How much lower the later turns score than the first, session by session. Raises `Invalid` where no session has a second turn."""
    firsts, laters, sessions = [], [], []
    for result in results:
        later = [row.score for row in result.rows if row.turn]
        if later:
            firsts.append(result.rows[0].score)
            laters.append(float(np.mean(later)))
            sessions.append(result.session)
    if not sessions:
        raise Invalid("scbench: no session has a second turn")
    return bootstrap_difference(firsts, laters, sessions, rng)


def by_method(results: Iterable[SessionResult]) -> dict[str, list[SessionResult]]:
    """Sessions by method; those that know the question when they read are marked."""
    out: dict[str, list[SessionResult]] = {}
    for result in results:
        out.setdefault(label(result), []).append(result)
    return out


def label(result: SessionResult) -> str:
    """The method's name, and whether it knew the question."""
    return f"{result.method} (query-aware)" if result.query_aware else result.method


def score_table(results: Sequence[SessionResult], rng: np.random.Generator) -> dict[str, dict[str, Any]]:
    """Task, then average and turns: methods, as "0.512 ± 0.034" (half the width of the 95 % interval)."""
    table: dict[str, dict[str, Any]] = {}
    for name, sessions in by_method(results).items():
        tasks: dict[str, list[SessionResult]] = {}
        for session in sessions:
            tasks.setdefault(session.task, []).append(session)
        cells = {task: mean(rows_of(its), rng) for task, its in tasks.items()}
        cells["average"] = mean(rows_of(sessions), rng)
        cells |= {f"turn {i + 1}": each for i, each in enumerate(turn_curve(sessions, rng))}
        for row, each in cells.items():
            table.setdefault(row, {})[name] = shown(each)
    return table


def shown(interval: Interval) -> str:
    """An estimate with half the width of its interval."""
    half = (interval.high - interval.low) / 2
    return f"{interval.value:.3f} ± {half:.3f}" if np.isfinite(half) else f"{interval.value:.3f}"


def system_table(results: Sequence[SessionResult]) -> dict[str, dict[str, Any]]:
    """What a turn costs (medians), and what is still there (means): methods."""
    table: dict[str, dict[str, Any]] = {}
    for name, sessions in by_method(results).items():
        for row, value in _costs(sessions).items():
            table.setdefault(row, {})[name] = value
    return table


def _costs(sessions: Sequence[SessionResult]) -> dict[str, Any]:
    rows = rows_of(sessions)
    firsts = [row for row in rows if row.turn == 0]
    laters = [row for row in rows if row.turn]
    tiers = sorted({tier for row in rows for tier in row.resident})
    out: dict[str, Any] = {
        "prefill ms": _median([1e3 * session.prefill_seconds for session in sessions]),
        "first token, turn 1 ms": _median(_told(firsts, lambda row: row.first_seconds, 1e3)),
        "first token, later ms": _median(_told(laters, lambda row: row.first_seconds, 1e3)),
        "per token ms": _median(_told(rows, lambda row: row.token_seconds, 1e3)),
    }
    out |= {f"{tier} KiB": _median([row.resident.get(tier, 0) / 1024 for row in rows]) for tier in tiers}
    out["moved KiB"] = _median([row.moved / 1024 for row in rows])
    out["evidence held"] = _mean(_told(rows, lambda row: row.retention))
    out["evidence read"] = _mean(_told(rows, lambda row: row.read))
    out["rolled back"] = _mean(_told(rows, lambda row: None if row.rolled_back is None else float(row.rolled_back)))
    return out


def _told(rows: Sequence[TurnRow], value: Callable[[TurnRow], float | None], times: float = 1.0) -> list[float]:
    return [times * found for row in rows if (found := value(row)) is not None]


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
