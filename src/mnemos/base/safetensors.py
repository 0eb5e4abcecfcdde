"""The safetensors format: named arrays in one file, behind a JSON header. Written in one pass, read strictly, and nothing in it is ever run.

A file is the header's length (8 bytes, little-endian), the header, and the arrays' bytes one after the other (huggingface.co/docs/safetensors).
What is read may come from anybody: lengths, types, shapes, places and names are checked before a byte of an array is looked at.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Corrupt, Invalid, StoreUnavailable, shown

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2",
          "U8": "u1", "BOOL": "?"}  # fmt: skip
"""The format's names for types, as NumPy's. (BF16 and the 8-bit floats, which NumPy lacks, are not read.)"""

LONGEST_HEADER = 1 << 20
"""Bytes of a header that is read; the format allows 100 MB, and 64 tensors need some 8 KB."""

_NAMES = {np.dtype(code): name for name, code in DTYPES.items()}
_LENGTH = struct.Struct("<Q")
_METADATA = "__metadata__"
_MOST_DIMENSIONS = 8


@dataclass(frozen=True)
class Tensor:
    """An array to write: `parts` are its bytes, in C order and little-endian, given piece by piece so that they need not lie in memory."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    parts: Iterable[bytes]

    @classmethod
    def of(cls, name: str, array: NDArray[Any]) -> Tensor:
        """Raises `Invalid` for a type that the format has no name for."""
        dtype = _NAMES.get(array.dtype.newbyteorder("<") if array.dtype.byteorder == ">" else array.dtype)
        if dtype is None:
            raise Invalid(f"tensor {name!r}: type {array.dtype} is none of {', '.join(DTYPES)}")
        return cls(name, dtype, array.shape, (np.ascontiguousarray(array).astype(DTYPES[dtype], copy=False).tobytes(),))

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(DTYPES[self.dtype]).itemsize


def write(stream: IO[bytes], tensors: Sequence[Tensor], metadata: Mapping[str, str] | None = None) -> int:
    """Write a file into a stream; give its bytes. The same tensors give the same bytes. Raises `Invalid` where parts and shape disagree."""
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    at = 0
    for tensor in tensors:
        if tensor.name in header or tensor.name == _METADATA:
            raise Invalid(f"tensor {tensor.name!r}: the name is taken")
        header[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [at, at + tensor.nbytes]}
        at += tensor.nbytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays are aligned
    stream.write(_LENGTH.pack(len(text)) + text)
    for tensor in tensors:
        written = 0
        for part in tensor.parts:
            stream.write(part)
            written += len(part)
        if written != tensor.nbytes:
            raise Invalid(f"tensor {tensor.name!r}: {written:,} bytes were given for a shape of {tensor.nbytes:,}")
    return _LENGTH.size + len(text) + at


@dataclass(frozen=True)
class Place:
    """Where an array stands in its file: bytes `start` to `end` from the file's beginning."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a file holds."""

    tensors: Mapping[str, Place]
    metadata: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, stream: IO[bytes], size: int, name: str = "safetensors", longest: int = LONGEST_HEADER) -> Header:
        """The header at the stream's position, of a file of `size` bytes. Raises `Corrupt`, saying what is wrong, for anything but a sound file."""
        start = stream.read(_LENGTH.size)
        if len(start) < _LENGTH.size:
            raise Corrupt(f"{name}: is too short for a safetensors file")
        (length,) = _LENGTH.unpack(start)
        if length > min(longest, size - _LENGTH.size):
            raise Corrupt(f"{name}: claims a header of {length:,} bytes, of {size:,} in the file and {longest:,} that are read")
        text = stream.read(length)
        if len(text) < length or not text.startswith(b"{"):
            raise Corrupt(f"{name}: has no header")
        try:
            found = json.loads(text.decode(), object_pairs_hook=_once, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise Corrupt(f"{name}: its header is no sound JSON ({error})") from None
        metadata = found.pop(_METADATA, {})
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise Corrupt(f"{name}: its metadata are not texts")
        base = _LENGTH.size + length
        tensors = {tensor: _place(tensor, entry, base, name) for tensor, entry in found.items()}
        end = base
        for tensor, place in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
            if place.start != end:
                raise Corrupt(f"{name}: tensor {shown(tensor)} overlaps another, or leaves a gap before it")
            end = place.end
        if end != size:
            raise Corrupt(f"{name}: its arrays end at byte {end:,} of {size:,}")
        return cls(tensors, metadata)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


def _place(tensor: str, entry: Any, base: int, name: str) -> Place:
    """The place that one entry of a header gives."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise Corrupt(f"{name}: tensor {shown(tensor)} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise Corrupt(f"{name}: tensor {shown(tensor)} has the type {shown(dtype)}, which is none of {', '.join(DTYPES)}")
    if not _counts(shape) or len(shape) > _MOST_DIMENSIONS or not _counts(offsets) or len(offsets) != 2:
        raise Corrupt(f"{name}: tensor {shown(tensor)} has a shape or place that is none")
    if math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize != offsets[1] - offsets[0]:
        raise Corrupt(f"{name}: tensor {shown(tensor)} has other bytes than its shape takes")
    return Place(dtype, tuple(shape), base + offsets[0], base + offsets[1])


def _counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**62 for value in values)


class Rows:
    """An array of a file that begins `offset` bytes into `path`, read a few rows at a time: nothing is mapped into memory, so that a file which
    somebody cuts meanwhile is an error and no crash."""

    def __init__(self, path: str, place: Place, offset: int = 0) -> None:
        self._path, self._place, self._start = path, place, offset + place.start
        self._dtype = np.dtype(DTYPES[place.dtype])
        self._width = math.prod(place.shape[1:])
        self._file: IO[bytes] | None = None

    def __len__(self) -> int:
        return self._place.shape[0] if self._place.shape else 1

    def read(self, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Rows `start` to `stop` (None: to the last). Raises `Corrupt` where the file ends before, `StoreUnavailable`."""
        stop = len(self) if stop is None else min(stop, len(self))
        rows = max(0, stop - start)
        count = rows * self._width
        try:
            if self._file is None:
                self._file = open(self._path, "rb")  # noqa: SIM115  (kept open between rows, closed with this object)
            self._file.seek(self._start + start * self._width * self._dtype.itemsize)
            data = self._file.read(count * self._dtype.itemsize)
        except OSError as error:
            raise StoreUnavailable(f"{self._path}: cannot be read ({error.strerror})") from None
        if len(data) != count * self._dtype.itemsize:
            raise Corrupt(f"{self._path}: ends in the middle of an array; it was cut while it was read")
        found = np.frombuffer(data, self._dtype)
        return found.reshape((rows, *self._place.shape[1:]) if self._place.shape else ())

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()
