"""Training: batches from seed and step alone, exact attention, and a run that was stopped and went on ends in the same bits as one that was not."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors")
pytest.importorskip("transformers")

from mnemos.base.errors import Conflict, NotFound  # noqa: E402
from mnemos.models.reference import language, tasks  # noqa: E402
from mnemos.models.reference.training import recall  # noqa: E402
from mnemos.models.reference.training.__main__ import main  # noqa: E402
from mnemos.models.reference.training.attention import blocked  # noqa: E402
from mnemos.models.reference.training.batches import Books, batch  # noqa: E402
from mnemos.models.reference.training.beginning import fresh  # noqa: E402
from mnemos.models.reference.training.drills import DRILLS, NAMES, SUFFIX, SUMS  # noqa: E402
from mnemos.models.reference.training.plan import PLAN, REPEAT, TEXT, Plan, Stage  # noqa: E402
from mnemos.models.reference.training.trainer import LOG, STATE, Trainer  # noqa: E402

TINY = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
SHORT = Plan(
    stages=(Stage(0, {64: 1}, 256, {REPEAT: 1, "kv": 1, TEXT: 1}), Stage(4, {64: 1, 96: 1}, 256, {"needle": 1, "run": 1})),
    steps=12,
    cooldown=4,
    warmup=2,
    longest=256,
)
NO_TEXT = Books(None)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_stopping_and_going_on_ends_in_the_same_bits(tmp_path: Path) -> None:
    whole = Trainer(SHORT, NO_TEXT, **TINY)
    whole.train_to(tmp_path / "whole", 10)
    first = Trainer(SHORT, NO_TEXT, **TINY)
    first.train_to(tmp_path / "parts", 5)
    second = Trainer(SHORT, NO_TEXT, **TINY)
    second.restore(tmp_path / "parts")
    assert second.step == 5
    second.train_to(tmp_path / "parts", 10)
    one, other = (safetensors.safe_open(tmp_path / name / STATE, framework="np") for name in ("whole", "parts"))
    assert one.metadata() == other.metadata() == {"step": "10", "tokens": str(whole.tokens), "seed": "6"}
    assert set(one.keys()) == set(other.keys())
    assert any(name.startswith("muon.momentum_buffer") for name in one.keys())  # noqa: SIM118
    for name in one.keys():  # noqa: SIM118
        assert one.get_tensor(name).tobytes() == other.get_tensor(name).tobytes(), name


def test_training_lowers_the_loss_on_what_it_sees() -> None:
    plan = replace(SHORT, stages=(Stage(0, {64: 1}, 512, {"rule": 1}),), steps=1000, cooldown=0, warmup=5, rate=1e-2)
    trainer = Trainer(plan, NO_TEXT, **TINY)
    losses = [trainer.advance()["loss"] for _ in range(25)]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


def test_another_seed_s_state_is_refused(tmp_path: Path) -> None:
    Trainer(SHORT, NO_TEXT, **TINY).save(tmp_path)
    with pytest.raises(Conflict, match="trained from seed 6"):
        Trainer(replace(SHORT, seed=7), NO_TEXT, **TINY).restore(tmp_path)


def test_a_stop_is_heeded_after_the_step_and_saved(tmp_path: Path) -> None:
    trainer = Trainer(SHORT, NO_TEXT, **TINY)
    trainer.stop = True
    trainer.train_to(tmp_path, 10)
    assert trainer.step == 0
    assert (tmp_path / STATE).exists()
    assert not (tmp_path / LOG).exists()


def test_missing_texts_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"moby-dick\.txt\.gz"):
        _ = Books(tmp_path).words


def test_a_batch_hangs_on_seed_and_step_alone() -> None:
    one, same, other = batch(PLAN, 700, NO_TEXT), batch(PLAN, 700, NO_TEXT), batch(PLAN, 701, NO_TEXT)
    assert np.array_equal(one.ids, same.ids)
    assert np.array_equal(one.positions, same.positions)
    assert np.array_equal(one.weights, same.weights)
    assert not np.array_equal(one.ids[:1], other.ids[:1])


@pytest.mark.parametrize("kind", [NAMES, SUFFIX])
@pytest.mark.parametrize("length", [64, 512, 2048])
def test_drills_have_one_answer_that_the_lines_before_give(kind: str, length: int) -> None:
    words, weights = DRILLS[kind](Random(length), length)
    assert 20 < len(words) == len(weights) <= length
    text = " ".join(words)
    questions = re.findall(r"<q> (?:names|span _ _ _ _) ([^<]+) <a> ([^<]+) <end>", text)
    assert len(questions) == text.count("<q>") > 0
    assert sum(weights) == sum(len(answer.split()) + 1 for _, answer in questions)
    for cue, answer in questions:
        assert text.count(f" {answer} = {cue} ;" if kind == NAMES else f" {answer} {cue} ;") == 1
        assert text.count(f" {cue} ;") == 1
        assert text.index(f" {cue} ;") < text.index(f" {cue} <a>")


def test_drilled_sums_are_right() -> None:
    words, weights = DRILLS[SUMS](Random(0), 512)
    lines = " ".join(words[1:]).split(" ; ")
    assert len(lines) == 63
    for line in lines:
        one, sign, _, other, _, _, result = line.removesuffix(" ;").split()
        assert (int(one) + int(f"{sign}{other}") - int(result)) % 10 == 0
    assert [word for word, weight in zip(words, weights, strict=True) if weight] == [line.split()[6] for line in lines]


@pytest.mark.parametrize("step", [0, 400, 900, PLAN.steps - 1])
def test_only_what_can_be_known_counts(step: int) -> None:
    drawn = batch(PLAN, step, NO_TEXT)
    assert drawn.ids.size <= PLAN.stage(step).tokens
    assert (np.diff(drawn.positions, axis=1) >= 1).all()
    assert drawn.positions.max() < PLAN.longest
    for row, kind in enumerate(drawn.kinds):
        counted = np.nonzero(drawn.weights[row])[0]
        words = language.decode(drawn.ids[row])
        assert counted.size
        if kind in tasks.NAMES:
            inside = np.zeros(len(words), dtype=bool)
            at = False
            for place, word in enumerate(words):
                inside[place] = at
                at = (at or word == language.ANSWER) and word != language.END
            assert np.array_equal(np.nonzero(inside)[0], counted)
            assert set(drawn.weights[row][inside]) <= {1.0, 3.0, 6.0}
        if kind == REPEAT:
            size = counted[0] - 2
            assert words[1 : 1 + size] == words[1 + size : 1 + 2 * size][: len(words) - 1 - size]


def test_the_rate_warms_up_stays_and_falls_to_nothing() -> None:
    rates = [PLAN.rate_at(step) for step in (0, PLAN.warmup, PLAN.steps - PLAN.cooldown, PLAN.steps - PLAN.cooldown // 2, PLAN.steps)]
    assert rates == pytest.approx([PLAN.rate / PLAN.warmup, PLAN.rate, PLAN.rate, PLAN.rate / 2, 0.0])


@pytest.mark.parametrize("length", [1, 128, 300])
def test_blocked_attention_is_exact(length: int) -> None:
    torch.manual_seed(length)
    q = torch.randn(2, 4, length, 8, requires_grad=True)
    k, v = (torch.randn(2, 2, length, 8, requires_grad=True) for _ in range(2))
    weight = torch.randn(2, 4, length, 8)
    ours = blocked(q, k, v, 0.3)
    theirs = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3, enable_gqa=True)
    assert torch.allclose(ours, theirs, atol=1e-5)
    for mine, other in zip(torch.autograd.grad(ours, (q, k, v), weight), torch.autograd.grad(theirs, (q, k, v), weight), strict=True):
        assert torch.allclose(mine, other, atol=1e-4)


def test_a_fresh_model_s_first_layer_looks_back_and_torch_s_generator_is_left_alone() -> None:
    state = torch.random.get_rng_state()
    model = fresh(3)
    assert torch.equal(state, torch.random.get_rng_state())
    model.set_attn_implementation("eager")
    ids = torch.randint(200, 1000, (1, 60), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        attention = model(input_ids=ids, output_attentions=True).attentions[0][0]
    for head in range(8):
        mass = [float(torch.diagonal(attention[head], -back)[10:].mean()) for back in range(12)]
        assert mass.index(max(mass)) == head + 1
        assert max(mass) > 0.4


def test_the_command_says_which_text_is_missing(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"moby-dick\.txt\.gz is missing"):
        main(["--out", str(tmp_path / "out"), "--text", str(tmp_path), "--until", "1"])


def test_a_model_whose_heads_share_no_keys_is_trained_by_the_same_loop(tmp_path: Path) -> None:
    recall.train(["--out", str(tmp_path), "--text", str(tmp_path), "--until", "0", "--seed", "7"])
    model = recall.trained(tmp_path)
    assert model.config.num_key_value_heads == model.config.num_attention_heads == 8
    assert torch.equal(model.model.layers[1].self_attn.k_proj.weight, fresh(7, **recall.SHAPE).model.layers[1].self_attn.k_proj.weight)
    assert not torch.equal(model.lm_head.weight, fresh(6, **recall.SHAPE).lm_head.weight)


def test_the_log_is_json_lines(tmp_path: Path) -> None:
    plan = replace(SHORT, stages=(Stage(0, {64: 1}, 64, {"kv": 1}),), steps=40)
    Trainer(plan, NO_TEXT, **TINY).train_to(tmp_path, 40)
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [line["step"] for line in lines] == [20, 40]
    assert lines[0]["loss"]["kv"] > 0
