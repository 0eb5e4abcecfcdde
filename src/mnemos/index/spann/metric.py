"""Distances as the caller means them, and as squared Euclidean distances inside."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from mnemos.base.errors import Invalid
from mnemos.index.spann.codes import Floats
from mnemos.index.spann.options import LONGEST, Options


class Measure(Protocol):
    """How vectors and queries are written down, and what a squared distance between them means."""

    dimensions: int
    """Of what is written down."""

    def stored(self, vectors: Floats) -> Floats:
        """Vectors (m, d) as they are written down (m, dimensions). Raises `Invalid` where one cannot be."""
        ...

    def asked(self, queries: Floats) -> Floats:
        """Queries (m, d) likewise."""
        ...

    def sought(self, queries: Floats) -> Floats:
        """What is compared with heads and codes for queries as asked, or for vectors as stored that are looked for (m, dimensions)."""
        ...

    def distances(self, query: Floats, vectors: Floats) -> Floats:
        """What the caller calls distance, of vectors as stored (m, dimensions) to a query as asked: smaller is nearer, equal for equal vectors."""
        ...


def measure(options: Options, dimensions: int) -> Measure:
    if options.metric == "cosine":
        return _Cosine(dimensions)
    if options.metric == "l2":
        return _L2(dimensions)
    return _InnerProduct(dimensions, options.max_norm)


def checked(vectors: Floats, dimensions: int, what: str) -> Floats:
    """`vectors` as float32 (m, dimensions); raises `Invalid` for another shape, or for what is not a finite number."""
    values = np.asarray(vectors)
    if values.dtype.kind not in "fiu":
        raise Invalid(f"{what}: are of type {values.dtype}, must be numbers")
    values = np.ascontiguousarray(values, dtype=np.float32)
    if values.ndim != 2 or values.shape[1] != dimensions:
        raise Invalid(f"{what}: have shape {values.shape}, must be (m, {dimensions})")
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise Invalid(f"{what}: number {row} has a component that is not finite (NaN, infinite, or too large for float32); nothing was changed")
    return values


class _Cosine:
    """1 - cosine. Vectors are made unit vectors."""

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions

    def stored(self, vectors: Floats) -> Floats:
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
        if not lengths.all():
            raise Invalid(f"vectors: number {int(np.flatnonzero(lengths == 0)[0])} is zero and has no direction, so no cosine; nothing was changed")
        # A unit vector is kept to the bit: who looks at it again finds what was put in.
        unit = np.abs(lengths - 1) < 1e-6
        return np.asarray(vectors / np.where(unit, 1.0, lengths)[:, None], dtype=np.float32)

    asked = stored

    def sought(self, queries: Floats) -> Floats:
        return queries

    def distances(self, query: Floats, vectors: Floats) -> Floats:
        return exact_squares(query, vectors) / np.float32(2)


class _L2:
    """Squared Euclidean distance."""

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions

    def stored(self, vectors: Floats) -> Floats:
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
        if len(lengths) and lengths.max() > LONGEST:
            raise Invalid(
                f"vectors: number {int(lengths.argmax())} has length {lengths.max():.3g}, above {LONGEST:.0e}: squares of distances would leave "
                "float32; scale all vectors down; nothing was changed"
            )
        return vectors

    asked = stored

    def sought(self, queries: Floats) -> Floats:
        return queries

    def distances(self, query: Floats, vectors: Floats) -> Floats:
        return exact_squares(query, vectors)


class _InnerProduct:
    """Minus the inner product. One more component makes all vectors equally long, so that the largest product is the smallest distance."""

    def __init__(self, dimensions: int, max_norm: float | None) -> None:
        if max_norm is None:
            raise Invalid("SPANN option max_norm: must be given with the metric inner_product: no vector may be longer")
        self.dimensions, self._max = dimensions + 1, max_norm

    def stored(self, vectors: Floats) -> Floats:
        squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
        if len(squares) and squares.max() > self._max**2 * (1 + 1e-6):
            longest = f"number {int(squares.argmax())} has length {squares.max() ** 0.5:.6g}"
            raise Invalid(f"vectors: {longest}, above max_norm = {self._max:.6g}; build the index with a larger one")
        rest = np.sqrt(np.maximum(self._max**2 - squares, 0)).astype(np.float32)
        return np.concatenate([vectors, rest[:, None]], axis=1)

    def asked(self, queries: Floats) -> Floats:
        return np.concatenate([queries, np.zeros((len(queries), 1), dtype=np.float32)], axis=1)

    def sought(self, queries: Floats) -> Floats:
        """As long as vectors are: of a much longer one all would be about equally far, as float32 has it."""
        queries = np.asarray(queries, dtype=np.float64)
        queries[:, -1] = 0
        lengths = np.sqrt(np.einsum("ij,ij->i", queries, queries))
        return np.asarray(queries * (self._max / np.where(lengths > 0, lengths, 1.0))[:, None], dtype=np.float32)

    def distances(self, query: Floats, vectors: Floats) -> Floats:
        return np.asarray(-np.einsum("ij,j->i", vectors, query), dtype=np.float32)


def exact_squares(query: Floats, vectors: Floats) -> Floats:
    """Squared distances (m,) of `query` (d,), or of a query (m, d) each, to `vectors` (m, d), as differences: equal
    vectors have equal distances, whatever row they stand in."""
    difference = vectors - query
    return np.asarray(np.einsum("ij,ij->i", difference, difference), dtype=np.float32)


def middle(vectors: Floats) -> Floats:
    """Of `vectors` (m, d) the one nearest to their mean. A head is one of them: means of many components lie so near each other that no
    vector would have a second head that is not behind the first."""
    mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    return np.asarray(vectors[int(np.argmin(exact_squares(mean, vectors)))])
