"""Twelve memories that differ in one thing each, from good to useless: what a short card must rank as the whole suite does (proposition B)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mnemos.bench.evaluation.items import Answer, History, Item, Message
from mnemos.bench.evaluation.systems import Bm25System, MnemosSystem, ReadingSystem, newest, read
from mnemos.bench.evaluation.timeline import RELATIONS, asked_about
from mnemos.kernel.system import Mnemos

Open = Callable[[], Mnemos]


def twelve(open_memory: Open, open_lexical: Open, histories: Sequence[History]) -> dict[str, ReadingSystem]:
    """Name → system, none of which holds anything yet. `open_memory` opens an empty store with vectors, `open_lexical` one without."""
    return {
        "mnemos": MnemosSystem(memory=open_memory()),
        "mnemos, k = 3": MnemosSystem(k=3, memory=open_memory()),
        "mnemos, no vectors": MnemosSystem(memory=open_lexical()),
        "bm25": Bm25System(),
        "bm25, k = 3": Bm25System(k=3),
        "index lags by 30 %": MnemosSystem(memory=open_memory(), withheld=withheld(histories, 0.3)),
        "index lags by 70 %": MnemosSystem(memory=open_memory(), withheld=withheld(histories, 0.7)),
        "reads the first hit only": MnemosSystem(memory=open_memory(), reader=lambda question, pieces: read(question, list(pieces)[:1])),
        "never refuses": MnemosSystem(memory=open_memory(), reader=guessing),
        "refuses unless certain": MnemosSystem(memory=open_memory(), refuse_below=0.9995),
        "makes up a third": MnemosSystem(memory=open_memory(), reader=inventing),
        "reads the newest 400 tokens": Newest(),
    }


@dataclass
class Newest(ReadingSystem):
    """No memory at all: the newest messages are read."""

    def __post_init__(self) -> None:
        self._newest: dict[str, list[Message]] = {}

    def _take(self, history: History, messages: Sequence[Message]) -> None:
        self._newest[history.name] = newest(messages, 400)

    def held(self, history: str) -> list[Message]:
        return self._newest[history]

    def rank(self, item: Item, at_once: bool) -> tuple[list[str], float]:
        return [message.source for message in reversed(self._newest[item.history])], 1.0


def withheld(histories: Sequence[History], share: float) -> frozenset[str]:
    """The messages that a lagging index lacks: evidence of this share of the updated facts, chosen by their names' hashes."""
    updated = [item for history in histories for item in history.items if item.stale]
    return frozenset(f"{item.history}/{source}" for item in updated if _draw(item.id) < share for source in item.evidence)


def guessing(question: str, pieces: Sequence[Message]) -> Answer:
    """Answers as `read` does, and where that refuses with some value that such a thing can have, citing whatever came first."""
    found = read(question, pieces)
    asked = asked_about(question)
    if not found.refused or asked is None:
        return found
    values = next(relation.values for relation in RELATIONS if relation.name == asked[1])
    return Answer(values[int(_draw(question) * len(values))], 0.3, tuple(piece.source for piece in pieces[:1]), claims=(False,))


def inventing(question: str, pieces: Sequence[Message]) -> Answer:
    """Answers as `read` does, but a third of the time with another value than the one that is cited, just as confidently."""
    found, asked = read(question, pieces), asked_about(question)
    if found.refused or asked is None or _draw(question) >= 1 / 3:
        return found
    values = next(relation.values for relation in RELATIONS if relation.name == asked[1])
    other = values[(values.index(found.text or "") + 1) % len(values)]
    return replace(found, text=other, claims=(False,))


def _draw(text: str) -> float:
    """A number from 0 to 1 that a text always has."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
