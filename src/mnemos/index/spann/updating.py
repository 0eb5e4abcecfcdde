"""Changing an index in place (SPFresh, arXiv 2410.14452, section 4): an insert only appends, and what it leaves to do waits for `tend`."""

from __future__ import annotations

import contextlib

import numpy as np

from mnemos.index.spann.codes import Floats
from mnemos.index.spann.lire import Lire
from mnemos.index.spann.list_writer import ListWriter
from mnemos.index.spann.mending import Mender
from mnemos.index.spann.parts import Numbers, Overtaken, Parts, Task
from mnemos.index.spann.renewing import Renewer

_STALE = 0.3
"""A list of which more is thought to be stale is written anew."""
_BATCH = 1024
_TRIES = 3
"""A step that was overtaken by changes so often is done while these wait."""
_AHEAD = 32
"""Pages of so many slots are fetched before vectors come to them, twice as many at a time."""


class Updater:
    """Changes of one index. Each method takes the locks for itself."""

    def __init__(self, parts: Parts, mender: Mender) -> None:
        self._parts = parts
        self.writer = ListWriter(parts, mender)
        self.lire = Lire(parts, mender, self.writer)
        self.renewer = Renewer(parts, mender, self.writer)
        self._cursor, self._before = 0, -1  # of a sweep: the next list; lists written anew before this round
        self._fetched = 0  # slots whose pages are there already
        self.changed = 0
        """Vectors that came since `settings` were chosen."""

    def add(self, ids: Numbers, vectors: Floats) -> None:
        """Put in `vectors` (m, dimensions), as the measure stores them, under `ids` (m,), all different; an id that has one gets the new one."""
        parts = self._parts
        most = parts.aside // (2 * parts.options.replicas * parts.entries.size)  # so many keep within what is left aside, beside as many before them
        batch = min(max(most, 1), _BATCH)
        for start in range(0, len(ids), batch):
            self._add(ids[start : start + batch], vectors[start : start + batch])

    def _add(self, ids: Numbers, vectors: Floats) -> None:
        parts = self._parts
        rotated = parts.rotate(vectors)
        with parts.lock:
            self.writer.settle(parts.aside // 2)
            before = parts.slots.map.find(ids)
            self._fetch(len(ids))
            slots = parts.slots.reserve(len(ids))
            try:
                parts.vectors.write(slots, vectors)
                if not len(parts.heads):
                    self.writer.create(rotated[0], np.zeros(0, dtype=np.int64), rotated[:0])
                homes, copies = self.writer.append(slots, parts.slots.stamps.view()[slots], rotated)
            except BaseException:
                parts.slots.give_back(slots)
                raise
            parts.slots.take(slots, ids, homes, copies)
            self._turned(*np.unique(homes, return_counts=True))
            self.changed += len(ids)
            if (before >= 0).any():
                self._release(before[before >= 0])
                parts.epoch += 1

    def _fetch(self, m: int) -> None:
        """Let the pages be read to which vectors come that are put in after the next `m`."""
        self._fetched -= m
        if self._fetched < _AHEAD:
            self._parts.vectors.ahead(self._parts.slots.next(2 * _AHEAD + m))
            self._fetched = 2 * _AHEAD

    def remove(self, ids: Numbers) -> int:
        """Let go of the vectors of `ids`; how many of them there were."""
        with self._parts.lock:
            slots = np.unique(self._parts.slots.map.find(ids))
            slots = slots[slots >= 0]
            self._release(slots)
            return len(slots)

    def _release(self, slots: Numbers) -> None:
        """The vectors in `slots` are gone; lists in which much is stale by now are to be written anew."""
        parts = self._parts
        homes, counts = np.unique(parts.slots.homes.view()[slots].astype(np.int64), return_counts=True)
        parts.slots.release(slots)
        self._turned(homes, counts)
        for number, count in zip(homes.tolist(), counts.tolist(), strict=True):
            dead = self.writer.dead[number] = self.writer.dead.get(number, 0) + count
            # Copies of others die as often as the vectors at home do.
            if dead * parts.lists.total > _STALE * int(parts.lists.table.view()["count"][number]) * max(1, len(parts.slots)):
                parts.waiting.setdefault(number, "merge")

    def _turned(self, homes: Numbers, counts: Numbers) -> None:
        """So many vectors came to lists, or went: where that is much of what is at home there, the list is to be renewed."""
        parts, after = self._parts, self._parts.options.renew_after
        turned = parts.turnover.count(homes, counts)
        if not after:
            return
        # About as many of its entries are at home in a list as elsewhere.
        due = turned * parts.lists.total > after * parts.lists.counts_of(homes) * max(1, len(parts.slots))
        for number in homes[due].tolist():
            if parts.waiting.get(number) != "split":
                parts.waiting[number] = "renew"  # which lets go of what is stale, too

    def settle(self, lists: int) -> bool:
        """Write what was appended to at most so many lists to them; whether more is to be written."""
        with self._parts.lock:
            self.writer.settle(0, lists)
            return self._parts.lists.pending > 0

    # -- what waits --
    def tend(self, steps: int) -> int:
        """Do at most `steps` of the splits and merges that wait; how many were done. One that fails goes on waiting."""
        parts, done = self._parts, 0
        while done < steps:
            with parts.upkeep:
                with parts.lock:
                    self.writer.settle(parts.aside // 2)
                    done += 1
                    if not parts.waiting and not self._swept():
                        if self._shrunk():
                            continue
                        return done - 1
                    number, task = parts.waiting.popitem(last=False)
                try:
                    self._do(task, number)
                except BaseException:
                    with parts.lock:
                        parts.waiting.setdefault(number, task)
                    raise
        return done

    def _do(self, task: Task, number: int) -> None:
        for tries in range(_TRIES + 1):
            with self._parts.lock if tries == _TRIES else contextlib.nullcontext():
                try:
                    if task == "split":
                        self.lire.split(number)
                    elif task == "merge" or not self.renewer.renew(number):
                        self.lire.merge(number)
                except Overtaken:
                    continue
                return
        with self._parts.lock:
            self._parts.waiting.setdefault(number, task)

    @property
    def stale(self) -> bool:
        """Whether more of the lists is stale than should be."""
        return self._parts.lists.total - self._parts.slots.entries > _STALE * self._parts.lists.total

    def _swept(self) -> bool:
        """Where more is stale than should be, and nobody knows where: let the next list be written anew."""
        parts = self._parts
        if not self.stale:
            return False
        numbers = parts.lists.numbers()
        at = int(np.searchsorted(numbers, self._cursor))
        if at == len(numbers):  # a round is over
            if self.writer.rewritten == self._before:  # nothing was stale: the count was wrong, as it is after failures
                parts.slots.entries = parts.lists.total
                return False
            at, self._before = 0, self.writer.rewritten
        number = int(numbers[at])
        self._cursor = number + 1
        parts.waiting[number] = "merge"
        return True

    def _shrunk(self) -> bool:
        """Where places of more vectors have taken the room of heads: let the shortest list be merged."""
        parts = self._parts
        memory = parts.options.memory
        if memory is None or parts.nbytes <= memory or len(parts.heads) < 2:
            return False
        numbers = parts.lists.numbers()
        with contextlib.suppress(Overtaken):  # by mending: the list is found again
            self.lire.merge(int(numbers[np.argmin(parts.lists.counts()[numbers])]), whole=True)
        return len(parts.heads) < len(numbers)
