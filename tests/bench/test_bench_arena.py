"""The cheapest parts of `mnemos bench arena`."""

from __future__ import annotations

import pytest

from mnemos.bench import arena_calls, arena_kv


def test_calls_of_reclamation_are_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arena_calls, "REQUESTS", 60)
    checks, tables = arena_calls.measure(0, True, lambda _: None)
    saved, fit = (check.measured for check in checks)
    assert 0.5 < saved < 1  # 0.9 and more of as many requests as the sheet has
    assert 0.9 < fit < 1.1  # on average over many traces at most 1
    assert len(next(iter(tables.values()))) == 4


def test_a_memory_in_the_arena_writes_each_token_once() -> None:
    checks, rows = arena_kv.growth(160, 1, 160)
    concatenating, own, there = (row["written ÷ live"] for row in rows.values())
    assert concatenating > own > there
    written = next(check for check in checks if check.metric.startswith("bytes written"))
    assert 1 < written.measured < 1.1
    assert written.baseline == pytest.approx(161 / 2)
