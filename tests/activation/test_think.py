"""ThinK: which channels stay, what narrow keys compute, and what they take (sheet think, invariants)."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from activation.tiny_llama import greedy, llama, plan, run, tokens
from mnemos.activation.channels import channel_scores, value_scores
from mnemos.activation.memory import KVMemory
from mnemos.activation.merging import attend
from mnemos.activation.narrow import CHANNELS, DUE, RETAINED, VALUES, Kept, Narrow, Thin
from mnemos.activation.outputs import outputs
from mnemos.activation.parts import Dense
from mnemos.activation.policies import policy
from mnemos.activation.policy import Policy, Pruning
from mnemos.activation.prefixes import PrefixStore
from mnemos.activation.quantised import Quantise
from mnemos.activation.saving import dump, load
from mnemos.activation.view import View
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
        assert torch.equal(part.keys.channels.long(), part.keys.channels.long().sort(-1).values)
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


def test_values_are_scored_by_what_comes_out_of_the_layer() -> None:
    """Of one token, or of attention that is all on one, a channel's score is the square of what it adds to the hidden state."""
    model = llama()
    norms = outputs(model)[1].norms(4)
    generator = torch.Generator().manual_seed(4)
    values = torch.randn(1, 2, 1, 8, generator=generator)
    scores = value_scores(torch.ones(1, 2, 2, 1), values, norms.unflatten(0, (2, 2)))
    weight = model.model.layers[1].self_attn.o_proj.weight.detach()
    for head in range(2):
        for channel in range(8):
            added = [torch.zeros(32) for _ in range(2)]
            for query in range(2):
                added[query][(2 * head + query) * 8 + channel] = values[0, head, 0, channel]
            right = sum(float((weight @ one).square().sum()) for one in added)
            assert float(scores[0, head, channel]) == pytest.approx(right, rel=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("codecs", [(), (Quantise(8, 8),)])
def test_narrow_values_give_what_values_with_zeros_give(share: float, codecs: tuple[Quantise, ...]) -> None:
    _, memory, _ = read(Pruning(codecs=(Thin(share, 8, values=0.3), *codecs), recent=8), tokens(2, 96))
    layer = memory.managed[1]
    (part,) = layer.parts
    assert isinstance(part, Narrow)
    keys, values = part.dense()
    zeros = Dense(keys, values, part.positions, part.heads)
    queries = torch.randn(2, 2, 2, 3, 8, generator=torch.Generator().manual_seed(2))
    one, _ = attend(queries, [part], [None], 8**-0.5)
    two, _ = attend(queries, [zeros], [None], 8**-0.5)
    assert torch.allclose(one, two, atol=1e-5)
    kept = layer.notes[VALUES]
    assert bool((kept.sum(-1) == 6).all())  # of 8, without ⌊.3 · 8⌋
    assert bool((values[~kept.unsqueeze(2).expand_as(values)] == 0).all())
    assert (part.keys is None) == (share == 0)
    assert (CHANNELS in layer.notes) == (share > 0)


def test_the_bytes_of_values_are_those_of_the_channels_that_are_kept() -> None:
    _, memory, _ = read(policy("think", share=0.5, values=0.3, window=8, recent=8), tokens(1, 104))
    for layer in memory.managed:
        (part,) = layer.parts
        assert isinstance(part, Narrow)
        assert part.inner.keys.untyped_storage().nbytes() == 96 * 2 * 4 * 4  # tokens × heads × channels × bytes
        assert part.inner.values.untyped_storage().nbytes() == 96 * 2 * 6 * 4
        assert layer.tail.values.shape[-1] == 8


def test_heads_that_keep_unequally_many_of_both_are_attended_to_as_with_zeros() -> None:
    model, memory, logits = read(policy("think", share=0.5, values=0.5, window=8, recent=8, adaptive=True), tokens(2, 104))
    chosen, seen = greedy(model, memory, logits, 40)
    layer = memory.managed[0]
    assert [int(layer.notes[kind][0].sum()) for kind in (CHANNELS, VALUES)] == [8, 8]
    assert len(layer.parts) == 2  # one for each head
    assert len({layer.parts[0].dense()[1].shape, layer.parts[1].dense()[1].shape}) == 1
    model, zeros, logits = read(policy("think", share=0.5, values=0.5, window=8, recent=8, adaptive=True), tokens(2, 104))
    for its in zeros.managed:
        its.parts = [Dense(*part.dense(), part.positions, part.heads) for part in its.parts]
        its.policy = Policy()
    again, others = greedy(model, zeros, logits, 8)
    assert again == [row[:8] for row in chosen]
    assert torch.allclose(others, seen[:, :8], atol=1e-4)


def test_what_is_kept_of_values_is_what_changes_the_output_least() -> None:
    ids = tokens(1, 104)
    model, whole, logits = read(Policy(), ids)
    right = run(model, whole, logits.argmax(-1, keepdim=True))

    class Worst(Thin):
        @staticmethod
        def _of_values(part: Dense, view: View) -> torch.Tensor:
            return -Thin._of_values(part, view)

    errors = []
    for thin in (Thin(0, 8, values=0.5), Worst(0, 8, values=0.5)):
        model, memory, _ = read(Pruning(codecs=(thin,), recent=8), ids)
        errors.append(float((run(model, memory, logits.argmax(-1, keepdim=True)) - right).norm()))
    assert errors[0] < 0.7 * errors[1]


def test_values_go_with_deleted_heads_and_need_a_projection_that_is_known() -> None:
    model = llama()
    thinner = policy("uncomp", tokens=40, plan=plan(model), window=8, delete=1)
    memory = KVMemory.of(model, thinner.then(Thin(0.5, 8, values=0.3)))  # type: ignore[attr-defined]
    logits = run(model, memory, tokens(1, 96))[:, -1]
    memory.settle()
    greedy(model, memory, logits, 3)
    assert any(part.heads == (0,) and isinstance(part, Narrow) for layer in memory.managed for part in layer.parts)
    unknown = llama()
    unknown.model.layers[1].self_attn.out = unknown.model.layers[1].self_attn.__dict__["_modules"].pop("o_proj")
    with pytest.raises(Invalid, match="output projection"):
        KVMemory.of(unknown, policy("think", values=0.3))
    KVMemory.of(unknown, policy("think"))


def test_channels_chosen_anew_are_those_of_what_follows_and_old_ones_stay() -> None:
    model, memory, logits = read(policy("think", share=0.5, window=8, recent=8, refresh=40), tokens(1, 104))
    layer = memory.managed[0]
    first = layer.notes[CHANNELS].clone()
    greedy(model, memory, logits, 39)
    assert len(layer.parts) == 1
    greedy(model, memory, run(model, memory, tokens(1, 1, seed=6))[:, -1], 100)
    channels = [part.keys.channels.long() for part in layer.parts if isinstance(part, Narrow)]
    assert len(channels) == 4  # of the prompt, and after 40, 80 and 120 tokens
    assert torch.equal(channels[0], first.nonzero()[:, -1].reshape(1, 2, 4))
    assert any(not torch.equal(channels[0], its) for its in channels[1:])
    assert {its.shape for its in channels} == {(1, 2, 4)}
    assert layer.held()[0][0] == set(range(244))


@pytest.mark.parametrize("codecs", [(), (Quantise(8, 8),)])
@pytest.mark.parametrize("pairs", [False, True])
def test_old_keys_lose_channels_down_to_a_floor_and_none_comes_back(codecs: tuple[Quantise, ...], pairs: bool) -> None:
    thin = Pruning(codecs=(Thin(0.25, 8, pairs=pairs, refresh=16, floor=0.5), *codecs), recent=8)
    model, memory, logits = read(thin, tokens(2, 104))
    layer, before = memory.managed[0], []
    for _ in range(4):
        old = layer.parts[0]
        assert isinstance(old, Narrow)
        before.append(old)
        greedy(model, memory, logits, 16)
    widths = [part.keys.channels.shape[-1] for part in before]
    assert widths == ([6, 4, 4, 4] if pairs else [6, 5, 4, 4])
    for older, newer in itertools.pairwise(before):
        keys, its = older.dense()[0], newer.dense()[0]
        stored = torch.zeros(2, 2, 8, dtype=torch.bool).scatter_(-1, newer.keys.channels.long(), True)
        assert torch.equal(its, keys * stored.unsqueeze(2))  # to the bit, also of numbers in few bits
        assert newer.nbytes().near <= older.nbytes().near
    assert before[1].nbytes().near < before[0].nbytes().near
    if pairs:
        assert torch.equal(before[-1].keys.channels[..., :2] + 4, before[-1].keys.channels[..., 2:])


def test_a_turn_that_was_read_is_a_time_to_choose_anew() -> None:
    model, memory, _ = read(policy("think", share=0.5, window=8, recent=8, refresh=1000), tokens(1, 104))
    layer = memory.managed[0]
    run(model, memory, tokens(1, 96, seed=5))
    memory.settle()
    old, new = layer.parts
    assert isinstance(old, Narrow)
    assert isinstance(new, Narrow)
    assert not torch.equal(old.keys.channels, new.keys.channels)
    assert not bool(layer.notes[CHANNELS + DUE].any())


def test_it_is_said_how_much_of_its_scores_each_head_retains() -> None:
    _, memory, _ = read(policy("think", share=0.5, values=0.3, window=8, recent=8), tokens(2, 104))
    for layer in memory.managed:
        view = layer.view()
        (part,) = layer.parts
        share = layer.notes[CHANNELS + RETAINED]
        assert share.shape == layer.notes[VALUES + RETAINED].shape == (2, 2)
        assert bool((share > 0.5).all() and (share < 1).all())
        whole = KVMemory.of(llama(), Pruning(codecs=(Thin(0, 8),), recent=8))
        assert view.heads == len(part.heads)
        assert whole.managed[0].notes == {}
    _, whole, _ = read(Policy(), tokens(2, 104))
    keys, queries = whole.managed[0].tail.keys[:, :, :96], memory.managed[0].recent.tensors()["states"]
    scores = channel_scores(queries, keys, torch.ones(2, 8, dtype=torch.bool), torch.ones(2, 2, 96, dtype=torch.bool))
    right = (scores * memory.managed[0].notes[CHANNELS]).sum(-1) / scores.sum(-1)
    assert torch.allclose(memory.managed[0].notes[CHANNELS + RETAINED], right, atol=1e-5)


def test_what_was_thinned_is_no_prefix_and_its_share_and_channels_are_part_of_what_is_saved(tmp_path: Path) -> None:
    """The store of prefixes takes nothing that a policy has shaped; a saved memory has the policy in its header and channels among its tensors."""
    ids = tokens(1, 104)
    model, memory, _ = read(policy("think", share=0.5, window=8, recent=8), ids)
    with pytest.raises(Invalid, match="no prefix"):
        PrefixStore(tmp_path, "it").put(ids[0].tolist(), memory)
    data = dump(memory, "it")
    with pytest.raises(Invalid, match="policy"):
        load(model, data, "it", policy("think", share=0.4, window=8, recent=8))
    again = load(model, data, "it", policy("think", share=0.5, window=8, recent=8))
    assert torch.equal(again.managed[0].notes[CHANNELS], memory.managed[0].notes[CHANNELS])
    memory.managed[0].notes[CHANNELS] = ~memory.managed[0].notes[CHANNELS]
    assert dump(memory, "it") != data


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
    narrow = Narrow(Dense(keys[..., :4].contiguous(), values, positions, [0]), Kept(torch.arange(4, dtype=torch.int16)[None, None], 8))
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
    with pytest.raises(Invalid, match="share"):
        policy("think", values=1.0)
    with pytest.raises(Invalid, match="refresh"):
        policy("think", floor=0.5)
    with pytest.raises(Invalid, match="floor"):
        policy("think", refresh=4, floor=0)
