"""The findings as checks, on made-up results: they hold where the finding is there, and not where it is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mnemos.base.errors import Corrupt, Invalid, NotFound
from mnemos.bench.scbench import checks, curves
from mnemos.bench.scbench.harness import SessionResult, TurnRow, read_results, write_results


def row(session: str, turn: int, score: float, first: float | None = 0.01) -> TurnRow:
    return TurnRow(session, "kv", "kv", turn, "x", score, None, 4, first, 0.03, 0.0, {"device": 2048}, 0, 100, 0.5, None, True)


def results(*curve: float, method: str = "m", n: int = 20, prefill: float = 1.0, aware: bool = False) -> list[SessionResult]:
    """Sessions whose mean score of turn i is about curve[i]."""
    made = []
    for i in range(n):
        rows = tuple(row(f"s{i}", turn, float((i + 0.5) / n < value)) for turn, value in enumerate(curve))
        made.append(SessionResult(f"s{i}", "kv", method, aware, "multi-turn", "reference", "t", prefill, rows))
    return made


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def holds(found: list) -> list[bool | None]:
    return [check.holds for check in found]


def test_turns_matter(rng: np.random.Generator) -> None:
    assert holds(checks.turns_matter(results(1, 1, 1), results(0.1, 0.1, 0.1), results(1, 0.3, 0.3), rng)) == [True, True, True]
    assert holds(checks.turns_matter(results(1, 0.9, 0.9), results(0.9, 0.9, 0.9), results(1, 0.9, 0.9), rng)) == [False, False, False]


def test_loading_holds(rng: np.random.Generator) -> None:
    assert holds(checks.loading_holds(results(0.9, 0.9), rng)) == [True]
    assert holds(checks.loading_holds(results(0.9, 0.8), rng)) == [False]


def test_knowing_helps_is_paired_by_session_and_turn(rng: np.random.Generator) -> None:
    (found,) = checks.knowing_helps(results(0.9, 0.9), results(0.5, 0.5, n=10), rng)
    assert found.holds
    assert found.n == 20
    assert holds(checks.knowing_helps(results(0.6), results(0.5), rng)) == [False]
    with pytest.raises(Invalid, match="no turn in common"):
        checks.knowing_helps(results(0.9), [], rng)


def test_budgets_have_a_knee(rng: np.random.Generator) -> None:
    found, knee = checks.budgets({1: results(1), 0.5: results(0.95), 0.25: results(0.9), 0.125: results(0.4)}, results(1), rng)
    assert holds(found) == [True, True]
    assert knee == 0.125
    found, knee = checks.budgets({1: results(0.5), 0.5: results(0.8)}, results(0.4), rng)
    assert holds(found) == [False, False]
    assert knee is None
    with pytest.raises(Invalid, match="share 1"):
        checks.budgets({0.5: results(1)}, results(1), rng)


def test_global_tasks_tolerate(rng: np.random.Generator) -> None:
    assert holds(checks.global_tasks_tolerate(results(0.8), results(0.9), results(0.1), results(0.8), results(0.9), rng)) == [True, True, True]
    assert holds(checks.global_tasks_tolerate(results(0.6), results(0.9), results(0.6), results(0.8), results(0.9), rng)) == [False, True, False]
    assert holds(checks.global_tasks_tolerate(results(0.8), results(0.9), results(0.1), results(0.6), results(0.9), rng)) == [True, False, True]


def test_reuse_pays() -> None:
    assert holds(checks.reuse_pays(results(1, 1, prefill=1.0))) == [True]
    assert holds(checks.reuse_pays(results(1, 1, prefill=0.001))) == [False]
    with pytest.raises(Invalid, match="no times"):
        checks.reuse_pays(results(1))


def test_curves_and_tables(rng: np.random.Generator) -> None:
    made = results(1, 0.5) + results(0.2, 0.2, method="other", aware=True)
    values = [each.value for each in curves.turn_curve(made[:20], rng)]
    assert values == pytest.approx([1, 0.5])
    table = curves.score_table(made, rng)
    assert set(table["kv"]) == {"m", "other (query-aware)"}
    assert table["turn 1"]["m"] == "1.000 (0.839–1.000)"
    few = curves.score_table(results(1, 0.5, n=2), rng)
    assert (few["average"]["m"], few["turn 1"]["m"]) == ("0.750 (0.198–0.973)", "1.000 (0.342–1.000)")
    assert table["average"]["m"].startswith("0.750 (")
    costs = {row: cells["m"] for row, cells in curves.system_table(made).items()}
    assert costs["prefill ms"] == 1000
    assert costs["first token, later ms"] == pytest.approx(10)
    assert costs["per token ms"] == pytest.approx(10)
    assert costs["device KiB"] == 2
    assert costs["evidence held"] == 0.5
    assert costs["evidence read"] is None
    assert curves.drop(made[:20], rng).value == pytest.approx(0.5)
    with pytest.raises(Invalid, match="second turn"):
        curves.drop(results(1), rng)
    with pytest.raises(Invalid, match="no turns"):
        curves.mean([], rng)


def test_results_are_saved_and_loaded(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    made = results(1, 0.5)
    write_results(path, made)
    assert read_results(path) == made
    path.write_text("{}")
    with pytest.raises(Invalid, match="session result"):
        read_results(path)
    path.write_text("{")
    with pytest.raises(Corrupt, match="not JSON"):
        read_results(path)
    with pytest.raises(NotFound, match="no file"):
        read_results(tmp_path / "none")
