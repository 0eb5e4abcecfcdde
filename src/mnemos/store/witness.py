"""The witness: a small file beside the store that remembers the newest acknowledged log entry.

A write-ahead log that was cut or damaged reads, to SQLite, like one that simply ends earlier: acknowledged writes would vanish without a
word. The witness is written after each commit (not synced: it never runs ahead of the log), so a log that is shorter than its witness, or
another log altogether, is noticed at the next open. It also carries the lock that tells whether some process has the store open.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from dataclasses import dataclass

from mnemos.base.errors import StoreUnavailable

try:
    import fcntl
except ImportError:  # no advisory locks of this kind here; every open then counts as the first
    fcntl = None  # type: ignore[assignment]
_LOCKS: bool = fcntl is not None

_RECORD = struct.Struct(">8sQ32sI")
_MAGIC = b"mnemos\x00\x01"
_OPENING_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Head:
    """The newest entry: its position and its hash."""

    seq: int
    hash: bytes


class Witness:
    """The witness file at `path`. `first` says that no other process had the store open when this one came."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            self.first = self._lock()
        except BaseException:
            os.close(self._fd)
            raise

    def _lock(self) -> bool:
        """Alone with the store (True), or let in by those who have it open (False). Waits while another is opening it."""
        deadline = time.monotonic() + _OPENING_SECONDS
        while _LOCKS:
            for way in (fcntl.LOCK_EX, fcntl.LOCK_SH):
                try:
                    fcntl.flock(self._fd, way | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                return bool(way == fcntl.LOCK_EX)
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"{self.path}: another process has been opening the store for {_OPENING_SECONDS:.0f} s; try again")
            time.sleep(0.001)
        return True

    def share(self) -> None:
        """Opening is done: others may come in. They see that somebody is here."""
        if _LOCKS:
            fcntl.flock(self._fd, fcntl.LOCK_SH)

    def alone(self) -> bool:
        """Whether nobody else has the store open; from then on nobody comes in, until `share`."""
        try:
            if _LOCKS:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def read(self) -> Head | None:
        """The remembered head; None where none was ever written. Raises `ValueError` where the file's bytes are damaged."""
        record = os.pread(self._fd, _RECORD.size + 1, 0)
        if not record:
            return None
        if len(record) != _RECORD.size:
            raise ValueError(f"{len(record)} bytes instead of {_RECORD.size}")
        magic, seq, digest, crc = _RECORD.unpack(record)
        if magic != _MAGIC or crc != zlib.crc32(record[:-4]):
            raise ValueError("the checksum does not match")
        return Head(seq, digest)

    def write(self, head: Head) -> None:
        """Remember `head`. Raises `OSError`."""
        body = _RECORD.pack(_MAGIC, head.seq, head.hash, 0)[:-4]
        os.pwrite(self._fd, body + zlib.crc32(body).to_bytes(4, "big"), 0)

    def close(self) -> None:
        os.close(self._fd)
