"""Sealing a SQLite store that was written unsealed: all of it in one transaction, then a rebuilt file, so that no readable byte stays.

The log's chain stays as it is, and with it every certificate: an entry from before keeps the hash over what it says, but what it says, and the
hash itself, are sealed, for a hash over a short text gives the text to whoever guesses. The entry that tells of the sealing holds random bytes
under its hash, so that nobody can work from the hashes after it back to those before it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, cast

import apsw
import orjson

from mnemos.base.chain import entry_hash
from mnemos.base.clock import Clock
from mnemos.base.errors import Conflict, StoreUnavailable
from mnemos.store import schema, sealed_blobs, sealing, sqlite_erase
from mnemos.store.blobs import FileBlobs
from mnemos.store.sealed_blobs import SealedBlobs
from mnemos.store.sealing import FIELDS, PAYLOAD
from mnemos.store.sqlite import SqliteStore
from mnemos.store.sqlite_keys import Keeper
from mnemos.store.sqlite_renew import WORDS
from mnemos.store.sqlite_sealed import COLUMNS, CONVERTED, RELATIONS, SealedWriter
from mnemos.store.sqlite_write import Spaces

KIND = "seal"
"""What the log calls the entry that tells of the sealing."""

_TEXTS = (
    ("space", "num", "settings", lambda num: f"space {num}"),
    ("setting", "name", "value", lambda name: f"setting {name}"),
    ("cube", "id", "acl", lambda id: f"acl {id.hex()}"),
    ("job", "id", "payload", lambda _: "job payload"),
    ("job", "id", "progress", lambda _: "job progress"),
    ("job", "id", "error", lambda _: "job error"),
)
_BATCH = 1000


def seal(opened: SqliteStore, key: object) -> None:
    """Close a store, and seal its file. Nobody else may have it open. A kill leaves it unsealed, or sealed; what was left to clear away the next
    opening does.

    Raises `Conflict` where it is sealed already, `StoreUnavailable` where somebody has it open, `StoreFull`, and what opening it raises.
    """
    opened.close()
    store = SqliteStore(opened.path, clock=opened.clock, vfs=opened.vfs)
    try:
        assert store.witness is not None
        if not store.witness.alone():
            raise StoreUnavailable(f"{store.path}: somebody else has the store open; close it there, and seal it then")
        keeper = Keeper(store.path, key)
        plain = FileBlobs(store.path + "-blobs")
        with store.exclusively("sealing the store") as connection:
            names = _convert(connection, keeper, store.clock, plain)
        keeper.settle()
        plain.remove(names)
        store._erasing.inherit(store._db)  # the note of `_convert`: the file is to be rebuilt
        store.erase()
    finally:
        store.close()


def _convert(connection: apsw.Connection, keeper: Keeper, clock: Clock, plain: FileBlobs) -> list[str]:
    """Seal every row, inside one transaction; give the names of the blobs that lie there unsealed."""
    if schema.is_sealed(connection):
        raise Conflict(f"{keeper.path}: is sealed already; renew its keys with `mnemos rotate-keys`")
    keeper.make(bytes(connection.execute("SELECT value FROM store WHERE key = 'id'").get))
    writer = keeper.writer(connection, clock, None, Spaces(), None)
    connection.execute(COLUMNS).fetchall()
    names = _versions(writer, plain, keeper.blobs())
    _vectors(writer)
    for table, key, column, where in _TEXTS:
        _texts(writer, table, key, column, where)
    for table, column in WORDS:
        for word in writer.column(table, column):
            if table != "edge" or word not in RELATIONS:
                connection.execute(f"UPDATE {table} SET {column} = ?2 WHERE {column} = ?1", (word, writer._word(table, word)))
    _log(writer)
    sqlite_erase.mark(connection, writer.position)
    connection.execute(f"PRAGMA application_id = {schema.SEALED_ID}").fetchall()
    return names


def _rows(writer: SealedWriter, statement: str) -> Iterator[list[Any]]:
    """The rows that a statement gives, of which the first column is `seq`, some at a time: they may be changed meanwhile."""
    after = 0
    while rows := writer.connection.execute(f"{statement} WHERE seq > ? ORDER BY seq LIMIT {_BATCH}", (after,)).fetchall():
        yield rows
        after = cast(Any, rows[-1][0])


def _versions(writer: SealedWriter, plain: FileBlobs, sealed: SealedBlobs) -> list[str]:
    first = dict(writer.connection.execute("SELECT cube, min(seq) FROM version GROUP BY cube"))
    names: dict[str, None] = {}
    for rows in _rows(writer, f"SELECT seq, cube, space, salt, moments, terms, {', '.join(FIELDS)} FROM version"):
        out = []
        for seq, cube, space, salt, moments, terms, *fields in rows:
            cell = writer._cell(space, first[cube], PAYLOAD, cube, seq, sealing.packed(salt, fields, moments, terms))
            more, text = fields[FIELDS.index("more")], fields[FIELDS.index("text")]
            blob = orjson.loads(more).get("blob") if more else None
            if blob is not None and blob not in names:
                names[blob] = None
                sealed.put_as(blob, plain.get(blob))
            size = None if text is None else len(text.encode())
            file = None if blob is None else sealed_blobs.file_name(writer._ring.blobs, blob)
            out.append((cell, size, file, None if terms is None else b"", seq))
        writer.connection.executemany(
            "UPDATE version SET type = '', author = NULL, source = NULL, tags = NULL, metadata = NULL, more = NULL, text = NULL, thread = NULL, "
            "flags = 0, moments = NULL, salt = x'', sealed = ?1, size = ?2, blob = ?3, terms = ?4 WHERE seq = ?5",
            out,
        )
    return list(names)


def _vectors(writer: SealedWriter) -> None:
    for rows in _rows(writer, "SELECT seq, embedder, value FROM vector"):
        writer.connection.executemany("UPDATE vector SET value = ? WHERE seq = ?", [(writer.vector_cell(*row), row[0]) for row in rows])


def _texts(writer: SealedWriter, table: str, key: str, column: str, where: Any) -> None:
    rows: list[Any] = writer.connection.execute(f"SELECT {key}, {column} FROM {table} WHERE {column} IS NOT NULL").fetchall()
    writer.connection.executemany(
        f"UPDATE {table} SET {column} = ?2 WHERE {key} = ?1", [(value, writer._shut(where(value), text)) for value, text in rows]
    )


def _log(writer: SealedWriter) -> None:
    """Seal what the log says, and append the entry that tells of it."""
    connection = writer.connection
    triggers: list[Any] = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'log'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    for rows in _rows(writer, "SELECT seq, actor, body, hash FROM log"):
        connection.executemany(
            "UPDATE log SET actor = NULL, body = ?1, hash = x'' WHERE seq = ?2",
            [(_converted(writer, seq, actor, body, hash_), seq) for seq, actor, body, hash_ in rows],
        )
    seq, previous, at = writer.position + 1, writer.newest()[1], max(writer.newest()[2], writer._clock())
    body = orjson.dumps({"blind": os.urandom(32).hex()}).decode()
    digest = entry_hash(previous, seq, at, KIND, 0, None, None, None, None, body)
    connection.execute(
        "INSERT INTO log(seq, at, kind, space, body, hash) VALUES(?,?,?,0,?,?)", (seq, at, KIND, _converted(writer, seq, None, body, digest), digest)
    )
    for _, sql in triggers:
        connection.execute(sql)


def _converted(writer: SealedWriter, seq: int, actor: str | None, body: str | None, digest: bytes) -> str:
    return CONVERTED + writer._shut(f"log {seq}", orjson.dumps([actor, body, digest.hex()]).decode())
