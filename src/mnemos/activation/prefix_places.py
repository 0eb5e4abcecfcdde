"""Where the chunks of prefixes lie: a folder of files, or any other place that reads and writes them by key."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mnemos.base.errors import Corrupt, StoreFull, StoreUnavailable

try:
    import fcntl
except ImportError:  # where it is not there, a file that is open cannot be removed
    fcntl = None  # type: ignore[assignment]

_LOCKS = fcntl is not None
CHUNK_KEY = "mnemos.chunk"
"""What a chunk says of itself stands under this key in the metadata of its safetensors."""
_SUFFIX, _HALF = ".safetensors", ".new"
_NAME = re.compile(r"[0-9a-f]{64}")


@dataclass
class Chunk:
    """One stored chunk: `tokens` after what `parent` stands for, `start` tokens in. `nbytes` on disk."""

    key: str
    parent: str
    start: int
    tokens: tuple[int, ...]
    nbytes: int
    children: set[str] = field(default_factory=set)


class Place(Protocol):
    """Where chunks lie, by key. To describe or read what is not there raises `FileNotFoundError`."""

    def keys(self) -> Iterable[str]: ...
    def describe(self, key: str) -> tuple[Mapping[str, Any], int]:
        """What a chunk says of itself (parent and tokens), and its bytes; its tensors are looked at when they are asked for. Raises `Corrupt`."""
        ...

    def read(self, key: str) -> bytes: ...
    def write(self, chunk: Chunk, data: bytes) -> None:
        """Raises `StoreFull`."""
        ...

    def remove(self, keys: Sequence[str]) -> None:
        """Without error for what is not there."""
        ...

    def name(self, key: str) -> str:
        """What messages call it."""
        ...


class Folder:
    """Chunks as files, each written whole or not at all. Files that no chunk could be called are left alone; what a writer left half written that was
    killed is removed when the folder is looked at next. What the system refuses raises `StoreUnavailable`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"{path}: no folder can be made there ({error.strerror}); give another place") from error

    def keys(self) -> list[str]:
        found = []
        for path in self.path.glob("*"):
            if _NAME.fullmatch(path.name.partition(".")[0]):
                if path.name.endswith(_HALF):
                    _sweep(path)
                elif path.suffix == _SUFFIX:
                    found.append(path.stem)
        return found

    def file(self, key: str) -> Path:
        """Where a chunk lies."""
        return self.path / f"{key}{_SUFFIX}"

    def name(self, key: str) -> str:
        return str(self.file(key))

    def describe(self, key: str) -> tuple[Mapping[str, Any], int]:
        with _told(self.file(key)), self.file(key).open("rb") as file:
            size, length = os.fstat(file.fileno()).st_size, file.read(8)
            head = length + file.read(min(int.from_bytes(length, "little"), size))
        return header_of(head, self.name(key)), size

    def read(self, key: str) -> bytes:
        with _told(self.file(key)):
            return self.file(key).read_bytes()

    def write(self, chunk: Chunk, data: bytes) -> None:
        path = self.file(chunk.key)
        try:
            self.path.mkdir(parents=True, exist_ok=True)  # somebody may have tidied up
            _write_whole(path, data)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreFull(f"a chunk of {len(data):,} bytes found no room in {self.path}: free some") from error
            raise StoreUnavailable(f"{path}: cannot be written ({error.strerror}); check the disk, and the folder's permissions") from error

    def remove(self, keys: Sequence[str]) -> None:
        for key in keys:
            with _told(self.file(key)):
                self.file(key).unlink(missing_ok=True)


def header_of(data: bytes, name: str) -> dict[str, Any]:
    """What the header of a chunk's bytes says. Raises `Corrupt` where it is none."""
    try:
        length = int.from_bytes(data[:8], "little")
        about: dict[str, Any] = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][CHUNK_KEY])
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"{name} is no chunk of a prefix: {error}") from error
    return about


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the system refuses of this path, but that it is not there, as an error that says what to do."""
    try:
        yield
    except (FileNotFoundError, StoreUnavailable):
        raise
    except OSError as error:
        raise StoreUnavailable(f"{path}: cannot be used ({error.strerror}); check the disk, and the permissions") from error


def _write_whole(path: Path, data: bytes) -> None:
    """Through a file beside it, which is locked meanwhile, so that others know it from what a killed writer left."""
    while True:
        with open(path.with_name(f"{path.stem}.{secrets.token_hex(4)}{_HALF}"), "xb") as file:
            if _LOCKS:
                fcntl.flock(file, fcntl.LOCK_EX)
                if not os.fstat(file.fileno()).st_nlink:  # it was taken for such before it was locked
                    continue
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                if not _LOCKS:
                    file.close()
                os.replace(file.name, path)
            finally:
                Path(file.name).unlink(missing_ok=True)
            return


def _sweep(path: Path) -> None:
    """Removes what was half written, unless somebody is writing it."""
    with contextlib.suppress(FileNotFoundError, PermissionError, BlockingIOError):
        if not _LOCKS:
            path.unlink()
            return
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
