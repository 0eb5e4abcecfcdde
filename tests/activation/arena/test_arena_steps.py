"""Single rules of the arena: who gets which slot, what is reclaimed when, what happens where something does not fit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activation.arena.backends import MAKERS, NAMES, WITH_MEMORY, rows
from mnemos.activation.arena.arena import Arena
from mnemos.activation.arena.backend import BackendFailed, NoMemory
from mnemos.activation.arena.core import Ahead
from mnemos.activation.arena.fake import FakeBackend
from mnemos.activation.arena.layout import Layout
from mnemos.activation.arena.outcome import Step
from mnemos.activation.arena.planning import best_fit, first_fit, reclaim_order
from mnemos.activation.arena.quotas import OverQuota, Quotas
from mnemos.base.errors import Invalid, QuotaExceeded, StoreFull

LAYOUT = Layout(layers=2, kv_heads=2, head_dim=64, max_batch=6, max_ctx=64, page=4096)
"""Eight tokens to a page, a block of four pages, eight blocks to a slot."""
BLOCK = LAYOUT.block_bytes
STILL = Ahead(premap=False, blocks=0)


def made(blocks: int = 48, backend: FakeBackend | None = None, **options: object) -> Arena:
    return Arena(LAYOUT, backend or FakeBackend(), budget=blocks * BLOCK, **options)  # type: ignore[arg-type]


def table(arena: Arena) -> list[tuple[int, ...]]:
    return [arena.blocks(slot) for slot in range(arena.layout.max_batch)]


COUNTS = st.lists(st.integers(0, 6), min_size=1, max_size=8)


@given(COUNTS, st.data(), st.integers(0, 7))
def test_best_fit_is_the_smallest_that_has_enough_else_the_largest(mapped: list[int], data: st.DataObject, needed: int) -> None:
    free = data.draw(st.lists(st.booleans(), min_size=len(mapped), max_size=len(mapped)))
    chosen = best_fit(mapped, free, 1, needed)
    there = [slot for slot in range(len(mapped)) if free[slot]]
    if not there:
        assert chosen is None
        return
    assert chosen in there
    enough = [mapped[slot] for slot in there if mapped[slot] >= needed]
    assert mapped[chosen] == (min(enough) if enough else max(mapped[slot] for slot in there))


@given(COUNTS, st.data(), st.integers(1, 3), st.integers(0, 6))
def test_a_batch_gets_adjacent_slots_that_leave_least_to_map(mapped: list[int], data: st.DataObject, count: int, needed: int) -> None:
    free = data.draw(st.lists(st.booleans(), min_size=len(mapped), max_size=len(mapped)))
    chosen, first = best_fit(mapped, free, count, needed), first_fit(mapped, free, count, needed)
    starts = [start for start in range(len(mapped) - count + 1) if all(free[start : start + count])]
    assert first == (starts[0] if starts else None)
    if chosen is None:
        assert not starts
        return

    def missing(start: int) -> int:
        return sum(max(0, needed - blocks) for blocks in mapped[start : start + count])

    assert chosen in starts
    assert missing(chosen) == min(map(missing, starts))


def test_free_slots_give_first_from_the_last_on_and_the_next_one_at_the_very_end() -> None:
    order = list(reclaim_order([3, 5, 4, 2, 6], [1, 5, 0, 0, 2], [False, False, True, True, False], spared=3))
    assert order == [(2, 4), (4, 4), (0, 2), (3, 2)]


def test_a_freed_slot_keeps_its_pages_and_the_next_sequence_makes_no_call() -> None:
    backend = FakeBackend()
    with made(backend=backend) as arena:
        for tokens in (20, 50, 33):
            arena.step({arena.alloc_slot(tokens): tokens}).check()
        for slot in range(3):
            arena.free_slot(slot)
        calls = backend.calls.total()
        assert arena.alloc_slot(30) == 2  # five blocks for four; slot 0 has three, slot 1 seven
        assert arena.step({2: 30}) == Step()
        assert backend.calls.total() == calls
        assert arena.alloc_slot(64) == 1
        assert arena.step({1: 64}) == Step(mapped=1)


def test_reclamation_waits_until_the_pool_is_short_and_begins_with_the_last_free_slot() -> None:
    with made(blocks=10) as arena:
        for tokens in (24, 24, 24):
            arena.step({arena.alloc_slot(tokens): tokens}).check()
        arena.free_slot(1)
        arena.free_slot(2)
        first = arena.alloc_slot(64)
        assert first == 1
        step = arena.step({first: 56})  # four more, and one is free: slot 2, though it is the one that comes next, for none else has any
        assert (step.mapped, step.reclaimed) == (4, 3)
        assert [len(blocks) for blocks in table(arena)] == [3, 7, 0, 0, 0, 0]
        assert arena.num_free_blocks() == 0


def test_the_slot_that_comes_next_is_spared_while_others_have_something() -> None:
    with made(blocks=9) as arena:
        for _ in range(3):
            arena.step({arena.alloc_slot(24): 24}).check()
        for slot in range(3):
            arena.free_slot(slot)
        arena.alloc_slot(24)
        arena.free_slot(0)  # the next one of three blocks gets slot 0 again
        slot = arena.alloc_slots(1, 0)[0]
        assert slot == 3
        arena.step({slot: 40}).check()
        assert [len(blocks) for blocks in table(arena)] == [3, 1, 0, 5, 0, 0]


def test_without_deferral_each_idle_step_takes_one_block_back() -> None:
    with made() as arena:
        arena.set_deferred_reclamation(False)
        slot = arena.alloc_slot(24)
        arena.step({slot: 24}).check()
        arena.free_slot(slot)
        other = arena.alloc_slots(2, 0)[1]
        assert [arena.step({other: 1}).reclaimed] == [0]  # not idle
        assert [arena.step({other: tokens}).reclaimed for tokens in (2, 3, 4, 5)] == [1, 1, 1, 0]


def test_eager_reclamation_takes_back_all_beyond_need() -> None:
    with made() as arena:
        slot = arena.alloc_slot(64)
        arena.step({slot: 64}).check()
        assert arena.step({slot: 9}).reclaimed == 0
        assert arena.step({slot: 9}, eager_reclaim=True).reclaimed == 6
        assert arena.unmapped_blocks == 46


def test_what_does_not_fit_is_named_and_nothing_changes() -> None:
    with made(blocks=6) as arena:
        slots = [arena.alloc_slot(8) for _ in range(4)]
        arena.step(dict.fromkeys(slots, 8)).check()
        before = table(arena), arena.lens
        step = arena.step({slots[0]: 9, slots[1]: 40, slots[2]: 9, slots[3]: 8})
        assert (step.unfit, step.short) == ((slots[1],), 4)
        assert (table(arena), arena.lens) == before
        with pytest.raises(StoreFull, match="4 of 6 blocks of 16,384 bytes are short"):
            step.check()
        assert arena.step({slots[0]: 9, slots[2]: 9, slots[1]: 0}) == Step(mapped=2)


def test_preemption_frees_what_the_scheduler_names_and_goes_on() -> None:
    told: list[Step] = []

    def preempt(step: Step) -> list[int]:
        told.append(step)
        return [0]

    with made(blocks=6, preempt=preempt) as arena:
        slots = [arena.alloc_slot(24) for _ in range(2)]
        arena.step(dict.fromkeys(slots, 24)).check()
        assert arena.step([32, 32, 0, 0, 0, 0]).check().reclaimed >= 1
        assert [step.unfit for step in told] == [(0, 1)]
        assert arena.lens == (0, 32, 0, 0, 0, 0)
        assert arena.owners[0] is None


def test_a_namespace_over_its_quota_is_named_with_the_bytes() -> None:
    quotas = Quotas({"a": 3 * BLOCK})
    with made(quotas=quotas) as arena:
        a, b = arena.alloc_slot(24, "a"), arena.alloc_slot(64, "b")
        arena.step({a: 24, b: 64}).check()
        assert (quotas.used("a"), quotas.used("b"), quotas.left("a"), quotas.left("b")) == (3 * BLOCK, 8 * BLOCK, 0, None)
        step = arena.step({a: 33, b: 64})
        assert (step.unfit, step.over) == ((a,), {"a": 2 * BLOCK})
        with pytest.raises(QuotaExceeded, match=r"namespace 'a' holds 49,152 bytes .* wants 32,768 more: 32,768 over") as caught:
            step.check()
        assert isinstance(caught.value, OverQuota)
        assert (caught.value.namespace, caught.value.over) == ("a", 2 * BLOCK)
        quotas.set_limit("a", 5 * BLOCK)
        arena.step({a: 33}).check()
        quotas.set_limit("a", BLOCK)
        assert arena.step({a: 34}).error is None  # what is held is not taken away
        assert arena.step({a: 41}).over == {"a": 5 * BLOCK}
    assert (quotas.used("a"), quotas.used("b")) == (0, 0)


def test_quotas_are_over_all_arenas_that_share_them() -> None:
    quotas = Quotas(default=4 * BLOCK)
    with made(quotas=quotas) as one, made(quotas=quotas) as other:
        one.step({one.alloc_slot(24, "a"): 24}).check()
        slot = other.alloc_slot(16, "a")
        assert other.step({slot: 16}).over == {"a": BLOCK}
        other.step({slot: 8}).check()
        assert quotas.used("a") == 4 * BLOCK
        assert (one.held_bytes("a"), other.held_bytes("a")) == (3 * BLOCK, BLOCK)


def test_kept_and_eager_pages_are_charged_to_nobody() -> None:
    quotas = Quotas(default=8 * BLOCK)
    with made(quotas=quotas) as arena:
        slot = arena.alloc_slot(60, "a")
        arena.step({slot: 60}).check()
        arena.step({slot: 3}).check()
        assert quotas.used("a") == BLOCK
        arena.free_slot(slot)
        assert quotas.used("a") == 0
        assert arena.alloc_slot(60, "b") == slot
        assert quotas.used("b") == 0


@pytest.mark.parametrize("name", WITH_MEMORY)
def test_a_namespace_never_sees_rows_of_another(name: str) -> None:
    with Arena(LAYOUT, MAKERS[name](), budget=20 * BLOCK) as arena:
        slot = arena.alloc_slot(64, "a")
        arena.step({slot: 64}).check()
        for layer in range(2):
            for plane in range(2):
                rows(arena, layer, plane, slot)[:64] = 7
        arena.free_slot(slot)
        assert arena.alloc_slot(64, "a") == slot
        arena.step({slot: 64}).check()
        assert (rows(arena, 1, 1, slot)[:64] == 7).all()  # its own, whoever masks by length does not see them
        arena.free_slot(slot)
        assert arena.alloc_slot(64, "b") == slot
        arena.step({slot: 64}).check()
        assert all((rows(arena, layer, plane, slot)[:64] == 0).all() for layer in range(2) for plane in range(2))
        rows(arena, 0, 0, slot)[:64] = 5
        arena.free_slot(slot)
        for _ in range(3):  # by way of the pool
            arena.step({}, eager_reclaim=True).check()
        others = [arena.alloc_slot(64, "c") for _ in range(2)]
        arena.step(dict.fromkeys(others, 64)).check()
        assert all((rows(arena, layer, plane, other)[:64] == 0).all() for other in others for layer in range(2) for plane in range(2))


@pytest.mark.parametrize("name", WITH_MEMORY)
def test_a_thousand_random_steps_read_as_concatenation_does(name: str) -> None:
    rng = np.random.default_rng(5)
    with Arena(LAYOUT, MAKERS[name](), budget=30 * BLOCK) as arena:
        plain: dict[int, list[np.ndarray]] = {}
        for number in range(1000):
            if plain and rng.random() < 0.05:
                slot = int(rng.choice(list(plain)))
                arena.free_slot(slot)
                del plain[slot]
            if len(plain) < 6 and rng.random() < 0.2:
                plain[arena.alloc_slot(int(rng.integers(1, 40)), str(rng.integers(2)))] = []
            new = {slot: rng.standard_normal((int(rng.choice([1, 1, 1, 7])), 4, 2, 64), dtype=np.float32) for slot in plain}
            new = {slot: states for slot, states in new.items() if sum(map(len, plain[slot])) + len(states) <= 64}
            lens = {slot: sum(map(len, plain[slot])) + len(states) for slot, states in new.items()}
            step = arena.step_async(lens) if rng.random() < 0.7 else arena.step(lens)
            for slot, states in new.items() if step.error is None else ():
                for tensor in range(4):
                    rows(arena, tensor // 2, tensor % 2, slot)[lens[slot] - len(states) : lens[slot]] = states[:, tensor]
                plain[slot].append(states)
            if number % 10 == 0:
                for slot, parts in plain.items():
                    for tensor in range(4 if parts else 0):
                        expected = np.concatenate(parts)[:, tensor]
                        assert np.array_equal(rows(arena, tensor // 2, tensor % 2, slot)[: len(expected)], expected)


@given(st.lists(st.lists(st.integers(0, 60), min_size=6, max_size=6), min_size=1, max_size=6), st.integers(2, 12))
def test_a_step_ahead_ends_where_steps_one_after_the_other_do(prompts: list[list[int]], decodes: int) -> None:
    with made(ahead=STILL) as ahead, made(ahead=STILL) as plain:
        for arena in (ahead, plain):
            arena.alloc_slots(6, 1)
        for lens in prompts:
            for more in range(decodes):
                now = [min(64, tokens + more) if tokens else 0 for tokens in lens]
                missing = sum(max(0, LAYOUT.needed(tokens) - len(ahead.blocks(slot))) for slot, tokens in enumerate(now))
                assert ahead.step_async(now).check().mapped == missing
                assert not (more and missing)  # what a token more needs was there already
                ahead.join()
                plain.step(now).check()
                assert ahead.lens == plain.lens
                plain.step([min(64, tokens + 1) if tokens else 0 for tokens in now]).check()
                assert [len(blocks) for blocks in table(ahead)] == [len(blocks) for blocks in table(plain)]


def test_the_worker_looks_ten_tokens_ahead_and_maps_two_blocks_at_most() -> None:
    with made() as arena:
        slots = list(arena.alloc_slots(4, 8))
        arena.step_async(dict.fromkeys(slots, 4)).check()  # in five tokens a block is full: two of four get the next one now
        arena.join()
        assert sorted(len(arena.blocks(slot)) for slot in slots) == [1, 1, 2, 2]
        arena.step_async(dict.fromkeys(slots, 5)).check()
        arena.join()
        assert [len(arena.blocks(slot)) for slot in slots] == [2] * 4
        arena.step_async(dict.fromkeys(slots, 6)).check()
        arena.join()
        assert len(arena.blocks(4)) == 1  # nothing else to do: the next sequence, of a block as the last ones
        arena.step_async(dict.fromkeys(slots, 7)).check()
        arena.join()
        assert len(arena.blocks(4)) == 1


def test_decoding_waits_for_no_mapping() -> None:
    with made() as arena:
        slots = list(arena.alloc_slots(2, 8))
        arena.step_async(dict.fromkeys(slots, 8)).check()
        assert sum(arena.step_async(dict.fromkeys(slots, tokens)).mapped for tokens in range(9, 65)) == 0
        assert arena.lens[:2] == (64, 64)


def test_no_length_is_written_before_the_worker_is_done() -> None:
    """The worker is held in a call of the backend: another thread's step, and its lengths, wait."""
    held, go = threading.Event(), threading.Event()

    def sleep(_: float) -> None:
        if threading.current_thread().name.startswith("mnemos-arena"):
            held.set()
            assert go.wait(10)

    with made(backend=FakeBackend(sleep=sleep)) as arena:
        slot = arena.alloc_slot(8)
        arena.step_async({slot: 8}).check()
        assert held.wait(10)
        thread = threading.Thread(target=lambda: arena.step({slot: 9}))
        thread.start()
        time.sleep(0.05)
        assert arena.lens[slot] == 8
        assert thread.is_alive()
        go.set()
        thread.join(10)
        assert arena.lens[slot] == 9
        assert len(arena.blocks(slot)) == 2


def test_what_the_worker_failed_with_is_raised_by_the_next_step_and_nothing_is_lost() -> None:
    backend = FakeBackend()
    with made(backend=backend) as arena:
        slot = arena.alloc_slot(8)
        backend.fails = lambda verb, _: verb == "map" and threading.current_thread().name.startswith("mnemos-arena")
        arena.step_async({slot: 8}).check()
        with pytest.raises(BackendFailed, match="fault injected"):
            arena.step_async({slot: 9})
        assert arena.lens[slot] == 8
        backend.fails = None
        arena.step({slot: 9}).check()
        assert len(arena.blocks(slot)) == 2


def _prefix(arena: Arena, space: str = "") -> tuple[int, int]:
    """Two slots that share three blocks."""
    first, second = arena.alloc_slots(2, 28, space)
    arena.step({first: 28}).check()
    arena.map_common(first, [second], 3, 4).check()
    return first, second


CHANGES: dict[str, Callable[[Arena], object]] = {
    "step": lambda arena: arena.step({0: 40, 1: 30, 2: 9}),
    "step with reclamation": lambda arena: arena.step({0: 64, 1: 64, 2: 24}),
    "sharing": lambda arena: arena.map_common(0, [3], 2, 5),
    "reordering": lambda arena: arena.reorder([0, 1, 2], [2, 0, 0]),
    "swapping": lambda arena: arena.reorder([0, 2], [2, 0]),
    "writing": lambda arena: arena.unshare(1, 2, 20),
}


CALLS: dict[bool, dict[str, set[str]]] = {
    True: {
        "step": {"map"}, "step with reclamation": {"map", "unmap"}, "sharing": {"map", "copy"}, "reordering": {"map", "unmap", "copy"},
        "swapping": {"map", "unmap"}, "writing": {"map", "unmap", "copy"},
    },
    False: {
        "step": {"map"}, "step with reclamation": {"map", "unmap"}, "sharing": {"map", "copy"}, "reordering": {"map", "copy"},
        "swapping": {"map", "copy"}, "writing": set(),
    },
}  # fmt: skip
"""What each change calls of a backend, by whether it shares."""


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("verb", ["map", "unmap", "copy"])
@pytest.mark.parametrize("shares", [True, False])
def test_a_fault_anywhere_leaves_everything_as_it_was(change: str, verb: str, shares: bool) -> None:
    """Each call of the verb fails once, in turn, until the change gets through."""
    failures = 0
    for number in range(1, 200):
        backend = FakeBackend(shares=shares)
        with made(blocks=18 if shares else 19, backend=backend) as arena:
            _prefix(arena)
            arena.step({arena.alloc_slots(2, 16)[0]: 16}).check()
            arena.step({arena.alloc_slot(30): 30}).check()
            arena.free_slot(4)
            before = table(arena), arena.lens, arena.owners, arena.unmapped_blocks, arena.quotas.used(""), arena.num_free_blocks()
            start = backend.calls[verb]
            backend.fails = lambda name, count, start=start, number=number: name == verb and count == start + number  # type: ignore[misc]
            try:
                CHANGES[change](arena)
            except BackendFailed:
                failures += 1
                after = table(arena), arena.lens, arena.owners, arena.unmapped_blocks, arena.quotas.used(""), arena.num_free_blocks()
                assert after == before
                for tensor in range(LAYOUT.tensors):
                    for slot, blocks in enumerate(table(arena)):
                        there = [backend.handle_at(arena.span.base + LAYOUT.page_offset(tensor, slot, at)) for at in range(8)]
                        assert [handle is not None for handle in there] == [at < len(blocks) for at in range(8)]
                backend.fails = None
                CHANGES[change](arena)
            else:
                break
            finally:
                backend.fails = None
    assert number < 199
    assert bool(failures) == (verb in CALLS[shares][change])


def test_a_fault_while_scrubbing_gives_no_slot() -> None:
    backend = FakeBackend()
    with made(backend=backend) as arena:
        slots = arena.alloc_slots(2, 16, "a")
        arena.step(dict.fromkeys(slots, 16)).check()
        for slot in slots:
            arena.free_slot(slot)
        for number in range(1, 2 * 2 * LAYOUT.tensors + 1):
            start = backend.calls["zero"]
            backend.fails = lambda verb, count, start=start, number=number: verb == "zero" and count == start + number  # type: ignore[misc]
            with pytest.raises(BackendFailed):
                arena.alloc_slots(2, 16, "b")
            assert set(arena.owners) == {None}
            assert arena.alloc_slots(2, 16, "a") == slots
            for slot in slots:
                arena.free_slot(slot)
            backend.fails = None
        assert arena.alloc_slots(2, 16, "b") == slots


def test_memory_that_is_out_is_told_as_such() -> None:
    with pytest.raises(NoMemory, match="pages of 4,096 bytes are wanted"):
        Arena(LAYOUT, FakeBackend(limit=10 * 4096), budget=20 * BLOCK)
    with pytest.raises(StoreFull, match="the budget holds none"):
        Arena(LAYOUT, FakeBackend(), budget=BLOCK - 1)
    with made(blocks=2) as arena:
        slot = arena.alloc_slot(64)
        assert arena.step({slot: 24}).short == 1
        assert arena.reserve_physical(3 * BLOCK + 5) == 3
        arena.step({slot: 40}).check()
        assert arena.pool_blocks == 5


def test_without_a_budget_the_pool_is_what_slots_can_use_and_memory_allows() -> None:
    with Arena(LAYOUT, FakeBackend()) as arena:
        assert arena.pool_blocks == 6 * 8
    with Arena(LAYOUT, FakeBackend(limit=10 * BLOCK)) as arena:
        assert arena.pool_blocks == 9


@pytest.mark.parametrize("name", NAMES)
def test_a_prefix_of_sixteen_slots_is_there_once(name: str) -> None:
    layout = Layout(2, 2, 64, max_batch=17, max_ctx=64, page=4096)
    with Arena(layout, MAKERS[name]()) as arena:
        slots = list(arena.alloc_slots(17, 60))
        arena.step({slots[0]: 60}).check()
        arena.map_common(slots[0], slots[1:], 7, 4).check()
        distinct = {block for slot in slots for block in arena.blocks(slot)}
        assert len(distinct) == (7 + 17 if arena.capabilities.shares else 17 * 8)
        assert arena.held_bytes("") == len(distinct) * layout.block_bytes
        for slot in slots[:-1]:
            arena.free_slot(slot)
        assert arena.held_bytes("") == 8 * layout.block_bytes


def test_prefixes_are_not_shared_between_namespaces_or_with_slots_that_have_rows() -> None:
    with made() as arena:
        first, second = _prefix(arena, "a")
        other = arena.alloc_slot(0, "b")
        with pytest.raises(Invalid, match="namespace 'a' are not shared"):
            arena.map_common(first, [other], 1)
        with pytest.raises(Invalid, match="no tokens yet"):
            arena.map_common(first, [second], 1)
        with pytest.raises(Invalid, match="28 tokens, and 32 of it"):
            arena.map_common(first, [arena.alloc_slot(0, "a")], 4)
        with pytest.raises(Invalid, match="not given to another"):
            arena.reorder([first, other], [other, first])
        with pytest.raises(Invalid, match="each slot gets one source"):
            arena.reorder([first, first], [second, second])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda arena: arena.step({5: 1}), "slot 5 is not in use"),
        (lambda arena: arena.step({-1: 1}), "slot -1 is not in use"),
        (lambda arena: arena.step({0: 65}), "cannot have 65 tokens; it has room for 64"),
        (lambda arena: arena.step({0: -1}), "cannot have -1 tokens"),
        (lambda arena: arena.step([1]), "6 slots, and 1 lengths"),
        (lambda arena: arena.step([1, 1, 0, 0, 0, 0]), "slot 1 is not in use"),
        (lambda arena: arena.free_slot(3), "slot 3 is not in use"),
        (lambda arena: arena.alloc_slot(65), "at most 64 tokens"),
        (lambda arena: arena.alloc_slots(0, 1), "at least one"),
        (lambda arena: arena.unshare(0, 0, 1), "has 0 tokens"),
    ],
)
def test_calls_that_cannot_be_are_refused(call: Callable[[Arena], object], message: str) -> None:
    with made() as arena:
        arena.alloc_slot(1)
        with pytest.raises(Invalid, match=message):
            call(arena)


def test_no_slot_is_given_twice_and_none_after_cleanup() -> None:
    arena = made()
    assert [arena.alloc_slot(1) for _ in range(6)] == list(range(6))
    with pytest.raises(StoreFull, match="of 6 slots no 1 side by side are free"):
        arena.alloc_slot(1)
    arena.cleanup()
    arena.cleanup()
    for call in (lambda: arena.alloc_slot(1), lambda: arena.step({0: 1}), arena.num_free_blocks, lambda: arena.span):
        with pytest.raises(Invalid, match="was cleaned up"):
            call()


def test_many_threads_at_once_leave_the_blocks_in_order() -> None:
    """Eight threads, each with sequences of its own, over a pool that is too small for all of them."""
    backend = FakeBackend()
    errors: list[BaseException] = []
    with Arena(Layout(2, 2, 64, max_batch=16, max_ctx=64, page=4096), backend, budget=60 * BLOCK) as arena:

        def work(seed: int) -> None:
            rng = np.random.default_rng(seed)
            try:
                for _ in range(60):
                    slot = arena.alloc_slot(int(rng.integers(1, 40)), str(seed % 3))
                    tokens = int(rng.integers(1, 40))
                    while tokens < 64 and arena.step_async({slot: tokens}).error is None and rng.random() < 0.9:
                        tokens += int(rng.integers(1, 5))
                    arena.free_slot(slot)
            except BaseException as error:  # noqa: BLE001
                errors.append(error)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        arena.join()
        held = [block for blocks in table(arena) for block in blocks]
        assert len(held) == len(set(held)) == arena.pool_blocks - arena.unmapped_blocks
        assert arena.num_free_blocks() == 60
        assert all(arena.held_bytes(space) == 0 for space in "012")
