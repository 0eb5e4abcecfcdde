"""An answer that begins with what was kept is the answer that reading everything gives: in any type, with any sampling, beyond any length."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, Phi3Config

import mnemos
from kernel.kv.byte_llama import tokenizer
from mnemos.activation.memory import KVMemory
from mnemos.activation.prefixes import PrefixStore
from mnemos.base.errors import Invalid
from mnemos.base.protocols import Sampling
from mnemos.kernel.kv import prompts
from mnemos.models.local.model import LocalModel

torch.set_num_threads(1)
SHAPE = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "max_position_embeddings": 256, "initializer_range": 0.3, "bos_token_id": 0, "eos_token_id": None, "pad_token_id": 0}  # fmt: skip
SWITCH = 64
PROMPT = "Alice moved to Lisbon in May and bought a boat, and then she sailed away to Spain, alone."


def llama(**settings: Any) -> LocalModel:
    config, dtype = LlamaConfig(**SHAPE), settings.pop("dtype", "float32")
    module = LocalModel.random(config, dtype=dtype).module
    return LocalModel(module, tokenizer(), **settings)


def longrope() -> LocalModel:
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [3.0, 4.0, 5.0, 6.0], "factor": 4.0,
            "original_max_position_embeddings": SWITCH}  # fmt: skip
    return LocalModel.random(Phi3Config(**SHAPE, original_max_position_embeddings=SWITCH, rope_parameters=rope), tokenizer=tokenizer())


def opened(model: LocalModel, monkeypatch: pytest.MonkeyPatch, chunk: int = 16) -> Any:
    monkeypatch.setattr(prompts, "CHUNK", chunk)
    return mnemos.open(":memory:", embedder="none", language_model=model).space("docs")


def read(model: LocalModel, prompt: str, **settings: Any) -> list[int]:
    return model.generate(model.encode(prompt), **settings).run()[0].tokens


def asked(space: Any, prompt: str, **settings: Any) -> tuple[int, list[int]]:
    stream = space.kv.generate(prompt, **settings)
    return stream.taken, stream.run()[0].tokens


def test_a_penalty_of_repetition_counts_what_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    model, settings = llama(), {"max_tokens": 10, "sampling": Sampling(repetition_penalty=5.0)}
    space = opened(model, monkeypatch)
    right = read(model, PROMPT, **settings)
    assert right != read(model, PROMPT, max_tokens=10)
    assert [asked(space, PROMPT, **settings) for _ in range(2)] == [(0, right), (80, right)]


def test_keys_of_long_prompts_are_not_those_of_short_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    model = longrope()
    space = opened(model, monkeypatch)
    for prompt, taken in ((PROMPT, 0), (PROMPT[:40], 0), (PROMPT, 0), (PROMPT[:60], 32), (PROMPT[:60], 48)):  # the last ones go on over the border
        assert asked(space, prompt, max_tokens=10) == (taken, read(model, prompt, max_tokens=10))


def test_texts_are_taken_together_as_far_as_the_model_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    space = opened(llama(), monkeypatch)
    ids = [space.add(letter * 120).id for letter in "abc"]
    with pytest.raises(Invalid, match="364 tokens together, 108 more than the 256"):
        space.kv.take(ids)
    space = opened(longrope(), monkeypatch)
    ids = [space.add(letter * 40).id for letter in "ab"]
    with pytest.raises(Invalid, match="rebuilt"):
        space.kv.take(ids, "rerotated")
    assert space.kv.take(ids, "rebuilt").memory.get_seq_length() == 83


def test_a_text_that_is_too_long_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    space = opened(llama(), monkeypatch)
    short, long = space.add("Alice moved to Lisbon.").id, space.add("x" * 400).id
    take, warm = space.kv.take, space.kv.warm
    for read_them in (lambda: warm([short, long]), lambda: take([short, long]), lambda: take([long], policy="kivi:group=8")):
        with pytest.raises(Invalid, match=f"the text of {long} has 402 tokens, 146 more than the 256"):
            read_them()
    assert [entry.source for entry in space.kv.entries()] == [short]


@pytest.mark.parametrize("prompt", [None, 5, b"bytes", {"content": "x"}, [], [1.5], [["a"]]])
def test_what_is_no_prompt_is_refused(prompt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Invalid, match="a prompt is"):
        opened(llama(), monkeypatch).kv.prefix(prompt)


@pytest.mark.parametrize("length", [128, 129, 130, 150])
@pytest.mark.parametrize("left", [1, 2, 30])
def test_in_portions_what_was_read_before_is_to_the_last_bit_what_it_would_be_now(tmp_path: Any, length: int, left: int) -> None:
    model = llama(dtype="bfloat16", portion=32)
    prompt = [3 + (7 * place * place) % 90 for place in range(length)]
    for begun in (length - left, length):  # what is kept is of a shorter prompt, or of this one
        store = PrefixStore(tmp_path / str(begun), model.fingerprint, chunk=32, portion=32)
        memory = KVMemory.of(model.module)
        model.prefill(prompt[:begun], memory)
        store.put(prompt[:begun], memory)
        taken, known = store.take(model.module, prompt)
        assert known % 32 == 0
        assert known >= 64
        full = KVMemory.of(model.module)
        right = model.prefill(prompt, full)
        assert torch.equal(model.prefill(prompt[known:], taken).logits, right.logits)  # type: ignore[arg-type]
        for one, other in zip(taken.managed, full.managed, strict=True):
            assert torch.equal(one.tail.keys, other.tail.keys)


def test_in_portions_prompts_of_a_space_are_answered_as_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    model = llama(dtype="bfloat16", portion=16)
    space = opened(model, monkeypatch)
    for prompt, taken in ((PROMPT, 0), (PROMPT[:70], 64), (PROMPT[:50] + " Who?", 48), (PROMPT, 80)):
        assert asked(space, prompt, max_tokens=8) == (taken, read(model, prompt, max_tokens=8))


def test_portions_are_of_two_tokens_or_more() -> None:
    for wrong in (0, 1, -3, 2.5, "16"):
        with pytest.raises(Invalid, match="portion"):
            llama(portion=wrong)
