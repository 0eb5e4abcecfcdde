"""What was handed out last, to whom: so that a prompt which is made of it is known to contain it, though nobody says so."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from mnemos.base.cube import MemCube
from mnemos.base.ids import parse_id
from mnemos.kernel.reading.results import Context

MOST = 256
"""Memories of a space that are known for each principal, the last ones."""
_CALLERS = 1024
"""Spaces and principals."""


@dataclass(frozen=True, slots=True)
class Handed:
    """A version that was handed out, and the words in which it was: its text, or its line in a context."""

    version: int
    words: str


class HandedOut:
    """Held in memory alone, by space and principal. Safe to use from many threads."""

    def __init__(self) -> None:
        self._by_caller: OrderedDict[tuple[int, str | None], OrderedDict[UUID, Handed]] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, space: int, principal: str | None, cubes: Iterable[MemCube]) -> None:
        """These were given to the caller as they are."""
        self._note(space, principal, ((cube, cube.text) for cube in cubes))

    def note_context(self, space: int, principal: str | None, context: Context) -> None:
        """These stand in a context that was given to the caller."""
        self._note(space, principal, zip((hit.cube for hit in context.hits), context.lines, strict=True))

    def _note(self, space: int, principal: str | None, handed: Iterable[tuple[MemCube, str]]) -> None:
        with self._lock:
            known = self._by_caller.setdefault((space, principal), OrderedDict())
            self._by_caller.move_to_end((space, principal))
            for cube, words in handed:
                known[parse_id(cube.id)] = Handed(cube.version, words)
                known.move_to_end(parse_id(cube.id))
            while len(known) > MOST:
                known.popitem(last=False)
            while len(self._by_caller) > _CALLERS:
                self._by_caller.popitem(last=False)

    def to(self, space: int, principal: str | None) -> dict[UUID, Handed]:
        """What the caller has been given of a space last, oldest first."""
        with self._lock:
            return dict(self._by_caller.get((space, principal), {}))

    def drop(self, cubes: Iterable[UUID]) -> None:
        """Nothing is to be known of these memories any more."""
        with self._lock:
            for cube in cubes:
                for known in self._by_caller.values():
                    known.pop(cube, None)
