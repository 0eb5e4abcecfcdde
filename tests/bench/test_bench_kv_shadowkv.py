"""`mnemos bench kv-shadowkv`: that its parts measure what they say, on little. Bytes at length, speed and growth are for the bench itself."""

from __future__ import annotations

import pytest

from mnemos.bench.kv import shadowkv_quality as quality
from mnemos.bench.parts import VARIABLE
from mnemos.bench.registry import Options, find


def test_directions_and_what_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "LENGTH", 256)
    monkeypatch.setenv(VARIABLE, "low_rank,keys,retrieval")
    result = find("kv-shadowkv").run(Options(quick=True))
    checks = {check["metric"]: check["measured"] for check in result.details["checks"]}

    def said(start: str) -> float:
        (found,) = (measured for metric, measured in checks.items() if metric.startswith(start))
        return float(found)

    assert said("left out by 40 of 256 directions, synthetic keys b") < 0.05
    assert said("accuracy at 1/16 of the context ÷") >= 0.9
    assert said("accuracy at 1/16, less that of chunks by chance") > 0.3
    covered = said("full attention that goes to what is picked or exac")
    best, each = said("the same of as many tokens that get most"), said("the same of each query head by itself")
    assert 0.3 < covered <= best <= each <= 1
