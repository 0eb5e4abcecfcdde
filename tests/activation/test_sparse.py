"""Sparse reading: each pattern is the dense attention under its mask, computes no more pairs than that, and chooses what is attended to."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from activation.tiny_llama import greedy, llama, run, tokens
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.activation.policies.ashape import AShape
from mnemos.activation.policies.topblocks import TopBlocks
from mnemos.activation.policies.trishape import TriShape
from mnemos.activation.sparse import DENSE, ESTIMATED, PAIRS, Pattern, read
from mnemos.base.errors import Invalid

torch.set_num_threads(1)
HEADS, GROUPS, SIZE, LENGTH = 4, 2, 16, 300


def states(new: int = LENGTH) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(0)
    return tuple(torch.randn(heads, n, SIZE, generator=draws) for heads, n in ((HEADS, new), (GROUPS, LENGTH), (GROUPS, LENGTH)))  # type: ignore


def masked(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    return scaled_dot_product_attention(queries[None], keys[None], values[None], attn_mask=seen, scale=0.3, enable_gqa=True)[0]


@pytest.mark.parametrize("new", [LENGTH, 170, 5])
@pytest.mark.parametrize("pattern", [AShape(4, 20), AShape(0, 1), AShape(300, 5), TriShape(4, 20, 9), TriShape(2, 8, 400)])
def test_a_fixed_pattern_is_dense_attention_under_its_mask(pattern: AShape, new: int) -> None:
    queries, keys, values = states(new)
    output, pairs, estimated = read(queries, keys, values, pattern, 0.3)
    asking, places = torch.arange(LENGTH - new, LENGTH)[:, None], torch.arange(LENGTH)
    seen = (places <= asking) & ((places < pattern.sinks) | (asking - places < pattern.local))
    if isinstance(pattern, TriShape):
        seen |= (places <= asking) & (asking >= LENGTH - pattern.last)
    assert torch.allclose(output, masked(queries, keys, values, seen), atol=1e-5)
    assert (pairs, estimated) == (int(seen.sum()), 0)


@pytest.mark.parametrize("by", ["mean", "bounds"])
def test_blocks_that_are_asked_for_are_seen_and_the_others_are_not(by: str) -> None:
    queries, keys, values = states()
    keys, wanted = keys * 0.1, slice(120, 128)
    queries[:, 200:] = keys[:, 124:125].repeat_interleave(2, 0) * 50
    keys[:, wanted] *= 20
    pattern = TopBlocks(top=8, block=8, rows=10, sinks=8, local=16, by=by)
    output, pairs, estimated = read(queries, keys, values, pattern, 0.3)
    chosen = [its for its in pattern.choose(queries, keys, 0.3) if its.start >= 200]
    assert all(set(range(120, 128)) <= set(head.tolist()) for its in chosen for head in its.places)  # type: ignore[union-attr]
    assert pairs < 0.35 * LENGTH * (LENGTH + 1) / 2
    assert 0 < estimated < pairs
    seen = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()
    dense = masked(queries, keys, values, seen)
    assert (output - dense)[:, 200:].norm() < 0.1 * dense[:, 200:].norm()
    static, *_ = read(queries, keys, values, AShape(8, 60), 0.3)
    assert (static - dense)[:, 200:].norm() > 0.5 * dense[:, 200:].norm()


def test_the_last_queries_may_see_all() -> None:
    queries, keys, values = states()
    output, pairs, _ = read(queries, keys, values, TopBlocks(top=8, block=8, rows=10, sinks=8, local=16, last=25), 0.3)
    plain, fewer, _ = read(queries, keys, values, TopBlocks(top=8, block=8, rows=10, sinks=8, local=16), 0.3)
    dense = masked(queries, keys, values, torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril())
    assert torch.allclose(output[:, -25:], dense[:, -25:], atol=1e-5)
    assert torch.allclose(output[:, :200], plain[:, :200], atol=1e-5)
    assert not torch.allclose(plain[:, -25:], dense[:, -25:], atol=1e-2)
    assert pairs > fewer


@pytest.mark.parametrize("pattern", [AShape(4, 500), TriShape(4, 8, 300), TopBlocks(top=300, block=4, rows=7, sinks=4, local=3)])
def test_a_pattern_with_room_for_all_sees_all(pattern: Pattern) -> None:
    queries, keys, values = states()
    output, pairs, _ = read(queries, keys, values, pattern, 0.3)
    assert pairs == LENGTH * (LENGTH + 1) // 2
    assert torch.allclose(output, masked(queries, keys, values, torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()), atol=1e-5)


def test_blocks_read_in_whole_chunks_are_those_read_at_once() -> None:
    made = policy("topblocks", top=8, block=4, rows=8, sinks=4, local=8)
    model, ids = llama(), tokens(1, 96)
    once, pieces = (KVMemory.of(model, made) for _ in range(2))
    assert torch.allclose(run(model, once, ids), run(model, pieces, ids, chunk=24), atol=1e-4)
    assert once.managed[0].notes == pieces.managed[0].notes
    notes = once.managed[0].notes
    assert notes[DENSE] == 96 * 97 // 2
    assert 0 < notes[PAIRS] < 0.6 * notes[DENSE]
    assert notes[ESTIMATED] > 0


def test_what_is_generated_sees_all_and_a_policy_decides_what_is_kept() -> None:
    model, ids = llama(), tokens(1, 96)
    memory = KVMemory.of(model, policy("ashape", sinks=4, local=12))
    logits = run(model, memory, ids)[:, -1]
    pairs = memory.managed[0].notes[PAIRS]
    plain = KVMemory.of(model)
    for mine, its in zip(memory.fork().managed, plain.managed, strict=True):
        its.lazy_initialization(mine.tail.keys, mine.tail.values)
        its.tail.hold(mine.tail.part())
        its.seen = mine.seen
    assert greedy(model, plain, logits, 6)[0] == greedy(model, memory, logits, 6)[0]
    assert memory.managed[0].notes[PAIRS] == pairs
    both = policy("trishape", sinks=4, local=12, last=8, keep="snapkv", tokens=40, window=8)
    assert both.name == "trishape, snapkv"
    assert both.query_window == 8
    memory = KVMemory.of(model, both)
    run(model, memory, ids)
    memory.settle()
    assert {len(head) for layer in memory.held() for row in layer for head in row} == {40}


def test_a_mask_that_is_not_simply_causal_is_refused() -> None:
    model, ids = llama(), tokens(1, 30)
    odd = torch.ones(30, 30, dtype=torch.bool).tril()
    odd[20, 3] = False
    with pytest.raises(Invalid, match="follow one another"), torch.no_grad():
        model(ids, cache=KVMemory.of(model, policy("ashape", sinks=2, local=4)), attention_mask=odd[None, None])


def test_what_cannot_be_is_refused() -> None:
    for name, options, said in (("ashape", {"local": 0}, "sees itself"), ("trishape", {"last": 0}, "ashape"), ("topblocks", {"top": 3}, "a block"),
                                ("topblocks", {"by": "chance"}, "bounds"), ("ashape", {"keep": "h2o", "tokens": 50}, "sees all attention"),
                                ("ashape", {"keep": "landmark"}, "its own"), ("ashape", {"keep": "uncomp", "tokens": 50, "window": 8, "floor": 60,
                                                                                         "stages": [0, 1]}, "in stages")):  # fmt: skip
        with pytest.raises(Invalid, match=said):
            policy(name, **options)
