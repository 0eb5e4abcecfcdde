"""Tokens that are never dropped: said of a span, of tokens as they are read, or of whole prompts; they count in the budget."""

from __future__ import annotations

import pytest
import torch

from activation.tiny_llama import greedy, llama, run, tokens
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.activation.saving import dump, load
from mnemos.base.errors import Invalid

DROPPING = {
    "window": {"sinks": 0}, "snapkv": {"window": 4}, "h2o": {"recent": 4}, "tova": {}, "knorm": {"recent": 4}, "keydiff": {"recent": 4},
    "expected": {"recent": 4, "sinks": 0}, "raas": {"recent": 4}, "rkv": {"window": 4}, "lazyeviction": {"window": 4, "sinks": 0},
}  # fmt: skip
SPAN = set(range(3, 9))


def held(memory: KVMemory) -> list[set[int]]:
    return [head for layer in memory.held() for row in layer for head in row]


@pytest.mark.parametrize("name", DROPPING)
def test_a_protected_span_outlives_prompts_and_generated_tokens(name: str) -> None:
    model = llama()
    memory = KVMemory.of(model, policy(name, tokens=20, **DROPPING[name]))
    run(model, memory, tokens(1, 10))
    memory.settle()
    memory.protect(3, 9)
    logits = run(model, memory, tokens(1, 60, seed=1))
    greedy(model, memory, logits[:, -1], 30)
    heads = held(memory)
    assert all(head >= SPAN for head in heads)
    assert any(not head >= {0, 1, 2, 9} for head in heads)
    if name != "rkv":  # which decides for the next time only every so many tokens
        assert max(len(head) for head in heads) <= (24 if name == "lazyeviction" else 52)


def test_it_is_said_of_tokens_as_they_are_read_and_is_saved() -> None:
    model = llama()
    rule = policy("h2o", tokens=20, recent=4)
    memory, ids = KVMemory.of(model, rule), tokens(1, 70)
    said = torch.zeros_like(ids, dtype=torch.bool)
    said[:, 3:9] = True
    with torch.no_grad():
        model(ids, cache=memory, protected=said)
    memory.settle()
    again = load(model, dump(memory, "it"), "it", rule)
    greedy(model, again, run(model, again, tokens(1, 1, seed=2))[:, -1], 30)
    assert all(head >= SPAN and len(head) <= 20 for head in held(again))


def test_the_prompts_of_all_turns_stay_within_the_budget() -> None:
    model = llama()
    memory = KVMemory.of(model, policy("lazyeviction", tokens=60, window=4, sinks=0, protect=True))
    greedy(model, memory, run(model, memory, tokens(1, 18))[:, -1], 50)
    greedy(model, memory, run(model, memory, tokens(1, 12, seed=1))[:, -1], 50)
    assert all(head >= {*range(18), *range(68, 80)} and 60 - 4 < len(head) <= 64 for head in held(memory))


def test_what_finds_no_room_is_refused() -> None:
    model = llama()
    memory = KVMemory.of(model, policy("lazyeviction", tokens=20, window=4, sinks=3, protect=True))
    run(model, memory, tokens(1, 40))
    with pytest.raises(Invalid, match="no room for 40"):
        memory.settle()
    memory = KVMemory.of(model, policy("h2o", tokens=20, recent=4))
    run(model, memory, tokens(1, 19))
    memory.protect()
    run(model, memory, tokens(1, 9, seed=1))
    with pytest.raises(Invalid, match="may keep 20 tokens, and 23 may not"):
        memory.settle()


def test_what_is_gone_or_was_not_read_cannot_be_protected() -> None:
    model = llama()
    memory = KVMemory.of(model, policy("window", tokens=20, sinks=0))
    with pytest.raises(Invalid, match="nothing was read"):
        memory.protect(0, 4)
    run(model, memory, tokens(1, 40))
    memory.settle()
    with pytest.raises(Invalid, match="are gone"):
        memory.protect(0, 4)
    memory.protect(30, 34)
    full = KVMemory.of(model)
    full.protect(0, 4)  # nothing to do, and no error
