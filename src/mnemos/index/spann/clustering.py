"""A tree of balanced clusters over all vectors: each node is a vector, the one in the middle of those below it.

Source: SPANN, arXiv 2111.08566, section 3.2.1 (hierarchical balanced clustering)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid
from mnemos.index.spann.kmeans import Clusters, balanced_kmeans, nearest_centres
from mnemos.index.spann.small_sets import divide_sets
from mnemos.index.spann.working import Progress, in_order

__all__ = ["Clusters", "Tree", "balanced_kmeans", "balanced_tree"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Reader = Callable[[Ints], Floats]

_HELD = 64 << 20
"""Bytes of the vectors below a node that are held in memory to divide it; of more, blocks are read one after the other."""
_ROWS = 8192
"""Rows of such a block."""
_SMALL = 384
"""Nodes of so many vectors at most are divided together with others of their size."""
_TOGETHER = 16 << 20
"""Bytes of the vectors that are divided together."""


@dataclass(frozen=True)
class Tree:
    """`parent` (n,): for each row the row of the node above, -1 for the root. Each of the rows is one node."""

    parent: Ints

    @cached_property
    def levels(self) -> list[Ints]:
        """The rows of each depth, from the root down."""
        order = np.argsort(self.parent, kind="stable")
        starts = np.searchsorted(self.parent[order], np.arange(-1, len(self.parent) + 1))
        levels = [order[: starts[1]]]
        while len(levels[-1]):
            first, last = starts[levels[-1] + 1], starts[levels[-1] + 2]
            counts = last - first
            levels.append(order[np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())])
        return levels[:-1]


def balanced_tree(
    reader: Reader,
    n: int,
    *,
    leaf: int = 8,
    branches: int = 32,
    balance: float = 100.0,
    rng: np.random.Generator,
    workers: int = 1,
    progress: Progress | None = None,
) -> Tree:
    """The tree of rows 0 … n-1. A node with m > `leaf` rows below it has min(m / `leaf` + 1, `branches`) children at most, by balanced k-means; the
    child is the row nearest to the mean of its cluster. Of `leaf` or fewer, each is a child.

    Rows are read about once a level until what is below a node fits into 64 MiB, then once. The tree is the same for any number of workers, each a
    thread. `progress(done, total)` counts rows, each twice. Raises `Invalid`."""
    if n < 1 or leaf < 1 or branches < 2:
        raise Invalid(f"clustering: needs rows, leaves from 1 on, and 2 branches or more; got {n} rows, {leaf} and {branches}")
    seed = int(rng.integers(1 << 62))
    shape = _Shape(leaf, branches, balance, seed)
    sample = np.sort(rng.choice(n, min(n, 1000), replace=False))
    vectors = reader(sample)
    root = int(sample[nearest_centres(vectors.mean(axis=0, dtype=np.float64).astype(np.float32)[None], vectors)[0][0]])
    parent = np.full(n, -1, dtype=np.int64)
    done = 0

    def report(rows: int) -> None:
        nonlocal done
        done = min(done + rows, 2 * n)
        if progress is not None:
            progress(done, 2 * n)

    wide, small = [(root, np.delete(np.arange(n), root))], list[tuple[int, Ints]]()
    fits = max(_HELD // (4 * vectors.shape[1]), _ROWS)
    while wide:
        centre, rows = wide.pop()
        if len(rows) <= fits:
            small.append((centre, rows))
            continue
        for child, below in _divided_by_blocks(reader, centre, rows, shape, workers, report if centre == root else None):
            parent[child] = centre
            wide.append((child, below))
    if done < n:
        report(n)
    small.sort(key=lambda node: (-len(node[1]), node[0]))
    for (_, rows), above in zip(small, in_order(lambda node: _subtree(reader(node[1]), *node, shape), small, workers), strict=True):
        parent[rows] = above
        report(len(rows))
    if done < 2 * n:
        report(2 * n - done)
    return Tree(parent)


@dataclass(frozen=True)
class _Shape:
    leaf: int
    branches: int
    balance: float
    seed: int

    def parts(self, count: int) -> int:
        return max(2, min(count // self.leaf + 1, self.branches))

    def rng(self, centre: int) -> np.random.Generator:
        """The random numbers of a node: they hang on the node, not on who divides it when."""
        return np.random.default_rng((self.seed, centre))


def _divided_by_blocks(
    reader: Reader, centre: int, rows: Ints, shape: _Shape, workers: int, report: Callable[[int], None] | None
) -> Iterator[tuple[int, Ints]]:
    """The children of a node and the rows below each, where they are too many to be held."""
    rng = shape.rng(centre)
    sample = np.sort(rng.choice(len(rows), 1000, replace=False))
    centres = balanced_kmeans(reader(rows[sample]), shape.parts(len(rows)), rng=rng, balance=shape.balance).centres
    blocks = [rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS)]
    assignment, distances = np.empty(len(rows), dtype=np.int64), np.empty(len(rows), dtype=np.float32)
    start = 0
    for part, near in in_order(lambda block: nearest_centres(reader(block), centres), blocks, workers):
        assignment[start : start + len(part)], distances[start : start + len(part)] = part, near
        start += len(part)
        if report:
            report(len(part))
    if np.all(assignment == assignment[0]):
        assignment = np.arange(len(rows)) * len(centres) // len(rows)
    order = np.lexsort((distances, assignment))
    for members in np.split(order, np.flatnonzero(np.diff(assignment[order])) + 1):
        yield int(rows[members[0]]), np.sort(rows[members[1:]])


def _subtree(vectors: Floats, centre: int, rows: Ints, shape: _Shape) -> Ints:
    """The row above each of `rows`, whose `vectors` (m, d) are all below the node `centre`."""
    above = np.full(len(rows), -1, dtype=np.int64)
    waiting = [(-1, np.arange(len(rows)))] if len(rows) > shape.leaf else []
    while waiting:
        divided: list[tuple[int, Ints]] = []
        for node, members in waiting:
            if len(members) > _SMALL:
                rng = shape.rng(int(rows[node]) if node >= 0 else centre)
                divided += _children(vectors, node, members, above, shape, rng)
        for k, m, batch in _batches([node for node in waiting if len(node[1]) <= _SMALL], vectors.shape[1], shape):
            divided += _children_of_sets(vectors, batch, k, m, above, shape.balance, shape.rng(int(rows[batch[0][1][0]])))
        waiting = [node for node in divided if len(node[1]) > shape.leaf]
    return np.where(above >= 0, rows[above], centre)


def _children(
    vectors: Floats, node: int, members: Ints, above: Ints, shape: _Shape, rng: np.random.Generator
) -> list[tuple[int, Ints]]:
    """The children of `node` and what is below each; `above` learns of both."""
    held = vectors[members]
    clusters = balanced_kmeans(held, shape.parts(len(members)), rng=rng, balance=shape.balance)
    away = held - clusters.centres[clusters.assignment]
    order = np.lexsort((np.einsum("ij,ij->i", away, away), clusters.assignment))
    children = []
    for part in np.split(order, np.flatnonzero(np.diff(clusters.assignment[order])) + 1):
        child, below = int(members[part[0]]), np.sort(members[part[1:]])
        above[child], above[below] = node, child
        children.append((child, below))
    return children


def _batches(nodes: list[tuple[int, Ints]], dimensions: int, shape: _Shape) -> Iterator[tuple[int, int, list[tuple[int, Ints]]]]:
    """Small nodes of about one size in batches: the number of parts, the size of the largest, and the nodes."""
    batch: list[tuple[int, Ints]] = []
    for node in sorted(nodes, key=lambda node: len(node[1])):
        m = len(node[1])
        if batch and (
            shape.parts(m) != shape.parts(len(batch[0][1])) or 4 * m > 5 * len(batch[0][1]) or 4 * dimensions * m * len(batch) > _TOGETHER
        ):
            yield shape.parts(len(batch[0][1])), len(batch[-1][1]), batch
            batch = []
        batch.append(node)
    if batch:
        yield shape.parts(len(batch[0][1])), len(batch[-1][1]), batch


def _children_of_sets(
    vectors: Floats, nodes: list[tuple[int, Ints]], k: int, m: int, above: Ints, balance: float, rng: np.random.Generator
) -> list[tuple[int, Ints]]:
    """As `_children`, for many nodes of at most `m` members each."""
    sizes = np.array([len(members) for _, members in nodes])
    members = np.zeros((len(nodes), m), dtype=np.int64)
    members[np.arange(m) < sizes[:, None]] = np.concatenate([below for _, below in nodes])
    assignment, medoids = divide_sets(vectors[members], sizes, k, rng=rng, balance=balance)
    sets, parts = np.nonzero(medoids >= 0)
    child = np.full(medoids.shape, -1, dtype=np.int64)
    child[sets, parts] = members[sets, medoids[sets, parts]]
    where = np.nonzero(assignment >= 0)
    part = assignment[where]
    above[members[where]] = child[where[0], part]
    above[child[sets, parts]] = np.array([node for node, _ in nodes])[sets]
    key = where[0] * k + part
    order = np.argsort(key, kind="stable")
    ordered = members[where][order]
    below = np.split(ordered, np.flatnonzero(np.diff(key[order])) + 1)
    return [(at, rows[rows != at]) for at, rows in zip(child[sets, parts].tolist(), below, strict=True)]
