"""Ledgers kept with a part of the cache, on short ones; `mnemos bench kv-lazyeviction` measures long ones."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mnemos.activation.policies import policy
from mnemos.bench import parts, registry
from mnemos.bench.kv import ledgers
from mnemos.bench.registry import Options
from mnemos.models.reference import ledger
from mnemos.models.reference.ledger.task import PROBLEM, make


def test_ledgers_are_measured_against_the_full_cache_and_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "LENGTH", 140)
    monkeypatch.setattr(ledgers, "WINDOW", 6)
    monkeypatch.setenv(parts.VARIABLE, "ledgers")
    result = registry.find("kv-lazyeviction").run(Options(quick=True))
    table = result.details["tables"]["ledgers"]
    assert table["full"] == {"ledgers": 1.0, "far look-ups": 1.0, "most held": pytest.approx(1, abs=0.02)}
    assert all(table[f"{name}, 50%"]["most held"] <= 0.5 + 6 / 64 for name in ("LazyEviction", *ledgers.OTHERS))
    metrics = [check["metric"] for check in result.details["checks"]]
    assert [any(metric.startswith(f"ledgers {what}") for metric in metrics) for what in ("lost at 50%", "more than the best")] == [True, True]


def test_problems_are_measured_alike_and_ablations_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "WINDOW", 6)
    monkeypatch.setattr(ledgers, "ARMS", {name: its for name, its in ledgers.ARMS.items() if name.startswith(("Lazy", "without", *ledgers.OTHERS))})
    rows = ledgers._rows(2, 0, 90, dataclasses.replace(PROBLEM, firsts=12, data=2))
    checks, table = ledgers._kept(ledger.load()[0], rows, "problems", Options())
    assert table["full"]["problems"] == 1.0
    assert set(table) == {"full"} | {f"{name}, {share:.0%}" for name in ledgers.ARMS for share in ledgers.SHARES}
    bounded = [check.metric for check in checks if check.threshold is not None]
    assert [metric for metric in bounded if "without the age at 30%" in metric] == ["problems more without the interval than without the age at 30%"]
    assert sum("more than the best" in metric for metric in bounded) == 2


def test_what_is_dropped_makes_what_follows_wrong() -> None:
    model, _ = ledger.load()
    rows = [make(90, seed) for seed in range(3)]
    assert ledgers.keep(model, rows, policy("full")).right.tolist() == [1, 1, 1]
    few = ledgers.keep(model, rows, policy("window", tokens=12))
    assert few.right.sum() < 3
    assert few.held == 12
    assert np.all(few.looked_up <= 1)
