"""Derived model files and the safetensors reader: whole, checked, and never misled by damage."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from mnemos.base.errors import Corrupt
from mnemos.models.artefacts import cache_directory, read_artefact, write_artefact
from mnemos.models.weights import read_safetensors, require_sha256

PAYLOAD = bytes(range(256)) * 3


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("artefact") / "a"
    write_artefact(path, "model:1", PAYLOAD)
    return path.read_bytes()


def test_round_trip_leaves_one_readable_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "a"
    assert read_artefact(path, "model:1") is None
    write_artefact(path, "model:1", b"old")
    write_artefact(path, "model:1", PAYLOAD)
    assert read_artefact(path, "model:1") == PAYLOAD
    assert list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_another_identity_is_not_taken_for_this_one(tmp_path: Path) -> None:
    write_artefact(tmp_path / "a", "model:1", PAYLOAD)
    with pytest.raises(Corrupt, match="another model"):
        read_artefact(tmp_path / "a", "model:2")


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_any_flipped_bit_is_found(artefact: bytes, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    bit = data.draw(st.integers(0, 8 * len(artefact) - 1))
    damaged = bytearray(artefact)
    damaged[bit // 8] ^= 1 << bit % 8
    path = tmp_path_factory.getbasetemp() / "flipped"
    path.write_bytes(damaged)
    with pytest.raises(Corrupt):
        read_artefact(path, "model:1")


@given(length=st.integers(0, 800))
@settings(max_examples=50, deadline=None)
def test_any_cut_is_found(artefact: bytes, length: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "cut"
    path.write_bytes(artefact[: min(length, len(artefact) - 1)])
    with pytest.raises(Corrupt):
        read_artefact(path, "model:1")


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_other(failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    write_artefact(path, "model:1", b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="No space"):
        write_artefact(path, "model:1", PAYLOAD)
    monkeypatch.undo()
    assert read_artefact(path, "model:1") == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_racing_writers_never_show_a_partial_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    payloads = [bytes([number]) * 200_000 for number in range(4)]
    write_artefact(path, "m", payloads[0])
    writers = [threading.Thread(target=lambda payload=payload: [write_artefact(path, "m", payload) for _ in range(5)]) for payload in payloads]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert read_artefact(path, "m") in payloads
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_cache_directory_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MNEMOS_CACHE", str(tmp_path / "chosen"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "chosen"
    monkeypatch.delenv("MNEMOS_CACHE")
    assert cache_directory() == tmp_path / "xdg" / "mnemos"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache" / "mnemos"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_directory() == tmp_path / "Library" / "Caches" / "mnemos"


def test_sha256_is_required(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(PAYLOAD)
    require_sha256(path, hashlib.sha256(PAYLOAD).hexdigest())
    with pytest.raises(Corrupt, match="sha256"):
        require_sha256(path, hashlib.sha256(b"").hexdigest())


TENSORS = {
    "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "b": np.array([1, -2], dtype=np.int64),
    "empty": np.zeros((0, 5), dtype=np.float16),
    "scalar": np.array(3.5, dtype=np.float64),
    "flags": np.array([True, False]),
}


def test_reads_what_the_safetensors_library_wrote(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(save(TENSORS, metadata={"format": "np"}))
    found = read_safetensors(tmp_path / "t")
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert np.array_equal(found[name], tensor)
    with pytest.raises(ValueError, match="read-only"):
        found["b"][0] = 9


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_a_broken_safetensors_file_gives_a_typed_error_or_tensors(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    content = bytearray(save(TENSORS))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, 400)) % len(content)] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "broken"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        found = read_safetensors(path)
    except Corrupt:
        return
    assert all(isinstance(tensor, np.ndarray) for tensor in found.values())
