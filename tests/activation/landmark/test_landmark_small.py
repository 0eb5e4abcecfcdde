"""The small models from nothing: what they learn from is what it says, and what was learnt is loaded as it was saved."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file

from mnemos.activation.landmark import lessons, small
from mnemos.activation.landmark.__main__ import main
from mnemos.activation.landmark.training import STATE, Training
from mnemos.base.errors import Corrupt, Invalid, ModelUnavailable, NotFound
from mnemos.models.reference.training.batches import BOOKS, HELD_OUT


def test_the_value_that_is_asked_for_stands_behind_its_key() -> None:
    for seed in range(20):
        session = lessons.notes(Random(seed), 60, 6, 4)
        assert len(session.ids) == 60
        for place, home in zip(session.places, session.homes, strict=True):
            assert session.ids[place - 2] == lessons.ASK
            assert session.ids[place - 1 : place + 1] == session.ids[home - 1 : home + 1]
            assert home < session.asked < place
            assert session.ids[: session.asked].count(session.ids[place - 1]) == 1
    with pytest.raises(Invalid, match="do not go into 20 words"):
        lessons.notes(Random(0), 20, 6, 4)


def test_of_rows_only_answers_count_or_what_says_itself_again() -> None:
    ids, weights = lessons.rows_of_notes(Random(1), 60, 8, 0.0)
    keys = [{one for one in row if one >= lessons.NOTE_WORDS - lessons.KEYS} for row in ids.tolist()]
    assert len(set().union(*keys)) == sum(map(len, keys))  # none answers what another is asked
    counted = ids[weights > 0]
    assert bool((counted < 1 + lessons.VALUES).all())
    assert bool((ids.roll(1, 1)[weights > 0] >= lessons.NOTE_WORDS - lessons.KEYS).all())
    ids, weights = lessons.rows_of_notes(Random(1), 60, 8, 1.0)
    for row, its in zip(ids.tolist(), weights.tolist(), strict=True):
        begin = next(place for place, weight in enumerate(its) if weight)
        assert row[begin:] == row[1 : len(row) - begin + 1]


@pytest.fixture
def texts(tmp_path: Path) -> lessons.Texts:
    rng = Random(0)
    for name in (*BOOKS, HELD_OUT):
        text = "“Well”—said he. " + "".join(rng.choice("abcdefgh ,.") for _ in range(3000))
        (tmp_path / f"{name}.txt.gz").write_bytes(gzip.compress(text.encode()))
    return lessons.Texts(tmp_path)


def test_passages_of_a_document_come_again(texts: lessons.Texts) -> None:
    assert texts.held_out.startswith('"Well"-said he.')
    again = 0
    for ids in lessons.documents(Random(3), [texts.held_out], 900, 8).tolist():
        text = "".join(lessons.CHARACTERS[one] for one in ids)
        again += sum(text[at : at + 25] in text[: at + 24] for at in range(25, 875))
    assert 0.15 < again / (8 * 850) < 0.4  # of a passage of 45, of two, 20 begin 25 that were there
    with pytest.raises(NotFound, match="shared/data/text"):
        lessons.Texts(Path("nowhere")).read  # noqa: B018 - reading raises


def test_batches_are_the_same_each_time_and_a_stream_goes_on(texts: lessons.Texts) -> None:
    for name in small.MODELS:
        first, again = (small.batches(name, texts)(700) for _ in range(2))
        assert torch.equal(first.ids, again.ids)
    with pytest.raises(Invalid, match="books"):
        small.batches("text", None)
    stream = small.batches("text-recurrent", texts)
    there = 4 * small.WORDS // small.SEGMENT
    pieces = [stream(number) for number in range(there + 1)]
    assert [int(piece.positions[0, 0]) for piece in pieces] == [*range(0, there * small.SEGMENT, small.SEGMENT), 0]  # type: ignore[index]
    row = torch.cat([piece.ids for piece in pieces[:there]], 1)
    assert torch.equal(row, lessons.documents(Random("small 0 document 0"), texts.read, row.shape[1], len(row)))


def test_recurrence_that_remembers_all_reads_all_at_once_and_else_learns_nothing_from_before() -> None:
    model = small.begun("text-recurrent").eval()
    ids = torch.randint(70, (2, 96), generator=torch.Generator().manual_seed(0))
    places = torch.arange(96).expand_as(ids)

    def read(given: torch.Tensor) -> torch.Tensor:
        return torch.cat([model(given[:, at : at + 32], places[:, at : at + 32]).logits for at in (0, 32, 64)], 1)

    with torch.no_grad():
        whole = model.model(ids).logits
        assert torch.allclose(read(ids), whole, atol=1e-4)
        model.memory = 16
        assert not torch.allclose(read(ids)[:, 32:], whole[:, 32:], atol=1e-2)
        assert model._past.get_seq_length() == 16
    model(ids[:, :32], places[:, :32])
    assert not any(layer.keys.requires_grad or layer.values.requires_grad for layer in model._past.layers)


@pytest.mark.parametrize("name", list(small.MODELS))
def test_what_is_learnt_is_published_and_loaded(name: str, texts: lessons.Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, to = tmp_path / "out", tmp_path / "to"
    training = Training(small.begun(name).train(), small.MODELS[name].stages[0], small.batches(name, texts))
    with pytest.raises(SystemExit):  # nothing was learnt yet
        main(["--model", name, "--out", str(out), "--text", str(texts.folder), "--publish", "--to", str(to)])
    training.train_to(out / "1", 1)
    main(["--model", name, "--out", str(out), "--text", str(texts.folder), "--publish", "--to", str(to)])
    monkeypatch.setattr(small, "folder", lambda: to)
    learnt, loaded = dict(small._inner(training.model).named_parameters()), small.load(name)
    for key, weight in small._inner(loaded).named_parameters():
        assert torch.equal(weight, learnt[key].detach().half().float())
    assert small.card()[name]["steps"] == [1]
    path = to / f"{name}.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
    with pytest.raises(Corrupt):
        small.load(name)
    path.unlink()
    with pytest.raises(ModelUnavailable):
        small.load(name)


def test_a_stage_begins_with_the_weights_that_are_stored_of_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = replace(small.MODELS["notes"], stages=tuple(replace(stage, steps=2) for stage in small.MODELS["notes"].stages), row_tokens=480)
    monkeypatch.setitem(small.MODELS, "notes", one)
    out, to = tmp_path / "out", tmp_path / "to"
    arguments = ["--model", "notes", "--out", str(out)]
    main(arguments)
    first, second = (load_file(out / stage / STATE) for stage in ("1", "2"))
    begun = small.begun("notes").train()
    with torch.no_grad():
        for key, weight in begun.named_parameters():
            weight.copy_(first[f"weight.{key}"].half())
    training = Training(begun, one.stages[1], small.batches("notes", None, 1))
    training.advance()
    training.advance()
    assert all(torch.equal(weight, second[f"weight.{key}"]) for key, weight in training.learning.items())
    main([*arguments, "--publish", "--to", str(to)])
    said = json.loads((to / small.CARD).read_text())["notes"]
    assert said["steps"] == [2, 2]
    assert [recipe["rivals"] for recipe in said["recipes"]] == [7, 0]
    alike = [torch.equal(small.batches("notes", None, stage)(0).ids, small.batches("notes", None, 1)(0).ids) for stage in (0, 1)]
    assert alike == [False, True]


def test_a_model_without_landmarks_attends_plainly_and_there_is_no_other_name() -> None:
    assert small.begun("notes-plain").config._attn_implementation == "sdpa"
    assert small.begun("notes").config._attn_implementation == "landmark"
    with pytest.raises(Invalid, match="notes-plain"):
        small.begun("notes-other")
