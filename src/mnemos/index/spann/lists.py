"""The lists on disk: for each head an extent of pages with the head's vector and, behind it, the entries of its list."""

from __future__ import annotations

import zlib
from collections.abc import MutableMapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Corrupt
from mnemos.index.spann.codes import Bytes, Entries, Floats
from mnemos.index.spann.extents import Extent, Extents
from mnemos.index.spann.list_cache import ListCache
from mnemos.index.spann.tables import Table

RECORD = np.dtype([("page", "<i8"), ("pages", "<u4"), ("count", "<u4"), ("check", "<u4"), ("head_check", "<u4")])
"""Where a list is: its extent, how many entries it has, and the checksums of the entries and of the head. No pages: there is no such list."""
_SPARE = 1.25
"""A list that outgrows its extent gets one for so many times its entries."""
_TAIL = 250
"""Bytes that the tail of a list takes beside its entries."""


class _Tail(NamedTuple):
    """The last entries of a list, `raw`, which are not on disk yet; `start` entries are."""

    start: int
    raw: bytes


class Lists:
    """Lists by number. Nothing that an earlier manifest knows is overwritten: an append goes behind it, all else to new pages.

    What is appended stands in memory, as the tail of its list, until `settle`: an append waits for no page, which would have to be read before a part
    of it can be written. Readers see no difference. Before a manifest is begun, everything has to be settled.
    """

    def __init__(self, extents: Extents, entries: Entries, table: Table | None = None, cache: MutableMapping[int, bytes] | None = None) -> None:
        self.extents, self.entries = extents, entries
        self.table = table or Table(RECORD)
        self._head_bytes = 4 * entries.dimensions
        self._cache = None if cache is None else ListCache(cache)
        self.total = int(self.counts().sum())
        """Entries of all lists, live or not."""
        self._tails: dict[int, _Tail] = {}  # in the order in which they were begun
        self.pending = 0
        """Bytes in memory of what is appended and not settled."""
        self.replaced: set[int] | None = None
        """Where it is a set, lists that get other content than they had, or go, are put there."""

    @property
    def nbytes(self) -> int:
        return self.table.nbytes

    def numbers(self) -> NDArray[np.int64]:
        """The lists that there are."""
        return np.flatnonzero(self.table.view()["pages"])

    def counts(self) -> NDArray[np.int64]:
        """Entries of each list, live or not; 0 where there is none."""
        return np.asarray(self.table.view()["count"], dtype=np.int64)

    def counts_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Entries of the lists `numbers` (m,), live or not."""
        return np.asarray(self.table.view()["count"][numbers], dtype=np.int64)

    def create(self, number: int, head: Floats, entries: Bytes) -> None:
        """A new list, or, where there is one of this number, other content for it."""
        raw_head, raw = np.ascontiguousarray(head, dtype="<f4").tobytes(), entries.tobytes()
        extent = self.extents.allocate(self._head_bytes + int(len(raw) * _SPARE))
        try:
            self.extents.fill(extent, raw_head + raw)
        except BaseException:
            self.extents.discard(extent)
            raise
        if number >= len(self.table.view()):
            self.table.resize(number + 1)
        old = self._extent(number)
        self._set(number, extent, len(entries), zlib.crc32(raw), zlib.crc32(raw_head))
        self._cut_tail(number)
        if self.replaced is not None:
            self.replaced.add(number)
        if old is not None:
            self.extents.free(old)

    def append(self, number: int, entries: Bytes) -> int:
        """How many entries list `number` has, `entries` (m, size) now at its end. Nothing is read or written for it."""
        record = self.table.view()[number]
        extent, count = Extent(int(record["page"]), int(record["pages"])), int(record["count"])
        raw = entries.tobytes()
        before = self._tails.get(number)
        tail = _Tail(count, raw) if before is None else _Tail(before.start, before.raw + raw)
        at = self._head_bytes + tail.start * self.entries.size
        if at + len(tail.raw) > extent.nbytes:
            if before is None or at + len(before.raw) <= extent.nbytes:
                self.extents.ahead(extent, 0, at)
        elif before is None:
            self.extents.ahead(extent, at, len(raw))
        self._tails[number] = tail  # before the record says so: a reader finds what the record knows, and may find more
        self.pending += len(raw) + (_TAIL if before is None else 0)
        self._set(number, extent, count + len(entries), zlib.crc32(raw, int(record["check"])), int(record["head_check"]))
        return count + len(entries)

    def settle(self, most: int = 0, lists: int | None = None) -> None:
        """Write tails to disk, the oldest first, until no more than `most` bytes are pending, or those of so many `lists` are written. Raises
        `DamagedLists` where one has outgrown its extent and cannot be read: it has its tail still."""
        while self._tails and self.pending > most and lists != 0:
            self._write_tail(next(iter(self._tails)))
            lists = None if lists is None else lists - 1

    def _write_tail(self, number: int) -> None:
        extent, tail = self._extent(number), self._tails[number]
        assert extent is not None
        at = self._head_bytes + tail.start * self.entries.size
        if at + len(tail.raw) <= extent.nbytes:
            self.extents.write(extent, at, tail.raw)
            self._cut_tail(number)
        else:
            replaced, self.replaced = self.replaced, None  # it has the same content
            try:
                self.create(number, self.head(number), self.read(number))
            finally:
                self.replaced = replaced

    def _cut_tail(self, number: int) -> None:
        tail = self._tails.pop(number, None)
        if tail is not None:
            self.pending -= len(tail.raw) + _TAIL

    def _settled(self, number: int, count: int) -> tuple[int, bytes]:
        """How many of the first `count` entries of a list are on disk, and the bytes of the others."""
        tail = self._tails.get(number)
        if tail is None or tail.start >= count:
            return count, b""
        return tail.start, tail.raw[: (count - tail.start) * self.entries.size]

    def clear_behind(self) -> None:
        """Overwrite what stands behind the entries of each list: of an append that failed, or that no checkpoint came to know of."""
        for number in self.numbers().tolist():
            record, extent = self.table.view()[number], self._extent(number)
            assert extent is not None
            end = self._head_bytes + self._settled(number, int(record["count"]))[0] * self.entries.size
            if any(self.extents.read_at(extent.page, end, extent.nbytes - end)):
                self.extents.write(extent, end, bytes(extent.nbytes - end))

    def drop(self, number: int) -> None:
        extent = self._extent(number)
        self.total -= int(self.table.view()[number]["count"])
        self.table.set(np.array([number]), np.zeros(1, dtype=RECORD))
        self._cut_tail(number)
        if self.replaced is not None:
            self.replaced.add(number)
        if self._cache is not None:
            self._cache.drop(number)
        if extent is not None:
            self.extents.free(extent)

    def read(self, number: int) -> Bytes:
        """The entries (n, size) of a list, read-only. Raises `DamagedLists` where they are not what was written."""
        return self.read_many([number])[0]

    def read_many(self, numbers: Sequence[int], *, cached: bool = False) -> list[Bytes]:
        """The entries of several lists. Raises `DamagedLists`, which names those that are not what was written.

        `cached`: those that the cache holds are not read, and it gets the others. Upkeep reads past it: what it reads says nothing of what is asked.
        """
        size, cache = self.entries.size, self._cache if cached else None
        places = np.asarray(numbers, dtype=np.int64)
        records = self.table.view()[places]
        counts, checks = records["count"].tolist(), records["check"].tolist()
        settled = [self._settled(number, count) for number, count in zip(numbers, counts, strict=True)] if self._tails else [(n, b"") for n in counts]
        spans = [(page, self._head_bytes, count * size) for page, (count, _) in zip(records["page"].tolist(), settled, strict=True)]
        if cache is None:
            pieces, absent = [b""] * len(spans), list(range(len(spans)))
        else:
            held = [cache.get(number, count * size, check) for number, count, check in zip(numbers, counts, checks, strict=True)]
            pieces, absent = [piece or b"" for piece in held], [i for i, piece in enumerate(held) if piece is None]
        damaged = []
        for i, read in zip(absent, self.extents.read_many([spans[i] for i in absent]), strict=True):
            piece = pieces[i] = read + settled[i][1]
            if len(piece) != counts[i] * size or zlib.crc32(piece) != checks[i]:
                damaged.append(numbers[i])
            elif cache is not None and piece:
                cache.put(numbers[i], piece)
        if cache is not None and absent:  # what was changed since it was read must not stay behind: the change may be a forgetting
            for i in np.flatnonzero(self.table.view()[places] != records).tolist():
                cache.invalidate(numbers[i])
        if damaged:
            raise DamagedLists(damaged)
        return [np.frombuffer(piece, dtype=np.uint8).reshape(-1, size) for piece in pieces]

    def head(self, number: int) -> Floats:
        """The head's vector (dimensions,). Raises `DamagedLists`."""
        record = self.table.view()[number]
        raw = self.extents.read_at(int(record["page"]), 0, self._head_bytes)
        if len(raw) != self._head_bytes or zlib.crc32(raw) != int(record["head_check"]):
            raise DamagedLists([number])
        return np.frombuffer(raw, dtype="<f4").astype(np.float32)

    def heads(self, numbers: NDArray[np.int64]) -> tuple[Floats, list[int]]:
        """The heads (m, dimensions) of `numbers` (m,); and which of them, by place, are damaged."""
        out, damaged = np.zeros((len(numbers), self.entries.dimensions), dtype=np.float32), []
        for place, number in enumerate(numbers.tolist()):
            try:
                out[place] = self.head(number)
            except DamagedLists:
                damaged.append(place)
        return out, damaged

    def damaged(self) -> list[int]:
        """The lists whose bytes, head or entries, are not what was written. Reads all of them."""
        found = []
        for number in self.numbers().tolist():
            try:
                self.head(number)
                self.read(number)
            except DamagedLists:
                found.append(number)
        return found

    def _extent(self, number: int) -> Extent | None:
        record = self.table.view()[number]
        return Extent(int(record["page"]), int(record["pages"])) if record["pages"] else None

    def _set(self, number: int, extent: Extent, count: int, check: int, head_check: int) -> None:
        self.total += count - int(self.table.view()[number]["count"])
        self.table.set(np.array([number]), np.array([(extent.page, extent.pages, count, check, head_check)], dtype=RECORD))
        if self._cache is not None:
            self._cache.invalidate(number)


class DamagedLists(Corrupt):
    """Lists whose bytes are not what was written."""

    def __init__(self, lists: Sequence[int]) -> None:
        super().__init__(f"vector index: list {', '.join(map(str, lists))} is damaged on disk; `mend` makes it again from its vectors")
        self.lists = list(lists)
