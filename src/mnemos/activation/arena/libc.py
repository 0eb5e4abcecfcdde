"""The few calls of Linux' C library that Python's standard library lacks: mappings at fixed addresses, advice by address, holes in memory files."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os

from mnemos.activation.arena.backend import BackendFailed, NoMemory

PAGE = mmap.PAGESIZE
DONTNEED, DONTFORK, HUGEPAGE, POPULATE_WRITE = 4, 10, 14, 23
"""Advice; the last from Linux 5.14 on."""

_READ_WRITE = 1 | 2
_SHARED, _PRIVATE, _FIXED, _ANONYMOUS, _NORESERVE = 0x01, 0x02, 0x10, 0x20, 0x4000
_KEEP_SIZE, _PUNCH_HOLE = 0x01, 0x02
_FAILED = ctypes.c_void_p(-1).value


class Libc:
    """Each call raises `NoMemory` where there is no memory (or there are too many mappings), `BackendFailed` where something else is wrong."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        self._mmap = library.mmap
        self._mmap.restype = pointer
        self._mmap.argtypes = [pointer, size, number, number, number, ctypes.c_long]
        self._munmap, self._madvise, self._mincore, self._fallocate = library.munmap, library.madvise, library.mincore, library.fallocate
        self._munmap.argtypes = [pointer, size]
        self._madvise.argtypes = [pointer, size, number]
        self._mincore.argtypes = [pointer, size, pointer]
        self._fallocate.argtypes = [number, number, ctypes.c_long, ctypes.c_long]

    def reserve(self, nbytes: int) -> int:
        """Private, anonymous, counted nowhere; read and write."""
        return self._mapped(0, nbytes, _PRIVATE | _ANONYMOUS | _NORESERVE, -1, 0)

    def empty(self, address: int, nbytes: int) -> None:
        """Replaces what is mapped there by private, empty pages."""
        self._mapped(address, nbytes, _PRIVATE | _ANONYMOUS | _NORESERVE | _FIXED, -1, 0)

    def share(self, address: int, nbytes: int, file: int, offset: int) -> None:
        """Replaces what is mapped there by bytes of a file."""
        self._mapped(address, nbytes, _SHARED | _FIXED, file, offset)

    def unmap(self, address: int, nbytes: int) -> None:
        self._check(self._munmap(address, nbytes), f"munmap of {nbytes:,} bytes")

    def advise(self, address: int, nbytes: int, advice: int) -> None:
        self._check(self._madvise(address, nbytes, advice), f"madvise({advice}) of {nbytes:,} bytes")

    def resident(self, address: int, nbytes: int) -> int:
        """Bytes of the range that are in memory."""
        told = (ctypes.c_ubyte * (nbytes // PAGE))()
        self._check(self._mincore(address, nbytes, ctypes.addressof(told)), f"mincore of {nbytes:,} bytes")
        return sum(1 for flags in told if flags & 1) * PAGE

    def punch(self, file: int, offset: int, nbytes: int) -> None:
        """Gives a range of a file back to the system; it reads as zero."""
        self._check(self._fallocate(file, _KEEP_SIZE | _PUNCH_HOLE, offset, nbytes), f"fallocate (a hole) of {nbytes:,} bytes")

    def _mapped(self, address: int, nbytes: int, flags: int, file: int, offset: int) -> int:
        found = self._mmap(address, nbytes, _READ_WRITE, flags, file, offset)
        if found is None or found == _FAILED:
            raise _failure(f"mmap of {nbytes:,} bytes")
        return int(found)

    def _check(self, status: int, what: str) -> None:
        if status != 0:
            raise _failure(what)


def _failure(what: str) -> NoMemory | BackendFailed:
    number = ctypes.get_errno()
    if number == errno.ENOMEM:
        return NoMemory(f"{what}: no memory, or more than vm.max_map_count mappings")
    return BackendFailed(f"{what}: {os.strerror(number)}")
