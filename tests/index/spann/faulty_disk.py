"""A disk in memory that fails as disks do: it is killed in the middle of a call, loses what was not synced, runs full, breaks, and rots."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from mnemos.base.errors import StoreUnavailable
from mnemos.index.spann.disk import explain


class Killed(BaseException):
    """The process ended here. Nothing that runs afterwards can reach the disk."""


@dataclass
class _File:
    now: bytearray = field(default_factory=bytearray)
    """What reads see."""
    durable: bytearray = field(default_factory=bytearray)
    """What is left when all that was not synced is lost."""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Writes (offset, bytes) and cuts (size, None) since the last sync, in order."""


class FaultyDisk:
    """A `Disk`. Its faults come from `seed`.

    `kill_at(n)` ends the process in the n-th changing call from now (1 is the next): a part of it is done. `fail_at(n, code)` lets that call fail
    with the errno `code`. `lose_power()` drops, reorders and tears what was not synced. `reopen()` is what the next process finds.
    """

    def __init__(self, seed: int = 0) -> None:
        self.files: dict[str, _File] = {}
        self.calls = 0
        """Changing calls so far."""
        self.synced: list[str] = []
        """The files that were synced, in order."""
        self._random = random.Random(seed)
        self._durable_names: dict[str, _File] = {}
        self._kill: int | None = None
        self._fail: tuple[int, int] | None = None
        self._dead = False
        self.unsure: set[str] = set()
        """Files whose sync failed."""

    # what a test does to it

    def kill_at(self, n: int | None) -> None:
        self._kill = None if n is None else self.calls + n

    def fail_at(self, n: int, code: int) -> None:
        self._fail = (self.calls + n, code)

    def lose_power(self) -> None:
        """Keep what was synced; of the rest any part, in any order, torn at any byte."""
        self.files = {}
        for name, file in self._durable_names.items():
            pending = [change for change in file.pending if self._random.random() < 0.6]
            self._random.shuffle(pending)
            for offset, data in pending:
                if data is None:
                    del file.durable[offset:]
                else:
                    start, end = sorted((self._random.randint(0, len(data)), self._random.randint(0, len(data))))
                    _put(file.durable, offset + start, data[start:end])
            self.files[name] = _File(bytearray(file.durable), bytearray(file.durable))
        self._durable_names = dict(self.files)
        self.reopen()

    def reopen(self) -> None:
        """A new process finds the disk as it is."""
        self._dead, self._kill, self._fail, self.unsure = False, None, None, set()

    def flip(self, name: str, bit: int) -> None:
        """Turn bit `bit` of a file over."""
        file = self.files[name]
        for data in (file.now, file.durable):
            if bit // 8 < len(data):
                data[bit // 8] ^= 1 << bit % 8

    # what the index does with it

    def read(self, name: str, offset: int, size: int) -> bytes:
        self._alive()
        return bytes(self.files[name].now[offset : offset + size]) if name in self.files else b""

    def read_many(self, name: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        return [self.read(name, offset, size) for offset, size in spans]

    def ahead(self, name: str, spans: Sequence[tuple[int, int]]) -> None:
        self._alive()

    def write(self, name: str, offset: int, data: bytes | memoryview) -> None:
        raw = bytes(data)
        killed, failed = self._called()
        file = self.files.setdefault(name, _File())
        if killed or failed:
            raw = raw[: self._random.randint(0, len(raw))]
        if raw:
            _put(file.now, offset, raw)
            file.pending.append((offset, raw))
        self._end(killed, failed, name, "writing")

    def sync(self, name: str) -> None:
        killed, failed = self._called()
        file = self.files.setdefault(name, _File())
        if name in self.unsure:
            raise StoreUnavailable(f"{name}: an earlier sync failed")
        if failed:
            self.unsure.add(name)
        if not killed and not failed:
            file.durable, file.pending = bytearray(file.now), []
            self.synced.append(name)
        self._end(killed, failed, name, "making it durable")

    def size(self, name: str) -> int:
        self._alive()
        return len(self.files[name].now) if name in self.files else 0

    def exists(self, name: str) -> bool:
        self._alive()
        return name in self.files

    def truncate(self, name: str, size: int) -> None:
        if self.size(name) <= size:
            return
        killed, failed = self._called()
        if not failed and (not killed or self._random.random() < 0.5):
            file = self.files[name]
            del file.now[size:]
            file.pending.append((size, None))
        self._end(killed, failed, name, "cutting the file")

    def replace(self, source: str, target: str) -> None:
        killed, failed = self._called()
        renamed = (not killed and not failed) or self._random.random() < 0.5
        if renamed:
            self.files[target] = self.files.pop(source)
        if not killed and not failed:
            self._durable_names = dict(self.files)
        elif renamed and self._random.random() < 0.5:
            self._durable_names = {name: file for name, file in self._durable_names.items() if name != source} | {target: self.files[target]}
        self._end(killed, failed, target, f"putting {source} in its place")

    def remove(self, name: str) -> None:
        if not self.exists(name):
            return
        killed, failed = self._called()
        if not failed and (not killed or self._random.random() < 0.5):
            del self.files[name]
            self.unsure.discard(name)
        self._end(killed, failed, name, "removing it")

    def settle(self) -> None:
        killed, failed = self._called()
        if not killed and not failed:
            self._durable_names = dict(self.files)
        self._end(killed, failed, "folder", "making the names of its files durable")

    def _alive(self) -> None:
        if self._dead:
            raise Killed

    def _called(self) -> tuple[bool, bool]:
        """Count a changing call: is the process killed in it, does it fail?"""
        self._alive()
        self.calls += 1
        return self.calls == self._kill, self._fail is not None and self.calls == self._fail[0]

    def _end(self, killed: bool, failed: bool, name: str, doing: str) -> None:
        if killed:
            self._dead = True
            raise Killed
        if failed and self._fail is not None:
            code = self._fail[1]
            raise explain(OSError(code, os.strerror(code)), name, doing)


def _put(data: bytearray, offset: int, raw: bytes) -> None:
    data.extend(bytes(max(0, offset - len(data))))
    data[offset : offset + len(raw)] = raw


FULL, BROKEN = errno.ENOSPC, errno.EIO
