"""Checkpoints: the tables of an index written beside their last version, then one small file that says where all of it is.

The manifest is replaced as one (written to another name, made durable, renamed). Until then the earlier one stands, and nothing that it refers to has
been written over; so a stop at any point leaves one or the other, whole. This is shadow paging (Gray et al., "The Recovery Manager of the System
R Database Manager", ACM Computing Surveys 1981), here with copies of chunks of 64 KiB.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from mnemos.base.errors import Corrupt, FingerprintMismatch, Invalid, shown
from mnemos.index.spann.disk import Disk
from mnemos.index.spann.extents import PAGE, Extent, Extents
from mnemos.index.spann.tables import Changes, Table

MANIFEST = "manifest"
TABLES = "tables.dat"
_TEMPORARY = "manifest.new"
_FORMAT = b"1"
_AT_ONCE = 32
_REBUILD = "rebuild the index from the store"

Json = dict[str, Any]


@dataclass(frozen=True)
class _Stored:
    """Where a table is in the file: its shape, and the extent and checksum of each chunk."""

    dtype: np.dtype[Any]
    width: int | None
    rows: int
    chunks: list[tuple[Extent, int]]


@dataclass(frozen=True)
class Begun:
    """A checkpoint whose contents are fixed and which is not written yet: see `Checkpoints.begin`."""

    meta: bytes
    tables: dict[str, tuple[Table, Changes]]
    extents: list[tuple[Extents, int]]
    files: list[str]


class Checkpoints:
    """The manifest of an index, and the tables that it refers to. One thread at a time makes a checkpoint; `problems` may be asked meanwhile."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.pages = Extents(disk, TABLES)
        """The file of the tables."""
        self.generation = 0
        """Of the last manifest; 0 before the first. Each is greater than the one before."""
        self._stored: dict[str, _Stored] = {}
        self._owed: dict[str, set[int]] = {}  # chunks that were to be written when a checkpoint failed
        self._lock = threading.Lock()

    def load(self) -> tuple[dict[str, Table], Json] | None:
        """The tables and the meta data of the last checkpoint; None where there is none. Call it once, before the first `save`.

        Raises `Corrupt` where the manifest or a chunk of a table is not what was written, and says which; `FingerprintMismatch` where another version
        of Mnemos wrote it.
        """
        self._disk.remove(_TEMPORARY)
        self._disk.settle()  # what an older manifest needs is used anew from now on, so that one must not come back
        if not self._disk.exists(MANIFEST):
            return None
        content = _parsed(self._disk.read(MANIFEST, 0, self._disk.size(MANIFEST)))
        try:
            stored = {name: _stored(entry) for name, entry in content["tables"].items()}
            generation, meta = int(content["generation"]), content["meta"]
        except (KeyError, TypeError, ValueError) as error:
            raise Corrupt(f"{MANIFEST}: has no such contents as a manifest has ({error!r}); {_REBUILD}") from None
        used = [extent for table in stored.values() for extent, _ in table.chunks]
        self.pages.restore(np.array([extent.page for extent in used], np.int64), np.array([extent.pages for extent in used], np.int64))
        tables = {name: Table.of_bytes(table.dtype, table.width, table.rows, self._chunks(name, table)) for name, table in stored.items()}
        self._stored, self.generation = stored, generation
        return tables, meta

    def save(self, tables: Mapping[str, Table], meta: Json, extents: Sequence[Extents] = (), files: Sequence[str] = ()) -> None:
        """Make `tables` and `meta` durable, and before them `extents` and `files`; then all that was freed of `extents` is free.

        Nobody may change any of them meanwhile. Raises `StoreFull` or `StoreUnavailable`; then the last checkpoint stands, and `save` may be tried
        again, which tells whether the disk can still be trusted.
        """
        self.finish(self.begin(tables, meta, extents, files, copy=False))

    def begin(
        self, tables: Mapping[str, Table], meta: Json, extents: Sequence[Extents] = (), files: Sequence[str] = (), copy: bool = True
    ) -> Begun:
        """Fix what the next checkpoint says, quickly: of tables only what has changed is copied. What is done afterwards is not part of it.

        Then `finish` makes it durable, while others go on with their work; every `begin` is followed by one `finish`. Raises `Invalid` where
        `meta` is not JSON.
        """
        try:
            encoded = orjson.dumps(meta, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY)
        except TypeError as error:
            raise Invalid(f"{MANIFEST}: what is to be kept with it is not JSON ({error})") from None
        changes = {}
        for name, table in sorted(tables.items()):
            stored = self._stored.get(name)
            known = len(stored.chunks) if stored and (stored.dtype, stored.width) == (table.dtype, table.width) else 0
            changes[name] = (table, table.take(known, self._owed.pop(name, ()), copy))
        return Begun(encoded, changes, [(each, each.begin()) for each in extents], list(files))

    def finish(self, begun: Begun) -> None:
        """Write what was begun, and put it in the place of the last checkpoint. Raises as `save` does."""
        with self._lock:
            self._finish(begun)

    def _finish(self, begun: Begun) -> None:
        fresh: list[Extent] = []
        try:
            stored = {name: self._written(name, table, changes, fresh) for name, (table, changes) in begun.tables.items()}
            for name in [TABLES, *(each.name for each, _ in begun.extents), *begun.files]:
                self._disk.sync(name)
            self._disk.settle()  # a manifest must not be found where a file that it needs has no name yet
            self._disk.remove(_TEMPORARY)
            self._disk.write(_TEMPORARY, 0, _manifest(self.generation + 1, begun.meta, stored))
            self._disk.sync(_TEMPORARY)
        except BaseException:
            for extent in fresh:
                self.pages.discard(extent)
            self._owed = {name: set(changes.chunks) for name, (_, changes) in begun.tables.items()}
            raise
        kept = {extent for table in stored.values() for extent, _ in table.chunks}
        old = [extent for table in self._stored.values() for extent, _ in table.chunks if extent not in kept]
        self._stored = stored
        self.generation += 1
        for extent in old:
            self.pages.free(extent)
        self._disk.replace(_TEMPORARY, MANIFEST)  # where it fails either manifest may stand; both are whole, and what either needs is kept
        self.pages.published()
        for each, number in begun.extents:
            each.published(number)

    def problems(self) -> list[str]:
        """What of the last checkpoint is not what was written; empty where all is. Reads all of it."""
        with self._lock:
            return list(self._problems())

    def _problems(self) -> Iterator[str]:
        if not self.generation:
            return
        try:
            if _parsed(self._disk.read(MANIFEST, 0, self._disk.size(MANIFEST)))["generation"] != self.generation:
                yield f"{MANIFEST}: is not the one that was written last; {_REBUILD}"
        except (Corrupt, FingerprintMismatch) as error:
            yield str(error)
        for name, table in self._stored.items():
            for number in range(len(table.chunks)):
                try:
                    list(self._chunks(name, table, [number]))
                except Corrupt as error:
                    yield str(error)

    def _written(self, name: str, table: Table, changes: Changes, fresh: list[Extent]) -> _Stored:
        """Write the chunks that have changed to new pages, which are added to `fresh`; the others stay where they are."""
        before = self._stored.get(name)
        count = -(-changes.rows // table.rows_per_chunk)
        chunks: list[tuple[Extent, int]] = list(before.chunks[:count]) if before else []
        for number, data in sorted(changes.chunks.items()):
            extent = self.pages.allocate(len(data))
            fresh.append(extent)
            self.pages.write(extent, 0, data)
            chunks[number : number + 1] = [(extent, zlib.crc32(data, extent.page))]
        return _Stored(table.dtype, table.width, changes.rows, chunks)

    def _chunks(self, name: str, table: _Stored, numbers: Iterable[int] | None = None) -> Iterator[bytes]:
        """The bytes of the chunks of a table. Raises `Corrupt` at the first that is not what was written."""
        form = Table(table.dtype, table.width)
        every = list(range(len(table.chunks)) if numbers is None else numbers)
        for at in range(0, len(every), _AT_ONCE):
            some = every[at : at + _AT_ONCE]
            sizes = [form.chunk_nbytes(number, table.rows) for number in some]
            pieces = self.pages.read_many([(table.chunks[number][0].page, 0, size) for number, size in zip(some, sizes, strict=True)])
            for number, size, piece in zip(some, sizes, pieces, strict=True):
                extent, check = table.chunks[number]
                if len(piece) != size or zlib.crc32(piece, extent.page) != check:
                    first = number * form.rows_per_chunk
                    raise Corrupt(
                        f"{TABLES}: rows {first:,} to {min(first + form.rows_per_chunk, table.rows) - 1:,} of table {name!r}, {size:,} bytes at byte "
                        f"{extent.page * PAGE:,}, are not what was written; {_REBUILD}"
                    )
                yield piece


def _manifest(generation: int, meta: bytes, stored: Mapping[str, _Stored]) -> bytes:
    """The file's bytes: a line with format and checksum, then JSON."""
    tables = {
        name: {
            "dtype": table.dtype.descr if table.dtype.names else table.dtype.str,
            "width": table.width,
            "rows": table.rows,
            "chunks": [[extent.page, check] for extent, check in table.chunks],
        }
        for name, table in stored.items()
    }
    body = orjson.dumps({"generation": generation, "meta": orjson.Fragment(meta), "tables": tables})
    return _head(_FORMAT, body) + b"\n" + body


def _head(version: bytes, body: bytes) -> bytes:
    """The first line. The checksum covers it and the body."""
    start = b"mnemos-spann %b %d" % (version, len(body))
    return b"%b %08x" % (start, zlib.crc32(body, zlib.crc32(start)))


def _parsed(data: bytes) -> Json:
    """The JSON of a manifest's bytes. Raises `Corrupt`, `FingerprintMismatch`."""
    head, _, body = data.partition(b"\n")
    words = head.split(b" ")
    if len(words) != 4 or head != _head(words[1], body):
        raise Corrupt(f"{MANIFEST}: is not what was written, its checksum does not match; {_REBUILD}")
    if words[1] != _FORMAT:
        raise FingerprintMismatch(f"{MANIFEST}: was written by another version of Mnemos, in format {shown(words[1])}; {_REBUILD}")
    content: Json = orjson.loads(body)
    return content


def _stored(entry: Json) -> _Stored:
    """A table's entry in the manifest."""
    described = entry["dtype"]
    dtype: np.dtype[Any] = np.dtype(described if isinstance(described, str) else [_field(*field) for field in described])
    form, rows = Table(dtype, entry["width"]), int(entry["rows"])
    chunks = [(Extent(int(page), -(-form.chunk_nbytes(number, rows) // PAGE)), int(check)) for number, (page, check) in enumerate(entry["chunks"])]
    if len(chunks) != -(-rows // form.rows_per_chunk):
        raise ValueError(f"{rows} rows in {len(chunks)} chunks")
    return _Stored(dtype, entry["width"], rows, chunks)


def _field(name: str, form: str, shape: Sequence[int] | None = None) -> tuple[Any, ...]:
    """A field of a structured type, as NumPy wants it described."""
    return (name, form) if shape is None else (name, form, tuple(shape))
