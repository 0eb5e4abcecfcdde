"""Which of several new entries say what is there already (ReMe, arXiv 2512.10696, section 3.1, deduplication)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid

THRESHOLD = 0.92
"""Cosine from which on two entries say the same. The paper's 0.5 takes different procedures of one domain for the same under present embedders."""


def duplicates(
    new: NDArray[np.float32], held: NDArray[np.float32], threshold: float = THRESHOLD, same: Callable[[int, int], bool] | None = None
) -> list[int | None]:
    """For each new entry the one that it repeats, None where it is new: row of `held`, or len(held) + its row among the new ones before it.

    `new` (m, d) and `held` (n, d) are unit vectors of the same texts, scenario and content together. A pair counts where its cosine exceeds
    `threshold` and `same(i, j)`, where it is given, agrees; the closest is named. What is itself a repetition is compared with by nobody.
    """
    if new.size and held.size and new.shape[1] != held.shape[1]:
        raise Invalid(f"duplicates: vectors of {new.shape[1]} and {held.shape[1]} dimensions cannot be compared")
    out: list[int | None] = []
    known = len(held)
    among = new @ new.T if len(new) else np.zeros((0, 0), dtype=np.float32)
    against = new @ held.T if len(new) and known else np.zeros((len(new), 0), dtype=np.float32)
    for row in range(len(new)):
        near = [(float(cosine), j) for j, cosine in enumerate(against[row])]
        near += [(float(among[row, j]), known + j) for j in range(row) if out[j] is None]
        close = sorted((pair for pair in near if pair[0] > threshold), key=lambda pair: (-pair[0], pair[1]))
        out.append(next((j for _, j in close if same is None or same(row, j)), None))
    return out
