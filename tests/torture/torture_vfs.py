"""A disk that fails on purpose: a SQLite VFS over the checksum VFS that counts the calls that change files, and fails, tears or kills at one.

It remembers what every write since a file's last sync wrote over, so that it can take the power away too: then what was not synced is gone,
all of it or some of it. Reads, locks and shared memory go through untouched.
"""

from __future__ import annotations

import errno
import os
import random
import signal
from collections.abc import Callable
from typing import Any, NoReturn

import apsw

from mnemos.store.sqlite_open import checksum_vfs

NAME = "mnemos-faults"
KINDS = ("full", "io", "torn", "full for good", "io for good", "kill", "torn and kill", "power", "power, some kept")
"""Disk full, error of the device, half of the bytes written and then full, the first two for every later call too, killed before the call,
killed with half of the bytes written, power gone before the call with nothing kept that was not synced, and with some of it kept."""


class Disk:
    """What the files of the VFS do: nothing unusual until `fail` is called."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.kind: str | None = None
        self.at = 0
        self.happened = 0
        self.unsynced: dict[str, list[tuple[int, bytes, int]]] = {}

    def count(self) -> None:
        """Count from here, without faults."""
        self.calls, self.kind, self.happened = [], None, 0

    def fail(self, kind: str, at: int) -> None:
        """From here, fail at call number `at`, counted from 1."""
        self.calls, self.kind, self.at, self.happened = [], kind, at, 0

    def call(self, what: str, half: Callable[[], Any] | None = None) -> None:
        """A call that changes a file. `half` does half of it."""
        self.calls.append(what)
        number = len(self.calls)
        if self.kind is None or number < self.at or (number > self.at and "for good" not in self.kind):
            return
        self.happened += 1
        if "torn" in self.kind and half is not None:
            half()
        if "power" in self.kind:
            self.lose_power()
        if "kill" in self.kind:
            os.kill(os.getpid(), signal.SIGKILL)
        raise _error(what, self.kind)

    def before(self, path: str, offset: int, size: int) -> None:
        """Remember what stands in `size` bytes from `offset`, which are about to change, and how long the file is."""
        with open(path, "rb") as file:
            file.seek(offset)
            self.unsynced.setdefault(path, []).append((offset, file.read(size), os.path.getsize(path)))

    def lose_power(self) -> NoReturn:
        """Take back, newest first, what was not synced (or each piece of it with an even chance), and end the process."""
        rng = random.Random(self.at)
        for path, changes in self.unsynced.items():
            if not os.path.exists(path):
                continue
            with open(path, "r+b") as file:
                for offset, was, size in reversed(changes):
                    if self.kind == "power, some kept" and rng.random() < 0.5:
                        continue
                    file.seek(offset)
                    file.write(was)
                    if self.kind == "power":
                        file.truncate(size)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("killed")


def _error(what: str, kind: str) -> apsw.Error:
    codes = {
        "write": apsw.SQLITE_IOERR_WRITE,
        "sync": apsw.SQLITE_IOERR_FSYNC,
        "truncate": apsw.SQLITE_IOERR_TRUNCATE,
        "delete": apsw.SQLITE_IOERR_DELETE,
        "rename": apsw.SQLITE_IOERR_WRITE,
    }
    word = what.split()[0]
    if word == "create":
        return apsw.CantOpenError("injected")
    if word == "write" and "io" not in kind:
        return apsw.FullError("injected: the disk is full")
    error = apsw.IOError("injected: the device failed")
    error.extendedresult = codes[word]
    return error


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, base: str, filename: Any, flags: list[int]) -> None:
        self._disk = disk
        name = filename.filename() if isinstance(filename, apsw.URIFilename) else filename
        self._path = name or ""
        self._name = _part(name)
        if flags[0] & apsw.SQLITE_OPEN_CREATE and name and not os.path.exists(name):
            disk.call(f"create {self._name}")
        super().__init__(base, filename, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        def half() -> None:
            if "-wal" in self._name or len(data) < 512:
                super(_File, self).xWrite(data[: len(data) // 2], offset)

        self._disk.call(f"write {self._name} {len(data)}", half)
        if self._path:
            self._disk.before(self._path, offset, len(data))
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self._disk.call(f"sync {self._name}")
        super().xSync(flags)
        self._disk.unsynced.pop(self._path, None)

    def xTruncate(self, size: int) -> None:
        self._disk.call(f"truncate {self._name}")
        if self._path:
            self._disk.before(self._path, size, os.path.getsize(self._path))
        super().xTruncate(size)


class _Vfs(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._base = checksum_vfs()
        super().__init__(NAME, self._base)

    def xOpen(self, name: Any, flags: list[int]) -> _File:
        return _File(self._disk, self._base, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self._disk.call(f"delete {_part(filename)}")
        super().xDelete(filename, syncdir)
        self._disk.unsynced.pop(filename, None)


def _part(name: str | None) -> str:
    return os.path.basename(name).replace("memory.db", "main") if name else "temporary"


class _System:
    """The module `os` as those see it who write the key file: what changes a file is a call of the disk."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def pwrite(self, handle: int, data: bytes, offset: int) -> int:
        return self._called("write", handle, lambda: os.pwrite(handle, data, offset), lambda: os.pwrite(handle, data[: len(data) // 2], offset))

    def fsync(self, handle: int) -> None:
        self._called("sync", handle, lambda: os.fsync(handle))

    def rename(self, source: str, target: str) -> None:
        self._called("rename", source, lambda: os.rename(source, target))

    def _called(self, what: str, file: int | str, real: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        name = os.readlink(f"/proc/self/fd/{file}") if isinstance(file, int) else file
        try:
            self._disk.call(f"{what} keys", half if name.endswith(".tmp") else None)
        except apsw.Error as error:
            raise OSError(errno.ENOSPC if isinstance(error, apsw.FullError) else errno.EIO, "injected") from None
        return real()


def count_key_file(disk: Disk) -> None:
    """From here on, what writes the key file of a sealed store makes calls of `disk`."""
    from mnemos.store import keys

    keys.os = _System(disk)  # type: ignore[attr-defined]


def failing_disk() -> tuple[str, Disk, Any]:
    """Register the VFS: (its name for `mnemos.open(vfs=…)`, its disk, an object to keep while it is used)."""
    disk = Disk()
    return NAME, disk, _Vfs(disk)
