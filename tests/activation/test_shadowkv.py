"""ShadowKV: what it keeps near stands for everything, and what it brings back is what was there."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from activation.tiny_llama import VOCABULARY, greedy, llama, run, tokens
from mnemos.activation.coding import Codes
from mnemos.activation.layer import MemoryLayer
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.activation.policies.shadowkv import ShadowKV
from mnemos.activation.policy import Budget, Policy
from mnemos.activation.rotary import Layout, Rotary, Source
from mnemos.activation.saving import dump, load
from mnemos.activation.shadow import lowrank, sources
from mnemos.activation.shadow.folding import shadow_of
from mnemos.activation.shadow.part import Shadow
from mnemos.base.errors import Invalid, NotFound
from mnemos.models.local.model import LocalModel

torch.set_num_threads(1)

LOSSLESS: dict[str, Any] = {"tokens": 24, "chunk": 4, "rank": 1.0, "outliers": 0.05, "local": 1, "flush": 8}
MODULES: list[Any] = []
"""Modules that layers of the tests refer to weakly."""


class Turns:
    """What a layer asks of a model's rotary module."""

    attention_scaling = 1.0

    def __init__(self, inv_freq: torch.Tensor) -> None:
        self.inv_freq = inv_freq


def shadow(memory: KVMemory, number: int = 0) -> Shadow:
    found = shadow_of(memory.managed[number])
    assert found is not None
    return found


def layer_of(keys: torch.Tensor, values: torch.Tensor, **options: Any) -> MemoryLayer:
    """A layer that has read these keys, given before rotation [B, G, n, d], and values, and has settled."""
    rotary = Rotary.default(keys.shape[-1])
    MODULES.append(module := Turns(rotary.frequencies[0]))
    made = MemoryLayer(policy("shadowkv", **options), 0, Source(weakref.ref(module), "", Layout(0, keys.shape[-1], False)))
    made.lazy_initialization(keys, values)
    give(made, keys, values)
    made.settle()
    return made


def give(layer: MemoryLayer, keys: torch.Tensor, values: torch.Tensor) -> None:
    """More tokens, as if a prompt had them."""
    positions = torch.arange(layer.seen, layer.seen + keys.shape[2]).expand(keys.shape[0], -1)
    layer.tail.append(layer.rotation().rotate(keys, positions[:, None]), values, positions)
    layer.seen += keys.shape[2]
    layer.settled = False


def latent(n: int, rank: int, width: int, seed: int = 0, noise: float = 0.0) -> torch.Tensor:
    """[1, n, width]: keys whose latent state of `rank` numbers drifts from token to token (autoregressive, .95), with white noise of that share."""
    generator = torch.Generator().manual_seed(seed)
    state, states = torch.randn(rank, generator=generator), []
    for _ in range(n):
        state = 0.95 * state + (1 - 0.95**2) ** 0.5 * torch.randn(rank, generator=generator)
        states.append(state)
    keys = torch.stack(states) @ torch.randn(rank, width, generator=generator) / rank**0.5
    return (keys + noise * torch.randn(n, width, generator=generator))[None]


def split(keys: torch.Tensor, heads: int) -> torch.Tensor:
    """[B, n, D] → [B, G, n, d]."""
    return keys.view(*keys.shape[:2], heads, -1).transpose(1, 2)


def lost(keys: torch.Tensor, rank: int) -> float:
    """The norm that the best `rank` directions leave out of [1, n, D], as a share."""
    vectors = lowrank.leading(lowrank.gram([keys]), rank)[1].float()
    return float((keys - keys @ vectors @ vectors.mT).norm() / keys.norm())


# Keys in few directions


def test_keys_are_of_low_rank_before_rotation_and_not_after() -> None:
    """The sheet's check 1, synthetic part: rank 40, D = 256, n = 4096, noise .02."""
    keys = latent(4096, 40, 256, noise=0.02)
    turned = Rotary.default(64).rotate(split(keys, 4), torch.arange(4096)).transpose(1, 2).reshape(1, 4096, 256)
    assert lost(keys, 40) <= 0.05
    assert lost(turned, 40) >= 0.5
    assert 0.4 <= lost(keys, 16) <= 0.75


def test_the_gram_matrix_gives_what_svd_gives_from_any_blocks() -> None:
    keys = latent(300, 12, 24, noise=0.1).double()
    left, values, right = torch.linalg.svd(keys[0], full_matrices=False)
    best = (left[:, :7] * values[:7]) @ right[:7]
    vectors = lowrank.leading(lowrank.gram(keys.split(37, 1)), 7)[1]
    assert torch.allclose((keys @ vectors @ vectors.mT)[0], best, atol=1e-9)
    assert torch.allclose(lowrank.leading(lowrank.gram([keys]), 7)[0][0].sqrt(), values[:7])


def test_keys_of_full_rank_come_back_at_their_places() -> None:
    keys, values = torch.randn(2, 2, 100, 8), torch.randn(2, 2, 100, 5)
    layer = layer_of(keys, values, **LOSSLESS)
    view = layer.view()
    for row in range(2):
        for head in range(2):
            order = view.positions[row, head]
            assert sorted(order[order >= 0].tolist()) == list(range(100))
    there = view.positions.clamp_min(0).long()
    turned = Rotary.default(8).rotate(keys, torch.arange(100))
    for stored, real in ((view.keys, turned), (view.values, values)):
        wanted = real.gather(2, there.unsqueeze(-1).expand(*there.shape, real.shape[-1]))
        assert float((stored - wanted)[view.positions >= 0].abs().max()) < 1e-5


def test_keys_of_true_rank_r_come_back_from_r_directions() -> None:
    keys = split(latent(400, 4, 32), 2)
    shadow_ = shadow_of(layer_of(keys, torch.randn(1, 2, 400, 16), tokens=24, rank=4 / 32, outliers=0.0))
    assert shadow_ is not None
    assert shadow_.rank == 4
    brought = shadow_.everything()
    turned = Rotary.default(16).rotate(keys, torch.arange(400))
    assert float((brought.keys - turned[:, :, : brought.length]).abs().max()) < 1e-5 * float(turned.abs().max()) * 4


def test_outliers_are_the_chunks_that_their_landmark_resembles_least() -> None:
    keys = torch.ones(1, 2, 96, 8) + 0.01 * torch.randn(1, 2, 96, 8)
    positions = torch.arange(96)
    keys[0, 1, 20] = -5  # before rotation, so that chunk 5 of head 1 only is unlike itself
    layer = layer_of(Rotary.default(8).unrotate(keys, positions), torch.randn(1, 2, 96, 8), tokens=24, chunk=4, outliers=1 / 23, local=1)
    kept = layer.parts[0].positions
    assert layer.parts[0].kind == "dense"
    assert kept[0, 1].tolist() == [20, 21, 22, 23]
    assert torch.allclose(layer.parts[0].dense()[0][0, 1], keys[0, 1, 20:24], atol=1e-5)
    found = shadow_of(layer)
    assert found is not None
    assert not bool(found.store.readable[0, 1, 5])
    assert int(found.store.readable[0].sum()) == 2 * (23 - 1)


# Equal to the full cache where it has to be


@pytest.mark.parametrize("made", ["llama", "qwen3"])
def test_where_all_chunks_are_picked_and_the_rank_is_full_it_is_the_full_cache(made: str) -> None:
    model = llama() if made == "llama" else _qwen()
    ids = tokens(2, 150)
    memory, whole = KVMemory.of(model, policy("shadowkv", **LOSSLESS)), KVMemory.of(model, Policy())
    first, right = run(model, memory, ids)[:, -1], run(model, whole, ids)[:, -1]
    memory.settle()
    for number in range(len(memory.managed)):
        shadow(memory, number).counts += 1000
    assert torch.equal(first, right)
    chosen, seen = greedy(model, memory, first, 7)
    expected, wanted = greedy(model, whole, right, 7)
    assert chosen == expected
    assert float((seen - wanted).abs().max()) <= 1e-4 * float(wanted.abs().max())


def _qwen() -> Any:
    torch.manual_seed(0)
    return Qwen3ForCausalLM(Qwen3Config(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                                        num_key_value_heads=2, head_dim=16, max_position_embeddings=1024, initializer_range=0.3, pad_token_id=0,
                                        eos_token_id=None, bos_token_id=None)).eval()  # fmt: skip


def test_short_prompts_stay_as_they_are() -> None:
    model = llama()
    memory = KVMemory.of(model, policy("shadowkv", tokens=64, chunk=4, local=2))
    run(model, memory, tokens(1, 75))
    memory.settle()
    assert not memory.managed[0].parts
    assert memory.managed[0].is_croppable
    run(model, memory, tokens(1, 5))
    memory.settle()
    assert shadow(memory).length == 72
    assert not memory.managed[0].is_croppable


def test_few_numbers_of_keys_make_full_rank() -> None:
    found = shadow_of(layer_of(torch.randn(1, 1, 100, 4), torch.randn(1, 1, 100, 4), tokens=16, rank=0.01))
    assert found is not None
    assert found.rank == 1
    found = shadow_of(layer_of(torch.randn(1, 1, 100, 4), torch.randn(1, 1, 100, 4), tokens=16, rank=1.0))
    assert found is not None
    assert found.rank == 4


# Picking and bringing


@pytest.mark.parametrize("bits", [None, 4])
def test_what_is_kept_from_the_step_before_has_the_same_bits_as_what_is_brought(bits: int | None) -> None:
    model, ids = llama(), tokens(2, 300)
    outcomes = []
    for reuse in (True, False):
        memory = KVMemory.of(model, policy("shadowkv", tokens=64, chunk=4, rank=0.5, outliers=0.02, flush=16, reuse=reuse, bits=bits))
        first = run(model, memory, ids)[:, -1]
        outcomes.append((*greedy(model, memory, first, 40), [shadow(memory, number).statistics for number in range(2)]))
    (one, seen, kept), (two, others, brought) = outcomes
    assert one == two
    assert torch.equal(seen, others)
    assert all(0.1 < statistics.hit_rate < 1 for statistics in kept)
    assert all(statistics.kept == 0 for statistics in brought)
    assert sum(each.copied for each in kept) == round(sum(each.copied * (1 - mine.hit_rate) for each, mine in zip(brought, kept, strict=True)))


def test_chunks_are_picked_by_the_softmax_of_landmarks_the_largest_of_the_heads_that_share_them() -> None:
    layer = layer_of(torch.randn(1, 2, 200, 8), torch.randn(1, 2, 200, 8), tokens=24, chunk=4, rank=1.0, local=1, outliers=0.05)
    found = shadow_of(layer)
    assert found is not None
    queries = torch.randn(1, 2, 3, 1, 8)
    opened = found.open(queries, 0.35)
    for head in range(2):
        candidates = found.store.readable[0, head].nonzero().squeeze(1)
        shares = (queries[0, head, :, 0] @ found.store.summaries[0, head, candidates].T * 0.35).softmax(-1).amax(0)
        expected = candidates[shares.argsort(descending=True)[:6]].sort().values
        assert opened.positions[0, head].tolist() == found.places[0, expected].flatten().tolist()
        turned = Rotary.default(8)
        assert torch.allclose(found.store.summaries[0, head, 3], opened.keys.new_tensor(_landmark(found, head, 3, turned)), atol=1e-5)


def _landmark(found: Shadow, head: int, chunk: int, rotary: Rotary) -> list[float]:
    plain = found.coefficients[0][0, chunk] @ found.basis[0, head]
    return rotary.rotate(plain, found.places[0, chunk]).mean(0).tolist()


def test_each_token_of_a_turn_picks_for_itself() -> None:
    model = llama()
    memory = KVMemory.of(model, policy("shadowkv", tokens=16, chunk=4, rank=0.5, outliers=0.02, flush=100))
    run(model, memory, tokens(2, 200))
    memory.settle()
    alone, turn = memory.fork(), tokens(2, 9, seed=4)
    together = run(model, memory, turn)
    one_by_one = torch.cat([run(model, alone, turn[:, place : place + 1]) for place in range(9)], 1)
    assert torch.allclose(together, one_by_one, atol=2e-4)


def test_a_long_turn_sees_everything() -> None:
    model = llama()
    memory, whole = KVMemory.of(model, policy("shadowkv", **LOSSLESS, exact_from=10)), KVMemory.of(model, Policy())
    for cache in (memory, whole):
        run(model, cache, tokens(1, 150))
    memory.settle()
    turn = tokens(1, 10, seed=3)
    long = run(model, memory.fork(), turn)
    assert torch.allclose(long, run(model, whole.fork(), turn), atol=1e-3)
    short = run(model, memory, turn[:, :9])
    assert not torch.allclose(short, run(model, whole, turn[:, :9]), atol=1e-1)


# Growth


def test_generated_tokens_are_folded_in_and_nothing_is_lost() -> None:
    model = llama()
    memory, whole = KVMemory.of(model, policy("shadowkv", **LOSSLESS)), KVMemory.of(model, Policy())
    first = run(model, memory, tokens(1, 100))[:, -1]
    chosen, _ = greedy(model, memory, first, 60)
    greedy_ids = torch.tensor(chosen)
    run(model, whole, torch.cat([tokens(1, 100), greedy_ids], 1))
    assert memory.held() == whole.held()
    assert memory.managed[0].tail.length <= 4 + 4 + 8
    assert [part.kind for part in memory.managed[0].parts] == ["dense", "shadow"]
    view, real = memory.managed[0].view(), whole.managed[0].view()
    order = view.positions.clamp_min(0).long().unsqueeze(-1).expand_as(view.keys)
    there = view.positions >= 0
    assert float((view.keys - real.keys.gather(2, order))[there].abs().max()) < 1e-4  # the first layer's depend on the tokens alone
    assert float((view.values - real.values.gather(2, order))[there].abs().max()) < 1e-5


def test_tokens_of_other_directions_enlarge_the_basis_or_are_kept() -> None:
    keys, others = split(latent(400, 4, 32), 2), split(latent(400, 4, 32, seed=9), 2)
    values = torch.randn(1, 2, 400, 16)
    turned = Rotary.default(16).rotate(others, torch.arange(400, 800))
    for most, kind in ((0.5, "enlarged"), (0.0, "kept")):
        layer = layer_of(keys, values, tokens=24, rank=4 / 32, most_rank=most, outliers=0.0)
        before = layer.nbytes().near
        give(layer, others, values)
        layer.settle()
        found = shadow_of(layer)
        assert found is not None
        view = layer.view()
        late = (view.positions >= 400) & (view.positions < 768)
        place = (view.positions - 400).clamp(0, 399).long().unsqueeze(-1).expand_as(view.keys)
        assert float((view.keys - turned.gather(2, place))[late].norm() / view.keys[late].norm()) <= 0.1
        if kind == "enlarged":
            assert found.rank == 8
            assert [piece.shape[-1] for piece in found.coefficients] == [4, 8]
            assert layer.nbytes().near < 3.5 * before
            first, last = torch.tensor([0]), torch.tensor([found.store.count - 1])
            assert found.keys(first, first, first).shape == found.keys(first, first, last).shape == (1, 8 * 16)  # each of one piece alone
            assert found.strays is not None
            assert layer.nbytes().far == found.store.nbytes().far + 32 * 32 * 4 + found.places.numel() * 4
        else:
            assert found.rank == 4
            assert layer.parts[0].kind == "dense"
            assert layer.parts[0].length >= 360
        like = split(latent(400, 4, 32), 2)  # what the basis holds already neither enlarges it nor is kept
        rank = found.rank
        give(layer, like, values)
        layer.settle()
        found = shadow_of(layer)
        assert found is not None
        assert found.rank == rank
        assert kind == "enlarged" or layer.parts[0].length == 400  # the others, whose last chunks were the newest before


def test_rows_grow_as_if_alone_though_one_of_them_begins_later() -> None:
    model = llama()
    make: Any = lambda: KVMemory.of(model, policy("shadowkv", tokens=24, chunk=4, rank=0.5, local=1, flush=4, outliers=0.05))  # noqa: E731
    short, long = tokens(1, 25, seed=1), tokens(1, 90, seed=2)
    ids = torch.cat([torch.cat([torch.zeros(1, 65, dtype=torch.long), short], 1), long])
    mask = torch.ones(2, 90, dtype=torch.long)
    mask[0, :65] = 0
    memory = make()
    chosen, seen = greedy(model, memory, run(model, memory, ids, mask=mask)[:, -1], 30, mask)
    for row, alone in enumerate((short, long)):
        memory = make()
        expected, right = greedy(model, memory, run(model, memory, alone)[:, -1], 30)
        assert shadow_of(memory.managed[0]) is not None
        assert chosen[row] == expected[0]
        assert torch.allclose(seen[row], right[0], atol=1e-3)


# As part of everything else


def test_generate_of_transformers_and_our_model_give_the_same() -> None:
    model, ids = llama(), tokens(2, 120)
    options = {"tokens": 24, "chunk": 4, "rank": 0.5, "local": 1, "flush": 8, "outliers": 0.05}
    memory = KVMemory.of(model, policy("shadowkv", **options))
    expected, _ = greedy(model, memory, run(model, memory, ids)[:, -1], 20)
    generated = model.generate(ids, cache=KVMemory.of(model, policy("shadowkv", **options)), max_new_tokens=20, do_sample=False)
    assert generated[:, 120:].tolist() == expected
    ours = LocalModel(model)
    again = ours.generate(ids.tolist(), KVMemory.of(model, policy("shadowkv", **options)), max_tokens=20).run()
    assert [list(row.tokens) for row in again] == expected


def test_layers_that_look_back_only_so_far_keep_what_they_see() -> None:
    torch.manual_seed(0)
    config = Gemma3TextConfig(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, head_dim=8,
                              num_key_value_heads=2, layer_types=["sliding_attention", "full_attention"], sliding_window=16, initializer_range=0.3,
                              pad_token_id=0, eos_token_id=None, bos_token_id=None, max_position_embeddings=512)  # fmt: skip
    model = Gemma3ForCausalLM(config).eval()
    memory, whole = KVMemory.of(model, policy("shadowkv", **LOSSLESS)), KVMemory.of(model, Policy())
    assert len(memory.managed) == 1
    first, right = run(model, memory, tokens(1, 100))[:, -1], run(model, whole, tokens(1, 100))[:, -1]
    memory.settle()
    shadow(memory).counts += 1000
    _, seen = greedy(model, memory, first, 6)
    _, wanted = greedy(model, whole, right, 6)
    assert torch.allclose(seen, wanted, atol=1e-3)


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_tokens_that_were_turned_by_other_frequencies_come_back_as_they_were(kind: str) -> None:
    more = {"factor": 2.0} if kind == "dynamic" else {"short_factor": [1.0] * 4, "long_factor": [3.0] * 4, "original_max_position_embeddings": 64}
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3, pad_token_id=0, eos_token_id=None,
                         bos_token_id=None, rope_parameters={"rope_type": kind, "rope_theta": 100.0, **more})  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    memory, whole = KVMemory.of(model, policy("shadowkv", **LOSSLESS)), KVMemory.of(model, Policy())
    for cache in (memory, whole):
        run(model, cache, tokens(1, 150), chunk=40)
    memory.settle()
    assert len(shadow(memory).rotary.frequencies) > 1
    loaded = load(model, dump(memory, "it"), "it", policy("shadowkv", **LOSSLESS))
    for each in (memory, loaded):
        view, real = each.managed[0].view(), whole.managed[0].view()
        order = view.positions.clamp_min(0).long().unsqueeze(-1).expand_as(view.keys)
        assert float((view.keys - real.keys.gather(2, order))[view.positions >= 0].abs().max()) < 1e-4


def test_values_on_disk_give_the_same_bits_and_leave_nothing(tmp_path: Path) -> None:
    model, ids = llama(), tokens(1, 150)
    outcomes = []
    for folder in (None, str(tmp_path)):
        memory = KVMemory.of(model, policy("shadowkv", **LOSSLESS, folder=folder))
        outcomes.append(greedy(model, memory, run(model, memory, ids)[:, -1], 30)[1])
        assert memory.nbytes().far > 0
    assert torch.equal(*outcomes)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bits", [None, 4])
def test_a_saved_memory_goes_on_after_growth_and_a_turn(bits: int | None) -> None:
    model = llama()
    small = policy("shadowkv", tokens=16, chunk=4, rank=0.25, most_rank=0.75, outliers=0.05, local=1, flush=4, residual=0.01, bits=bits)
    memory = KVMemory.of(model, small)
    greedy(model, memory, run(model, memory, tokens(2, 100))[:, -1], 20)
    run(model, memory, tokens(2, 30, seed=2))
    memory.settle()
    loaded = load(model, dump(memory, "it"), "it", small)
    assert len(shadow(loaded).coefficients) == len(shadow(memory).coefficients) > 1
    last = tokens(2, 1, seed=8)
    assert torch.equal(greedy(model, memory, run(model, memory, last)[:, -1], 20)[1], greedy(model, loaded, run(model, loaded, last)[:, -1], 20)[1])


# Whose tokens


def test_a_source_is_found_and_what_it_held_is_overwritten_everywhere() -> None:
    model = llama()
    memory = KVMemory.of(model, policy("shadowkv", tokens=24, chunk=4, rank=1.0, outliers=0.3, local=2, flush=4))
    run(model, memory, tokens(2, 100))
    memory.settle()
    sources.label(memory, "letter", 10, 31, row=1)
    sources.label(memory, "letter", 90, 99, row=1)  # folded, and among the newest
    sources.label(memory, "note", 40, 50)
    assert sources.chunks_of(memory, "letter")[0] == [*((1, chunk) for chunk in range(2, 8)), (1, 22)]
    before = memory.held()
    fork = memory.fork()
    assert sources.forget(memory, "letter") == 30
    gone = {*range(10, 31), *range(90, 99)}
    for number, layer in enumerate(memory.managed):
        assert layer.held() == [before[number][0], [head - gone for head in before[number][1]]]
        found = shadow(memory, number)
        values = found.store.whole().view(2, 2, -1, 4, 8)
        places = torch.arange(values.shape[2] * 4).view(-1, 4)
        for place in gone:
            chunk, inside = place // 4, place % 4
            if chunk < values.shape[2]:
                assert int(places[chunk, inside]) == place
                assert bool((values[1, :, chunk, inside] == 0).all())
                assert bool((found.coefficients[0][1, chunk, inside] == 0).all())
                assert bool((values[0, :, chunk, inside] != 0).all())
        keys, _ = found.dense()
        chunk = keys.view(2, 2, -1, 4, 8)[1, :, 2]  # of tokens 8 to 11 two are left
        assert torch.allclose(found.store.summaries[1, :, 2], chunk[:, :2].mean(1), atol=1e-5)
        for part in (layer.parts[0], layer.tail.part()):
            kept, _ = part.dense()
            assert bool((kept[(part.positions < 0).expand(kept.shape[:3])] == 0).all())
    assert fork.held() == before
    with pytest.raises(NotFound, match=r"'letter'; labelled are 'note'"):
        sources.forget(memory, "letter")
    assert sources.chunks_of(load(model, dump(memory, "it"), "it", memory.policy), "note")[0] == [(0, 10), (0, 11), (0, 12)]
    greedy(model, memory, run(model, memory, tokens(2, 1))[:, -1], 10)


def test_in_few_bits_what_a_source_held_is_zeros_and_the_rest_stays_to_the_bit() -> None:
    model = llama()
    memory = KVMemory.of(model, policy("shadowkv", tokens=24, chunk=4, rank=0.5, outliers=0.1, local=2, flush=4, bits=4))
    run(model, memory, tokens(2, 100))
    memory.settle()
    before = shadow(memory)
    sources.label(memory, "letter", 10, 31, row=1)
    sources.forget(memory, "letter")
    found, places = shadow(memory), torch.arange(before.length).view(-1, 4)
    gone = (places >= 10) & (places < 31)
    (one,), (other,) = before.coefficients, found.coefficients
    assert isinstance(one, Codes)
    assert isinstance(other, Codes)
    assert bool((other.tensor()[1][gone] == 0).all())
    for name, tensor in other.tensors().items():
        assert bool((tensor[1][gone] == 0).all()), name
        assert torch.equal(tensor[1][~gone], one.tensors()[name][1][~gone])
        assert torch.equal(tensor[0], one.tensors()[name][0])
    whole = gone.all(-1)
    assert not bool(found.store.readable[1, :, whole].any())
    written = found.store.summaries[1, :, whole]
    assert torch.equal(written, written[:, :1].expand_as(written))  # all the same
    untouched = ~gone.any(-1)
    assert torch.equal(found.store.summaries[1, :, untouched], before.store.summaries[1, :, untouched])
    greedy(model, memory, run(model, memory, tokens(2, 1))[:, -1], 10)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_in_few_bits_keys_are_what_their_codes_say_and_the_bytes_are_theirs(bits: int) -> None:
    keys, values = split(latent(400, 16, 64), 2), torch.randn(1, 2, 400, 32)
    options: dict[str, Any] = {"tokens": 24, "chunk": 4, "rank": 0.25, "outliers": 0.0, "local": 1}
    plain, few = (shadow_of(layer_of(keys, values, **options, bits=each)) for each in (None, bits))
    assert plain is not None
    assert few is not None
    left, right = (found.everything().keys for found in (plain, few))
    assert float((left - right).norm() / left.norm()) < {2: 0.5, 4: 0.1, 8: 0.01}[bits]
    n, chunks = few.length, few.length // 4
    saved = n * 16 * 4 - n * (16 * bits // 8 + 1)  # coefficients: codes and a scale of each token
    saved += chunks * 64 * 4 - chunks * 64 * bits // 8 - 2 * 64 * 4 - 8  # landmarks: codes, of all together means, spreads, how many, from which on
    assert plain.nbytes().near - few.nbytes().near == saved + 2 * 16 * (32 * 4 - 32 - 4)  # directions have 8 bits


def test_in_few_bits_a_basis_grows_and_what_was_kept_keeps_its_bits() -> None:
    keys, others = split(latent(400, 4, 32), 2), split(latent(400, 4, 32, seed=9), 2)
    values = torch.randn(1, 2, 400, 16)
    layer = layer_of(keys, values, tokens=24, rank=4 / 32, most_rank=0.5, outliers=0.0, bits=8)
    old = shadow_of(layer)
    assert old is not None
    before = old.everything().keys
    give(layer, others, values)
    layer.settle()
    found = shadow_of(layer)
    assert found is not None
    assert (old.rank, found.rank) == (4, 8)
    after = found.everything().keys
    assert torch.equal(after[:, :, : before.shape[2]], before)
    turned = Rotary.default(16).rotate(others, torch.arange(400, 800))
    late = found.positions[0, 0] >= 400
    place = found.positions[0, 0][late] - 400
    assert float((after[:, :, late] - turned[:, :, place]).norm() / turned[:, :, place].norm()) < 0.1


def test_without_reuse_nothing_of_a_step_stays() -> None:
    near = []
    for reuse in (True, False):
        layer = layer_of(torch.randn(1, 2, 400, 16), torch.randn(1, 2, 400, 16), tokens=24, reuse=reuse)
        before = layer.nbytes().near
        layer.attend(*(torch.randn(1, heads, 1, 16) for heads in (4, 2, 2)), None, 0.25, None, None)
        tail = layer.tail.nbytes().near
        near.append(layer.nbytes().near - before - tail)
    assert near[0] - near[1] == 2 * 3 * (8 * 2 * 16 * 4 + 8)  # of each head 3 chunks of 8 keys and values, and which they are


def test_what_is_hidden_has_no_influence_at_all() -> None:
    model = llama()
    memory = KVMemory.of(model, policy("shadowkv", tokens=40, chunk=4, rank=1.0, outliers=0.1, local=1))
    run(model, memory, tokens(1, 100))
    memory.settle()
    sources.label(memory, "secret", 12, 30)
    reader = memory.fork()
    sources.hide(reader, "secret")
    outcomes = []
    for other in (0.0, 7.0):
        mine = reader.fork()
        for layer in mine.managed:
            found = shadow_of(layer)
            assert found is not None
            for piece in (found.coefficients[0][0, 3:8], found.store.payloads[0][:, :, 3:8], found.store.summaries[:, :, 3:8]):
                piece += other
        outcomes.append(greedy(model, mine, run(model, mine, tokens(1, 3))[:, -1], 10)[1])
    assert torch.equal(*outcomes)
    assert all(not head & set(range(12, 30)) for layer in reader.held() for row in layer for head in row)
    assert any(head & set(range(12, 30)) for layer in memory.held() for row in layer for head in row)


def test_labels_go_with_the_rows_of_a_batch() -> None:
    model = llama()
    memory = KVMemory.of(model, policy("shadowkv", **LOSSLESS))
    with pytest.raises(Invalid, match="no row 0"):
        sources.label(memory, "a", 0, 4)
    run(model, memory, tokens(2, 100))
    memory.settle()
    sources.label(memory, "a", 0, 4, row=1)
    with pytest.raises(Invalid, match="give the first"):
        sources.label(memory, "a", 4, 4)
    memory.reorder_cache(torch.tensor([1, 1, 0]))
    assert sources.chunks_of(memory, "a")[0] == [(0, 0), (1, 0)]


def test_options_that_mean_nothing_are_refused() -> None:
    for options in ({"chunk": 0}, {"rank": 0.0}, {"rank": 1.5}, {"outliers": 1.0}, {"flush": 0}, {"local": -1}, {"residual": 0.0}, {"exact_from": 1},
                    {"bits": 3}):  # fmt: skip
        with pytest.raises(Invalid, match="shadowkv"):
            policy("shadowkv", **options)
    assert policy("shadowkv").describe() == policy("shadowkv", share=1 / 64).describe()
    assert policy("shadowkv", rank=0.5).describe() != policy("shadowkv").describe()
    assert isinstance(policy("shadowkv"), ShadowKV)
    assert ShadowKV().budget == Budget(share=1 / 64)


def test_directions_in_which_keys_hardly_go_do_not_spoil_the_others_in_few_bits() -> None:
    keys = split(latent(400, 20, 64, seed=5, noise=1e-5), 2)  # 44 of 64 directions are noise
    layer = layer_of(keys, keys, tokens=24, chunk=1, rank=1.0, outliers=0.0, bits=4)
    part = shadow_of(layer)
    assert part is not None
    stored = part.dense()[0]
    wanted = Rotary.default(32).rotate(keys, torch.arange(400))[:, :, : stored.shape[2]]
    assert float((stored - wanted).norm() / wanted.norm()) < 0.2
