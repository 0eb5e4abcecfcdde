"""What a store says, as an archive says it: the lines of `kernel.exchange.transfer`, large payloads named by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

from mnemos.base.cube import State
from mnemos.base.protocols import Progress
from mnemos.kernel.exchange.transfer import Line, Outgoing, chosen_spaces
from mnemos.kernel.reading.viewing import Viewing
from mnemos.store.base import Filter
from mnemos.store.sqlite_read import Reader

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos


class Told:
    """The spaces of an open store, as far as its principal sees them, at one position. `where` chooses cubes (None: all); `kv`: whether what
    language models have read goes along."""

    def __init__(self, memory: Mnemos, snapshot: Reader, spaces: Iterable[str] | None = None, where: Filter | None = None,
                 kv: bool = False) -> None:  # fmt: skip
        """Raises `NotFound` for an unknown space."""
        self.memory = memory
        self.snapshot = snapshot
        self._access = memory.access(snapshot)
        self.rows = chosen_spaces(snapshot, self._access, spaces)
        self._chosen = None if where is None else self._choose(where)
        self._outgoing = Outgoing(snapshot, self._access, self.rows, self._chosen, kv)
        self._names: dict[str, str] = {}
        self.blobs: dict[str, str] = {}
        """SHA-256 of the large payloads that were met → their names in the store."""

    def _choose(self, where: Filter) -> Collection[UUID]:
        out: set[UUID] = set()
        everything = replace(where, states=tuple(State))  # what searches hide is exported with the rest
        for row in self.rows:
            narrowed = Viewing(self.snapshot, row, self._access).narrowed(everything)
            seqs = self.snapshot.query(row.num, narrowed, after=0, limit=2**31, now=-(2**62))
            for start in range(0, len(seqs), 1000):
                out |= {version.content.id for version in self.snapshot.versions(seqs[start : start + 1000]).values()}
        return out

    def entries(self, progress: Progress | None = None) -> Iterator[tuple[int, Line]]:
        """(position, line), in the order of the log."""
        for seq, line in self._outgoing.entries(progress):
            record = line.get("record")
            if record is not None and "blob" in record:
                line = {**line, "record": {**record, "blob": self._hash_of(record["blob"])}}
            yield seq, line

    def lines(self) -> Iterator[Line]:
        return (line for _, line in self.entries())

    def forgotten(self) -> Iterator[tuple[UUID, str]]:
        """What was forgotten in the spaces; nothing where only some of their cubes are wanted, since nobody knows which it would have been."""
        return self._outgoing.forgotten() if self._chosen is None else iter(())

    def blob(self, sha256: str) -> bytes:
        """A large payload that was met."""
        return self.memory.store.blobs.get(self.blobs[sha256])

    def _hash_of(self, name: str) -> str:
        if name not in self._names:
            found = hashlib.sha256(self.memory.store.blobs.get(name)).hexdigest()
            self._names[name] = found
            self.blobs.setdefault(found, name)
        return self._names[name]

