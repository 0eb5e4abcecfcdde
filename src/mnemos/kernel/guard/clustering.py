"""DBSCAN on cosine distance (Ester et al. 1996), and which paths it finds anomalous: those outside the largest cluster."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid
from mnemos.base.protocols import Vectors

NOISE = -1


def dbscan(vectors: Vectors, eps: float = 0.5, min_samples: int = 2) -> NDArray[np.int64]:
    """Label of each row of `vectors`, shape (n, dimensions): clusters from 0 in order of their first core row, `NOISE` (-1) for the rest.

    Two rows are neighbours where their cosine distance is at most `eps`; a row with `min_samples` neighbours, itself counted, is a core. A
    row at the border of several clusters belongs to the one that was found first. Raises `Invalid`.
    """
    rows = np.asarray(vectors, dtype=np.float64)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise Invalid(f"vectors: expected a finite matrix, not shape {rows.shape}")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    near = 1.0 - unit @ unit.T <= eps + 1e-9
    np.fill_diagonal(near, True)  # a row without direction is near to itself at least
    core = near.sum(1) >= min_samples
    labels = np.full(len(rows), NOISE, dtype=np.int64)
    cluster = 0
    for start in np.flatnonzero(core):
        if labels[start] != NOISE:
            continue
        labels[start] = cluster
        waiting = [start]
        while waiting:
            row = waiting.pop()
            for neighbour in np.flatnonzero(near[row] & (labels == NOISE)):
                labels[neighbour] = cluster
                if core[neighbour]:
                    waiting.append(neighbour)
        cluster += 1
    return labels


def outside_largest(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows are not of the largest cluster, shape (n,): the first of equals counts as largest; all rows where everything is noise."""
    sizes = np.bincount(labels[labels != NOISE])
    if not len(sizes):
        return np.ones(len(labels), dtype=np.bool_)
    return np.asarray(labels != int(sizes.argmax()), dtype=np.bool_)
