"""What callers give, checked: lists of numbers, pairs of them, and the clusters that they fall into."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mnemos.base.errors import Invalid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def vector(values: ArrayLike) -> Floats:
    """`values` as a vector. Raises `Invalid` where it is empty or has another shape."""
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or data.size == 0:
        raise Invalid(f"statistics need a non-empty list of numbers, not an array of shape {data.shape}")
    return data


def pair(ours: ArrayLike, theirs: ArrayLike) -> tuple[Floats, Floats]:
    """Two vectors of one length. Raises `Invalid`."""
    first, second = vector(ours), vector(theirs)
    if len(first) != len(second):
        raise Invalid(f"a paired comparison needs as many values on both sides, not {len(first)} and {len(second)}")
    return first, second


def cluster_numbers(clusters: Sequence[Hashable], n: int) -> Ints:
    """The cluster of each of `n` values, numbered by first appearance. Raises `Invalid` where a value has none."""
    if len(clusters) != n:
        raise Invalid(f"each value needs its cluster: {n} values, {len(clusters)} clusters")
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in clusters], dtype=np.int64)


def per_cluster(data: Floats, groups: Ints) -> tuple[Floats, Floats]:
    """Sum and number of the values of each cluster."""
    return np.bincount(groups, weights=data).astype(np.float64), np.bincount(groups).astype(np.float64)


def z_of(level: float) -> float:
    """The normal quantile of a two-sided interval. Raises `Invalid` for a level outside 0 to 1."""
    if not 0 < level < 1:
        raise Invalid(f"level: must lie between 0 and 1, not {level}")
    return NormalDist().inv_cdf((1 + level) / 2)
