"""ThinK: which channels stay, what narrow keys compute, and what they take (sheet think, invariants)."""

from __future__ import annotations

import itertools

import pytest
import torch

from activation.tiny_llama import greedy, llama, run, tokens
from mnemos.activation.memory import KVMemory
from mnemos.activation.merging import attend
from mnemos.activation.narrow import CHANNELS, Narrow, Thin, channel_scores
from mnemos.activation.parts import Dense
from mnemos.activation.policies import policy
from mnemos.activation.policy import Policy, Pruning
from mnemos.activation.quantised import Quantise
from mnemos.base.errors import Invalid

torch.set_num_threads(1)


def read(thin: Policy, ids: torch.Tensor, seed: int = 0) -> tuple[object, KVMemory, torch.Tensor]:
    model = llama(seed)
    memory = KVMemory.of(model, thin)
    logits = run(model, memory, ids)[:, -1]
    memory.settle()
    return model, memory, logits


def test_scores_rank_channels_by_the_norm_of_what_each_adds() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        queries, keys = torch.randn(1, 1, 5, 12, generator=generator), torch.randn(1, 1, 40, 12, generator=generator)
        scores = channel_scores(queries, keys, torch.ones(1, 5, dtype=torch.bool), torch.ones(1, 1, 40, dtype=torch.bool))[0, 0]
        norms = torch.stack([torch.linalg.matrix_norm(queries[0, 0, :, [j]] @ keys[0, 0, :, [j]].T) for j in range(12)])
        assert torch.allclose((scores * 5 * 40).sqrt(), norms, atol=1e-5 * float(norms.max()))


def test_greedy_is_within_five_percent_of_the_best_choice() -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        scales = torch.exp(torch.randn(12, generator=generator))
        queries, keys = torch.randn(8, 12, generator=generator), torch.randn(64, 12, generator=generator) * scales
        scores = channel_scores(queries[None, None], keys[None, None], torch.ones(1, 8, dtype=torch.bool), torch.ones(1, 1, 64, dtype=torch.bool))
        greedily = set(scores[0, 0].topk(8).indices.tolist())
        whole = queries @ keys.T

        def error(kept: tuple[int, ...], queries: torch.Tensor = queries, keys: torch.Tensor = keys, whole: torch.Tensor = whole) -> float:
            return float((whole - queries[:, list(kept)] @ keys[:, list(kept)].T).norm())

        assert error(tuple(greedily)) <= 1.05 * min(error(kept) for kept in itertools.combinations(range(12), 8))


@pytest.mark.parametrize("codecs", [(), (Quantise(8, 8),)])
def test_narrow_keys_compute_what_keys_with_zeros_compute(codecs: tuple[Quantise, ...]) -> None:
    _, memory, _ = read(Pruning(codecs=(Thin(0.5, 8), *codecs), recent=8), tokens(2, 96))
    layer = memory.managed[1]
    narrow = [part for part in layer.parts if isinstance(part, Narrow)]
    assert narrow
    zeros = [Dense(*part.dense(), part.positions, part.heads) for part in narrow]
    queries = torch.randn(2, 2, 2, 3, 8, generator=torch.Generator().manual_seed(2))
    one, _ = attend(queries, narrow, [None] * len(narrow), 8**-0.5)
    two, _ = attend(queries, zeros, [None] * len(zeros), 8**-0.5)
    assert torch.allclose(one, two, atol=1e-5)
    kept = layer.notes[CHANNELS]
    for part in narrow:
        keys = part.dense()[0]
        assert torch.equal(part.channels.long(), part.channels.long().sort(-1).values)
        assert bool((keys[~kept[:, list(part.heads)].unsqueeze(2).expand_as(keys)] == 0).all())


def test_the_bytes_of_keys_are_those_of_the_channels_that_are_kept() -> None:
    ids = tokens(1, 104)
    _, memory, _ = read(policy("think", share=0.5, window=8, recent=8), ids)
    for layer in memory.managed:
        (part,) = layer.parts
        assert isinstance(part, Narrow)
        keys, values = part.inner.keys, part.inner.values
        assert (part.length, layer.tail.length) == (96, 8)
        assert keys.untyped_storage().nbytes() == 96 * 2 * 4 * 4  # tokens × heads × channels × bytes
        assert values.untyped_storage().nbytes() == 96 * 2 * 8 * 4
        assert layer.tail.keys.shape[-1] == 8  # the newest keep all of them


def test_the_newest_keys_stay_whole_and_blocks_follow_with_the_same_channels() -> None:
    model, memory, logits = read(policy("think", share=0.5, window=8, recent=8), tokens(1, 104))
    channels = memory.managed[0].notes[CHANNELS].clone()
    greedy(model, memory, logits, 70)
    layer = memory.managed[0]
    (part,) = layer.parts  # blocks were joined
    assert part.length == 96 + 64
    assert torch.equal(layer.notes[CHANNELS], channels)
    assert layer.held()[0][0] == set(range(174))


def test_a_short_prompt_is_narrowed_when_it_has_grown() -> None:
    model, memory, logits = read(policy("think", share=0.5, window=8, recent=32), tokens(1, 20))
    assert memory.managed[0].parts == []
    greedy(model, memory, logits, 60)
    assert memory.managed[0].parts[0].length == 32


def test_pairs_go_together_and_heads_share_a_budget() -> None:
    _, memory, _ = read(policy("think", share=0.5, window=8, recent=8, pairs=True), tokens(2, 96))
    kept = memory.managed[0].notes[CHANNELS]
    assert torch.equal(kept[..., :4], kept[..., 4:])
    _, even, _ = read(policy("think", share=0.5, window=8, recent=8), tokens(1, 96))
    _, uneven, _ = read(policy("think", share=0.5, window=8, recent=8, adaptive=True), tokens(1, 96))
    assert int(even.managed[0].notes[CHANNELS].sum()) == int(uneven.managed[0].notes[CHANNELS].sum())


def test_the_temperature_is_that_of_whole_keys() -> None:
    """Products are divided by √d, not by the root of the channels that are left: with keys that have energy in those alone, nothing changes."""
    generator = torch.Generator().manual_seed(3)
    keys, values = torch.randn(1, 1, 40, 8, generator=generator), torch.randn(1, 1, 40, 8, generator=generator)
    keys[..., 4:] = 0
    positions = torch.arange(40, dtype=torch.int32)[None, None]
    narrow = Narrow(Dense(keys[..., :4].contiguous(), values, positions, [0]), torch.arange(4, dtype=torch.int16)[None, None], 8)
    queries = torch.randn(1, 1, 1, 2, 8, generator=generator)
    one, _ = attend(queries, [narrow], [None], 8**-0.5)
    two, _ = attend(queries, [Dense(keys, values, positions, [0])], [None], 8**-0.5)
    assert torch.allclose(one, two, atol=1e-6)


def test_what_would_do_nothing_or_undo_is_refused() -> None:
    with pytest.raises(Invalid, match="order"):
        read(Pruning(codecs=(Quantise(4, 8), Thin(0.5, 8)), recent=8), tokens(1, 96))
    with pytest.raises(Invalid, match="pairs"):
        policy("think", pairs=True, adaptive=True)
    with pytest.raises(Invalid, match="multiple"):
        Pruning(codecs=(Quantise(2, 64),))


def test_a_share_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(Invalid, match="share"):
        policy("think", share=1.0)
