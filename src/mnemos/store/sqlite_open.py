"""Opening a SQLite file with care: the file system, the checksums, the settings, the schema, and the state it was left in."""

from __future__ import annotations

import functools
import os
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import apsw
import apsw.sqlite_extra

from mnemos.base.cube import check_text
from mnemos.base.errors import Corrupt, FingerprintMismatch, Invalid, StoreUnavailable
from mnemos.store import schema

BUSY_SECONDS = 60.0
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "beegfs", "gpfs", "9p", "glusterfs"}
_CHECKSUM_VFS = "cksmvfs"
_ESCAPED = re.compile(r"\\([0-7]{3})")  # how the mount table writes blanks, tabs, line ends and backslashes
_MAGIC = b"SQLite format 3\x00"


@functools.cache
def checksum_vfs() -> str:
    """SQLite's page-checksum VFS, registered once in the process."""
    keeper = apsw.Connection(":memory:")
    try:
        apsw.sqlite_extra.load(keeper, "cksumvfs")
    except (LookupError, apsw.sqlite_extra.NotAvailable) as error:
        raise StoreUnavailable(f"this build of apsw brings no checksum VFS ({error}); install apsw >= 3.51 from the package index") from None
    return _CHECKSUM_VFS


def file_system(path: Path) -> str | None:
    """The type of the file system that holds `path`, as the kernel's mount table names it; None where there is no such table."""
    try:
        table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    best, kind = "", None
    target = str(path)
    for line in table.splitlines():
        left, _, right = line.partition(" - ")
        mount = _ESCAPED.sub(lambda escape: chr(int(escape[1], 8)), left.split()[4])
        inside = target == mount or target.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, right.split()[0]
    return kind


def refuse_network(path: Path) -> None:
    """Raise `StoreUnavailable` where the file would lie on a network file system: locks and write-ahead logs do not hold there."""
    kind = file_system(path.parent.resolve())
    if kind and (kind in _NETWORK or kind.removeprefix("fuse.") in _NETWORK | {"sshfs"}):
        raise StoreUnavailable(
            f"{path}: lies on a network file system ({kind}), where SQLite's locks do not hold; keep the store on a local disk, or use PostgreSQL"
        )


def resolve(location: str) -> Path:
    """The absolute path of a store's file, symbolic links followed: SQLite keeps its other files beside the real one. Raises where it
    cannot be one."""
    check_text(location, "store path")
    if "\x00" in location or not location.strip():
        raise Invalid("store path: is empty or holds a NUL character")
    try:
        path = Path(location).expanduser().resolve()
        folder, inside = path.is_dir(), path.parent.is_dir()
    except (OSError, RuntimeError) as error:
        raise StoreUnavailable(f"store path: {location[:200]!r} leads nowhere ({error})") from None
    if folder:
        raise Invalid(f"{path}: is a folder; give a file, such as {path / 'memory.db'}")
    if not inside:
        raise StoreUnavailable(f"{path}: the folder {path.parent} does not exist; create it first")
    refuse_network(path)
    return path


def refuse_foreign(path: str) -> None:
    """Raise `FingerprintMismatch` where a file lies at `path` that is no database and, having no witness, never was a store."""
    if os.path.exists(path + "-head") or not os.path.exists(path):
        return
    with open(path, "rb") as file:
        start = file.read(len(_MAGIC))
    if start and start != _MAGIC:
        raise FingerprintMismatch(f"{path}: is no Mnemos store; choose another path")


def reserve(path: str) -> None:
    """Make the empty file, where there is none, so that nobody but its owner reads it; SQLite gives its other files the same mode."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600))
    except FileExistsError:
        pass


def _wait(deadlines: dict[int, float], key: int, attempt: int) -> bool:
    """SQLite's busy handler: wait a moment, for at most `BUSY_SECONDS` in a row."""
    now = time.monotonic()
    if attempt == 0:
        deadlines[key] = now + BUSY_SECONDS
    if now > deadlines[key]:
        return False
    time.sleep(random.uniform(0.0002, 0.002))
    return True


def connect(path: str, vfs: str | None, *, writer: bool) -> apsw.Connection:
    """A connection with the settings that every connection to a store has."""
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOMUTEX | (apsw.SQLITE_OPEN_CREATE if writer else 0)
    connection = apsw.Connection(path, flags=flags, vfs=vfs, statementcachesize=200)
    deadlines: dict[int, float] = {}
    connection.set_busy_handler(functools.partial(_wait, deadlines, 0))
    connection.execute(
        "PRAGMA synchronous=FULL; PRAGMA secure_delete=ON; PRAGMA foreign_keys=OFF; PRAGMA temp_store=MEMORY; "
        f"PRAGMA cache_size=-{32_768 if writer else 16_384}; PRAGMA recursive_triggers=OFF; PRAGMA trusted_schema=OFF"
    ).fetchall()
    return connection


def prepare(connection: apsw.Connection, path: str, *, durable: bool, born: Callable[[apsw.Connection, bytes], None] | None = None) -> bool:
    """Make the file a store, or bring it up to date; gives whether it is new. `durable` is False for a store in memory; `born` is called with a
    new store's id in the transaction that makes it."""
    # Checked before anything is set: a file of somebody else's stays as it is.
    if durable and schema.check(connection, path) == 0:
        connection.reserve_bytes("main", schema.CHECKSUM_BYTES)
        connection.execute(f"PRAGMA page_size={schema.PAGE_SIZE}; PRAGMA auto_vacuum=INCREMENTAL").fetchall()
    if durable:
        mode = connection.pragma("journal_mode", "wal")
        if mode != "wal":
            raise StoreUnavailable(f"{path}: this file system does not carry a write-ahead log (journal mode stays {mode}); use a local disk")
        connection.execute("PRAGMA wal_autocheckpoint=1000; PRAGMA journal_size_limit=16777216").fetchall()
    if durable and connection.reserve_bytes("main", -1) != schema.CHECKSUM_BYTES:
        raise Corrupt(f"{path}: byte 20 of its header is damaged, which would switch the checksums of all pages off; restore a backup")
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = schema.check(connection, path)
        if version == 0:
            schema.create(connection)
            id = os.urandom(16)
            connection.execute("INSERT INTO store VALUES('id', ?)", (id,))
            if born is not None:
                born(connection, id)
        else:
            schema.migrate(connection, version)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return version == 0


def quick_check(connection: apsw.Connection, path: str) -> None:
    """After a stop in the middle of work: raise `Corrupt` where the file's structure does not hold."""
    problems = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
    if problems != ["ok"]:
        raise Corrupt(f"{path}: after an unclean stop the file does not check ({'; '.join(map(str, problems))}); restore a backup")


def left_in_the_middle(path: str) -> bool:
    """Whether a write-ahead log lies beside the file: the last process did not close it."""
    try:
        return os.path.getsize(path + "-wal") > 0
    except OSError:
        return False
