"""KV memory at its edges: one token, padding in later turns, odd shapes, tokens taken back, bytes that are no memory."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import save

from activation.test_policies import SMALL
from activation.tiny_llama import greedy, llama, run, tokens
from mnemos.activation.fragments import Fragment
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.activation.policy import Policy
from mnemos.activation.saving import dump, load
from mnemos.base.errors import Corrupt, Invalid

torch.set_num_threads(1)


def test_a_memory_that_has_read_nothing_can_be_asked_everything() -> None:
    memory = KVMemory.of(llama())
    memory.crop(0)
    memory.batch_repeat_interleave(2)
    memory.batch_select_indices(torch.tensor([0]))
    memory.settle()
    assert memory.held() == [[], []]
    with pytest.raises(Invalid, match="take back 3"):
        memory.crop(-3)


def test_a_prompt_may_end_with_a_chunk_of_one_token() -> None:
    model, ids = llama(), tokens(1, 96)
    whole, chunked = KVMemory.of(model, SMALL["snapkv"]()), KVMemory.of(model, SMALL["snapkv"]())
    whole.last_chunk = True
    run(model, whole, ids)
    run(model, chunked, ids[:, :95])
    chunked.last_chunk = True
    run(model, chunked, ids[:, 95:])
    assert chunked.held() == whole.held()
    assert all(layer.settled and not layer.generated for layer in chunked.managed)
    chunked.last_chunk = True  # a turn of one token
    run(model, chunked, ids[:, :1])
    assert not chunked.last_chunk


@pytest.mark.parametrize("name", ["h2o", "snapkv", "shadowkv", "think", "think, values too", "think, refreshed"])
def test_padding_of_a_later_turn_is_not_seen_to_ask(name: str) -> None:
    model, first, more = llama(), tokens(2, 96, seed=1), tokens(2, 20, seed=2)
    mask = torch.cat([torch.ones(2, 96), torch.tensor([[0] * 9 + [1] * 11, [1] * 20])], 1).long()
    both = KVMemory.of(model, SMALL[name]())
    run(model, both, first, mask=mask[:, :96])
    both.settle()
    padded = more.clone()
    padded[0, :9] = 0
    logits = run(model, both, padded, mask=mask)[:, -1]
    chosen, _ = greedy(model, both, logits, 6, mask)
    for row, its in enumerate((more[:1, 9:], more[1:])):
        alone = KVMemory.of(model, SMALL[name]())
        run(model, alone, first[row : row + 1])
        alone.settle()
        right = run(model, alone, its)[:, -1]
        assert torch.allclose(logits[row], right[0], atol=1e-4)
        assert greedy(model, alone, right, 6)[0][0] == chosen[row]


def test_a_mask_of_ones_own_is_obeyed() -> None:
    ids, model = tokens(1, 8), llama()
    mask = torch.ones(8, 8, dtype=torch.bool).tril()[None, None]
    mask[..., 5:, :3] = False
    with torch.no_grad():
        right = model(ids, attention_mask=mask).logits
        assert torch.allclose(model(ids, cache=KVMemory.of(model), attention_mask=mask).logits, right, atol=1e-4)
        with pytest.raises(Invalid, match="boolean"):
            model(ids, cache=KVMemory.of(model), attention_mask=mask.float())


@pytest.mark.parametrize("name", ["snapkv", "h2o", "tova"])
def test_what_was_taken_back_asks_no_more(name: str) -> None:
    model, ids = llama(), tokens(1, 96)
    never, back = KVMemory.of(model, policy(name, tokens=90)), KVMemory.of(model, policy(name, tokens=90))
    run(model, never, ids[:, :80])
    run(model, back, ids[:, :80])
    run(model, back, tokens(1, 16, seed=9))
    if name == "h2o":
        assert not back.is_croppable
        with pytest.raises(Invalid, match="noted"):
            back.crop(-16)
        return
    back.crop(-16)
    for memory in (never, back):
        run(model, memory, ids[:, 80:])
        memory.settle()
    assert never.held() == back.held()


@pytest.mark.parametrize(("width", "heads", "kv_heads"), [(40, 4, 2), (24, 4, 4), (48, 4, 1), (36, 2, 1)])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_heads_of_any_size_are_stored_in_few_bits(width: int, heads: int, kv_heads: int, bits: int) -> None:
    model, ids = llama(0, 2, heads, kv_heads, width), tokens(2, 96)
    memory, whole = KVMemory.of(model, policy("kivi", bits=bits)), KVMemory.of(model)
    run(model, whole, ids)
    run(model, memory, ids)
    memory.settle()
    for layer, right in zip(memory.managed, whole.managed, strict=True):
        for its, was in zip(layer.parts[0].dense(), right.tail.part().dense(), strict=True):
            spread = was.amax() - was.amin()
            assert float((its - was[:, :, : its.shape[2]]).abs().max()) <= float(spread) / (2**bits - 1)
    assert load(model, dump(memory, "it"), "it", policy("kivi", bits=bits)).nbytes().total <= memory.nbytes().total


@pytest.mark.parametrize("make", [
    lambda: policy("snapkv", tokens=40, window=8, kernel=4), lambda: policy("snapkv", tokens=40, window=0),
    lambda: policy("window", tokens=9, recent=-1),
    lambda: policy("knorm", tokens=40, every=-1), lambda: policy("lazyeviction", tokens=40, window=-1),
])  # fmt: skip
def test_options_that_cannot_be_are_refused_at_once(make: Callable[[], Policy]) -> None:
    with pytest.raises(Invalid):
        make()


@pytest.mark.parametrize("options", [{"tokens": 10, "window": 1, "sinks": 8}, {"tokens": 100, "sinks": 67}, {"tokens": 34, "sinks": 0}])
def test_lazyeviction_works_within_any_budget_that_it_takes(options: dict[str, int]) -> None:
    model = llama()
    memory = KVMemory.of(model, policy("lazyeviction", **options))
    greedy(model, memory, run(model, memory, tokens(1, 120))[:, -1], 100)
    most = options["tokens"] + options.get("window", 32)
    assert all(layer.stored <= most for layer in memory.managed)


@pytest.mark.parametrize("lengths", [(6, 96), (96, 21)])
@pytest.mark.parametrize("name", ["think", "think, values too", "think, refreshed", "kivi", "lazyeviction, protecting", "lazyeviction, roomy"])
def test_a_row_is_not_judged_by_its_padding(name: str, lengths: tuple[int, int]) -> None:
    make = {
        "lazyeviction, protecting": lambda: policy("lazyeviction", tokens=100, window=4, protect=True),
        "lazyeviction, roomy": lambda: policy("lazyeviction", tokens=100, window=4),
    }.get(name) or SMALL[name]
    model, most = llama(), max(lengths)
    rows = [tokens(1, length, seed=number) for number, length in enumerate(lengths)]
    mask = torch.stack([torch.tensor([0] * (most - length) + [1] * length) for length in lengths])
    both = KVMemory.of(model, make())
    ids = torch.cat([torch.cat([torch.zeros(1, most - row.shape[1], dtype=torch.long), row], 1) for row in rows])
    chosen, seen = greedy(model, both, run(model, both, ids, mask=mask)[:, -1], 40, mask)
    for place, row in enumerate(rows):
        alone = KVMemory.of(model, make())
        right, logits = greedy(model, alone, run(model, alone, row)[:, -1], 40)
        assert right[0] == chosen[place]
        assert torch.allclose(seen[place], logits[0], atol=1e-3)


@pytest.mark.parametrize("header", ["[]", "3", '{"format": 1}', '{"format": 1, "fingerprint": "it", "policy": {"policy": "full"}, "layers": [3, 4]}',
                                    '{"format": 1, "fingerprint": "it", "policy": {"policy": "full"}, "layers": 7}'])  # fmt: skip
def test_bytes_that_are_no_memory_are_said_to_be_none(header: str) -> None:
    with pytest.raises(Corrupt):
        load(llama(), save({"0.a": torch.zeros(1)}, {"mnemos.kv": header}), "it")


def test_a_memory_whose_tensors_do_not_fit_is_corrupt() -> None:
    model = llama()
    memory = KVMemory.of(model, SMALL["kivi"]())
    run(model, memory, tokens(1, 40))
    memory.settle()
    data = dump(memory, "it")
    length = int.from_bytes(data[:8], "little")
    for wrong, right in (('"dtype": "float32"', '"dtype": "nothing"'), ('"heads": [0, 1]', '"heads": [0, 7]')):
        header = json.loads(data[8 : 8 + length])
        its = header["__metadata__"]["mnemos.kv"]
        assert wrong in its
        header["__metadata__"]["mnemos.kv"] = its.replace(wrong, right)
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with pytest.raises(Corrupt):
            load(model, len(text).to_bytes(8, "little") + text + data[8 + length :], "it", SMALL["kivi"]())


def test_a_policy_that_keeps_everything_is_the_full_one() -> None:
    model, ids = llama(), tokens(1, 5)
    memory = KVMemory.of(model, Policy())
    run(model, memory, ids)
    assert Fragment(tuple(ids[0].tolist()), memory).head == 0


def test_options_that_a_policy_does_not_take_are_named_beside_those_that_it_does() -> None:
    with pytest.raises(Invalid, match=r"'colour'; it takes bits, group, recent"):
        policy("kivi", colour=3)
    with pytest.raises(Invalid, match=r"'layers'; it takes layers, tokens"):
        policy("pyramidkv", tokens=10)
    with pytest.raises(Invalid, match="of another type"):
        policy("shadowkv", near="much")
