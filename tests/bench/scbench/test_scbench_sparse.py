"""Findings 3 and 4: what is counted is what happened, on the smallest sessions and ledgers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from mnemos.activation.policies import policy
from mnemos.bench.scbench import on_models, shifting, sparse_reading
from mnemos.models.reference import ledger
from mnemos.models.reference.ledger.task import FIRST, LINE, make


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def quiet(said: str) -> None:
    """Nobody listens."""


def test_content_finds_what_fixed_patterns_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = on_models.sessions
    monkeypatch.setattr(sparse_reading, "sessions", lambda task, n, seed: sessions(task, n, seed, 256, 2))
    monkeypatch.setattr(ledger, "LENGTH", 300)
    checks, tables = sparse_reading.measure(on_models.model()[0], 1, 2, 512, 70, np.random.default_rng(0), quiet, ("kv",))
    assert len(checks) == 2 * len(sparse_reading.PAIRED) + 1
    kv, ledgers, times = tables.values()
    assert kv["A-shape"]["score"] < kv["Tri-shape"]["score"] == 1
    for its in (kv, ledgers):
        assert its["A-shape"]["pairs"] == pytest.approx(its["Tri-shape"]["pairs"])
        assert its[sparse_reading.DYNAMIC]["pairs"] <= its["A-shape"]["pairs"] < 0.5
        assert its["A-shape"]["choosing"] == 0 < its[sparse_reading.DYNAMIC]["choosing"]
    assert ledgers["full"]["far look-ups"] == 1
    assert ledgers[sparse_reading.DYNAMIC]["far look-ups"] > ledgers["Tri-shape"]["far look-ups"] + 0.3
    assert all(its["seconds"] > 0 for its in times.values())


def test_a_choice_at_each_step_finds_what_one_at_the_prompts_end_does_not() -> None:
    checks, tables = shifting.measure(2, 180, 70, np.random.default_rng(0), quiet)
    (table,) = tables.values()
    assert len(table) == shifting.STRETCHES
    assert all(its["look-ups, full"] == 1 for its in table.values())
    assert table["1 of 3"]["look-ups, chosen once"] < table["1 of 3"]["look-ups, chosen at each step"]
    assert checks[0].measured == pytest.approx(table["1 of 3"]["overlap with the first line"] - table["3 of 3"]["overlap with the first line"])


def test_lines_are_those_behind_the_prompt_and_look_up_what_they_say() -> None:
    rows = [make(240, f"lines {number}") for number in range(2)]
    half = rows[0].prompt + 10 * LINE
    asked = shifting.in_prompt(rows, half)
    right = shifting.generate(ledger.load()[0], rows, half, policy("full"))
    assert right.shape == asked.shape == (2, (240 - 1 - FIRST * 8) // LINE - 10)
    for row, its in zip(rows, asked, strict=True):
        for line, named in enumerate(its):
            at = half + line * LINE
            before = [place for place in range(at) if row.words[place] == row.words[at + 1]]
            assert named == (before[-1] < half)


def test_overlap_is_that_of_the_most_attended_eighth() -> None:
    seen = torch.zeros(3 * LINE, 1, 1, 16)
    seen[:LINE, ..., :2] = 1
    seen[LINE : 2 * LINE, ..., 1:3] = 1
    seen[2 * LINE :, ..., 8:10] = 1
    assert shifting.overlaps([seen, seen]).tolist() == [[1.0, 0.5, 0.0]]
