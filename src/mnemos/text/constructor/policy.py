"""Who decides what to keep: the seam for policies, and what they are shown.

Source: Mem-α, arXiv 2509.25911, section 3.2. The paper's view is the 20 newest items of each list, so that older ones cannot be repaired; here it is
the 10 newest and the 10 that are most like the chunk.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

from mnemos.text.constructor.candidates import Candidate
from mnemos.text.constructor.memory import Entry, Memory
from mnemos.text.constructor.operations import LISTS, Kind, Operation
from mnemos.text.tokens import TokenCounter, count_tokens

RECENT, ALIKE = 10, 10
PROMPT_TOKENS = 6_144
"""Tokens that the memory and a chunk may take in a prompt; the paper's."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A message of a chunk."""

    text: str
    author: str | None = None
    at: int | None = None
    """Microseconds since 1970."""
    id: Hashable = None
    """The source memory that it is."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What comes in at one step."""

    turns: tuple[Turn, ...]
    candidates: tuple[Candidate, ...] = ()
    """The statements that it makes, as `candidates.read_candidates` gives them."""
    tokens: int = 0

    @property
    def at(self) -> int | None:
        """The time of its last message that has one."""
        return next((turn.at for turn in reversed(self.turns) if turn.at is not None), None)


class View:
    """A memory as a policy sees it: to be read, never to be changed."""

    def __init__(self, memory: Memory, chunk: Chunk) -> None:
        self.memory = memory
        self._chunk = chunk

    @property
    def core(self) -> str:
        return self.memory.core

    def entries(self, kind: Kind, recent: int = RECENT, alike: int = ALIKE) -> list[Entry]:
        """Of a list: the newest, and of the others those most like a statement of the chunk, in the order in which they were written."""
        every = self.memory.of_kind(kind)
        chosen = {entry.id for entry in every[max(len(every) - recent, 0) :]}
        likeness: dict[str, float] = {}
        gists = [candidate.gist for candidate in self._chunk.candidates] or [self.memory.read(turn.text) for turn in self._chunk.turns]
        for gist in gists:
            for share, entry in self.memory.sharing(gist, 2 * alike + recent):
                if entry.kind == kind and entry.id not in chosen:
                    likeness[entry.id] = max(share, likeness.get(entry.id, 0.0))
        chosen |= set(sorted(likeness, key=lambda id: -likeness[id])[:alike])
        return [entry for entry in every if entry.id in chosen]

    def fitted(self, room: int, count: TokenCounter = count_tokens) -> tuple[list[Entry], list[Entry]]:
        """The facts and the events in at most `room` tokens: the lists are halved until they fit."""
        recent, alike = RECENT, ALIKE
        while True:
            facts, events = (self.entries(kind, recent, alike) for kind in LISTS)
            if recent + alike == 0 or sum(count(entry.shown) for entry in (*facts, *events)) <= room:
                return facts, events
            recent, alike = recent // 2, alike // 2


class MemoryPolicy(Protocol):
    """One way to choose what is kept."""

    name: str
    by: str
    """Who decided last: what a view notes of whoever made it."""

    def decide(self, view: View, chunk: Chunk) -> list[Operation]:
        """The calls for one chunk, in order; `[NOTHING]` where nothing is worth storing. What is done with them goes through `Memory.execute`, which
        refuses what is wrong: a policy has no power of its own."""
        ...
