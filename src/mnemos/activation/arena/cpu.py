"""Pages of a Linux machine's memory: address space by mmap, pages by populating it, given back by advice, shared through a memory file."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import groupby

import numpy as np

from mnemos.activation.arena.backend import MIB, Backend, BackendFailed, Capabilities
from mnemos.activation.arena.host import HostMemory
from mnemos.activation.arena.libc import DONTFORK, DONTNEED, HUGEPAGE, PAGE, POPULATE_WRITE, Libc
from mnemos.activation.arena.limits import available_memory, check_reservation
from mnemos.activation.arena.plain import PlainBackend
from mnemos.base.errors import Invalid

HUGE = 2 * MIB


class CpuBackend(HostMemory):
    """Handles are numbers: the kernel owns the frames. A page is private memory at one address, and once it is shared or kept a range of a file.

    The first sharing of a page copies it into the file; from then on it is mapped without copies. Whoever shares a page sees to it that nobody
    writes to it meanwhile. With `huge` the system is asked for huge pages where a reservation has room for them (2 MiB at a time).
    """

    def __init__(self, huge: bool = False, populate: bool = True) -> None:
        self.name = "cpu"
        self.granularity = PAGE
        self.huge = huge
        self._libc = Libc()
        self._lock = threading.RLock()  # a finalizer may give address space back while this thread is inside a call
        self._reserved: dict[int, int] = {}
        self._next = 0
        self._at: dict[int, int] = {}
        """Address → handle."""
        self._home: dict[int, int] = {}
        """Handle → address, of private pages."""
        self._sizes: dict[int, int] = {}
        """Of mapped and kept pages."""
        self._file = MemoryFile(self._libc)
        self._populates = populate and self._can_populate()

    def capabilities(self) -> Capabilities:
        notes = () if self._populates else ("memory is committed by touching it: the kernel does not populate on advice",)
        return Capabilities("cpu", notes=notes)

    def available_bytes(self) -> int:
        return available_memory()

    def reserve(self, nbytes: int, alignment: int) -> int:
        alignment = max(alignment, HUGE if self.huge else PAGE)
        check_reservation(nbytes + alignment)
        found = self._libc.reserve(nbytes + alignment)
        base = -(-found // alignment) * alignment
        for start, stop in ((found, base), (base + nbytes, found + nbytes + alignment)):
            if stop > start:
                self._libc.unmap(start, stop - start)
        self._settle(base, nbytes)
        with self._lock:
            self._reserved[base] = nbytes
        return base

    def free(self, base: int) -> None:
        with self._lock:
            nbytes = self._reserved.pop(base)
        self._libc.unmap(base, nbytes)

    def create(self, nbytes: int, count: int) -> Sequence[int]:
        if nbytes % PAGE:
            raise Invalid(f"a page of {nbytes:,} bytes is no multiple of {PAGE:,}")
        with self._lock:
            first, self._next = self._next, self._next + count
        return range(first, first + count)

    def release(self, handles: Sequence[int]) -> None:
        self.discard(handles)

    def discard(self, handles: Sequence[int]) -> None:
        with self._lock:
            kept = [handle for handle in self._sizes if handle in handles] if isinstance(handles, range) else [h for h in handles if h in self._sizes]
            if any(handle in self._home or self._file.times(handle) for handle in kept):
                raise Invalid("pages that are mapped cannot be given back")
            for handle in kept:
                self._file.drop(handle)
                del self._sizes[handle]

    def map(self, address: int, nbytes: int, handles: Sequence[int]) -> None:
        with self._lock:
            places = range(address, address + nbytes * len(handles), nbytes)
            if any(place in self._at for place in places):
                raise Invalid(f"at {address:#x} pages are mapped already")
            done = 0
            try:
                for known, run in self._runs(places, handles):
                    if known:
                        self._map_shared(run, nbytes)
                    else:
                        self._map_private(run, nbytes)
                    done += len(run)
            except BaseException:
                for place, handle in list(zip(places, handles, strict=True))[:done]:
                    self._unmap_run([(place, handle)], nbytes, keep=handle not in self._home)
                raise

    def unmap(self, address: int, nbytes: int, count: int, keep: bool = False) -> None:
        with self._lock:
            places = range(address, address + nbytes * count, nbytes)
            if any(place not in self._at for place in places):
                raise Invalid(f"from {address:#x} on {count} pages are not all mapped")
            pages = [(place, self._at[place]) for place in places]
            for _, run in groupby(pages, key=lambda page: page[1] in self._home):
                self._unmap_run(list(run), nbytes, keep)

    def resident_bytes(self) -> int:
        with self._lock:
            homes = sorted((address, self._sizes[handle]) for handle, address in self._home.items())
            return sum(self._libc.resident(address, nbytes) for address, nbytes in _joined(homes)) + self._file.resident()

    def _runs(self, places: Sequence[int], handles: Sequence[int]) -> Iterator[tuple[bool, list[tuple[int, int]]]]:
        pages = list(zip(places, handles, strict=True))
        for known, run in groupby(pages, key=lambda page: page[1] in self._sizes):
            yield known, list(run)

    def _map_private(self, run: list[tuple[int, int]], nbytes: int) -> None:
        start, length = run[0][0], nbytes * len(run)
        try:
            self._populate(start, length)
        except BaseException:
            with suppress(BackendFailed):
                self._libc.advise(start, length, DONTNEED)
            raise
        for place, handle in run:
            self._at[place] = handle
            self._home[handle] = place
            self._sizes[handle] = nbytes

    def _map_shared(self, run: list[tuple[int, int]], nbytes: int) -> None:
        done = 0
        try:
            for place, handle in run:
                if handle in self._home:
                    self._to_file(handle, nbytes)
                self._show(place, handle, nbytes)
                self._at[place] = handle
                done += 1
        except BaseException:
            self._unmap_run(run[:done], nbytes, keep=True)
            raise

    def _unmap_run(self, run: list[tuple[int, int]], nbytes: int, keep: bool) -> None:
        """Takes out adjacent pages that are all private, or all in the file."""
        if not run:
            return None
        start, length = run[0][0], nbytes * len(run)
        if run[0][1] in self._home:
            if keep:
                for _, handle in run:
                    self._to_file(handle, nbytes)
                return self._unmap_run(run, nbytes, keep)
            self._libc.advise(start, length, DONTNEED)
            for place, handle in run:
                del self._at[place], self._home[handle], self._sizes[handle]
            return None
        self._libc.empty(start, length)
        self._settle(start, length)
        for place, handle in run:
            del self._at[place]
            if self._file.left(handle) == 0 and not keep:
                self._file.drop(handle)
                del self._sizes[handle]
        return None

    def _to_file(self, handle: int, nbytes: int) -> None:
        """A private page becomes a range of the file, where it is mapped."""
        place = self._home[handle]
        self._file.put(handle, place, nbytes)
        try:
            self._show(place, handle, nbytes)
        except BaseException:
            self._file.drop(handle)
            raise
        del self._home[handle]

    def _show(self, place: int, handle: int, nbytes: int) -> None:
        self._libc.share(place, nbytes, self._file.descriptor, self._file.offset(handle))
        self._libc.advise(place, nbytes, DONTFORK)
        if self._populates:
            self._libc.advise(place, nbytes, POPULATE_WRITE)
        self._file.shown(handle)

    def _settle(self, start: int, nbytes: int) -> None:
        """Advice that a fresh private mapping gets."""
        self._libc.advise(start, nbytes, DONTFORK)
        if self.huge:
            with suppress(BackendFailed):  # a kernel without huge pages refuses the hint, and nothing is lost
                self._libc.advise(start, nbytes, HUGEPAGE)

    def _populate(self, start: int, nbytes: int) -> None:
        if self._populates:
            self._libc.advise(start, nbytes, POPULATE_WRITE)
        else:
            np.ctypeslib.as_array((ctypes.c_ubyte * nbytes).from_address(start))[::PAGE] = 0

    def _can_populate(self) -> bool:
        start = self._libc.reserve(PAGE)
        try:
            self._libc.advise(start, PAGE, POPULATE_WRITE)
        except BackendFailed:
            return False
        finally:
            self._libc.unmap(start, PAGE)
        return True


class MemoryFile:
    """Pages in a file that is in memory only. Ranges that are given back are holes, which take no memory, and are used anew.

    Not safe for threads: its backend's lock guards it.
    """

    def __init__(self, libc: Libc) -> None:
        self._libc = libc
        self._descriptor: int | None = None
        self._end = 0
        self._offsets: dict[int, int] = {}
        self._lengths: dict[int, int] = {}
        self._times: dict[int, int] = {}
        self._holes: dict[int, list[int]] = {}

    @property
    def descriptor(self) -> int:
        """The file, made when it is first needed and closed with this object."""
        if self._descriptor is None:
            self._descriptor = os.memfd_create("mnemos-arena")
            weakref.finalize(self, os.close, self._descriptor)
        return self._descriptor

    def put(self, handle: int, source: int, nbytes: int) -> None:
        """Copies a page from `source` into the file; it is mapped nowhere yet."""
        holes = self._holes.setdefault(nbytes, [])
        offset = holes.pop() if holes else self._end
        try:
            if offset == self._end:
                os.ftruncate(self.descriptor, self._end + nbytes)
            view = memoryview((ctypes.c_ubyte * nbytes).from_address(source))
            written = 0
            while written < nbytes:
                written += os.pwrite(self.descriptor, view[written:], offset + written)
        except OSError as error:
            if offset != self._end:
                holes.append(offset)
            raise BackendFailed(f"a page of {nbytes:,} bytes cannot be put into the memory file: {error}") from error
        self._end = max(self._end, offset + nbytes)
        self._offsets[handle], self._lengths[handle], self._times[handle] = offset, nbytes, 0

    def offset(self, handle: int) -> int:
        return self._offsets[handle]

    def times(self, handle: int) -> int:
        """How often it is mapped."""
        return self._times.get(handle, 0)

    def shown(self, handle: int) -> None:
        self._times[handle] += 1

    def left(self, handle: int) -> int:
        """One mapping less; how many are left."""
        self._times[handle] -= 1
        return self._times[handle]

    def drop(self, handle: int) -> None:
        """The page's memory goes back to the system."""
        offset, nbytes = self._offsets.pop(handle), self._lengths.pop(handle)
        del self._times[handle]
        self._libc.punch(self.descriptor, offset, nbytes)
        self._holes[nbytes].append(offset)

    def resident(self) -> int:
        """Bytes of memory that the file takes."""
        return 0 if self._descriptor is None else os.fstat(self._descriptor).st_blocks * 512


def cpu_backend(huge: bool = False) -> Backend:
    """The backend for this machine's memory: `CpuBackend` on Linux, elsewhere `PlainBackend`, whose `capabilities()` say what is weaker."""
    return CpuBackend(huge) if sys.platform.startswith("linux") else PlainBackend()


def _joined(ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Adjacent ranges of (start, length) as one, up to 64 MiB."""
    start = stop = -1
    for address, nbytes in ranges:
        if address != stop or stop - start > 64 * MIB:
            if stop > start:
                yield start, stop - start
            start = address
        stop = address + nbytes
    if stop > start:
        yield start, stop - start
