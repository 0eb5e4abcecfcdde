"""Ledgers kept with a part of the cache, on short ones; `mnemos bench kv-lazyeviction` measures long ones."""

from __future__ import annotations

import numpy as np
import pytest

from mnemos.activation.policies import policy
from mnemos.bench import parts, registry
from mnemos.bench.kv import ledgers
from mnemos.bench.registry import Options
from mnemos.models.reference import ledger
from mnemos.models.reference.ledger.task import make


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


def test_ablations_are_in_the_order_of_the_paper_or_the_check_says_so() -> None:
    said = dict.fromkeys(("LazyEviction", "without the interval", "without the age", *ledgers.OTHERS), [1.0] * 9 + [0.0])
    said["without the age"] = [1.0] * 10
    found = {name: ledgers.Kept(np.array(right), np.array(right), 9) for name, right in said.items()}
    checks = {check.metric: check for check in ledgers._compared(found["without the age"], found, 0.5, Options())}
    assert checks["ledgers more than without the interval at 50%"].holds is True
    assert checks["ledgers more without the interval than without the age at 50%"].measured == pytest.approx(-0.1)
    assert checks["ledgers more without the interval than without the age at 50%"].holds is False
    assert checks["ledgers lost at 50% of the cache"].holds is False


def test_what_is_dropped_makes_what_follows_wrong() -> None:
    model, _ = ledger.load()
    rows = [make(90, seed) for seed in range(3)]
    assert ledgers.keep(model, rows, policy("full")).right.tolist() == [1, 1, 1]
    few = ledgers.keep(model, rows, policy("window", tokens=12))
    assert few.right.sum() < 3
    assert few.held == 12
    assert np.all(few.looked_up <= 1)
