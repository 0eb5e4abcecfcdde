"""Scores by turn and by task with intervals over sessions, and tables of what a turn costs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mnemos.base.errors import Invalid
from mnemos.base.stats import Interval, bootstrap_difference, mean_score
from mnemos.bench.scbench.harness import SessionResult, TurnRow

MASTERED = 0.8
"""A kind of question counts where the full cache answers so much of it: what it does not answer, no method can lose."""


def rows_of(results: Iterable[SessionResult]) -> list[TurnRow]:
    """The turns of all sessions."""
    return [row for result in results for row in result.rows]


def mean(rows: Sequence[TurnRow], rng: np.random.Generator) -> Interval:
    """The mean score, with its interval over sessions. Raises `Invalid` without rows."""
    if not rows:
        raise Invalid("scbench: there are no turns to average")
    return mean_score([row.score for row in rows], [row.session for row in rows], rng)


def turn_curve(results: Iterable[SessionResult], rng: np.random.Generator) -> list[Interval]:
    """The mean score of each turn, the first one first."""
    rows = rows_of(results)
    return [mean([row for row in rows if row.turn == turn], rng) for turn in range(1 + max((row.turn for row in rows), default=-1))]


def turn_table(results: Sequence[SessionResult], rng: np.random.Generator) -> dict[str, Any]:
    """One row: the mean score of each turn, and over all of them with its interval; and how many turns that are."""
    rows = rows_of(results)
    return {**{f"turn {i + 1}": each.value for i, each in enumerate(turn_curve(results, rng))}, "all": shown(mean(rows, rng)), "n": len(rows)}


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


def group(row: TurnRow) -> str:
    """The task; of a session that mixes kinds of questions, with the kind."""
    return row.task if row.kind == row.task else f"{row.task}: {row.kind}"


def answered(full: Iterable[SessionResult]) -> dict[str, float]:
    """Which share of each kind of question the full cache answers."""
    scores: dict[str, list[float]] = {}
    for row in rows_of(full):
        scores.setdefault(group(row), []).append(row.score)
    return {name: float(np.mean(values)) for name, values in scores.items()}


def mastered(full: Iterable[SessionResult]) -> set[str]:
    """The kinds of questions that count: of which the full cache answers `MASTERED`."""
    return {name for name, score in answered(full).items() if score >= MASTERED}


def score_table(results: Sequence[SessionResult], rng: np.random.Generator, counted: Collection[str] | None = None) -> dict[str, dict[str, Any]]:
    """Kind of question, then average and turns: methods, as "0.512 (0.478–0.546)" (the 95 % interval). Average and turns are over the kinds
    `counted`, others say that they are not; None: over all."""
    table: dict[str, dict[str, Any]] = {}
    for name, sessions in by_method(results).items():
        groups: dict[str, list[TurnRow]] = {}
        for row in rows_of(sessions):
            groups.setdefault(group(row), []).append(row)
        cells = {_counting(kind, counted): mean(rows, rng) for kind, rows in groups.items()}
        rows = [row for kind, its in groups.items() if counted is None or kind in counted for row in its]
        if rows:
            cells["average"] = mean(rows, rng)
            cells |= {f"turn {turn + 1}": mean([row for row in rows if row.turn == turn], rng) for turn in sorted({row.turn for row in rows})}
        for title, each in cells.items():
            table.setdefault(title, {})[name] = shown(each)
    order = [title for title in table if title != "average" and not title.startswith("turn ")]
    return {title: table[title] for title in (*order, *(title for title in table if title not in order))}


def _counting(kind: str, counted: Collection[str] | None) -> str:
    return kind if counted is None or kind in counted else f"{kind} (does not count)"


def shown(interval: Interval) -> str:
    """An estimate with its interval, whose ends are seldom as far from it as each other."""
    return f"{interval.value:.3f} ({interval.low:.3f}–{interval.high:.3f})"


def system_table(results: Sequence[SessionResult]) -> dict[str, dict[str, Any]]:
    """What a turn costs (medians), and what is still there (means): methods."""
    table: dict[str, dict[str, Any]] = {}
    for name, sessions in by_method(results).items():
        for row, value in _costs(sessions).items():
            table.setdefault(row, {})[name] = value
    return table


def transposed(table: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Columns as rows: for more methods than fit beside each other."""
    out: dict[str, dict[str, Any]] = {}
    for row, cells in table.items():
        for column, value in cells.items():
            out.setdefault(column, {})[row] = value
    return out


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
    out["peak KiB"] = _median(_told(rows, lambda row: row.peak, 1 / 1024))
    out["moved KiB"] = _median([row.moved / 1024 for row in rows])
    out["prompt reused"] = _mean(_told(rows, lambda row: row.reused))
    out["chunks near already"] = _mean(_told(rows, lambda row: row.hits))
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
