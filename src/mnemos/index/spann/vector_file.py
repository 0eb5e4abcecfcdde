"""Exact vectors on disk, one to a slot, each with a checksum that also knows its slot: bytes of another slot are damage, too."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Corrupt, Invalid
from mnemos.index.spann.disk import Disk

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]

_SOUND = 0x2144DF1C
"""CRC-32 of any bytes with their own CRC-32 (little-endian) behind them, whatever value it was started from."""
_BRIDGE = 4096
"""Slots that lie no further apart than so many bytes are read in one piece."""
_SLOTS = 1 << 32


class DamagedVectors(Corrupt):
    """Vectors whose bytes are not what was written; `slots` says which."""

    def __init__(self, name: str, slots: list[int]) -> None:
        some = ", ".join(map(str, slots[:10])) + (f" and {len(slots) - 10:,} more" if len(slots) > 10 else "")
        super().__init__(f"{name}: the vector in slot {some} is damaged or was never written; it is written anew from the store")
        self.slots = slots


class VectorFile:
    """Records of a float32 vector (dimensions,) and four bytes of CRC-32, by slot. Safe for threads that do not write what others read."""

    def __init__(self, disk: Disk, name: str, dimensions: int) -> None:
        if dimensions < 1:
            raise Invalid(f"{name}: vectors have at least one dimension, not {dimensions}")
        self._disk = disk
        self.name = name
        self.dimensions = dimensions
        self.record = 4 * dimensions + 4
        """Bytes of a slot."""

    @property
    def bytes_total(self) -> int:
        return self._disk.size(self.name)

    def write(self, slots: Numbers, vectors: Floats) -> None:
        """Put vectors (m, dimensions) into `slots` (m,), a run of consecutive slots with one write. Raises `Invalid` where a slot is named twice."""
        slots = self._checked(slots)
        values = np.asarray(vectors, dtype="<f4")
        if values.shape != (len(slots), self.dimensions):
            raise Invalid(f"{self.name}: {len(slots)} slots want vectors of shape {(len(slots), self.dimensions)}, not {values.shape}")
        if not len(slots):
            return
        order = np.argsort(slots, kind="stable")
        ordered = slots[order]
        steps = np.diff(ordered)
        if np.any(steps == 0):
            raise Invalid(f"{self.name}: slot {ordered[int(np.argmax(steps == 0))]} is to be written twice at once")
        records = np.empty((len(slots), self.dimensions + 1), dtype="<f4")
        records[:, :-1] = values[order]
        raw = records.reshape(-1).view(np.uint8).data
        size = self.record
        checks = [zlib.crc32(raw[at : at + size - 4], slot) for at, slot in zip(range(0, len(raw), size), ordered.tolist(), strict=True)]
        records.view("<u4")[:, -1] = checks
        for start, end in _runs(steps > 1):
            self._disk.write(self.name, int(ordered[start]) * size, raw[start * size : end * size])

    def ahead(self, slots: Numbers) -> None:
        """A hint: these `slots` will be written before long. A page that is written in part is read before, which need not be waited for then."""
        self._disk.ahead(self.name, [(offset, self.record) for offset in (slots * self.record).tolist()])

    def read(self, slots: Numbers) -> Floats:
        """The vectors (m, dimensions) of `slots` (m,). Neighbouring slots are read in one piece. Raises `DamagedVectors`."""
        vectors, damaged = self._read(self._checked(slots))
        if damaged:
            raise DamagedVectors(self.name, damaged)
        return vectors

    def read_all(self, slots: Numbers, block: int = 4096) -> Iterator[tuple[Numbers, Floats]]:
        """(slots, vectors) of all `slots`, `block` of them at a time, in the order of the file. Raises `DamagedVectors`."""
        ordered = np.sort(self._checked(slots))
        for at in range(0, len(ordered), block):
            some = ordered[at : at + block]
            yield some, self.read(some)

    def damaged(self, slots: Numbers, block: int = 4096) -> Numbers:
        """Those of `slots` whose vector is not what was written, ascending. Reads all of them."""
        ordered = np.sort(self._checked(slots))
        found = [slot for at in range(0, len(ordered), block) for slot in self._read(ordered[at : at + block])[1]]
        return np.unique(np.array(found, dtype=np.int64))

    def cut(self, slots: int) -> None:
        """Give the room behind the first `slots` slots back to the file system."""
        self._disk.truncate(self.name, slots * self.record)

    def sync(self) -> None:
        """Make what was written durable."""
        self._disk.sync(self.name)

    def _checked(self, slots: Numbers) -> Numbers:
        slots = np.asarray(slots, dtype=np.int64)
        if slots.ndim != 1 or (len(slots) and (slots.min() < 0 or slots.max() >= _SLOTS)):
            raise Invalid(f"{self.name}: slots are a row of numbers from 0 to {_SLOTS - 1:,}")
        return slots

    def _read(self, slots: Numbers) -> tuple[Floats, list[int]]:
        """The vectors of `slots`, and which of the slots are damaged; a damaged one has any vector."""
        out = np.empty((len(slots), self.dimensions), dtype=np.float32)
        if not len(slots):
            return out, []
        order = np.argsort(slots, kind="stable")
        ordered = slots[order]
        size = self.record
        apart = np.diff(ordered) * size > _BRIDGE + size
        if apart.all():
            return self._scattered(ordered, order, out)
        if 2 * int(np.count_nonzero(apart)) > len(slots):
            alone = np.concatenate([[True], apart]) & np.concatenate([apart, [True]])
            return self._mostly_scattered(ordered, order, alone, out)
        damaged: list[int] = []
        runs = _runs(apart)
        spans = [(int(ordered[start]) * size, int(ordered[end - 1] - ordered[start] + 1) * size) for start, end in runs]
        for (start, end), (_, length), piece in zip(runs, spans, self._disk.read_many(self.name, spans), strict=True):
            raw = memoryview(piece.ljust(length, b"\0"))
            inside = ordered[start:end] - ordered[start]
            places = zip((inside * size).tolist(), ordered[start:end].tolist(), strict=True)
            damaged += [slot for at, slot in places if zlib.crc32(raw[at : at + size], slot) != _SOUND]
            out[order[start:end]] = np.frombuffer(raw, dtype="<f4").reshape(-1, self.dimensions + 1)[inside, :-1]
        return out, damaged

    def _mostly_scattered(self, ordered: Numbers, order: Numbers, alone: NDArray[np.bool_], out: Floats) -> tuple[Floats, list[int]]:
        """As `_read`, where those slots that are `alone` share a read with no other: the work for a run of one would cost more than its reading."""
        damaged = self._scattered(ordered[alone], order[alone], out)[1]
        near, more = self._read(ordered[~alone])
        out[order[~alone]] = near
        return out, sorted([*damaged, *more])

    def _scattered(self, ordered: Numbers, order: Numbers, out: Floats) -> tuple[Floats, list[int]]:
        """As `_read`, where no two slots share a read: with little work for each of them."""
        size, crc32 = self.record, zlib.crc32
        pieces = self._disk.read_many(self.name, [(offset, size) for offset in (ordered * size).tolist()])
        raw = b"".join(pieces)
        if len(raw) != len(pieces) * size:
            pieces = [piece.ljust(size, b"\0") for piece in pieces]
            raw = b"".join(pieces)
        out[order] = np.frombuffer(raw, dtype="<f4").reshape(-1, self.dimensions + 1)[:, :-1]
        return out, [slot for slot, piece in zip(ordered.tolist(), pieces, strict=True) if crc32(piece, slot) != _SOUND]


def _runs(apart: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(start, end) of the runs of n items, where apart[i] says that item i + 1 does not go on from item i; n is at least 1."""
    ends = np.flatnonzero(apart) + 1
    return list(zip([0, *ends.tolist()], [*ends.tolist(), len(apart) + 1], strict=True))
