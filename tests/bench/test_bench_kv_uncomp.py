"""The arms that the bench of UNComp compares."""

from __future__ import annotations

import numpy as np
import pytest

from activation.tiny_llama import llama, plan
from mnemos.activation.signal import with_need
from mnemos.bench.kv import uncomp
from mnemos.bench.parts import VARIABLE
from mnemos.bench.registry import Options, find


@pytest.mark.parametrize(("tokens", "low"), [(40, None), (15, 10)])
def test_arms_keep_as_much_in_all(tokens: int, low: int | None) -> None:
    its = with_need(plan(llama()), np.asarray([[[0.1, 0.4], [0.9, 0.2]]] * 2))
    for name, kind in uncomp.arms(its, tokens, low).items():
        if name == "uniform, 5 neighbours":
            continue
        if "quarter" in name:
            assert sorted(sum(kind.planner.groups, ())) == [0, 1, 1, 1]  # type: ignore[attr-defined]
        planner = kind.planner  # type: ignore[attr-defined]
        counts = [planner.plan_of(layer, planner.groups[layer], tokens) for layer in range(2)]
        assert sum(map(sum, counts)) == 4 * tokens
        assert (len({count for each in counts for count in each}) == 1) is (name == "uniform")
        if low is not None and name != "uniform":
            assert min(min(each) for each in counts) == low


def test_differences_are_of_the_same_prompts() -> None:
    check = uncomp.beyond("it", [1, 1, 0, 1, 1, 0], [0, 1, 0, 1, 0, 0], 0.05)
    assert check.measured == pytest.approx(1 / 3)
    assert check.n == 6
    assert check.holds is True


def test_the_extreme_and_the_batch_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LENGTH": 256, "SIGNAL_LENGTH": 128, "MEAN": 24, "LOW": 10, "TASKS": ("needle",), "SEEDS": 1}.items():
        monkeypatch.setattr(uncomp, name, value)
    monkeypatch.setenv(VARIABLE, "extreme,batch")
    kept = (uncomp.measured, uncomp.calibrated)
    for each in kept:
        each.cache_clear()
    try:
        result = find("kv-uncomp").run(Options(quick=True))
    finally:
        for each in kept:  # of short prompts
            each.cache_clear()
    checks = {check["metric"]: check["measured"] for check in result.details["checks"]}
    (most,) = (measured for metric, measured in checks.items() if metric.startswith("sequences under a cap"))
    assert most > 5
    rest = [measured for metric, measured in checks.items() if metric.startswith("low group")]
    assert rest
    assert all(-1 <= measured <= 1 for measured in rest)
