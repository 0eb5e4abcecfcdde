"""What a note is: how one memory is described, what it is linked with, and what later memories have added to its description.

Source: A-MEM, arXiv 2502.12110, section 3.1: content, time, keywords K, tags G, a context X of one sentence, and links. Content and time are
those of the memory that the note is a view of, and never change. What evolution has done is kept step by step, each with the memory that it drew
on, so that it can be taken back, and goes with that memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self
from uuid import UUID

from mnemos.text.encoding import LONGEST_WHOLE
from mnemos.text.strategy import Memory

MOST_KEYWORDS = 12
MOST_TAGS = 8
LONGEST_CONTEXT = 480
"""Characters."""
_LONGEST_WORDS = 420
"""Characters of a note's text for its keywords and tags."""


@dataclass(frozen=True, slots=True)
class Description:
    """Keywords, the most telling first; broad classes; one sentence that says what a memory is about."""

    keywords: tuple[str, ...]
    tags: tuple[str, ...]
    context: str

    @classmethod
    def of(cls, keywords: Sequence[str], tags: Sequence[str], context: str) -> Self:
        """With each word once, and no more of any than a note holds."""
        return cls(_once(keywords)[:MOST_KEYWORDS], _once(tags)[:MOST_TAGS], " ".join(context.split())[:LONGEST_CONTEXT])

    def as_json(self) -> dict[str, Any]:
        return {"keywords": list(self.keywords), "tags": list(self.tags), "context": self.context}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        return cls.of([str(word) for word in record["keywords"]], [str(word) for word in record["tags"]], str(record["context"]))


@dataclass(frozen=True, slots=True)
class Evolution:
    """One step: what the description became, and what it drew on."""

    sources: tuple[tuple[UUID, int], ...]
    """(memory, version) of each memory whose words came in, the one that gave rise to it first. The note's own is not among them."""
    at: int
    """Microseconds since 1970."""
    reason: str
    by: str
    """"rules", or a model's fingerprint and the prompt's digest."""
    gives: Description
    """The whole description after this step."""

    def as_json(self) -> dict[str, Any]:
        sources = [[str(id), version] for id, version in self.sources]
        return {"sources": sources, "at": self.at, "reason": self.reason, "by": self.by, **self.gives.as_json()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        sources = tuple((UUID(id), int(version)) for id, version in record["sources"])
        return cls(sources, int(record["at"]), str(record["reason"]), str(record["by"]), Description.from_json(record))


@dataclass(frozen=True, slots=True)
class Link:
    """A link to an earlier memory. It holds no words of that memory, so nothing has to be forgotten with it but the link's other end."""

    to: UUID
    version: int
    """Of that memory, when they were linked."""
    kind: str
    """`subject`, `cause`, `contrast`, `sequence`, `detail`, `update`."""
    weight: float
    """0..1."""
    reason: str
    """In words of the note's own memory."""
    created_by: str

    def as_json(self) -> dict[str, Any]:
        return {
            "to": str(self.to), "version": self.version, "kind": self.kind, "weight": round(self.weight, 4), "reason": self.reason,
            "created_by": self.created_by,
        }  # fmt: skip

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        return cls(
            UUID(record["to"]), int(record["version"]), str(record["kind"]), float(record["weight"]), str(record["reason"]), str(record["created_by"])
        )


@dataclass(frozen=True, slots=True)
class Note:
    """A note, without the memory that it is of."""

    own: Description
    """As the memory is described by itself."""
    by: str
    links: tuple[Link, ...] = ()
    evolutions: tuple[Evolution, ...] = ()

    @property
    def now(self) -> Description:
        """The description as it stands."""
        return self.evolutions[-1].gives if self.evolutions else self.own

    def evolved(self, step: Evolution) -> Note:
        return replace(self, evolutions=(*self.evolutions, step))

    def reverted(self, count: int = 1) -> Note:
        """Without its last `count` evolutions: what it was before, to the byte."""
        return replace(self, evolutions=self.evolutions[: max(len(self.evolutions) - count, 0)])

    def without(self, gone: set[UUID]) -> Note:
        """Without what drew on memories that are not what they were any more. Each step was made with the ones before in sight, so those that
        came after such a step go, too; the memories that they drew on may well bring them about again."""
        at = next((at for at, step in enumerate(self.evolutions) if any(id in gone for id, _ in step.sources)), len(self.evolutions))
        return replace(self, evolutions=self.evolutions[:at])

    def metadata(self) -> dict[str, Any]:
        """As the view's metadata; `edges` are read by `index.relations`."""
        out: dict[str, Any] = {"own": self.own.as_json(), "edges": [link.as_json() for link in self.links]}
        if self.evolutions:
            out["evolutions"] = [step.as_json() for step in self.evolutions]
        return out

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Note:
        return cls(
            Description.from_json(metadata["own"]),
            str(metadata.get("by", "rules")),
            tuple(Link.from_json(one) for one in metadata.get("edges", ())),
            tuple(Evolution.from_json(one) for one in metadata.get("evolutions", ())),
        )

    def text(self, content: str) -> str:
        """What the note is embedded and found by: content, keywords, tags and context (section 3.1). Long content is cut, so that all of
        the description is read and the note is one memory."""
        now = self.now
        described = "\n".join((f"Keywords: {', '.join(now.keywords)}", f"Tags: {', '.join(now.tags)}"))[:_LONGEST_WORDS] + f"\n{now.context}"
        return f"{content[: LONGEST_WHOLE - len(described) - 1].rstrip()}\n{described}"


def note_of(view: Memory) -> Note | None:
    """The note that a view holds; None where its metadata are not those of a note: who may write may have changed or forged them."""
    try:
        return Note.from_metadata(view.content.metadata)
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError):
        return None


def _once(words: Sequence[str]) -> tuple[str, ...]:
    """Words without blanks around them, each once whatever its case, none that is empty."""
    return tuple({word.casefold(): word for word in (" ".join(word.split()) for word in reversed(words)) if word}.values())[::-1]
