"""A share of the full cache's bytes that is asked for is kept, at every step, by what is measured of the tensors."""

from __future__ import annotations

import pytest
import torch

from activation.tiny_llama import llama, run, tokens
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.activation.policies.blocks import Blocks
from mnemos.activation.policies.shadowkv import ShadowKV
from mnemos.activation.rationing import NOTE, Sizes
from mnemos.activation.saving import dump, load
from mnemos.base.errors import Invalid

torch.set_num_threads(1)
TOKEN = 2 * 2 * 8
"""Numbers of a token of a layer of the tiny model: keys and values of 2 heads of 8."""


def share(memory: KVMemory) -> float:
    """Bytes near, of all layers, as a share of what their tokens would take."""
    layers = memory.managed
    number = layers[0].tail.keys.element_size()
    return memory.nbytes().near / (len(layers) * layers[0].seen * TOKEN * number)


@pytest.mark.parametrize("name", ["blocks", "shadowkv"])
@pytest.mark.parametrize(("near", "dtype"), [(1 / 5, torch.bfloat16), (1 / 8, torch.float32)])
def test_the_bytes_that_are_near_stay_within_the_share(name: str, near: float, dtype: torch.dtype) -> None:
    model = llama().to(dtype)
    memory = KVMemory.of(model, policy(name, near=near, local=2))
    run(model, memory, tokens(1, 600))
    memory.settle()
    most = share(memory)
    assert near / 3 < most <= near
    for number in range(70):
        run(model, memory, tokens(1, 1, seed=number))
        most = max(most, share(memory))
    assert most <= near
    run(model, memory, tokens(1, 40, seed=7))
    memory.settle()
    assert share(memory) <= near
    again = load(model, dump(memory, "it"), "it", memory.policy)
    assert again.managed[0].notes[NOTE] == memory.managed[0].notes[NOTE]


@pytest.mark.parametrize("name", ["blocks", "shadowkv"])
def test_what_is_counted_is_what_is_held(name: str) -> None:
    model = llama()
    memory = KVMemory.of(model, policy(name, near=0.5, local=2))
    run(model, memory, tokens(1, 600))
    memory.settle()
    layer = memory.managed[0]
    way, kind = {**layer.notes[NOTE], "flush": 0, "reuse": False}, memory.policy
    assert isinstance(kind, Blocks | ShadowKV)
    counted = kind._bytes(Sizes.of(layer, 600), way) - Sizes.of(layer, 600).tail(2)
    assert counted == layer.nbytes().near - layer.tail.nbytes().near


@pytest.mark.parametrize("name", ["blocks", "shadowkv"])
def test_a_share_that_cannot_be_kept_is_refused_with_the_least_that_can(name: str) -> None:
    model = llama()
    memory = KVMemory.of(model, policy(name, near=0.01))
    run(model, memory, tokens(1, 300))
    with pytest.raises(Invalid, match=r"0\.01 of the full cache's bytes cannot be kept at 300 tokens; the least there is") as refused:
        memory.settle()
    least = float(str(refused.value).split("the least there is ")[1].split(":")[0])
    memory = KVMemory.of(model, policy(name, near=least))
    run(model, memory, tokens(1, 300))
    memory.settle()
    assert share(memory) <= least
    memory = KVMemory.of(model, policy(name, near=0.4, share=1.0))  # all could be picked, and is put away all the same
    run(model, memory, tokens(1, 300))
    memory.settle()
    run(model, memory, tokens(1, 1))
    assert share(memory) <= 0.4
    with pytest.raises(Invalid, match="near= chooses bits"):
        policy(name, near=0.2, bits=2)
    with pytest.raises(Invalid, match="share of the full cache"):
        policy(name, near=0.0)
