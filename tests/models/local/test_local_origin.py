"""Whose keys and values a cache holds: only the model that read it goes on with it, or one that is the same."""

from __future__ import annotations

import copy
import gc
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from families import FAMILIES, model, tokens
from transformers import DynamicCache

from mnemos.activation.fragments import Fragment, put_together
from mnemos.activation.memory import KVMemory
from mnemos.activation.published import read_on
from mnemos.base.errors import Invalid
from mnemos.models.local import origin
from mnemos.models.local.model import LocalModel

LLAMA = model("llama")
OTHER = LocalModel.random(FAMILIES["llama"](), seed=1)  # of the same shapes


def test_what_another_model_has_read_is_not_gone_on_with_however_alike_the_shapes_are() -> None:
    read = LLAMA.prefill(tokens(20))
    for cache in (read, read.cache, copy.deepcopy(read.cache)):
        for call in (OTHER.prefill, OTHER.logits, OTHER.generate):
            with pytest.raises(Invalid, match=r"of another model, LlamaForCausalLM, whose weights .* differ.*go on with the model that read it"):
                call(tokens(3), cache)
    assert LLAMA.prefill(tokens(3), read).lengths == (23,)
    memory = KVMemory.of(LLAMA.module)
    for empty_or_not in (memory, read_on(LLAMA, tokens(20), memory).cache, memory.fork(), read_on(LLAMA, tokens(3), memory)):
        with pytest.raises(Invalid, match="of another model"):
            OTHER.prefill(tokens(3), empty_or_not)


def test_models_that_differ_only_in_how_they_turn_keys_are_two() -> None:
    config = FAMILIES["llama"]()
    config.rope_parameters = {**config.rope_parameters, "rope_theta": 777.0}
    turned = LocalModel(LocalModel.random(config).module)
    turned.module.load_state_dict(LLAMA.module.state_dict())
    with pytest.raises(Invalid, match="differs from this one in its rope"):
        turned.prefill(tokens(3), LLAMA.prefill(tokens(20)))


def test_the_same_model_loaded_again_goes_on_and_is_compared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LLAMA.save(tmp_path / "model")
    again = LocalModel.load(tmp_path / "model", tokenizer=None, digests=tmp_path)
    compared: list[Any] = []
    real = origin._difference
    monkeypatch.setattr(origin, "_difference", lambda *both: compared.append(both) or real(*both))
    want = LLAMA.generate(tokens(20), max_tokens=6, ends=()).run()[0].tokens
    for _ in range(3):
        read = LLAMA.prefill(tokens(19))
        assert again.generate(tokens(20)[19:], read, max_tokens=6, ends=()).run()[0].tokens == want
    assert len(compared) == 1
    assert LocalModel(LLAMA.module).generate((), LLAMA.prefill(tokens(20)), max_tokens=6, ends=()).run()[0].tokens == want
    assert len(compared) == 1, "the same module is the same model"


def test_nothing_is_compared_while_tokens_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    real = origin.origin_of
    monkeypatch.setattr(origin, "origin_of", lambda module: asked.append(module) or real(module))
    stream = LLAMA.generate(tokens(20), LLAMA.prefill(tokens(5)), max_tokens=12, ends=())
    before = len(asked)
    stream.run()
    assert before == len(asked) == 2, "once for each call"


def test_what_was_read_before_weights_changed_is_not_gone_on_with() -> None:
    trained = LocalModel.random(FAMILIES["llama"](), seed=2)
    read, memory = trained.prefill(tokens(20)), KVMemory.of(trained.module)
    with torch.no_grad():
        trained.module.lm_head.weight.mul_(1.5)
    trained.weights_changed()
    for cache in (read, memory):
        with pytest.raises(Invalid, match="whose weights have changed since"):
            trained.prefill(tokens(3), cache)
    assert trained.prefill(tokens(3), trained.prefill(tokens(20))).lengths == (23,)


def test_a_copy_of_a_model_is_the_same_until_it_learns_something() -> None:
    copied = LocalModel(copy.deepcopy(LLAMA.module))
    assert copied.prefill(tokens(3), LLAMA.prefill(tokens(20))).lengths == (23,)
    with torch.no_grad():
        copied.module.lm_head.weight.mul_(1.5)
    copied.weights_changed()
    with pytest.raises(Invalid, match="differ from those of this one"):
        copied.prefill(tokens(3), LLAMA.prefill(tokens(20)))
    with pytest.raises(Invalid, match="differ from those of this one"):
        LLAMA.prefill(tokens(3), copied.prefill(tokens(20)))


def test_a_model_that_is_gone_cannot_be_compared_and_is_not_kept_alive() -> None:
    lost = LocalModel.random(FAMILIES["llama"](), seed=3)
    read = lost.prefill(tokens(20))
    del lost
    gc.collect()
    with pytest.raises(Invalid, match="which is not here any more"):
        LLAMA.prefill(tokens(3), read)


def test_what_nobody_has_marked_is_taken_as_it_is_and_a_pickled_cache_has_no_mark() -> None:
    cache = DynamicCache(config=LLAMA.module.config)
    with torch.no_grad():
        LLAMA.module(input_ids=torch.tensor([tokens(20)]), **{LLAMA._reader.keyword: cache})
    assert LLAMA.prefill(tokens(3), cache).lengths == (23,)
    with pytest.raises(Invalid, match="of another model"):
        OTHER.prefill(tokens(3), cache)
    assert pickle.loads(pickle.dumps(cache)).origin is None


def test_fragments_of_another_model_are_not_put_together() -> None:
    memory = read_on(OTHER, tokens(8), KVMemory.of(OTHER.module)).cache
    with pytest.raises(Invalid, match="of another model"):
        put_together(LLAMA.module, [Fragment(tuple(tokens(8)), memory)], "rerotated")
