"""The arena as a cache of transformers: what models say with it is what they say with their own cache, bit for bit."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from transformers import (
    DynamicCache,
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3NextConfig,
)

from mnemos.activation.arena.arena import Arena
from mnemos.activation.arena.layers import ArenaCache, arena_for
from mnemos.activation.arena.quotas import OverQuota, Quotas
from mnemos.base.errors import Invalid, StoreFull

torch.set_num_threads(1)

VOCABULARY = 97


def _make(model: type, config: type, **more: object) -> PreTrainedModel:
    torch.manual_seed(0)
    shape = {
        "vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": None, "pad_token_id": 0,
        "initializer_range": 0.2,
    }  # fmt: skip
    made: PreTrainedModel = model(config(**shape | more)).eval()
    return made


FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: _make(LlamaForCausalLM, LlamaConfig),
    "llama, a key for each query": lambda: _make(LlamaForCausalLM, LlamaConfig, num_key_value_heads=4),
    "qwen2": lambda: _make(Qwen2ForCausalLM, Qwen2Config),
    "qwen3": lambda: _make(Qwen3ForCausalLM, Qwen3Config, head_dim=32),
    "mistral with a window": lambda: _make(MistralForCausalLM, MistralConfig, sliding_window=8),
    "phi3": lambda: _make(Phi3ForCausalLM, Phi3Config),
    "gemma2": lambda: _make(Gemma2ForCausalLM, Gemma2Config, head_dim=16, sliding_window=8, attn_implementation="eager"),
}


@pytest.fixture(scope="module")
def llama() -> PreTrainedModel:
    return FAMILIES["llama"]()


@pytest.fixture
def arena(llama: PreTrainedModel) -> Iterator[Arena]:
    with arena_for(llama.config, max_batch=8, max_ctx=256, page=4096) as made:
        yield made


def _ids(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(2, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))


def _padded(rows: int, length: int) -> dict[str, torch.Tensor]:
    ids, mask = _ids(rows, length), torch.ones(rows, length, dtype=torch.long)
    for row in range(rows - 1):
        mask[row, : 3 + 4 * row] = 0
    ids[mask == 0] = 0
    return {"input_ids": ids, "attention_mask": mask}


def _generated(model: PreTrainedModel, cache: object, tokens: int = 12, **inputs: object) -> tuple[torch.Tensor, torch.Tensor]:
    found = model.generate(max_new_tokens=tokens, do_sample=False, cache=cache, return_dict_in_generate=True, output_logits=True, **inputs)
    return found.sequences, torch.stack(found.logits)


@pytest.mark.parametrize("megacache", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_generates_the_same_bits(family: str, megacache: bool) -> None:
    model = FAMILIES[family]()
    with arena_for(model.config, 4, 128, page=4096, megacache=megacache) as arena:
        for inputs in ({"input_ids": _ids(3, 17)}, _padded(3, 17)):
            cache = ArenaCache(arena, model.config)
            expected, logits = _generated(model, DynamicCache(config=model.config), **inputs)
            found, ours = _generated(model, cache, **inputs)
            assert torch.equal(found, expected)
            assert torch.equal(ours, logits)
            assert cache.get_seq_length() == 17 + 12 - 1
            cache.release()


def test_a_batch_equals_one_by_one(llama: PreTrainedModel, arena: Arena) -> None:
    together, _ = _generated(llama, ArenaCache(arena), input_ids=_ids(3, 20))
    for row in range(3):
        alone, _ = _generated(llama, ArenaCache(arena), input_ids=_ids(3, 20)[row : row + 1])
        assert torch.equal(alone[0], together[row])


def test_beams_share_pages_and_find_the_same(llama: PreTrainedModel, arena: Arena) -> None:
    options = {"max_new_tokens": 40, "num_beams": 3, "do_sample": False}
    expected = llama.generate(_ids(2, 40), **options)
    cache = ArenaCache(arena)
    assert torch.equal(llama.generate(_ids(2, 40), cache=cache, **options), expected)
    slots = list(cache.lease.slots)
    assert len({arena.blocks(slot)[0] for slot in slots}) == 2  # of three beams each, all from one prompt
    assert arena.held_bytes("") < len(slots) * arena.layout.needed(79) * arena.layout.block_bytes


def test_turns_go_on_where_the_last_one_ended(llama: PreTrainedModel, arena: Arena) -> None:
    ours, theirs = ArenaCache(arena), DynamicCache(config=llama.config)
    text = _ids(2, 10)
    for turn in range(3):
        expected, logits = _generated(llama, theirs, input_ids=text)
        found, same = _generated(llama, ours, input_ids=text)
        assert torch.equal(found, expected)
        assert torch.equal(same, logits)
        text = torch.cat([found, _ids(2, 5, seed=turn)], 1)


def test_a_prompt_in_chunks_equals_it_at_once(llama: PreTrainedModel, arena: Arena) -> None:
    ids = _ids(2, 60)
    whole, pieces = ArenaCache(arena), ArenaCache(arena)
    with torch.no_grad():
        expected = llama(ids, cache=whole).logits
        found = torch.cat([llama(part, cache=pieces).logits for part in ids.split(13, 1)], 1)
    assert torch.allclose(found, expected, atol=1e-4)
    for one, other in zip(whole.layers, pieces.layers, strict=True):
        assert torch.allclose(one.keys, other.keys, atol=1e-5)


def test_what_update_gives_is_a_view_of_the_arena(llama: PreTrainedModel, arena: Arena) -> None:
    cache = ArenaCache(arena)
    states = torch.randn(2, 2, 5, 16)
    keys, _ = cache.update(states, states, 0)
    again, _ = cache.update(states, states, 0)
    assert keys.data_ptr() == again.data_ptr()
    assert arena.span.base <= keys.data_ptr() < arena.span.base + arena.span.nbytes
    assert again.shape == (2, 2, 10, 16)
    assert not again.is_contiguous()
    assert torch.equal(again[:, :, 5:], states)
    keys.zero_()
    assert not again[:, :, :5].any()


def test_cropping_takes_tokens_and_leaves_pages(llama: PreTrainedModel, arena: Arena) -> None:
    cache, plain = ArenaCache(arena), DynamicCache(config=llama.config)
    with torch.no_grad():
        for each in (cache, plain):
            llama(_ids(1, 100), cache=each)
            each.crop(-70)
        slot = cache.lease.slots[0]
        assert arena.lens[slot] == 30
        assert arena.mapped(slot) >= 100
        assert torch.equal(llama(_ids(1, 9, 1), cache=cache).logits, llama(_ids(1, 9, 1), cache=plain).logits)
    with pytest.raises(ValueError, match="negative"):
        cache.crop(3)


def test_reset_keeps_slots_and_pages(llama: PreTrainedModel, arena: Arena) -> None:
    cache = ArenaCache(arena)
    first, _ = _generated(llama, cache, input_ids=_ids(2, 40))
    slots, blocks = cache.lease.slots, [arena.blocks(slot) for slot in cache.lease.slots]
    cache.reset()
    assert cache.get_seq_length() == 0
    assert arena.held_bytes("") == 0
    again, _ = _generated(llama, cache, input_ids=_ids(2, 40))
    assert torch.equal(first, again)
    assert (cache.lease.slots, [arena.blocks(slot) for slot in cache.lease.slots]) == (slots, blocks)


@pytest.mark.parametrize("order", [[1, 0, 2], [2, 2, 0], [0, 0, 0], [1, 2, 0]])
@pytest.mark.parametrize("length", [31, 32, 90])
def test_reordering_is_that_of_a_plain_cache(order: list[int], length: int, llama: PreTrainedModel, arena: Arena) -> None:
    ours, theirs = ArenaCache(arena), DynamicCache(config=llama.config)
    with torch.no_grad():
        for cache in (ours, theirs):
            llama(_ids(3, length), cache=cache)
            cache.reorder_cache(torch.tensor(order))
        for token in range(5):
            step = _ids(3, 1, token)
            assert torch.equal(llama(step, cache=ours).logits, llama(step, cache=theirs).logits)


def test_one_layer_alone_is_reordered_by_copying(arena: Arena) -> None:
    cache = ArenaCache(arena)
    states = torch.randn(3, 2, 70, 16)
    for layer in range(2):
        cache.update(states, states, layer)
    twin = cache.fork()
    cache.layers[0].reorder_cache(torch.tensor([2, 0, 0]))
    assert torch.equal(cache.layers[0].keys, states[[2, 0, 0]])
    assert torch.equal(cache.layers[1].keys, states)
    assert all(torch.equal(layer.values, states) for layer in twin.layers)


def test_rows_of_a_batch_are_picked_and_repeated(llama: PreTrainedModel, arena: Arena) -> None:
    ours, theirs = ArenaCache(arena), DynamicCache(config=llama.config)
    with torch.no_grad():
        for cache in (ours, theirs):
            llama(_ids(2, 40), cache=cache)
            cache.batch_repeat_interleave(2)
            cache.batch_select_indices(torch.tensor([3, 0, 2]))
        assert torch.equal(llama(_ids(3, 2), cache=ours).logits, llama(_ids(3, 2), cache=theirs).logits)
    assert sum(owner is not None for owner in arena.owners) == 3


def test_forks_share_the_past_and_nothing_that_comes_after(llama: PreTrainedModel, arena: Arena) -> None:
    root = ArenaCache(arena)
    with torch.no_grad():
        llama(_ids(1, 100), cache=root)
        alone = arena.held_bytes("")
        twins = [root.fork() for _ in range(4)]
        assert arena.held_bytes("") == alone + 4 * arena.layout.block_bytes  # the last page of each
        for number, cache in enumerate([root, *twins]):
            plain = DynamicCache(config=llama.config)
            llama(_ids(1, 100), cache=plain)
            for token in range(40):
                step = _ids(1, 1, 100 * number + token)
                assert torch.equal(llama(step, cache=cache).logits, llama(step, cache=plain).logits)
        twins[0].crop(-130)
        llama(_ids(1, 50, 9), cache=twins[0])  # writes where pages were shared
        plain = DynamicCache(config=llama.config)
        llama(torch.cat([_ids(1, 100)[:, :10], _ids(1, 50, 9)], 1), cache=plain)
        assert torch.allclose(twins[0].layers[1].keys, plain.layers[1].keys, atol=1e-5)
        llama(_ids(1, 100), cache=(fresh := DynamicCache(config=llama.config)))
        assert torch.equal(twins[1].layers[1].keys[:, :, :100], fresh.layers[1].keys)


def test_slots_come_back_when_a_cache_is_gone(arena: Arena) -> None:
    cache = ArenaCache(arena, namespace="a")
    cache.update(torch.randn(3, 2, 50, 16), torch.randn(3, 2, 50, 16), 0)
    assert arena.owners[:3] == ("a",) * 3
    del cache
    gc.collect()
    assert arena.num_free_blocks() == arena.pool_blocks
    assert set(arena.owners) == {None}


def test_what_does_not_fit_is_told_before_anything_is_written(llama: PreTrainedModel) -> None:
    with arena_for(llama.config, 2, 256, page=4096, quotas=Quotas({"a": 2 * 4 * 4096})) as arena:
        cache = ArenaCache(arena, namespace="a")
        with torch.no_grad():
            llama(_ids(1, 64), cache=cache)
            with pytest.raises(OverQuota, match="namespace 'a'"):
                llama(_ids(1, 1), cache=cache)
            assert cache.get_seq_length() == 64
            cache.crop(-1)
            llama(_ids(1, 1), cache=cache)
    with arena_for(llama.config, 2, 256, page=4096) as arena, pytest.raises(StoreFull, match="no 3 side by side"), torch.no_grad():
        llama(_ids(3, 4), cache=ArenaCache(arena))
    with arena_for(llama.config, 2, 20, page=4096) as arena, pytest.raises(Invalid, match="max_ctx"), torch.no_grad():
        llama(_ids(1, 21), cache=ArenaCache(arena))


def test_another_shape_type_or_batch_is_refused(arena: Arena) -> None:
    for states in (torch.randn(1, 3, 2, 16), torch.randn(1, 2, 2, 8), torch.randn(1, 2, 2, 16).double()):
        with pytest.raises(Invalid, match="the arena is made for 2 of 16"):
            ArenaCache(arena).update(states, states, 0)
    cache = ArenaCache(arena)
    cache.update(torch.randn(2, 2, 2, 16), torch.randn(2, 2, 2, 16), 0)
    with pytest.raises(Invalid, match="holds 2 sequences, and 1 come"):
        cache.update(torch.randn(1, 2, 2, 16), torch.randn(1, 2, 2, 16), 0)


def test_layers_without_keys_of_every_token_are_refused() -> None:
    with pytest.raises(Invalid, match="linear_attention"):
        arena_for(Qwen3NextConfig(num_hidden_layers=4), 1, 16)


def test_half_precision_is_the_same_bits() -> None:
    model = FAMILIES["llama"]().to(torch.bfloat16)
    with arena_for(model.config, 2, 64, torch.bfloat16, page=4096) as arena:
        expected, logits = _generated(model, DynamicCache(config=model.config), **_padded(2, 12))
        found, ours = _generated(model, ArenaCache(arena), **_padded(2, 12))
    assert torch.equal(found, expected)
    assert torch.equal(ours, logits)


def test_caches_of_one_arena_in_several_threads(llama: PreTrainedModel, arena: Arena) -> None:
    expected = [_generated(llama, DynamicCache(config=llama.config), 25, input_ids=_ids(2, 20, seed))[0] for seed in range(4)]
    found: dict[int, torch.Tensor] = {}

    def work(seed: int) -> None:
        for _ in range(3):
            cache = ArenaCache(arena, namespace=str(seed))
            found[seed] = _generated(llama, cache, 25, input_ids=_ids(2, 20, seed))[0]
            cache.release()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(torch.equal(found[seed], expected[seed]) for seed in found)
    assert arena.num_free_blocks() == arena.pool_blocks
