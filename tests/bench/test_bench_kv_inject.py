"""The benchmark of injection, on few and short texts."""

from __future__ import annotations

import pytest

from mnemos.bench.kv import inject
from mnemos.bench.registry import Options, find


def test_all_parts_measure_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inject, "QUICK", inject.Sizes(pairs=1, generated=4, rounds=2, sessions=1))
    monkeypatch.setattr(inject, "GRID", ((96, 8), (32, 48)))
    heard: list[str] = []
    result = find("kv-inject").run(Options(quick=True, say=heard.append))
    assert heard == ["lossless", "half_precision", "time_to_first_token", "fragments"]
    checks = {check["metric"]: check["measured"] for check in result.details["checks"]}
    assert checks["answers of 4 greedy tokens that are the same"] == 1.0
    assert 0 <= checks["largest difference of a logit, injected and full prompt"] <= 1e-4
    agreed = [measured for metric, measured in checks.items() if metric.startswith("tokens after which a model in bfloat16")]
    assert len(agreed) == 3  # of random weights, those that read in portions, and the reference model
    assert min(agreed) > 0.8
    assert 0 < checks["mean divergence with 15 % read again ÷ without"] < 1
    assert set(result.details["tables"]["time to the first token"]) == {"96 + 8", "32 + 48"}
