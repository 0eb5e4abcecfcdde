"""Blocks of the step before that stay near: to the bit what is brought anew, counted, and gone when a reader may not see them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from activation.landmark.landmark_llama import BLOCK, LANDMARK, ids, with_landmarks
from mnemos.activation.buffer import Buffer
from mnemos.activation.landmark import tokens
from mnemos.activation.landmark.part import Blocks
from mnemos.activation.landmark.segments import segmentwise
from mnemos.activation.memory import KVMemory
from mnemos.activation.parts import size_of
from mnemos.activation.policies import policy
from mnemos.activation.saving import dump, load
from mnemos.activation.shadow import sources
from mnemos.activation.shadow.selection import ABSENT

torch.set_num_threads(1)

SLOT = BLOCK + 1


def row(count: int, seed: int = 0) -> torch.Tensor:
    return torch.tensor([tokens.insert(ids(count, seed), BLOCK, LANDMARK)])


def said(model: object, memory: KVMemory, more: torch.Tensor) -> torch.Tensor:
    """The logits of these tokens, one after the other."""
    each = [segmentwise(model, more[:, at : at + 1], top=2, memory=memory)[0] for at in range(more.shape[1])]
    return torch.cat(each, 1)


def read(model: object, given: torch.Tensor, **options: object) -> KVMemory:
    return segmentwise(model, given, top=2, memory=KVMemory.of(model, policy("landmark", block=BLOCK, **{"top": 2, **options})))[1]


def parts(memory: KVMemory) -> list[Blocks]:
    found = [layer.parts[0] for layer in memory.managed]
    assert all(isinstance(part, Blocks) for part in found)
    return found  # type: ignore[return-value]


MORE = row(40, 7)[:, :9]


@pytest.mark.parametrize("options", [{}, {"level": "token"}, {"level": "head"}, {"bits": 8}, {"blocks": 5}])
def test_what_was_kept_has_the_bits_of_what_is_brought_anew(options: dict[str, object], tmp_path: Path) -> None:
    model, both = with_landmarks(), torch.cat([row(44, 1), row(44, 2)])
    more = torch.cat([MORE, row(40, 8)[:, :9]])
    anew, kept = (read(model, both, reuse=reuse, **options) for reuse in (False, True))
    expected = said(model, anew, more)
    assert torch.equal(said(model, kept, more), expected)
    if not options:
        assert torch.equal(said(model, read(model, both, reuse=True, folder=str(tmp_path)), more), expected)
    for one, other in zip(parts(kept), parts(anew), strict=True):
        its, those = one.statistics, other.statistics
        assert 0 < its.kept < its.asked
        assert its.copied < those.copied
        assert its.fetched - those.fetched == -its.kept
        assert its.most > 0
        assert other.buffer is None


def test_what_is_kept_counts_as_near() -> None:
    model = with_landmarks()
    anew, kept = (read(model, row(44), reuse=reuse) for reuse in (False, True))
    said(model, anew, MORE[:, :4]), said(model, kept, MORE[:, :4])
    for one, other in zip(parts(kept), parts(anew), strict=True):
        assert one.buffer is not None
        assert one.nbytes().near - other.nbytes().near == size_of(*one.buffer.tensors()) == 2 * 2 * 2 * (BLOCK * 2 * 8 * 4 + 8)
        assert one.nbytes().far == other.nbytes().far


def test_forks_rows_and_files_begin_with_nothing_kept_and_go_on_alike() -> None:
    model, both = with_landmarks(), torch.cat([row(44, 1), row(44, 2)])
    memory = read(model, both, reuse=True)
    said(model, memory, MORE[:, :3].expand(2, -1))
    fork, rest = memory.fork(), MORE[:, 3:].expand(2, -1)
    loaded = load(model, dump(memory, "it"), "it", policy("landmark", block=BLOCK, top=2, reuse=True))
    assert all(part.buffer is None and part.reuse for part in [*parts(fork), *parts(loaded)])
    alone = memory.fork()
    alone.batch_select_indices(torch.tensor([1]))
    expected = said(model, memory, rest)
    assert torch.equal(said(model, fork, rest), expected)
    assert torch.equal(said(model, loaded, rest), expected)
    assert torch.allclose(said(model, alone, rest[:1]), expected[1:], atol=1e-4)
    assert parts(alone)[0].statistics.kept > 0
    again = memory.fork()
    said(model, again, MORE[:, :2].expand(2, -1))
    again.crop(-2)
    assert torch.equal(said(model, again, MORE[:, :2].expand(2, -1)), said(model, memory.fork(), MORE[:, :2].expand(2, -1)))


@pytest.mark.parametrize("forgets", [True, False])
def test_what_is_hidden_or_forgotten_does_not_stay_in_the_buffer(forgets: bool) -> None:
    model = with_landmarks()
    kept, anew = (read(model, row(48), reuse=reuse) for reuse in (True, False))
    said(model, anew, MORE[:, :5]), said(model, kept, MORE[:, :5])
    buffer = parts(kept)[0].buffer
    assert buffer is not None
    gone = int(buffer.picked.min())
    for memory in (kept, anew):
        sources.label(memory, "a letter", gone * SLOT, gone * SLOT + 2)
        (sources.forget if forgets else sources.hide)(memory, "a letter")
        assert all(part.buffer is None for part in parts(memory))
    assert torch.equal(said(model, kept, MORE[:, 5:]), said(model, anew, MORE[:, 5:]))
    assert all(not bool((part.buffer.picked == gone).any()) for part in parts(kept) if part.buffer)


def test_what_falls_out_of_the_ring_leaves_the_buffer() -> None:
    model = with_landmarks()
    memory = read(model, row(48), reuse=True, blocks=4, top=3)
    before = parts(memory)[0]
    for at in range(12):  # two blocks are stored
        said(model, memory, row(40, 9)[:, at : at + 1])
        part = parts(memory)[0]
        if part is not before and part.buffer is not None:  # as it is right after blocks were dropped
            assert int(part.buffer.picked[part.buffer.picked < ABSENT].max()) < 4
            _holds_what_the_store_has(part)
            before = part
    assert part.statistics.kept > 0


def _holds_what_the_store_has(part: Blocks) -> None:
    assert part.buffer is not None
    there = part.buffer.picked < ABSENT
    (held,) = part.buffer.states
    rows, heads, _ = there.nonzero(as_tuple=True)
    assert torch.equal(held[there], part.store.fetch(rows, heads, part.buffer.picked[there]))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.sets(st.integers(0, 9), max_size=4), min_size=4, max_size=4), min_size=1, max_size=6), st.integers(0, 9))
def test_a_buffer_holds_what_is_asked_for_whatever_came_before(steps: list[list[set[int]]], gone: int) -> None:
    payload = torch.arange(2 * 2 * 10 * 3).view(2, 2, 10, 3)
    buffer = Buffer.empty(torch.full((2, 2, 4), ABSENT), payload, 3)
    brought: list[int] = []

    def bring(rows: torch.Tensor, heads: torch.Tensor, chunks: torch.Tensor) -> tuple[torch.Tensor]:
        brought.append(len(chunks))
        return (payload[rows, heads, chunks],)

    def check(numbers: torch.Tensor) -> None:
        there = numbers < ABSENT
        rows, heads, _ = there.nonzero(as_tuple=True)
        assert torch.equal(buffer.states[0][there], payload[rows, heads, numbers[there]])

    before: list[set[int]] = [set()] * 4
    for wanted in steps:
        picked = torch.tensor([sorted(each) + [ABSENT] * (4 - len(each)) for each in wanted]).view(2, 2, 4)
        asked, had = buffer.turn_to(picked, bring)
        assert (asked, had) == (sum(map(len, wanted)), sum(len(one & other) for one, other in zip(wanted, before, strict=True)))
        check(buffer.picked)
        before = wanted
    staying = torch.arange(10).expand(2, -1) >= torch.tensor([[gone], [min(9, gone + 1)]])
    left = buffer.left(staying, gone)
    for line, each in enumerate(before):
        expected = sorted(number - gone for number in each if number >= (gone if line < 2 else min(9, gone + 1)))
        assert left.picked.view(4, 4)[line].tolist() == expected + [ABSENT] * (4 - len(expected))
    assert bool((left.states[0][left.picked == ABSENT] == 0).all())
    buffer = left
    check(torch.where(left.picked < ABSENT, left.picked + gone, ABSENT))
