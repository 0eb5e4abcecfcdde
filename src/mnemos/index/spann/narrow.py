"""Searches under a filter, where looking at what it lets through costs less than reading the lists that hold enough of it.

Four ways. (1) Where all vectors together are small, they are held in memory, and one product ranks them. (2) Where few are let through, less
than a hundredth, or so few that nothing else is cheaper, each is read. (3) Where more are, each is ranked by a sketch in memory, and the best are
read. (4) Where most are, the lists near the query hold enough of them: `search` says so with None.
"""

from __future__ import annotations

import numpy as np

from mnemos.index.spann.codes import Floats
from mnemos.index.spann.filters import Filter
from mnemos.index.spann.mending import Mender
from mnemos.index.spann.parts import Numbers, Parts
from mnemos.index.spann.scanning import Found, Scanner
from mnemos.index.spann.vector_file import DamagedVectors

SMALL = 16 << 20
"""Bytes of vectors that are held whole: what a processor has in its own cache, about."""
SELECTIVE, _MOST_EXACT = 0.01, 10_000
"""Where a smaller share is let through, the answer is exact, unless these are more than so many."""
_PER_VECTOR, _PER_SKETCH, _PER_LIST, _SKETCHING = 3.0, 0.06, 14.0, 150.0
"""Microseconds: to read and compare a vector; a sketch; a list with its entries; and for setting out to compare sketches. Measured on one core of a
server, files in the page cache, 384 dimensions. What counts is how they compare, and that is much the same elsewhere."""
_PER_SLOT, _PER_SLOT_ASKED = 0.006, 0.1
"""To find out which vectors a mask, or a function, lets through, for each vector there is."""
_NEARLY_ALL = 0.9
"""A filter that lets through more is none that anything should be held in memory for: lists are as good as without it."""
_USES = 64
"""Searches that a sketch serves once it is made, about: each bears so small a part of making it."""
_DEEPER = 0.6
_DEEPEST = 6.0


class Narrow:
    """Searches of one index under filters. Thread-safe."""

    def __init__(self, parts: Parts, mender: Mender, scanner: Scanner) -> None:
        self._parts, self._mender, self._scanner = parts, mender, scanner

    def small(self, query: Floats, k: int, filter: Filter) -> Found | None:
        """The `k` nearest that `filter` lets through, where all vectors are so few bytes that they are held in memory; None where they are not."""
        parts, n = self._parts, len(self._parts.slots.homes.view())
        if n * parts.whole.size > SMALL or parts.room + parts.whole.nbytes < parts.whole.needs(n):
            return None
        mask, ids, version = filter.mask()
        if int(np.count_nonzero(mask)) > _NEARLY_ALL * len(parts.slots):
            return None
        for attempt in (False, True):
            with parts.lock:
                if version != parts.slots.changes:  # some went meanwhile, or are elsewhere
                    break
                if parts.whole.holds(mask):
                    slots, vectors = parts.whole.nearest(query, mask, k)
                    order, distances = self._scanner.order(query, vectors, ids[slots], k)
                    return Found(ids[slots][order], distances, True)
            slots = np.flatnonzero(mask)
            if attempt or not self._hold(slots, ids[slots], whole=True):
                break
        return self._scanner.among(query, k, filter.chosen.slots, filter.chosen.ids, filter)

    def search(self, query: Floats, rotated: Floats, k: int, filter: Filter, lists: int, rescore: int, deepen: bool) -> Found | None:
        """The `k` nearest that `filter` lets through; None where it is cheaper to read lists for it. Without a filter `lists` would be read, and
        `rescore` vectors; `deepen`: more of those under the filter."""
        parts, n = self._parts, len(self._parts.slots)
        share = max(filter.share, 1 / max(n, 1))
        depth = deeper(rescore, share) if deepen else rescore
        among = min(_of_each(share * n), _of_sketches(share * n, depth, 0)) + self._of_choosing(filter)
        if share > 2 * SELECTIVE and among > _of_lists(lists / share, depth):
            return None
        chosen = filter.chosen
        m = len(chosen.slots)
        depth = deeper(rescore, m / max(n, 1)) if deepen else rescore
        if m <= min(SELECTIVE * n, _MOST_EXACT) or m <= depth:
            return self._scanner.among(query, k, chosen.slots, chosen.ids, filter)
        per_list = filter.per_list
        near = _of_lists(lists * n / m if per_list is None else min(lists * n / m, int(np.count_nonzero(per_list))), depth)
        with parts.lock:
            missing = int(np.count_nonzero(parts.sketches.missing(chosen.slots)))
            fits = parts.sketches.more(len(parts.slots.homes.view())) <= parts.room
        if fits and _of_sketches(m, depth, missing) <= min(_of_each(m), near):
            return self._by_sketches(query, rotated, k, filter, depth)
        return self._scanner.among(query, k, chosen.slots, chosen.ids, filter) if _of_each(m) <= near else None

    def _of_choosing(self, filter: Filter) -> float:
        """Microseconds to know all that a filter lets through."""
        return 0.0 if filter.known else len(self._parts.slots) * (_PER_SLOT_ASKED if filter.called else _PER_SLOT)

    # -- the ways --
    def _by_sketches(self, query: Floats, rotated: Floats, k: int, filter: Filter, rescore: int) -> Found:
        """The best by their sketches are read."""
        parts = self._parts
        chosen = filter.chosen
        if not self._hold(chosen.slots, chosen.ids, whole=False):
            return self._scanner.among(query, k, chosen.slots, chosen.ids, filter)
        with parts.lock:
            there = parts.slots.hold(chosen.slots, chosen.ids) & ~parts.sketches.missing(chosen.slots)
            slots, ids = chosen.slots[there], chosen.ids[there]
            held = parts.sketches.held(slots)
        estimates = parts.sketches.estimates(rotated, held)
        best = np.argpartition(estimates, rescore - 1)[:rescore] if rescore < len(slots) else np.arange(len(slots))
        now, vectors = self._scanner.current(slots[best], ids[best], filter)
        if len(now) < min(k, len(chosen.slots)):
            return self._scanner.among(query, k, chosen.slots, chosen.ids, filter)
        order, distances = self._scanner.order(query, vectors, now, k)
        return Found(now[order], distances, False, 0, vectors.nbytes)

    def _hold(self, slots: Numbers, ids: Numbers, whole: bool) -> bool:
        """Let the vectors of `ids` in `slots`, or sketches of them, be held in memory; False where one cannot be read."""
        parts = self._parts
        with parts.lock:
            held = parts.whole if whole else parts.sketches
            absent = held.missing(slots)
            if not absent.any():
                return True
            slots, ids = slots[absent], ids[absent]
            stamps = parts.slots.stamps.view()[slots]
        try:
            vectors = parts.vectors.read(slots)
        except DamagedVectors:  # or written anew meanwhile
            return False
        rotated = vectors if whole else parts.rotate(vectors)
        with parts.lock:
            same = parts.slots.hold(slots, ids) & parts.slots.counts(slots.astype(np.uint32), stamps)
            room = len(parts.slots.homes.view())
            if whole:
                parts.whole.put(slots[same], rotated[same], room)
            else:
                parts.sketches.make(slots[same], rotated[same], room)
        return True


def deeper(rescore: int, share: float) -> int:
    """How many vectors to read where a share is let through: the farther apart those are, the less their codes tell which are nearest. Measured on
    mixtures of 10,000 and 100,000, where at a share of 0.03 the 32 best that suffice without a filter hold 90 of 100, and 192 hold 98."""
    return int(rescore * min(max(share, 1e-9) ** -_DEEPER, _DEEPEST))


def _of_each(m: float) -> float:
    """Microseconds to read and compare `m` vectors."""
    return m * _PER_VECTOR


def _of_sketches(m: float, depth: int, missing: int) -> float:
    """To compare `m` sketches, of which so many are to be made, and read `depth` vectors."""
    return _SKETCHING + m * _PER_SKETCH + depth * _PER_VECTOR + missing * _PER_VECTOR / _USES


def _of_lists(lists: float, depth: int) -> float:
    """To read so many lists, and `depth` vectors."""
    return lists * _PER_LIST + depth * _PER_VECTOR
