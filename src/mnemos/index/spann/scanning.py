"""Looking at vectors one by one, wherever they are by now."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnemos.index.spann.codes import Floats
from mnemos.index.spann.filters import Filter
from mnemos.index.spann.mending import Mender
from mnemos.index.spann.parts import Numbers, Parts
from mnemos.index.spann.vector_file import DamagedVectors

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


class Scanner:
    """Looks at vectors of one index. Thread-safe."""

    def __init__(self, parts: Parts, mender: Mender) -> None:
        self._parts, self._mender = parts, mender

    def among(self, query: Floats, k: int, slots: Numbers, ids: Numbers, filter: Filter | None = None) -> Found:
        """The `k` nearest of the vectors of `ids`, in `slots` when they were chosen by `filter`, each looked at."""
        best, distances, nbytes = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32), 0
        for start in range(0, len(slots), _BLOCK):
            there, vectors = self.current(slots[start : start + _BLOCK], ids[start : start + _BLOCK], filter)
            nbytes += vectors.nbytes
            order, near = self.order(query, vectors, there, k)
            best, distances = np.concatenate([best, there[order]]), np.concatenate([distances, near])
            first = np.lexsort((best, distances))[:k]
            best, distances = best[first], distances[first]
        return Found(best, distances, True, 0, nbytes)

    def current(self, slots: Numbers, ids: Numbers, filter: Filter | None = None) -> tuple[Numbers, Floats]:
        """Of `ids`, in `slots` when they were chosen by `filter`, those that have a vector still that it lets through, and it, wherever it is by
        now."""
        parts = self._parts
        vectors: Floats | None
        try:
            vectors = parts.vectors.read(slots)
        except DamagedVectors:  # or written anew meanwhile
            vectors = None
        with parts.lock:
            same = parts.slots.hold(slots, ids)
            if vectors is not None and same.all():
                return ids, vectors
            if vectors is None:
                same[:] = False
            now = parts.slots.map.find(ids[~same])
            there = now >= 0
            if filter is not None:
                there[there] = filter.marked(now[there])
            moved = self._mender.exact(now[there])
        left = ids[~same][there]
        return (left, moved) if vectors is None else (np.concatenate([ids[same], left]), np.concatenate([vectors[same], moved]))

    def order(self, query: Floats, vectors: Floats, ids: Numbers, k: int) -> tuple[Numbers, Floats]:
        """The rows of the `k` nearest, and their distances as the caller means them."""
        distances = self._parts.measure.distances(query, vectors)
        order = np.lexsort((ids, distances))[:k]
        return order, distances[order]
