"""Fragments that were read one by one, put together (sheet memos, check 3)."""

from __future__ import annotations

import pytest
import torch

from activation.tiny_llama import greedy, llama, run, tokens
from mnemos.activation.fragments import Fragment, put_together, read_again, together
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.base.errors import Invalid

torch.set_num_threads(1)
MODEL = llama(layers=3)
LENGTHS = (20, 31, 13)


def fragment(length: int, seed: int) -> Fragment:
    memory = KVMemory.of(MODEL)
    ids = tokens(1, length, seed)
    run(MODEL, memory, ids)
    return Fragment(tuple(ids[0].tolist()), memory)


FRAGMENTS = [fragment(length, seed) for seed, length in enumerate(LENGTHS)]
ALL = torch.tensor([[token for each in FRAGMENTS for token in each.tokens]])


def after(memory: KVMemory) -> tuple[list[list[int]], torch.Tensor]:
    return greedy(MODEL, memory, run(MODEL, memory, tokens(1, 7, seed=9))[:, -1], 8)


def whole() -> KVMemory:
    memory = KVMemory.of(MODEL)
    run(MODEL, memory, ALL)
    return memory


def test_turned_keys_are_those_of_the_fragment_alone_at_its_place() -> None:
    memory = put_together(MODEL, FRAGMENTS, "rerotated")
    offset = 0
    for each in FRAGMENTS:
        alone = KVMemory.of(MODEL)
        ids = torch.tensor([each.tokens])
        with torch.no_grad():
            MODEL(ids, position_ids=torch.arange(offset, offset + ids.shape[1])[None], cache=alone)
        for layer, its in zip(memory.managed, alone.managed, strict=True):
            assert torch.allclose(layer.tail.keys[:, :, offset : offset + ids.shape[1]], its.tail.keys, atol=1e-4)
            assert torch.allclose(layer.tail.values[:, :, offset : offset + ids.shape[1]], its.tail.values, atol=1e-4)
        offset += ids.shape[1]
    assert memory.get_seq_length() == sum(LENGTHS)
    assert memory.held()[0][0][0] == set(range(sum(LENGTHS)))


@pytest.mark.parametrize(("mode", "share"), [("rebuilt", 0.0), ("blended", 1.0)])
def test_reading_everything_again_is_exact(mode: str, share: float) -> None:
    chosen, seen = after(put_together(MODEL, FRAGMENTS, mode, share))
    expected, right = after(whole())
    assert chosen == expected
    assert torch.allclose(seen, right, atol=1e-4)


def test_the_more_is_read_again_the_nearer_it_comes() -> None:
    right = torch.log_softmax(after(whole())[1][0], -1)
    errors = []
    for share in (0.0, 0.3, 0.6, 1.0):
        seen = torch.log_softmax(after(put_together(MODEL, FRAGMENTS, "blended", share))[1][0], -1)
        errors.append(float((right.exp() * (right - seen)).sum(-1)[0]))
    assert errors[0] > errors[2] > errors[3]
    assert errors[3] < 1e-6


def test_the_tokens_that_are_read_again_are_those_that_differ_most() -> None:
    memory, right = put_together(MODEL, FRAGMENTS, "rerotated"), whole()
    off = sum((mine - its).square().sum((0, 1, 3)) for mine, its in
              ((memory.managed[1].tail.keys, right.managed[1].tail.keys), (memory.managed[1].tail.values, right.managed[1].tail.values)))  # fmt: skip
    worst = set(off.topk(6).indices.tolist())
    assert set(read_again(MODEL, memory, ALL[0].tolist(), 6 / ALL.shape[1])) == worst


def test_only_the_first_fragment_brings_its_head() -> None:
    heads = [Fragment(each.tokens, each.memory, head=2) for each in FRAGMENTS]
    assert together(heads) == [*FRAGMENTS[0].tokens, *FRAGMENTS[1].tokens[2:], *FRAGMENTS[2].tokens[2:]]
    chosen, seen = after(put_together(MODEL, heads, "blended", 1.0))
    expected, right = after(put_together(MODEL, heads, "rebuilt"))
    assert chosen == expected
    assert torch.allclose(seen, right, atol=1e-4)


def test_fragments_stay_as_they_are() -> None:
    before = [each.memory.managed[0].tail.keys.clone() for each in FRAGMENTS]
    after(put_together(MODEL, FRAGMENTS, "blended", 0.5))
    assert all(torch.equal(each.memory.managed[0].tail.keys, keys) for each, keys in zip(FRAGMENTS, before, strict=True))
    assert FRAGMENTS[0].memory.get_seq_length() == LENGTHS[0]


def test_what_cannot_be_put_together_is_refused() -> None:
    with pytest.raises(Invalid, match="at least one"):
        put_together(MODEL, [])
    with pytest.raises(Invalid, match="sideways"):
        put_together(MODEL, FRAGMENTS, "sideways")
    memory = KVMemory.of(MODEL, policy("window", tokens=10))
    run(MODEL, memory, tokens(1, 20))
    with pytest.raises(Invalid, match="window"):
        Fragment(tuple(tokens(1, 20)[0].tolist()), memory)
    with pytest.raises(Invalid, match="19"):
        Fragment(FRAGMENTS[0].tokens[:19], FRAGMENTS[0].memory)
