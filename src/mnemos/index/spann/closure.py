"""Which lists a vector belongs to: those of the nearest heads that lie in different directions from it.

Source: SPANN, arXiv 2111.08566, section 3.2.2 (closure assignment with the rule of the relative neighbourhood graph)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid
from mnemos.index.spann.head_index import HeadIndex
from mnemos.index.spann.working import Progress, in_order

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Reader = Callable[[Ints], Floats]
"""Gives the vectors (m, d) float32 of row numbers (m,), from memory or disk; called by several threads at once."""

_SPARED, _LEAST_FACTOR, _FACTOR_STEP = 0.78, 0.7, 0.005
"""What the rule leaves of the copies, the least factor for that, and how near the factor is found."""
_TOGETHER = 64
"""Vectors whose candidates are held at once."""
_ROWS = 4096
"""Rows that are read at once."""


def assign(
    vectors: Floats, heads: HeadIndex, *, candidates: int = 64, epsilon: float = 10.0, rng_factor: float = 1.0, replicas: int = 8
) -> Ints:
    """The lists of `vectors` (m, d): numbers (m, replicas), the nearest head first, -1 where there are fewer.

    Of the `candidates` nearest heads, in order of distance, head i is taken while D(x, i) ≤ (1 + `epsilon`)·D(x, 1) (squared distances) unless
    `rng_factor`·D(i, j) ≤ D(x, i) for one that was taken before: a head that stands behind another, seen from x, would be read for the same
    queries. So only one of identical heads is taken. `rng_factor` inf takes all that are near enough. Raises `Invalid`."""
    _checked(candidates, epsilon, rng_factor, replicas)
    out = np.full((len(vectors), replicas), -1, dtype=np.int64)
    if not len(heads) or not len(vectors):
        return out
    numbers = heads.near(vectors, min(candidates, len(heads)))
    for start in range(0, len(vectors), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        out[part] = _taken(vectors[part], numbers[part], heads, epsilon, rng_factor, replicas)
    return out


def assign_all(
    reader: Reader,
    n: int,
    heads: HeadIndex,
    *,
    candidates: int = 64,
    epsilon: float = 10.0,
    rng_factor: float = 1.0,
    replicas: int = 8,
    workers: int = 1,
    progress: Progress | None = None,
) -> Ints:
    """As `assign` for rows 0 … n-1, (n, replicas), in less time: vectors near the same heads are compared with them together. What is found is the
    same for any number of workers. `progress(done, total)` counts rows, each twice. Raises `Invalid`."""
    _checked(candidates, epsilon, rng_factor, replicas)
    out = np.full((n, replicas), -1, dtype=np.int64)
    if not n or not len(heads):
        return out
    done = 0

    def report(rows: int) -> None:
        nonlocal done
        done += rows
        if progress is not None:
            progress(done, 2 * n)

    group = np.empty((n, 2), dtype=np.int32)
    blocks = [np.arange(start, min(start + _ROWS, n)) for start in range(0, n, _ROWS)]
    for rows, nearest in in_order(lambda rows: (rows, heads.nearest_groups(reader(rows), 2)), blocks, workers):
        group[rows] = nearest
        report(len(rows))
    order = np.lexsort((group[:, 1], group[:, 0]))

    def chosen(rows: Ints) -> tuple[Ints, Ints]:
        vectors = reader(rows)
        return rows, assign(vectors, heads, candidates=candidates, epsilon=epsilon, rng_factor=rng_factor, replicas=replicas)

    runs = [np.sort(order[start : start + _ROWS]) for start in range(0, n, _ROWS)]
    for rows, numbers in in_order(chosen, runs, workers):
        out[rows] = numbers
        report(len(rows))
    return out


def assign_among(vectors: Floats, heads: Floats, *, candidates: int, epsilon: float, rng_factor: float, replicas: int) -> Ints:
    """As `assign` with none but `heads` (h, d) to choose from: rows of these (m, `replicas`), the nearest first, -1 where there are fewer. For many
    `vectors` (m, d) near the same heads, at about a sixth of the work; of distances that differ by rounding either is the nearer."""
    middle = heads.mean(axis=0)  # from which all is seen, so that no digits are lost far from the origin
    vectors, heads = vectors - middle, heads - middle
    lengths = np.einsum("ij,ij->i", heads, heads)
    squares = np.einsum("ij,ij->i", vectors, vectors)[:, None] + lengths - 2 * (vectors @ heads.T)
    np.maximum(squares, 0, out=squares)
    between = lengths[:, None] + lengths - 2 * (heads @ heads.T)
    left = np.where(squares <= (1 + epsilon) * squares.min(axis=1, keepdims=True), squares, np.float32(np.inf))
    if len(heads) > candidates:
        left[squares > np.partition(squares, candidates - 1, axis=1)[:, candidates - 1, None]] = np.inf
    out = np.full((len(vectors), replicas), -1, dtype=np.int64)
    rows = np.arange(len(vectors))
    for place in range(replicas):
        best = left.argmin(axis=1)
        held = left[rows, best] < np.inf
        if not held.any():
            break
        out[held, place] = best[held]
        if np.isfinite(rng_factor):
            left[held[:, None] & (rng_factor * between[best] <= squares)] = np.inf
        left[rows, best] = np.inf
    return out


def sparing_factor(vectors: Floats, heads: HeadIndex, *, candidates: int = 64, epsilon: float = 10.0, replicas: int = 8) -> float:
    """The largest `rng_factor` up to 1, of those from 0.7 on, with which `vectors` (m, d) are in few enough lists: at most 0.78 times as many as
    without the rule, so that it spares the fifth that it should also where other vectors are a little different. Raises `Invalid`."""

    def copies(factor: float) -> int:
        taken = assign(vectors, heads, candidates=candidates, epsilon=epsilon, rng_factor=factor, replicas=replicas)
        return int(np.count_nonzero(taken >= 0))

    enough = _SPARED * copies(math.inf)
    if copies(1.0) <= enough:
        return 1.0
    few, many = _LEAST_FACTOR, 1.0
    while many - few > _FACTOR_STEP:
        middle = (few + many) / 2
        few, many = (middle, many) if copies(middle) <= enough else (few, middle)
    return few


def _checked(candidates: int, epsilon: float, rng_factor: float, replicas: int) -> None:
    if not (1 <= replicas <= candidates and epsilon >= 0 and rng_factor >= 0):
        raise Invalid(
            f"closure: needs 1 <= replicas <= candidates, and epsilon and rng_factor from 0 on; got {replicas}, {candidates}, {epsilon}, {rng_factor}"
        )


def _taken(vectors: Floats, numbers: Ints, heads: HeadIndex, epsilon: float, rng_factor: float, replicas: int) -> Ints:
    """The lists (m, replicas) of `vectors` (m, d) among the candidates `numbers` (m, c); of heads equally near the least number first."""
    m, numbers = len(vectors), np.sort(numbers, axis=1)
    known, where = np.unique(numbers, return_inverse=True)
    away = heads.vectors(known)[where.reshape(numbers.shape)]
    away -= vectors[:, None]
    near = np.einsum("ijk,ijk->ij", away, away)
    # Seen from the vector, so that no digits are lost in what is compared: |c - d|^2 = |c|^2 + |d|^2 - 2<c, d>.
    between = np.matmul(away, away.transpose(0, 2, 1))
    between *= -2
    between += near[:, :, None]
    between += near[:, None, :]
    out = np.full((m, replicas), -1, dtype=np.int64)
    rows = np.arange(m)
    left = np.where(near <= (1 + epsilon) * near.min(axis=1, keepdims=True), near, np.float32(np.inf))
    for place in range(replicas):
        best = left.argmin(axis=1)
        held = np.flatnonzero(left[rows, best] < np.inf)
        if not len(held):
            break
        out[held, place] = numbers[held, best[held]]
        if np.isfinite(rng_factor):
            left[rng_factor * between[rows, best] <= near] = np.inf
        left[rows, best] = np.inf
    return out
