"""The parts of the bench of ThinK that measure answers and bytes."""

from __future__ import annotations

import pytest

from mnemos.bench.kv import think, think_quality
from mnemos.bench.registry import Options
from mnemos.bench.threads import one_thread

QUICK = Options(quick=True)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(think_quality, "LENGTH", 300)
    monkeypatch.setattr(think_quality, "QUICK", 1)
    monkeypatch.setattr(think_quality, "TASKS", ("kv",))


def test_narrow_values_are_measured_alone_and_beside_keys() -> None:
    with one_thread():
        checks, tables = think_quality.quality(QUICK)
    measured = {check.metric: check.measured for check in checks}
    near = {name: row["near ÷ full"] for name, row in tables["bytes"].items()}
    assert near[think_quality.BOTH] < near["ThinK .4"] < near["values .3"] < 1
    assert measured["points lost without 40 % by chance"] > 0.5
    assert set(tables["answers"]["kv"]) == set(near)
    shares = [share for row in tables["scores that heads retain"].values() for share in row.values()]
    assert len(shares) == 4 * 4 * 2
    assert 0.5 < min(shares) <= max(shares) <= 1


def test_folding_saves_more_bytes_the_more_it_may_give_up() -> None:
    with one_thread():
        checks, tables = think_quality.folding(QUICK)
    saved = [check.measured for check in checks if check.metric.startswith("bytes")]
    assert 0 < saved[0] < saved[1] < 0.5
    pairs = list(tables["pairs that a head keeps, of 16"].values())
    assert [1 - sum(row.values()) / 64 for row in pairs] == pytest.approx(saved)


def test_synthetic_heads_hold_what_the_sheet_asks() -> None:
    checks, _ = think.channels(QUICK)
    assert all(check.holds for check in checks)
