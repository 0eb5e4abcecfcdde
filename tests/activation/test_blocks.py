"""Block retrieval without training: what stands for blocks, who picks, what is near, and how sources are left out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from activation.tiny_llama import greedy, llama, run, tokens
from mnemos.activation.blocks import BOUNDS, MEAN, FarBlocks, asking, represented
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.activation.policy import Policy
from mnemos.base.errors import Invalid

torch.set_num_threads(1)


def read(length: int = 120, **options: object) -> tuple[object, KVMemory]:
    model = llama()
    memory = KVMemory.of(model, policy("blocks", **{"top": 6, "block": 4, "bits": None, "local": 4, "flush": 4, **options}))
    run(model, memory, tokens(1, length))
    memory.settle()
    return model, memory


def part_of(memory: KVMemory) -> FarBlocks:
    (part,) = memory.managed[0].parts
    assert isinstance(part, FarBlocks)
    return part


def test_bounds_are_above_what_any_key_of_a_block_gets() -> None:
    generator = torch.Generator().manual_seed(0)
    keys, queries = torch.randn(1, 2, 9, 4, 8, generator=generator), torch.randn(1, 2, 3, 5, 8, generator=generator)
    there = torch.ones(1, 1, 9, 4, dtype=torch.bool)
    most = torch.einsum("bhgtd,bhncd->bhgtnc", queries, keys).amax(-1)
    said = torch.einsum("bhgtd,bhnd->bhgtn", asking(queries, BOUNDS), represented(keys, there, BOUNDS))
    assert bool((said >= most - 1e-5).all())
    alone = represented(keys[:, :, :, :1], there[..., :1], BOUNDS)
    exact = torch.einsum("bhgtd,bhnd->bhgtn", queries, keys[:, :, :, 0])
    assert torch.allclose(torch.einsum("bhgtd,bhnd->bhgtn", asking(queries, BOUNDS), alone), exact, atol=1e-5)
    assert torch.allclose(represented(keys, there, MEAN), keys.mean(3), atol=1e-6)


def test_a_query_that_picks_all_blocks_sees_what_the_full_cache_sees() -> None:
    ids, more = tokens(1, 120), tokens(1, 9, seed=3)
    model = llama()
    memory = KVMemory.of(model, policy("blocks", share=0.8, block=4, local=4))
    whole = KVMemory.of(model)
    for each in (memory, whole):
        run(model, each, ids)
        each.settle()
    part = part_of(memory)
    part.counts = part.counts + 30  # more than there are
    for layer in memory.managed[1:]:
        layer.parts[0].counts = part.counts
    assert torch.allclose(run(model, memory, more), run(model, whole, more), atol=2e-4)


def test_each_of_several_tokens_sees_what_it_picks_itself_as_if_alone() -> None:
    _, memory = read()
    part, layer = part_of(memory), memory.managed[0]
    queries = torch.randn(1, 2, 2, 5, 8, generator=torch.Generator().manual_seed(1))
    together = layer.policy.open(layer, part, queries, 5)
    for number in range(5):
        alone = layer.policy.open(layer, part, queries[:, :, :, number : number + 1], 1)
        for head in range(2):
            mine = set(together.positions[0, head][together.seen[0, head, number]].tolist())  # type: ignore[attr-defined]
            assert mine == set(alone.positions[0, head].tolist()) - {-1}
            assert len(mine) == 24


@pytest.mark.parametrize("by", [MEAN, BOUNDS])
def test_only_what_stands_for_blocks_is_near(by: str) -> None:
    _, memory = read(600, by=by, bits=4)
    _, whole = read(600, top=500)
    part, heads, size = part_of(memory), 2, 8
    numbers = size * (1 if by == MEAN else 2)
    count = part.places.shape[1]
    near = heads * count * numbers // 2 + heads * -(-count // 8)  # codes, and whether each is scored
    near += heads * 2 * numbers * 4 + 8 + part.counts.numel() * 8  # means and spreads, of how many, from which on
    assert part.nbytes().near == near
    far = heads * count * 4 * 2 * size * 4 + count * 2 * 4 + count * 4 * 4  # tokens, spans, positions
    assert part.nbytes().far == far + heads * count * numbers * 4  # so few blocks are put into another frame when more come, from what they were
    assert memory.nbytes().near < whole.nbytes().near / 5


def test_what_one_step_brought_is_kept_or_brought_again_with_the_same_effect() -> None:
    model, keeping = read()
    _, anew = read(reuse=False)
    last = run(model, keeping.fork(), tokens(1, 1, seed=9))[:, -1]
    one, its = greedy(model, keeping, last, 10)
    two, others = greedy(model, anew, last, 10)
    assert one == two
    assert torch.equal(its, others)
    kept, asked = part_of(keeping).statistics, part_of(anew).statistics
    assert 0 < kept.hit_rate < 1
    assert kept.copied < asked.copied
    assert part_of(anew).buffer is None


def test_blocks_on_disk_give_the_same_bits(tmp_path: Path) -> None:
    model, memory = read()
    _, on_disk = read(folder=str(tmp_path))
    last = run(model, memory.fork(), tokens(1, 1, seed=9))[:, -1]
    assert torch.equal(greedy(model, memory, last, 10)[1], greedy(model, on_disk, last, 10)[1])


def test_a_block_that_may_not_be_read_has_no_influence() -> None:
    model, memory = read()
    other = memory.fork()
    for each, shift in ((memory, 0.0), (other, 5.0)):
        for layer in each.managed:
            part = layer.parts[0]
            part.store.payloads = [piece.clone() for piece in part.store.payloads]
            part.store.payloads[0][:, :, 5] += shift
            part.store._near = part.store._near.clone()
            part.store._near[:, :, 5] += shift
            layer.parts = [part.without(0, 20, 24, erase=False)]
    assert torch.equal(run(model, memory, tokens(1, 7, seed=4)), run(model, other, tokens(1, 7, seed=4)))
    assert 20 not in memory.held()[0][0][0]


def test_forgotten_tokens_are_overwritten_and_the_rest_of_their_block_goes_on() -> None:
    _, memory = read()
    part = part_of(memory)
    left = part.without(0, 21, 23, erase=True)
    keys, values = left.dense()
    before, _ = part.dense()
    assert bool((keys[0, :, 21:23] == 0).all())
    assert bool((values[0, :, 21:23] == 0).all())
    assert torch.equal(keys[0, :, 20], before[0, :, 20])
    assert torch.allclose(left.store.summaries[0, :, 5], before[0, :, [20, 23]].mean(1), atol=1e-6)
    assert {20, 23} <= set(left.positions[0, 0].tolist()) <= set(range(120)) - {21, 22} | {-1}


@pytest.mark.parametrize("options", [{"block": 0}, {"bits": 3}, {"by": "median"}, {"top": 0}, {"top": 3, "share": 0.5}, {"flush": 0}, {"colour": 1}])
def test_options_that_cannot_be_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        policy("blocks", **options)


def test_generated_tokens_go_far_after_some_time() -> None:
    model, memory = read()
    before = part_of(memory).length
    greedy(model, memory, run(model, memory, tokens(1, 3, seed=2))[:, -1], 21)
    after = part_of(memory)
    assert after.length > before + 12
    assert memory.managed[0].tail.length <= 4 + 3 + 4
    assert Policy().describe() != memory.policy.describe()
