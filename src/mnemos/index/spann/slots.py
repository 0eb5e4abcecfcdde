"""Where each vector is: its slot in the vector file, the stamp that its entries in lists must carry to count, and the list of its nearest head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.index.spann.attributes import Attributes
from mnemos.index.spann.tables import Table

Numbers = NDArray[np.int64]

NOWHERE = np.uint32(0xFFFFFFFF)
"""The home of a slot that holds no vector."""
_ROOM = 1024


class SortedMap:
    """Ids and their slots: two sorted arrays, and a dictionary of what has changed since they were sorted. 16 bytes an id."""

    def __init__(self, ids: Numbers | None = None, slots: Numbers | None = None) -> None:
        self._ids: Numbers = np.zeros(0, dtype=np.int64)
        self._slots: NDArray[np.uint32] = np.zeros(0, dtype=np.uint32)
        self._recent: dict[int, int] = {}
        self._count = 0
        if ids is not None and slots is not None:
            order = np.argsort(ids, kind="stable")
            self._ids, self._slots = ids[order], slots[order].astype(np.uint32)
            self._count = len(ids)

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        return self._ids.nbytes + self._slots.nbytes + 100 * len(self._recent)

    def find(self, ids: Numbers) -> Numbers:
        """The slot of each id; -1 where it is not known."""
        found = np.full(len(ids), -1, dtype=np.int64)
        if len(self._ids):
            at = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
            found = np.where(self._ids[at] == ids, self._slots[at].astype(np.int64), -1)
        if self._recent:
            recent = self._recent
            for i, key in enumerate(ids.tolist()):
                if (slot := recent.get(key)) is not None:
                    found[i] = slot
        return found

    def put(self, ids: Numbers, slots: Numbers) -> None:
        """Set the slots of ids; -1 forgets one."""
        before = self.find(ids)
        self._count += int(np.count_nonzero((before < 0) & (slots >= 0))) - int(np.count_nonzero((before >= 0) & (slots < 0)))
        if len(ids) > max(_ROOM, len(self._ids) // 4):
            self._merge(ids, slots)
            return
        self._recent.update(zip(ids.tolist(), slots.tolist(), strict=True))
        if len(self._recent) > max(_ROOM, len(self._ids) // 16):
            self._merge(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))

    def _merge(self, ids: Numbers, slots: Numbers) -> None:
        recent = self._recent | dict(zip(ids.tolist(), slots.tolist(), strict=True))
        keys = np.fromiter(recent.keys(), dtype=np.int64, count=len(recent))
        values = np.fromiter(recent.values(), dtype=np.int64, count=len(recent))
        kept = ~np.isin(self._ids, keys, kind="sort") if len(keys) else np.ones(len(self._ids), dtype=bool)
        there = values >= 0
        every, where = np.concatenate([self._ids[kept], keys[there]]), np.concatenate([self._slots[kept], values[there].astype(np.uint32)])
        order = np.argsort(every, kind="stable")
        self._ids, self._slots, self._recent = every[order], where[order], {}


class Slots:
    """The columns of all slots. A slot that was let go of is used again only after `published`: until then the last manifest may still need it."""

    def __init__(self, tables: Mapping[str, Table] | None = None) -> None:
        tables = tables or {"ids": Table(np.int64), "stamps": Table(np.uint32), "homes": Table(np.uint32), "copies": Table(np.uint8)}
        self.ids, self.stamps, self.homes, self.copies = tables["ids"], tables["stamps"], tables["homes"], tables["copies"]
        taken = np.flatnonzero(self.homes.view() != NOWHERE)
        self._free = np.flatnonzero(self.homes.view() == NOWHERE)[::-1].tolist()
        self._waiting: dict[int, list[int]] = {}
        self._begun = 0
        self.map = SortedMap(self.ids.view()[taken], taken)
        self.entries = int(self.copies.view().sum(dtype=np.int64))
        """About how many entries of lists count."""
        self.attributes = Attributes(tables)
        self.refilled: Callable[[Numbers], None] = lambda slots: None
        """Called with slots that hold another vector now, or none any more."""
        self._changes = 0

    def __len__(self) -> int:
        """How many vectors there are."""
        return len(self.map)

    @property
    def nbytes(self) -> int:
        columns = self.ids.nbytes + self.stamps.nbytes + self.homes.nbytes + self.copies.nbytes
        return columns + self.attributes.nbytes + self.map.nbytes + 40 * (len(self._free) + self.waiting)

    @property
    def waiting(self) -> int:
        """Slots that become free when the next manifest is published."""
        return sum(map(len, self._waiting.values()))

    def tables(self) -> dict[str, Table]:
        return {"ids": self.ids, "stamps": self.stamps, "homes": self.homes, "copies": self.copies, **self.attributes.tables()}

    @property
    def changes(self) -> int:
        """Grows whenever a slot holds something else, is at home elsewhere, or is marked otherwise."""
        return self._changes + self.attributes.changes

    def live(self) -> Numbers:
        """The slots that hold a vector."""
        return np.flatnonzero(self.homes.view() != NOWHERE)

    def empty(self) -> Numbers:
        """The slots that hold no vector."""
        return np.flatnonzero(self.homes.view() == NOWHERE)

    def reserve(self, m: int) -> Numbers:
        """`m` slots to write into, lowest first. They hold nothing until `take`."""
        reused = [self._free.pop() for _ in range(min(m, len(self._free)))]
        start, more = len(self.ids.view()), m - len(reused)
        if more:
            for table, empty in ((self.ids, 0), (self.stamps, 0), (self.homes, NOWHERE), (self.copies, 0)):
                table.resize(start + more)
                table.set(np.arange(start, start + more), np.full(more, empty))
        return np.array([*reused, *range(start, start + more)], dtype=np.int64)

    def next(self, m: int) -> Numbers:
        """The slots that held a vector before and are reserved next, at most `m`."""
        return np.array(self._free[-m:], dtype=np.int64)

    def take(self, slots: Numbers, ids: Numbers, homes: NDArray[Any], copies: NDArray[Any]) -> None:
        """The vectors in `slots` are those of `ids` from now on: at home in lists `homes`, and in so many in all."""
        self.ids.set(slots, ids)
        self.move(slots, homes, copies)
        self.map.put(ids, slots)
        self.refilled(slots)

    def release(self, slots: Numbers) -> None:
        """The vectors in `slots` are gone; their entries in lists no longer count."""
        held = slots[self.homes.view()[slots] != NOWHERE]
        ids = self.ids.view()[held]
        ours = self.map.find(ids) == held  # an id that moved to another slot keeps it
        self.map.put(ids[ours], np.full(int(ours.sum()), -1))
        self.move(slots, np.full(len(slots), NOWHERE), np.zeros(len(slots)))
        self.restamp(slots, 2)  # a move that failed may have left entries with the next stamp
        self._waiting.setdefault(self._begun, []).extend(slots.tolist())
        self.refilled(slots)

    def restamp(self, slots: Numbers, by: int = 1) -> None:
        """From now on entries count that were written with the stamp `by` later; none of the others for `slots` does."""
        self.stamps.set(slots, self.stamps.view()[slots] + np.uint32(by))

    def move(self, slots: Numbers, homes: NDArray[Any], copies: NDArray[Any] | None = None) -> None:
        """Slots are at home elsewhere, and, where that is given, in another number of lists."""
        self._changes += 1
        self.homes.set(slots, homes)
        if copies is not None:
            self.entries += int(copies.sum()) - int(self.copies.view()[slots].sum(dtype=np.int64))
            self.copies.set(slots, copies)

    def give_back(self, slots: Numbers) -> None:
        """Slots that were reserved, and not taken, are free at once: no manifest knows of a vector in them."""
        self.restamp(slots, 2)
        self._free = sorted([*self._free, *slots.tolist()], reverse=True)

    def hold(self, slots: Numbers, ids: Numbers) -> NDArray[np.bool_]:
        """Which of `slots` (m,) hold the vector of `ids` (m,)."""
        return np.asarray((self.ids.view()[slots] == ids) & (self.homes.view()[slots] != NOWHERE))

    def accounted(self) -> bool:
        """Whether each slot holds a vector, or is free, or will be: once."""
        unused = [*self._free, *(slot for slots in self._waiting.values() for slot in slots)]
        return bool(np.array_equal(np.sort(np.array(unused, dtype=np.int64)), self.empty()))

    def counts(self, slots: NDArray[np.uint32], stamps: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Which entries count: those with the stamp of their slot."""
        return np.asarray(self.stamps.view()[slots] == stamps)

    def begin(self) -> int:
        """Start of a manifest, which needs none of the slots released so far. Gives the number for `published`."""
        self._begun += 1
        return self._begun

    def published(self, begun: int) -> None:
        """The manifest begun with that number is durable: what was released before it may be used again."""
        for number in [number for number in self._waiting if number < begun]:
            self._free += self._waiting.pop(number)
        self._free.sort(reverse=True)
