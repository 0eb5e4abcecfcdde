"""The arena: slots whose sequences grow in place, over pages that are mapped as lengths need them."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from mnemos.activation.arena import sharing
from mnemos.activation.arena.backend import Backend
from mnemos.activation.arena.core import Ahead, Core
from mnemos.activation.arena.cpu import cpu_backend
from mnemos.activation.arena.layout import Layout
from mnemos.activation.arena.limits import NoAddressSpace
from mnemos.activation.arena.outcome import Preempt, Step
from mnemos.activation.arena.planning import Fit, best_fit
from mnemos.activation.arena.quotas import Quotas
from mnemos.activation.arena.span import Span
from mnemos.activation.arena.undo import Undo
from mnemos.base.errors import Invalid, StoreFull, shown

OF_FREE_MEMORY = 0.9
"""Share of the memory that is free at the start which a pool takes at most, where no budget is given."""


AHEAD = Ahead()
NOTHING = Step()


class Arena:
    """Virtual tensors for the keys and values of `layout.max_batch` sequences, and a pool of physical pages for them.

    Every call is safe from any thread: one lock guards all state, and a worker that maps ahead holds it until it is done, so no length is written
    before the worker's pages are in the table. Rows are not guarded: whoever has a slot writes to it alone. Views are valid until their slot is
    freed, or `cleanup`. An arena belongs to the process that made it: a child of a fork gets `Invalid`, and no memory.

    `budget` bytes of pages are made at once: at most what all slots can use, and without a budget at most 0.9 of the free memory. `scrub` overwrites
    pages before a namespace gets those of another. `ahead` bounds what `step_async` maps ahead. `shrink` takes fewer slots where address space is
    limited. `fit` chooses slots.

    Raises `NoAddressSpace` (`limits`) where a limit of the system forbids the reservation, `StoreFull` where the budget holds not one block.
    """

    def __init__(
        self,
        layout: Layout,
        backend: Backend | None = None,
        *,
        budget: int | None = None,
        quotas: Quotas | None = None,
        preempt: Preempt | None = None,
        scrub: bool = True,
        ahead: Ahead = AHEAD,
        shrink: bool = False,
        fit: Fit = best_fit,
    ) -> None:
        self._closed = True
        self.backend = backend if backend is not None else cpu_backend()
        self.capabilities = self.backend.capabilities()
        self._process = os.getpid()
        if layout.page % self.backend.granularity:
            raise Invalid(f"a page of {layout.page:,} bytes is no multiple of the {self.backend.granularity:,} that {self.backend.name} can map")
        alignment = layout.page & -layout.page  # huge pages want theirs
        try:
            span = Span(self.backend, layout.nbytes, alignment)
        except NoAddressSpace as error:
            if not shrink:
                raise
            layout = layout.within(error.left - alignment)
            span = Span(self.backend, layout.nbytes, alignment)
        self.layout = layout
        self.quotas = quotas if quotas is not None else Quotas()
        self._span: Span | None = span
        self._preempt = preempt
        self._lock = threading.Lock()
        self._worker: ThreadPoolExecutor | None = None
        self._failure: BaseException | None = None
        self._given_up: deque[tuple[list[int], bool]] = deque()
        self._core = Core(layout, self.backend, span.base, self.quotas, scrub, fit, ahead)
        span.before(self._core.close)
        self._closed = False
        most = layout.max_batch * layout.blocks_per_slot * layout.block_bytes
        if not self.reserve_physical(min(most, int(self.backend.available_bytes() * OF_FREE_MEMORY) if budget is None else budget)):
            self.cleanup()
            raise StoreFull(f"a block takes {layout.block_bytes:,} bytes (a page of each of {layout.tensors} tensors), and the budget holds none")

    def __enter__(self) -> Arena:
        return self

    def __exit__(self, *_: object) -> None:
        self.cleanup()

    def __del__(self) -> None:
        if not self._closed and os.getpid() == self._process and not sys.is_finalizing():
            self.cleanup()

    @property
    def span(self) -> Span:
        """The reservation, for views. Raises `Invalid` after `cleanup`."""
        if self._span is None:
            raise Invalid("the arena was cleaned up: make a new one")
        return self._span

    @property
    def lens(self) -> tuple[int, ...]:
        """Tokens of each slot, as of the last step."""
        return tuple(self._core.lens)

    @property
    def owners(self) -> tuple[str | None, ...]:
        """The namespace of each slot; None where it is free."""
        return tuple(self._core.owners)

    def mapped(self, slot: int) -> int:
        """Tokens for which the slot has pages."""
        return len(self._core.table.blocks[slot]) * self.layout.tokens_per_page

    def blocks(self, slot: int) -> tuple[int, ...]:
        """The blocks of a slot, by number; slots that share one have the same."""
        return tuple(self._core.table.blocks[slot])

    @property
    def pool_blocks(self) -> int:
        """Blocks that there are, free or mapped."""
        return self._core.pool.there

    @property
    def unmapped_blocks(self) -> int:
        """Blocks that are mapped nowhere."""
        return self._core.pool.free

    def num_free_blocks(self) -> int:
        """Blocks that a step can still get: those in the pool, and those mapped beyond need."""
        with self._entered():
            return self._core.pool.free + self._core.surplus(self._core.lens)

    def held_bytes(self, namespace: str) -> int:
        """Bytes of the pages that the namespace's sequences need, a shared page once: what it is charged for in this arena."""
        return self._core.charged.get(namespace, 0) * self.layout.block_bytes

    def reserve_physical(self, nbytes: int) -> int:
        """Adds the whole blocks that `nbytes` hold to the pool, and gives how many. Raises `NoMemory` where the system has not as much."""
        with self._entered():
            blocks = nbytes // self.layout.block_bytes
            self._core.pool.grow(blocks)
            return blocks

    def release_physical(self) -> int:
        """Takes the blocks that are mapped nowhere out of the pool, and gives how many. Their memory is for others."""
        with self._entered():
            return self._core.pool.retire(self._core.pool.free)

    def set_deferred_reclamation(self, deferred: bool) -> None:
        """With True, the start, pages of freed slots stay until somebody needs them. With False each step that maps nothing takes one block back."""
        with self._entered():
            self._core.deferred = deferred

    def alloc_slot(self, seq_len: int, namespace: str = "") -> int:
        """A free slot for a sequence that will have `seq_len` tokens, by best fit. Its length is 0 until a step. Raises as `alloc_slots`."""
        return self.alloc_slots(1, seq_len, namespace)[0]

    def alloc_slots(self, count: int, seq_len: int, namespace: str = "") -> range:
        """Adjacent free slots for a batch, by best fit. Raises `StoreFull` where there are not so many side by side."""
        if not 0 <= seq_len <= self.layout.max_ctx or count < 1:
            raise Invalid(f"{count} sequences of {seq_len} tokens: at least one, of at most {self.layout.max_ctx} tokens (max_ctx)")
        with self._entered():
            needed = self.layout.needed(seq_len)
            first = self._core.choose(count, needed)
            if first is None:
                raise StoreFull(f"of {self.layout.max_batch} slots no {count} side by side are free: free some, or raise max_batch")
            slots = range(first, first + count)
            self._core.take(slots, namespace)
            self._core.arrivals.append(needed)
            return slots

    def free_slot(self, slot: int) -> None:
        """The sequence is over. Its pages stay for the next one, but for shared ones, which others read."""
        with self._entered():
            self._core.free([self._owned(slot)])

    def free_slots(self, slots: Sequence[int], pages: bool = False) -> None:
        """As `free_slot` for each, and with `pages` these go back to the system."""
        with self._entered():
            self._free([self._owned(slot) for slot in slots], pages)

    def give_back(self, slots: Iterable[int] = ()) -> int:
        """Pages that these slots, in use or free, have beyond need go back to the system now, and how many blocks that were."""
        with self._entered():
            return sum(self._core.give_back(slot) for slot in slots)

    def give_up(self, slots: Iterable[int], pages: bool = False) -> None:
        """As `free_slots`, at the next call of anything: for finalizers, which may run while this thread is inside another call."""
        self._given_up.append((list(slots), pages))

    def step(self, lens: Sequence[int] | Mapping[int, int], eager_reclaim: bool = False) -> Step:
        """Maps what slots need for lengths *after* this iteration: of all slots, in order (0 for free ones), or of those named.

        Nothing changes where a slot does not fit, after what `preempt` gave up: `Step.unfit` names those that want most. `eager_reclaim` takes back
        all pages beyond need. Raises `Invalid` for lengths that cannot be, `BackendFailed` and `NoMemory` (nothing changed) where the system fails.
        """
        return self._stepped(lens, eager_reclaim, ahead=False)

    def step_async(self, lens: Sequence[int] | Mapping[int, int]) -> Step:
        """As `step`, and then, while the caller computes, a worker maps what the next token needs, and a little ahead.

        What the worker cannot map is left to the next step. Where its backend fails, the next step (or `join`) raises.
        """
        return self._stepped(lens, False, ahead=True)

    def join(self) -> None:
        """Returns when the worker is done. Raises what it failed with."""
        self._check_process()
        with self._lock:
            failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def map_common(self, src_slot: int, dst_slots: Sequence[int], n_blocks: int, tail: int = 0) -> Step:
        """Slots that are empty get the first blocks of another as their own, by sharing its pages, and copies of `tail` rows more.

        Their length is `n_blocks` times `tokens_per_page`, and `tail`. All are of one namespace, for rows are its own. Whole pages are shared, and
        writing beyond them touches none; who writes earlier (after a crop) gets a copy first. Where a backend cannot share, rows are copied. Where
        pages for copies do not fit nothing changes, and the step says so.
        """
        with self._entered():
            slots = [self._owned(slot) for slot in dst_slots]
            tokens = n_blocks * self.layout.tokens_per_page + tail
            if not 0 <= tail < self.layout.tokens_per_page or n_blocks < 0 or tokens > self._core.lens[self._owned(src_slot)]:
                raise Invalid(f"slot {src_slot} has {self._core.lens[src_slot]} tokens, and {tokens} of it are to be shared")
            if any(self._core.lens[slot] for slot in slots) or len({*slots, src_slot}) <= len(slots):
                raise Invalid("a prefix is shared with other slots, each once, that have no tokens yet")
            if {self._core.owners[slot] for slot in slots} - {self._core.owners[src_slot]}:
                raise Invalid(f"rows of namespace {self._core.owners[src_slot]!r} are not shared with another")
            return sharing.map_common(self._core, src_slot, slots, n_blocks, tail)

    def reorder(self, slots: Sequence[int], sources: Sequence[int]) -> Step:
        """`slots[i]` gets what `sources[i]` has, all at once; pages move, and are shared where several slots get the same.

        Rows are copied only in the last page of a slot that is not the first to get it, and where the backend cannot move pages. All are of one
        namespace. Where pages for copies do not fit nothing changes, and the step says so.
        """
        with self._entered():
            if len(slots) != len(sources) or len(set(slots)) != len(slots):
                raise Invalid("each slot gets one source")
            if len({self._core.owners[self._owned(slot)] for slot in (*slots, *sources)}) > 1:
                raise Invalid("rows of a namespace are not given to another")
            return sharing.reorder(self._core, dict(zip(slots, sources, strict=True)))

    def unshare(self, slot: int, start: int, stop: int) -> Step:
        """Pages of the rows from `start` up to `stop` become the slot's own, for edits in place. Where they do not fit nothing changes."""
        with self._entered():
            if not 0 <= start <= stop <= self._core.lens[self._owned(slot)]:
                raise Invalid(f"slot {slot} has {self._core.lens[slot]} tokens, and none from {start} to {stop}")
            return self._core.fit({slot: self._core.lens[slot]}, writes={slot: range(start, stop)})

    def cleanup(self) -> None:
        """Gives all pages back. Views that are left read as zero on a CPU, and must not be read on a GPU. Does nothing a second time."""
        if self._closed:
            return
        with self._entered():
            self._core.close()
            self._span, self._closed = None, True
            if self._worker is not None:
                self._worker.shutdown(wait=False)

    def _stepped(self, lens: Sequence[int] | Mapping[int, int], eager_reclaim: bool, ahead: bool) -> Step:
        if isinstance(lens, Mapping) and not eager_reclaim and self._advanced(lens, ahead):
            return NOTHING
        while True:
            with self._entered() as handed:
                failure, self._failure = self._failure, None
                if failure is not None:
                    raise failure
                named = self._checked(lens)
                step = self._core.fit(named, eager_reclaim)
                if ahead and step.error is None and (places := self._core.ahead()):
                    self._hand(places)
                    handed()
            victims = list(self._preempt(step)) if step.error is not None and self._preempt is not None else []
            if not victims:
                return step
            self.give_up(victims)
            lens = {slot: tokens for slot, tokens in named.items() if slot not in victims}

    def _advanced(self, lens: Mapping[int, int], ahead: bool) -> bool:
        """Most steps of decoding, which change nothing but lengths, in a few microseconds. What is not plain is left to the long way."""
        if os.getpid() != self._process:
            return False
        with self._lock:
            return not (self._closed or self._given_up or self._failure) and self._core.advance(lens, ahead)

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise Invalid("an arena cannot be used in a child of the process that made it: make one after the fork")

    @contextmanager
    def _entered(self) -> Iterator[Callable[[], None]]:
        """The lock, and with it the worker's end. What is given is called where the lock has been handed to the worker, which releases it."""
        self._check_process()
        mine = [True]
        self._lock.acquire()
        try:
            if self._closed:
                raise Invalid("the arena was cleaned up: make a new one")
            while self._given_up:
                self._free(*self._given_up.popleft())
            yield mine.clear
        finally:
            if mine:
                self._lock.release()

    def _free(self, slots: Sequence[int], pages: bool) -> None:
        self._core.free(slots)
        for slot in slots if pages else ():
            self._core.give_back(slot)

    def _owned(self, slot: int) -> int:
        if not 0 <= slot < self.layout.max_batch or self._core.owners[slot] is None:
            raise Invalid(f"slot {shown(slot)} is not in use: `alloc_slot` gives one")
        return slot

    def _checked(self, lens: Sequence[int] | Mapping[int, int]) -> dict[int, int]:
        """Lengths by slot, of slots that are in use."""
        if isinstance(lens, Mapping):
            named = dict(lens)
        elif len(lens) == self.layout.max_batch:
            named = {slot: tokens for slot, tokens in enumerate(lens) if tokens or self._core.owners[slot] is not None}
        else:
            raise Invalid(f"there are {self.layout.max_batch} slots, and {len(lens)} lengths")
        for slot, tokens in named.items():
            self._owned(slot)
            if not 0 <= tokens <= self.layout.max_ctx:
                raise Invalid(f"slot {slot} cannot have {shown(tokens)} tokens; it has room for {self.layout.max_ctx} (max_ctx)")
        return named

    def _hand(self, places: Sequence[tuple[int, int]]) -> None:
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, "mnemos-arena")
        self._worker.submit(self._map_ahead, places)

    def _map_ahead(self, places: Sequence[tuple[int, int]]) -> None:
        """In the worker, which holds the lock that the caller handed over."""
        try:
            with Undo() as undo:
                for slot, count in places:
                    self._core.grow(slot, count, undo)
        except BaseException as error:  # noqa: BLE001  (the next step raises it, in the caller's thread)
            self._failure = error
        finally:
            self._lock.release()
