"""The SQLite driver of the `Store` seam: one file, one writer with group commit, many readers with snapshots.

A write is durable when its transaction ends: WAL with `synchronous=FULL`, one sync of the disk for each commit. Threads that write at the
same time share a commit; processes take turns.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import apsw

from mnemos.base.clock import Clock, system_clock
from mnemos.base.errors import Conflict, Corrupt, FingerprintMismatch, Invalid, MnemosError, StoreFull, StoreUnavailable, WrongKey
from mnemos.store import schema, sqlite_erase, sqlite_jobs, sqlite_open
from mnemos.store.base import Finding
from mnemos.store.blobs import Blobs, FileBlobs, MemoryBlobs
from mnemos.store.ledger import ForgottenLedger
from mnemos.store.sqlite_faults import Severed, explain, explain_os, explain_system, explained
from mnemos.store.sqlite_read import Reader
from mnemos.store.sqlite_verify import verify_pages, verify_rows, verify_write_ahead_log
from mnemos.store.sqlite_watch import Watch
from mnemos.store.sqlite_write import Mark, Spaces, Writer
from mnemos.store.witness import Head, Witness

if TYPE_CHECKING:
    from mnemos.store.sqlite_keys import Keeper

GROUP = 64
"""At most this many transactions share one commit."""

_MEMORY = ":memory:"
_ANOTHERS = (FingerprintMismatch, WrongKey, Conflict)  # nothing is wrong with the file: it is not for whoever opened it so


class _Group:
    """Transactions that are to become durable in one commit."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.size = 0
        self.error: MnemosError | None = None
        self.newest: tuple[int, bytes, int] | None = None
        """Position, hash and time of the entry that the last member wrote last."""
        self.removed_blobs: list[str] = []
        self.forgotten: list[UUID] = []
        self.new_embedder = False  # so no member remembers its number before it is durable
        self.token: bytes | None = None  # of the last member that wrote what the log does not tell of


class SqliteStore:
    """A store in the file `location`, or in memory for ":memory:". Implements `Store`.

    `key` opens a sealed store, and seals a new one (`store.keys.Key`). `vfs` names another SQLite VFS to stand on (fault injection does that).
    Raises `StoreUnavailable`, `Corrupt`, `FingerprintMismatch`, `WrongKey`.
    """

    def __init__(self, location: str, *, clock: Clock = system_clock, vfs: str | None = None, key: object | None = None) -> None:
        self.durable = location != _MEMORY
        self.path = str(sqlite_open.resolve(location)) if self.durable else _MEMORY
        self.clock = clock
        self.vfs = vfs or (sqlite_open.checksum_vfs() if self.durable else None)
        self._mutex = threading.RLock()
        self._waiting = 0
        self._waiting_lock = threading.Lock()
        self._open_group: _Group | None = None
        self._local = threading.local()
        self._spaces = Spaces()
        self._erasing = sqlite_erase.Erasing()
        self._idle: list[apsw.Connection] = []
        self._idle_lock = threading.Lock()
        self._closed = False
        self.opened_with: list[Finding] = []
        self.witness: Witness | None = None
        self._witness_failure: Finding | None = None
        self._ledger: ForgottenLedger | None = None
        self.to_forget_again: list[UUID] = []
        """Cubes that are in this file, which is an older one, and were forgotten in a newer one."""
        self.blobs: Blobs = FileBlobs(self.path + "-blobs") if self.durable else MemoryBlobs()
        self._watch = Watch(self.path, self._reader if self.durable else None)
        self.keeper = self._keeper(key)
        with explained(self.path, "opening the store"):
            self._open()

    # -- opening and closing --
    def _keeper(self, key: object | None) -> Keeper | None:
        """Who looks after the keys; None for a store that is not sealed."""
        if key is None:
            return None
        if not self.durable:
            raise Invalid("key: a store in memory has no file to seal; open it without a key")
        from mnemos.store.sqlite_keys import Keeper

        return Keeper(self.path, key)

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
            raise explain_os(error, self.path, "opening the store") from error
        try:
            with explain_system(self.path, "opening the store"):
                sqlite_open.reserve(self.path)
            unclean = self.witness.first and sqlite_open.left_in_the_middle(self.path)
            self._db = sqlite_open.connect(self.path, self.vfs, writer=True)
            try:
                new = sqlite_open.prepare(self._db, self.path, durable=True, born=self.keeper.born if self.keeper else None)
                self._unlock(new)
                if unclean:
                    sqlite_open.quick_check(self._db, self.path)
                self._compare_with_witness()
                if self.witness.first:
                    self._tidy(unclean)
                if self.keeper is not None:
                    self._put_keys_in_order(self.keeper)
                self._compare_with_ledger()
            except BaseException as error:
                # What is damaged stays as it is, for whoever may restore it: closing must not write the log back and delete it.
                if unclean or not isinstance(error, _ANOTHERS):
                    self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
                self._db.close()
                raise
            self.witness.share()
        except BaseException as error:
            self.witness.close()
            if isinstance(error, _ANOTHERS) and not known:
                os.unlink(self.witness.path)
            raise

    def _unlock(self, new: bool) -> None:
        """Get at the keys, where the store is sealed. Raises `WrongKey`, and `Conflict` where a key is given and the store is not sealed."""
        sealed = schema.is_sealed(self._db)
        if self.keeper is None:
            if sealed:
                raise WrongKey(f"{self.path}: the store is sealed; open it with its key (key=…, --key-file, or MNEMOS_KEY)")
            return
        if not sealed:
            raise Conflict(f"{self.path}: a key was given, but the store is not sealed; seal it with `mnemos seal`, or open it without a key")
        if new:
            self.keeper.settle()
        else:
            self.keeper.open(self._db)
        self.blobs = self.keeper.blobs()

    def _put_keys_in_order(self, keeper: Keeper) -> None:
        """Finish what a killed process left of destroying keys, and what a backup brought out of step."""
        lost, behind = keeper.reconcile(self._db)
        if lost:
            with self.transaction() as writer:
                keeper.forget_lost(writer, lost)
        elif behind or keeper.doomed(self._db):
            with contextlib.suppress(StoreFull):  # a full disk must not keep anybody from reading
                keeper.shred(self._db)

    def _reading(self, connection: apsw.Connection) -> Reader:
        return Reader(connection, self.path) if self.keeper is None else self.keeper.reader(connection)

    def _writing(self, actor: str | None, newest: tuple[int, bytes, int] | None) -> Writer:
        if self.keeper is None:
            return Writer(self._db, self.path, self.clock, actor, self._spaces, newest)
        return self.keeper.writer(self._db, self.clock, actor, self._spaces, newest)

    def _tidy(self, unclean: bool) -> None:
        """Finish what a killed process left undone: its write-ahead log, its half-made blobs, its half-erased forgets."""
        self._erasing.inherit(self._db)
        try:
            with explained(self.path, "opening the store"), explain_system(self.path, "opening the store"):
                if unclean:
                    sqlite_erase.cut_log(self._db)
                    sqlite_erase.clear_index(self._db)
                sqlite_jobs.release_all(self._db)
                reader = self._reading(self._db)  # who dies between a payload and its row may have written nothing else
                if unclean or self._erasing.left or self.blobs.stray(reader.blob_names(searched=False)):
                    self.blobs.tidy(reader.blob_names())
                self._erasing.catch_up(self._db, self.path)
        except StoreFull:
            pass  # a full disk must not keep anybody from reading; the next erase, or the next open, goes on

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
        self._remember(self._head())

    def _remember(self, head: Head) -> None:
        """Write the witness. Where that fails it lags, which is safe: it proves less, and `verify` says so."""
        assert self.witness is not None
        try:
            self.witness.write(head)
            self._witness_failure = None
        except OSError as error:
            problem = f"could not be written ({error.strerror}): the newest changes are not guarded; free space, or check its permissions"
            self._witness_failure = Finding(self.witness.path, "whole file", problem)

    def _enter(self, forgotten: Sequence[UUID]) -> None:
        """Write to the ledger what was forgotten. Where that fails it lags, and the next opening writes what is missing."""
        if self._ledger is not None:
            with contextlib.suppress(OSError):
                self._ledger.append(forgotten)

    def _compare_with_ledger(self) -> None:
        """Bring the ledger up to date, and write it anew where it is damaged; where the file is older than it, note what is to be forgotten again."""
        self._ledger = ForgottenLedger(self.path + "-forgotten", bytes(self._db.execute("SELECT value FROM store WHERE key = 'id'").get))
        known: int = self._db.execute("SELECT count(*) FROM forgotten").get
        with explain_system(self.path, "opening the store"):
            damage = self._ledger.damage()
            if not damage and self._ledger.count() == known:
                return
            entered = self._ledger.ids()
        self.opened_with += [Finding(self._ledger.path, place, f"{problem}; it is written anew from the store") for place, problem in damage]
        gone = {UUID(bytes=key) for (key,) in self._db.execute("SELECT id FROM forgotten")}
        if damage:
            with contextlib.suppress(OSError):  # tried again at the next opening
                self._ledger.renew(sorted(gone))
        else:
            self._enter(sorted(gone - entered))
        self.to_forget_again = sorted(id for id in entered - gone if self._db.execute("SELECT 1 FROM cube WHERE id = ?", (id.bytes,)).get)

    def _head(self) -> Head:
        row = self._db.execute("SELECT seq, hash FROM log ORDER BY seq DESC LIMIT 1").fetchone()
        return Head(*row) if row else Head(0, bytes(32))

    def close(self) -> None:
        """Write the log back into the file and let go of it. A second call does nothing."""
        self._refuse_inside("closing the store")
        with self._mutex:
            if self._closed:
                return
            if self._open_group is not None:
                self._commit()
            self._closed = True
            self._watch.close()
            with self._idle_lock:
                for connection in self._idle:
                    connection.close()
                self._idle.clear()
            try:
                with explained(self.path, "closing the store"):
                    self._db.close()
            finally:
                if self.witness is not None:
                    self.witness.close()

    @property
    def inside(self) -> bool:
        """Whether this thread is inside a transaction: nobody else writes then, and whoever holds a lock may be waiting to."""
        return getattr(self._local, "writer", None) is not None

    def _refuse_inside(self, doing: str) -> None:
        """Raise `Invalid` inside a transaction of this thread, which `doing` would tear apart."""
        if self.inside:
            raise Invalid(f"{self.path}: {doing} is not possible inside a transaction; end it first")

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
        with self._turn(counted=not alone):
            group = self._join(alone)
            try:
                with explained(self.path, "starting a write"):
                    writer = self._local.writer = self._writing(actor, group.newest)
                    writer.new_embedder = group.new_embedder
                with self._savepoint(writer) if group.size else self._first(group):
                    yield writer
                group.size += 1
                group.newest = writer.newest()
                group.removed_blobs += writer.removed_blobs
                group.forgotten += writer.forgotten_ids
                group.new_embedder = writer.new_embedder
                group.token = writer.token or group.token
            finally:
                self._local.writer = None
                if self._open_group is group and (alone or self._waiting == 0 or group.size >= GROUP or group.size == 0):
                    self._commit()
        while not group.done.wait(0.05):
            with self._mutex:
                if self._open_group is group:  # he who was to come and commit has not come
                    self._commit()
        if group.error is not None:
            raise group.error
        self._local.forgets = [*getattr(self._local, "forgets", ()), *writer.forgets]
        if writer.dooms:
            self._shred()
        try:
            for act in writer.afterwards:
                act()
        finally:
            if writer.to_erase is not None:
                self.erase(writer.to_erase)

    def _join(self, alone: bool) -> _Group:
        """The group that the next transaction belongs to."""
        self._check_open()
        if alone and self._open_group is not None:
            self._commit()
        if self._open_group is None:
            with explained(self.path, "starting a write"):
                if self._db.in_transaction:  # somebody was interrupted between two steps
                    self._db.execute("ROLLBACK")
                self._db.execute("BEGIN IMMEDIATE")
            self._open_group = _Group()
        return self._open_group

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
    def _first(self, group: _Group) -> Iterator[None]:
        """The first transaction of a group: where it raises, nothing else is undone with it, so it needs no savepoint."""
        with explained(self.path, "writing"):
            try:
                yield
            except BaseException:
                self._roll_back()
                if self._open_group is group:
                    self._open_group = None
                raise

    @contextlib.contextmanager
    def _savepoint(self, writer: Writer) -> Iterator[None]:
        """A part of a transaction that is kept whole or undone whole."""
        mark = writer.mark()
        with explained(self.path, "writing"):
            writer.connection.execute("SAVEPOINT step")
            try:
                yield
                writer.connection.execute("RELEASE step")
            except BaseException:
                self._undo(writer, mark)
                raise

    def _undo(self, writer: Writer, mark: Mark) -> None:
        """Take back what `writer` did since `mark`; where SQLite cannot, or gave up the whole transaction, give up the group."""
        writer.back_to(mark)
        if self._db.in_transaction:
            try:
                self._db.execute("ROLLBACK TO step")
                self._db.execute("RELEASE step")
                return
            except apsw.Error:
                self._roll_back()
        error = StoreUnavailable(f"{self.path}: the disk failed during a write that shared this commit; nothing of it was kept, try again")
        writer.sever(Severed(error))
        group, self._open_group = self._open_group, None
        if group is not None:
            group.error = error
            group.done.set()

    def _roll_back(self) -> None:
        """End the transaction without its changes, whatever the disk says: SQLite forgets them even where it reports an error."""
        if self._db.in_transaction:
            with contextlib.suppress(apsw.Error):
                self._db.execute("ROLLBACK")

    def _commit(self) -> None:
        """Make the open group durable and tell its members. Errors reach them through the group."""
        group = self._open_group
        assert group is not None
        error: MnemosError | None = None
        said = False
        try:
            self._db.execute("COMMIT")
            said = True
        except apsw.Error as failure:
            error = explain(failure, self.path, "committing")
        finally:  # also after an interrupt, which can come before SQLite began, or when it had finished
            if said or self._kept(group):
                error = None
                if self.witness is not None and group.newest is not None:
                    self._remember(Head(*group.newest[:2]))
                self._enter(group.forgotten)
                try:
                    self.blobs.remove(group.removed_blobs)
                except MnemosError as failure:
                    error = failure
            else:
                self._roll_back()
                error = error or StoreUnavailable(f"{self.path}: interrupted before the commit; nothing was kept")
            self._open_group = None
            group.error = error
            group.done.set()
            self._watch.committed()

    def _kept(self, group: _Group) -> bool:
        """Whether the store, as it is outside any transaction, holds what the group wrote."""
        if self._db.in_transaction:
            return False
        try:
            if group.newest is not None and group.newest[0] > 0:
                found = self._db.execute("SELECT hash FROM log WHERE seq = ?", group.newest[:1]).get
                if found != group.newest[1]:
                    return False
            if group.token is not None:
                return bool(self._db.execute("SELECT value FROM store WHERE key = 'newest unlogged'").get == group.token)
        except apsw.Error:
            return False
        return True

    # -- reading --
    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """A consistent view. Inside a transaction of the same thread it is that transaction, and sees its writes."""
        current: Reader | None = getattr(self._local, "writer", None) or getattr(self._local, "reader", None)
        if current is not None:
            with explained(self.path, "reading"):
                yield current
            return
        with self.committed() as reader:
            yield reader

    @contextlib.contextmanager
    def committed(self) -> Iterator[Reader]:
        """A consistent view of what is durable now, also inside a transaction or another snapshot of this thread. (A store in memory has but one
        view.)"""
        if not self.durable:
            with self._mutex, explained(self.path, "reading"):
                self._check_open()
                yield self._reading(self._db)
            return
        connection = self._reader()
        sound = False
        try:
            with explained(self.path, "reading"):
                connection.execute("BEGIN")
                outer = getattr(self._local, "reader", None)
                try:
                    reader = self._local.reader = self._reading(connection)
                    yield reader
                finally:
                    self._local.reader = outer
                    if connection.in_transaction:  # SQLite ends it by itself where it meets damage
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
        self._refuse_inside(doing)
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
                self._roll_back()

    @contextlib.contextmanager
    def exclusively(self, doing: str) -> Iterator[apsw.Connection]:
        """The writing connection inside a transaction of its own, which is not of the log's making: durable where the block ends."""
        with self._alone(doing):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise
            if self.witness is not None:
                self._remember(self._head())

    def _reader(self) -> apsw.Connection:
        with self._idle_lock:
            self._check_open()
            if self._idle:
                return self._idle.pop()
        with explained(self.path, "opening the store for reading"):
            return sqlite_open.connect(self.path, self.vfs, writer=False)

    def position(self) -> int:
        """The newest position of the log."""
        with self.snapshot() as snapshot:
            return snapshot.position

    def changes(self) -> int:
        """A number that is another one after anybody's commit. Raises `StoreUnavailable` once the store is closed."""
        with explained(self.path, "looking for changes"):
            return self._watch.changes()

    def await_change(self, seen: int, seconds: float, unless: Callable[[], bool] = lambda: False) -> int:
        """Wait until `changes()` is not `seen` any more, for at most `seconds`, and no longer than until `unless()` is true; give it.

        Raises `StoreUnavailable` once the store is closed.
        """
        with explained(self.path, "looking for changes"):
            return self._watch.wait(seen, seconds, unless)

    # -- keeping --
    def verify(self) -> tuple[dict[str, int], list[Finding]]:
        """Check chain, rows, lineage, blobs, and the files themselves: (what was checked, what is wrong)."""
        self._refuse_inside("verifying")
        findings = [*self.opened_with, *([self._witness_failure] if self._witness_failure else []), *(self.keeper.verify() if self.keeper else [])]
        checked: dict[str, int] = {}
        try:
            with self.snapshot() as snapshot:
                assert isinstance(snapshot, Reader)
                checked, more = verify_rows(snapshot, self.path, self.blobs)
                findings += more
        except Corrupt as damage:
            findings.append(Finding(self.path, "rows", str(damage)))
        if self._ledger is not None:
            with explain_system(self.path, "verifying"):
                findings += [Finding(self._ledger.path, place, problem) for place, problem in self._ledger.damage()]
        if self.durable:
            try:
                with self._still():
                    checked["pages"] = verify_pages(Path(self.path), findings)
                    checked["wal_frames"] = verify_write_ahead_log(self.path, findings)
            except Corrupt as damage:
                findings.append(Finding(self.path, "pages", str(damage)))
        return checked, findings

    def erase(self, texts: Sequence[bytes] = ()) -> None:
        """After a forget: put the log back into the file, cut it, and leave no trace of `texts` in any file of the store.

        Inside a transaction of this thread, that is done once the transaction is durable. Raises `StoreFull`, `StoreUnavailable`: what was
        forgotten stays forgotten then, and the next erase, or the next open, does what is left to do.
        """
        if not self.durable:
            return
        writer: Writer | None = getattr(self._local, "writer", None)
        if writer is not None:
            writer.to_erase = [*(writer.to_erase or ()), *texts]
            return
        outcome = "it is forgotten for good, but traces may lie in the files until the next forget, or the next open, removes them"
        doing = "erasing what was forgotten"
        with self._alone(doing), explained(self.path, doing, outcome):
            self._erasing.erase(self._db, self.path, texts, self._local.__dict__.pop("forgets", []))

    def when_durable(self, act: Callable[[], object]) -> None:
        """Call `act` now, or, inside a transaction of this thread, once that is durable: never where it is undone."""
        writer: Writer | None = getattr(self._local, "writer", None)
        if writer is None:
            act()
        else:
            writer.afterwards.append(act)

    def living_keys(self, names: Sequence[str]) -> list[str]:
        """Those of the keys of that name (era:slot:cube) that can be had from the key file; none where the store is not sealed. Raises `Invalid`."""
        return [] if self.keeper is None or not names else self.keeper.living(names)

    def _shred(self) -> None:
        """Destroy the keys of what was forgotten. Raises `StoreFull`, `StoreUnavailable`."""
        assert self.keeper is not None
        doing = "destroying the keys of what was forgotten"
        with self._alone(doing):
            if self.keeper.doomed(self._db):  # else another thread's turn has done it
                try:
                    self.keeper.shred(self._db)
                except MnemosError as error:
                    raise type(error)(f"{error}. It is forgotten for good; its keys are destroyed by the next forget, or the next open") from error

    def compact(self, spare_bytes: int = 2**22) -> None:
        """Give pages that hold nothing back to the file system, where they are more than `spare_bytes`."""
        if not self.durable:
            return
        with self._alone("compacting"):
            free = self._db.pragma("freelist_count") * self._db.pragma("page_size")
            if free > spare_bytes:
                self._db.execute("PRAGMA incremental_vacuum").fetchall()
                with contextlib.suppress(apsw.BusyError):  # another process is at it
                    self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
