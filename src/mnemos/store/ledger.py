"""The ledger of what was forgotten: ids only, in a file beside the store, so that an older backup, put in the store's place, forgets it again.

The store's table `forgotten` is the truth; this file is a second, append-only copy of it that a backup of the database alone does not bring
back to an older day. Each record is an id and its CRC-32; a record that does not check (a torn write, a flipped bit) says nothing.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from uuid import UUID

try:
    import fcntl
except ImportError:  # no advisory locks of this kind here
    fcntl = None  # type: ignore[assignment]

_MAGIC = b"MNEMFGT1"
_HEADER = len(_MAGIC) + 16
_RECORD = 20


class ForgottenLedger:
    """The ledger of the store `store_id` (16 bytes) in the file `path`, which is made at the first forget."""

    def __init__(self, path: str, store_id: bytes) -> None:
        self.path = path
        self._store_id = store_id

    def count(self) -> int:
        """How many records there are, sound or not; 0 for another store's ledger."""
        try:
            with open(self.path, "rb") as file:
                if file.read(_HEADER) != _MAGIC + self._store_id:
                    return 0
                return (os.fstat(file.fileno()).st_size - _HEADER) // _RECORD
        except FileNotFoundError:
            return 0

    def ids(self) -> set[UUID]:
        """The ids in it. Raises `OSError`."""
        try:
            with open(self.path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return set()
        if data[:_HEADER] != _MAGIC + self._store_id:
            return set()
        records = (data[at : at + _RECORD] for at in range(_HEADER, len(data) - _RECORD + 1, _RECORD))
        return {UUID(bytes=record[:16]) for record in records if zlib.crc32(record[:16]) == int.from_bytes(record[16:], "big")}

    def append(self, ids: Iterable[UUID]) -> None:
        """Write more ids, durable when this returns. Raises `OSError`; what is missing then is written at the next opening."""
        records = b"".join(id.bytes + zlib.crc32(id.bytes).to_bytes(4, "big") for id in ids)
        if not records:
            return
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # until it is closed: other processes forget, too
            if os.pread(descriptor, _HEADER, 0) != _MAGIC + self._store_id:  # new, or left by another store that lay here
                os.ftruncate(descriptor, 0)
                records = _MAGIC + self._store_id + records
                end = 0
            else:
                end = _HEADER + (os.fstat(descriptor).st_size - _HEADER) // _RECORD * _RECORD  # over a torn record
            os.pwrite(descriptor, records, end)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
