"""The benchmark of landmarks, on sessions that are short enough for a test."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from random import Random

import pytest
import torch

from mnemos.activation.landmark import reference as taught
from mnemos.activation.landmark import tokens
from mnemos.bench import landmark, landmark_small
from mnemos.bench.registry import Options, find


def test_all_parts_measure_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landmark_small, "PARTS", ())  # they are tested below
    monkeypatch.setattr(landmark, "LENGTHS", {560: 0.95})
    monkeypatch.setattr(landmark, "SESSIONS", {560: 3})
    monkeypatch.setattr(landmark, "FAR", 560)
    monkeypatch.setattr(landmark, "BASE_LENGTH", 500)
    monkeypatch.setattr(landmark, "WINDOW", 60)
    heard: list[str] = []
    result = find("landmark").run(Options(say=heard.append))
    assert heard[0] == "notes"
    checks = {check["metric"]: check["measured"] for check in result.details["checks"]}
    assert checks["notes found in 560 words by 2 blocks"] >= 0.7
    assert checks["notes found in 560 words without landmarks"] >= 0.9  # here it is within what it was trained on
    assert checks["… with a window of 60, 560 words"] <= 0.3
    assert 0.02 < checks["tokens that a query attends to at most, share of 560"] <= 1.0
    assert all(len(part) >= 1 for part in result.details["tables"].values())


def test_models_from_nothing_are_measured_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LENGTHS": {256: 0.95, 768: 0.95}, "SESSIONS": {256: 2, 768: 2}, "FAR": 512}.items():
        monkeypatch.setattr(landmark_small, name, value)
    tables = {}
    parts, missing = landmark_small.parts(False)
    assert len(parts) + len(missing) == len(landmark_small.PARTS)
    for part in parts:
        if part is landmark_small.characters:  # reads books, which are not in the package
            continue
        checks, shown = part(Options(quick=True))
        tables |= shown
        assert all(0 <= check.measured <= 1 for check in checks)
    found = tables["Notes, learnt from nothing with landmarks"]
    assert found["256 tokens"]["answered"] >= 0.75
    assert found["768 tokens"]["hit"] >= 0.6
    assert found["768 tokens"]["attended"] <= 3 * 16 + 192


def test_a_window_is_asked_for_nothing_but_what_it_has_not() -> None:
    (one,) = landmark_small.asked_for(1024, 1, 1)
    window = landmark.segment(256) + 3 * 16
    far = sum((home + 1) * 16 <= one.asked // 16 * 16 - window for home in one.homes)
    assert 0 < len(landmark_small.windowed(landmark_small.small.load("notes"), [one])) == far < len(one.homes)


def test_the_same_characters_are_predicted_in_one_go_and_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(0)
    (tmp_path / "text").mkdir()
    text = "".join(rng.choice("abcdefgh ,.") for _ in range(2000))
    (tmp_path / "text" / f"{landmark_small.lessons.HELD_OUT}.txt.gz").write_bytes(gzip.compress(text.encode()))
    monkeypatch.setattr(landmark_small, "data_folder", lambda: tmp_path)
    monkeypatch.setattr(landmark_small, "MEMORIES", (64,))
    monkeypatch.setattr(landmark_small, "KINDS", {"characters of a book as it stands": 0.0})
    same = "characters of a book as it stands: perplexity in {} ÷ the same text read 240 at a time"
    for times in (1, 2):
        monkeypatch.setattr(landmark_small, "TIMES", times)
        checks, _ = landmark_small.characters(Options(quick=True))
        measured = {check.metric: check.measured for check in checks}[same.format(240 * times)]
        assert (measured == pytest.approx(1.0, abs=1e-6)) is (times == 1)
        assert measured == pytest.approx(1.0, abs=0.2)


def test_a_character_costs_what_is_predicted_of_it() -> None:
    count = len(landmark_small.lessons.CHARACTERS)
    logits = torch.zeros(1, 5, count + 1)
    logits[..., count] = 50.0  # the landmark is none of what may come
    logits[0, 2, 7] = 100.0
    ids = torch.tensor([[1, 2, count, 7, 3]])
    (losses,) = landmark_small._losses(logits, ids).tolist()
    assert losses == pytest.approx([math.log(count), 0.0, math.log(count)], abs=1e-4)


def test_questions_are_on_blocks_that_hold_their_answers() -> None:
    (one,) = landmark.lookups(300, 3, 1, taught.BLOCK)
    plain = tokens.strip(one.ids, taught.LANDMARK)
    assert tokens.insert(plain, taught.BLOCK, taught.LANDMARK) == one.ids
    for places, home in zip(one.places, one.homes, strict=True):
        said = one.ids[places[0]]
        assert said in one.ids[home * (taught.BLOCK + 1) : (home + 1) * (taught.BLOCK + 1)]
        assert home * (taught.BLOCK + 1) < one.asked < places[0]
    (bare,) = landmark.lookups(300, 3, 1, 1000)
    assert bare.ids == plain


def test_true_positions_with_all_blocks_brought_are_training_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landmark, "TOP", 99)
    monkeypatch.setattr(landmark, "segment", lambda: 32)
    model, _ = taught.load()
    (one,) = landmark.lookups(300, 1, 1, taught.BLOCK)
    ids = torch.tensor([one.ids])
    with torch.no_grad():
        wanted = model(ids, use_cache=False).logits
        model.set_attn_implementation(landmark._TRUE)
        got = model(ids, use_cache=False).logits
    torch.testing.assert_close(got, wanted, atol=1e-3, rtol=0)


def test_the_layer_that_finds_most_is_chosen_on_other_questions_than_it_is_counted_on() -> None:
    hits = torch.tensor([[1, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.bool)
    assert landmark.Read([], hits, 0).hit == 0.5
