"""Rows for a batch: adjacent slots of an arena, seen as one tensor. Caches, and the rooms of KV memories, get their memory here."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch

from mnemos.activation.arena.arena import Arena
from mnemos.activation.arena.tensors import tensor
from mnemos.base.errors import Invalid


class Lease:
    """Slots for the sequences of a batch, which all have `tokens` tokens.

    `open`, and then before each writing `write(start, stop)`; rows up to `tokens` stay where they are, whatever comes after them. The slots go back
    when the lease is closed or gone. Not safe for threads: a lease belongs to one cache. Leases of one arena may be used in different threads.
    With `overlap` the arena's worker maps ahead while the caller computes. With `returns` pages that are not needed any more go back to the system
    at once; without, they wait for whoever needs some.
    """

    def __init__(self, arena: Arena, namespace: str = "", overlap: bool = True, returns: bool = False) -> None:
        self.arena = arena
        self.namespace = namespace
        self.returns = returns
        self.slots = range(0)
        self.tokens = 0
        self._own_from = 0
        """Rows from here on are in pages that no other slot reads."""
        self._step = arena.step_async if overlap else arena.step
        self._end: weakref.finalize[[range], Lease] | None = None

    @property
    def batch(self) -> int:
        """Sequences; 0 where the lease is not open."""
        return len(self.slots)

    def open(self, batch: int, tokens: int = 0) -> None:
        """Takes slots for so many sequences, which will soon have so many tokens. Raises `StoreFull` where there are not so many side by side."""
        if self.batch:
            raise Invalid(f"the lease is open already, for {self.batch} sequences")
        self._take(self.arena.alloc_slots(batch, min(tokens, self.arena.layout.max_ctx), self.namespace))
        self.tokens = self._own_from = 0

    def view(self, layer: int, plane: int) -> torch.Tensor:
        """A layer's plane of the batch: (batch, kv_heads, max_ctx, head_dim), of which rows up to `tokens` are there. Valid until `close`."""
        return tensor(self.arena, layer, plane)[self.slots.start : self.slots.stop].transpose(1, 2)

    def write(self, start: int, stop: int) -> None:
        """Sees to it that rows `start` to `stop` of all layers and planes can be written to, and no other slot sees it.

        Raises `OverQuota` or `StoreFull` where they do not fit, and `Invalid` beyond max_ctx; then nothing has changed.
        """
        if start < self._own_from and start < self.tokens:
            for slot in self.slots:
                self.arena.unshare(slot, start, min(self._own_from, self.tokens)).check()
            self._own_from = start
        if stop > self.tokens:
            self._step(dict.fromkeys(self.slots, stop)).check()
            self.tokens = stop

    def trim(self, tokens: int) -> None:
        """Rows beyond `tokens` are given up."""
        if tokens < self.tokens:
            self.arena.step(dict.fromkeys(self.slots, tokens)).check()
            self.tokens, self._own_from = tokens, min(self._own_from, tokens)
            if self.returns:
                self.arena.give_back(self.slots)

    def select(self, indices: Sequence[int]) -> None:
        """The batch becomes sequences `indices` of what it is, in that order, each as often as it is named. Views of before are void where it grows.

        Whole pages are shared by those that are the same, and moved where they only change places. Raises as `write`.
        """
        sources = [self.slots[index] for index in indices]
        old, slots = self.slots, self.slots[: len(sources)]
        if len(sources) > len(old):
            slots = self.arena.alloc_slots(len(sources), self.tokens, self.namespace)
        try:
            self.arena.reorder(slots, sources).check()
        except BaseException:
            for slot in slots if slots.start != old.start else ():
                self.arena.free_slot(slot)
            raise
        for slot in set(old) - set(slots):
            self.arena.free_slot(slot)
        self._take(slots)
        self._own_from = self.tokens

    def fork(self) -> Lease:
        """Another lease with the same rows: whole pages are shared, the last one of each sequence is copied. Raises as `write`."""
        twin = Lease(self.arena, self.namespace, self._step == self.arena.step_async, self.returns)
        twin.open(self.batch, self.tokens)
        for source, target in zip(self.slots, twin.slots, strict=True):
            self.arena.map_common(source, [target], *divmod(self.tokens, self.arena.layout.tokens_per_page)).check()
        twin.tokens = twin._own_from = self._own_from = self.tokens
        return twin

    def close(self) -> None:
        """Gives the slots back. Their pages stay in the arena for whoever comes next, unless the lease returns them."""
        if self._end is not None:
            self._end.detach()
        self.arena.free_slots(self.slots, self.returns)
        self.slots, self.tokens, self._own_from = range(0), 0, 0

    def _take(self, slots: range) -> None:
        if self._end is not None:
            self._end.detach()
        self.slots = slots
        self._end = weakref.finalize(self, self.arena.give_up, slots, self.returns)
        self._end.atexit = False


def extend(leases: Sequence[Lease], tokens: int) -> None:
    """All these leases of one arena, none of which has more, get room for so many tokens, or none does. Raises as `Lease.write`."""
    leases[0].arena.step({slot: tokens for lease in leases for slot in lease.slots}).check()
    for lease in leases:
        lease.tokens = tokens
