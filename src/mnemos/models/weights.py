"""Reading published model weights: the safetensors format and the check that a file is the one that was pinned."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Corrupt, ModelUnavailable

Tensors = Mapping[str, NDArray[Any]]

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"}


def packaged(package: str, folder: str = "", *names: str) -> Path:
    """The folder of an installed package that holds these files. Raises `ModelUnavailable` where one is not there."""
    with as_file(files(package) / folder) as path:
        if missing := [name for name in names if not (path / name).is_file()]:
            raise ModelUnavailable(f"{path} holds no {missing[0]}: install mnemos again as a wheel or from its repository")
        return path


def require_sha256(path: Path, expected: str) -> None:
    """Raise `Corrupt` unless the file's sha256 is `expected` (hexadecimal)."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise Corrupt(f"{path} has sha256 {found}, but {expected} is the model that was measured; install its package again")


def read_safetensors(path: Path) -> Tensors:
    """Tensors of a safetensors file by name, memory-mapped and read-only. Raises `Corrupt` where the layout is broken.

    Layout: 8 bytes little-endian header length, a JSON header (name -> dtype, shape, data_offsets), then the data.
    """
    size = path.stat().st_size
    if size < 8:
        raise Corrupt(f"{path} is not a safetensors file: it has only {size} bytes")
    data = np.memmap(path, dtype=np.uint8, mode="r")
    length = int(data[:8].view("<u8")[0])
    if length > size - 8:
        raise Corrupt(f"{path} is not a safetensors file: its header would be {length} bytes long, the file has {size}")
    start = 8 + length
    try:
        header = json.loads(data[8:start].tobytes())
        header.pop("__metadata__", None)
        return {name: _tensor(data[start:], **entry) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Corrupt(f"{path} has a broken safetensors header: {error}") from error


def _tensor(data: NDArray[np.uint8], *, dtype: str, shape: list[int], data_offsets: tuple[int, int]) -> NDArray[Any]:
    kind = np.dtype(_DTYPES[dtype])
    begin, end = data_offsets
    if not 0 <= begin <= end <= len(data) or end - begin != math.prod(shape) * kind.itemsize:
        raise ValueError(f"a tensor of shape {shape} does not fit bytes {begin}..{end}")
    return data[begin:end].view(kind).reshape(shape)
