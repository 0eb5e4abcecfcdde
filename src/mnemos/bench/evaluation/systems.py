"""Mnemos under evaluation: a memory that holds the histories, and a reader without a language model that is the same in every setting.

The reader finds what a text states by the patterns of `timeline`, so that what differs between settings is the memory and nothing else.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mnemos.base.meter import disk_bytes
from mnemos.bench.evaluation.items import Answer, History, Item, Message
from mnemos.bench.evaluation.timeline import Statement, asked_about, statement
from mnemos.kernel.system import Mnemos
from mnemos.text.tokens import token_counter

CLOSED_BOOK, LONG_CONTEXT, OFFLINE_REPLAY, RETRIEVAL, ONLINE_REPLAY, ORACLE = "PO", "LC-off", "SR-off", "OR", "SR-on", "oracle"
SETTINGS = (CLOSED_BOOK, LONG_CONTEXT, OFFLINE_REPLAY, RETRIEVAL, ONLINE_REPLAY)
"""Parametric only; offline on a frozen snapshot, all in the context or the last sessions replayed; online, live retrieval or live replay of
the sessions that retrieval points to. `ORACLE` is the offline bound: exactly the evidence."""

USER = "user"


def read(question: str, pieces: Sequence[Message]) -> Answer:
    """Answer from `pieces`, in rank or reading order: of what they state, the user's own words go first, then the latest.

    Confidence falls where pieces contradict each other, and where only somebody else's words answer. Refuses where nothing answers.
    """
    asked = asked_about(question)
    stated = [(piece, found) for piece in pieces if asked and (found := statement(piece.text)) and (found.person, found.relation) == asked]
    if not stated:
        return Answer(None)
    own = [pair for pair in stated if pair[0].author == USER]
    piece, said = max(own or stated, key=lambda pair: pair[0].at)
    values = {other.value for _, other in stated}
    confidence = (1.0 if own else 0.4) / len(values)
    return Answer(said.value, confidence, (piece.source,), claims=(supports(piece, said),))


def supports(piece: Message, claim: Statement) -> bool:
    """Whether the text of a piece states the claim."""
    return statement(piece.text) == claim


@dataclass
class MnemosSystem:
    """A store with one space per history. Implements `MemorySystem`.

    `k` pieces are retrieved; `window_tokens` is the long context, of which the newest part is kept; `replay_sessions` are replayed.
    `withheld` are sources that never reach the live store: a lagging index. `prior` answers closed book; without it nothing is known so.
    """

    memory: Mnemos
    k: int = 5
    window_tokens: int = 8000
    replay_sessions: int = 2
    withheld: frozenset[str] = frozenset()
    prior: Callable[[str], str | None] | None = None
    reader: Callable[[str, Sequence[Message]], Answer] = read

    def __post_init__(self) -> None:
        self._histories: dict[str, History] = {}
        self._count = token_counter(None)

    def add(self, history: History) -> None:
        self._histories[history.name] = history
        self.memory.space(history.name).add_many(
            [
                {"text": m.text, "author": m.author, "source": m.source, "event_at": m.at, "type": "turn", "metadata": {"session": m.session}}
                for m in history.messages
                if f"{history.name}/{m.source}" not in self.withheld
            ]
        )

    def answer(self, item: Item, setting: str) -> Answer:
        start = time.perf_counter()
        history = self._histories[item.history]
        by_source = {message.source: message for message in history.messages}
        if setting == CLOSED_BOOK:
            said = self.prior(item.question) if self.prior else None
            return Answer(said, 0.5 if said else 0.0, seconds=time.perf_counter() - start)
        retrieved: tuple[str, ...] = ()
        replayed: tuple[str, ...] = ()
        trust = 1.0
        if setting in (RETRIEVAL, ONLINE_REPLAY):
            hits = self.memory.space(item.history).search(item.question, k=self.k)
            retrieved = tuple(hit.cube.source or "" for hit in hits)
            trust = 1 / (1 + math.exp(-hits[0].score)) if hits else 0.0
        if setting == LONG_CONTEXT:
            pieces = self._newest(history)
        elif setting == OFFLINE_REPLAY:
            pieces = self._replay(history, sorted({m.session for m in history.messages})[-self.replay_sessions :])
        elif setting == ONLINE_REPLAY:
            sessions = list(dict.fromkeys(by_source[source].session for source in retrieved))[: self.replay_sessions]
            pieces = [m for m in self._replay(history, sessions) if f"{history.name}/{m.source}" not in self.withheld]
        elif setting == ORACLE:
            pieces = [by_source[source] for source in (*item.evidence, *item.stale)]
        else:
            pieces = [by_source[source] for source in retrieved]
        if setting in (OFFLINE_REPLAY, ONLINE_REPLAY):
            replayed = tuple(piece.source for piece in pieces)
        said_ = self.reader(item.question, pieces)
        tokens = sum(self._count(piece.text) for piece in pieces)
        confidence = said_.confidence * trust
        return Answer(said_.text, confidence, said_.citations, retrieved, replayed, said_.claims, tokens, time.perf_counter() - start)

    def usage(self) -> Mapping[str, float]:
        """`bytes`: the store's files, or, in memory, the texts."""
        if self.memory.path != ":memory:":
            return {"bytes": float(disk_bytes(self.memory.path, self.memory.path + "-wal"))}
        return {"bytes": float(sum(len(m.text.encode()) for h in self._histories.values() for m in h.messages))}

    def _newest(self, history: History) -> list[Message]:
        """The newest messages that fit the window, in order."""
        kept, left = [], self.window_tokens
        for message in reversed(history.messages):
            left -= self._count(message.text)
            if left < 0:
                break
            kept.append(message)
        return kept[::-1]

    @staticmethod
    def _replay(history: History, sessions: Sequence[int]) -> list[Message]:
        wanted = set(sessions)
        return [message for message in history.messages if message.session in wanted]
