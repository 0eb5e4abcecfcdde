"""Tokens are taken back from any policy's memory, and what is left is what it would be had they never come."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from transformers import Gemma2Config, Gemma2ForCausalLM

from activation.test_policies import SMALL
from activation.tiny_llama import greedy, llama, plan, run, tokens
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.activation.saving import dump, load
from mnemos.base.errors import Invalid
from mnemos.models.local.context import Prefilled

LONGEST = 72
MODEL = llama()


def begun(name: str, prompt: int, generated: int, rollback: bool = False, block: int = 64) -> tuple[object, KVMemory]:
    """A memory that has read a prompt, and some tokens of its own."""
    model, ids = MODEL, tokens(1, LONGEST + 20)
    memory = KVMemory.of(model, SMALL[name](), rollback=rollback)
    if memory.rollback is not None:
        memory.rollback.block = block
    run(model, memory, ids[:, :prompt])
    if generated >= 0:
        memory.settle()
    for place in range(prompt, prompt + generated):
        run(model, memory, ids[:, place : place + 1])
    return model, memory


def same(model: object, one: KVMemory, other: KVMemory, bits: bool) -> bool:
    """Whether both say the same next, and hold the same."""
    held = one.held() == other.held() and one.get_seq_length() == other.get_seq_length()
    mine, its = (run(model, each, tokens(1, 3, seed=11)[:, :1]) for each in (one, other))
    return held and (torch.equal(mine, its) if bits else bool((mine - its).abs().max() <= 1e-5 * its.abs().max()))


@pytest.mark.parametrize("name", SMALL)
def test_what_is_left_is_bit_for_bit_what_never_had_them(name: str) -> None:
    model, memory = begun(name, 60, 9, rollback=True, block=1)
    memory.crop(-5)
    assert same(model, memory, begun(name, 60, 4)[1], bits=True)
    memory.crop(-15)
    assert same(model, memory, begun(name, 50, -1)[1], bits=True)
    assert memory.rollback is not None
    assert memory.rollback.count >= 1  # of the prompt something was folded, or chosen
    assert memory.rollback.seconds > 0
    assert memory.rollback.tokens >= 50


@settings(max_examples=12, deadline=None, phases=[Phase.generate], derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(SMALL)), st.integers(9, LONGEST), st.integers(0, 12), st.data())
def test_so_it_is_for_any_lengths(name: str, prompt: int, generated: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, prompt + generated - 2))
    left = prompt + generated - count
    model, memory = begun(name, prompt, generated, rollback=True, block=data.draw(st.sampled_from([1, 3, 64])))
    memory.crop(-count)
    assert same(model, memory, begun(name, *((prompt, left - prompt) if left >= prompt else (left, -1)))[1], bits=False)


def test_tokens_that_nothing_was_done_with_are_taken_back_where_they_lie() -> None:
    for name in ("shadowkv", "kivi", "blocks"):
        model, memory = begun(name, 60, 3, rollback=True)
        memory.crop(-3)
        assert memory.rollback is not None
        assert memory.rollback.count == 0
        assert same(model, memory, begun(name, 60, 0)[1], bits=True)


def test_turns_end_where_they_ended_and_what_was_protected_is() -> None:
    def talk(rollback: bool, last: int) -> tuple[object, KVMemory]:
        model, ids = MODEL, tokens(1, 120)
        memory = KVMemory.of(model, policy("snapkv", tokens=40, window=8), rollback=rollback)
        run(model, memory, ids[:, :30])
        memory.protect(2, 9)
        run(model, memory, ids[:, 30:60])
        for place in range(60, 64):
            run(model, memory, ids[:, place : place + 1])
        memory.last_chunk = True
        run(model, memory, ids[:, 64:84])
        for place in range(84, last):
            run(model, memory, ids[:, place : place + 1])
        return model, memory

    model, memory = talk(True, 90)
    memory.crop(-4)
    assert same(model, memory, talk(False, 86)[1], bits=False)
    assert set(range(2, 9)) <= memory.held()[0][0][0]


def test_drafts_are_verified_and_what_is_refused_is_taken_back() -> None:
    model, memory = begun("h2o", 60, 0, rollback=True)
    memory.drafts = 4
    alone = begun("h2o", 60, 0)[1]
    last = tokens(1, 1, seed=4)
    expected, _ = greedy(model, alone, run(model, alone, last)[:, -1], 6)
    said: list[int] = []
    for wrong in (2, 0, 1):  # how many of three drafts are wrong
        drafts = expected[0][len(said) : len(said) + 3 - wrong] + [7] * wrong
        logits = run(model, memory, torch.cat([last, torch.tensor([drafts])], 1)) if drafts else run(model, memory, last)
        best = logits.argmax(-1)[0].tolist()
        right = next((at for at, (one, other) in enumerate(zip(drafts, best, strict=False)) if one != other), len(drafts))
        memory.crop(-(len(drafts) - right))
        said += best[: right + 1]
        last = torch.tensor([[said[-1]]])
    assert said[:6] == expected[0]


def test_rows_of_a_batch_are_chosen_and_padded_and_forks_go_on_by_themselves() -> None:
    model, ids, mask = llama(), tokens(2, 70), torch.ones(2, 76, dtype=torch.long)
    mask[0, :9] = 0

    def read(rollback: bool) -> KVMemory:
        memory = KVMemory.of(model, SMALL["think"](), rollback=rollback)
        run(model, memory, ids[:, :64], mask=mask)
        memory.settle()
        return memory

    memory, other = read(True), read(False)
    for place in range(64, 70):
        run(model, memory, ids[:, place : place + 1], mask=mask)
    fork = memory.fork()
    memory.reorder_cache(torch.tensor([1, 0]))
    memory.crop(-6)
    other.reorder_cache(torch.tensor([1, 0]))
    assert memory.held() == other.held()
    turned = mask[[1, 0]]
    assert torch.equal(*(run(model, each, ids[[1, 0], 64:65], mask=turned) for each in (memory, other)))
    assert fork.get_seq_length() == 70
    fork.crop(-6)
    assert fork.rollback is not None
    assert fork.rollback.count == 1
    memory.batch_repeat_interleave(2)
    memory.crop(-1)
    assert memory.held()[0] == memory.held()[1]


def test_without_ids_it_says_so_and_nothing_has_changed() -> None:
    model, memory = begun("snapkv", 60, 4)
    before = memory.held()
    with pytest.raises(Invalid, match="rollback=True"):
        memory.crop(-30)
    assert memory.held() == before
    model, memory = begun("h2o", 60, 4, rollback=True)
    loaded = load(model, dump(memory, "it"), "it", SMALL["h2o"](), rollback=True)
    with pytest.raises(Invalid, match="give"):
        loaded.crop(-2)
    assert loaded.rollback is not None
    loaded.rollback.give(tokens(1, LONGEST + 20)[:, :64], generated=4)
    loaded.crop(-2)
    assert same(model, loaded, begun("h2o", 60, 2)[1], bits=False)
    embedded = KVMemory.of(model, SMALL["h2o"](), rollback=True)
    model(inputs_embeds=model.get_input_embeddings()(tokens(1, 60)), cache=embedded)
    embedded.settle()
    with pytest.raises(Invalid, match="embeddings"):
        embedded.crop(-2)
    with pytest.raises(Invalid, match="negative"):
        memory.crop(3)
    with pytest.raises(Invalid, match="stages"):
        KVMemory.of(model, policy("uncomp", tokens=40, window=8, plan=plan(model), floor=16), rollback=True)


def test_layers_of_limited_sight_are_read_again_too() -> None:
    torch.manual_seed(0)
    config = Gemma2Config(vocab_size=101, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                          head_dim=8, sliding_window=16, initializer_range=0.3, pad_token_id=0)  # fmt: skip
    model = Gemma2ForCausalLM(config).eval()
    ids = tokens(1, 60)

    def read(rollback: bool, upto: int) -> KVMemory:
        memory = KVMemory.of(model, policy("snapkv", tokens=20, window=8), rollback=rollback)
        run(model, memory, ids[:, :40])
        memory.settle()
        for place in range(40, upto):
            run(model, memory, ids[:, place : place + 1])
        return memory

    memory = read(True, 60)
    memory.crop(-17)
    assert same(model, memory, read(False, 43), bits=False)


def test_a_model_that_fails_meanwhile_leaves_an_empty_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model, memory = begun("h2o", 60, 4, rollback=True)
    monkeypatch.setattr(MODEL.model.layers[1], "forward", lambda *given, **named: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        memory.crop(-2)
    assert memory.get_seq_length() == 0
    monkeypatch.undo()
    run(model, memory, tokens(1, 5))
    assert memory.get_seq_length() == 5


def test_a_context_of_a_local_model_is_cropped_by_it() -> None:
    _, memory = begun("h2o", 60, 4, rollback=True)
    read = Prefilled(memory, None, (64,), 64)
    shorter = read.cropped(50)
    assert shorter is not None
    assert shorter.cache.get_seq_length() == 50
