"""What a space's KV memories are, for who looks at them: of which text or prompt, in which form, and whether each can be used now."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mnemos.base.cube import State
from mnemos.base.errors import NotFound
from mnemos.kernel.kv.shapes import shape_of
from mnemos.kernel.kv.tier import CORPUS, in_use, prompt_of, readings_of, size_of, source_of, texts_of
from mnemos.kernel.life.lifecycle import VISIBLE
from mnemos.kernel.lineage import readings
from mnemos.kernel.reading.viewing import Viewing
from mnemos.store.base import Filter, Snapshot, VersionRow

if TYPE_CHECKING:
    from mnemos.kernel.space import Space


@dataclass(frozen=True, slots=True)
class Entry:
    """One KV memory: its id, the text that it is of (None: a part of a prompt, from its token `start` on, or a section of a corpus), and whether it
    can be used now: by which model it was made, and whether the text has changed since. `bytes` in the store, `tokens` with those that begin any
    text. `state`: "ready", "stale", "other model", or that of a text (or KV memory) that is out of use: "archived", "merged", "expired",
    "quarantined". One that is `frozen` never gives way. `policy`: the form in which it is kept (`mnemos.kernel.kv.shapes`)."""

    id: str
    source: str | None
    fingerprint: str
    tokens: int
    bytes: int
    stale: bool
    fits: bool | None
    """Whether the store's language model (of a section of a corpus: its recaller) is the one that made it; None where it was opened without one."""
    state: str
    frozen: bool
    start: int | None = None
    sources: tuple[str, ...] = ()
    """The memories whose texts it has read: that of which it is, or those that begin in a part of a prompt."""
    policy: str = "full"
    digest: str = ""
    """Of what the policy does; "" where it is full."""

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__} | {"sources": list(self.sources)}


def entries(space: Space) -> list[Entry]:
    """All of a space that the caller may see, oldest first."""
    with space.system.snapshot() as snapshot:
        readers = Viewing.of(space, snapshot).narrowed(Filter()).readers
        return [_entry(space, snapshot, row) for row in seen(space, snapshot, readings(snapshot, space.num, readers))]


def entries_of(space: Space, source: UUID) -> list[Entry]:
    """The KV memories of one text that the caller may see."""
    with space.system.snapshot() as snapshot:
        return [_entry(space, snapshot, row) for row in seen(space, snapshot, readings_of(snapshot, source))]


def seen(space: Space, snapshot: Snapshot, rows: Iterable[VersionRow]) -> list[VersionRow]:
    """Of these KV memories those that the caller may see, as they stand where it looks."""
    viewing, out = Viewing.of(space, snapshot), []
    for row in rows:
        with contextlib.suppress(NotFound):
            out.append(viewing.current(row.content.id))
    return out


def _entry(space: Space, snapshot: Snapshot, row: VersionRow) -> Entry:
    content, system = row.content, space.system
    model = system.recaller if CORPUS in content.metadata else system.language_model
    fits = None if model is None else model.fingerprint == content.fingerprint
    texts, about = texts_of(row), prompt_of(row)
    state = "ready" if fits is not False else "other model"
    if row.stale is not None:
        state = "stale"
    if not in_use(snapshot, row):
        standings = [standing.state for text in texts if (standing := snapshot.standing(text)) is not None]
        state = next((state for state in (row.state, *standings) if state not in VISIBLE), State.ARCHIVED).word
    source = source_of(row)
    return Entry(str(content.id), None if source is None else str(source), content.fingerprint or "", int(content.metadata.get("tokens", 0)),
                 size_of(row), row.stale is not None, fits, state, row.frozen, None if about is None else int(about["start"]),
                 tuple(str(text) for text in texts), *shape_of(content))  # fmt: skip
