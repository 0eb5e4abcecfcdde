"""KV memories in an arena: the same bits as without, pages that go back, quotas, and what is let go of."""

from __future__ import annotations

import pytest
import torch

from activation.test_policies import SMALL
from activation.tiny_llama import greedy, llama, run, tokens
from mnemos.activation.arena.backend import KIB
from mnemos.activation.arena.tenancy import KVArena
from mnemos.activation.memory import KVMemory
from mnemos.activation.policy import Policy
from mnemos.activation.saving import dump, load

torch.set_num_threads(1)

LENGTH = 96
POLICIES = {"full": Policy, **SMALL}


def arena(**options: object) -> KVArena:
    """With pages of 64 tokens of the small model's heads."""
    return KVArena(max_ctx=512, slots=64, page=4 * KIB, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_gives_the_same_bits_in_an_arena(name: str) -> None:
    model, ids, mask = llama(), tokens(2, LENGTH), torch.ones(2, LENGTH, dtype=torch.long)
    mask[0, :21] = 0
    seen: list[list[torch.Tensor]] = []
    saved = []
    with arena() as pages:
        for place in (None, pages):
            small = POLICIES[name]()
            memory = KVMemory.of(model, small, arena=place)
            first = run(model, memory, ids, 17, mask)[:, -1]
            memory.settle()
            twin = memory.fork()
            chosen, one = greedy(model, memory, first, 10, mask)
            _, other = greedy(model, twin, first.flip(-1), 5, mask)  # a way of its own, in pages that both read
            saved.append(dump(memory, "it"))
            loaded = load(model, saved[-1], "it", POLICIES[name]())
            loaded = loaded if place is None else loaded.lodge(place)
            last = torch.tensor(chosen)[:, -1:]
            longer = torch.cat([mask, mask.new_ones(2, 11)], 1)
            _, third = greedy(model, loaded, run(model, loaded, last, mask=longer)[:, -1], 3, longer)
            memory.reorder_cache(torch.tensor([1, 0, 1]))  # a batch of another size, in other slots
            longer, last = longer[[1, 0, 1]], last[[1, 0, 1]]
            _, fourth = greedy(model, memory, run(model, memory, last, mask=longer)[:, -1], 3, longer)
            seen.append([first, one, other, third, fourth])
    assert saved[0] == saved[1]
    for plain, there in zip(*seen, strict=True):
        assert torch.equal(plain, there)
