"""The benchmark of landmarks and blocks runs, and counts what it says it counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mnemos.activation.landmark import reference as taught
from mnemos.activation.landmark import tokens
from mnemos.bench import registry
from mnemos.bench.kv import landmark, landmark_index
from mnemos.bench.registry import Options
from mnemos.models.reference import language, tasks

torch.set_num_threads(1)


def test_it_runs_by_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNEMOS_BENCH_PARTS", "curve,speed,reuse,finding")
    monkeypatch.setattr(landmark, "CONTEXT", 2048)
    monkeypatch.setattr(landmark, "QUICK", ("as it comes",))
    monkeypatch.setattr(landmark, "LENGTH", 400)
    monkeypatch.setattr(landmark, "TURNS", 2)
    for name, value in (("COUNTS", (400, 900)), ("LEAST", 900), ("PROBE", 300), ("QUERIES", 8), ("TIMED", 2)):
        monkeypatch.setattr(landmark_index, name, value)
    benchmark = registry.BENCHMARKS["kv-landmark"]
    result = landmark.run(benchmark, Options(quick=True, seed=1))
    near, lost, faster, attended, again, copied, found, slower = result.details["checks"]
    assert 0.05 < near["measured"] < 0.25
    assert lost["measured"] < 1
    assert faster["threshold"] == 3
    assert attended["measured"] == pytest.approx(3 * 51 / 2040)
    assert again["measured"] == pytest.approx(1 - copied["measured"])
    assert 0.5 < again["measured"] < 1
    rows = result.details["tables"]["Blocks kept from the step before, 5 brought at 16K tokens"]
    assert rows["memory, kept"]["KB near"] - rows["memory, anew"]["KB near"] == pytest.approx(1000 + 8 * 5 * 8 / 1024)  # blocks, and their numbers
    assert rows["files, kept"]["KB copied"] == rows["memory, kept"]["KB copied"]
    assert 0.8 < found["measured"] <= 1
    assert slower["threshold"] == 1
    (lists,) = (rows for name, rows in result.details["tables"].items() if name.startswith("Landmarks found by lists"))
    assert set(lists) == {"400, drifting", "900, drifting"}
    assert lists["900, drifting"]["near, share of landmarks"] == pytest.approx(1 / 64 + 120 / 900 + 121 / 900 / 64, abs=1e-3)
    rows = result.details["tables"]["CPU time of a step"]
    assert rows["landmarks, 5 blocks"]["KB brought"] == 2.5 * rows["landmarks, 2 blocks"]["KB brought"] == 1000


def test_answers_are_whole_and_at_their_places() -> None:
    session = tasks.make("needle", 300, 2, 3)
    ids = language.encode(session.words())
    wide: Any = tokens.insert(ids, taught.BLOCK, taught.LANDMARK)
    logits = torch.zeros(len(wide), taught.LANDMARK + 1)
    logits[torch.arange(len(wide) - 1), torch.tensor(wide[1:])] = 1.0
    logits[:, taught.LANDMARK] = 2.0  # which nobody is to see
    assert landmark._answered(logits, ids, session) == [True, True]
    logits[tokens.place_of(len(ids) - 1, taught.BLOCK) - 1] = 0.0
    assert landmark._answered(logits, ids, session) == [True, False]
