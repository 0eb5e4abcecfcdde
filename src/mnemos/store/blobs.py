"""Large payloads, beside the store, named by their SHA-256: written whole or not at all, checked when read."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from mnemos.base.errors import Corrupt, NotFound, StoreFull, StoreUnavailable


class Blobs(Protocol):
    """Bytes by name. The name is what a cube's content says; `names`, `check`, `remove`, `stray` and `tidy` speak of files, which are called by the
    name itself where the store is not sealed."""

    def put(self, data: bytes) -> str: ...
    def get(self, name: str) -> bytes: ...
    def check(self, name: str) -> bytes: ...
    def remove(self, names: Iterable[str]) -> None: ...
    def names(self) -> Iterator[str]: ...
    def stray(self, kept: Collection[str]) -> bool: ...
    def tidy(self, kept: Collection[str]) -> None: ...


class MemoryBlobs:
    """Blobs of a store in memory."""

    def __init__(self) -> None:
        self._data: dict[str, bytes] = {}

    def put(self, data: bytes) -> str:
        name = hashlib.sha256(data).hexdigest()
        self._data[name] = bytes(data)
        return name

    def get(self, name: str) -> bytes:
        if name not in self._data:
            raise NotFound(f"blob {name}: is not in this store")
        return self._data[name]

    check = get

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            self._data.pop(name, None)

    def names(self) -> Iterator[str]:
        return iter(sorted(self._data))

    def stray(self, kept: Collection[str]) -> bool:
        return any(name not in kept for name in self._data)

    def tidy(self, kept: Collection[str]) -> None:
        self._data = {name: data for name, data in self._data.items() if name in kept}


class FileBlobs:
    """Blobs as files `FOLDER/ab/abcdef…`, made at first use.

    A blob is written to a temporary file, synced, renamed, and its folder synced, before its name is given out: a name that a
    committed row holds always has its bytes.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def path(self, name: str) -> Path:
        """Where the file of that name lies."""
        return self._folder / name[:2] / name

    def put(self, data: bytes) -> str:
        """Store `data` durably; its name is the SHA-256 in hex. Raises `StoreFull`, `StoreUnavailable`."""
        name = hashlib.sha256(data).hexdigest()
        self.write(name, data)
        return name

    def write(self, name: str, data: bytes) -> None:
        """Write a file durably, unless it is there, sound. Raises `StoreFull`, `StoreUnavailable`."""
        path = self.path(name)
        temporary = path.with_name(f".{name}.{secrets.token_hex(4)}.tmp")
        try:
            for folder in (self._folder, path.parent):
                folder.mkdir(exist_ok=True, mode=0o700)
            if not self._holds(name):
                try:
                    with open(temporary, "xb", opener=_private) as file:
                        file.write(data)
                        file.flush()
                        os.fsync(file.fileno())
                    os.rename(temporary, path)
                except BaseException:
                    temporary.unlink(missing_ok=True)
                    raise
            # Also for a blob that was there: whoever wrote it may have failed, or may not have come to this.
            for folder in (path.parent, self._folder, self._folder.parent):
                _sync_folder(folder)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreFull(f"{path}: no room left for {len(data):,} bytes; free space and try again") from error
            raise StoreUnavailable(f"{path}: cannot be written ({error.strerror})") from error

    def _holds(self, name: str) -> bool:
        """Whether the file is there, sound."""
        try:
            self.check(name)
        except (NotFound, Corrupt):
            return False
        return True

    def get(self, name: str) -> bytes:
        """The bytes called `name`. Raises `NotFound`, or `Corrupt` where they are not what they were."""
        return self.check(name)

    def check(self, name: str) -> bytes:
        """The bytes of a file, where they are what they were. Raises `NotFound`, `Corrupt`."""
        path = self.path(name)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise NotFound(f"{path}: the blob is missing; restore it from a backup") from None
        except OSError as error:
            raise StoreUnavailable(f"{path}: cannot be read ({error.strerror}); check the disk, and the file's permissions") from error
        if not self._sound(name, data):
            raise Corrupt(f"{path}: its bytes do not have the SHA-256 that belongs to them; restore it from a backup")
        return data

    def _sound(self, name: str, data: bytes) -> bool:
        return hashlib.sha256(data).hexdigest() == name

    def remove(self, names: Iterable[str]) -> None:
        """Remove blobs for good. Raises `StoreUnavailable` where a file cannot be removed."""
        for name in names:
            path = self.path(name)
            try:
                path.unlink(missing_ok=True)
                if path.parent.is_dir():
                    _sync_folder(path.parent)
            except OSError as error:
                raise StoreUnavailable(
                    f"{path}: cannot be removed ({error.strerror}), though what it belonged to is forgotten; check its permissions and open the "
                    "store again, which removes it"
                ) from error

    def stray(self, kept: Collection[str]) -> bool:
        """Whether there are files that `tidy` would remove."""
        return any(name not in kept for name in self.names()) or any(self._folder.glob("??/.*.tmp"))

    def tidy(self, kept: Collection[str]) -> None:
        """Remove what a killed process left: half-written files, and blobs that no row speaks of. Nobody else may use the store meanwhile."""
        self.remove([name for name in self.names() if name not in kept])
        for temporary in self._folder.glob("??/.*.tmp"):
            temporary.unlink(missing_ok=True)

    def names(self) -> Iterator[str]:
        """The names of all blobs that are there."""
        for path in sorted(self._folder.glob("??/*")):
            if not path.name.startswith("."):
                yield path.name


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
