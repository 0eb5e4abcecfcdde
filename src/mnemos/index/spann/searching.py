"""Searching: the lists of the nearest heads, ranked by codes; the best of those, ranked by their vectors (SPANN, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mnemos.index.spann.codes import Bytes, Floats
from mnemos.index.spann.lists import DamagedLists
from mnemos.index.spann.parts import Numbers, Parts
from mnemos.index.spann.slots import NOWHERE
from mnemos.index.spann.vector_file import DamagedVectors

Mask = NDArray[np.bool_]
Allowed = Mask | Callable[[Numbers], Mask]
"""Which ids a search may give: a mask by id (what lies beyond its end may not), or a function of ids."""

_SAMPLE = 4096
_SELECTIVE = 0.01
_FEW = 2048
"""Where fewer vectors than this, or than a hundredth, are allowed, they are looked at one by one: cheaper than lists of which most is not allowed."""
_WIDEST = 32
_STEP = 32
_BLOCK = 65536


@dataclass(frozen=True, slots=True)
class Found:
    """The nearest vectors, nearest first, equal ones by id; and what it took."""

    ids: Numbers
    distances: Floats
    exact: bool
    """Whether every vector that was allowed has been looked at."""
    lists: int = 0
    nbytes: int = 0
    """Read from lists and vectors."""


class Repairs(Protocol):
    """Who makes again what a search found damaged."""

    def mend(self, damage: DamagedLists) -> None: ...
    def mend_vectors(self, damage: DamagedVectors) -> None: ...


class Searcher:
    """Searches of one index. Thread-safe: it holds the lock only to look among the heads and to check its answer."""

    def __init__(self, parts: Parts, repairs: Repairs) -> None:
        self._parts, self._repairs = parts, repairs

    def search(
        self, query: Floats, k: int, allowed: Allowed | None = None, lists: int | None = None, rescore: int | None = None, spread: float | None = None
    ) -> Found:
        """The `k` nearest of the vectors that are `allowed` (fewer only where fewer exist) to `query` (dimensions,), as the measure asks it."""
        settings = self._parts.settings
        if not len(self._parts.heads):  # still being built
            return self.exact(query, k, allowed)
        wide = settings.lists if lists is None else lists
        spread = settings.spread if spread is None else spread
        rescore = max(settings.rescore if rescore is None else rescore, k)
        if allowed is not None:
            share = self._share(allowed)
            if share < 4 * _SELECTIVE:
                slots = self._allowed(allowed)
                if len(slots) <= max(_FEW, _SELECTIVE * len(self._parts.slots)):
                    return self.among(query, k, slots)
                share = len(slots) / len(self._parts.slots)
            wide = int(min(wide / max(share, 1 / _WIDEST), len(self._parts.heads)))
            spread = np.inf if share < 0.5 else spread
        rotated = self._parts.rotate(query[None])[0]
        while True:
            found = self._search(query, rotated, k, allowed, wide, rescore, spread)
            if found is not None and (len(found.ids) >= k or found.exact):
                return found
            if found is not None:  # the nearest lists hold too few: look farther
                wide, spread = 4 * max(wide, 1), np.inf

    def _search(self, query: Floats, rotated: Floats, k: int, allowed: Allowed | None, wide: int, rescore: int, spread: float) -> Found | None:
        """One look; None where lists were changed meanwhile, or had to be mended."""
        parts = self._parts
        with parts.lock:
            epoch, every = parts.epoch, len(parts.heads)
            numbers, squares = parts.heads.nearest(rotated[None], min(wide, every))
        near, to_head = numbers[0][numbers[0] >= 0], squares[0][numbers[0] >= 0]
        if np.isfinite(spread) and len(near) > 1:
            near, to_head = self._prune(near, to_head, k, spread)
        try:
            slots, stamps, estimates, nbytes = self._candidates(rotated, near, to_head, allowed)
            best = best_distinct(slots, estimates, rescore)
            vectors = self._vectors(slots[best].astype(np.int64), stamps[best])
        except DamagedLists as damage:
            self._mend(damage, epoch)
            return None
        if vectors is None:
            return None
        exact = len(near) >= every and len(best) < rescore
        with parts.lock:
            if parts.epoch != epoch:
                return None
            counts = parts.slots.counts(slots[best], stamps[best])
            ids = parts.slots.ids.view()[slots[best][counts]]
        order, distances = self._order(query, vectors[counts], ids, k)
        if len(order) < min(k, rescore) and len(near) >= every:
            exact = True
        return Found(ids[order], distances, exact, len(near), nbytes + vectors.nbytes)

    def _prune(self, near: Numbers, to_head: Floats, k: int, spread: float) -> tuple[Numbers, Floats]:
        """Query-aware pruning; never below what `k` results need, and not where the nearest head is the query itself."""
        counts = self._parts.lists.counts()[near]
        needed = int(np.searchsorted(np.cumsum(counts), 2 * k)) + 1
        nearest = float(to_head[0])
        if nearest <= 1e-12:
            return near, to_head
        kept = max(int(np.searchsorted(to_head, (1 + spread) * nearest, side="right")), needed)
        return near[:kept], to_head[:kept]

    def _candidates(
        self, rotated: Floats, near: Numbers, to_head: Floats, allowed: Allowed | None
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint32], Floats, int]:
        """Slots, stamps and estimated squared distances of the entries that count, of lists `near`; and the bytes read."""
        parts = self._parts
        raw = parts.lists.read_many(near.tolist(), cached=True)
        entries: Bytes = np.concatenate(raw) if raw else np.zeros((0, parts.entries.size), dtype=np.uint8)
        nbytes = entries.nbytes
        distance = np.repeat(to_head, [len(one) for one in raw]) if raw else np.zeros(0, dtype=np.float32)
        slots, stamps = parts.entries.slots(entries), parts.entries.stamps(entries)
        counts = parts.slots.counts(slots, stamps)
        if allowed is not None:
            counts &= self._may(allowed, parts.slots.ids.view()[slots])
        if not counts.all():
            slots, stamps = slots[counts], stamps[counts]
            entries, distance = entries[counts], distance[counts]
        return slots, stamps, parts.entries.estimate(rotated[None], entries, distance)[0], nbytes

    def _order(self, query: Floats, vectors: Floats, ids: Numbers, k: int) -> tuple[Numbers, Floats]:
        """The rows of the `k` nearest, and their distances as the caller means them."""
        squares = exact_squares(query, vectors)
        order = np.lexsort((ids, squares))[:k]
        return order, self._parts.measure.distances(squares[order], query)

    def among(self, query: Floats, k: int, slots: Numbers) -> Found:
        """The `k` nearest of the vectors in `slots`, each looked at."""
        parts = self._parts
        ids, distances, nbytes = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32), 0
        for start in range(0, len(slots), _BLOCK):
            block = slots[start : start + _BLOCK]
            stamps = parts.slots.stamps.view()[block]
            vectors = self._vectors(block, stamps)
            if vectors is None:  # changed meanwhile: look at what there is now
                return self.among(query, k, slots)
            nbytes += vectors.nbytes
            counts = parts.slots.counts(block.astype(np.uint32), stamps)
            found = parts.slots.ids.view()[block][counts]
            order, near = self._order(query, vectors[counts], found, k)
            ids, distances = np.concatenate([ids, found[order]]), np.concatenate([distances, near])
            best = np.lexsort((ids, distances))[:k]
            ids, distances = ids[best], distances[best]
        return Found(ids, distances, True, 0, nbytes)

    def exact(self, query: Floats, k: int, allowed: Allowed | None = None) -> Found:
        """The `k` nearest, every vector looked at."""
        return self.among(query, k, self._parts.slots.live() if allowed is None else self._allowed(allowed))

    def iterate(self, query: Floats, allowed: Allowed | None = None) -> Iterator[Found]:
        """Ever farther results, in batches, until there are none: each reads the lists of some more heads, and gives what none before it gave."""
        parts, rotated = self._parts, self._parts.rotate(query[None])[0]
        if not len(parts.heads):
            if len(parts.slots):  # still being built
                yield self.exact(query, len(parts.slots), allowed)
            return
        given, read, wide = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), 0
        while True:
            wide += _STEP
            with parts.lock:
                every, epoch = len(parts.heads), parts.epoch
                numbers, squares = parts.heads.nearest(rotated[None], min(wide, every))
            unread = (numbers[0] >= 0) & ~np.isin(numbers[0], read)
            try:
                slots, stamps, _, nbytes = self._candidates(rotated, numbers[0][unread], squares[0][unread], allowed)
            except DamagedLists as damage:
                self._mend(damage, epoch)
                wide -= _STEP
                continue
            slots, first = np.unique(slots, return_index=True)
            vectors = self._vectors(slots.astype(np.int64), stamps[first])
            with parts.lock:
                if vectors is None or parts.epoch != epoch:  # entries moved between lists: look at all again, and give nothing twice
                    read, wide = read[:0], 0
                    continue
                counts = parts.slots.counts(slots, stamps[first])
                ids = parts.slots.ids.view()[slots[counts]]
            read = np.concatenate([read, numbers[0][unread]])
            fresh = ~np.isin(ids, given)
            order, distances = self._order(query, vectors[counts][fresh], ids[fresh], int(fresh.sum()))
            given = np.concatenate([given, ids[fresh]])
            if len(order):
                yield Found(ids[fresh][order], distances, wide >= every, int(unread.sum()), nbytes + vectors.nbytes)
            if wide >= every:
                return

    # -- damage --
    def _mend(self, damage: DamagedLists, epoch: int) -> None:
        """Make lists again that are damaged, and not only changed since they were chosen."""
        with self._parts.lock:
            if self._parts.epoch == epoch:
                self._repairs.mend(damage)

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
                self._repairs.mend_vectors(damage)
            return parts.vectors.read(slots)

    # -- filters --
    def _may(self, allowed: Allowed, ids: Numbers) -> Mask:
        if callable(allowed):
            return np.asarray(allowed(ids), dtype=bool)
        inside = (ids >= 0) & (ids < len(allowed))
        return inside & allowed[np.where(inside, ids, 0)] if len(allowed) else inside

    def _share(self, allowed: Allowed) -> float:
        """About which share of the vectors is allowed."""
        live = self._parts.slots
        n = len(live.homes.view())
        sample = np.arange(n) if n <= _SAMPLE else np.random.default_rng(n).integers(0, n, _SAMPLE)
        sample = sample[live.homes.view()[sample] != NOWHERE]
        return float(self._may(allowed, live.ids.view()[sample]).mean()) if len(sample) else 0.0

    def _allowed(self, allowed: Allowed) -> Numbers:
        slots = self._parts.slots.live()
        return slots[self._may(allowed, self._parts.slots.ids.view()[slots])]


def exact_squares(query: Floats, vectors: Floats) -> Floats:
    """Squared distances (m,) of `query` (d,) to `vectors` (m, d), as differences: equal vectors have equal distances, whatever row they stand in."""
    difference = vectors - query
    return np.asarray(np.einsum("ij,ij->i", difference, difference), dtype=np.float32)


def best_distinct(slots: NDArray[np.uint32], estimates: Floats, most: int) -> Numbers:
    """Positions of the `most` slots with the lowest estimates, a slot that several lists hold by its lowest."""
    n = len(slots)
    wanted = min(n, 3 * most)
    while True:
        near = np.argpartition(estimates, wanted - 1)[:wanted] if wanted < n else np.arange(n)
        near = near[np.argsort(estimates[near], kind="stable")]
        first = np.sort(np.unique(slots[near], return_index=True)[1])
        if len(first) >= most or wanted >= n:
            return near[first[:most]]
        wanted = min(n, 2 * wanted)
