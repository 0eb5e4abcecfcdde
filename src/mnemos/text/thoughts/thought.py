"""A thought: one conclusion in a sentence that stands by itself, as a triple, with where it is from and how it ended."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from uuid import UUID

from mnemos.base.cube import Content
from mnemos.base.errors import Invalid
from mnemos.base.ids import parse_id
from mnemos.index.terms import fold
from mnemos.text.strategy import Draft, Memory

TYPE = "thought"
MOST_WORDS = 40
"""Words of a thought; the sheet's bound."""


class State(StrEnum):
    """Whether a thought holds."""

    ACTIVE = "active"
    SUPERSEDED = "superseded"
    """Another gives its relation a newer value."""
    MERGED = "merged"
    """Another says what it says."""
    FORGOTTEN = "forgotten"
    """It was contradicted: said not to be so, or never to have been so."""


ENDS = {State.SUPERSEDED: "superseded_by", State.MERGED: "merged_into", State.FORGOTTEN: "forgotten_by"}
"""The kind of the edge from a thought that has ended to the one that ended it."""
COUNT = "count:"
"""How the tags of tallies begin."""
_POINTING = re.compile(r"\b(?:he|she|it|they|him|her|hers|his|its|them|their|theirs|you|your|yours|this|that|these|those)\b", re.I)
"""What is not clear without what was said before; `my` is, where the author is known."""
STATEMENT, INFERENCE = "statement", "inference"


@dataclass(frozen=True, slots=True)
class Thought:
    """What a turn gives to remember. `head`, `relation` and `tail` are keys (`text.entities.key_of`), empty where nobody could tell them."""

    head: str
    relation: str
    tail: str
    sentence: str
    quote: str
    """The sentence as it stands in its source; of one that was drawn from several, its own."""
    author: str | None = None
    origin: str = STATEMENT
    """`statement`: somebody said so; `inference`: the assistant said so, or it follows."""
    confidence: float = 0.85
    """0..1."""
    event_at: int | None = None
    """Microseconds since 1970."""
    valid_from: int | None = None
    valid_to: int | None = None
    sources: tuple[UUID, ...] = ()
    state: State = State.ACTIVE
    ended_by: UUID | None = None
    merges: int = 0
    """How many thoughts it was merged from; each of them has an edge to it."""
    derived: str = ""
    """How it follows, of one that was computed (`12 - 3 eggs`); else empty."""
    count: tuple[int, str] | None = None
    """The term of what it counts and whose it is, where it is an entry of a tally (`quantities`)."""
    by: str = "rules"
    id: UUID | None = None
    """Of the cube that holds it; None before it is written."""
    order: int = 0
    """The row of its first source: decides where times do not."""
    place: int = 0
    """Where in its source it begins, in characters."""

    @property
    def own(self) -> bool:
        """Whether its author says it of herself."""
        return self.author is not None and f"{self.head} ".startswith(f"{fold(self.author)} ")

    @property
    def trust(self) -> int:
        """0 for what the assistant concluded, 1 for what others say and for what was computed from what was told, 2 for what somebody says of
        herself."""
        if self.derived:
            return 1
        return 0 if self.origin == INFERENCE else 2 if self.own else 1

    @property
    def moment(self) -> tuple[int, int, int]:
        """Time, then place in the order of writing, then place in the text."""
        return (self.event_at if self.event_at is not None else 0, self.order, self.place)

    @property
    def compared(self) -> tuple[str, str | None]:
        """The text, and its author, by which it is compared with others."""
        if self.origin == INFERENCE:
            return self.sentence, None
        alone = self.own or (self.author is not None and not self.derived and not _POINTING.search(self.quote))
        return (self.quote if alone else self.sentence), self.author

    @property
    def tags(self) -> list[str]:
        """What it is found by for maintenance: its head and relation, and its tally."""
        found = [about(self.head, self.relation)]
        if self.count is not None:
            found.append(tally(*self.count))
        return found

    def draft(self, sources: Sequence[Memory | UUID], ended_by: UUID | None = None) -> Draft:
        """The view that holds it."""
        by = ended_by if ended_by is not None else self.ended_by
        metadata: dict[str, Any] = {
            "head": self.head, "relation": self.relation, "tail": self.tail, "quote": self.quote, "origin": self.origin,
            "confidence": self.confidence, "state": self.state.value, "place": self.place,
        }  # fmt: skip
        if self.author is not None:
            metadata["author"] = self.author
        if self.state is not State.ACTIVE and by is not None:
            metadata["edges"] = [{"to": str(by), "kind": ENDS[self.state], "weight": 1.0}]
        if self.merges:
            metadata["merges"] = self.merges
        if self.derived:
            metadata["derived"] = self.derived
        if self.count is not None:
            metadata["count"] = list(self.count)
        start, end = self.valid_from, self.valid_to
        entities = [one for one in dict.fromkeys([self.head, self.tail]) if one]
        return Draft(
            self.sentence, TYPE, sources, metadata, tags=self.tags, entities=entities, event_at=self.event_at,
            valid_from=start, valid_to=end if end is None or start is None or end > start else start + 1, by=self.by,
        )  # fmt: skip


def thought_of(memory: Memory) -> Thought | None:
    """The thought that a view holds; None where its metadata are not those of a thought: who may write may have changed or forged them."""
    content: Content = memory.content
    said: Mapping[str, Any] = content.metadata
    try:
        state = State(said["state"])
        edges = [edge for edge in said.get("edges", ()) if edge["kind"] in ENDS.values()]
        count = said.get("count")
        read = Thought(
            said["head"], said["relation"], said["tail"], memory.text, said["quote"], said.get("author"), said["origin"], said["confidence"],
            content.event_at, content.valid_from, content.valid_to, tuple(link.id for link in content.derived_from), state,
            parse_id(edges[0]["to"]) if edges else None, said.get("merges", 0), said.get("derived", ""),
            (int(count[0]), str(count[1])) if count else None, said["by"], content.id, memory.row, said["place"],
        )  # fmt: skip
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, OverflowError, Invalid):
        return None
    return read if _whole(read) else None


def _whole(thought: Thought) -> bool:
    """Whether everything that was read is of its kind."""
    texts = (thought.head, thought.relation, thought.tail, thought.quote, thought.derived, thought.by)
    return (
        all(isinstance(text, str) for text in texts)
        and isinstance(thought.author, str | None)
        and thought.origin in (STATEMENT, INFERENCE)
        and isinstance(thought.confidence, float | int) and 0 <= thought.confidence <= 1
        and isinstance(thought.merges, int) and isinstance(thought.place, int)
    )  # fmt: skip


def ended(thought: Thought, state: State, by: Thought) -> Thought:
    """A thought that no longer holds because of another; its validity ends where the other's begins."""
    until = thought.valid_to
    if state is State.SUPERSEDED and until is None:
        until = by.valid_from if by.valid_from is not None else by.event_at
    return replace(thought, state=state, valid_to=until, ended_by=by.id)


def revived(thought: Thought) -> Thought:
    """A thought whose end has gone."""
    return replace(thought, state=State.ACTIVE, ended_by=None, valid_to=None if thought.state is State.SUPERSEDED else thought.valid_to)


def about(head: str, relation: str) -> str:
    return f"about:{head}|{relation}"[:200]


def tally(term: int, owner: str) -> str:
    return f"{COUNT}{owner}|{term}"[:200]
