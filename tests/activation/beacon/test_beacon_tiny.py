"""The tiny decoder that is trained with its memory tokens: its language, where it begins, and that what training wrote comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mnemos.activation.beacon import tiny
from mnemos.activation.beacon.scoring import Asked, compressed
from mnemos.activation.beacon.tiny import lines, training
from mnemos.activation.beacon.tiny.beginning import beginning
from mnemos.activation.beacon.windows import Windows
from mnemos.base.errors import Corrupt

torch.set_num_threads(1)


@pytest.mark.parametrize("before", [1, 4])
def test_a_value_counts_where_its_key_was_told_before(before: int) -> None:
    ids, known = lines.text(np.random.default_rng(1), before, keys=9, again=5)
    assert len(ids) == len(known) == before + lines.LINE * 14
    told: dict[int, int] = {}
    for at in range(before, len(ids), lines.LINE):
        first, key, value, end = ids[at : at + lines.LINE]
        assert known[at : at + lines.LINE] == [0.0, 0.0, float(key in told), 0.0]
        assert told.setdefault(key, value) == value
        assert lines.FIRST_KEY <= key < lines.FIRST_VALUE <= value < lines.WORDS
        assert (first, end) == (lines.OPEN, lines.CLOSE)
    assert sum(known) == 5
    assert len(told) == 9


def test_lines_that_a_border_parts_are_told_again_first() -> None:
    ids, _ = lines.text(np.random.default_rng(1), 2, keys=24, again=5, window=32)
    parted = {ids[at - 1] for at in range(32, 2 + lines.LINE * 24, 32)}
    again = ids[2 + lines.LINE * 24 + 1 :: lines.LINE]
    assert len(parted) == 3
    assert parted < set(again)
    even = [lines.batch(seed, 300, 24, 5, 32).ids[0].tolist() for seed in (0, 2, 4)]
    assert all(one[31] < lines.FIRST_VALUE <= one[32] for one in even)


def test_questions_ask_for_what_a_text_tells_once() -> None:
    found = lines.asked(96, count=3, seed=4)
    assert found == lines.asked(96, count=3, seed=4) != lines.asked(96, count=3, seed=5)
    for one in found:
        assert 93 <= len(one.text) <= 96
        assert len({question[1] for question, _ in one.questions}) == len(one.questions) == 10
        for (opened, key), (value,) in one.questions:
            assert opened == lines.OPEN
            assert [one.text[at + 1] for at, word in enumerate(one.text) if word == key] == [value]


def test_before_training_it_looks_up_but_not_through_memory_tokens() -> None:
    texts, beacons = lines.asked(8 * tiny.WINDOW, count=2, seed=0), training.begun()
    beacons.model.eval()
    assert compressed(beacons, Windows(tiny.WINDOW, None), texts).accuracy >= 0.9
    assert compressed(beacons, Windows(tiny.WINDOW, 4), texts).accuracy <= 0.5
    assert all(torch.equal(one, other) for one, other in zip(beginning(0).parameters(), beacons.model.parameters(), strict=True))


def test_what_training_wrote_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"KEYS": 24, "AGAIN": 8, "TOKENS": 128, "SCORED": 1, "RATIOS": (4,)}.items():
        monkeypatch.setattr(training, name, value)
    training.main(["--out", str(tmp_path), "--steps", "4"])
    beacons = tiny.load(tmp_path)
    assert not beacons.model.training
    fresh = beginning(training.SEED)
    trained = dict(beacons.model.named_parameters())
    assert all(not torch.equal(one.half().float(), trained[name]) for name, one in fresh.named_parameters() if name.endswith("_proj.weight"))
    own = beacons.projections["1_k_proj"].weight
    assert not torch.equal(own, beacons.model.model.layers[1].self_attn.k_proj.weight)
    beacons.remove()
    path = tmp_path / tiny.MODEL
    path.write_bytes(path.read_bytes()[:-1] + b"\x00\x01"[path.read_bytes()[-1] == 0 :][:1])
    with pytest.raises(Corrupt):
        tiny.load(tmp_path)


@pytest.mark.parametrize("ratio", [2, 4])
def test_the_one_of_the_package_recalls_what_a_border_of_windows_parts(ratio: int) -> None:
    rng, beacons, texts = np.random.default_rng(78), tiny.load(), []
    for _ in range(4):
        ids, _known = lines.text(rng, 2, lines.lines_of(8 * tiny.WINDOW), 0)
        texts.append(Asked(ids, [(ids[at - 2 : at], ids[at : at + 1]) for at in range(tiny.WINDOW, len(ids), tiny.WINDOW)]))
    found = compressed(beacons, Windows(tiny.WINDOW, ratio), texts)
    assert len(found.right) == 28
    assert found.accuracy >= 0.85


def test_the_one_of_the_package_recalls_at_ratio_4_as_it_does_of_everything() -> None:
    beacons, texts = tiny.load(), lines.asked(8 * tiny.WINDOW, count=4, seed=77)
    four, whole = (compressed(beacons, Windows(tiny.WINDOW, ratio), texts) for ratio in (4, None))
    assert whole.accuracy >= 0.9
    assert four.accuracy >= 0.85 * whole.accuracy  # of few questions; the benchmark asks more
