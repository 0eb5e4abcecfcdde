"""Generated vectors that are as hard to search as embedded texts: many clusters of unequal size, each on few dimensions of its own."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid
from mnemos.bench.ann.truth import Floats, exact

BLOCK = 50_000
"""Vectors that are made at a time."""
NEIGHBOURS = 20
"""Of a vector, that its dimension is estimated from."""


class Mixture:
    """Clusters of power-law sizes; the vectors of one are its centre, a Gaussian on `intrinsic` random directions of its own, and a little noise in
    all directions; all are scaled to unit length, as embedders do. `between` is the share of the variance that lies between the centres."""

    def __init__(
        self, dimensions: int, clusters: int, rng: np.random.Generator, *, intrinsic: int = 24, between: float = 0.4, noise: float = 0.1
    ) -> None:
        if not 1 <= intrinsic <= dimensions or clusters < 1 or not 0 <= between < 1:
            raise Invalid(f"mixture: {clusters} clusters of {intrinsic} dimensions in {dimensions}, {between} between them: "
                          "needs one cluster or more, 1 to `dimensions` of them, and 0 <= between < 1")
        self.dimensions, self.intrinsic, self.noise = dimensions, intrinsic, noise
        self._centres = rng.standard_normal((clusters, dimensions), dtype=np.float32) * np.float32(np.sqrt(between / dimensions))
        scale = np.float32(np.sqrt((1 - between) / (intrinsic * dimensions)))
        self._directions = rng.standard_normal((clusters, intrinsic, dimensions), dtype=np.float32) * scale
        sizes = 1 / np.arange(1, clusters + 1)
        self._weights = rng.permutation(sizes / sizes.sum())
        self._moved = np.zeros_like(self._centres)
        self._mix = 0.0
        self._later = rng.permutation(self._weights)
        self._way = rng.standard_normal((clusters, dimensions), dtype=np.float32) * np.float32(np.sqrt(between / dimensions))

    def drift(self, share: float) -> None:
        """Moves on: at 0 the mixture is as it was made, at 1 the clusters have other sizes, and their centres have gone half of the way to others."""
        self._moved = np.float32(share / 2) * (self._way - self._centres)
        self._mix = share

    def sample(self, count: int, rng: np.random.Generator) -> Floats:
        """`count` unit vectors (count, dimensions), in random order."""
        weights = (1 - self._mix) * self._weights + self._mix * self._later
        counts = rng.multinomial(count, weights)
        out = rng.standard_normal((count, self.dimensions), dtype=np.float32)
        out *= np.float32(self.noise / np.sqrt(self.dimensions))
        where = np.split(rng.permutation(count), np.cumsum(counts)[:-1])
        for cluster, rows in enumerate(where):
            if len(rows):
                inner = rng.standard_normal((len(rows), self.intrinsic), dtype=np.float32)
                out[rows] += inner @ self._directions[cluster] + (self._centres[cluster] + self._moved[cluster])
        out /= np.linalg.norm(out, axis=1, keepdims=True)
        return out

    def write(self, path: Path, count: int, rng: np.random.Generator, drifting: int = 0) -> None:
        """Writes `count` vectors as a .npy file, block by block, and after them `drifting` more, over which the mixture moves on from 0 to 1."""
        out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(count + drifting, self.dimensions))
        for begin in range(0, count, BLOCK):
            end = min(begin + BLOCK, count)
            out[begin:end] = self.sample(end - begin, rng)
        for begin in range(0, drifting, max(1, drifting // 100)):
            self.drift(begin / drifting)
            end = min(begin + max(1, drifting // 100), drifting)
            out[count + begin : count + end] = self.sample(end - begin, rng)
        out.flush()


def clusters_of(n: int) -> int:
    """How many clusters a mixture of `n` vectors has here: the square root, so that clusters grow as the data does."""
    return max(16, round(math.sqrt(n)))


def intrinsic_dimension(base: Floats, rows: NDArray[np.int64], neighbours: int = NEIGHBOURS) -> float:
    """The maximum-likelihood estimate of Levina and Bickel (2004), with the correction of MacKay and Ghahramani (2005): the mean over `rows` of the
    mean log ratio of the distance to the last neighbour and to each nearer one, inverted. Copies of a vector, at distance 0, are left out.
    Raises `Invalid` where no row has neighbours at different distances."""
    _, squared = exact(base, np.asarray(base[rows]), neighbours + 1)
    inverse = []
    for row in squared:
        distances = np.sqrt(row[row > 1e-12])
        if len(distances) > 2 and distances[-1] > distances[0]:
            inverse.append(np.log(distances[-1] / distances[:-1]).sum() / (len(distances) - 2))
    if not inverse:
        raise Invalid("intrinsic dimension: all neighbours lie at the same distance; nothing can be said")
    return float(1 / np.mean(inverse))
