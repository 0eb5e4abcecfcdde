"""The compressed memory against full attention, against reading by hand, and against itself in other chunks, batches and after a restart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    Gemma2Config,
    LlamaForCausalLM,
    MistralConfig,
    Phi3Config,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from activation.beacon import by_hand
from activation.tiny_llama import greedy, llama, run, tokens
from mnemos.activation.beacon import saving
from mnemos.activation.beacon.beacons import Beacons
from mnemos.activation.beacon.layout import Cursor
from mnemos.activation.beacon.memory import BeaconMemory, Snapshot
from mnemos.activation.beacon.windows import Windows, smallest_ratio
from mnemos.base.errors import Invalid
from mnemos.models.local.model import LocalModel

torch.set_num_threads(1)
KINDS = {
    "interleaved": Windows(16, 4),
    "appended": Windows(16, 2, place="appended"),
    "segments": Windows(16, 4, place="appended", coverage="segment"),
    "segments, blind": Windows(16, 4, place="appended", coverage="segment", blind=True),
    "steps": Windows(16, 8, place="appended", coverage="step"),
    "eager": Windows(16, 4, eager=True),
    "ratios in turn, sinks": Windows(16, (2, None, 8), sinks=3),
    "ratios by chance": Windows(8, (2, 4, None), random=True, seed=3),
}


@pytest.fixture
def model() -> LlamaForCausalLM:
    return llama()


@pytest.fixture
def beacons(model: LlamaForCausalLM) -> Iterator[Beacons]:
    out = Beacons(model)
    shaken(out)
    yield out
    out.remove()


def shaken(beacons: Beacons) -> None:
    """Makes the projections of memory tokens others than the model's."""
    with torch.no_grad():
        for number, weight in enumerate(beacons.parameters()):
            weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(number))


def read(model: LlamaForCausalLM, memory: object, ids: torch.Tensor) -> object:
    run(model, memory, ids)
    return memory


@pytest.mark.parametrize("windows", [Windows(16, None), Windows(16, None, sinks=5), Windows(200, 4), Windows(200, 4, place="appended")])
def test_without_compression_and_in_an_unfinished_window_it_is_full_attention(model: LlamaForCausalLM, beacons: Beacons, windows: Windows) -> None:
    ids = tokens(2, 70)
    with torch.no_grad():
        full = model(ids, use_cache=False).logits
    right, _ = greedy(model, read(model, DynamicCache(), ids), full[:, -1], 20)
    memory = beacons.memory(windows)
    logits = run(model, memory, ids)
    assert float((logits - full).abs().max()) <= 1e-4
    assert greedy(model, memory, logits[:, -1], 20)[0] == right
    assert memory.held() == (90, 90)


@pytest.mark.parametrize("name", KINDS)
def test_it_is_what_reading_window_by_window_gives(model: LlamaForCausalLM, beacons: Beacons, name: str) -> None:
    ids = tokens(1, 59)
    memory = beacons.memory(KINDS[name])
    logits = run(model, memory, ids)
    with torch.no_grad():
        right, held = by_hand.logits(model, beacons, KINDS[name], ids[0].tolist())
    assert float((logits[0] - right).abs().max()) <= 1e-4
    assert memory.held() == (held,) == (KINDS[name].positions(59),)


@pytest.mark.parametrize("name", KINDS)
def test_chunks_batches_and_padding_change_nothing(model: LlamaForCausalLM, beacons: Beacons, name: str) -> None:
    ids, windows = tokens(2, 43), KINDS[name]
    whole = run(model, beacons.memory(windows), ids)
    for chunk in (7, 16, *([1] if name in ("interleaved", "eager") else [])):
        assert float((run(model, beacons.memory(windows), ids, chunk) - whole).abs().max()) <= 1e-4
    mask = torch.ones_like(ids)
    mask[1, :11] = 0
    both = beacons.memory(windows)
    padded = run(model, both, ids, mask=mask, chunk=20)
    alone = [beacons.memory(windows), beacons.memory(windows)]
    singles = run(model, alone[0], ids[:1]), run(model, alone[1], ids[1:, 11:])
    assert float((padded[0] - singles[0]).abs().max()) <= 1e-4
    assert float((padded[1, 11:] - singles[1]).abs().max()) <= 1e-4
    assert both.held() == (*alone[0].held(), *alone[1].held())
    chosen, _ = greedy(model, both, padded[:, -1], 6, mask)
    assert chosen == [greedy(model, memory, logits[:, -1], 6)[0][0] for memory, logits in zip(alone, singles, strict=True)]


def test_memory_read_in_two_goes_at_a_border_is_that_read_in_one(model: LlamaForCausalLM, beacons: Beacons) -> None:
    ids = tokens(1, 80)
    once, twice = beacons.memory(Windows(16, 4)), beacons.memory(Windows(16, 4))
    run(model, once, ids)
    for piece in (ids[:, :48], ids[:, 48:]):
        run(model, twice, piece)
    for one, other in zip(once.layers, twice.layers, strict=True):
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(one.remembered, other.remembered, strict=True))


@pytest.mark.parametrize(("length", "ratio"), [(64, 2), (130, 4), (15, 4), (200, 8), (200, None)])
def test_positions_and_bytes_are_exactly_those_of_the_formula(model: LlamaForCausalLM, beacons: Beacons, length: int, ratio: int | None) -> None:
    memory = beacons.memory(Windows(16, ratio))
    run(model, memory, tokens(2, length))
    held = length // 16 * 16 // (ratio or 1) + length % 16
    assert memory.held() == (held, held)
    config = model.config
    head_dim = config.hidden_size // config.num_attention_heads
    for layer in memory.layers:
        assert layer.remembered[0].shape[2] + layer.tail[0].shape[2] == held
        assert layer.nbytes().near == 2 * 2 * config.num_key_value_heads * head_dim * held * 4
    assert memory.get_seq_length() == length


def test_generated_tokens_become_memory_when_they_fill_a_window(model: LlamaForCausalLM, beacons: Beacons) -> None:
    ids = tokens(1, 30)
    memory = beacons.memory(Windows(16, 4))
    out = model.generate(ids, max_new_tokens=41, do_sample=False, cache=memory)
    assert memory.held() == (Windows(16, 4).positions(70),)  # the last token was not read
    chosen, _ = greedy(model, again := beacons.memory(Windows(16, 4)), run(model, again, ids)[:, -1], 41)
    assert out[0, 30:].tolist() == chosen[0]


def test_local_models_read_and_generate_with_it(model: LlamaForCausalLM, beacons: Beacons) -> None:
    local, rows = LocalModel(model), [tokens(1, 40)[0].tolist(), tokens(1, 27, seed=1)[0].tolist()]
    alone = [local.generate(row, beacons.memory(Windows(16, 4)), max_tokens=30).run()[0].tokens for row in rows]
    batch = local.generate(rows, beacons.memory(Windows(16, 4)), max_tokens=30, chunk=9).run()
    assert [row.tokens for row in batch] == alone
    long = beacons.memory(Windows(64, 32))
    local.prefill(tokens(1, 2000)[0].tolist(), long, chunk=512)  # twice as many tokens as the model has positions
    assert len(local.generate([1, 2, 3], long, max_tokens=4).run()[0].tokens) == 4
    with pytest.raises(Invalid, match="more than"):
        local.prefill(tokens(1, 2000)[0].tolist(), beacons.memory(Windows(64, None)))


def test_beams_keep_their_memory_apart(model: LlamaForCausalLM, beacons: Beacons) -> None:
    ids = tokens(1, 30)
    beams = model.generate(ids, max_new_tokens=12, num_beams=3, do_sample=False, cache=beacons.memory(Windows(64, 4)))
    assert beams.tolist() == model.generate(ids, max_new_tokens=12, num_beams=3, do_sample=False).tolist()


def test_a_question_leaves_no_trace(model: LlamaForCausalLM, beacons: Beacons) -> None:
    memory = beacons.memory(Windows(16, 4))
    run(model, memory, tokens(1, 50))
    point, asked = memory.snapshot(), tokens(1, 9, seed=5)
    first = run(model, memory.fork(), asked)
    run(model, memory, tokens(1, 40, seed=9))  # another question, which fills windows
    memory.restore(point)
    assert torch.equal(run(model, memory, asked), first)
    memory.restore(point)
    assert memory.get_seq_length() == 50


def test_tokens_of_the_newest_window_can_be_taken_back(model: LlamaForCausalLM, beacons: Beacons) -> None:
    ids, memory = tokens(1, 60), beacons.memory(Windows(16, 4))
    run(model, memory, ids[:, :58])
    memory.crop(-5)
    right = beacons.memory(Windows(16, 4))
    run(model, right, ids[:, :53])
    assert torch.allclose(run(model, memory, ids[:, 53:]), run(model, right, ids[:, 53:]), atol=1e-5)
    with pytest.raises(Invalid, match="newest 12"):
        memory.crop(-13)
    assert not memory.is_croppable


def test_an_unfinished_window_can_be_closed(model: LlamaForCausalLM, beacons: Beacons) -> None:
    memory = beacons.memory(Windows(16, 4))
    run(model, memory, tokens(1, 41))
    beacons.close(memory)
    assert memory.held() == (2 * 4 + 3,)  # nine tokens: two groups of four, and one of one
    before = memory.snapshot()
    beacons.close(memory)
    assert memory.snapshot() == before
    run(model, memory, tokens(1, 16, seed=1))
    assert memory.held() == (11 + 4,)


def test_removed_beacons_leave_the_model_as_it_was(model: LlamaForCausalLM) -> None:
    ids, names = tokens(1, 20), list(model.state_dict())
    with torch.no_grad():
        before = model(ids).logits
    beacons = Beacons(model)
    assert list(model.state_dict()) == names
    with pytest.raises(Invalid, match="already"):
        Beacons(model)
    memory = beacons.memory(Windows(8, 4))
    run(model, memory, ids)
    beacons.remove()
    assert model.config._attn_implementation == "sdpa"
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    with torch.no_grad():
        assert torch.equal(model(ids).logits, before)
    with pytest.raises(Invalid, match="left their model"):
        beacons.memory()
    with pytest.raises(Invalid, match="not removed"):
        run(model, memory, ids)


def test_a_pass_that_was_broken_off_is_not_gone_on_from(model: LlamaForCausalLM, beacons: Beacons) -> None:
    memory = beacons.memory(Windows(8, 4))
    run(model, memory, tokens(1, 20))
    point = memory.snapshot()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    handle = model.model.layers[1].mlp.register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        run(model, memory, tokens(1, 5))
    handle.remove()
    with pytest.raises(Invalid, match="half written"):
        run(model, memory, tokens(1, 5))
    memory.restore(point)
    fresh = beacons.memory(Windows(8, 4))
    run(model, fresh, tokens(1, 20))
    assert torch.equal(run(model, memory, tokens(1, 5)), run(model, fresh, tokens(1, 5)))


SHAPE = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "max_position_embeddings": 256, "initializer_range": 0.3, "bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}  # fmt: skip
FAMILIES: dict[str, PretrainedConfig] = {
    "qwen2": Qwen2Config(**SHAPE),
    "qwen3": Qwen3Config(**SHAPE, head_dim=8),
    "mistral": MistralConfig(**SHAPE, sliding_window=None),
    "phi3": Phi3Config(**SHAPE),
    "gemma2, capped": Gemma2Config(**SHAPE, head_dim=8, sliding_window=16, layer_types=["full_attention"] * 2, query_pre_attn_scalar=8,
                                   attn_logit_softcapping=5.0),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_families_read_without_loss_and_compress(family: str) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(FAMILIES[family], attn_implementation="eager").eval()
    ids = torch.randint(1, 97, (2, 60), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        right = model(ids, use_cache=False).logits
    beacons = Beacons(model)
    assert float((run(model, beacons.memory(Windows(16, None)), ids, 25) - right).abs().max()) <= 1e-4
    memory = beacons.memory(Windows(16, 4))
    assert model.generate(ids, max_new_tokens=5, do_sample=False, cache=memory).shape[1] == 65
    assert memory.held() == (4 * 4, 4 * 4)


def test_layers_that_see_only_so_far_are_refused() -> None:
    model = AutoModelForCausalLM.from_config(MistralConfig(**SHAPE, sliding_window=16))
    with pytest.raises(Invalid, match="see only so far"):
        Beacons(model)


def test_more_than_the_model_has_positions_for_is_refused(model: LlamaForCausalLM, beacons: Beacons) -> None:
    memory = beacons.memory(Windows(512, 2))
    run(model, memory, tokens(1, 1024))
    assert memory.room() == 511
    run(model, memory, tokens(1, 511))
    with pytest.raises(Invalid, match="larger ratio"):
        run(model, memory, tokens(1, 2))


def test_the_smallest_ratio_that_fits() -> None:
    assert smallest_ratio(1000, 4096, 512) is None
    assert smallest_ratio(4096, 4096, 512) == 2
    assert smallest_ratio(8192, 4096, 512) == 4
    assert smallest_ratio([4000, 4192], 4096, 512) == 4
    assert smallest_ratio([100] * 40, 4096, 512) == 2
    assert smallest_ratio(1000, 1512, 512, sinks=1) == 2
    with pytest.raises(Invalid, match="at any ratio"):
        smallest_ratio(1_000_000, 4096, 512)


@given(st.integers(1, 40), st.integers(2, 9))
@settings(max_examples=30, deadline=None)
def test_by_the_smallest_ratio_a_question_of_a_window_fits_and_by_the_next_smaller_one_it_would_not(windows: int, rest: int) -> None:
    size, positions = 16, 200
    ratio = smallest_ratio(windows * size + rest, positions, size, (2, 4, 8, 16))
    for other in (None, 2, 4, 8, 16):
        held = Windows(size, other).positions(windows * size)
        fits = held + (rest if other is None else 0) + size + (0 if other is None else size // other) <= positions
        if other == ratio:
            assert fits
            return
        assert not fits


PARALLEL = {
    "interleaved": Windows(8, 4, parallel=3),
    "eager": Windows(8, 4, eager=True, parallel=3),
    "appended, ratios in turn, sinks": Windows(8, (2, None, 4), place="appended", sinks=3, parallel=2),
}


@pytest.mark.parametrize("name", PARALLEL)
def test_windows_read_in_parallel_are_as_if_each_came_after_what_was_there_before(model: LlamaForCausalLM, beacons: Beacons, name: str) -> None:
    windows, ids = PARALLEL[name], tokens(1, 70)
    memory = beacons.memory(windows)
    logits = run(model, memory, ids)
    one_by_one, at, group = beacons.memory(replace(windows, parallel=1)), 0, []
    said, window = [], 0
    while at < 70:
        size = windows.size_of(window)
        if len(group) == windows.parallel or (group and at + size > 70) or (window == 1 and windows.sinks):
            one_by_one, group = joined(one_by_one, group), []
        alone = one_by_one.fork()
        alone.cursors = tuple(replace(cursor, window=window) for cursor in alone.cursors or (Cursor(),))
        said.append(run(model, alone, ids[:, at : at + size]))
        at, window, group = at + size, window + 1, [*group, alone]
    last = joined(one_by_one, group)
    assert float((logits - torch.cat(said, 1)).abs().max()) <= 1e-4
    for mine, its in zip(memory.layers, last.layers, strict=True):
        assert torch.allclose(mine.remembered[0], its.remembered[0], atol=1e-4)
        assert torch.allclose(mine.remembered[1], its.remembered[1], atol=1e-4)
    assert memory.held() == (windows.positions(70),)
    assert saving.load(beacons, saving.dump(memory, "it"), "it").windows == windows


def joined(before: BeaconMemory, group: list[BeaconMemory]) -> BeaconMemory:
    """What was there before, and after it what each of a group has made."""
    there = before.cursors[0].base if before.cursors else 0
    layers = []
    for number, layer in enumerate(before.layers):
        made = [alone.layers[number] for alone in group]
        both = [torch.cat([*([layer.remembered[which]] if layer.is_initialized else []), *(its.remembered[which][:, :, there:] for its in made)], 2)
                for which in (0, 1)]  # fmt: skip
        layers.append(((both[0], both[1]), made[-1].tail))
    read = sum(alone.cursors[0].read for alone in group) - (len(group) - 1) * (before.cursors[0].read if before.cursors else 0)
    cursor = replace(group[-1].cursors[0], base=layers[0][0][0].shape[2], read=read)
    out = before.fork()
    out.restore(Snapshot((cursor,), read, tuple(layers)))
    return out


def test_a_window_that_is_begun_sees_all_before_it_and_so_does_what_follows(model: LlamaForCausalLM, beacons: Beacons) -> None:
    ids, one, many = tokens(1, 60), Windows(8, 4), Windows(8, 4, parallel=99)
    for chunk in (1, 8):  # never two whole windows at once
        assert torch.equal(run(model, beacons.memory(many), ids, chunk), run(model, beacons.memory(one), ids, chunk))
    with pytest.raises(Invalid, match="at a time"):
        Windows(8, 4, parallel=0)


def test_memory_tokens_choose_the_ratio_that_fits_their_model(model: LlamaForCausalLM, beacons: Beacons) -> None:
    assert beacons.fitting(500, Windows(16, 2, place="appended")) == Windows(16, None, place="appended")
    assert beacons.fitting(3000, Windows(16)).ratio == 4
    memory = beacons.memory(beacons.fitting(3000, Windows(16)))
    run(model, memory, tokens(1, 3000))
    assert memory.room() is not None
    assert memory.room() >= 16


@pytest.mark.parametrize(("options", "says"), [
    ({"size": 10, "ratio": 4}, "divided"),
    ({"coverage": "segment"}, "appended"),
    ({"place": "appended", "eager": True}, "interleaved"),
    ({"place": "before"}, "stand"),
    ({"ratio": ()}, "divided"),
    ({"sinks": -1}, "sinks"),
])  # fmt: skip
def test_windows_that_cannot_be_are_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        Windows(**options)  # type: ignore[arg-type]
