"""Arrays go out and come back, the public library reads the same, and a hostile header is refused before anything is read."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.errors import Corrupt, Invalid, StoreUnavailable
from mnemos.base.safetensors import DTYPES, LONGEST_HEADER, Header, Rows, Tensor, write

ARRAYS = {
    "vectors": np.arange(12, dtype=np.float32).reshape(3, 4),
    "ids": np.arange(48, dtype=np.uint8).reshape(3, 16),
    "wide": np.array([[[1.5]]], dtype=">f8"),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 7), dtype=np.int64),
    "narrow": np.zeros((3, 0), dtype=np.float32),
    "single": np.array(5, dtype=np.int16),
}


def packed(arrays: dict[str, Any], metadata: dict[str, str] | None = None) -> bytes:
    stream = io.BytesIO()
    size = write(stream, [Tensor.of(name, values) for name, values in arrays.items()], metadata)
    assert size == len(stream.getvalue())
    return stream.getvalue()


def test_arrays_come_back_and_the_public_library_reads_them(tmp_path: Path) -> None:
    data = packed(ARRAYS, {"about": "ü", "n": "3"})
    assert data == packed(ARRAYS, {"about": "ü", "n": "3"})
    path = tmp_path / "arrays"
    path.write_bytes(b"before" + data)
    with path.open("rb") as file:
        file.seek(6)
        header = Header.read(file, len(data))
    assert header.metadata == {"about": "ü", "n": "3"}
    assert all(place.start % 8 == 0 for name, place in header.tensors.items() if name == "vectors")
    theirs = safetensors.numpy.load(data)
    assert set(theirs) == set(header.tensors) == set(ARRAYS)
    for name, values in ARRAYS.items():
        rows = Rows(str(path), header.tensors[name], 6)
        found = rows.read()
        assert found.shape == values.shape
        assert (found == values).all()
        assert (theirs[name] == values).all()
        if values.ndim:
            assert len(rows) == len(values)
            assert (rows.read(1, 2) == values[1:2]).all()
            assert len(rows.read(5, 2)) == 0


def test_a_file_that_is_cut_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "arrays"
    path.write_bytes(packed(ARRAYS))
    with path.open("rb") as file:
        header = Header.read(file, path.stat().st_size)
    rows = Rows(str(path), header.tensors["wide"])
    path.write_bytes(path.read_bytes()[: header.tensors["vectors"].end])
    with pytest.raises(Corrupt, match="cut"):
        rows.read()
    with pytest.raises(StoreUnavailable):
        Rows(str(tmp_path / "gone"), header.tensors["wide"]).read()


def test_what_the_public_library_writes_is_read(tmp_path: Path) -> None:
    data = safetensors.numpy.save({"a": np.ones((2, 3), np.float16), "b": np.zeros(4, np.int32)}, {"x": "y"})
    header = Header.read(io.BytesIO(data), len(data))
    (tmp_path / "theirs").write_bytes(data)
    assert Rows(str(tmp_path / "theirs"), header.tensors["a"]).read().sum() == 6
    assert header.metadata == {"x": "y"}


def test_parts_are_written_as_they_come() -> None:
    stream = io.BytesIO()
    write(stream, [Tensor("a", "F32", (2, 2), (bytes(8) for _ in range(2)))])
    assert (safetensors.numpy.load(stream.getvalue())["a"] == 0).all()
    with pytest.raises(Invalid, match="shape"):
        write(io.BytesIO(), [Tensor("a", "F32", (2, 2), [bytes(8)])])
    with pytest.raises(Invalid, match="taken"):
        write(io.BytesIO(), [Tensor.of("a", np.zeros(1)), Tensor.of("a", np.zeros(1))])
    with pytest.raises(Invalid, match="complex"):
        Tensor.of("a", np.zeros(1, np.complex64))


def hostile(header: Any, data: bytes = b"", raw: bytes | None = None, length: int | None = None) -> bytes:
    text = raw if raw is not None else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(begin: int, end: int, shape: Any = (1,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape) if isinstance(shape, tuple) else shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "too short"),
        (b"\x00" * 7, "too short"),
        (hostile({}, length=2**63), "claims a header"),
        (hostile({}, length=3), "claims a header"),
        (hostile(None, raw=b" " * 8), "no header"),
        (hostile(None, raw=b"[1]     "), "no header"),
        (hostile(None, raw=b"{\xff}"), "no sound JSON"),
        (hostile(None, raw=b'{"a":1e9999}'), "not described"),
        (hostile(None, raw=b'{"a":NaN}'), "no sound JSON"),
        (hostile(None, raw=b'{"a":{},"a":{}}'), "given twice"),
        (hostile(None, raw=b'{"a":' + b"[" * 100_000), "no sound JSON"),
        (hostile({"a": entry(0, 8)}, bytes(8)), "other bytes"),
        (hostile({"a": entry(0, 4), "b": entry(0, 4)}, bytes(4)), "overlaps"),
        (hostile({"a": entry(0, 4), "b": entry(2, 6)}, bytes(6)), "overlaps"),
        (hostile({"a": entry(4, 8)}, bytes(8)), "gap"),
        (hostile({"a": entry(0, 4)}, bytes(8)), "end at byte"),
        (hostile({"a": entry(0, 4)}, bytes(3)), "end at byte"),
        (hostile({"a": entry(4, 0)}, bytes(4)), "other bytes"),
        (hostile({"a": entry(0, 4, (-1, -1))}, bytes(4)), "is none"),
        (hostile({"a": entry(0, 4, (True,))}, bytes(4)), "is none"),
        (hostile({"a": entry(0, 4, (1.0,))}, bytes(4)), "is none"),
        (hostile({"a": entry(0, 4, "1")}, bytes(4)), "is none"),
        (hostile({"a": entry(0, 4, (2**61, 2**61))}, bytes(4)), "other bytes"),
        (hostile({"a": entry(0, 4, (1,) * 9)}, bytes(4)), "is none"),
        (hostile({"a": entry(0, 2**70)}, bytes(4)), "is none"),
        (hostile({"a": entry(0, 4, dtype="F33")}, bytes(4)), "type"),
        (hostile({"a": entry(0, 4, dtype=["F32"])}, bytes(4)), "type"),
        (hostile({"a": entry(0, 4) | {"more": 1}}, bytes(4)), "not described"),
        (hostile({"a": [0, 4]}, bytes(4)), "not described"),
        (hostile({"__metadata__": {"a": 1}}), "metadata"),
        (hostile({"__metadata__": "a"}), "metadata"),
        (hostile(None, raw=b"{" + b" " * (LONGEST_HEADER + 1)), "claims a header"),
    ],
)
def test_a_hostile_header_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(Corrupt, match=says):
        Header.read(io.BytesIO(data), len(data))


@given(st.binary(max_size=60), st.integers(0, 120))
def test_no_bytes_make_it_fail_otherwise(noise: bytes, at: int) -> None:
    data = packed(ARRAYS)
    for changed in (noise, data[:at] + noise + data[at + len(noise) :], struct.pack("<Q", at) + noise):
        try:
            header = Header.read(io.BytesIO(changed), len(changed))
        except Corrupt:
            continue
        assert all(place.end <= len(changed) and place.dtype in DTYPES for place in header.tensors.values())
