"""The ledger of what was forgotten: ids only, in a file beside the store, so that an older backup, put in the store's place, forgets it again.

The store's table `forgotten` is the truth; this file is a second, append-only copy of it that a backup of the database alone does not bring
back to an older day. It begins with the store's id, and each record is an id; both carry their CRC-32.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterable, Iterator
from uuid import UUID

try:
    import fcntl
except ImportError:  # no advisory locks of this kind here
    fcntl = None  # type: ignore[assignment]

_MAGIC = b"MNEMFGT1"
_HEADER = len(_MAGIC) + 16 + 4
_RECORD = 20


def _checked(data: bytes) -> bytes:
    return data + zlib.crc32(data).to_bytes(4, "big")


def _sound(record: bytes) -> bool:
    return record == _checked(record[:-4])


def _records(data: bytes) -> Iterator[bytes]:
    """The whole records of a file's bytes."""
    return (data[at : at + _RECORD] for at in range(_HEADER, len(data) - _RECORD + 1, _RECORD))


class ForgottenLedger:
    """The ledger of the store `store_id` (16 bytes) in the file `path`, which is made at the first forget."""

    def __init__(self, path: str, store_id: bytes) -> None:
        self.path = path
        self._header = _checked(_MAGIC + store_id)

    def count(self) -> int:
        """How many whole records there are, sound or not; 0 for a damaged header, and for another store's ledger. Raises `OSError`."""
        data = self._read(_HEADER)
        return (os.path.getsize(self.path) - _HEADER) // _RECORD if data == self._header else 0

    def ids(self) -> set[UUID]:
        """The ids in it, of records that are sound. Raises `OSError`."""
        data = self._read()
        return {UUID(bytes=record[:16]) for record in _records(data) if _sound(record)} if data[:_HEADER] == self._header else set()

    def damage(self) -> list[tuple[str, str]]:
        """(place, what is wrong) for all that does not check. Raises `OSError`."""
        data = self._read()
        if not data:
            return []
        if not _sound(data[:_HEADER]):
            return [(f"bytes 0-{_HEADER - 1}", "the header's checksum does not match")]
        if data[:_HEADER] != self._header:
            return []  # of another store that lay here; the next forget writes this one's
        wrong = [at for at in range(_HEADER, len(data), _RECORD) if not _sound(data[at : at + _RECORD])]
        return [(f"bytes {at}-{min(at + _RECORD, len(data)) - 1}", "the record's checksum does not match") for at in wrong]

    def append(self, ids: Iterable[UUID]) -> None:
        """Write more ids, durable when this returns. Raises `OSError`; what is missing then is written at the next opening."""
        records = b"".join(_checked(id.bytes) for id in ids)
        if not records:
            return
        with self._locked() as descriptor:
            if os.pread(descriptor, _HEADER, 0) != self._header:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, self._header + records, 0)
            else:
                whole = (os.fstat(descriptor).st_size - _HEADER) // _RECORD  # a record that was torn is written over
                os.pwrite(descriptor, records, _HEADER + whole * _RECORD)
            os.fsync(descriptor)

    def renew(self, ids: Iterable[UUID]) -> None:
        """Write the file anew: its sound records, each once, in their order, and then those of `ids` that were not among them. Raises `OSError`.

        Sound records only move towards the beginning, so that a stop in the middle loses none of them.
        """
        with self._locked() as descriptor:
            data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
            sound = [record for record in _records(data) if _sound(record)] if data[:_HEADER] == self._header else []
            kept = dict.fromkeys([*sound, *(_checked(id.bytes) for id in ids)])
            new = self._header + b"".join(kept)
            os.pwrite(descriptor, new, 0)
            os.ftruncate(descriptor, len(new))
            os.fsync(descriptor)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """The file, made where there is none, with nobody else writing it: other processes forget, too."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    def _read(self, size: int = -1) -> bytes:
        try:
            with open(self.path, "rb") as file:
                return file.read(size)
        except FileNotFoundError:
            return b""
