"""`mnemos bench kv-memorag`: that its parts measure what they say, on little."""

from __future__ import annotations

import pytest

from mnemos.activation.beacon.tiny import lines
from mnemos.bench.kv.memorag import register
from mnemos.bench.parts import VARIABLE
from mnemos.bench.registry import Options, find


def test_lossless_and_sizes_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "lossless,size")
    result = find("kv-memorag").run(Options(quick=True))
    assert result.holds
    assert len(result.details["checks"]) == 6


def test_an_implicit_question_shares_no_name_with_its_evidence() -> None:
    world = register(0)
    assert world == register(0) != register(1)
    assert len(world.lines) == 84
    for question, evidence, explicit in world.asked:
        leads = [at for at, line in enumerate(world.lines) if line.startswith(f"{question} :")]
        assert (leads == [evidence]) == explicit
        if not explicit:
            entry = world.lines[leads[0]].split(" : ")[1].removesuffix(" ;")
            assert world.lines[evidence].startswith(f"{entry} :")
            assert question not in world.lines[evidence]


def test_recall_is_measured_at_every_ratio_and_clues_find_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = lines.asked
    monkeypatch.setattr(lines, "asked", lambda length, count, seed: asked(length, count=2, seed=seed))
    monkeypatch.setenv(VARIABLE, "recall,clues")
    result = find("kv-memorag").run(Options(quick=True))
    checks = {check["metric"]: check["measured"] for check in result.details["checks"]}
    assert checks["recall at ratio 4 ÷ full attention, n = 8 w"] > 0.7
    assert max(measured for metric, measured in checks.items() if metric.startswith("implicit questions")) > 0.3
