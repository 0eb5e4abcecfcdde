"""Landmarks found by lists: as by comparing with all where lists are all looked into, never what is hidden, nothing left of what is gone."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from activation.landmark.landmark_llama import BLOCK, LANDMARK, ids, with_landmarks
from mnemos.activation import parts
from mnemos.activation.chunks import Host
from mnemos.activation.landmark import index as indexes
from mnemos.activation.landmark import tokens
from mnemos.activation.landmark.index import Exact, Lists
from mnemos.activation.landmark.part import Blocks
from mnemos.activation.landmark.picking import EACH, HEAD, TOKEN, pick, scores_of
from mnemos.activation.landmark.positions import Layout, Queries
from mnemos.activation.landmark.segments import segmentwise
from mnemos.activation.memory import KVMemory
from mnemos.activation.parts import size_of
from mnemos.activation.policies import policy
from mnemos.activation.rotary import Rotary
from mnemos.activation.saving import dump, load
from mnemos.activation.shadow.selection import ABSENT
from mnemos.base.errors import Invalid

torch.set_num_threads(1)

ROWS, HEADS, GROUP, SIZE, TOP = 2, 2, 2, 8, 3


def blocks(count: int, index: Lists | Exact, bits: int | None = None, seed: int = 0, gaps: bool = True) -> Blocks:
    """Random blocks of two tokens, put in one after the other in portions; of the second row some are not there."""
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(ROWS, HEADS, count, SIZE, generator=generator)
    part = Blocks.empty(keys, SIZE, 2, Rotary.default(SIZE), Host(), bits, index=index)
    places = torch.arange(count * 2, dtype=torch.int32).view(1, count, 2).repeat(ROWS, 1, 1)
    if gaps:
        places[1, ::7] = -1
    for first in range(0, count, 40):
        some = slice(first, first + 40)
        both = torch.randn(2, ROWS, HEADS, len(range(count)[some]), 2, SIZE, generator=generator)
        part = part.extended(both[0], keys[:, :, some], both[1], places[:, some], None)
    return part


def queries(new: int, seed: int = 1) -> Queries:
    states = torch.randn(ROWS, HEADS, GROUP, new, SIZE, generator=torch.Generator().manual_seed(seed))
    positions = torch.arange(12, 12 + new).expand(ROWS, -1)
    return Queries(states, positions, Rotary.default(SIZE), Layout(2, TOP))


def lists(**changes: int) -> Lists:
    return Lists(**{"begin": 60, "probe": 500, "oldest": TOP + 1, **changes})


@pytest.mark.parametrize("bits", [None, 8])
@pytest.mark.parametrize("level", [EACH, TOKEN, HEAD])
def test_looking_into_all_lists_is_comparing_with_all(level: str, bits: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "LATE", 50)
    found, expected = blocks(250, lists(), bits), blocks(250, Exact(), bits)
    assert isinstance(found.index, Lists)
    assert (found.index.built, found.index.upto) == (160, 240)  # clusters at 80 and 160 blocks, more of them at 240, the last 10 by themselves
    asked = queries(5)
    assert torch.equal(pick(found, asked, level, 0.4), pick(expected, asked, level, 0.4))
    monkeypatch.setattr("mnemos.activation.landmark.picking.NUMBERS_AT_ONCE", 1)
    assert torch.equal(pick(found, asked, level, 0.4), pick(expected, asked, level, 0.4))


def test_few_lists_find_most_and_each_query_is_compared_with_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "LATE", 0)
    found, expected = blocks(2000, lists(probe=300), gaps=False), blocks(2000, Exact(), gaps=False)
    asked = queries(8)
    numbers = found.index.search(asked.here, 2000)
    assert numbers is not None
    assert numbers.shape == (ROWS, HEADS, GROUP, 8, 300)
    assert all(len(set(line)) == 300 for line in numbers.flatten(0, 3).tolist())
    one, other = pick(found, asked, EACH, 0.4), pick(expected, asked, EACH, 0.4)
    recall = (one.unsqueeze(-1) == other.unsqueeze(-2)).any(-1).float().mean()
    assert recall > 0.75  # of 15 % of the landmarks; by chance .15
    assert torch.equal(one[..., -1] >= 1997, other[..., -1] >= 1997)  # blocks of slots of their own are always looked at


def test_the_newest_blocks_are_scored_in_their_own_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    found, expected = blocks(100, lists(probe=TOP)), blocks(100, Exact())
    asked = queries(6, seed=3)
    only = expected.store.fork()
    for row in range(ROWS):
        last = expected.present[row].nonzero().squeeze(1)[-TOP:]
        only.hide(row, [number for number in range(100) if number not in last.tolist()])
    alone = Blocks(only, expected.places, expected.rotary)
    scores, numbers = scores_of(found, asked, found.index.search(asked.here, 100))
    its = alone.scores(asked).gather(-1, numbers[..., -TOP:].expand(-1, -1, GROUP, 6, -1))
    assert torch.allclose(scores[..., -TOP:], its, atol=1e-5)
    assert bool((its > -torch.inf).all())
    for line in numbers.masked_fill(scores == -torch.inf, ABSENT).flatten(0, 3).tolist():
        there = [number for number in line if number < ABSENT]
        assert len(set(there)) == len(there)


@pytest.mark.parametrize("erase", [True, False])
def test_what_is_hidden_or_gone_is_never_found_and_no_list_knows_of_it(erase: bool) -> None:
    part = blocks(200, lists(), gaps=False)
    other = copy.copy(part)
    other.store._near = other.store._near.clone()
    other.store._near[0, :, 150] += 5.0  # whatever it held
    left, others = part.without(0, 300, 301, erase), other.without(0, 300, 301, erase)
    assert isinstance(left.index, Lists)
    assert isinstance(others.index, Lists)
    assert left.index.order is not None
    assert others.index.order is not None
    assert not bool((left.index.order[0] == 150).any())
    assert bool((left.index.order[1] == 150).any())
    for name in ("centres", "order", "starts"):
        assert torch.equal(getattr(left.index, name)[0], getattr(others.index, name)[0])
    assert part.index is other.index  # a fork made before keeps what it shares
    asked = queries(4)
    picked = pick(left, asked, EACH, 0.4)
    assert not bool((picked[0] == 150).any())
    whole = Blocks(left.store, left.places, left.rotary)
    assert torch.equal(picked, pick(whole, asked, EACH, 0.4))
    some = replace(part.index, probe=40)
    for seed in range(5):
        left.index = some.remove(left.store, 0)
        assert not bool((pick(left, queries(4, seed), EACH, 0.4)[0] == 150).any())


def test_of_landmarks_that_are_all_the_same_the_oldest_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "LATE", 30)
    generator = torch.Generator().manual_seed(0)
    key = torch.randn(1, HEADS, 1, SIZE, generator=generator)
    part = Blocks.empty(key, SIZE, 2, Rotary.default(SIZE), Host(), index=lists())
    for first in range(0, 160, 40):
        noise = 1 + 1e-7 * torch.randn(ROWS, HEADS, 40, SIZE, generator=generator)
        places = torch.arange(2 * first, 2 * first + 80, dtype=torch.int32).view(1, 40, 2).repeat(ROWS, 1, 1)
        if first == 0:
            part = Blocks.empty(key.expand(ROWS, -1, -1, -1), SIZE, 2, Rotary.default(SIZE), Host(), index=lists())
        part = part.extended(torch.zeros(ROWS, HEADS, 40, 2, SIZE), key * noise, torch.zeros(ROWS, HEADS, 40, 2, SIZE), places, None)
    assert isinstance(part.index, Lists)
    assert part.index.order is not None
    assert part.index.order.shape[-1] == TOP + 1
    whole = Blocks(part.store, part.places, part.rotary)
    assert torch.equal(pick(part, queries(3), EACH, 0.4), pick(whole, queries(3), EACH, 0.4))


def test_lists_go_with_rows_forks_and_files_and_count_as_near() -> None:
    part = blocks(200, lists(probe=40))
    assert isinstance(part.index, Lists)
    own = size_of(part.index.centres, part.index.order, part.index.starts)
    assert part.nbytes().near - Blocks(part.store, part.places, part.rotary).nbytes().near == own
    asked = queries(4)
    picked = pick(part, asked, EACH, 0.4)
    plain, tensors = part.state()
    loaded = parts.load(part.kind, plain, tensors)
    assert isinstance(loaded, Blocks)
    assert torch.equal(pick(loaded, asked, EACH, 0.4), picked)
    second = part.rows(torch.tensor([1]))
    alone = Queries(asked.states[1:], asked.positions[1:], asked.rotary, asked.layout)
    assert torch.equal(pick(second, alone, EACH, 0.4), picked[1:])
    assert copy.copy(part).index is part.index


def test_a_model_reads_by_lists_what_it_reads_by_all() -> None:
    model, given = with_landmarks(), torch.tensor([tokens.insert(ids(60, 1), BLOCK, LANDMARK)])
    said = []
    for options in ({}, {"index": "lists", "index_from": 5, "probe": 50}):
        memory = KVMemory.of(model, policy("landmark", block=BLOCK, top=2, **options))
        logits, memory = segmentwise(model, given, top=2, memory=memory)
        again = load(model, dump(memory, "it"), "it", memory.policy)
        said.append((logits, segmentwise(model, given[:, :4], top=2, memory=again)[0]))
    assert isinstance(memory.managed[1].parts[0].index, Lists)
    for one, other in zip(*said, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


REFUSED = [{"index": "tree"}, {"index": "lists", "blocks": 4}, {"index": "lists", "stingy": False}, {"probe": 4}, {"index_from": 0}]


@pytest.mark.parametrize("options", REFUSED)
def test_options_that_cannot_be_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        policy("landmark", **options)


def test_absent_stands_behind_all() -> None:
    part = blocks(80, lists(probe=1000))
    numbers = part.index.search(queries(1).here, 80)
    assert numbers is not None
    assert bool((numbers[1] == ABSENT).any())  # of a row that has fewer
    assert bool((numbers[0] < ABSENT).all())
