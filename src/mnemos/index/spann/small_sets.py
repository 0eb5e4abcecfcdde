"""Balanced k-means of many small sets at once, by the products of their members alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnemos.index.spann.kmeans import PATIENCE

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


class Divided(NamedTuple):
    """`assignment` (b, m): the part of each member of each set, -1 where a set is smaller than m; `medoids` (b, k): the member of each part that is
    nearest to its mean, -1 where a part is empty."""

    assignment: Ints
    medoids: Ints


def divide_sets(
    vectors: Floats, sizes: Ints, k: int, *, rng: np.random.Generator, balance: float = 100.0, inits: int = 3, iterations: int = 100
) -> Divided:
    """Each of b sets of vectors, `vectors` (b, m, d), of which the first `sizes` (b,) ≥ `k` count, divided into `k` parts as `balanced_kmeans` would.

    The means are never formed: with G the products of a set's vectors and A (m, k) who is in which part of size n, AᵀG/n are the products with the
    means, and the diagonal of AᵀGA/n² their squared lengths. So an iteration costs m²k, not mkd."""
    m = vectors.shape[1]
    held = np.arange(m) < sizes[:, None]
    centred = np.where(held[:, :, None], vectors - (vectors.sum(axis=1, where=held[:, :, None]) / sizes[:, None])[:, None], np.float32(0))
    products = np.matmul(centred, centred.transpose(0, 2, 1))
    lengths = np.einsum("bii->bi", products).copy()
    state = _Sets(products, lengths, held, sizes.astype(np.float32), balance)
    best = _start(state, k, rng, inits)
    chosen = _refined(state, best, k, iterations)
    distances = state.distances(state.members(chosen, k))
    assignment = np.where(held, distances.argmin(axis=2), -1)
    one = np.flatnonzero(np.all((assignment == assignment[:, :1]) | ~held, axis=1)) if k > 1 else np.zeros(0, dtype=np.int64)
    assignment[one] = np.where(held[one], np.arange(m) * k // sizes[one, None], -1)
    inside = assignment[:, :, None] == np.arange(k)
    medoids = np.where(inside, distances, np.float32(np.inf)).argmin(axis=1)
    return Divided(assignment, np.where(inside.any(axis=1), medoids, -1))


class _Sets:
    """The products (b, m, m) of sets, squared lengths (b, m) of their vectors, which of them count (b, m), and how many (b,)."""

    def __init__(self, products: Floats, lengths: Floats, held: NDArray[np.bool_], sizes: Floats, balance: float) -> None:
        self.products, self.lengths, self.held, self.sizes, self.balance = products, lengths, held, sizes, balance
        self.most = lengths.sum(axis=1) / (balance * sizes * sizes)
        """λ₀: the vectors are centred, so their mean squared length is the spread."""

    def only(self, rows: Ints) -> _Sets:
        return _Sets(self.products[rows], self.lengths[rows], self.held[rows], self.sizes[rows], self.balance)

    def members(self, assignment: Ints, k: int) -> Floats:
        """A (b, m, k): 1 where a vector is in a part. Every part has a member: an empty one gets the farthest of the biggest."""
        a: Floats = ((assignment[:, :, None] == np.arange(k)) & self.held[:, :, None]).astype(np.float32)
        while True:
            counts = a.sum(axis=1)
            rows = np.flatnonzero(counts.min(axis=1) == 0)
            if not len(rows):
                return a
            biggest, empty = counts[rows].argmax(axis=1), counts[rows].argmin(axis=1)
            inside = np.take_along_axis(a[rows], biggest[:, None, None], axis=2)[:, :, 0]
            along = np.einsum("bij,bj->bi", self.products[rows], inside) / inside.sum(axis=1, keepdims=True)
            far = np.where(inside > 0, self.lengths[rows] - 2 * along, np.float32(-np.inf)).argmax(axis=1)
            a[rows, far, biggest], a[rows, far, empty] = 0, 1

    def distances(self, a: Floats) -> Floats:
        """(b, m, k) squared distances of the vectors from the means of the parts."""
        counts = a.sum(axis=1)
        along: Floats = np.matmul(self.products, a) / counts[:, None]
        squares: Floats = np.einsum("bij,bij->bj", a, along) / counts
        distances: Floats = self.lengths[:, :, None] + squares[:, None] - 2 * along
        return np.maximum(distances, 0, out=distances)


def _start(sets: _Sets, k: int, rng: np.random.Generator, inits: int) -> Ints:
    """Who is nearest to which of `k` random members, (b, m), in the best of `inits` draws."""
    best, lowest = np.zeros(sets.held.shape, dtype=np.int64), np.full(len(sets.held), np.inf)
    for _ in range(inits):
        drawn = np.argsort(np.where(sets.held, rng.random(sets.held.shape), 2.0), axis=1)[:, :k]
        along = np.take_along_axis(sets.products, drawn[:, None, :], axis=2)
        distances = np.take_along_axis(sets.lengths, drawn, axis=1)[:, None] - 2 * along
        total = np.where(sets.held, distances.min(axis=2), 0).sum(axis=1)
        better = total < lowest
        best[better], lowest[better] = distances[better].argmin(axis=2), total[better]
    return best


def _refined(sets: _Sets, assignment: Ints, k: int, iterations: int) -> Ints:
    """Who is in which part (b, m) after the best iteration of each set."""
    best, lowest, waited = assignment.copy(), np.full(len(assignment), np.inf), np.zeros(len(assignment), dtype=np.int64)
    active = np.arange(len(assignment))
    for _ in range(iterations):
        a = sets.members(assignment, k)
        counts, distances = a.sum(axis=1), sets.distances(a)
        inside = np.take_along_axis(a, counts.argmax(axis=1)[:, None, None], axis=2)[:, :, 0] > 0
        own = np.take_along_axis(distances, assignment[:, :, None], axis=2)[:, :, 0]
        mean = np.where(inside, own, 0).sum(axis=1) / inside.sum(axis=1)
        farthest = np.where(inside, own, 0).max(axis=1)
        weight = np.minimum(sets.most, (farthest - mean) / sets.sizes)
        cost = distances + (weight[:, None] * counts)[:, None]
        moved = cost.argmin(axis=2)
        total = np.where(sets.held, np.take_along_axis(cost, moved[:, :, None], axis=2)[:, :, 0], 0).sum(axis=1)
        better = total < lowest[active]
        best[active[better]], lowest[active[better]] = a[better].argmax(axis=2), total[better]
        waited[active] = np.where(better, 0, waited[active] + 1)
        going = (waited[active] < PATIENCE) & np.any((moved != assignment) & sets.held, axis=1)
        if not going.any():
            break
        if going.all():
            assignment = moved
        else:
            keep = np.flatnonzero(going)
            assignment, active, sets = moved[keep], active[keep], sets.only(keep)
    return best
