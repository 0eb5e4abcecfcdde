"""PyramidKV: budgets fall with depth along a line, and their sum is that of equal ones."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from activation.tiny_llama import llama, run, tokens
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.base.errors import Invalid

torch.set_num_threads(1)


def test_budgets_fall_with_depth_and_their_sum_is_exact() -> None:
    model = llama(layers=4)
    memory = KVMemory.of(model, policy("pyramidkv", layers=4, tokens=40, window=4, beta=10))
    run(model, memory, tokens(1, 96))
    memory.settle()
    held = [{len(head) for row in layer for head in row} for layer in memory.held()]
    assert all(len(each) == 1 for each in held)
    counts = [each.pop() for each in held]
    assert sum(counts) == 4 * 40
    assert counts == sorted(counts, reverse=True)
    steps = [before - after for before, after in pairwise(counts)]
    assert max(steps) - min(steps) <= 2  # whole tokens
    assert counts[-1] == 5  # a tenth of the mean is less than the window has


def test_another_model_is_refused() -> None:
    model = llama(layers=3)
    memory = KVMemory.of(model, policy("pyramidkv", layers=2, tokens=40, window=4))
    run(model, memory, tokens(1, 96))
    with pytest.raises(Invalid, match="how many the model has"):
        memory.settle()
    with pytest.raises(Invalid, match="beta"):
        policy("pyramidkv", layers=2, tokens=40, beta=0.5)
