"""What a driver of the `Store` seam is given to prove itself: how to open it, and versions to write."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from mnemos.base.cube import Content
from mnemos.base.ids import IdSource
from mnemos.index.terms import pack_terms
from mnemos.store.base import Derived, NewVersion
from mnemos.store.sqlite import SqliteStore

_ids = IdSource()


@dataclass(frozen=True)
class Driver:
    """A driver: `open(folder, clock)` opens the one store of a folder; `durable` says that it outlives its closing."""

    name: str
    open: Callable[[Path, Callable[[], int]], Any]
    durable: bool

    def __str__(self) -> str:
        return self.name


KEY = bytes(range(32))
_SEALED = Driver("sqlite-sealed", lambda folder, clock: SqliteStore(str(folder / "store.db"), clock=clock, key=KEY), True)

DRIVERS = [
    Driver("sqlite-file", lambda folder, clock: SqliteStore(str(folder / "store.db"), clock=clock), True),
    Driver("sqlite-memory", lambda folder, clock: SqliteStore(":memory:", clock=clock), False),
    *([_SEALED] if importlib.util.find_spec("cryptography") else []),
]


def new(text: str | None, *, version: int = 1, part_of: UUID | None = None, id: UUID | None = None, **fields: Any) -> NewVersion:
    """A version to write; a text of None makes the head of a document."""
    content = Content(id=id or _ids.new(1), version=version, created_at=fields.pop("created_at", 7), text=text, **fields)
    terms = None if text is None else pack_terms(text)
    return NewVersion(content, Derived(terms=terms, part_of=part_of))
