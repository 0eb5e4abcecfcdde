"""Query-aware pruning: which of the lists of the nearest heads are worth reading (SPANN, section 3.3, by another rule)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnemos.index.spann.codes import Floats
from mnemos.index.spann.parts import Numbers

_RANK, _LENGTH = 0.15, 0.1
"""How much nearer a list has to be that stands farther down, or is shorter. Measured on images, embedded texts and mixtures; 0.05 more or less of
either changes the lists read by 1 %."""
_NEAREST = 0.125
"""Of `kth`: the nearest head counts as at least so far away. Where the query is a head itself, that says nothing of what is around it."""


def worth(to_head: Floats, counts: Numbers, typical: float, kth: float, first: int, spread: float) -> Numbers:
    """The places, ascending, of the lists to read, of those whose heads have the ascending squared distances `to_head` (m,) and which hold `counts`
    (m,) entries, `typical` many of all lists: the `first`, and of the others those where

        to_head · (rank · to_head ÷ nearest)^0.15 · (typical ÷ counts)^0.1 <= spread · kth

    `kth` being the squared distance of the k-th nearest vector in the first lists; all of them where nothing can be told from that. How many of the
    neighbours that are still missing a list holds falls with its distance beside both of these and with its rank, and grows with its length.

    The paper compares with the nearest head alone. That reads more lists than a fixed number at the same recall: how near the nearest head is says
    little about how near the neighbours are."""
    if not 0 < kth < np.inf:
        return np.arange(len(to_head))
    rank = np.arange(1, len(to_head) + 1, dtype=np.float32)
    nearest = max(float(to_head[0]), _NEAREST * kth)
    far = to_head * (rank * to_head / np.float32(nearest)) ** np.float32(_RANK)
    far *= (np.float32(typical) / np.maximum(counts, 1)) ** np.float32(_LENGTH)
    near = far <= spread * kth
    near[:first] = True
    return np.flatnonzero(near)


def kth_distinct(slots: NDArray[np.uint32], estimates: Floats, k: int) -> float:
    """The `k`-th lowest estimate, of each slot its lowest; inf where there are fewer slots."""
    best = best_distinct(slots, estimates, k)
    return float(estimates[best[k - 1]]) if len(best) >= k else np.inf


def best_distinct(slots: NDArray[np.uint32], estimates: Floats, most: int) -> Numbers:
    """Positions of the `most` slots with the lowest estimates, a slot that several lists hold by its lowest."""
    n = len(slots)
    wanted = min(n, 3 * most)
    while True:
        near = np.argpartition(estimates, wanted - 1)[:wanted] if wanted < n else np.arange(n)
        near = near[np.argsort(estimates[near], kind="stable")]
        first = np.sort(np.unique(slots[near], return_index=True)[1])
        if len(first) >= most or wanted >= n:
            return near[first[:most]]
        wanted = min(n, 2 * wanted)
