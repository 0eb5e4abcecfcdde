"""How a vector stands in a list: as an entry of a few bytes, from which its distance to a query is estimated.

An entry approximates x by c + a * s, where c is the head of its list and s has small components. With b = |x - c|^2 + 2 a <c, s>, which is
stored, every code estimates in the same way:

    |q - x|^2  ~  |q - c|^2 + b - 2 a <q, s>

so that the only work that grows with the length of the lists is <q, s>. For one bit a dimension, s is the sign of x - c and
a = |x - c|^2 / |x - c|_1, which makes the estimate unbiased over rotations (RaBitQ, arXiv 2405.12497, section 3); the index rotates everything
once, at random, for that reason.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mnemos.index.spann.options import CodeName

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

HEADER = 16
"""Bytes of an entry before its code: slot and stamp (uint32), a and b (float32)."""
_QUERY_BITS = 6


class Code(Protocol):
    """One way to write s."""

    name: CodeName

    def nbytes(self, dimensions: int) -> int:
        """Bytes of s, a multiple of 8."""
        ...

    def encode(self, residuals: Floats) -> tuple[Floats, Bytes, Floats]:
        """a (m,), s as bytes (m, nbytes) and s as numbers (m, dimensions) of x - c (m, dimensions)."""
        ...

    def product(self, queries: Floats, entries: Bytes) -> Floats:
        """<q, s> of each of `queries` (p, dimensions) with each of `entries` (m, HEADER + nbytes): (p, m)."""
        ...


class Binary:
    """The sign of each component. The query is rounded to 6 bits, so that the product counts bits of whole words."""

    name: CodeName = "binary"

    def nbytes(self, dimensions: int) -> int:
        return -(-dimensions // 64) * 8

    def encode(self, residuals: Floats) -> tuple[Floats, Bytes, Floats]:
        positive = residuals > 0
        signs = np.where(positive, np.float32(1), np.float32(-1))
        lengths = np.abs(residuals).sum(axis=1)
        squares = np.einsum("ij,ij->i", residuals, residuals)
        scale = np.divide(squares, lengths, out=np.zeros_like(squares), where=lengths > 0)
        packed = np.zeros((len(residuals), self.nbytes(residuals.shape[1])), dtype=np.uint8)
        bits = np.packbits(positive, axis=1)
        packed[:, : bits.shape[1]] = bits
        return scale, packed, signs

    def product(self, queries: Floats, entries: Bytes) -> Floats:
        words = np.ascontiguousarray(_field(entries, np.uint64, HEADER).T)
        out = np.empty((len(queries), len(entries)), dtype=np.float32)
        for row, query in enumerate(queries):
            low, high = float(query.min()), float(query.max())
            step = (high - low) / ((1 << _QUERY_BITS) - 1) or 1.0
            levels = np.rint((query - low) / step).astype(np.uint8)
            counts = np.zeros(len(entries), dtype=np.uint32)
            for bit in range(_QUERY_BITS):
                plane = np.zeros(words.shape[0] * 8, dtype=np.uint8)
                packed = np.packbits((levels >> bit) & 1)
                plane[: len(packed)] = packed
                shared = np.bitwise_count(words & plane.view(np.uint64)[:, None]).sum(axis=0, dtype=np.uint32)
                counts += shared << np.uint32(bit)
            ones = np.bitwise_count(words).sum(axis=0, dtype=np.uint32)
            # <q, s> = 2 <q, positive> - sum(q), with q = low + step * levels
            out[row] = 2 * (np.float32(step) * counts + np.float32(low) * ones) - np.float32(low * len(query) + step * float(levels.sum()))
        return out


class _Stored:
    """s is x - c itself, or rounded, as numbers of some type."""

    name: CodeName
    dtype: Any

    def nbytes(self, dimensions: int) -> int:
        return int(-(-dimensions * np.dtype(self.dtype).itemsize // 8) * 8)

    def scale(self, residuals: Floats) -> Floats:
        return np.ones(len(residuals), dtype=np.float32)

    def encode(self, residuals: Floats) -> tuple[Floats, Bytes, Floats]:
        scale = self.scale(residuals)
        scaled = np.divide(residuals, scale[:, None], out=np.zeros_like(residuals), where=scale[:, None] > 0)
        stored = (np.rint(scaled) if np.issubdtype(self.dtype, np.integer) else scaled).astype(self.dtype)
        packed = np.zeros((len(residuals), self.nbytes(residuals.shape[1])), dtype=np.uint8)
        raw = stored.view(np.uint8).reshape(len(residuals), residuals.shape[1] * stored.itemsize)
        packed[:, : raw.shape[1]] = raw
        return scale, packed, stored.astype(np.float32)

    def product(self, queries: Floats, entries: Bytes) -> Floats:
        stored = _field(entries, self.dtype, HEADER)[:, : queries.shape[1]]
        return np.asarray(queries @ stored.astype(np.float32, copy=False).T, dtype=np.float32)


class Int8(_Stored):
    """Eight bits a component, the largest of a vector at 127."""

    name: CodeName = "int8"
    dtype = np.int8

    def scale(self, residuals: Floats) -> Floats:
        return np.asarray(np.abs(residuals).max(axis=1, initial=0) / np.float32(127), dtype=np.float32)


class Float16(_Stored):
    name: CodeName = "float16"
    dtype = np.float16

    def scale(self, residuals: Floats) -> Floats:
        """As large as it must be for a half float to hold the largest component."""
        return np.asarray(np.maximum(np.abs(residuals).max(axis=1, initial=0), np.finfo(np.float32).tiny), dtype=np.float32)


class Float32(_Stored):
    name: CodeName = "float32"
    dtype = np.float32


CODES: dict[CodeName, Code] = {code.name: code for code in (Binary(), Int8(), Float16(), Float32())}


class Entries:
    """Writes and reads the entries of lists in one code."""

    def __init__(self, code: CodeName, dimensions: int) -> None:
        self.code = CODES[code]
        self.dimensions = dimensions
        self.size = HEADER + self.code.nbytes(dimensions)

    def write(self, slots: NDArray[np.uint32], stamps: NDArray[np.uint32], vectors: Floats, heads: Floats) -> Bytes:
        """Entries (m, size) of `vectors` (m, dimensions) in the lists of `heads` ((dimensions,) or (m, dimensions))."""
        residuals = np.asarray(vectors - heads, dtype=np.float32)
        a, packed, s = self.code.encode(residuals)
        squares = np.einsum("ij,ij->i", residuals, residuals)
        along = np.einsum("ij,ij->i", np.broadcast_to(heads, s.shape), s)
        entries = np.empty((len(vectors), self.size), dtype=np.uint8)
        _field(entries, np.uint32, 0)[:, 0] = slots
        _field(entries, np.uint32, 0)[:, 1] = stamps
        _field(entries, np.float32, 0)[:, 2] = a
        _field(entries, np.float32, 0)[:, 3] = squares + 2 * a * along
        entries[:, HEADER:] = packed
        return entries

    def slots(self, entries: Bytes) -> NDArray[np.uint32]:
        return _field(entries, np.uint32, 0)[:, 0]

    def stamps(self, entries: Bytes) -> NDArray[np.uint32]:
        return _field(entries, np.uint32, 0)[:, 1]

    def estimate(self, queries: Floats, entries: Bytes, to_head: Floats) -> Floats:
        """Estimated squared distances (p, m) of `queries` (p, dimensions) to `entries` (m, size), `to_head` ((p, m), or broadcast) being those of the
        queries to the head of each entry's list."""
        scalars = _field(entries, np.float32, 0)
        return np.asarray(to_head + scalars[:, 3] - 2 * scalars[:, 2] * self.code.product(queries, entries), dtype=np.float32)


def _field(entries: Bytes, dtype: Any, offset: int) -> NDArray[Any]:
    """The bytes of each entry from `offset` on, as numbers of a type: a view of `entries` (m, size)."""
    size = np.dtype(dtype).itemsize
    values: NDArray[Any] = entries.view(dtype).reshape(len(entries), entries.shape[1] // size)
    return values[:, offset // size :]
