"""Exact neighbours, block by block, and the share of them that a search found."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

BLOCK = 1 << 16
"""Rows that are looked at in one product."""
SPARE = 16
"""Candidates beyond k that are ranked again in float64, since float32 products differ in the last digits."""
EQUAL = 1e-6
"""Relative difference of squared distances that counts as a tie."""


def exact(base: Floats, queries: Floats, k: int, rows: Ids | None = None) -> tuple[Ids, NDArray[np.float64]]:
    """The `k` nearest of `base` (n, d) for each of `queries` (m, d), among `rows` where they are given (ascending): ids (m, k) and squared L2
    distances (m, k), nearest first, ties by id; -1 and inf where fewer exist. `base` may be mapped from a file; it is read once."""
    if base.ndim != 2 or queries.ndim != 2 or base.shape[1] != queries.shape[1]:
        raise Invalid(f"exact neighbours: queries of shape {queries.shape} against vectors of shape {base.shape}")
    keep = k + SPARE
    best = np.full((len(queries), 0), 0, dtype=np.int64)
    near = np.zeros((len(queries), 0), dtype=np.float32)
    total = len(base) if rows is None else len(rows)
    for start in range(0, total, BLOCK):
        numbers = np.arange(start, min(start + BLOCK, total)) if rows is None else rows[start : start + BLOCK]
        block = np.ascontiguousarray(base[start : start + BLOCK] if rows is None else base[numbers], dtype=np.float32)
        scores = np.einsum("ij,ij->i", block, block) - 2 * (queries @ block.T)
        best, near = _kept(np.hstack([best, np.broadcast_to(numbers, scores.shape)]), np.hstack([near, scores]), keep)
    return _ranked(base, queries, best, k)


def _kept(ids: Ids, scores: Floats, keep: int) -> tuple[Ids, Floats]:
    if scores.shape[1] <= keep:
        return ids, scores
    chosen = np.argpartition(scores, keep - 1, axis=1)[:, :keep]
    return np.take_along_axis(ids, chosen, 1), np.take_along_axis(scores, chosen, 1)


def _ranked(base: Floats, queries: Floats, candidates: Ids, k: int) -> tuple[Ids, NDArray[np.float64]]:
    ids = np.full((len(queries), k), -1, dtype=np.int64)
    squared = np.full((len(queries), k), np.inf)
    for number, row in enumerate(candidates):
        distances = squared_distances(base, queries[number], row)
        order = np.lexsort((row, distances))[:k]
        ids[number, : len(order)], squared[number, : len(order)] = row[order], distances[order]
    return ids, squared


def squared_distances(base: Floats, query: Floats, ids: Ids) -> NDArray[np.float64]:
    """Of `query` (d,) to the vectors of `ids` (m,): (m,) float64."""
    difference = np.asarray(base[ids], dtype=np.float64) - query
    squared: NDArray[np.float64] = np.einsum("ij,ij->i", difference, difference)
    return squared


def recall(base: Floats, queries: Floats, found: Ids, truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each query, the share of its true neighbours that `found` (m, k; -1 where nothing) holds: (m,). `truth` (m, k) are their squared
    distances, inf where fewer exist. What lies no farther than the last true neighbour counts, so that one of several equal vectors is as good as
    another; an id counts once. Queries for which nothing exists count 1."""
    out = np.ones(len(found))
    for number, (row, distances) in enumerate(zip(found, truth, strict=True)):
        exist = int(np.isfinite(distances).sum())
        if exist:
            ids = np.unique(row[row >= 0])
            bound = distances[exist - 1]
            right = int((squared_distances(base, queries[number], ids) <= bound * (1 + EQUAL) + 1e-12).sum()) if len(ids) else 0
            out[number] = min(right, exist) / exist
    return out
