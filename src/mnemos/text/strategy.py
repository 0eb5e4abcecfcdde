"""The `Strategy` seam of the text tier: how memories are written, recalled and kept in order. A new method is one file that implements it.

What a caller adds are *sources*: turns, documents and facts, never rewritten. What a strategy makes of them are *views*: memories of their own
(a note, a thought, a summary, a relation), linked to their sources by `base.lineage.VIEW_OF`. A source that is forgotten takes its views
with it; one that changes makes them stale; both in the same transaction. Strategies hand out sources, found better by way of the views, or the
views themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from mnemos.base.cube import Content, Json
from mnemos.base.protocols import ChatModel, Vectors
from mnemos.index.relations import Relations, Versions
from mnemos.index.space_index import SpaceIndex
from mnemos.index.vectors import Mask, VectorIndex
from mnemos.store.base import NewVersion
from mnemos.text.question import Question

Floats = NDArray[np.float32]
NewId = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class View:
    """What a strategy sees of a space when it recalls: the index, which rows it may show, and the dense evidence."""

    index: SpaceIndex
    allowed: Mask
    """(n,) bool: rows that exist, are visible to the caller, and pass the filters; views only where their type was asked for."""
    cosines: Floats | None
    """(n,) float32 cosine of each row with the voiced question, NaN where a row has no vector; None without an embedder."""
    now: int
    """Microseconds since 1970."""
    views: Mask | None = None
    """(n,) bool: the views that the caller may read, with all that they were made of; None where the space has none. No row beyond `allowed` and
    these may bear on the result."""
    relations: Relations | None = None
    """What the views say: their sources, edges, n-ary relations. None where the space has no view."""
    versions: Versions | None = None
    """Reads rows in full; see `contents`."""
    vectors: VectorIndex | None = None
    """The vectors of the store's present embedder; None without one, or where no row has any."""
    embed: Callable[[Sequence[str]], Vectors | None] = lambda texts: None
    """(len(texts), d) unit vectors of the store's embedder; None without one. Others wait meanwhile: embed little."""

    handed: Mask | None = None
    """(n,) bool: those of `views` that pass what else the caller asked for (types, tags, times …): the ones that may be handed out as hits. None
    where the space has no view."""
    recalled: Sequence[tuple[str, str]] = ()
    """What a model with a compressed memory of the space remembers to the question, as (kind, text) (`base.protocols.Recaller`): of allowed memories
    alone, to search by, and no evidence. For strategies that are `Recalls`, where the store has such a model."""

    def contents(self, rows: Sequence[int]) -> list[Content]:
        """What the versions at `rows` say, in that order."""
        assert self.versions is not None
        seqs = self.index.seq.view()[np.asarray(rows, dtype=np.int64)].tolist()
        stored = self.versions.versions(seqs)
        return [stored[seq].content for seq in seqs]

    def texts(self, rows: Sequence[int]) -> list[str]:
        """The texts of `rows`, in that order."""
        return [content.text or "" for content in self.contents(rows)]

    def made_by(self, strategy: str) -> Mask:
        """(n,) bool: those of `views` that a strategy made."""
        if self.views is None or self.relations is None:
            return np.zeros(len(self.index), dtype=bool)
        return self.views & self.relations.of_strategy(strategy, len(self.index))


@dataclass(frozen=True, slots=True)
class Recall:
    """Rows, best first, with their scores and what the scores are made of."""

    rows: NDArray[np.int64]
    scores: Floats
    signals: Mapping[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Memory:
    """A memory as consolidation sees it: its present version, and its row in the index that `Portion.look` shows."""

    content: Content
    row: int
    stale: bool = False

    @property
    def id(self) -> UUID:
        return self.content.id

    @property
    def text(self) -> str:
        return self.content.text or ""


@dataclass(frozen=True, slots=True)
class Draft:
    """A view to be written. It inherits the highest label of its sources, and the earliest end."""

    text: str
    """One memory long (`encoding.LONGEST_WHOLE` characters); what is longer is cut."""
    type: str
    sources: Sequence[Memory | UUID]
    """What it was made of, one or more; an id is that of a draft of the same portion. What it was made of in turn counts, too."""
    metadata: Json = field(default_factory=dict)
    """Plain JSON. "strategy" is added. "edges" and "members" are read by `index.relations`."""
    tags: Sequence[str] = ()
    entities: Sequence[str] = ()
    event_at: int | None = None
    """Microseconds since 1970; None takes the newest of its sources."""
    valid_from: int | None = None
    valid_to: int | None = None
    by: str = "rules"
    """Who made it: "rules", or a model's fingerprint and the prompt's digest."""


class Portion(Protocol):
    """Some memories to consolidate. What is asked for is written when the strategy goes on to the next portion, in one transaction with the
    position that was reached: all of it or nothing, once. Where something that it rests on has changed meanwhile the portion comes again."""

    fresh: Sequence[Memory]
    """Sources that are new or have changed, in the order in which they were written; and those without a view that are back in sight (released,
    restored, their rules lifted), or whose view was forgotten with another source of it. Memories with rules of their own are not among them:
    what only some may read is woven into nothing."""
    stale: Sequence[Memory]
    """Views of this strategy of which a source has changed: revise or retire each. Without what is frozen."""

    def look(self) -> AbstractContextManager[View]:
        """The space as it stands: `allowed` are its sources, `views` its views. The index is locked inside: look, and go."""
        ...

    def views_of(self, sources: Iterable[UUID]) -> dict[UUID, list[Memory]]:
        """The views that this strategy has made of each of some sources, oldest first; those that are out of date among them. A source without
        views is left out."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors | None:
        """(len(texts), d) unit vectors of the store's embedder; None without one."""
        ...

    def add(self, draft: Draft) -> UUID:
        """Write a view; its id can be named by what is written after it."""
        ...

    def revise(self, view: Memory, draft: Draft, reason: str) -> None:
        """Write the next version of a view; one that is frozen stays as it is."""
        ...

    def retire(self, view: Memory, reason: str) -> None:
        """Take a view out of use; its versions are kept. The log keeps the reason, unless it shares words with the view."""
        ...


class Workbench(Protocol):
    """What a strategy consolidates a space with."""

    now: int
    """Microseconds since 1970."""
    chat: ChatModel | None
    """The language model of the open store, where it has one."""

    def portions(self, size: int) -> Iterator[Portion]:
        """What there is to consolidate, at most `size` fresh memories at a time. At least one portion where any view is stale."""
        ...

    def report(self, what: str, count: int = 1) -> None:
        """Count something for whoever asked: "degraded: malformed answer", "rejected: quote not in its source"."""
        ...


@runtime_checkable
class Prepares(Protocol):
    """What a strategy does in idle time, beside what it holds in memory of an index."""

    def prepare(self, view: View) -> bool:
        """Do some of what the first search would else have to do, while others wait for the index; give whether more is left."""
        ...


@runtime_checkable
class Recalls(Protocol):
    """A strategy that asks a model with a compressed memory of the space, where there is one, before it looks at the space."""

    recalls: bool


class Strategy(Protocol):
    """One way to remember. `name` selects it; `about` says in a line what it is for."""

    name: str
    about: str
    consolidates: bool
    """Whether it makes views: then a space with it has a recurring job that does."""

    def encode(self, content: Content, new_id: NewId) -> Sequence[NewVersion]:
        """The versions to write for one memory that a caller gives: itself first, then what belongs to it."""
        ...

    def recall(self, question: Question, view: View, k: int) -> Recall:
        """At most `k` of the allowed rows, or of the views, best first; `k` of them whenever so many allowed ones exist. What was written since
        the last consolidation is found all the same."""
        ...

    def consolidate(self, work: Workbench) -> None:
        """Make the views that the space lacks, and renew those that are out of date. Nothing is done a second time."""
        ...
