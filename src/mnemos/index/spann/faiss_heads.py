"""Heads in a graph of faiss (HNSW: Malkov and Yashunin, arXiv 1603.09320). Import it through `head_index`, which says whether it can be used."""

from __future__ import annotations

import heapq
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid
from mnemos.index.spann.heads import EXACT, SPARE, Floats, Ints, check_queries, checked_head, grown, numbered, ranked, recall_of

LINKS, CONSTRUCTION, EFFORT = 16, 100, 96
"""Of the graph: links of a head (twice as many at the ground), heads in view when one is put in, and when a query is answered (efSearch)."""
_GONE = 0.25
"""A graph lets go of no head: it is passed by, and the graph made anew when so large a share is gone."""


class FaissHeads:
    """A `HeadIndex`. Heads that are equal stand at one place of the graph: many of them would be an island in it that no search leaves. Up to `exact`
    heads a query is compared with each. Kept in memory only: the graph is made anew when an index is opened."""

    def __init__(self, vectors: Floats, *, numbers: Ints | None = None, exact: int = EXACT, effort: int = EFFORT) -> None:
        vectors, numbers = numbered(vectors, numbers)
        self.dimensions, self.exact, self.effort = vectors.shape[1], exact, effort
        high = int(numbers.max()) + 1 if len(numbers) else 0
        self._free: list[int] = np.setdiff1d(np.arange(high), numbers).tolist()
        self._place = np.full(high, -1, dtype=np.int32)
        self._set(vectors, numbers)

    def _set(self, vectors: Floats, numbers: Ints) -> None:
        """Hold exactly these heads."""
        rows = (vectors + np.float32(0)).view(np.dtype((np.void, vectors.itemsize * self.dimensions)))[:, 0]  # -0 is 0
        first, where = np.unique(rows, return_index=True, return_inverse=True)[1:]
        where = first.argsort().argsort()[where]
        first.sort()
        self._graph: Any = faiss.IndexHNSWFlat(self.dimensions, LINKS)
        self._graph.hnsw.efConstruction = CONSTRUCTION
        self._put(vectors[first])
        self._count, self._gone, self._living = len(numbers), 0, None
        self._number = numbers[first].astype(np.int32)  # by place; -1 where it is gone
        self._place[numbers] = where
        self._twins: dict[int, list[int]] = {}  # by place, the others that are equal
        for place, number in zip(where.tolist(), numbers.tolist(), strict=True):
            if self._number[place] != number:
                self._twins.setdefault(place, []).append(number)

    def _put(self, vectors: Floats) -> None:
        """Into the graph, by one thread: links depend on the order."""
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        try:
            self._graph.add(np.ascontiguousarray(vectors))
        finally:
            faiss.omp_set_num_threads(threads)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, number: int) -> bool:
        return 0 <= number < len(self._place) and self._place[number] >= 0

    @property
    def nbytes(self) -> int:
        """Bytes of vectors and links, of those that are gone, too. Faiss may hold room for as many again while it grows."""
        return int(len(self._number) * (4 * self.dimensions + 4 * 2 * LINKS + 48) + self._place.nbytes)

    def numbers(self) -> Ints:
        return np.flatnonzero(self._place >= 0)

    def groups(self) -> Ints:
        return np.full(self._count, -1, dtype=np.int64)

    def nearest_groups(self, queries: Floats, k: int) -> Ints:
        return np.zeros((len(queries), k), dtype=np.int64)

    def vector(self, number: int) -> Floats:
        return np.asarray(self.vectors(np.array([number]))[0])

    def vectors(self, numbers: Ints) -> Floats:
        numbers = np.asarray(numbers, dtype=np.int64)
        wrong = (numbers < 0) | (numbers >= len(self._place))
        if wrong.any() or self._place[numbers].min(initial=0) < 0:
            missing = [number for number in numbers.tolist() if number not in self]
            raise Invalid(f"heads: there is no head {missing[0]} among the {self._count}")
        held = faiss.rev_swig_ptr(faiss.downcast_index(self._graph.storage).get_xb(), len(self._number) * self.dimensions)
        return np.asarray(held.reshape(-1, self.dimensions)[self._place[numbers]])

    def add(self, vector: Floats) -> int:
        vector = checked_head(vector, self.dimensions)
        number = heapq.heappop(self._free) if self._free else len(self._place)
        if number == len(self._place):
            self._place = grown(self._place, number + 1)
        place = int(self._found(vector[None], 1)[0, 0]) if self._count else -1
        if place >= 0 and np.array_equal(self.vector(int(self._number[place])), vector):
            self._twins.setdefault(place, []).append(number)
        else:
            place = len(self._number)
            self._put(vector[None])
            self._number, self._living = grown(self._number, place + 1), None
            self._number[place] = number
        self._place[number] = place
        self._count += 1
        return number

    def remove(self, number: int) -> None:
        if number not in self:
            raise Invalid(f"heads: there is no head {number} among the {self._count}")
        place, self._place[number] = int(self._place[number]), -1
        heapq.heappush(self._free, number)
        self._count -= 1
        standing = [other for other in (int(self._number[place]), *self._twins.pop(place, ())) if other != number]
        self._number[place] = standing[0] if standing else -1
        if len(standing) > 1:
            self._twins[place] = standing[1:]
        if not standing:
            self._gone, self._living = self._gone + 1, None
            if self._gone > _GONE * len(self._number):
                numbers = self.numbers()
                self._set(self.vectors(numbers), numbers)

    def nearest(self, queries: Floats, k: int, *, probe: int | None = None) -> tuple[Ints, Floats]:
        check_queries(queries, k, self.dimensions)
        return ranked(queries, k, self.near(queries, k + SPARE, probe=probe), self.vectors)

    def near(self, queries: Floats, k: int, *, probe: int | None = None) -> Ints:
        check_queries(queries, k, self.dimensions)
        out = np.full((len(queries), k), -1, dtype=np.int64)
        places = self._found(queries, k, probe)
        found = np.where(places >= 0, self._number[places], -1) if self._count else places[:, :0]
        for row in range(len(found)):
            numbers = found[row]
            if self._twins:
                numbers = np.concatenate([[self._number[place], *self._twins.get(place, ())] for place in places[row].tolist() if place >= 0])[:k]
            out[row, : len(numbers)] = numbers
        return out

    def recall(self, queries: Floats, k: int = 64) -> float:
        return recall_of(self.near, queries, k, self._count)

    def _found(self, queries: Floats, k: int, probe: int | None = None) -> NDArray[np.int64]:
        """(m, at most k) the places of the nearest heads, nearest first; -1 where there are fewer."""
        k, effort = min(k, max(len(self._number) - self._gone, 1)), max(self.effort if probe is None else probe, k)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if self._gone and self._living is None:
            self._living = faiss.IDSelectorBitmap(np.packbits(self._number >= 0, bitorder="little"))
        living = self._living if self._gone else None
        if self._count > max(self.exact, effort):
            places: NDArray[np.int64] = self._graph.search(queries, k, params=faiss.SearchParametersHNSW(efSearch=effort, sel=living))[1]
            if (places >= 0).all():
                return places
        return np.asarray(self._graph.storage.search(queries, k, params=faiss.SearchParameters(sel=living))[1])
