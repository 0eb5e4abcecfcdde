"""The program benchmark's parts, small: they measure what they say, and notice what goes wrong."""

from __future__ import annotations

import random

import numpy as np
import pytest

from mnemos.bench import program
from mnemos.bench.program_workers import FORMS, RollingSummary, asked, met, single_shot, task
from mnemos.text.program import contexts, control, cycles
from mnemos.text.program.counting import RequestCounter, bytes_bound


def test_tasks_and_features() -> None:
    text = task(30, random.Random(1))
    wanted = asked(text)
    assert len(wanted) == len(set(wanted.values())) == 30
    assert task(30, random.Random(1)) == text != task(30, random.Random(2))
    assert bytes_bound(task(200, random.Random(0), "a phrase")) < program.WINDOW < bytes_bound(task(200, random.Random(0), "a sentence"))
    assert met(wanted, {"a": "This is about " + wanted["R0003"] + "."}) == pytest.approx(1 / 30)
    assert set(FORMS) == {"a word", "a phrase", "a sentence"}


def test_baselines_stay_within_their_window() -> None:
    text = task(200, random.Random(0))
    shot = single_shot(text, 2000)
    assert 0 < sum(map(bytes_bound, shot.values())) <= 2000
    agent = RollingSummary(2000, 0.5)
    assert set(agent.run(text)) < {f"{number}.md" for number in asked(text)}
    assert agent.summaries > 10
    small = task(20, random.Random(0))
    assert met(asked(small), RollingSummary(8000, 0.5).run(small)) == 1.0  # what fits is not lost


def test_a_program_meets_all_requirements() -> None:
    checks, table = program.unbounded(0)
    assert all(check.holds for check in checks)
    assert table["a word, rolling summary of 50%"]["features"] == 1.0
    assert table["a sentence, rolling summary of 50%"]["features"] < 0.5


def test_random_runs_notice_a_control_unit_that_miscounts(monkeypatch: pytest.MonkeyPatch) -> None:
    checks, table = program.random_runs(12, 3)
    assert all(check.holds for check in checks)
    assert table["random runs"]["restarts"] > 0
    monkeypatch.setattr(RequestCounter, "tools", lambda self, tools: 0)
    checks, _ = program.random_runs(12, 3)
    assert checks[0].holds is False


def test_random_runs_notice_orphaned_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contexts, "rounds", lambda messages: [[message] for message in messages])
    checks, _ = program.random_runs(25, 3)
    assert checks[1].holds is False


def test_errors_are_counted_with_and_without_feedback() -> None:
    checks, table = program.errors(2, 0)
    assert all(check.holds for check in checks)
    assert table["without"]["errors"] == checks[1].measured > 0


def test_cycles_notice_another_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    checks, table = program.cycles()
    assert all(check.holds for check in checks)
    assert table["never ends"] == {"ended": "failed", "restarts": 30}
    monkeypatch.setattr(control, "next_temperature", lambda temperature, traces: min(1.0, temperature + 0.2))
    checks, _ = program.cycles()
    assert checks[1].measured == 0.0
    assert cycles.next_temperature(0.0, []) == 0.0


def test_memory_and_costs() -> None:
    checks, _ = program.memory(2, np.random.default_rng(0))
    assert all(check.holds for check in checks)
    checks, table = program.costs(0, 60)
    assert checks[2].holds
    assert min(checks[0].measured, checks[1].measured) > 0
    assert table["a turn"]["ms in a space, durable"] > 0
