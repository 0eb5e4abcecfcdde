"""Reading and writing a sealed SQLite store: the verbs of `Snapshot` and `Transaction` where rows hold ciphertext (`store.sealing`).

In such a store `version` has three columns more: `sealed` holds the payload (type, author, source, tags, metadata, the rarely used fields, text,
thread, flags, times that the text speaks of, terms, and the salt of the digest), `size` the bytes of the text, `blob` the file of a large payload;
the columns of what lies in `sealed` are empty, but that `terms` still says whether a version is searched. `slot` says where in the key tree the
keys of a space's cubes lie, the latest slot being the one that is written to, and `shred` which keys are yet to be destroyed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import apsw
import numpy as np
import orjson
from numpy.typing import NDArray

from mnemos.base.chain import Entry
from mnemos.base.clock import Clock
from mnemos.base.errors import StoreFull
from mnemos.base.lineage import ASSOCIATIONS, BRANCHED_FROM, DERIVED_FROM, DREW_ON, MERGED, PART_OF, SUMMARISED
from mnemos.store import sealed_blobs, sealing
from mnemos.store.base import Filter, NewVersion, Standing
from mnemos.store.key_tree import Destroyed
from mnemos.store.keys import CUBE_BITS, NAME, SLOTS, Ring, name_of, shown_name
from mnemos.store.sealing import PAYLOAD, VECTOR, Sealing, Unreadable
from mnemos.store.sqlite_read import ENTRIES, VERSION_COLUMNS, Reader, entry_of
from mnemos.store.sqlite_write import VECTOR_SQL, Mark, Remains, Spaces, Writer

COLUMNS = """
ALTER TABLE version ADD COLUMN sealed BLOB;
ALTER TABLE version ADD COLUMN size INTEGER;
ALTER TABLE version ADD COLUMN blob TEXT;
CREATE INDEX version_blob ON version(blob) WHERE blob IS NOT NULL;
CREATE TABLE slot(space INTEGER NOT NULL, num INTEGER NOT NULL, era INTEGER NOT NULL, PRIMARY KEY(space, num)) STRICT, WITHOUT ROWID;
CREATE TABLE shred(era INTEGER NOT NULL, first INTEGER NOT NULL, beyond INTEGER NOT NULL) STRICT;
INSERT INTO store VALUES('era', 1);
"""
"""What a sealed store has beside the tables of every store. Runs inside the caller's transaction."""

RELATIONS = ASSOCIATIONS | {DERIVED_FROM, PART_OF, MERGED, SUMMARISED, BRANCHED_FROM, DREW_ON}
"""The words of the lineage that stay readable; a caller's own are sealed."""

SEALED, CONVERTED = "S", "C"
"""How the column `body` of the log begins: the hash covers what stands there, or, in an entry from before the store was sealed, what it says."""

_OF_CELL = ("v.type", "v.author", "v.source", "v.tags", "v.metadata", "v.more", "v.salt")
_CANDIDATE = "v.seq, v.cube, c.state, v.sealed, c.acl"
_VERSION = (
    "INSERT INTO version(seq, cube, version, space, type, created_at, event_at, valid_from, valid_to, expires_at, salt, died, part_of, flags, "
    "terms, stale, sealed, size, blob) VALUES(?,?,?,?,'',?,?,?,?,?,x'',NULL,?,0,?,NULL,?,?,?)"
)


def _columns() -> str:
    """`VERSION_COLUMNS`, the cell in the place of the text and nothing in those of what lies in it."""
    return ", ".join("NULL" if c in _OF_CELL else "v.sealed" if c == "v.text" else c for c in VERSION_COLUMNS.split(", "))


class _Sealed(Reader):
    """What readers and writers of a sealed store share."""

    _text_size = "size"

    _has_payload = "blob IS NOT NULL"

    _version_columns = _columns()

    def __init__(self, connection: apsw.Connection, path: str, sealing: Sealing) -> None:
        self._begin(sealing)  # before the snapshot is taken: every key that it needs is in a ring that is older
        super().__init__(connection, path)

    def _begin(self, sealing: Sealing) -> None:
        self._sealing = sealing
        self._ring: Ring = sealing.ring
        self._store = self._ring.store
        self._known_era: int | None = None

    # -- keys --
    def _era(self) -> int:
        """The era of the names that stand in the tables, as this reader sees them."""
        if self._known_era is None:
            self._known_era = int(self._db.execute("SELECT value FROM store WHERE key = 'era'").get)
            self._need(self._known_era)
        return self._known_era

    def _need(self, era: int) -> None:
        if era not in self._ring.eras:
            self._ring = self._sealing.with_era(self._ring, era)

    def _opened(self, cell: bytes, column: bytes, cube: bytes, seq: int, embedder: int = 0) -> bytes:
        where = sealing.place(self._store, column, cube, seq, embedder)
        try:
            try:
                return sealing.opened(self._ring, cell, where)
            except KeyError:
                self._need(NAME.unpack_from(cell)[0])
                return sealing.opened(self._ring, cell, where)
        except Unreadable as problem:
            what = "vector" if column == VECTOR else "version"
            raise Unreadable(
                f"{self._path}: the {what} at log position {seq}, of cube {UUID(bytes=cube)}, cannot be opened ({problem}); run `mnemos doctor`, "
                "or restore a backup"
            ) from None

    def _payload(self, cell: bytes, cube: bytes, seq: int) -> tuple[bytes, list[Any], bytes | None, bytes | None]:
        """(salt, the values of `sealing.FIELDS`, moments, terms) of a version."""
        return sealing.unpacked(self._opened(cell, PAYLOAD, cube, seq))

    # -- how things stand in the tables --
    def _version(self, row: Any) -> Any:
        salt, (kind, author, source, tags, metadata, more, text, _, _), _, _ = self._payload(row[16], row[2], row[0])
        return (*row[:4], kind, author, source, *row[7:12], tags, metadata, more, salt, text, *row[17:])

    def _logged(self, row: Any) -> Entry:
        entry, stored = entry_of(row), row[8]
        if stored is None:
            return entry
        actor, body, *digest = self._spelt(row[0], stored)
        if stored[0] == CONVERTED:
            return replace(entry, actor=actor, body=body, hash=bytes.fromhex(digest[0]))
        return replace(entry, actor=actor, body=body, sealed=stored)

    def _spelt(self, seq: int, stored: str) -> list[Any]:
        """What the column `body` of the log holds: [actor, body], and the hash of an entry from before the store was sealed."""
        found: list[Any] = orjson.loads(self._told(f"log {seq}", stored[1:]))
        return found

    def _body(self, seq: int, stored: str) -> str:
        return str(self._spelt(seq, stored)[1])

    def _word(self, table: str, name: str) -> str:
        if table == "edge" and name in RELATIONS:
            return name
        era = self._era()
        return sealing.word(self._ring, era, table, name)

    def _said(self, table: str, stored: str) -> str:
        if table == "edge" and stored in RELATIONS:
            return stored
        era = self._era()
        with self._named():
            return sealing.said(self._ring, era, table, stored)

    def _told(self, where: str, stored: str) -> str:
        with self._named():
            self._need(sealing.era_of(stored))
            return sealing.told(self._ring, where, stored)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the file in what cannot be read."""
        try:
            yield
        except Unreadable as problem:
            raise Unreadable(f"{self._path}: {problem}; run `mnemos doctor`, or restore a backup") from None

    # -- reading --
    def settings(self, prefix: str = "") -> dict[str, Any]:
        found = {self._said("setting", name): value for name, value in self._db.execute("SELECT name, value FROM setting")}
        return {name: orjson.loads(self._told(f"setting {name}", found[name])) for name in sorted(found) if name.startswith(prefix)}

    def _candidates(self, space: int, where: Filter, after: int, now: int, end: int, columns: str = _CANDIDATE) -> Iterator[Any]:
        inside = replace(where, types=None, author=None, source=None, readers=None, labels=None, tags=None)
        whole = inside == where and not where.where
        for seq, cube, state, cell, acl in super()._candidates(space, inside, after, now, end, columns):
            if whole:
                yield seq, cube, state, None
                continue
            _, (kind, author, source, tags, metadata, more, *_), _, _ = self._payload(cell, cube, seq)
            if where.types is not None and kind not in where.types:
                continue
            if (where.author is not None and author != where.author) or (where.source is not None and source != where.source):
                continue
            if where.tags and not set(where.tags).issubset(orjson.loads(tags) if tags else ()):
                continue
            if where.labels is not None and (label := _label(more)) is not None and label not in where.labels:
                continue
            if where.readers is not None and not self._listed(cube, acl, where.readers):
                continue
            yield seq, cube, state, metadata

    def _listed(self, cube: bytes, acl: str | None, readers: tuple[str, ...]) -> bool:
        """Whether a cube's own rules, where they say who reads, name one of `readers`."""
        named = (self._rules(cube, acl) or {}).get("read")
        return named is None or not set(readers).isdisjoint(named)

    def blob_names(self, searched: bool = True) -> set[str]:
        return {name for (name,) in self._db.execute("SELECT DISTINCT blob FROM version WHERE blob IS NOT NULL")}

    def index_rows(self, space: int, since: int) -> Iterator[tuple[Any, ...]]:
        rows = self._db.execute(
            "SELECT v.seq, v.cube, coalesce(v.died, :never), c.state, v.created_at, coalesce(v.event_at, :unknown), "
            "coalesce(v.valid_from, :unknown), coalesce(v.valid_to, :never), coalesce(v.expires_at, :never), v.part_of, "
            "coalesce(v.stale, :never), c.acl, v.sealed "
            "FROM version v JOIN cube c ON c.id = v.cube WHERE v.space = :space AND v.seq > :since AND v.terms IS NOT NULL ORDER BY v.seq",
            {"space": space, "since": since, "never": 2**63 - 1, "unknown": -(2**63)},
        )
        for seq, cube, died, state, created, event, start, end, expires, whole, stale, acl, cell in rows:
            _, (kind, author, source, tags, _, more, _, thread, flags), moments, terms = self._payload(cell, cube, seq)
            rules = None if acl is None else self._told(f"acl {cube.hex()}", acl)
            yield (
                seq, cube, died, state, kind, author, source, created, event, start, end, expires, tags, thread, flags, moments, terms, whole,
                stale, rules, _label(more),
            )  # fmt: skip

    def metadata(self, space: int, since: int) -> Iterator[tuple[int, str | None]]:
        rows = self._db.execute(
            "SELECT seq, cube, sealed FROM version WHERE space = ? AND seq > ? AND terms IS NOT NULL ORDER BY seq", (space, since)
        )
        return ((seq, self._payload(cell, cube, seq)[1][4]) for seq, cube, cell in rows)

    def vectors(self, space: int, since: int) -> Iterator[tuple[int, int, bytes]]:
        rows = self._db.execute(
            "SELECT x.seq, x.embedder, x.value, v.cube FROM version v JOIN vector x ON x.seq = v.seq WHERE v.space = ? AND v.seq > ? ORDER BY v.seq",
            (space, since),
        )
        return ((seq, embedder, self._opened(cell, VECTOR, cube, seq, embedder)) for seq, embedder, cell, cube in rows)

    def vectors_at(self, space: int, seqs: NDArray[np.int64]) -> Iterator[tuple[int, int, bytes]]:
        rows = self._db.execute(
            "SELECT x.seq, x.embedder, x.value, v.cube FROM version v JOIN vector x ON x.seq = v.seq "
            "WHERE v.space = ? AND v.seq IN (SELECT value FROM json_each(?)) ORDER BY v.seq",
            (space, orjson.dumps(seqs.tolist()).decode()),
        )
        return ((seq, embedder, self._opened(cell, VECTOR, cube, seq, embedder)) for seq, embedder, cell, cube in rows)

    def unembedded(self, embedder: int, after: int, limit: int) -> list[tuple[int, int, str]]:
        rows: Any = self._db.execute(
            "SELECT v.seq, v.space, v.cube, v.sealed FROM version v LEFT JOIN vector x ON x.seq = v.seq AND x.embedder = ? "
            "WHERE v.seq > ? AND x.seq IS NULL AND v.terms IS NOT NULL ORDER BY v.seq LIMIT ?",
            (embedder, after, limit),
        )
        return [(seq, space, self._payload(cell, cube, seq)[1][6]) for seq, space, cube, cell in rows]


def _label(more: str | None) -> str | None:
    """The label of sensitivity in the rarely used fields."""
    label: str | None = orjson.loads(more).get("sensitivity") if more else None
    return label


class SealedReader(_Sealed):
    """The verbs of `Snapshot` over a sealed store."""


class SealedWriter(_Sealed, Writer):
    """The verbs of `Transaction` over a sealed store."""

    _version_sql = _VERSION

    def __init__(
        self,
        connection: apsw.Connection,
        path: str,
        clock: Clock,
        actor: str | None,
        spaces: Spaces,
        newest: tuple[int, bytes, int] | None,
        sealing: Sealing,
    ) -> None:
        self._begin(sealing)
        Writer.__init__(self, connection, path, clock, actor, spaces, newest)
        self._slots: dict[int, tuple[int, int]] = {}
        self._names: dict[int, tuple[bytes, bytes]] = {}  # position → cube and key of the versions that this transaction wrote

    def back_to(self, mark: Mark) -> None:
        super().back_to(mark)
        self._known_era = None
        self._slots.clear()
        self._names.clear()

    # -- keys --
    def _slot(self, space: int) -> tuple[int, int]:
        """(era, slot) in which the keys of a space's new cubes lie."""
        if space not in self._slots:
            found: Any = self._db.execute("SELECT era, num FROM slot WHERE space = ? ORDER BY num DESC LIMIT 1", (space,)).fetchone()
            self._slots[space] = found or self.new_slot(space)
            self._need(self._slots[space][0])
        return self._slots[space]

    def new_slot(self, space: int) -> tuple[int, int]:
        """Begin another slot for a space: 2^40 keys none of which was destroyed."""
        era = self._era()
        num: int = self._db.execute("SELECT coalesce(max(num), -1) FROM slot").get + 1
        while num < SLOTS and not self._ring.eras[era].tree.whole((num << CUBE_BITS, (num + 1) << CUBE_BITS)):
            num += 1
        if num == SLOTS:
            raise StoreFull(f"{self._path}: no stretch of keys is left in era {era}; renew the keys (`mnemos rotate-keys`)")
        self._db.execute("INSERT INTO slot VALUES(?,?,?)", (space, num, era))
        self._slots[space] = era, num
        return era, num

    def enter(self, era: int) -> None:
        """From here on in this transaction, names and texts are sealed with the keys of this era, and new slots lie in it."""
        self._ring = self._sealing.ring
        self._known_era = era
        self._slots.clear()
        self._db.execute("UPDATE store SET value = ? WHERE key = 'era'", (era,))

    def doom(self, keys: list[tuple[int, int, int]]) -> None:
        """Note keys, each an era and an interval of numbers in its tree, to be destroyed once this transaction is durable."""
        self._db.executemany("INSERT INTO shred VALUES(?,?,?)", keys)
        self.dooms = True

    def _cell(self, space: int, number: int, column: bytes, cube: bytes, seq: int, data: bytes, embedder: int = 0) -> bytes:
        """`data` of a version sealed under the key of its cube, which has the number `number`."""
        where = sealing.place(self._store, column, cube, seq, embedder)
        try:
            return sealing.cell(self._ring, name_of(*self._slot(space), number), where, data)
        except Destroyed:  # the file is an older one than the keys: the number was another cube's then, which was forgotten since
            self.new_slot(space)
            return sealing.cell(self._ring, name_of(*self._slot(space), number), where, data)

    # -- how things stand in the tables --
    def _spoken(self, seq: int, body: str | None) -> tuple[str | None, str | None]:
        if self.actor is None and body is None:
            return None, None
        return None, SEALED + self._shut(f"log {seq}", orjson.dumps([self.actor, body]).decode())

    def _shut(self, where: str, text: str) -> str:
        era = self._era()
        return sealing.shut(self._ring, era, where, text)

    def _row(self, seq: int, space: int, new: NewVersion, salt: bytes, before: int | None = None) -> tuple[Any, ...]:
        plain = super()._row(seq, space, new, salt)
        kind, author, source = plain[4:7]
        tags, metadata, more, _, text, part_of, thread, flags, moments, terms = plain[12:]
        cube: bytes = plain[1]
        number = seq if before is None else self._number(before)
        data = sealing.packed(salt, [kind, author, source, tags, metadata, more, text, thread, flags], moments, terms)
        cell = self._cell(space, number, PAYLOAD, cube, seq, data)
        self._names[seq] = cube, cell[: NAME.size]
        size = len(text.encode()) if text is not None else None
        searched = None if terms is None else b""
        return (*plain[:4], *plain[7:12], part_of, searched, cell, size, None if new.content.blob is None else self._blob_file(new.content.blob))

    def _blob_file(self, name: str) -> str:
        return sealed_blobs.file_name(self._ring.blobs, name)

    def _number(self, seq: int) -> int:
        """The number of the key of the cube of which a version stands at `seq`."""
        number: int = NAME.unpack(self._db.execute(f"SELECT substr(sealed, 1, {NAME.size}) FROM version WHERE seq = ?", (seq,)).get)[1]
        return number & (1 << CUBE_BITS) - 1

    # -- writing --
    def _more_of(self, seq: int) -> str | None:
        cube, cell = self._db.execute("SELECT cube, sealed FROM version WHERE seq = ?", (seq,)).fetchone()  # type: ignore[misc]
        more: str | None = self._payload(cell, cube, seq)[1][5]
        return more

    def put_vectors(self, embedder: int, vectors: Iterable[tuple[int, bytes]], *, replace: bool = False) -> None:
        if replace:
            self._new_vector_round()
        cells = [(embedder, self.vector_cell(seq, embedder, value), seq) for seq, value in vectors]
        self._db.executemany(VECTOR_SQL, [row for row in cells if row[1] is not None])

    def vector_cell(self, seq: int, embedder: int, value: bytes) -> bytes | None:
        """The vector of the version at `seq`, sealed under the key of its cube; None where the version does not exist."""
        found: Any = self._names.get(seq) or self._db.execute(
            f"SELECT cube, substr(sealed, 1, {NAME.size}) FROM version WHERE seq = ?", (seq,)
        ).fetchone()
        if found is None:
            return None
        cube, name = found
        self._need(NAME.unpack(name)[0])
        return sealing.cell(self._ring, name, sealing.place(self._store, VECTOR, cube, seq, embedder), value)

    def column(self, table: str, column: str) -> list[Any]:
        """The values that stand in a column, each once."""
        return [value for (value,) in self._db.execute(f"SELECT DISTINCT {column} FROM {table}").fetchall()]

    def _remains(self, key: bytes) -> list[Remains]:
        rows: Any = self._db.execute(
            ENTRIES + "SELECT seq, v.sealed, l.digest, v.blob FROM entry JOIN log l USING (seq) JOIN version v USING (seq) ORDER BY seq", (key,)
        )
        return [Remains(seq, self._payload(cell, key, seq)[0], digest, blob) for seq, cell, digest, blob in rows]

    def _holds_blob(self, blob: str) -> bool:
        return self._db.execute("SELECT 1 FROM version WHERE blob = ? LIMIT 1", (blob,)).fetchone() is not None

    def _doomed(self, standing: Standing) -> list[str]:
        """The key of the cube in every slot of its space: what was written before a rotation may lie in a backup."""
        number = self._number(standing.seq)
        slots: list[Any] = self._db.execute("SELECT era, num FROM slot WHERE space = ? ORDER BY num", (standing.space,)).fetchall()
        places = [(era, num << CUBE_BITS | number) for era, num in slots]
        self.doom([(era, place, place + 1) for era, place in places])
        return [shown_name(NAME.pack(era, place)) for era, place in places]

    def forget_lost(self, cubes: Iterable[UUID]) -> None:
        """Forget cubes whose keys were destroyed already: this file is an older one than the keys, and brought them back, unreadable."""
        for cube in cubes:
            standing = self._existing(cube)
            rows: list[Any] = self._db.execute(ENTRIES + "SELECT seq, v.blob FROM entry JOIN version v USING (seq)", (cube.bytes,)).fetchall()
            keys = self._doomed(standing)
            seq = self._append("forget", standing.space, cube, standing.version, {"reason": "its key was destroyed before", "keys": keys})
            self._bury(cube.bytes, seq, [(row[0],) for row in rows])
            self.removed_blobs += [blob for _, blob in rows if blob and not self._holds_blob(blob)]
            self.forgotten_ids.append(cube)
