"""What holds of an arena on every backend: the sheet's invariants, under random calls and faults."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from activation.arena.backends import MAKERS, NAMES, rows
from mnemos.activation.arena.arena import Arena
from mnemos.activation.arena.cuda import CudaBackend
from mnemos.activation.arena.fake import FakeBackend
from mnemos.activation.arena.layout import Layout

LAYOUT = Layout(layers=2, kv_heads=2, head_dim=64, max_batch=5, max_ctx=60, page=4096)
"""Eight tokens to a page, eight blocks to a slot."""
MEGA = Layout(layers=2, kv_heads=2, head_dim=64, max_batch=5, max_ctx=60, page=4096, megacache=True)
SPACES = ("", "a", "b")


class Traces(RuleBasedStateMachine):
    """Random calls, beside plain lists of what was written: what is read has to be that, and the blocks have to add up."""

    backend = "fake"

    @initialize(layout=st.sampled_from([LAYOUT, MEGA]), blocks=st.integers(3, 40), deferred=st.booleans())
    def start(self, layout: Layout, blocks: int, deferred: bool) -> None:
        self.arena = Arena(layout, MAKERS[self.backend](), budget=blocks * layout.block_bytes)
        self.arena.set_deferred_reclamation(deferred)
        self.memory = self.arena.capabilities.addressable
        self.written: dict[int, list[float]] = {}
        self.clock = 0.0

    def teardown(self) -> None:
        if hasattr(self, "arena"):
            backend = self.arena.backend
            self.arena.cleanup()
            assert backend.resident_bytes() == 0

    @rule(tokens=st.integers(0, 60), space=st.sampled_from(SPACES))
    def alloc(self, tokens: int, space: str) -> None:
        if None in self.arena.owners:
            slot = self.arena.alloc_slot(tokens, space)
            assert slot not in self.written
            self.written[slot] = []
            self._set({slot: tokens}, ahead=False)

    @precondition(lambda self: self.written)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.written)))
        self.arena.free_slot(slot)
        del self.written[slot]

    @precondition(lambda self: self.written)
    @rule(data=st.data(), ahead=st.booleans(), eager=st.booleans())
    def step(self, data: st.DataObject, ahead: bool, eager: bool) -> None:
        lens = {slot: data.draw(st.integers(max(0, len(there) - 20), min(60, len(there) + 20))) for slot, there in self.written.items()}
        self._set(lens, ahead, eager)

    @precondition(lambda self: self.written)
    @rule(ahead=st.booleans())
    def decode(self, ahead: bool) -> None:
        self._set({slot: min(60, len(there) + 1) for slot, there in self.written.items()}, ahead)

    @precondition(lambda self: self.written)
    @rule(data=st.data())
    def share(self, data: st.DataObject) -> None:
        source = data.draw(st.sampled_from(sorted(self.written)))
        blocks, tail = divmod(data.draw(st.integers(0, len(self.written[source]))), self.arena.layout.tokens_per_page)
        space = self.arena.owners[source]
        targets = [slot for slot, there in self.written.items() if not there and self.arena.owners[slot] == space and slot != source]
        if None in self.arena.owners and len(targets) < 2:
            targets.append(self.arena.alloc_slot(0, space or ""))
            self.written[targets[-1]] = []
        before = self._state()
        step = self.arena.map_common(source, targets, blocks, tail)
        if step.error is None:
            for slot in targets:
                self.written[slot] = self.written[source][: blocks * self.arena.layout.tokens_per_page + tail]
        else:
            assert self._state() == before

    @precondition(lambda self: self.written)
    @rule(data=st.data())
    def reorder(self, data: st.DataObject) -> None:
        space = self.arena.owners[data.draw(st.sampled_from(sorted(self.written)))]
        there = [slot for slot in sorted(self.written) if self.arena.owners[slot] == space]
        slots = data.draw(st.lists(st.sampled_from(there), unique=True, min_size=1))
        sources = [data.draw(st.sampled_from(there)) for _ in slots]
        before = self._state()
        step = self.arena.reorder(slots, sources)
        if step.error is None:
            self.written |= {slot: list(self.written[source]) for slot, source in zip(slots, sources, strict=True)}
        else:
            assert self._state() == before

    @precondition(lambda self: any(self.written.values()))
    @rule(data=st.data())
    def edit(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from([slot for slot, there in self.written.items() if there]))
        start = data.draw(st.integers(0, len(self.written[slot]) - 1))
        stop = data.draw(st.integers(start + 1, len(self.written[slot])))
        if self.arena.unshare(slot, start, stop).error is None:
            self._write(slot, start, stop)

    @invariant()
    def what_was_written_is_read(self) -> None:
        if not getattr(self, "memory", False):
            return
        for slot, there in self.written.items():
            for layer in range(2):
                for plane in range(2):
                    read = rows(self.arena, layer, plane, slot)[: len(there)]
                    expected = np.array(there, dtype=np.float32) * (1 + layer + 2 * plane)
                    assert (read == expected[:, None, None]).all()

    @invariant()
    def blocks_add_up(self) -> None:
        if not hasattr(self, "arena"):
            return
        arena, layout = self.arena, self.arena.layout
        arena.join()
        held = Counter(block for slot in range(layout.max_batch) for block in arena.blocks(slot))
        assert len(held) + arena.unmapped_blocks == arena.pool_blocks
        for slot, there in self.written.items():
            assert arena.lens[slot] == len(there)
            assert arena.mapped(slot) >= len(there)
        for block in (block for block, times in held.items() if times > 1):
            owners = {arena.owners[slot] for slot in range(layout.max_batch) if block in arena.blocks(slot)}
            assert len(owners) == 1
            assert None not in owners
            assert arena.capabilities.shares
        needed = {block for slot in self.written for block in arena.blocks(slot)[: layout.needed(arena.lens[slot])]}
        assert arena.num_free_blocks() == arena.pool_blocks - len(needed)
        for space in SPACES:
            own = {block for slot in self.written if arena.owners[slot] == space for block in arena.blocks(slot)[: layout.needed(arena.lens[slot])]}
            assert arena.held_bytes(space) == arena.quotas.used(space) == len(own) * layout.block_bytes
        if isinstance(arena.backend, FakeBackend):
            places = {
                (tensor, slot, at): arena.backend.handle_at(arena.span.base + layout.page_offset(tensor, slot, at))
                for tensor in range(layout.tensors) for slot in range(layout.max_batch) for at in range(layout.blocks_per_slot)
            }
            assert all((handle is not None) == (at < len(arena.blocks(slot))) for (_, slot, at), handle in places.items())
        resident = arena.backend.resident_bytes()
        if isinstance(arena.backend, CudaBackend):
            assert resident == arena.pool_blocks * layout.block_bytes
        else:
            assert resident == len(held) * layout.block_bytes

    def _set(self, lens: dict[int, int], ahead: bool, eager: bool = False) -> None:
        self.arena.join()
        before = self._state()
        step = self.arena.step_async(lens) if ahead else self.arena.step(lens, eager)
        if step.error is not None:
            assert step.unfit
            self.arena.join()
            assert self._state() == before
            return
        if eager and not ahead:
            assert all(len(self.arena.blocks(slot)) == self.arena.layout.needed(tokens) for slot, tokens in enumerate(self.arena.lens))
        for slot, tokens in lens.items():
            start = min(len(self.written[slot]), tokens)
            self.written[slot] = self.written[slot][:tokens]
            self._write(slot, start, tokens)

    def _write(self, slot: int, start: int, stop: int) -> None:
        self.written[slot] += [0.0] * (stop - len(self.written[slot]))
        for token in range(start, stop):
            self.clock += 1
            self.written[slot][token] = self.clock
            if self.memory:
                for layer in range(2):
                    for plane in range(2):
                        rows(self.arena, layer, plane, slot)[token] = self.clock * (1 + layer + 2 * plane)

    def _state(self) -> object:
        arena = self.arena
        return arena.lens, arena.owners, [arena.blocks(slot) for slot in range(arena.layout.max_batch)], arena.unmapped_blocks


@pytest.mark.parametrize("name", NAMES)
def test_random_traces(name: str) -> None:
    case = type("Case", (Traces,), {"backend": name}).TestCase
    case.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
    case().runTest()
