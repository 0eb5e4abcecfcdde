"""What holds for every policy: the conformance suite of the seam."""

from __future__ import annotations

import pytest
import torch

from activation.tiny_llama import greedy, llama, plan, run, tokens
from mnemos.activation.memory import KVMemory
from mnemos.activation.narrow import Thin
from mnemos.activation.policies import policy
from mnemos.activation.policy import Policy
from mnemos.activation.quantised import Quantise
from mnemos.activation.saving import dump, load
from mnemos.base.errors import Invalid

torch.set_num_threads(1)

LENGTH = 96
SMALL = {
    "window": lambda: policy("window", tokens=40),
    "window lazily": lambda: policy("window", tokens=40, every=8),
    "snapkv": lambda: policy("snapkv", tokens=40, window=8),
    "pyramidkv": lambda: policy("pyramidkv", layers=2, tokens=40, window=8),
    "h2o": lambda: policy("h2o", tokens=40, recent=8),
    "h2o lazily": lambda: policy("h2o", tokens=40, recent=8, every=4),
    "tova": lambda: policy("tova", tokens=40),
    "knorm": lambda: policy("knorm", tokens=40, recent=8),
    "keydiff": lambda: policy("keydiff", tokens=40, recent=8, every=4),
    "expected": lambda: policy("expected", tokens=40, recent=8),
    "expected lazily": lambda: policy("expected", tokens=40, recent=8, every=4, future=16),
    "kivi": lambda: policy("kivi", bits=2, group=8, recent=8),
    "raas": lambda: policy("raas", tokens=40, recent=8),
    "rkv": lambda: policy("rkv", tokens=40, every=4),
    "lazyeviction": lambda: policy("lazyeviction", tokens=40, window=4),
    "lazyeviction, by itself": lambda: policy("lazyeviction", tokens=40, sinks=2),
    "lazyeviction, demoting": lambda: policy("lazyeviction", tokens=40, window=4, demote=True, margin=0.5, audit=200),
    "lazyeviction, beginning with attention": lambda: policy("lazyeviction", tokens=40, window=4, heads="mean", prompt="attention"),
    "think": lambda: policy("think", share=0.5, window=8, recent=8),
    "think, values too": lambda: policy("think", share=0.5, values=0.3, window=8, recent=8),
    "think, values alone": lambda: policy("think", share=0, values=0.6, window=8, recent=8),
    "think, refreshed": lambda: policy("think", share=0.5, values=0.3, window=8, recent=8, refresh=3, floor=0.25),
    "think, by head": lambda: policy("think", share=0.5, window=8, recent=8, adaptive=True),
    "snapkv, thin, in few bits": lambda: policy("snapkv", tokens=48, window=8).then(Thin(0.5, 8), Quantise(4, 8)),
    "expected, thin of both, in few bits": lambda: policy("expected", tokens=48, recent=8).then(
        Thin(0.5, 8, values=0.3, refresh=4, floor=0.3), Quantise(4, 8)
    ),
    "snapkv by share": lambda: policy("snapkv", share=0.5, window=8),
    "snapkv by share, in few bits": lambda: policy("snapkv", share=0.4, window=8).then(Quantise(2, 16)),
    "uncomp": lambda: policy("uncomp", tokens=40, plan=plan(llama()), window=8, kernel=3),
    "uncomp, by layer": lambda: policy("uncomp", tokens=40, plan=plan(llama()), window=8, layers="depth", every=4),
    "uncomp, online": lambda: policy("uncomp", share=0.4, window=8),
    "uncomp, pooled by share": lambda: policy("uncomp", share=0.4, plan=plan(llama()), window=8, pool=0.5),
    "uncomp, heads deleted": lambda: policy("uncomp", tokens=40, plan=plan(llama()), window=8, delete=1, every=1),
    "shadowkv": lambda: policy("shadowkv", tokens=16, chunk=4, rank=0.25, outliers=0.05, local=1, flush=4),
    "shadowkv, in few bits": lambda: policy("shadowkv", tokens=16, chunk=4, rank=0.25, outliers=0.05, local=1, flush=4, bits=4),
    "blocks": lambda: policy("blocks", top=8, block=2, bits=4, local=4, flush=4),
    "blocks, by bounds": lambda: policy("blocks", top=4, block=4, bits=2, by="bounds", local=8, flush=8, reuse=False),
    "landmark": lambda: policy("landmark", block=7, top=2),
    "ashape": lambda: policy("ashape", sinks=4, local=12),
    "trishape": lambda: policy("trishape", sinks=4, local=12, last=9),
    "topblocks": lambda: policy("topblocks", top=16, block=4, rows=8, sinks=4, local=8),
    "ashape, then snapkv": lambda: policy("ashape", sinks=4, local=12, keep="snapkv", tokens=40, window=8),
}
"""Each policy with a budget that the tests' prompts are over."""
ROOMY = {
    "window": lambda: policy("window", tokens=500),
    "snapkv": lambda: policy("snapkv", tokens=500),
    "pyramidkv": lambda: policy("pyramidkv", layers=2, tokens=500),
    "h2o": lambda: policy("h2o", tokens=500),
    "tova": lambda: policy("tova", tokens=500),
    "knorm": lambda: policy("knorm", tokens=500),
    "keydiff": lambda: policy("keydiff", tokens=500),
    "expected": lambda: policy("expected", tokens=500),
    "kivi": lambda: policy("kivi", recent=120),
    "raas": lambda: policy("raas", tokens=500),
    "rkv": lambda: policy("rkv", tokens=500),
    "lazyeviction": lambda: policy("lazyeviction", tokens=500, window=4),
    "lazyeviction, demoting": lambda: policy("lazyeviction", tokens=500, window=4, demote=True, audit=9),
    "think": lambda: policy("think", share=0.0, recent=8),
    "snapkv, all of them": lambda: policy("snapkv", share=1.0),
    "uncomp": lambda: policy("uncomp", tokens=500, plan=plan(llama())),
    "uncomp, online": lambda: policy("uncomp", tokens=500),
    "shadowkv": lambda: policy("shadowkv", tokens=500),
    "shadowkv, in few bits": lambda: policy("shadowkv", tokens=500, bits=4),
    "blocks": lambda: policy("blocks", top=250, block=2),
    "landmark": lambda: policy("landmark", block=7, top=2),
    "ashape": lambda: policy("ashape", sinks=4, local=500),
    "trishape": lambda: policy("trishape"),
    "topblocks": lambda: policy("topblocks"),
}
"""Each policy that takes a budget, with one that nothing is over."""
OPEN = ("landmark", "ashape", "trishape", "topblocks")
"""Policies that keep all of these tests' tokens as they are. A landmark ends a block, and here is none: all tokens are one open block, to which
attention is the plain one. With landmarks: test_landmark_policy.py. Those that read sparsely keep all, too: test_sparse.py."""
BY_CHUNK = ("trishape", "topblocks")
"""Policies whose reading depends on which tokens are given at once: the last ones of a chunk, or the blocks that begin with it."""


def read(small: Policy, ids: torch.Tensor, chunk: int | None = None, mask: torch.Tensor | None = None) -> tuple[object, KVMemory, torch.Tensor]:
    model = llama()
    memory = KVMemory.of(model, small)
    logits = run(model, memory, ids, chunk, mask)[:, -1]
    memory.settle()
    return model, memory, logits


@pytest.mark.parametrize("name", ROOMY)
def test_a_budget_of_no_less_than_the_length_is_the_full_cache_bit_for_bit(name: str) -> None:
    ids = tokens(2, LENGTH)
    model, memory, logits = read(ROOMY[name](), ids)
    chosen, seen = greedy(model, memory, logits, 12)
    model, memory, logits = read(Policy(), ids)
    expected, right = greedy(model, memory, logits, 12)
    assert chosen == expected
    assert torch.equal(seen, right)


@pytest.mark.parametrize("name", [name for name in SMALL if name not in BY_CHUNK])
def test_reading_in_chunks_is_reading_at_once(name: str) -> None:
    ids = tokens(1, LENGTH)
    model, memory, logits = read(SMALL[name](), ids)
    chosen, seen = greedy(model, memory, logits, 8)
    model, memory, logits = read(SMALL[name](), ids, chunk=17)
    again, others = greedy(model, memory, logits, 8)
    assert chosen == again
    assert torch.allclose(seen, others, atol=1e-4)


TOGETHER = ("think, by head", "uncomp, online")
"""Policies that divide among heads what all rows of a batch need, so that all have as many."""


@pytest.mark.parametrize("name", [name for name in SMALL if name not in TOGETHER])
def test_rows_of_a_batch_are_as_if_alone(name: str) -> None:
    short, long = tokens(1, 61, seed=1), tokens(1, LENGTH, seed=2)
    padded = torch.cat([torch.zeros(1, LENGTH - 61, dtype=torch.long), short], 1)
    both, mask = torch.cat([padded, long]), torch.ones(2, LENGTH, dtype=torch.long)
    mask[0, : LENGTH - 61] = 0
    model, memory, logits = read(SMALL[name](), both, mask=mask)
    chosen, seen = greedy(model, memory, logits, 8, mask)
    for row, alone in enumerate((short, long)):
        model, memory, logits = read(SMALL[name](), alone)
        expected, right = greedy(model, memory, logits, 8)
        assert chosen[row] == expected[0]
        assert torch.allclose(seen[row], right[0], atol=1e-4)


def test_a_row_that_drops_nothing_is_stored_as_if_alone_beside_one_that_does() -> None:
    def small() -> Policy:
        return policy("snapkv", tokens=48, window=8).then(Quantise(4, 8))

    short, long, width = tokens(1, 33, seed=1), tokens(1, LENGTH, seed=2), LENGTH - 33
    mask = torch.ones(2, LENGTH, dtype=torch.long)
    mask[0, :width] = 0
    model, memory, logits = read(small(), torch.cat([torch.cat([torch.zeros(1, width, dtype=torch.long), short], 1), long]), mask=mask)
    chosen, seen = greedy(model, memory, logits, 14, mask)  # until the short row gives its first block, too
    model, memory, logits = read(small(), short)
    expected, right = greedy(model, memory, logits, 14)
    assert chosen[0] == expected[0]
    assert torch.allclose(seen[0], right[0], atol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_a_fork_goes_on_by_itself(name: str) -> None:
    model, memory, logits = read(SMALL[name](), tokens(1, LENGTH))
    fork = memory.fork()
    before, _ = greedy(model, memory.fork(), logits, 8)
    greedy(model, memory, run(model, memory, tokens(1, 20, seed=5))[:, -1], 8)
    after, _ = greedy(model, fork, logits, 8)
    assert before == after


@pytest.mark.parametrize("name", SMALL)
def test_what_was_saved_goes_on_as_if_it_had_not_been(name: str) -> None:
    model, memory, logits = read(SMALL[name](), tokens(2, LENGTH))
    chosen, _ = greedy(model, memory, logits, 5)
    loaded = load(model, dump(memory, "it"), "it", SMALL[name]())
    assert loaded.nbytes().total <= memory.nbytes().total  # room to spare is not saved
    last = torch.tensor(chosen)[:, -1:]
    one, its = greedy(model, memory, run(model, memory, last)[:, -1], 8)
    two, others = greedy(model, loaded, run(model, loaded, last)[:, -1], 8)
    assert one == two
    assert torch.equal(its, others)


@pytest.mark.parametrize("name", [name for name in SMALL if name not in OPEN])
def test_it_takes_fewer_bytes_and_says_how_many(name: str) -> None:
    _, memory, _ = read(SMALL[name](), tokens(1, LENGTH))
    _, whole, _ = read(Policy(), tokens(1, LENGTH))
    assert memory.nbytes().near < (0.75 if name.startswith("think") else 0.6) * whole.nbytes().near  # of keys alone half is half of half
    for layer in memory.managed:
        tensors = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in _tensors(layer)}
        assert layer.nbytes().total == sum(tensors.values())


def _tensors(layer: object) -> list[torch.Tensor]:
    """Every tensor that can be reached from the layer."""
    found, seen, waiting = [], set(), [layer]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, (Policy, str, int)):
            continue
        seen.add(id(each))
        if isinstance(each, torch.Tensor):
            found += [each] if each.numel() else []
        elif isinstance(each, dict):
            waiting += each.values()
        elif isinstance(each, (list, tuple)):
            waiting += each
        elif hasattr(each, "__dict__"):
            waiting += vars(each).values()
    return found


def test_tokens_are_taken_back_where_they_lie_as_they_came() -> None:
    ids = tokens(1, LENGTH)
    model, memory, _ = read(Policy(), ids)
    right, _ = greedy(model, memory.fork(), run(model, memory.fork(), tokens(1, 1, seed=8))[:, -1], 5)
    run(model, memory, tokens(1, 12, seed=7))
    assert memory.is_croppable
    memory.crop(-12)
    assert greedy(model, memory.fork(), run(model, memory, tokens(1, 1, seed=8))[:, -1], 5)[0][0][0] == right[0][0]
    model, memory, _ = read(SMALL["snapkv"](), ids)
    assert not memory.is_croppable
    with pytest.raises(Invalid, match="snapkv"):
        memory.crop(-60)


def test_a_row_shorter_than_what_is_kept_anyway_holds_each_token_once() -> None:
    short, long, width = tokens(1, 9, seed=1), tokens(1, LENGTH, seed=2), LENGTH - 9
    mask = torch.ones(2, LENGTH, dtype=torch.long)
    mask[0, :width] = 0
    both = torch.cat([torch.cat([torch.zeros(1, width, dtype=torch.long), short], 1), long])
    _, memory, _ = read(policy("window", tokens=40, sinks=4, recent=8), both, mask=mask)
    for layer in memory.managed:
        assert layer.held_tokens()[0].tolist() == [9, 9]
