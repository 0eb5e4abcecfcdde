"""Several tokens given at once while decoding, as speculative decoders verify them: a policy observes each as if it had come by itself."""

from __future__ import annotations

import pytest
import torch

from activation.test_policies import SMALL
from activation.tiny_llama import llama, run, tokens
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.activation.policy import Policy
from mnemos.base.errors import Invalid

PORTIONS = (1, 2, 6)


def settled(small: Policy, ids: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[object, KVMemory]:
    model = llama()
    memory = KVMemory.of(model, small)
    run(model, memory, ids, mask=mask)
    memory.settle()
    return model, memory


def given(model: object, memory: KVMemory, new: torch.Tensor, portions: tuple[int, ...], mask: torch.Tensor | None = None) -> torch.Tensor:
    start, out = 0, []
    for portion in portions:
        out.append(run(model, memory, new[:, start : start + portion], mask=mask))
        start += portion
    return torch.cat(out, 1)


def close(some: torch.Tensor, others: torch.Tensor) -> bool:
    return bool((some - others).abs().max() <= 1e-5 * others.abs().max())


@pytest.mark.parametrize("name", ["full", *SMALL])
def test_some_tokens_at_once_are_those_tokens_one_by_one(name: str) -> None:
    small, new = SMALL.get(name, lambda: policy("full")), tokens(1, sum(PORTIONS), seed=9)
    model, alone = settled(small(), tokens(1, 64))
    expected = given(model, alone, new, (1,) * new.shape[1])
    model, memory = settled(small(), tokens(1, 64))
    memory.drafts = max(PORTIONS)
    assert close(given(model, memory, new, PORTIONS), expected)
    assert memory.held() == alone.held()
    assert [layer.generated for layer in memory.managed] == [new.shape[1]] * 2
    assert memory.nbytes().total == alone.nbytes().total


@pytest.mark.parametrize("name", ["h2o", "shadowkv", "think", "lazyeviction"])
def test_the_prompt_settles_before_the_first_of_them_and_rows_may_be_padded(name: str) -> None:
    ids, new = tokens(2, 64), tokens(2, 6, seed=9)
    mask = torch.ones(2, 70, dtype=torch.long)
    mask[0, :20] = 0
    mask[1, 66] = 0
    model, alone = settled(SMALL[name](), ids, mask)
    expected = given(model, alone, new, (1,) * 6, mask)
    memory = KVMemory.of(model, SMALL[name]())
    memory.drafts = 6
    run(model, memory, ids, mask=mask)
    some = given(model, memory, new, (6,), mask)
    there = mask[:, 64:].bool()
    assert close(some[there], expected[there])
    assert memory.held() == alone.held()


def test_more_tokens_than_drafts_are_a_turn_and_so_are_fewer_where_it_is_said() -> None:
    for count, said in ((9, None), (4, True), (1, False)):
        model, memory = settled(policy("snapkv", tokens=40, window=8), tokens(1, 64))
        memory.drafts = 8
        memory.last_chunk = said
        run(model, memory, tokens(1, count, seed=3))
        assert [layer.generated for layer in memory.managed] == [0, 0]
        assert all(layer.settled == (said is True) for layer in memory.managed)
        assert memory.last_chunk is None


def test_trees_of_drafts_are_refused_and_a_token_by_itself_is_always_generated() -> None:
    model, memory = settled(policy("h2o", tokens=40, recent=8), tokens(1, 64))
    memory.drafts = 4
    tree = torch.ones(1, 1, 3, 67, dtype=torch.bool)
    tree[..., 2, 65] = False  # the third does not see the second
    with pytest.raises(Invalid, match="fork"):
        model(tokens(1, 3), cache=memory, attention_mask=tree[..., -3:])
    with pytest.raises(Invalid, match="1 or more"):
        memory.drafts = 0
