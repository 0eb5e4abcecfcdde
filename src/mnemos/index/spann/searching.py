"""Searching: the lists of the nearest heads, ranked by codes; the best of those, ranked by their vectors (SPANN, section 3.3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.index.spann.attributes import Wheres
from mnemos.index.spann.codes import Bytes, Floats
from mnemos.index.spann.filters import Allowed, Filter, Remembered
from mnemos.index.spann.lists import DamagedLists
from mnemos.index.spann.mending import Mender
from mnemos.index.spann.narrow import Narrow, deeper
from mnemos.index.spann.parts import UNLIMITED, Numbers, Parts
from mnemos.index.spann.pruning import best_distinct, kth_distinct, worth
from mnemos.index.spann.scanning import Found, Scanner
from mnemos.index.spann.vector_file import DamagedVectors

_WIDEST = 32
"""Under a filter at most so many times more lists are read at first."""
_STEP = 32
_TRIES = 4
"""A look that was overtaken by changes so often is made under the lock."""


Candidates = tuple[NDArray[np.uint32], NDArray[np.uint32], Floats, int]
"""Of entries their slots, stamps and estimated squared distances; and the bytes that were read."""


class Searcher:
    """Searches of one index. Thread-safe: it holds the lock only to look among the heads and to check its answer, and longer where changes overtook
    it several times."""

    def __init__(self, parts: Parts, mender: Mender) -> None:
        self._parts, self._mender = parts, mender  # who reads again, under the lock, what looks damaged: it may only have been changed meanwhile
        self._scanner = Scanner(parts, mender)
        self._narrow = Narrow(parts, mender, self._scanner)
        self._remembered = Remembered(parts)

    @property
    def nbytes(self) -> int:
        """Bytes in memory that searches hold for the next ones."""
        return self._remembered.nbytes

    def _filter(self, allowed: Allowed | None, wheres: Wheres) -> Filter | None:
        return Filter(self._parts, allowed, wheres, self._remembered) if allowed is not None or wheres else None

    def search(
        self,
        query: Floats,
        k: int,
        allowed: Allowed | None = None,
        lists: int | None = None,
        rescore: int | None = None,
        spread: float | None = None,
        wheres: Wheres = (),
    ) -> Found:
        """The `k` nearest of the vectors that are `allowed` and fulfil `wheres` (fewer only where fewer exist) to `query` (dimensions,), as the
        measure asks it."""
        settings = self._parts.settings
        if self._parts.building or not len(self._parts.heads):
            return self.exact(query, k, allowed, wheres)
        wide = settings.lists if lists is None else lists
        spread = settings.spread if spread is None else spread
        read = max(settings.rescore if rescore is None else rescore, k)
        filter, wanted = self._filter(allowed, wheres), 0
        if filter is not None and (found := self._narrow.small(query, k, filter)) is not None:
            return found
        rotated = self._rotated(query)
        if filter is not None:
            among = self._narrow.search(query, rotated, k, filter, wide, read, rescore is None)
            if among is not None:
                return among
            read = deeper(read, filter.share) if rescore is None else read
            wanted = int(wide * len(self._parts.slots) / len(self._parts.heads))
            wide = int(min(wide / max(filter.share, 1 / _WIDEST), len(self._parts.heads)))
            spread = UNLIMITED if filter.share < 0.5 else spread
        tries = 0
        while True:
            with self._beside(tries):
                found = self._search(query, rotated, k, filter, wide, read, spread, wanted)
            if found is None:
                tries += 1
            elif len(found.ids) >= k or found.exact:
                return found
            else:  # the nearest lists hold too few: look farther
                wide, spread = 4 * max(wide, 1), UNLIMITED

    def _search(
        self, query: Floats, rotated: Floats, k: int, filter: Filter | None, wide: int, rescore: int, spread: float, wanted: int
    ) -> Found | None:
        """One look; None where lists were changed meanwhile, or had to be mended. Nothing is found where what is read holds fewer than `wanted` that
        the filter lets through, and there is more: the nearest of those may be elsewhere."""
        parts = self._parts
        with parts.lock:
            epoch, every = parts.epoch, len(parts.heads)
            if not every:
                return self._among(query, k, filter)
            numbers, squares = parts.heads.nearest(rotated[None], min(wide, every))
        near, to_head = numbers[0][numbers[0] >= 0], squares[0][numbers[0] >= 0]
        reached = len(near) >= every
        if filter is not None and (useful := filter.useful(near)) is not None:
            near, to_head = near[useful], to_head[useful]
        first = parts.settings.first if spread < UNLIMITED else len(near)
        candidates = self._candidates(rotated, near[:first], to_head[:first], filter)
        if candidates is None:
            return None
        if first < len(near):
            kth = kth_distinct(candidates[0], candidates[2], k)
            read = worth(to_head, parts.lists.counts_of(near), parts.typical, kth, first, spread)
            near, to_head = near[read], to_head[read]
            if first < len(near):
                others = self._candidates(rotated, near[first:], to_head[first:], filter)
                if others is None:
                    return None
                candidates = _joined(candidates, others)
        slots, stamps, estimates, nbytes = candidates
        if wanted and not reached and len(np.unique(slots)) < wanted:
            return Found(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32), False)
        best = best_distinct(slots, estimates, rescore)
        vectors = self._vectors(slots[best].astype(np.int64), stamps[best])
        if vectors is None:
            return None
        with parts.lock:
            if parts.epoch != epoch:
                return None
            counts = parts.slots.counts(slots[best], stamps[best])
            ids = parts.slots.ids.view()[slots[best][counts]]
        ids, vectors = self._permitted(filter, slots[best][counts], ids, vectors[counts])
        order, distances = self._scanner.order(query, vectors, ids, k)
        if len(order) < k and len(best) >= rescore:  # some of the best went meanwhile, and others would be among them
            return None
        return Found(ids[order], distances, reached and len(best) < rescore, len(near), nbytes + vectors.nbytes)

    def _candidates(self, rotated: Floats, near: Numbers, to_head: Floats, filter: Filter | None) -> Candidates | None:
        """Slots, stamps and estimated squared distances of the entries that count, of lists `near`, and the bytes read; None where a list was changed
        since it was chosen, or had to be mended."""
        parts = self._parts
        try:
            raw = parts.lists.read_many(near.tolist(), cached=True)
        except DamagedLists as damage:
            with parts.lock:
                for number in damage.lists:
                    if number in parts.heads:
                        self._mender.read(number)
            return None
        entries: Bytes = np.concatenate(raw) if raw else np.zeros((0, parts.entries.size), dtype=np.uint8)
        nbytes = entries.nbytes
        distance = np.repeat(to_head, [len(one) for one in raw]) if raw else np.zeros(0, dtype=np.float32)
        slots, stamps = parts.entries.slots(entries), parts.entries.stamps(entries)
        counts = parts.slots.counts(slots, stamps)
        if filter is not None:
            held = np.flatnonzero(counts)
            counts[held] = filter.inside(slots[held], parts.slots.ids.view()[slots[held]])
        if not counts.all():
            slots, stamps = slots[counts], stamps[counts]
            entries, distance = entries[counts], distance[counts]
        return slots, stamps, parts.entries.estimate(rotated[None], entries, distance)[0], nbytes

    def _rotated(self, query: Floats) -> Floats:
        """The query as heads and lists are asked."""
        return np.asarray(self._parts.rotate(self._parts.measure.sought(query[None]))[0])

    def _beside(self, tries: int) -> AbstractContextManager[Any]:
        """What a look is made in: nothing, so that it goes on beside changes; the lock, where it was overtaken by them too often."""
        return self._parts.lock if tries >= _TRIES else nullcontext()

    # -- every vector --
    def exact(self, query: Floats, k: int, allowed: Allowed | None = None, wheres: Wheres = ()) -> Found:
        """The `k` nearest, every vector looked at."""
        return self._among(query, k, self._filter(allowed, wheres))

    def _among(self, query: Floats, k: int, filter: Filter | None) -> Found:
        if filter is not None:
            return self._scanner.among(query, k, filter.chosen.slots, filter.chosen.ids, filter)
        with self._parts.lock:
            slots = self._parts.slots.live()
            ids = self._parts.slots.ids.view()[slots]
        return self._scanner.among(query, k, slots, ids)

    # -- batches --
    def iterate(self, query: Floats, allowed: Allowed | None = None, wheres: Wheres = ()) -> Iterator[Found]:
        """Ever farther results, in batches, until there are none: each reads the lists of some more heads, and gives what none before it gave."""
        parts, filter = self._parts, self._filter(allowed, wheres)
        if parts.building or not len(parts.heads):
            if len(parts.slots):
                yield self._among(query, len(parts.slots), filter)
            return
        rotated = self._rotated(query)
        given, read = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        wide, tries, seen = _STEP, 0, parts.epoch
        while True:
            with self._beside(tries):
                with parts.lock:
                    every, epoch = len(parts.heads), parts.epoch
                    if not every:
                        return
                    numbers, squares = parts.heads.nearest(rotated[None], min(wide, every))
                if epoch != seen:  # entries moved between lists, perhaps into those that were read: look at all again, and give nothing twice
                    read, seen = read[:0], epoch
                unread = (numbers[0] >= 0) & ~np.isin(numbers[0], read)
                batch = self._batch(query, rotated, numbers[0][unread], squares[0][unread], filter, epoch, given)
            if batch is None:
                tries += 1
                continue
            read, given = np.concatenate([read, numbers[0][unread]]), np.concatenate([given, batch.ids])
            if len(batch.ids):
                yield replace(batch, exact=wide >= every)
            if wide >= every:
                return
            wide, tries = wide + _STEP, 0

    def _batch(
        self, query: Floats, rotated: Floats, near: Numbers, to_head: Floats, filter: Filter | None, epoch: int, given: Numbers
    ) -> Found | None:
        """What is in lists `near` and not among the ids `given`, nearest first; None where lists were changed since `epoch`, or had to be mended."""
        parts = self._parts
        candidates = self._candidates(rotated, near, to_head, filter)
        if candidates is None:
            return None
        slots, first = np.unique(candidates[0], return_index=True)
        stamps = candidates[1][first]
        vectors = self._vectors(slots.astype(np.int64), stamps)
        if vectors is None:
            return None
        with parts.lock:
            if parts.epoch != epoch:
                return None
            counts = parts.slots.counts(slots, stamps)
            ids = parts.slots.ids.view()[slots[counts]]
        ids, vectors = self._permitted(filter, slots[counts], ids, vectors[counts])
        fresh = ~np.isin(ids, given)
        order, distances = self._scanner.order(query, vectors[fresh], ids[fresh], int(fresh.sum()))
        return Found(ids[fresh][order], distances, False, len(near), candidates[3] + vectors.nbytes)

    # -- damage --
    def _vectors(self, slots: Numbers, stamps: NDArray[np.uint32]) -> Floats | None:
        """The vectors in `slots`, as the measure stores them; None where one of them was written anew since it was chosen."""
        parts = self._parts
        try:
            return parts.vectors.read(slots)
        except DamagedVectors as damage:
            with parts.lock:
                same = parts.slots.counts(slots.astype(np.uint32), stamps)
                if not same[np.isin(slots, damage.slots)].all():
                    return None
                return self._mender.exact(slots)

    # -- filters --
    @staticmethod
    def _permitted(filter: Filter | None, slots: NDArray[np.uint32], ids: Numbers, vectors: Floats) -> tuple[Numbers, Floats]:
        """Of `ids` (m,) in `slots` and their vectors those that are let through: the entry of a vector that is just put in is seen before its id is
        known."""
        if filter is None:
            return ids, vectors
        through = filter.inside(slots, ids)
        return ids[through], vectors[through]


def _joined(first: Candidates, others: Candidates) -> Candidates:
    slots, stamps, estimates = (np.concatenate(pair) for pair in zip(first[:3], others[:3], strict=True))
    return slots, stamps, estimates, first[3] + others[3]
