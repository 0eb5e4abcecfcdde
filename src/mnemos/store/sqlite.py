"""The SQLite driver of the `Store` seam: one file, one writer with group commit, many readers with snapshots.

A write is durable when its transaction ends: WAL with `synchronous=FULL`, one sync of the disk for each commit. Threads that write at the
same time share a commit; processes take turns.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import apsw

from mnemos.base.clock import Clock, system_clock
from mnemos.base.errors import Corrupt, FingerprintMismatch, Invalid, MnemosError, StoreUnavailable
from mnemos.store import sqlite_open
from mnemos.store.base import Finding
from mnemos.store.blobs import Blobs, FileBlobs, MemoryBlobs
from mnemos.store.residue import left_behind
from mnemos.store.sqlite_faults import explained
from mnemos.store.sqlite_read import Reader
from mnemos.store.sqlite_verify import verify_rows, verify_write_ahead_log
from mnemos.store.sqlite_write import Writer
from mnemos.store.witness import Head, Witness

GROUP = 64
"""At most this many transactions share one commit."""

_MEMORY = ":memory:"


class _Group:
    """Transactions that are to become durable in one commit."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.size = 0
        self.error: MnemosError | None = None
        self.head: Head | None = None
        self.removed_blobs: list[str] = []


class SqliteStore:
    """A store in the file `location`, or in memory for ":memory:". Implements `Store`.

    `vfs` names another SQLite VFS to stand on (fault injection does that). Raises `StoreUnavailable`, `Corrupt`, `FingerprintMismatch`.
    """

    def __init__(self, location: str, *, clock: Clock = system_clock, vfs: str | None = None) -> None:
        self.durable = location != _MEMORY
        self.path = str(sqlite_open.resolve(location)) if self.durable else _MEMORY
        self._clock = clock
        self._vfs = vfs or (sqlite_open.checksum_vfs() if self.durable else None)
        self._mutex = threading.RLock()
        self._waiting = 0
        self._waiting_lock = threading.Lock()
        self._open_group: _Group | None = None
        self._local = threading.local()
        self._idle: list[apsw.Connection] = []
        self._idle_lock = threading.Lock()
        self._closed = False
        self.opened_with: list[Finding] = []
        self.witness: Witness | None = None
        self.blobs: Blobs = FileBlobs(self.path + "-blobs") if self.durable else MemoryBlobs()
        with explained(self.path, "opening the store"):
            self._open()

    # -- opening and closing --
    def _open(self) -> None:
        if not self.durable:
            self._db = sqlite_open.connect(_MEMORY, None, writer=True)
            sqlite_open.prepare(self._db, self.path, durable=False)
            return
        try:
            sqlite_open.refuse_foreign(self.path)
            known = os.path.exists(self.path + "-head")
            self.witness = Witness(self.path + "-head")
        except OSError as error:
            if isinstance(error, MnemosError):
                raise
            raise StoreUnavailable(
                f"{self.path}: cannot be opened ({error.strerror}); check that the folder may be written and the file is yours"
            ) from error
        try:
            sqlite_open.reserve(self.path)
            unclean = self.witness.first and sqlite_open.left_in_the_middle(self.path)
            self._db = sqlite_open.connect(self.path, self._vfs, writer=True)
            try:
                sqlite_open.prepare(self._db, self.path, durable=True)
                if unclean:
                    sqlite_open.quick_check(self._db, self.path)
                self._compare_with_witness()
            except BaseException:
                self._db.close()
                raise
            self.witness.share()
        except BaseException as error:
            self.witness.close()
            if isinstance(error, FingerprintMismatch) and not known:
                os.unlink(self.witness.path)
            raise

    def _compare_with_witness(self) -> None:
        """Raise `Corrupt` where the log lacks entries that were acknowledged."""
        assert self.witness is not None
        try:
            remembered = self.witness.read()
        except ValueError as damage:
            self.opened_with.append(Finding(self.witness.path, "bytes 0-51", f"the witness is damaged: {damage}; it is written anew"))
            remembered = None
        if remembered is not None:
            found = self._db.execute("SELECT hash FROM log WHERE seq = ?", (remembered.seq,)).get
            if found != remembered.hash and remembered.seq > 0:
                what = "is missing" if found is None else "is another one"
                raise Corrupt(
                    f"{self.path}: log entry {remembered.seq}, which was acknowledged, {what}: the file or its write-ahead log was damaged or "
                    f"replaced. Restore both from a backup; if this file is a backup that you restored on purpose, delete {self.witness.path}"
                )
        self.witness.write(self._head())

    def _head(self) -> Head:
        row = self._db.execute("SELECT seq, hash FROM log ORDER BY seq DESC LIMIT 1").fetchone()
        return Head(*row) if row else Head(0, bytes(32))

    def close(self) -> None:
        """Write the log back into the file and let go of it. A second call does nothing."""
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            with self._idle_lock:
                for connection in self._idle:
                    connection.close()
                self._idle.clear()
            with explained(self.path, "closing the store"):
                self._db.close()
            if self.witness is not None:
                self.witness.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"{self.path}: the store is closed; open it again")

    # -- writing --
    @contextlib.contextmanager
    def transaction(self, actor: str | None = None, *, alone: bool = False) -> Iterator[Writer]:
        """Writes that become durable together when the block ends, or not at all where it raises.

        A transaction inside another of the same thread joins it. `alone` says that the block may take long: others then do not wait for it
        with their commit.
        """
        outer: Writer | None = getattr(self._local, "writer", None)
        if outer is not None:
            previous, outer.actor = outer.actor, actor if actor is not None else outer.actor
            try:
                with self._savepoint(outer):
                    yield outer
            finally:
                outer.actor = previous
            return
        group = None
        with self._turn(counted=not alone):
            self._check_open()
            if alone and self._open_group is not None:
                self._commit()
            if self._open_group is None:
                with explained(self.path, "starting a write"):
                    self._db.execute("BEGIN IMMEDIATE")
                self._open_group = _Group()
            group = self._open_group
            writer = self._local.writer = Writer(self._db, self.path, self._clock, actor)
            try:
                with self._savepoint(writer):
                    yield writer
                group.size += 1
                group.head = writer.head
                group.removed_blobs += writer.removed_blobs
            finally:
                self._local.writer = None
                if self._open_group is group and (alone or self._waiting == 0 or group.size >= GROUP or group.size == 0):
                    self._commit()
        while not group.done.wait(0.05):
            with self._mutex:
                if self._open_group is group and self._waiting == 0:
                    self._commit()
        if group.error is not None:
            raise group.error
        if writer.to_erase is not None:
            self.erase(writer.to_erase)

    @contextlib.contextmanager
    def _turn(self, counted: bool) -> Iterator[None]:
        """Wait for the right to write. While somebody waits, the one before leaves the commit to him."""
        if counted:
            with self._waiting_lock:
                self._waiting += 1
        try:
            self._mutex.acquire()
        finally:
            if counted:
                with self._waiting_lock:
                    self._waiting -= 1
        try:
            yield
        finally:
            self._mutex.release()

    @contextlib.contextmanager
    def _savepoint(self, writer: Writer) -> Iterator[None]:
        mark = writer.mark()
        with explained(self.path, "writing"):
            self._db.execute("SAVEPOINT step")
            try:
                yield
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK TO step")
                    self._db.execute("RELEASE step")
                    writer.back_to(mark)
                else:
                    self._broken(StoreUnavailable(f"{self.path}: the disk failed during a write that shared a commit; nothing of it was kept"))
                raise
            self._db.execute("RELEASE step")

    def _broken(self, error: MnemosError) -> None:
        """SQLite gave up the whole transaction: everybody who shares it must know."""
        group = self._open_group
        self._open_group = None
        if group is not None:
            group.error = error
            group.done.set()

    def _commit(self) -> None:
        """Make the open group durable and tell its members. Errors reach them through the group."""
        group = self._open_group
        self._open_group = None
        assert group is not None
        try:
            with explained(self.path, "committing"):
                self._db.execute("COMMIT")
            if self.witness is not None and group.head is not None:
                self.witness.write(group.head)
            self.blobs.remove(group.removed_blobs)
        except MnemosError as error:
            group.error = error
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        finally:
            group.done.set()

    # -- reading --
    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """A consistent view. Inside a transaction of the same thread it is that transaction, and sees its writes."""
        current: Reader | None = getattr(self._local, "writer", None) or getattr(self._local, "reader", None)
        if current is not None:
            with explained(self.path, "reading"):
                yield current
            return
        if not self.durable:
            with self._mutex, explained(self.path, "reading"):
                self._check_open()
                yield Reader(self._db, self.path)
            return
        connection = self._reader()
        sound = False
        try:
            with explained(self.path, "reading"):
                connection.execute("BEGIN")
                try:
                    reader = self._local.reader = Reader(connection, self.path)
                    yield reader
                finally:
                    self._local.reader = None
                    connection.execute("COMMIT")
                sound = True
        finally:
            with self._idle_lock:
                keep = not self._closed and (sound or not connection.in_transaction)
                if keep:
                    self._idle.append(connection)
            if not keep:
                connection.close()

    @contextlib.contextmanager
    def _alone(self, doing: str) -> Iterator[None]:
        """The writing connection outside any transaction, while no thread of this process writes. Raises `Invalid` inside one."""
        if getattr(self._local, "writer", None) is not None:
            raise Invalid(f"{self.path}: {doing} is not possible inside a transaction; end it first")
        with self._turn(counted=False):
            self._check_open()
            if self._open_group is not None:
                self._commit()
            with explained(self.path, doing):
                yield

    @contextlib.contextmanager
    def _still(self) -> Iterator[None]:
        """No process writes while the block runs."""
        with self._alone("waiting for others to stop writing"):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                self._db.execute("ROLLBACK")

    def _reader(self) -> apsw.Connection:
        with self._idle_lock:
            self._check_open()
            if self._idle:
                return self._idle.pop()
        with explained(self.path, "opening the store for reading"):
            return sqlite_open.connect(self.path, self._vfs, writer=False)

    def position(self) -> int:
        """The newest position of the log."""
        with self.snapshot() as snapshot:
            return snapshot.position

    # -- keeping --
    def verify(self) -> tuple[dict[str, int], list[Finding]]:
        """Check chain, rows, lineage, blobs, and the files themselves: (what was checked, what is wrong)."""
        findings = list(self.opened_with)
        with self.snapshot() as snapshot:
            assert isinstance(snapshot, Reader)
            checked, more = verify_rows(snapshot, self.path, self.blobs)
        findings += more
        if self.durable:
            with self._still():
                checked["wal_frames"] = verify_write_ahead_log(Path(self.path + "-wal"), findings)
        return checked, findings

    def erase(self, texts: Sequence[bytes] = ()) -> None:
        """After a forget: put the log back into the file, cut it, and leave no trace of `texts` in any file of the store.

        Inside a transaction of this thread, that is done once the transaction is durable.
        """
        if not self.durable:
            return
        writer: Writer | None = getattr(self._local, "writer", None)
        if writer is not None:
            writer.to_erase = [*(writer.to_erase or ()), *texts]
            return
        with self._alone("erasing what was forgotten"):
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            if left_behind(self.path, texts):
                self._db.execute("VACUUM")
                self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def compact(self, spare_bytes: int = 2**22) -> None:
        """Give pages that hold nothing back to the file system, where they are more than `spare_bytes`."""
        if not self.durable:
            return
        with self._alone("compacting"):
            free = self._db.pragma("freelist_count") * self._db.pragma("page_size")
            if free > spare_bytes:
                self._db.execute("PRAGMA incremental_vacuum").fetchall()
                self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
