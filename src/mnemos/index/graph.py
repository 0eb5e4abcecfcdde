"""Walks on a graph: neighbourhoods, and personalised PageRank."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Numbers = NDArray[np.float64]


class Graph:
    """A weighted graph of `n` nodes, stored by rows: the edges that leave a node stand together.

    `source`, `target`: (m,) nodes; `weight`: (m,) positive (None: 1). Edges given twice add up. With `both_ways` each edge can be walked in
    either direction.
    """

    def __init__(self, n: int, source: Ints, target: Ints, weight: Numbers | None = None, *, both_ways: bool = True) -> None:
        weight = np.ones(len(source)) if weight is None else np.asarray(weight, dtype=np.float64)
        if both_ways:
            source, target, weight = np.concatenate([source, target]), np.concatenate([target, source]), np.concatenate([weight, weight])
        keys = source.astype(np.int64) * n + target
        found, inverse = np.unique(keys, return_inverse=True)
        self.n = n
        self.source, self.target = found // max(n, 1), found % max(n, 1)
        self.weight = np.bincount(inverse, weights=weight, minlength=len(found)) if len(found) else np.zeros(0)
        self.starts = np.searchsorted(self.source, np.arange(n + 1))
        out = np.bincount(self.source, weights=self.weight, minlength=n)
        self._shares = self.weight / out[self.source] if len(found) else self.weight
        self._dangling = out == 0

    def neighbours(self, node: int) -> Ints:
        """The nodes that edges lead to from `node`, ascending."""
        return np.asarray(self.target[self.starts[node] : self.starts[node + 1]])

    def within(self, seeds: Ints, hops: int, allowed: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """(n,) which nodes are at most `hops` edges from a seed; only `allowed` nodes are walked through, or found."""
        found = np.zeros(self.n, dtype=bool)
        found[seeds] = True
        if allowed is not None:
            found &= allowed
        border = found
        for _ in range(hops):
            reached = np.zeros(self.n, dtype=bool)
            reached[self.target[border[self.source]]] = True
            if allowed is not None:
                reached &= allowed
            border = reached & ~found
            if not border.any():
                break
            found = found | border
        return found

    def pagerank(self, seeds: Numbers, follow: float, *, tolerance: float = 1e-12, most: int = 200) -> Numbers:
        """π = (1 − follow)·v + follow·Pᵀπ, (n,), for v = `seeds` scaled to sum 1: where a walker is who starts at the seeds, follows an edge with
        probability `follow`, in proportion to the weights, and else starts again. A node without edges sends its walkers back to the seeds.

        `seeds`: (n,), none below 0, not all 0. Ends when a step changes less than `tolerance` in sum. Source: MemGAS, arXiv 2505.19549, section 3.3.
        """
        start: Numbers = seeds / seeds.sum()
        ranks = start
        for _ in range(most):
            moved = np.bincount(self.target, weights=ranks[self.source] * self._shares, minlength=self.n)
            stepped = (1 - follow) * start + follow * (moved + ranks[self._dangling].sum() * start)
            change = np.abs(stepped - ranks).sum()
            ranks = stepped
            if change < tolerance:
                break
        return ranks
