"""Entries of vectors into lists, and lists by heads: what an insert and every step of upkeep is made of.

An entry is written first and counts when its slot has its stamp: a step that fails in the middle leaves what was there before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mnemos.index.spann.closure import assign
from mnemos.index.spann.codes import Bytes, Floats
from mnemos.index.spann.lists import DamagedLists
from mnemos.index.spann.mending import Mender
from mnemos.index.spann.parts import Numbers, Overtaken, Parts

_LATE = 8
"""Vectors that came to lists while it was thought about these, and are written anew; with more, it is thought about again."""


class ListWriter:
    """Writes the lists of one index. Whoever calls holds `parts.lock`."""

    def __init__(self, parts: Parts, mender: Mender) -> None:
        self._parts, self._mender = parts, mender
        self.dead: dict[int, int] = {}
        """Per list, how many vectors at home there are gone since it was written anew."""
        self.rewritten = 0
        """Lists written anew."""

    def append(self, slots: Numbers, stamps: NDArray[np.uint32], rotated: Floats) -> tuple[Numbers, Numbers]:
        """Append entries of vectors to the lists that they belong to; the homes of the slots, and in how many lists they are. Nothing counts yet."""
        parts, options = self._parts, self._parts.options
        chosen = assign(
            rotated, parts.heads, candidates=options.candidates, epsilon=options.epsilon, rng_factor=parts.rng_factor, replicas=options.replicas
        )
        rows, places = np.nonzero(chosen >= 0)
        numbers, limit = chosen[rows, places], parts.limit
        order = np.argsort(numbers, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1):
            if len(group):
                self.append_to(int(numbers[group[0]]), slots[rows[group]], stamps[rows[group]], rotated[rows[group]], limit)
        return np.asarray(chosen[:, 0], dtype=np.int64), np.count_nonzero(chosen >= 0, axis=1)

    def append_to(self, number: int, slots: Numbers, stamps: NDArray[np.uint32], rotated: Floats, limit: int) -> None:
        """Append entries of vectors to one list, which waits for a split where it gets longer than `limit`."""
        parts = self._parts
        self.extend(number, parts.entries.write(slots.astype(np.uint32), stamps, rotated, parts.heads.vector(number)), limit)

    def extend(self, number: int, entries: Bytes, limit: int) -> None:
        """Append entries to one list, which waits for a split where it gets longer than `limit`."""
        if self._parts.lists.append(number, entries) > limit:
            self._parts.waiting[number] = "split"

    def settle(self, most: int, lists: int | None = None) -> None:
        """See `Lists.settle`; a list that has to be read for it and is damaged is made again. What that makes of a list is its vectors at home: so no
        entry may be in a tail whose slot is not at home anywhere yet."""
        while True:
            try:
                return self._parts.lists.settle(most, lists)
            except DamagedLists as damage:
                self._mender.mend(damage)

    def create(self, head: Floats, slots: Numbers, rotated: Floats) -> int:
        """A new list of vectors in `slots` that are in lists already, or none; its number."""
        parts = self._parts
        return self.put(head, parts.entries.write(slots.astype(np.uint32), parts.slots.stamps.view()[slots], rotated, head))

    def put(self, head: Floats, entries: Bytes) -> int:
        """A new list of entries; its number."""
        parts = self._parts
        number = parts.heads.add(head)
        try:
            parts.lists.create(number, head, entries)
        except BaseException:
            parts.heads.remove(number)
            raise
        parts.turnover.forget(np.array([number]))
        return number

    def drop(self, number: int) -> None:
        """Take away a list with its head: what is in it is at home elsewhere by now."""
        self._parts.lists.drop(number)
        self._parts.heads.remove(number)
        self._parts.waiting.pop(number, None)
        self.dead.pop(number, None)

    def held(self, number: int) -> tuple[Bytes, int]:
        """The entries of a list that count, each slot once; and how many entries there are."""
        parts = self._parts
        raw = self._mender.read(number)
        live = raw[parts.live(raw)]
        first = np.unique(parts.entries.slots(live), return_index=True)[1]
        return live[np.sort(first)], len(raw)

    def rewrite(self, number: int, live: Bytes) -> None:
        """Let a list have only the entries `live`."""
        self._parts.lists.create(number, self._parts.heads.vector(number), live)
        self.dead.pop(number, None)
        self.rewritten += 1

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """From here on `since` knows whether a list has other content than it had."""
        lists = self._parts.lists
        before, lists.replaced = lists.replaced, set()
        try:
            yield
        finally:
            lists.replaced = before

    def since(self, numbers: Numbers, counts: Numbers) -> dict[int, Bytes]:
        """What came to the lists `numbers` (m,), which had so many entries, by place, where anything did. Raises `Overtaken` where these are others
        by now."""
        lists = self._parts.lists
        grown = np.flatnonzero(lists.counts_of(numbers) > counts)
        came = {place: self._mender.read(int(numbers[place]))[counts[place] :] for place in grown.tolist()}
        if lists.replaced and not lists.replaced.isdisjoint(numbers.tolist()):
            raise Overtaken
        return came

    def late(self, numbers: Numbers, counts: Numbers) -> tuple[Numbers, Floats]:
        """The slots and vectors that came to lists, see `since`, while it was thought of what to put in their place. Raises `Overtaken` where they
        are many."""
        parts = self._parts
        came = np.concatenate([*self.since(numbers, counts).values(), np.zeros((0, parts.entries.size), dtype=np.uint8)])
        slots = np.unique(parts.entries.slots(came)[parts.live(came)]).astype(np.int64)
        if len(slots) > _LATE:
            raise Overtaken
        return slots, self._mender.vectors(slots)

    def recount(self, slots: Numbers, more: Numbers, stamps: NDArray[np.uint32]) -> None:
        """So many `more` lists hold `slots` (m,), which may stand there several times; those that have other `stamps` (m,) by now are left alone."""
        held = self._parts.slots
        same = held.counts(slots.astype(np.uint32), stamps)
        slots, more = slots[same], more[same]
        slots, where = np.unique(slots, return_inverse=True)
        copies = held.copies.view()[slots] + np.bincount(where, weights=more).astype(np.int64)
        held.move(slots, held.homes.view()[slots], np.clip(copies, 1, np.iinfo(np.uint8).max))

    def write_anew(self, slots: Numbers, rotated: Floats) -> None:
        """Put entries of the vectors in `slots` into all lists that they belong to, under a new stamp: no other entry of theirs counts any more."""
        parts = self._parts
        stamps = parts.slots.stamps.view()[slots] + np.uint32(1)
        homes, copies = self.append(slots, stamps, rotated)
        parts.slots.restamp(slots)
        parts.slots.move(slots, homes, copies)
        parts.epoch += 1
