"""The life of the keys of a sealed SQLite store: made with it, destroyed with what is forgotten, renewed, and compared at each opening.

The order of things, so that no kill leaves a living cube without its key: keys are durable in the key file before the first transaction that
seals with them is committed; a forget notes the doomed keys (table `shred`) in its own transaction, and only when that is durable are they
destroyed, and then the notes removed. What a killed process left of that, the next opening does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import apsw

from mnemos.base.clock import Clock
from mnemos.base.errors import Conflict, Corrupt, FingerprintMismatch, MnemosError
from mnemos.store import schema
from mnemos.store.base import Finding
from mnemos.store.keys import CUBE_BITS, NAME, UNMARKED, Era, KeyFile, Ring, name_from, without
from mnemos.store.sealed_blobs import SealedBlobs
from mnemos.store.sealing import Sealing
from mnemos.store.sqlite_read import ENTRY_COLUMNS
from mnemos.store.sqlite_sealed import COLUMNS, SealedReader, SealedWriter
from mnemos.store.sqlite_write import Spaces, Writer
from mnemos.store.witness import Head

_MARK = struct.Struct(">Q32s")


class Keeper:
    """Looks after the keys of the store in the file `path`, which `key` opens. Use it once `born` or `open` has run."""

    def __init__(self, path: str, key: object) -> None:
        self.path = path
        self.file = KeyFile(path + "-keys", key)
        self.sealing: Sealing

    # -- making and opening --
    def born(self, connection: apsw.Connection, store: bytes) -> None:
        """Make the keys of a new store, durably, and the tables that it has beside others. Runs inside the transaction that makes the store."""
        self.make(store)
        connection.execute(COLUMNS).fetchall()
        connection.execute(f"PRAGMA application_id = {schema.SEALED_ID}").fetchall()

    def make(self, store: bytes) -> None:
        """Make the key file of a store, durably. Raises `Conflict` where a key file lies there on which another depends."""
        if self.file.settled():
            raise Conflict(
                f"{self.file.path}: holds the keys of a sealed store that does not lie beside it; restore that store's file, or, where nothing that "
                "they open is wanted any more, move the key file away"
            )
        ring = Ring.new(store)
        self.file.write(ring, settled=False)
        self.sealing = Sealing(self.file, ring)

    def settle(self) -> None:
        """A store depends on the key file now."""
        if not self.file.settled():
            self.file.write(self.file.read())

    def open(self, connection: apsw.Connection) -> None:
        """Read the keys of a store that is there. Raises `WrongKey`, `Corrupt`, and `FingerprintMismatch` where they are another store's."""
        eras = self._eras(connection)  # before the file is read: another process may renew the keys meanwhile
        ring = self.file.read()
        if ring.store != bytes(connection.execute("SELECT value FROM store WHERE key = 'id'").get):
            raise FingerprintMismatch(f"{self.file.path}: holds the keys of another store than {self.path}; put the right key file beside it")
        if missing := eras - set(ring.eras):
            raise Corrupt(f"{self.file.path}: has no keys of era {min(missing)}, so it is older than the store; restore the newest backup of it")
        self.sealing = Sealing(self.file, ring)
        if not self.file.settled():
            with _writing(connection):
                self.settle()

    @staticmethod
    def _eras(connection: apsw.Connection) -> set[int]:
        """The eras whose trees are in use."""
        return {era for (era,) in connection.execute("SELECT DISTINCT era FROM slot UNION SELECT value FROM store WHERE key = 'era'")}

    def reader(self, connection: apsw.Connection) -> SealedReader:
        return SealedReader(connection, self.path, self.sealing)

    def writer(
        self, connection: apsw.Connection, clock: Clock, actor: str | None, spaces: Spaces, newest: tuple[int, bytes, int] | None
    ) -> SealedWriter:
        return SealedWriter(connection, self.path, clock, actor, spaces, newest, self.sealing)

    def blobs(self) -> SealedBlobs:
        return SealedBlobs(self.path + "-blobs", lambda: self.sealing.ring)

    # -- files of different times --
    def reconcile(self, connection: apsw.Connection) -> tuple[list[UUID], bool]:
        """Compare store and key file, of which one may have been restored from a backup without the other.

        Gives the cubes of an older store whose keys were destroyed since, which are to be forgotten again, and whether the mark is out of date.
        Where the key file is the older one, what was forgotten since is noted, to be destroyed again. Raises `FingerprintMismatch` for a store
        from before the keys of its spaces were renewed.
        """
        mark, stored = self.sealing.ring.mark, _stored_mark(connection)
        if mark == stored:
            return [], False
        if mark != UNMARKED and connection.execute("SELECT hash FROM log WHERE seq = ?", (mark.seq,)).get != mark.hash:
            return self._lost(connection), True
        if mark.seq < stored.seq:
            with _writing(connection):
                self._doom_again(connection, mark.seq)
        return [], True

    def _lost(self, connection: apsw.Connection) -> list[UUID]:
        """The living cubes whose keys are gone."""
        ring = self.sealing.ring
        for space, num, era in connection.execute("SELECT space, num, era FROM slot"):
            if ring.eras[era].tree.empty((num << CUBE_BITS, (num + 1) << CUBE_BITS)):
                raise FingerprintMismatch(
                    f"{self.path}: is older than the renewal of its keys (those of space {space} are not in {self.file.path} any more); "
                    "put the key file of the same day beside it, or restore a newer backup"
                )
        rows = connection.execute(f"SELECT v.cube, substr(v.sealed, 1, {NAME.size}) FROM version v JOIN cube c ON c.seq = v.seq")
        return [UUID(bytes=cube) for cube, name in rows if not ring.lives(name)]

    def _doom_again(self, connection: apsw.Connection, since: int) -> None:
        reader = self.reader(connection)
        rows: Any = connection.execute(
            f"SELECT {ENTRY_COLUMNS} FROM log WHERE seq IN (SELECT seq FROM forgotten WHERE seq > ?)", (since,)
        ).fetchall()
        names = [NAME.unpack(name_from(name)) for row in rows for name in reader._logged(row).body_json().get("keys", ())]
        connection.executemany("INSERT INTO shred VALUES(?,?,?)", [(era, number, number + 1) for era, number in names])

    def forget_lost(self, writer: Writer, cubes: list[UUID]) -> None:
        """Forget again what `reconcile` found lost."""
        assert isinstance(writer, SealedWriter)
        writer.forget_lost(cubes)

    # -- destroying --
    def doomed(self, connection: apsw.Connection) -> bool:
        """Whether keys wait to be destroyed."""
        return connection.execute("SELECT 1 FROM shred LIMIT 1").fetchone() is not None

    def shred(self, connection: apsw.Connection) -> None:
        """Destroy the keys that are noted for it, outside any transaction. Raises `StoreFull`, `StoreUnavailable`: then it is left to the next
        time."""
        connection.execute("PRAGMA synchronous=NORMAL")  # a note that comes back costs one more look, no sync
        try:
            with _writing(connection):
                ring = self.file.read()
                if ring.mark.seq < _stored_mark(connection).seq:  # an older key file was put in its place while the store was open
                    self._doom_again(connection, ring.mark.seq)
                gone: dict[int, list[tuple[int, int]]] = {}
                for era, first, beyond in connection.execute("SELECT era, first, beyond FROM shred"):
                    gone.setdefault(era, []).append((first, beyond))
                head = Head(*(connection.execute("SELECT seq, hash FROM log ORDER BY seq DESC LIMIT 1").fetchone() or (0, bytes(32))))
                ring = without(ring, gone, head, self._eras(connection))
                self.file.write(ring)
                self.sealing.ring = ring
                connection.execute("DELETE FROM shred")
                connection.execute("INSERT OR REPLACE INTO store VALUES('shredded', ?)", (_MARK.pack(head.seq, head.hash),))
        finally:
            connection.execute("PRAGMA synchronous=FULL")

    def living(self, names: Iterable[str]) -> list[str]:
        """Those of the keys of that name (era:slot:cube) that the key file has. Raises `Invalid`, and what reading the file raises."""
        ring = self.file.read()
        return [name for name in names if ring.lives(name_from(name))]

    # -- renewing --
    def next_era(self, era: int) -> int:
        """The number of an era after `era`, whose keys are durable when this returns. Nobody else writes meanwhile."""
        ring = self.file.read()
        if ring.newest == era:  # else a killed process came no farther than this
            ring = Ring(ring.store, ring.blobs, {**ring.eras, era + 1: Era.new()}, ring.mark)
            self.file.write(ring)
        self.sealing.ring = ring
        return ring.newest

    def change_key(self, key: object) -> None:
        """Lock the key file with another master key. Nobody else writes meanwhile."""
        ring = self.file.read()
        other = self.file.relocked(key)
        other.write(ring)
        self.file = self.sealing.file = other
        self.sealing.ring = ring

    # -- checking --
    def verify(self) -> list[Finding]:
        """Read the key file anew, and go on with what it holds; what is wrong with it."""
        written = self.file.written
        try:
            ring = self.file.read()
        except MnemosError as error:
            return [Finding(self.file.path, "whole file", str(error))]
        self.sealing.ring = ring
        if self.file.written < written:
            return [Finding(self.file.path, "whole file", "an older key file was put in the place of the one in use; restore the newest")]
        return []


@contextmanager
def _writing(connection: apsw.Connection) -> Iterator[None]:
    """A transaction that may write; undone where the block raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _stored_mark(connection: apsw.Connection) -> Head:
    """What the log ended with when keys were destroyed last, as the store remembers it."""
    found: bytes | None = connection.execute("SELECT value FROM store WHERE key = 'shredded'").get
    return Head(*_MARK.unpack(found)) if found else UNMARKED
