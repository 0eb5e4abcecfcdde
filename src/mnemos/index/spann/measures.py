"""How good lists are, told from which vectors are in them, whatever they are stored in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnemos.index.spann.head_index import HeadIndex

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ListQuality:
    """`recall`: of the k nearest vectors of each query, the share that stands in the lists of the nearest heads, for each number of lists read.
    `entries`: entries of those lists, on average. `replicas`: lists a vector. `unevenness`: standard deviation of list lengths over their mean."""

    recall: dict[int, float]
    entries: dict[int, float]
    replicas: float
    unevenness: float


def list_quality(assignment: Ints, heads: HeadIndex, queries: Floats, nearest: Ints, reads: tuple[int, ...] = (8, 16, 32)) -> ListQuality:
    """What is found of `nearest` (q, k), the rows of the true neighbours of `queries` (q, d), where the lists of the nearest heads are read whole.
    `assignment` (n, replicas): the lists of each row, -1 for none."""
    numbers = heads.numbers()
    lengths = np.bincount(assignment[assignment >= 0], minlength=int(numbers[-1]) + 1)
    order = heads.nearest(queries, max(reads))[0]
    place = np.full((len(queries), len(lengths) + 1), max(reads), dtype=np.int64)
    rows = np.arange(len(queries))[:, None]
    place[rows, order] = np.arange(order.shape[1])
    place[:, -1] = max(reads)
    first = place[rows[:, :, None], assignment[nearest]].min(axis=2)
    read = np.cumsum(np.where(order >= 0, lengths[order], 0), axis=1)
    held = lengths[numbers]
    return ListQuality(
        recall={count: float((first < count).mean()) for count in reads},
        entries={count: float(read[:, count - 1].mean()) for count in reads},
        replicas=float((assignment >= 0).sum(axis=1).mean()),
        unevenness=float(held.std() / held.mean()),
    )
