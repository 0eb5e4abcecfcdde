"""Noticing that somebody has committed: at once where it was this process, soon after where it was another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import apsw

from mnemos.base.errors import StoreUnavailable

SHORTEST, LONGEST = 0.0005, 0.02
"""Seconds between two looks at the file: the first, and, each half as long again as the one before, the longest."""


class Watch:
    """Looks at one store. `connect` gives a connection to its file that nobody else uses; None for a store in memory."""

    def __init__(self, path: str, connect: Callable[[], apsw.Connection] | None) -> None:
        self._path = path
        self._connect = connect
        self._connection: apsw.Connection | None = None
        self._looking = threading.Lock()
        self._committed = threading.Condition()
        self._commits = 0
        self._closed = False

    def committed(self) -> None:
        """This process has committed."""
        with self._committed:
            self._commits += 1
            self._committed.notify_all()

    def changes(self) -> int:
        """A number that is another one after each commit. Raises `StoreUnavailable` once the store is closed."""
        with self._looking:
            if self._closed:
                raise StoreUnavailable(f"{self._path}: the store is closed; open it again")
            if self._connect is None:
                return self._commits
            if self._connection is None:
                self._connection = self._connect()
            return int(self._connection.pragma("data_version"))

    def wait(self, seen: int, seconds: float, unless: Callable[[], bool]) -> int:
        """Wait until `changes()` is not `seen` any more, for at most `seconds`, and no longer than until `unless()` is true; give it."""
        deadline, pause = time.monotonic() + seconds, SHORTEST
        while True:
            with self._committed:
                commits = self._commits
            found = self.changes()
            left = deadline - time.monotonic()
            if found != seen or left <= 0 or unless():
                return found
            with self._committed:
                if self._commits == commits and not self._closed:
                    self._committed.wait(min(pause, left))
            pause = min(pause * 1.5, LONGEST)

    def close(self) -> None:
        """Wake everybody who waits."""
        with self._looking:
            self._closed = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None
        with self._committed:
            self._committed.notify_all()
