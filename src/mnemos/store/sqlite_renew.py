"""Renewing the keys of a sealed SQLite store: a new era begins at once, and the cubes of the spaces are sealed anew, some at a time.

From the beginning of an era on, everything that is written is sealed with its keys. What was there waits in the old slots of its space, readable,
until it has been sealed anew, in the same order and under the same numbers; a kill costs nothing but the batch that was at work. When a space
has nothing left in an old slot, the keys of that slot are destroyed, and no older file can be read with them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from typing import Any

from mnemos.base.errors import MnemosError
from mnemos.store.keys import CUBE_BITS, NAME, name_of
from mnemos.store.sealing import PAYLOAD, VECTOR
from mnemos.store.sqlite_jobs import ERROR, PROGRESS
from mnemos.store.sqlite_jobs import PAYLOAD as JOB_PAYLOAD
from mnemos.store.sqlite_keys import Keeper
from mnemos.store.sqlite_read import Reader
from mnemos.store.sqlite_sealed import RELATIONS, SealedWriter
from mnemos.store.sqlite_write import Writer

BATCH = 512
"""Versions that are sealed anew in one transaction."""

Writing = Callable[[], AbstractContextManager[Writer]]
"""Begins a transaction of a sealed store that may write."""

WORDS = (("space", "name"), ("setting", "name"), ("counter", "name"), ("job", "key"), ("edge", "relation"))
"""The columns that hold names by which something is looked up."""

_WAITING = "SELECT space FROM slot GROUP BY space HAVING count(*) > 1 ORDER BY space"


def begin(writer: Writer, keeper: Keeper, spaces: Collection[int] | None = None) -> None:
    """Begin a new era: new keys for the cubes of the spaces (None: of all), whose cubes wait to be sealed anew; names and texts are at once."""
    assert isinstance(writer, SealedWriter)
    db = writer.connection
    words = [(t, c, stored, writer._said(t, stored)) for t, c in WORDS for stored in writer.column(t, c)]
    texts = list(_texts(writer))
    writer.enter(keeper.next_era(writer._era()))
    for table, column, stored, word in words:
        if table != "edge" or stored not in RELATIONS:
            db.execute(f"UPDATE {table} SET {column} = ?2 WHERE {column} = ?1", (stored, writer._word(table, word)))
    for statement, where, text, key in texts:
        db.execute(statement, (writer._shut(where, text), writer._word("setting", key) if isinstance(key, str) else key))
    for space in writer.column("slot", "space"):
        if spaces is None or space in spaces:
            writer.new_slot(space)
    writer.unlogged()


def _texts(writer: SealedWriter) -> Iterator[tuple[str, str, str, Any]]:
    """(statement that writes it, place, text, key of the row) of each text in the small tables; the log's stay as they are, as the log does."""
    db = writer.connection

    def told(statement: str, where: str, stored: str, key: Any) -> tuple[str, str, str, Any]:
        return statement, where, writer._told(where, stored), key

    for num, settings in db.execute("SELECT num, settings FROM space"):
        yield told("UPDATE space SET settings = ? WHERE num = ?", f"space {num}", settings, num)
    for sealed, value in db.execute("SELECT name, value FROM setting"):
        name = writer._said("setting", sealed)
        yield told("UPDATE setting SET value = ? WHERE name = ?", f"setting {name}", value, name)
    for key, acl in db.execute("SELECT id, acl FROM cube WHERE acl IS NOT NULL"):
        yield told("UPDATE cube SET acl = ? WHERE id = ?", f"acl {key.hex()}", acl, key)
    for column, where in (("payload", JOB_PAYLOAD), ("progress", PROGRESS), ("error", ERROR)):
        for id, text in db.execute(f"SELECT id, {column} FROM job WHERE {column} IS NOT NULL"):
            yield told(f"UPDATE job SET {column} = ? WHERE id = ?", where, text, id)


def waiting(reader: Reader) -> int:
    """How many versions lie in spaces that are not wholly sealed anew."""
    found: int = reader._db.execute(f"SELECT count(*) FROM version WHERE space IN ({_WAITING})").get
    return found


def reseal(writing: Writing, total: int, progress: Callable[[int, int], None] | None = None, stop: Callable[[], bool] = lambda: False) -> int:
    """Seal anew what waits; give how many versions were. Each batch is durable; where `stop()` becomes true, or the process dies, the next call
    goes on. `total` is what `progress(done, total)` is told."""
    done = passed = after = 0
    while not stop():
        with writing() as writer:
            assert isinstance(writer, SealedWriter)
            space: int | None = writer.connection.execute(_WAITING + " LIMIT 1").get
            if space is None:
                return done
            seen, sealed, last = _batch(writer, space, after)
            if seen:
                after, passed, done = last, passed + seen, done + sealed
            else:
                after = 0
                _leave(writer, space)
        if progress is not None and seen:
            progress(passed, max(total, passed))
    return done


def _batch(writer: SealedWriter, space: int, after: int) -> tuple[int, int, int]:
    """Seal the next versions of a space anew, beyond position `after`: (how many were looked at, how many of them sealed, the last position)."""
    rows: list[Any] = writer.connection.execute(
        "SELECT v.seq, v.cube, v.sealed, x.embedder, x.value FROM version v LEFT JOIN vector x ON x.seq = v.seq "
        f"WHERE v.space = ? AND v.seq > ? ORDER BY v.seq LIMIT {BATCH}",
        (space, after),
    ).fetchall()
    low, high = _names(writer, space)
    cells, vectors = [], []
    for seq, cube, cell, embedder, value in rows:
        if low <= cell[: NAME.size] <= high:
            continue
        number = NAME.unpack_from(cell)[1] & (1 << CUBE_BITS) - 1
        cells.append((writer._cell(space, number, PAYLOAD, cube, seq, writer._opened(cell, PAYLOAD, cube, seq)), seq))
        if value is not None:
            vectors.append((writer._cell(space, number, VECTOR, cube, seq, writer._opened(value, VECTOR, cube, seq, embedder), embedder), seq))
    writer.connection.executemany("UPDATE version SET sealed = ? WHERE seq = ?", cells)
    writer.connection.executemany("UPDATE vector SET value = ? WHERE seq = ?", vectors)
    if cells:
        writer.unlogged()
    return len(rows), len(cells), rows[-1][0] if rows else after


def _names(writer: SealedWriter, space: int) -> tuple[bytes, bytes]:
    """The first and the last name of a key in the slot that a space is written to."""
    era, slot = writer._slot(space)
    return name_of(era, slot, 0), name_of(era, slot, (1 << CUBE_BITS) - 1)


def _leave(writer: SealedWriter, space: int) -> None:
    """Give up the old slots of a space, in which nothing is left, and note their keys to be destroyed."""
    db = writer.connection
    left: Any = db.execute(
        f"SELECT seq FROM version WHERE space = ?1 AND NOT substr(sealed, 1, {NAME.size}) BETWEEN ?2 AND ?3 LIMIT 1", (space, *_names(writer, space))
    ).fetchone()
    if left is not None:
        raise MnemosError(f"space {space}: the version at log position {left[0]} was written with old keys after they were renewed; report this")
    _, newest = writer._slot(space)
    old: list[Any] = db.execute("SELECT era, num FROM slot WHERE space = ? AND num != ?", (space, newest)).fetchall()
    writer.doom([(era, num << CUBE_BITS, (num + 1) << CUBE_BITS) for era, num in old])
    db.execute("DELETE FROM slot WHERE space = ? AND num != ?", (space, newest))
    writer.unlogged()
