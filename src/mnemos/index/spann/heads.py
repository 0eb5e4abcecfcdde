"""The heads of all lists in memory, and which of them are nearest.

Up to a few thousand, a query is compared with every head. Beyond, heads stand in groups of nearly equal size, each contiguous in memory; the groups
whose centres are nearest to the query are compared with it, until enough heads were. Groups are kept near what they would be if built anew: one
that grows is split, one that shrinks is dissolved, and both times the heads around move to the centre that is nearest to them, as SPFresh's LIRE
does with vectors (arXiv 2410.14452, section 4.2)."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid
from mnemos.index.spann.head_group import HeadGroup
from mnemos.index.spann.kmeans import balanced_kmeans

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

EXACT = 4096
"""So many heads are all compared with a query."""
PROBE = 4096
"""Heads that a query is compared with where there are more: the least number, not the share, is what recall hangs on."""
AROUND = 16
"""Groups next to one that was split, whose heads are looked at again."""
SPARE = 16
"""So many more than asked for are found, and then ranked by distances that do not depend on where a head stands."""
_BATCH = 256
"""Queries that are answered together."""
_KEYS = 1 << 23
"""Distances that are held at once, where every head is looked at."""
_SAME = 1e-6
"""Products that differ by less than this share may be the same."""


class Heads:
    """Vectors under small numbers, which are given again after they were removed (the least first).

    `vectors`: (m, d) float32; `numbers`: (m,) theirs, distinct and none below 0 (None: 0, 1, 2, …). `groups`: (m,) what `groups()` gave, which saves
    dividing them anew. `exact`, `probe`: see EXACT, PROBE. Not to be read by one thread while another changes it.
    """

    def __init__(
        self, vectors: Floats, *, numbers: Ints | None = None, groups: Ints | None = None, exact: int = EXACT, probe: int = PROBE, seed: int = 0
    ) -> None:
        vectors, numbers = numbered(vectors, numbers)
        if groups is not None and (groups.shape != numbers.shape or (len(groups) and groups.min() < 0)):
            raise Invalid(f"heads: need {len(vectors)} groups from 0 on, one for each vector")
        self.dimensions = vectors.shape[1]
        self.exact, self.probe = exact, probe
        self._rng = np.random.default_rng(seed)
        high = int(numbers.max()) + 1 if len(numbers) else 0
        self._group = np.full(high, -1, dtype=np.int32)
        self._place = np.zeros(high, dtype=np.int32)
        taken = np.zeros(high, dtype=bool)
        taken[numbers] = True
        self._free: list[int] = np.flatnonzero(~taken).tolist()
        self._count = len(numbers)
        self._groups: list[HeadGroup] = []
        self._sizes: Ints | None = None
        self._centres = np.empty((0, self.dimensions), dtype=np.float32)
        self._halves = np.empty(0, dtype=np.float32)
        self._set(vectors, numbers, self._divided(vectors) if groups is None else groups)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, number: int) -> bool:
        return 0 <= number < len(self._group) and self._group[number] >= 0

    @property
    def grouped(self) -> bool:
        """Whether a query is compared with some of the heads only."""
        return len(self._groups) > 1

    @property
    def nbytes(self) -> int:
        """Bytes of memory that vectors, groups and numbers take."""
        return sum(group.nbytes for group in self._groups) + sum(a.nbytes for a in (self._centres, self._halves, self._group, self._place))

    def numbers(self) -> Ints:
        """All numbers, ascending."""
        return np.flatnonzero(self._group >= 0)

    def groups(self) -> Ints:
        """The group of each head, in the order of `numbers()`."""
        return self._group[self._group >= 0].astype(np.int64)

    def vector(self, number: int) -> Floats:
        """(d,) the vector of a head. Raises `Invalid`."""
        return np.asarray(self.vectors(np.array([number]))[0])

    def vectors(self, numbers: Ints) -> Floats:
        """(m, d) the vectors of `numbers` (m,). Raises `Invalid` where there is no such head."""
        numbers = np.asarray(numbers, dtype=np.int64)
        wrong = (numbers < 0) | (numbers >= len(self._group))
        if wrong.any() or (groups := self._group[numbers]).min(initial=0) < 0:
            missing = [number for number in numbers.tolist() if number not in self]
            raise Invalid(f"heads: there is no head {missing[0]} among the {self._count}")
        return self._gathered(groups, self._place[numbers])

    def add(self, vector: Floats) -> int:
        """Take in `vector` (d,); its number. Raises `Invalid` for another shape, or what is not finite."""
        vector = checked_head(vector, self.dimensions)
        if self._free:
            number = heapq.heappop(self._free)
        else:
            number = len(self._group)
            self._group = grown(self._group, number + 1)
            self._place = grown(self._place, number + 1)
        self._count += 1
        if not self._groups:
            self._set(vector[None], np.array([number]), np.zeros(1, dtype=np.int64))
            return number
        group = int((self._centres @ vector - self._halves).argmax())
        self._append(group, number, vector)
        self._tended(group)
        return number

    def remove(self, number: int) -> None:
        """Forget a head. Raises `Invalid` where there is none."""
        if number not in self:
            raise Invalid(f"heads: there is no head {number} among the {self._count}")
        group = int(self._group[number])
        self._taken_out(number)
        self._group[number] = -1
        heapq.heappush(self._free, number)
        self._count -= 1
        self._tended(group)

    def nearest(self, queries: Floats, k: int, *, probe: int | None = None) -> tuple[Ints, Floats]:
        """For each of `queries` (m, d) the numbers (m, k) of the nearest heads and their squared distances (m, k), by distance, then by number;
        -1 and inf where there are fewer. Up to `exact` heads, or where `probe` reaches their number, none that is nearer is missed but for rounding.
        Queries near each other are answered together, and then see more heads than one alone. Raises `Invalid`."""
        check_queries(queries, k, self.dimensions)
        return ranked(queries, k, self.near(queries, k + SPARE, probe=probe), lambda found: self._gathered(self._group[found], self._place[found]))

    def near(self, queries: Floats, k: int, *, probe: int | None = None) -> Ints:
        """As `nearest`, only the numbers (m, k), in no order; of heads about equally near any. Raises `Invalid`."""
        check_queries(queries, k, self.dimensions)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        out = np.full((len(queries), k), -1, dtype=np.int64)
        if self._count and len(queries):
            reach = self._count if self._count <= self.exact else max(self.probe if probe is None else probe, k)
            for rows, groups in self._looks(queries, reach):
                out[rows, : min(k, self._count)] = self._among(queries[rows], [self._groups[i] for i in groups.tolist()], k)
        return out

    def recall(self, queries: Floats, k: int = 64) -> float:
        """The share of the `k` nearest heads of `queries` (m, d) that `nearest` finds for each alone."""
        return recall_of(self.near, queries, k, self._count)

    def nearest_groups(self, queries: Floats, k: int) -> Ints:
        """(m, k) the groups whose centres are nearest to `queries` (m, d), nearest first; -1 where there are fewer."""
        keys = self._halves - queries @ self._centres.T
        found = np.full((len(queries), k), -1, dtype=np.int64)
        found[:, : keys.shape[1]] = np.argsort(keys, axis=1, kind="stable")[:, :k]
        return found

    # Finding

    def _looks(self, queries: Floats, reach: int) -> Iterator[tuple[Ints, Ints]]:
        """Rows of `queries` that are answered together, and the groups to look at for them: the nearest of each, until they hold `reach` heads."""
        if reach >= self._count:
            step = max(min(_BATCH, _KEYS // self._count), 1)
            for start in range(0, len(queries), step):
                yield np.arange(start, min(start + step, len(queries))), np.arange(len(self._groups))
            return
        keys = self._halves - queries @ self._centres.T
        order = np.argsort(keys, axis=1, kind="stable")
        looked = (np.cumsum(self._counted()[order], axis=1) < reach).sum(axis=1) + 1
        if len(queries) == 1:
            yield np.zeros(1, dtype=np.int64), order[0, : looked[0]]
            return
        alike = np.lexsort((order[:, min(1, order.shape[1] - 1)], order[:, 0]))
        for start, stop in _runs(order[alike, 0]):
            for at in range(start, stop, _BATCH):
                rows = alike[at : min(at + _BATCH, stop)]
                yield rows, np.unique(np.concatenate([order[row, : looked[row]] for row in rows.tolist()]))

    def _among(self, queries: Floats, groups: list[HeadGroup], k: int) -> Ints:
        """The numbers (m, min(k, heads)) of the nearest in `groups`, in no order."""
        keys = np.empty((len(queries), sum([group.count for group in groups])), dtype=np.float32)
        at = 0
        for group in groups:
            part = keys[:, at : at + group.count]
            np.matmul(queries, group.vectors[: group.count].T, out=part)
            np.subtract(group.halves[: group.count], part, out=part)
            at += group.count
        numbers = np.concatenate([group.numbers[: group.count] for group in groups])
        if keys.shape[1] <= k:
            return np.broadcast_to(numbers.astype(np.int64), keys.shape)
        return numbers[np.argpartition(keys, k, axis=1)[:, :k]].astype(np.int64)

    def _counted(self) -> Ints:
        """(groups,) their sizes; kept until one changes."""
        if self._sizes is None:
            self._sizes = np.array([group.count for group in self._groups], dtype=np.int64)
        return self._sizes

    def _gathered(self, groups: NDArray[np.int32], places: NDArray[np.int32]) -> Floats:
        out = np.empty((len(groups), self.dimensions), dtype=np.float32)
        order = np.argsort(groups, kind="stable")
        for start, stop in _runs(groups[order]):
            rows = order[start:stop]
            out[rows] = self._groups[groups[rows[0]]].vectors[places[rows]]
        return out

    # Groups

    @property
    def _wanted(self) -> int:
        """The size of a group: about as many heads as there are groups."""
        return max(math.isqrt(self._count), 16)

    def _divided(self, vectors: Floats) -> Ints:
        """The groups that `vectors` fall into."""
        if len(vectors) <= self.exact:
            return np.zeros(len(vectors), dtype=np.int64)
        parts = max(len(vectors) // self._wanted, 2)
        return balanced_kmeans(vectors, parts, rng=self._rng, balance=1.0, samples=32 * parts, inits=1, iterations=12).assignment

    def _set(self, vectors: Floats, numbers: Ints, groups: Ints) -> None:
        """Hold exactly these heads, in these groups."""
        _, groups = np.unique(groups, return_inverse=True)
        order = np.lexsort((numbers, groups))
        self._groups, self._sizes, centres = [], None, []
        for i, (start, stop) in enumerate(_runs(groups[order])):
            rows = order[start:stop]
            self._groups.append(HeadGroup(vectors[rows], numbers[rows]))
            self._group[numbers[rows]], self._place[numbers[rows]] = i, np.arange(len(rows))
            centres.append(self._groups[-1].mean())
        self._centres = np.array(centres, dtype=np.float32).reshape(-1, self.dimensions)
        self._halves = np.einsum("ij,ij->i", self._centres, self._centres) / 2

    def _append(self, group: int, number: int, vector: Floats) -> None:
        self._group[number], self._place[number] = group, self._groups[group].append(number, vector)
        self._sizes = None

    def _taken_out(self, number: int) -> None:
        """Out of its group; the last of the group takes its place."""
        place = int(self._place[number])
        moved = self._groups[int(self._group[number])].drop(place)
        self._place[moved] = place
        self._sizes = None

    def _tended(self, group: int) -> None:
        """Splits, dissolves or centres anew the group that a head came to or went from."""
        single = len(self._groups) == 1
        if (single and self._count > self.exact) or (not single and self._count < self.exact // 2):
            self._regrouped()
        elif not single:
            members = self._groups[group]
            if 2 * members.count > 3 * self._wanted:
                self._split(group)
            elif members.count < self._wanted // 4:
                self._dissolve(group)
            elif members.changes > members.count // 2:
                self._centre(group)
                self._moved_around(group)

    def _regrouped(self) -> None:
        numbers = self.numbers()
        vectors = self.vectors(numbers)
        self._set(vectors, numbers, self._divided(vectors))

    def _split(self, group: int) -> None:
        members = self._groups[group]
        vectors, numbers = members.vectors[: members.count].copy(), members.numbers[: members.count].astype(np.int64)
        second = balanced_kmeans(vectors, 2, rng=self._rng, balance=1.0).assignment == 1
        self._groups.append(HeadGroup(vectors[second], numbers[second]))
        self._groups[group] = HeadGroup(vectors[~second], numbers[~second])
        self._centres = np.concatenate([self._centres, self._centres[:1]])
        self._halves = np.append(self._halves, np.float32(0))
        for at in (group, len(self._groups) - 1):
            held = self._groups[at]
            self._group[held.numbers[: held.count]], self._place[held.numbers[: held.count]] = at, np.arange(held.count)
            self._centre(at)
        for at in (group, len(self._groups) - 1):
            self._moved_around(at)

    def _dissolve(self, group: int) -> None:
        """Gives the heads of a group to the groups next to it; the last group takes its place in the list."""
        gone, last = self._groups[group], len(self._groups) - 1
        if group != last:
            self._groups[group] = self._groups[last]
            self._group[self._groups[group].numbers[: self._groups[group].count]] = group
            self._centres[group], self._halves[group] = self._centres[last], self._halves[last]
        self._groups.pop()
        self._centres, self._halves = self._centres[:last].copy(), self._halves[:last].copy()
        for number, vector in zip(gone.numbers[: gone.count].tolist(), gone.vectors, strict=False):
            self._append(int((self._centres @ vector - self._halves).argmax()), number, vector)

    def _centre(self, group: int) -> None:
        self._centres[group] = self._groups[group].mean()
        self._halves[group] = self._centres[group] @ self._centres[group] / 2
        self._groups[group].changes = 0

    def _moved_around(self, group: int) -> None:
        """Moves heads of a group and of those next to it to the group among them whose centre is nearest; none is emptied."""
        keys = self._centres @ self._centres[group] - self._halves
        around = np.argsort(-keys, kind="stable")[: AROUND + 1]
        for at in around.tolist():
            members = self._groups[at]
            nearness = members.vectors[: members.count] @ self._centres[around].T - self._halves[around]
            best = nearness.max(axis=1)
            # Between groups of identical heads nobody moves, whatever is lost in rounding.
            leaving = best > nearness[:, around == at][:, 0] + _SAME * np.maximum(np.abs(best), members.halves[: members.count])
            target = around[nearness.argmax(axis=1)]
            for place in np.flatnonzero(leaving)[::-1].tolist():
                if members.count > 1:
                    number, vector = int(members.numbers[place]), members.vectors[place].copy()
                    self._taken_out(number)
                    self._append(int(target[place]), number, vector)


def numbered(vectors: Floats, numbers: Ints | None) -> tuple[Floats, Ints]:
    """Vectors (m, d), and the numbers (m,) that they are given, or 0, 1, 2, …. Raises `Invalid`."""
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if vectors.ndim != 2:
        raise Invalid(f"heads: need vectors (m, d); got shape {vectors.shape}")
    numbers = np.arange(len(vectors), dtype=np.int64) if numbers is None else np.asarray(numbers, dtype=np.int64)
    if numbers.shape != (len(vectors),) or (len(numbers) and (numbers.min() < 0 or len(np.unique(numbers)) < len(numbers))):
        raise Invalid(f"heads: need {len(vectors)} distinct numbers from 0 on, one for each vector")
    return vectors, numbers


def checked_head(vector: Floats, dimensions: int) -> Floats:
    """A vector (dimensions,). Raises `Invalid`."""
    vector = np.asarray(vector, dtype=np.float32)
    if vector.shape != (dimensions,) or not np.isfinite(vector).all():
        raise Invalid(f"heads: need a vector of {dimensions} finite numbers; got shape {vector.shape}")
    return vector


def check_queries(queries: Floats, k: int, dimensions: int) -> None:
    """Raises `Invalid`."""
    if queries.ndim != 2 or queries.shape[1] != dimensions or k < 1:
        raise Invalid(f"heads: need queries (m, {dimensions}) and k from 1 on; got shape {queries.shape} and k = {k}")


def ranked(queries: Floats, k: int, near: Ints, vectors: Callable[[Ints], Floats]) -> tuple[Ints, Floats]:
    """For each of `queries` (m, d) those of its `near` heads (m, more than k; -1 where there is none) that are nearest: numbers (m, k) and squared
    distances (m, k), as `Heads.nearest` gives them. `vectors` gives those of numbers."""
    out = np.full((len(near), k), -1, dtype=np.int64), np.full((len(near), k), np.inf, dtype=np.float32)
    for row, query in enumerate(np.asarray(queries, dtype=np.float32)):
        found = near[row][near[row] >= 0]
        away = vectors(found)
        away -= query
        distances = np.einsum("ij,ij->i", away, away)
        order = np.lexsort((found, distances))[:k]
        out[0][row, : len(order)], out[1][row, : len(order)] = found[order], distances[order]
    return out


def recall_of(near: Callable[..., Ints], queries: Floats, k: int, everything: int) -> float:
    """The share of the `k` nearest heads of `queries` (m, d) that `near` finds for each alone; with `probe` `everything` it finds all."""
    right = near(queries, k, probe=everything)
    found = [near(query[None], k)[0] for query in queries]
    hits = sum(len(np.intersect1d(a[a >= 0], b[b >= 0])) for a, b in zip(found, right, strict=True))
    return hits / max(int((right >= 0).sum()), 1)


def grown(column: NDArray[np.int32], size: int) -> NDArray[np.int32]:
    """A column of `size` entries, new ones -1."""
    return np.concatenate([column, np.full(size - len(column), -1, dtype=np.int32)])


def _runs(ordered: NDArray[Any]) -> list[tuple[int, int]]:
    """Where each run of equal values starts and stops."""
    bounds = [0, *(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1).tolist(), len(ordered)] if len(ordered) else [0]
    return list(itertools.pairwise(bounds))
