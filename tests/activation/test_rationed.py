"""Policies that are given a share of the full cache's bytes keep it, whenever a prompt was read or a token generated."""

from __future__ import annotations

import pytest
import torch

from activation.tiny_llama import greedy, llama, plan, run, tokens
from mnemos.activation.memory import KVMemory
from mnemos.activation.narrow import Thin
from mnemos.activation.policies import policy
from mnemos.activation.policy import Policy
from mnemos.activation.quantised import Quantise
from mnemos.activation.rationed import within
from mnemos.activation.saving import dump, load
from mnemos.base.errors import Invalid

MODEL = llama(kv_heads=2, width=64)
LENGTH, NEW = 400, 36
TOKEN = 2 * 2 * 16 * 4 * 2
"""Bytes of a token in the full cache: keys and values of two heads of 16 numbers, float32, in two layers."""
NEAR = {
    "window": (0.25, lambda: policy("window", near=0.25)),
    "snapkv": (0.25, lambda: policy("snapkv", near=0.25, window=8)),
    "pyramidkv": (0.4, lambda: policy("pyramidkv", near=0.4, layers=2, window=8, beta=1.0)),
    "h2o": (0.3, lambda: policy("h2o", near=0.3, recent=8)),
    "tova": (0.25, lambda: policy("tova", near=0.25)),
    "knorm": (0.4, lambda: policy("knorm", near=0.4)),
    "expected": (0.5, lambda: policy("expected", near=0.5, recent=8, future=16, covariance=False)),
    "raas": (0.3, lambda: policy("raas", near=0.3, recent=8)),
    "rkv": (0.5, lambda: policy("rkv", near=0.5, every=32)),
    "lazyeviction": (0.5, lambda: policy("lazyeviction", near=0.5, window=8)),
    "lazyeviction, by itself": (0.75, lambda: policy("lazyeviction", near=0.75)),
    "uncomp": (0.4, lambda: policy("uncomp", near=0.4, window=8, plan=plan(llama(kv_heads=2, width=64)))),
    "kivi": (0.35, lambda: policy("kivi", near=0.35, group=16, recent=8)),
    "think": (0.75, lambda: policy("think", near=0.75, recent=16, window=8)),
    "snapkv, thin, in few bits": (0.15, lambda: within(policy("snapkv", share=0.5, window=8).then(Thin(0.5, 8), Quantise(4, 8)), 0.15)),
    "think, in few bits": (0.35, lambda: within(policy("think", recent=8, window=8).then(Quantise(2, 16)), 0.35)),
}


def shares(memory: KVMemory, logits: torch.Tensor, count: int) -> list[float]:
    """Of the full cache's bytes, when the prompt was read and after each of so many generated tokens."""
    found = [memory.nbytes().near / (TOKEN * memory.get_seq_length())]
    for _ in range(count):
        logits = run(MODEL, memory, logits.argmax(-1, keepdim=True))[:, -1]
        found.append(memory.nbytes().near / (TOKEN * memory.get_seq_length()))
    return found


def read(small: Policy, length: int = LENGTH) -> tuple[KVMemory, torch.Tensor]:
    memory = KVMemory.of(MODEL, small)
    logits = run(MODEL, memory, tokens(1, length))[:, -1]
    memory.settle()
    return memory, logits


@pytest.mark.parametrize("name", NEAR)
def test_a_share_of_bytes_is_kept_and_mostly_used(name: str) -> None:
    near, small = NEAR[name]
    memory, logits = read(small())
    found = shares(memory, logits, NEW)
    assert max(found) <= near
    assert max(found) >= (0.6 if name in ("kivi", "think", "think, in few bits") else 0.8) * near


@pytest.mark.parametrize("name", ["snapkv", "kivi", "think", "lazyeviction"])
def test_what_cannot_be_kept_is_refused_with_the_least_that_can(name: str) -> None:
    with pytest.raises(Invalid, match="the least there is") as refused:
        read(policy(name, near=0.02))
    least = float(str(refused.value).split("the least there is ")[1].split(":")[0])
    assert 0.02 < least < 1
    memory, logits = read(policy(name, near=least))
    assert max(shares(memory, logits, 8)) <= least


def test_it_says_what_it_is_and_goes_on_after_saving_and_forking() -> None:
    memory, logits = read(policy("snapkv", near=0.25, window=8))
    loaded = load(MODEL, dump(memory, "it"), "it", policy("snapkv", near=0.25, window=8))
    expected = greedy(MODEL, memory.fork(), logits, 20)[0]
    assert greedy(MODEL, loaded, logits, 20)[0] == expected == greedy(MODEL, memory, logits, 20)[0]
    assert policy("snapkv", near=0.25).describe() != policy("snapkv", near=0.2).describe()
    assert policy("snapkv", near=0.25).name == "snapkv"
    with pytest.raises(Invalid, match="shaped by"):
        load(MODEL, dump(memory, "it"), "it", policy("snapkv", near=0.2, window=8))


def test_what_has_no_such_choice_or_two_of_it_is_refused() -> None:
    for name, options, says in (("full", {}, "no such choice"), ("snapkv", {"tokens": 40}, "one or"), ("think", {"share": 0.4}, "one or"),
                                ("kivi", {"bits": 4}, "one or")):  # fmt: skip
        with pytest.raises(Invalid, match=says):
            policy(name, near=0.3, **options)
    with pytest.raises(Invalid, match="in \\(0, 1\\]"):
        policy("window", near=0)
    assert policy("ashape", keep="snapkv", near=0.3).describe()["kept"]["near"] == 0.3
