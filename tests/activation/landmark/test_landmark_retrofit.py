"""What a model learnt beside its weights: stored alone, given back to the same model, and to no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from landmark_llama import BLOCK, ids, llama

from mnemos.activation.landmark import tokens
from mnemos.activation.landmark.retrofit import CARD, WEIGHTS, LoRA, Retrofit
from mnemos.activation.landmark.training import Batch, Recipe, Training
from mnemos.base.errors import Conflict, Corrupt, Invalid, NotFound

torch.set_num_threads(1)


def trained(lora: LoRA | None, **changes: Any) -> Retrofit:
    retrofit = Retrofit(llama(**changes), BLOCK, lora)
    rows = torch.tensor([ids(9, 1), ids(9, 2)])
    batch = Batch(*tokens.in_training(rows, BLOCK, retrofit.token, torch.ones(rows.shape)))
    training = Training(retrofit.model, Recipe(steps=3, rate=1e-2, accumulation=1), lambda _: batch)
    for _ in range(3):
        training.advance()
    return retrofit


def logits(model: Any, retrofit: Retrofit) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(input_ids=torch.tensor([tokens.insert(ids(14), BLOCK, retrofit.token)]), use_cache=False).logits  # type: ignore[no-any-return]


@pytest.mark.parametrize("lora", [None, LoRA(rank=4)])
@pytest.mark.parametrize("tied", [True, False])
def test_what_was_learnt_comes_back(tmp_path: Path, lora: LoRA | None, tied: bool) -> None:
    retrofit = trained(lora, tie_word_embeddings=tied)
    untrained = logits(Retrofit(llama(tie_word_embeddings=tied), BLOCK, None).model, retrofit)
    before = logits(retrofit.model, retrofit)
    card = retrofit.save(tmp_path, name="a test")
    assert card["name"] == "a test"
    assert card["bytes"] == (tmp_path / WEIGHTS).stat().st_size
    again = Retrofit.load(llama(tie_word_embeddings=tied), tmp_path)
    assert (again.block, again.token, again.lora) == (BLOCK, retrofit.token, lora)
    got = logits(again.model, retrofit)
    torch.testing.assert_close(got, before, atol=0.02, rtol=0)  # it is stored in float16
    assert float((before - untrained).abs().max()) > 0.2
    torch.testing.assert_close(logits(again.merged(), retrofit), got, atol=1e-4, rtol=0)


def test_lora_learns_and_stores_little() -> None:
    retrofit = trained(LoRA(rank=2))
    learnt = retrofit.learnt()
    assert all("lora" in name or "token" in name for name in learnt)
    everything = sum(weight.numel() for weight in retrofit.model.parameters())
    assert sum(tensor.numel() for tensor in learnt.values()) < everything / 8
    before = dict(llama().named_parameters())
    frozen = {name: weight for name, weight in retrofit.model.named_parameters() if not weight.requires_grad and "mlp" in name}
    assert frozen
    for name, weight in frozen.items():
        assert torch.equal(weight, before[name.removeprefix("base_model.model.")])


@pytest.mark.parametrize("lora", [None, LoRA(rank=2)])
def test_another_base_is_refused(tmp_path: Path, lora: LoRA | None) -> None:
    trained(lora).save(tmp_path)
    with pytest.raises(Conflict, match="weights of"):
        Retrofit.load(llama(seed=1), tmp_path)
    with pytest.raises(Conflict, match="learnt on another model"):
        Retrofit.load(llama(num_hidden_layers=1), tmp_path)


def test_what_is_damaged_or_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="folder that Retrofit"):
        Retrofit.load(llama(), tmp_path)
    retrofit = trained(None)
    retrofit.save(tmp_path)
    with pytest.raises(Invalid, match="landmarks already"):
        Retrofit(retrofit.model, BLOCK)
    content = bytearray((tmp_path / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (tmp_path / WEIGHTS).write_bytes(content)
    with pytest.raises(Corrupt, match="sha256"):
        Retrofit.load(llama(), tmp_path)
    for wrong in ("{", json.dumps({"format": 99}), json.dumps({"format": 1, "base": 3})):
        (tmp_path / CARD).write_text(wrong)
        with pytest.raises(Corrupt, match="save it again"):
            Retrofit.load(llama(), tmp_path)
