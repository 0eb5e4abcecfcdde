"""Files of a folder, read and written at offsets: the only door between the index and the operating system.

What a disk promises, and all that the index relies on:

- A write is durable when `sync` of its file returned. Before that a loss of power may leave any part of it, in any order with other writes.
- Bytes that are overwritten by the same bytes stay as they are, also when a write is torn ("powersafe overwrite"; SQLite assumes the same).
- After `replace` the name means the new file, durably. A stop in the middle leaves the old file or the new one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from mnemos.base.errors import MnemosError, StoreFull, StoreUnavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_AHEAD = getattr(os, "POSIX_FADV_WILLNEED", None)
_SCATTERED = getattr(os, "POSIX_FADV_RANDOM", None)
_FLAGS = os.O_RDWR | getattr(os, "O_CLOEXEC", 0)


class Disk(Protocol):
    """Files by name. A file that does not exist reads as an empty one, and is made by the first write.

    Every method raises `StoreFull` where there is no room, and `StoreUnavailable` where the device or the operating system fails. Reads and
    writes may come from several threads at once.
    """

    def read(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes at `offset`; fewer where the file ends before."""
        ...

    def read_many(self, name: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """What `read` gives for each (offset, size); the device may work at all of them at once."""
        ...

    def ahead(self, name: str, spans: Sequence[tuple[int, int]]) -> None:
        """A hint: each (offset, size) will be read, or written in part, before long. Nobody waits for it, and it never fails."""
        ...

    def write(self, name: str, offset: int, data: bytes | memoryview) -> None:
        """Put `data` at `offset`; a gap behind the end reads as zeros."""
        ...

    def sync(self, name: str) -> None:
        """Make all that was written to the file durable. Where this fails once it fails for that file until the disk is opened again.

        What did not reach the device may be gone by then, though it can still be read: only what an earlier `sync` covered can be trusted.
        """
        ...

    def size(self, name: str) -> int:
        """Bytes of the file; 0 where it does not exist."""
        ...

    def exists(self, name: str) -> bool: ...

    def truncate(self, name: str, size: int) -> None:
        """Cut the file to at most `size` bytes; it never grows by this."""
        ...

    def replace(self, source: str, target: str) -> None:
        """Give the file `source` the name `target`, durably; a file of that name is gone then."""
        ...

    def remove(self, name: str) -> None:
        """Remove the file if it exists."""
        ...

    def settle(self) -> None:
        """Make durable which files there are, by what names: a `replace` that was stopped may be seen, and yet be undone by a loss of power."""
        ...


def explain(error: OSError, where: str, doing: str) -> MnemosError:
    """The error of Mnemos that says the same as `error`, and what to do. `where` names the file and the offset."""
    if error.errno in _FULL:
        return StoreFull(f"{where}: no room left on the disk while {doing} ({error.strerror}); what was there is untouched. Free space and try again")
    why = error.strerror or str(error)
    return StoreUnavailable(f"{where}: {why} while {doing}; check the disk and the folder's permissions. The index can be rebuilt from the store")


class _Handle:
    """A descriptor that is closed when the last reader let go of it: a number that is closed under a reader may mean another file by then."""

    def __init__(self, path: Path, flags: int) -> None:
        self.number = -1
        self.number = os.open(path, flags, 0o600)

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


class FolderDisk:
    """The files of one folder, which is made where it does not exist. Descriptors are kept until `close`."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._handles: dict[str, _Handle] = {}
        self._unsure: set[str] = set()
        self._lock = threading.Lock()
        self._closed = False
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise explain(error, str(self.folder), "making the folder") from error

    def read(self, name: str, offset: int, size: int) -> bytes:
        handle = self._handle(name)
        if handle is None:
            return b""
        try:
            data = os.pread(handle.number, size, offset)
            while len(data) < size and (more := os.pread(handle.number, size - len(data), offset + len(data))):
                data += more
        except OSError as error:
            raise explain(error, self._at(name, offset), f"reading {size:,} bytes") from error
        return data

    def read_many(self, name: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        handle = self._handle(name)
        if handle is None:
            return [b""] * len(spans)
        number, pread = handle.number, os.pread
        if len(spans) > 1:
            _advise(number, spans)
        try:
            pieces = [pread(number, size, offset) for offset, size in spans]
        except OSError:
            return [self.read(name, offset, size) for offset, size in spans]  # says which of them it was
        for i, (offset, size) in enumerate(spans):
            if len(pieces[i]) < size:
                pieces[i] = self.read(name, offset, size)
        return pieces

    def ahead(self, name: str, spans: Sequence[tuple[int, int]]) -> None:
        handle = self._handles.get(name)
        if handle is not None:
            _advise(handle.number, spans)

    def write(self, name: str, offset: int, data: bytes | memoryview) -> None:
        handle = self._made(name)
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while len(rest):
                rest = rest[os.pwrite(handle.number, rest, offset + size - len(rest)) :]
        except OSError as error:
            raise explain(error, self._at(name, offset), f"writing {size:,} bytes") from error

    def sync(self, name: str) -> None:
        handle = self._made(name)
        if name in self._unsure:
            raise StoreUnavailable(f"{self.folder / name}: an earlier sync of this file failed; close the index and open it again")
        try:
            _make_durable(handle.number)
        except OSError as error:
            self._unsure.add(name)
            raise explain(error, str(self.folder / name), "making it durable") from error

    def size(self, name: str) -> int:
        handle = self._handle(name)
        if handle is None:
            return 0
        try:
            return os.fstat(handle.number).st_size
        except OSError as error:
            raise explain(error, str(self.folder / name), "asking for its size") from error

    def exists(self, name: str) -> bool:
        return self._handle(name) is not None

    def truncate(self, name: str, size: int) -> None:
        if self.size(name) <= size:
            return
        try:
            os.ftruncate(self._made(name).number, size)
        except OSError as error:
            raise explain(error, self._at(name, size), "cutting the file") from error

    def replace(self, source: str, target: str) -> None:
        with self._lock:
            self._open_still()
            self._handles.pop(source, None)
            self._handles.pop(target, None)
            try:
                os.replace(self.folder / source, self.folder / target)
                self._sync_folder()
            except OSError as error:
                raise explain(error, str(self.folder / target), f"putting {source} in its place") from error

    def remove(self, name: str) -> None:
        with self._lock:
            self._open_still()
            self._handles.pop(name, None)
            self._unsure.discard(name)
            try:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.folder / name)
            except OSError as error:
                raise explain(error, str(self.folder / name), "removing it") from error

    def settle(self) -> None:
        self._open_still()
        try:
            self._sync_folder()
        except OSError as error:
            raise explain(error, str(self.folder), "making the names of its files durable") from error

    def close(self) -> None:
        """Let go of the descriptors; one that a thread reads from is closed after that. Nothing can be read or written afterwards."""
        with self._lock:
            self._closed = True
            self._handles.clear()

    def __enter__(self) -> FolderDisk:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _handle(self, name: str) -> _Handle | None:
        """The open file, or None where it does not exist."""
        handle = self._handles.get(name)
        return handle if handle is not None else self._opened(name, _FLAGS)

    def _made(self, name: str) -> _Handle:
        """The open file, made where it does not exist."""
        handle = self._handles.get(name) or self._opened(name, _FLAGS | os.O_CREAT)
        assert handle is not None
        return handle

    def _opened(self, name: str, flags: int) -> _Handle | None:
        with self._lock:
            self._open_still()
            handle = self._handles.get(name)
            if handle is None:
                try:
                    handle = _Handle(self.folder / name, flags)
                except OSError as error:
                    if error.errno == errno.ENOENT and not flags & os.O_CREAT:
                        return None
                    raise explain(error, str(self.folder / name), "opening it") from error
                if _SCATTERED is not None:
                    with contextlib.suppress(OSError):
                        os.posix_fadvise(handle.number, 0, 0, _SCATTERED)
                self._handles[name] = handle
            return handle

    def _open_still(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"{self.folder}: the index is closed")

    def _sync_folder(self) -> None:
        """Make the names in the folder durable."""
        number = os.open(self.folder, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            os.fsync(number)
        finally:
            os.close(number)

    def _at(self, name: str, offset: int) -> str:
        return f"{self.folder / name} at byte {offset:,}"


def _advise(number: int, spans: Sequence[tuple[int, int]]) -> None:
    """Let the system begin to read (offset, size) each of an open file."""
    if _AHEAD is not None:
        advise = os.posix_fadvise
        with contextlib.suppress(OSError):  # file systems that know no hints refuse them
            for offset, size in spans:
                advise(number, offset, size, _AHEAD)


def _make_durable(number: int) -> None:
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(number, fcntl.F_FULLFSYNC)  # fsync alone leaves the bytes in the drive's cache
    elif hasattr(os, "fdatasync"):
        os.fdatasync(number)
    else:
        os.fsync(number)
