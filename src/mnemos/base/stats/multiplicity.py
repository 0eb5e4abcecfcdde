"""Many tests at once: p-values adjusted so that a family, or the share of false findings, keeps its level."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mnemos.base.errors import Invalid
from mnemos.base.stats.samples import Floats, Ints, vector


def holm(p: ArrayLike) -> Floats:
    """Adjusted p-values, in the order given: rejecting those ≤ α keeps the probability of any false rejection ≤ α (Holm 1979)."""
    values, order = _ordered(p)
    m = len(values)
    adjusted = np.minimum(1.0, np.maximum.accumulate(values[order] * np.arange(m, 0, -1)))
    return _back(adjusted, order)


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Adjusted p-values, in the order given: rejecting those ≤ α keeps the expected share of false rejections ≤ α for independent or
    positively dependent tests (Benjamini and Hochberg 1995)."""
    values, order = _ordered(p)
    m = len(values)
    scaled = values[order] * m / np.arange(1, m + 1)
    adjusted = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return _back(adjusted, order)


def _ordered(p: ArrayLike) -> tuple[Floats, Ints]:
    values = vector(p)
    if not ((values >= 0) & (values <= 1)).all():
        raise Invalid("p-values must lie between 0 and 1")
    return values, np.argsort(values, kind="stable")


def _back(adjusted: Floats, order: Ints) -> Floats:
    out = np.empty_like(adjusted)
    out[order] = adjusted
    return out
