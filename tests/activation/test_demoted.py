"""Tokens put aside and not dropped: where they lie, when they come back, and that they are forgotten with the rest; and the log of who went."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from activation.tiny_llama import greedy, llama, run, tokens
from mnemos.activation.activations import GAP, LAST
from mnemos.activation.chunks import Host
from mnemos.activation.demoted import SLOT, Demoted
from mnemos.activation.evictions import evictions
from mnemos.activation.layer import MemoryLayer
from mnemos.activation.memory import KVMemory
from mnemos.activation.parts import Dense
from mnemos.activation.policies import policy
from mnemos.activation.policies.lazyeviction import copies, recover
from mnemos.activation.published import reason_against
from mnemos.activation.shadow import sources
from mnemos.base.errors import Invalid

HEADS, GROUP, SIZE, BUDGET, WINDOW = 2, 2, 8, 24, 4


def far_of(layer: MemoryLayer) -> Demoted:
    far = layer.aside[Demoted.kind]
    assert isinstance(far, Demoted)
    return far


def test_nothing_is_lost_and_what_comes_back_is_what_went() -> None:
    generator = torch.Generator().manual_seed(3)
    layer = MemoryLayer(policy("lazyeviction", tokens=BUDGET, window=WINDOW, sinks=2, demote=True, threshold=0.12), 0)
    prompt, steps, back = 40, 160, 0
    keys, values = (torch.randn(1, HEADS, prompt + steps, SIZE, generator=generator) for _ in range(2))
    queries = torch.randn(1, HEADS * GROUP, prompt + steps, SIZE, generator=generator)
    layer.lazy_initialization(keys[:, :, :prompt], values[:, :, :prompt])
    layer.attend(queries[:, :, :prompt], keys[:, :, :prompt], values[:, :, :prompt], None, 0.5, None, None)
    layer.settle()
    for step in range(prompt, prompt + steps):
        one = slice(step, step + 1)
        layer.attend(queries[:, :, one], keys[:, :, one], values[:, :, one], None, 0.5, None, None)
        far, near = far_of(layer), layer.held()[0]
        view = layer.view()
        assert view.part.length <= BUDGET + WINDOW
        for head in range(HEADS):
            away = set(far.positions[0, head][far.away[0, head]].tolist())
            assert near[head] | away == set(range(step + 1))
            assert not near[head] & away
            assert set(range(step + 1 - WINDOW, step + 1)) | {0, 1} <= near[head]
            places = view.positions[0, head].long()
            assert places.tolist() == sorted(places.tolist())
            assert torch.equal(view.keys[0, head], keys[0, head, places])
            assert torch.equal(view.values[0, head], values[0, head, places])
        back += int((view.marks[SLOT] > 0).sum())
    done, there = far.copies, int((far.positions >= 0).sum())
    assert back > 0 < done.used
    assert done.put == there  # once each
    assert done.brought == done.used + done.wasted + int((view.marks[SLOT] > 0).sum())
    assert (done.bytes_put, done.bytes_brought) == (far.positions.numel() * 2 * SIZE * 4, done.brought * 2 * SIZE * 4)
    assert layer.nbytes().far > done.put * 2 * SIZE * 4
    assert layer.nbytes().near < layer.tail.nbytes().near + far.positions.numel()  # a bit for each place


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 60)), min_size=1, max_size=12), st.integers(60, 120), st.integers(1, 6))
def test_what_is_expected_before_the_next_eviction_comes_the_soonest_first(known: list[tuple[int, int]], step: int, most: int) -> None:
    n = len(known)
    states, marks = torch.arange(float(n)).view(1, 1, n, 1), {name: torch.zeros(1, 1, n, dtype=torch.int32) for name in (LAST, GAP, SLOT)}
    for token, (last, gap) in enumerate(known):
        marks[LAST][..., token], marks[GAP][..., token] = last, gap
    near = Dense(states, states, torch.arange(n, dtype=torch.int32).view(1, 1, n), [0], marks)
    far = Demoted.none(near, Host()).put(near, step)
    places = far.expected(step, 8, 0.25, most)[0, 0].tolist()
    due = {token for token, (last, gap) in enumerate(known) if gap and last + 0.75 * gap <= step + 8 and last + 1.25 * gap >= step}
    whens = {token: sum(known[token]) for token in due}
    assert set(places) <= due
    assert len(places) == min(most, len(due))
    assert sorted(whens[token] for token in places) == sorted(whens.values())[:most]
    brought, left = far.bring(torch.tensor(places, dtype=torch.long).view(1, 1, -1), near)
    assert brought.keys.flatten().tolist() == brought.positions.flatten().tolist() == places
    assert left.expected(step, 8, 0.25, n).numel() == len(due) - len(places)
    again = left.put(brought, step)  # unused: it is not expected twice
    assert again.copies.wasted == len(places)
    assert set(again.expected(step, 8, 0.25, n).flatten().tolist()).isdisjoint(places)
    assert again.copies.bytes_put == far.copies.bytes_put
    missed = sum(step - 8 < last + gap <= step for last, gap in known if gap)
    assert far.passed(step - 8, step).copies.missed == missed


def demoting(**options: object) -> KVMemory:
    """A memory of two rows, whose policy has put tokens aside."""
    model = llama()
    memory = KVMemory.of(model, policy("lazyeviction", **{"tokens": 24, "window": 4, "sinks": 2, "demote": True, "audit": 500, **options}))
    greedy(model, memory, run(model, memory, tokens(2, 60))[:, -1], 20)
    return memory


def test_a_forgotten_source_is_overwritten_where_it_lies_far_and_in_the_log_and_forks_keep_theirs() -> None:
    memory = demoting()
    sources.label(memory, "secret", 10, 30, row=1)
    before = memory.fork()
    assert any(each.sources == ("secret",) and "'secret'" in str(each) for each in evictions(memory, 1))
    sources.forget(memory, "secret")
    for layer, old in zip(memory.managed, before.managed, strict=True):
        far, was = far_of(layer), far_of(old)
        gone = (was.positions[1] >= 10) & (was.positions[1] < 30)
        assert bool(gone.any())
        rows = torch.cat(far.store.payloads, 2).view(2, 2, -1, 16)[1]
        assert not bool(rows[gone].any())
        assert bool(rows[~gone & (was.positions[1] >= 0)].any(-1).all())
        assert not bool(((far.positions[1] >= 10) & (far.positions[1] < 30)).any())
        assert torch.equal(far.positions[0], was.positions[0])
        assert bool(torch.cat(was.store.payloads, 2).view(2, 2, -1, 16)[1][gone].any(-1).all())
    assert not any(10 <= each.position < 30 for each in evictions(memory, 1))
    assert any(10 <= each.position < 30 for each in evictions(memory, 0))
    recover(memory, 12, 20)
    assert all(not head & set(range(12, 20)) for layer in memory.held() for head in layer[1])


def test_what_was_put_aside_can_be_called_back_and_protected() -> None:
    memory = demoting()
    with pytest.raises(Invalid, match="are gone"):
        memory.protect(20, 28)
    recover(memory, 20, 28)
    memory.protect(20, 28)
    model = llama()
    KVMemory.of(model)
    greedy(model, memory, run(model, memory, tokens(2, 1, seed=4))[:, -1], 30)
    assert all(head >= set(range(20, 28)) and len(head) <= 28 for layer in memory.held() for row in layer for head in row)
    assert any(each.back for each in evictions(memory))
    with pytest.raises(Invalid, match="no room for"):
        recover(memory)
    done = copies(memory)
    assert done.brought == sum(far_of(layer).copies.brought for layer in memory.managed) > 0
    with pytest.raises(Invalid, match="has put nothing aside"):
        recover(KVMemory.of(model, policy("lazyeviction", tokens=50)))


def test_files_lie_in_the_folder_given_and_such_a_memory_is_nobody_elses(tmp_path: Path) -> None:
    far, near = demoting(folder=str(tmp_path)), demoting()
    assert far.held() == near.held()
    assert far.nbytes() == near.nbytes()
    assert list(tmp_path.iterdir()) == []  # files without a name
    assert far.policy.describe() == near.policy.describe()
    assert "a folder of its own" in str(reason_against(far.policy))
    assert "drops tokens" in str(reason_against(near.policy))
    for wrong in ({"demote": False, "folder": str(tmp_path)}, {"margin": 1.0}, {"audit": -1}):
        with pytest.raises(Invalid, match="lazyeviction: margin"):
            demoting(**wrong)


def test_a_log_says_who_went_and_changes_nothing() -> None:
    model, plain = llama(), KVMemory.of(llama(), policy("lazyeviction", tokens=40, window=4))
    logged = KVMemory.of(model, policy("lazyeviction", tokens=40, window=4, audit=1000))
    few = KVMemory.of(model, policy("lazyeviction", tokens=40, window=4, audit=7))
    for memory in (plain, logged, few):
        greedy(model, memory, run(model, memory, tokens(1, 70))[:, -1], 40)
    assert logged.held() == plain.held()
    assert logged.nbytes().near == plain.nbytes().near
    every = evictions(logged)
    for layer, heads in enumerate(logged.held()):
        for head in range(2):
            gone = [each.position for each in every if (each.layer, each.head) == (layer, head)]
            assert sorted([*gone, *heads[0][head]]) == list(range(110))
    first = [each for each in every if each.step == 70]
    assert len(first) == 2 * 2 * 30
    assert {each.reason for each in first} == {"the prompt's last queries attended to it less than to others"}
    assert {each.step for each in every} == {70, *range(74, 111, 4)}
    later = [each for each in every if each.step > 70]
    assert all((each.gap == 0) == (each.reason == "it never came back") and not each.back for each in later)
    assert all(len([each for each in evictions(few) if each.layer == layer]) == 7 for layer in range(2))
    assert evictions(few)[-1] == every[-1]
    assert "let go of token" in str(every[-1])
    with pytest.raises(Invalid, match="audit="):
        evictions(plain)
    with pytest.raises(Invalid, match="no row 3"):
        evictions(logged, 3)
