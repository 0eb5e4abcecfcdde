"""scikit-learn's manner of asking for neighbours, on the hashed index: `fit`, `transform`, `kneighbors`, on arrays alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid
from mnemos.text.thoughts.hashing import DEFAULTS, Floats, HashedIndex, Parameters, Rows


class HashedNeighbours:
    """Nearest neighbours by cosine. Vectors need not be of length 1."""

    def __init__(self, parameters: Parameters = DEFAULTS) -> None:
        self.parameters = parameters
        self._index: HashedIndex | None = None

    def fit(self, vectors: Floats) -> HashedNeighbours:
        """Hold vectors (n, d)."""
        self._index = HashedIndex(vectors.shape[1], parameters=self.parameters)
        self._index.add(np.arange(len(vectors)), _unit(vectors))
        return self

    def transform(self, vectors: Floats) -> Rows:
        """The bucket of each of vectors (n, d) in each table, (n, tables). Raises `Invalid` where so few are held that none is hashed."""
        return self._fitted().keys(_unit(vectors))

    def kneighbors(self, vectors: Floats, n_neighbors: int = 5) -> tuple[NDArray[np.float32], Rows]:
        """(distances, indices), each (n, n_neighbors), nearest first; distance is 1 - cosine. Where fewer are found: infinity and -1."""
        distances = np.full((len(vectors), n_neighbors), np.inf, dtype=np.float32)
        indices = np.full((len(vectors), n_neighbors), -1, dtype=np.int64)
        index = self._fitted()
        for at, vector in enumerate(_unit(vectors)):
            near = index.search(vector, n_neighbors)
            distances[at, : len(near.ids)], indices[at, : len(near.ids)] = 1 - near.cosines, near.ids
        return distances, indices

    def _fitted(self) -> HashedIndex:
        if self._index is None:
            raise Invalid("neighbours: fit vectors first")
        return self._index


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)
