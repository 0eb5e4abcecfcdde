"""Ledgers: what they are, and that the model taught on them keeps them."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch

from mnemos.base.errors import Corrupt, Invalid, ModelUnavailable
from mnemos.models import reference
from mnemos.models.reference import ledger
from mnemos.models.reference.ledger import training
from mnemos.models.reference.ledger.task import FIRST, LEDGER, LINE, SHORT, Ledger, make


def worked_out(book: Ledger) -> list[str]:
    """The ledger's words, its numbers worked out from what is given."""
    words, value, before = list(book.words), dict[str, int](), 0
    for place in range(1, book.prompt, FIRST):
        value[words[place + 1]] = before = int(words[place + 2])
    for place in range(book.prompt, len(words), LINE):
        sign, operand, _, equals, name, _ = words[place : place + LINE]
        assert equals == "="
        before = (before + (value[operand] if sign == "+" else -value[operand])) % 10
        value[name] = before
        words[place + 2], words[place + 5] = str(value[operand]), str(before)
    return words


def test_a_ledger_is_worked_out_from_what_is_given() -> None:
    for seed in range(5):
        book = make(400, seed)
        assert worked_out(book) == book.words
        assert len(book.words) <= 400 < len(book.words) + LINE
        assert [place for place in range(book.prompt, len(book.words)) if not book.given[place]] == [
            place for start in range(book.prompt, len(book.words), LINE) for place in (start + 2, start + 5)
        ]
        assert make(400, seed) == book != make(400, seed + 5)


def test_results_come_back_after_gaps_that_the_shape_says() -> None:
    gaps = [gap for seed in range(20) for gap in make(600, seed).gaps]
    assert max(gaps) > 300
    assert 0.3 < sum(gap >= 60 for gap in gaps) / len(gaps) < 0.6
    assert sum(gap <= 2 * LINE for gap in gaps) / len(gaps) > 0.3
    assert max(gap for seed in range(5) for gap in make(600, seed, SHORT).gaps) <= 3 * LINE
    for wrong in (LINE, 5000):
        with pytest.raises(Invalid, match="lines"):
            make(wrong, 0, LEDGER)


def test_the_model_keeps_them_and_its_base_does_not() -> None:
    torch.set_num_threads(1)
    model, _ = ledger.load()
    assert training.accuracy(model, ledger.LENGTH, 2) == (1.0, 1.0)
    assert training.accuracy(reference.load()[0], 100, 2)[1] < 0.9
    said = ledger.card()
    assert said["scores"][str(ledger.LENGTH)]["ledgers"] >= 0.9
    assert said["bytes"] == (ledger.folder() / ledger.WEIGHTS).stat().st_size < 2_000_000


def test_weights_that_are_not_those_of_the_card_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (ledger.WEIGHTS, ledger.CARD):
        shutil.copy(ledger.folder() / name, tmp_path)
    monkeypatch.setattr(ledger, "folder", lambda: tmp_path)
    with (tmp_path / ledger.WEIGHTS).open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    with pytest.raises(Corrupt, match="sha256"):
        ledger.load()


def test_where_the_package_came_without_it_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "WEIGHTS", "elsewhere.safetensors")
    with pytest.raises(ModelUnavailable, match=r"holds no elsewhere\.safetensors"):
        ledger.folder()


def test_training_moves_attention_alone_and_lowers_the_loss(tmp_path: Path) -> None:
    plan = dataclasses.replace(training.PLAN, lengths=((0, (64,)),), tokens=512, steps=40, cooldown=10, warmup=4)
    assert [plan.rate_at(step) for step in (0, 3, 20, 39)] == pytest.approx([plan.rate / 4, plan.rate, plan.rate, plan.rate / 10])
    heard: list[str] = []
    model = training.train(dataclasses.replace(plan, steps=12, cooldown=3), hear=heard.append, every=4)
    first, last = (float(line.split('"loss": ')[1].split(",")[0]) for line in (heard[0], heard[-1]))
    assert last < first
    for (name, taught), weight in zip(model.named_parameters(), reference.load()[0].parameters(), strict=True):
        assert torch.equal(taught, weight) != ledger.learns(name)
    training.write(model, tmp_path)
    assert (tmp_path / ledger.WEIGHTS).stat().st_size < 2_000_000
