"""Leaving no trace of what was forgotten in the files of a SQLite store, also where a process dies in the middle of it.

Every forget leaves a marker in its own transaction, and the marker goes when its traces are gone. A marker that is found at opening belongs
to a process that was killed between the two: the texts are not known any more, so the whole file is rebuilt.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterable, Sequence

import apsw

from mnemos.store.residue import left_behind
from mnemos.store.sqlite_open import BUSY_SECONDS

REBUILT_AT_OPENING = 64 * 2**20
"""A larger file is rebuilt by the next erase instead, so that opening stays quick (bytes)."""

_MARKER = "forgotten at "


def mark(connection: apsw.Connection, position: int) -> None:
    """Note, inside the transaction that forgets, that what the log's entry `position` forgot is to be erased."""
    connection.execute("INSERT INTO store VALUES(?, NULL)", (f"{_MARKER}{position}",))


def cut_log(connection: apsw.Connection) -> None:
    """Put the write-ahead log back into the file, all of it, and cut it to nothing. Raises `apsw.BusyError` after `BUSY_SECONDS`.

    Where another process is doing the same, SQLite says so at once, and does not call its busy handler: so we wait here.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            return
        except apsw.BusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.001, 0.005))


def clear_index(connection: apsw.Connection) -> None:
    """Write one frame to the emptied write-ahead log, with which SQLite clears the log's index in the `-shm` file.

    Its recovery of a log without a whole frame copies memory into that file which nobody cleared (`walIndexRecover`: the private copy of an
    index page is filled by the first frame, of which there is none), and this process may have held a forgotten text in it.
    """
    connection.execute("INSERT INTO store VALUES('recoveries', 1) ON CONFLICT DO UPDATE SET value = value + 1")


class Erasing:
    """What is still to be erased. `left` holds the positions of forgets whose texts nobody knows any more."""

    def __init__(self) -> None:
        self.left: set[int] = set()

    def inherit(self, connection: apsw.Connection) -> None:
        """Find what a process that was killed left. No other process may have the store open."""
        rows = connection.execute("SELECT key FROM store WHERE key >= ? AND key < ?", (_MARKER, _MARKER + "a"))
        self.left = {int(key[len(_MARKER) :]) for (key,) in rows}

    def catch_up(self, connection: apsw.Connection, path: str) -> None:
        """Erase what was left, where the file is small enough to do it at opening."""
        if self.left and os.path.getsize(path) <= REBUILT_AT_OPENING:
            self.erase(connection, path, (), ())

    def erase(self, connection: apsw.Connection, path: str, texts: Sequence[bytes], forgets: Sequence[int]) -> None:
        """Leave no trace of `texts`, which the entries `forgets` forgot, nor of what was left. Raises `apsw.Error`; then it is all left."""
        unknown = bool(self.left)
        self.left.update(forgets)
        cut_log(connection)
        if unknown or left_behind(path, texts):
            connection.execute("VACUUM")
            cut_log(connection)
        with contextlib.suppress(apsw.Error):  # the traces are gone; a marker that stays costs one rebuild, no more
            _unmark(connection, self.left)
            self.left.clear()


def _unmark(connection: apsw.Connection, positions: Iterable[int]) -> None:
    """Remove markers. It need not be durable at once: no sync of the disk for it."""
    keys = [(f"{_MARKER}{position}",) for position in positions]
    if not keys:
        return
    connection.execute("PRAGMA synchronous=NORMAL")
    try:
        with connection:
            connection.executemany("DELETE FROM store WHERE key = ?", keys)
    finally:
        connection.execute("PRAGMA synchronous=FULL")
