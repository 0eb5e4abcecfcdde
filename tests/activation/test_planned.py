"""Plans of heads drive whatever drops tokens, and the bits in which heads are stored."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from activation.tiny_llama import greedy, llama, plan, run, tokens
from mnemos.activation.memory import KVMemory
from mnemos.activation.narrow import Thin
from mnemos.activation.planned import bits_by, planned
from mnemos.activation.planning import WIDTHS, bits_of
from mnemos.activation.policies import policy
from mnemos.activation.policy import UNIFORM, Policy
from mnemos.activation.quantised import Quantise, Quantised
from mnemos.activation.rationing import Sizes, affordable
from mnemos.activation.saving import dump, load
from mnemos.activation.signal import compressed
from mnemos.base.errors import Invalid

torch.set_num_threads(1)

LENGTH, MEAN = 96, 48
SHAPE = {"layers": 2, "heads": 4, "kv_heads": 4}
GRID = ((2, 8, 4, 2), (3, 3, 8, 4))
SCORERS = {
    "snapkv": {"window": 8}, "h2o": {"recent": 8, "every": 4}, "tova": {}, "knorm": {"recent": 8}, "keydiff": {"recent": 8, "every": 4},
    "expected": {"recent": 8}, "raas": {"recent": 8}, "rkv": {"every": 4}, "lazyeviction": {"window": 4}, "lazyeviction by itself": {},
}  # fmt: skip
"""Whatever ranks tokens, with the options that let it work within a small budget."""


def read(model: object, kind: Policy, length: int = LENGTH) -> tuple[KVMemory, torch.Tensor]:
    memory = KVMemory.of(model, kind)
    logits = run(model, memory, tokens(1, length))[:, -1]  # type: ignore[arg-type]
    memory.settle()
    return memory, logits


def held(memory: KVMemory) -> list[int]:
    """Tokens of each head of each layer."""
    return [len(head) for layer in memory.held() for head in layer[0]]


# Budgets


@pytest.mark.parametrize("name", SCORERS)
def test_any_scorer_keeps_what_a_plan_gives_each_head_in_ragged_bytes(name: str) -> None:
    model, kind = llama(**SHAPE), name.removesuffix(" by itself")
    budget = 72 if name == "lazyeviction by itself" else MEAN
    even = policy(kind, tokens=budget, **SCORERS[name])
    uneven = policy(kind, tokens=budget, plan=plan(model), **SCORERS[name])
    memory, logits = read(model, uneven, 160)
    expected = [uneven.planner.plan(layer.view(), budget) for layer in memory.managed]  # type: ignore[attr-defined]
    assert held(memory) == [its for layer in expected for its in layer]
    assert sum(held(memory)) == budget * 8
    assert len(set(held(memory))) > 1
    same = read(model, even, 160)[0]
    blocks = 2 * 4 * 16 * 2 * 8 * 4  # what a tail may be longer by, in all heads
    assert memory.nbytes().near <= same.nbytes().near + blocks
    assert sum(part.nbytes().near for layer in memory.managed for part in layer.parts) < same.nbytes().near
    greedy(model, memory, logits, 40)
    most = max(uneven.every, 34 if kind == "lazyeviction" else 0) + 1  # type: ignore[attr-defined]
    if uneven.every or kind == "lazyeviction":  # type: ignore[attr-defined]
        assert all(now <= before + most for now, before in zip(held(memory), [its for layer in expected for its in layer], strict=True))


def test_what_has_no_budget_to_divide_takes_no_plan() -> None:
    model = llama(**SHAPE)
    for kind, message in ((policy("think"), "no tokens"), (Policy(), "no tokens"), (policy("pyramidkv", layers=2, tokens=40), "by itself")):
        with pytest.raises(Invalid, match=message):
            planned(kind, plan(model))
    silent = plan(model).with_signal(0.1)
    assert planned(policy("h2o", tokens=40, recent=8), silent).planner is UNIFORM
    assert planned(policy("h2o", tokens=40, recent=8), silent, follow=True).planner is not UNIFORM
    with pytest.raises(Invalid, match="layers"):
        planned(policy("h2o", tokens=40, recent=8), silent, layers="deep")


# Bits


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1, 50), min_size=4, max_size=4), st.floats(2, 9))
def test_bits_lose_as_little_as_any_way_to_divide_them(values: list[float], mean: float) -> None:
    bits = np.ravel(bits_of([values[:2], values[2:]], mean))
    weights = np.clip(values, 0, None)
    every = [np.asarray(its) for its in product(WIDTHS, repeat=4) if sum(its) <= mean * 4 + 1e-9]
    assert bits.sum() <= mean * 4 + 1e-9
    assert (weights * 4.0**-bits).sum() <= min((weights * 4.0**-its).sum() for its in every) + 1e-9


def test_other_orders_give_the_same_bits_to_other_heads() -> None:
    values = np.random.default_rng(0).lognormal(size=(4, 8)).tolist()
    own, back, drawn = (np.ravel(bits_of(values, 3, order=order, seed=1)) for order in ("entropy", "reversed", "random"))
    assert sorted(own) == sorted(back) == sorted(drawn)
    assert np.corrcoef(own, np.ravel(values))[0, 1] > 0.5 > np.corrcoef(back, np.ravel(values))[0, 1]
    assert not np.array_equal(own, drawn)
    with pytest.raises(Invalid, match="at least 2"):
        bits_of(values, 1.5)


def test_a_plan_gives_bits_and_one_without_signal_equal_ones() -> None:
    known = plan(llama(**SHAPE))
    grid = bits_by(known, 3.5)
    assert isinstance(grid, tuple)
    assert sum(map(sum, grid)) <= 28
    assert len({width for its in grid for width in its}) > 1
    assert policy("kivi", bits=3.5, plan=known).describe()["stages"][-1]["bits"] == [list(its) for its in grid]
    assert bits_by(known.with_signal(0.0), 3.5) == 3
    for wrong in ({"bits": 3.5}, {"bits": GRID, "plan": known}, {"bits": 5}, {"bits": [[2, 5]]}, {"bits": []}, {"bits": 1.5, "plan": known}):
        with pytest.raises(Invalid):
            policy("kivi", **wrong)
    with pytest.raises(Invalid, match="at least 2"):
        bits_by(known.with_signal(0.0), 1)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_heads_side_by_side_are_each_as_if_all_had_its_bits(bits: int) -> None:
    model = llama(**SHAPE)
    mixed, _ = read(model, policy("kivi", bits=GRID, group=8, recent=8))
    even, _ = read(model, policy("kivi", bits=bits, group=8, recent=8))
    for number, layer in enumerate(mixed.managed):
        own, its = layer.view(), even.managed[number].view()
        assert {part.keys.bits for part in layer.parts} == set(GRID[number])  # type: ignore[attr-defined]
        for head in (head for head, width in enumerate(GRID[number]) if width == bits):
            assert torch.equal(own.keys[:, head], its.keys[:, head])
            assert torch.equal(own.values[:, head], its.values[:, head])


def test_attention_over_heads_of_unlike_bits_is_exact_and_their_bytes_are_counted() -> None:
    model = llama(**SHAPE)
    memory, _ = read(model, policy("kivi", bits=GRID, group=8, recent=8))
    plain = KVMemory.of(model)
    run(model, plain, tokens(1, LENGTH))
    for layer, right in zip(memory.managed, plain.managed, strict=True):
        right.tail.hold(layer.view().part)  # the same numbers in one piece
    one, two = (run(model, each, tokens(1, 3, seed=9)) for each in (memory, plain))
    assert torch.allclose(one, two, atol=1e-5)
    for number, layer in enumerate(memory.managed):
        counted = Sizes.of(layer, LENGTH).rounded(88, GRID[number], 8) + 4 * 4 * 88  # positions, of each head
        assert sum(part.nbytes().near for part in layer.parts) == counted


def test_bits_by_head_go_on_are_saved_and_are_another_form_than_equal_ones() -> None:
    model, kind = llama(**SHAPE), policy("kivi", bits=[list(its) for its in GRID], group=8, recent=8)
    memory, logits = read(model, kind)
    greedy(model, memory, logits, 20)
    assert all(len(layer.parts) == len(set(GRID[number])) for number, layer in enumerate(memory.managed))  # what came since has joined them
    data = dump(memory, "it")
    loaded = load(model, data, "it", kind)
    assert torch.equal(run(model, memory, tokens(1, 2, seed=3)), run(model, loaded, tokens(1, 2, seed=3)))
    with pytest.raises(Invalid, match="shaped by"):
        load(model, data, "it", policy("kivi", bits=4, group=8, recent=8))
    with pytest.raises(Invalid, match="plan for this model"):
        read(llama(), kind)


def test_bits_by_head_come_after_dropping_narrowing_and_deleting() -> None:
    model = llama(**SHAPE)
    kind = planned(policy("snapkv", tokens=40, window=8), plan(model)).then(Thin(0.5, 8, adaptive=True), Quantise(GRID, 8))
    memory, logits = read(model, kind)
    narrow = [part for layer in memory.managed for part in layer.parts]
    assert {part.kind for part in narrow} == {"narrow"}
    assert {part.inner.kind for part in narrow} == {"quantised"}
    assert sorted(head for part in memory.managed[0].parts for head in part.heads) == [0, 1, 2, 3]
    for part in memory.managed[1].parts:
        assert {GRID[1][head] for head in part.heads} == {part.inner.keys.bits}  # type: ignore[attr-defined]
    again = load(model, dump(memory, "it"), "it", kind)
    assert greedy(model, memory, logits, 12)[0] == greedy(model, again, logits, 12)[0]
    fewer = policy("uncomp", tokens=40, plan=plan(model), window=8, delete=1).then(Quantise(GRID, 8))  # type: ignore[attr-defined]
    memory, _ = read(model, fewer)
    for number, layer in enumerate(memory.managed):
        left = fewer.left(number).heads  # type: ignore[union-attr]
        assert all(part.keys.bits == GRID[number][left[head]] for part in layer.parts for head in part.heads if isinstance(part, Quantised))


def test_a_total_of_bytes_affords_bits_that_keep_within_it() -> None:
    model = llama(**SHAPE)
    plain = KVMemory.of(model)
    run(model, plain, tokens(1, 200))
    sizes = [Sizes.of(layer, 200) for layer in plain.managed]
    full = plain.nbytes().near
    for share in (0.28, 0.3, 0.35):
        mean = affordable(round(share * full), sizes, 16, 16)
        grid = bits_of(np.random.default_rng(1).lognormal(size=(2, 4)).tolist(), mean)
        taken = compressed(plain, policy("kivi", bits=grid, group=16, recent=16)).nbytes().near
        assert (share - 0.05) * full < taken <= share * full
    assert affordable(100 * full, sizes) == 8
    with pytest.raises(Invalid, match="give that or more"):
        affordable(full // 20, sizes)

