"""Which vectors become heads: few where vectors are alike, more where they are not, and each vector near one.

Source: SPANN, arXiv 2111.08566, section 3.2.1, and the dynamic selection of its published implementation as the project's notes describe it."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid
from mnemos.index.spann.clustering import Tree

Ints = NDArray[np.int64]

SPLIT_FACTOR = 6
"""A node that covers more than the split threshold has a head for each so many rows that it covers, among its largest children."""

_TRIED = (1, 1.1, 1.2, 1.35, 1.5, 1.75, 2, 2.5, 3, 4)
"""Select thresholds that are tried, as multiples of the lowest that leaves room for splits."""
TOLERANCE = 0.01
"""Numbers of heads that differ by less than this share are equally good."""


def select_heads(tree: Tree, ratio: float, *, split_factor: int = SPLIT_FACTOR) -> Ints:
    """The rows of the heads, ascending; about `ratio` of all.

    From the leaves up: a node covers itself and the rows below it that no node below covers. Are they as many as the select threshold, its row is a
    head, and above it they count as covered. Are they more than the split threshold, its children that are left with most rows are heads too, one
    for each `split_factor` rows. The thresholds are those whose number of heads is nearest to `ratio`; of pairs that are equally near (within
    TOLERANCE) those whose heads cover rows most evenly. Raises `Invalid`."""
    if not 0 < ratio <= 1 or split_factor < 1:
        raise Invalid(f"head selection: needs a ratio above 0 and at most 1, and a split factor from 1 on; got {ratio} and {split_factor}")
    n = len(tree.parent)
    wanted = max(round(ratio * n), 1)
    # Heads that are not children of such cover at least `select` rows each, so there are at most n / select of them.
    first = bisect_left(range(2, n // wanted + 2), True, key=lambda select: len(_Covering(tree, select, split_factor)) <= wanted) + 2
    choices = []
    for select in sorted({round(first * factor) for factor in _TRIED}):
        covering = _Covering(tree, select, split_factor)
        split = covering.nearest_split(wanted)
        rows = covering.heads(split)
        off = abs(len(rows) - wanted)
        choices.append((max(off - int(TOLERANCE * wanted), 0), covering.unevenness(split), select, rows))
    rows = min(choices, key=lambda choice: choice[:3])[3]
    return rows if len(rows) else tree.levels[0]


def leaf_for(ratio: float) -> int:
    """The size of a leaf of the tree that heads are chosen from best: somewhat more rows than a head has, and the paper's 8 or more. With leaves
    of 8 and few heads, most heads stand far above the leaves (measured on mixtures of 12,000 and 20,000 vectors, ratio 0.01 to 0.16)."""
    return max(8, round(1.2 / ratio))


def random_heads(n: int, ratio: float, rng: np.random.Generator) -> Ints:
    """As many of rows 0 … n-1 as `select_heads` would choose, at random, ascending: what it is compared with."""
    return np.sort(rng.choice(n, max(round(ratio * n), 1), replace=False))


class _Covering:
    """What each node covers, for one select threshold."""

    def __init__(self, tree: Tree, select: int, split_factor: int) -> None:
        self._tree = tree
        self._covers = np.ones(len(tree.parent), dtype=np.int64)
        self._left = np.zeros(len(tree.parent), dtype=np.int64)
        """How many rows below a node, and it, are covered by none of them."""
        children = np.zeros(len(tree.parent), dtype=np.int64)
        for level in reversed(tree.levels):
            self._left[level] = np.where(self._covers[level] >= select, 0, self._covers[level])
            open_ = level[self._left[level] > 0]
            above = tree.parent[open_]
            open_, above = open_[above >= 0], above[above >= 0]
            np.add.at(self._covers, above, self._left[open_])
            np.add.at(children, above, 1)
        self._nodes = np.flatnonzero(self._covers >= select)
        held = self._covers[self._nodes]
        self._nodes = self._nodes[np.argsort(-held, kind="stable")]
        self._held = self._covers[self._nodes]
        self._more = np.minimum(-(-self._held // split_factor), children[self._nodes])

    def __len__(self) -> int:
        """The number of heads where no node is split."""
        return len(self._nodes)

    def nearest_split(self, wanted: int) -> int:
        """The split threshold that gives nearest to `wanted` heads."""
        ends = np.flatnonzero(np.append(self._held[1:] != self._held[:-1], True)) if len(self._held) else np.zeros(0, dtype=np.int64)
        counts = len(self._nodes) + np.append(0, np.cumsum(self._more)[ends])
        at = int(np.abs(counts - wanted).argmin())
        return int(self._held[ends[at - 1]]) - 1 if at else int(self._held.max(initial=0))

    def unevenness(self, split: int) -> float:
        """Of a covered row, how many the head that covers it covers on average, where heads of one node share its rows equally."""
        return float((self._held**2 / np.where(self._held > split, 1 + self._more, 1)).sum() / max(self._held.sum(), 1))

    def heads(self, split: int) -> Ints:
        """The rows of the heads, ascending."""
        many = np.zeros(len(self._covers), dtype=np.int64)
        many[self._nodes] = np.where(self._held > split, self._more, 0)
        children = np.flatnonzero((self._tree.parent >= 0) & (self._left > 0))
        children = children[many[self._tree.parent[children]] > 0]
        above = self._tree.parent[children]
        order = np.lexsort((children, -self._left[children], above))
        rank = np.arange(len(order)) - np.searchsorted(above[order], above[order])
        return np.union1d(self._nodes, children[order][rank < many[above[order]]])
