"""What training moves, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from transformers import LlamaForCausalLM

from activation.tiny_llama import llama, tokens
from mnemos.activation.beacon.beacons import Beacons
from mnemos.activation.beacon.training import Batch, Plan, Trainer, answers, fit, imitation_loss, next_token_loss, read
from mnemos.activation.beacon.windows import Windows
from mnemos.base.errors import Invalid

torch.set_num_threads(1)
PLAN = Plan(ratios=(2, 4), sizes=(8,), rate=2e-2)


@pytest.fixture
def model() -> LlamaForCausalLM:
    return llama()


@pytest.fixture
def beacons(model: LlamaForCausalLM) -> Iterator[Beacons]:
    out = Beacons(model, adapted=True)
    yield out
    out.remove()


def test_the_loss_of_a_later_window_reaches_what_was_remembered(beacons: Beacons) -> None:
    ids, weights = tokens(2, 32), torch.zeros(2, 32)
    weights[:, 24:] = 1  # of the last window alone
    hidden, memory = read(beacons, ids, Windows(8, 4))
    memory.layers[1].remembered[0].retain_grad()
    next_token_loss(beacons, hidden, Batch(ids, weights), Windows(8, 4)).backward()
    gradient = memory.layers[1].remembered[0].grad
    assert gradient is not None
    assert bool((gradient[:, :, :6].abs().sum(-1) > 0).all())
    assert all(weight.grad is not None and bool(weight.grad.any()) for name, weight in beacons.named_parameters() if "1_k_proj" in name)


def test_without_weights_the_first_window_does_not_count(beacons: Beacons) -> None:
    ids, windows = tokens(1, 24), Windows(8, 4)
    hidden, _ = read(beacons, ids, windows)
    weights = torch.ones(1, 24)
    weights[:, :8] = 0
    assert torch.equal(next_token_loss(beacons, hidden, Batch(ids), windows), next_token_loss(beacons, hidden, Batch(ids, weights), windows))
    with pytest.raises(Invalid, match="longer than a window"):
        next_token_loss(beacons, hidden[:, :8], Batch(ids[:, :8]), windows)


def test_training_memory_tokens_leaves_the_model_alone_and_lowers_the_loss(model: LlamaForCausalLM, beacons: Beacons) -> None:
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    adapted = {name: weight.clone() for name, weight in beacons.adapted.state_dict().items()}
    batch = Batch(tokens(4, 24))
    trainer = Trainer(beacons, PLAN, adapted=False)
    told = [trainer.advance(batch, 0.0) for _ in range(30)]
    for ratio in (2.0, 4.0):
        losses = [each["next token"] for each in told if each["ratio"] == ratio]
        assert losses[-1] < losses[0] - 0.1
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert all(torch.equal(weight, adapted[name]) for name, weight in beacons.adapted.state_dict().items())
    assert all(weight.requires_grad for weight in model.parameters())


def test_what_is_named_is_trained_too(model: LlamaForCausalLM, beacons: Beacons) -> None:
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    Trainer(beacons, PLAN, also=lambda name: "mlp" in name).advance(Batch(tokens(2, 24)), 0.0)
    moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert moved
    assert all("mlp" in name for name in moved)
    assert any(bool((weight != model.model.layers[0].self_attn.q_proj.weight).any())
               for name, weight in beacons.adapted.named_parameters() if name == "0_q_proj.weight")  # fmt: skip


def test_adapted_projections_are_for_memories_that_compress(model: LlamaForCausalLM, beacons: Beacons) -> None:
    ids = tokens(1, 20)
    with torch.no_grad():
        full = model(ids).logits
        for weight in beacons.adapted.parameters():
            weight += 0.05
        assert torch.equal(model(ids).logits, full)
        assert float((model(ids, cache=beacons.memory(Windows(8, None))).logits - full).abs().max()) <= 1e-4
        assert float((model(ids, cache=beacons.memory(Windows(64, 4))).logits - full).abs().max()) > 0.01


def test_least_squares_and_steps_bring_memory_tokens_near_to_what_they_imitate(beacons: Beacons) -> None:
    ids, windows = tokens(6, 32), Windows(8, 2)

    def away() -> float:
        with torch.no_grad():
            return float(imitation_loss(beacons, ids, read(beacons, ids, windows)[1]))

    first = away()
    trainer = Trainer(beacons, Plan(ratios=(2,), sizes=(8,), rate=2e-2, imitation=1.0, warmup=1))
    for _ in range(20):
        assert set(trainer.advance(Batch(ids), 0.1)) == {"ratio", "imitation"}  # the next token counts later
    trained = away()
    assert trained < 0.9 * first
    assert "next token" in trainer.advance(Batch(ids), 0.9)
    fit(beacons, ids, windows)
    assert away() < 0.9 * trained


def test_rows_for_fine_tuning_count_answers() -> None:
    batch = answers([[([1, 2, 3], False), ([4, 5], True)], [([6], False), ([7], True)]])
    assert batch.ids.tolist() == [[1, 2, 3, 4, 5], [6, 7, 0, 0, 0]]
    assert batch.weights is not None
    assert batch.weights.tolist() == [[0, 0, 0, 1, 1], [0, 1, 0, 0, 0]]


def test_windows_of_a_step_depend_on_the_seed_and_the_step_alone() -> None:
    plan = Plan(ratios=(2, 4, 8), sizes=(16, 32))
    drawn = [plan.windows(step) for step in range(40)]
    assert drawn == [plan.windows(step) for step in range(40)]
    assert {windows.ratio for windows in drawn} == {2, 4, 8}
    assert {windows.size for windows in drawn} == {16, 32}
