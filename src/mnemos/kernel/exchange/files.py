"""The files of an archive: what they may be called, and where their bytes lie."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from mnemos.base.errors import MnemosError, PermissionDenied, StoreFull, StoreUnavailable

MANIFEST, CUBES, FORGOTTEN = "manifest.json", "cubes.jsonl", "forgotten.jsonl"
_NAME = re.compile(r"manifest\.json|cubes\.jsonl|forgotten\.jsonl|vectors/[0-9a-f]{16}\.safetensors|blobs/([0-9a-f]{2})/\1[0-9a-f]{62}")
_BUFFER_BYTES = 1 << 20


def is_archive_name(name: str) -> bool:
    """Whether an archive can have a file of this name."""
    return _NAME.fullmatch(name) is not None


class Sink(Protocol):
    """Where an archive is written to: file after file, and nothing of it appears before `finish`."""

    def file(self, name: str) -> contextlib.AbstractContextManager[IO[bytes]]: ...
    def finish(self) -> None: ...
    def discard(self) -> None: ...


@dataclass(frozen=True)
class Region:
    """Bytes of a file: where an archive's file lies."""

    path: str
    offset: int
    size: int
    crc: int | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """A stream of these bytes and no others. Raises `StoreUnavailable`."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                yield io.BufferedReader(_Window(file, self.size), _BUFFER_BYTES)
        except OSError as error:
            if isinstance(error, MnemosError):
                raise
            raise StoreUnavailable(f"{self.path}: cannot be read ({error.strerror})") from None


class _Window(io.RawIOBase):
    """So many bytes of a file, from where it stands."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self._file.read(min(len(view), self._left))
        view[: len(data)] = data
        self._left -= len(data)
        return len(data)


def explained(error: OSError, path: Path) -> Exception:
    """What a failure to write an archive's file is raised as."""
    if isinstance(error, MnemosError):  # of whoever gives what is to be written
        return error
    if isinstance(error, PermissionError):
        return PermissionDenied(f"{path}: may not be written; choose another place")
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return (StoreFull if full else StoreUnavailable)(f"{path}: cannot be written ({error.strerror})")


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
