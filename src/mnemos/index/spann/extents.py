"""A file of pages, handed out in runs that lie together. A run that was given back is used anew only when nothing durable refers to it any more."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Corrupt, Invalid, shown
from mnemos.index.spann.disk import Disk

PAGE = 4096
"""Bytes of a page."""

_WIPED = 256
"""Pages that are overwritten with one write."""

_FREE, _FIRST, _REST, _WAITING = range(4)


class Extent(NamedTuple):
    """`pages` pages of the file, from page number `page` on."""

    page: int
    pages: int

    @property
    def nbytes(self) -> int:
        return self.pages * PAGE


class Extents:
    """The pages of one file: used, free, or waiting.

    A page waits from `free` until `published` says that a manifest is durable which was begun (`begin`) after that. So what the last durable
    manifest refers to is never written over. What is free is not stored: `restore` derives it from what a manifest refers to. The choice of
    pages depends on nothing but the calls before. Safe for threads; whoever reads an extent makes sure that it is not given back meanwhile,
    or checks afterwards that the bytes are those asked for.
    """

    def __init__(self, disk: Disk, name: str) -> None:
        self._disk = disk
        self.name = name
        self._lock = threading.Lock()
        self._epoch = 0
        self._reset(np.zeros(0, dtype=np.uint8))

    @property
    def bytes_total(self) -> int:
        """Bytes that the file takes, or will when all of it is written."""
        return len(self._pages) * PAGE

    @property
    def bytes_used(self) -> int:
        """Bytes of the extents in use."""
        return self._used * PAGE

    @property
    def bytes_waiting(self) -> int:
        """Bytes given back, and not yet to be used anew."""
        return self._waiting * PAGE

    def allocate(self, nbytes: int) -> Extent:
        """An extent of at least `nbytes` bytes (at least one page): the smallest free run that holds it, of those the first; else the file grows."""
        if nbytes < 0:
            raise Invalid(f"{self.name}: an extent cannot have {nbytes} bytes")
        pages = max(1, -(-nbytes // PAGE))
        with self._lock:
            at = bisect_left(self._runs, (pages, 0))
            if at < len(self._runs):
                length, page = self._runs[at]
            else:
                page = self._tail()
                length = max(len(self._pages) - page, pages)
                self._pages.extend(bytes(page + length - len(self._pages)))
            if page in self._starts:
                self._drop(page)
            if length > pages:
                self._keep(page + pages, length - pages)
            self._pages[page : page + pages] = bytes([_FIRST]) + bytes([_REST]) * (pages - 1)
            self._used += pages
            return Extent(page, pages)

    def free(self, extent: Extent) -> None:
        """Give back an extent. Its bytes stay as they are until a manifest that was begun after this is published."""
        with self._lock:
            self._check(extent)
            self._mark(extent, _WAITING)
            self._used -= extent.pages
            self._waiting += extent.pages
            self._given.setdefault(self._epoch, []).append(extent)

    def discard(self, extent: Extent) -> None:
        """Give back an extent that no manifest refers to, not even one that is being written, and that nobody reads: it is used anew at once."""
        with self._lock:
            self._check(extent)
            self._used -= extent.pages
            self._release(extent)

    def begin(self) -> int:
        """Start of a manifest, which refers to none of the extents freed so far. Gives the number for `published`."""
        with self._lock:
            self._epoch += 1
            return self._epoch

    def published(self, begun: int | None = None) -> None:
        """The manifest begun with that number is durable: what was freed before is free now, and a free end of the file is cut off.

        Without a number: everything freed so far. Raises `StoreUnavailable` where the file cannot be cut; the pages are free all the same.
        """
        with self._lock:
            for epoch in [epoch for epoch in self._given if begun is None or epoch < begun]:
                for extent in self._given.pop(epoch):
                    self._waiting -= extent.pages
                    self._release(extent)
            self._cut()

    def restore(self, pages: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """Start from what a manifest refers to: extents of counts[i] pages from pages[i]. All else is free; the file's end behind them is cut off.

        Raises `Corrupt` where two of them overlap, or one is none.
        """
        with self._lock:
            order = np.argsort(pages, kind="stable")
            starts, lengths = np.asarray(pages, np.int64)[order], np.asarray(counts, np.int64)[order]
            ends = starts + lengths
            if len(starts) and (starts[0] < 0 or lengths.min() < 1 or np.any(starts[1:] < ends[:-1])):
                at = int(np.argmax((starts < 0) | (lengths < 1) | np.append(starts[1:] < ends[:-1], False)))
                raise Corrupt(f"{self.name}: the extent of {lengths[at]} pages at page {starts[at]} is none, or overlaps the next; rebuild the index")
            state = np.zeros(int(ends[-1]) if len(ends) else 0, dtype=np.uint8)
            state[_inside(starts, lengths)] = _REST
            state[starts] = _FIRST
            self._reset(state)
            begins = np.append(0, ends)
            gaps = np.append(starts, len(state)) - begins
            for page, length in zip(begins[gaps > 0].tolist(), gaps[gaps > 0].tolist(), strict=True):
                self._keep(page, length)
            self._cut()

    def read(self, extent: Extent, nbytes: int) -> bytes:
        """The first `nbytes` bytes of the extent. Raises `Corrupt` where the file ends before."""
        if not 0 <= nbytes <= extent.nbytes:
            raise Invalid(f"{self.name}: the extent at page {extent.page} has {extent.nbytes:,} bytes, not {nbytes:,}")
        data = self.read_at(extent.page, 0, nbytes)
        if len(data) != nbytes:
            where = f"{nbytes:,} bytes at byte {extent.page * PAGE:,}"
            raise Corrupt(f"{self.name}: ends after {len(data):,} of the {where}; rebuild the index from the store")
        return data

    def read_at(self, page: int, offset: int, nbytes: int) -> bytes:
        """`nbytes` bytes from byte `offset` of the extent at `page`; fewer where the file ends before."""
        return self._disk.read(self.name, page * PAGE + offset, nbytes)

    def read_many(self, spans: Sequence[tuple[int, int, int]]) -> list[bytes]:
        """What `read_at` gives for each (page, offset, nbytes); the device may work at all of them at once."""
        return self._disk.read_many(self.name, [(page * PAGE + offset, nbytes) for page, offset, nbytes in spans])

    def ahead(self, extent: Extent, offset: int, nbytes: int) -> None:
        """A hint: these bytes of the extent will be read, or written in part, before long."""
        self._disk.ahead(self.name, [(extent.page * PAGE + offset, min(nbytes, extent.nbytes - offset))])

    def write(self, extent: Extent, offset: int, data: bytes | memoryview) -> None:
        """Put `data` at byte `offset` of an extent in use. Whoever writes sees to it that no manifest refers to the bytes that change."""
        size = memoryview(data).nbytes
        if offset < 0 or offset + size > extent.nbytes:
            raise Invalid(f"{self.name}: {size:,} bytes at {offset:,} leave the {extent.nbytes:,} bytes of the extent at page {extent.page}")
        self._check(extent)
        self._disk.write(self.name, extent.page * PAGE + offset, data)

    def fill(self, extent: Extent, data: bytes | memoryview) -> None:
        """Put `data` at the start of an extent in use and zeros behind it: nothing stays of what its pages held before."""
        raw = bytes(data)
        self.write(extent, 0, raw.ljust(extent.nbytes, b"\0"))

    def sync(self) -> None:
        """Make what was written durable."""
        self._disk.sync(self.name)

    def wipe(self) -> None:
        """Overwrite every free page with zeros, durably: nothing is left of what was there."""
        with self._lock:
            for page, pages in sorted(self._starts.items()):
                for start in range(page, page + pages, _WIPED):
                    self._disk.write(self.name, start * PAGE, bytes(min(_WIPED, page + pages - start) * PAGE))
        self._disk.sync(self.name)

    def free_runs(self) -> list[tuple[int, int]]:
        """The free runs as (page, pages), in the order of the file."""
        with self._lock:
            return sorted((page, length) for page, length in self._starts.items())

    def _reset(self, state: NDArray[np.uint8]) -> None:
        self._pages = bytearray(state.tobytes())
        self._runs: list[tuple[int, int]] = []  # free runs as (length, page), ascending
        self._starts: dict[int, int] = {}  # of each free run: page -> length
        self._ends: dict[int, int] = {}  # and page after the last -> page
        self._given: dict[int, list[Extent]] = {}
        self._used = int(np.count_nonzero(state))
        self._waiting = 0

    def _check(self, extent: Extent) -> None:
        """Raise `Invalid` unless the extent is one in use, whole."""
        page, pages = extent
        whole = self._pages[page : page + pages] == bytes([_FIRST]) + bytes([_REST]) * (pages - 1) if page >= 0 and pages > 0 else False
        if not whole or self._pages[page + pages : page + pages + 1] == bytes([_REST]):
            raise Invalid(f"{self.name}: {shown(extent)} is no extent in use")

    def _mark(self, extent: Extent, state: int) -> None:
        self._pages[extent.page : extent.page + extent.pages] = bytes([state]) * extent.pages

    def _tail(self) -> int:
        """First page of the free run that ends the file; the file's end where there is none."""
        end = len(self._pages)
        return self._ends.get(end, end)

    def _release(self, extent: Extent) -> None:
        """Make the pages free, one run with the free ones beside them."""
        self._mark(extent, _FREE)
        page, end = extent.page, extent.page + extent.pages
        if page in self._ends:
            page = self._ends[page]
            self._drop(page)
        if end in self._starts:
            length = self._starts[end]
            self._drop(end)
            end += length
        self._keep(page, end - page)

    def _keep(self, page: int, length: int) -> None:
        insort(self._runs, (length, page))
        self._starts[page] = length
        self._ends[page + length] = page

    def _drop(self, page: int) -> None:
        length = self._starts.pop(page)
        del self._ends[page + length]
        del self._runs[bisect_left(self._runs, (length, page))]

    def _cut(self) -> None:
        """Cut the file where its end is free, and what lies behind the last page."""
        end = self._tail()
        if end < len(self._pages):
            self._drop(end)
            del self._pages[end:]
        self._disk.truncate(self.name, end * PAGE)


def _inside(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """All pages of the runs."""
    total = int(lengths.sum())
    before = np.cumsum(lengths) - lengths
    pages: NDArray[np.int64] = np.arange(total, dtype=np.int64) + np.repeat(starts - before, lengths)
    return pages
