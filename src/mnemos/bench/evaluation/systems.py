"""Mnemos under evaluation: a memory that holds the histories, and a reader without a language model that is the same in every setting.

The reader finds what a text states by the patterns of `timeline`, so that what differs between settings is the memory and nothing else.
"""

from __future__ import annotations

import math
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mnemos.base.errors import Invalid
from mnemos.base.meter import disk_bytes
from mnemos.bench.baselines import STOP_WORDS, Bm25
from mnemos.bench.evaluation.items import Answer, History, Item, Message
from mnemos.bench.evaluation.timeline import Statement, asked_about, statement
from mnemos.kernel.system import Mnemos
from mnemos.text.tokens import token_counter

CLOSED_BOOK, LONG_CONTEXT, OFFLINE_REPLAY, RETRIEVAL, ONLINE_REPLAY = "PO", "LC-off", "SR-off", "OR", "SR-on"
SETTINGS = (CLOSED_BOOK, LONG_CONTEXT, OFFLINE_REPLAY, RETRIEVAL, ONLINE_REPLAY)
"""Parametric only; offline on a frozen snapshot, all in the context or the last sessions replayed; online, live retrieval or live replay of
the sessions that retrieval points to."""
ORACLE, RANDOM, AT_ONCE = "oracle", "random", "at once"
"""Further settings: exactly the evidence; as many other messages; live retrieval as it was at the end of the session that has the evidence."""

USER = "user"
_COUNT = token_counter(None)


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
class ReadingSystem(ABC):
    """A memory that is read by `reader`: what all settings have in common. A memory gives `_take`, `held` and `rank`. Implements `MemorySystem`.

    `k` pieces are retrieved; `window_tokens` is the long context, of which the newest part is kept; `replay_sessions` are replayed.
    `withheld` are sources (HISTORY/SOURCE) that never reach the live memory: a lagging index. `refuse_below` is the confidence that an answer
    must have. `prior` answers closed book; without it nothing is known so.
    """

    k: int = 10
    window_tokens: int = 8000
    replay_sessions: int = 2
    withheld: frozenset[str] = frozenset()
    refuse_below: float = 0.0
    prior: Callable[[str], str | None] | None = None
    reader: Callable[[str, Sequence[Message]], Answer] = read
    histories: dict[str, History] = field(default_factory=dict, init=False)

    def add(self, history: History) -> None:
        self.histories[history.name] = history
        self._take(history, [m for m in history.messages if f"{history.name}/{m.source}" not in self.withheld])

    @abstractmethod
    def _take(self, history: History, messages: Sequence[Message]) -> None:
        """Hold the messages of a history."""

    @abstractmethod
    def rank(self, item: Item, at_once: bool) -> tuple[list[str], float]:
        """Sources, best first, and the trust in the first (0 to 1). `at_once`: as it was when the evidence had just been said."""

    @abstractmethod
    def held(self, history: str) -> list[Message]:
        """The messages of a history as the memory holds them, read back from it, in their order."""

    def answer(self, item: Item, setting: str) -> Answer:
        start = time.perf_counter()
        history = self.histories[item.history]
        if setting == CLOSED_BOOK:
            said = self.prior(item.question) if self.prior else None
            return Answer(said, 0.5 if said else 0.0, seconds=time.perf_counter() - start)
        by_source = {message.source: message for message in history.messages}
        retrieved, trust = self.rank(item, setting == AT_ONCE) if setting in (RETRIEVAL, ONLINE_REPLAY, AT_ONCE) else ([], 1.0)
        pieces = self._pieces(item, setting, history, by_source, retrieved)
        read = self.reader(item.question, pieces)
        confidence = read.confidence * trust
        text = read.text if confidence >= self.refuse_below else None
        return Answer(
            text,
            confidence,
            read.citations if text is not None else (),
            tuple(retrieved),
            tuple(piece.source for piece in pieces) if setting in (OFFLINE_REPLAY, ONLINE_REPLAY) else (),
            read.claims if text is not None else (),
            sum(_COUNT(piece.text) for piece in pieces),
            time.perf_counter() - start,
        )

    def _pieces(
        self, item: Item, setting: str, history: History, by_source: Mapping[str, Message], retrieved: Sequence[str]
    ) -> list[Message]:
        """What the reader gets to read."""
        if setting == LONG_CONTEXT:
            return newest(history.messages, self.window_tokens)
        if setting == OFFLINE_REPLAY:
            return replay(history, sorted({m.session for m in history.messages})[-self.replay_sessions :])
        if setting == ONLINE_REPLAY:
            sessions = list(dict.fromkeys(by_source[source].session for source in retrieved))[: self.replay_sessions]
            return [m for m in replay(history, sessions) if f"{history.name}/{m.source}" not in self.withheld]
        if setting == ORACLE:
            return [by_source[source] for source in (*item.evidence, *item.stale)]
        if setting == RANDOM:
            others = [m for m in history.messages if m.source not in (*item.evidence, *item.stale)]
            rng = np.random.default_rng(zlib.crc32(item.id.encode()))
            return [others[i] for i in rng.permutation(len(others))[: max(1, len(item.evidence) + len(item.stale))]]
        return [by_source[source] for source in retrieved]

    def usage(self) -> Mapping[str, float]:
        """`bytes`: of the texts, at least."""
        return {"bytes": float(sum(len(m.text.encode()) for h in self.histories.values() for m in h.messages))}


@dataclass
class MnemosSystem(ReadingSystem):
    """The product: a store with one space per history."""

    memory: Mnemos = field(kw_only=True)
    _positions: dict[str, int] = field(default_factory=dict, init=False)

    def _take(self, history: History, messages: Sequence[Message]) -> None:
        cubes = self.memory.space(history.name).add_many(
            [
                {"text": m.text, "author": m.author, "source": m.source, "event_at": m.at, "type": "turn", "metadata": {"session": m.session}}
                for m in messages
            ]
        )
        for message, cube in zip(messages, cubes, strict=True):
            self._positions[f"{history.name}/{message.session}"] = cube.position

    def rank(self, item: Item, at_once: bool) -> tuple[list[str], float]:
        as_of = None
        if at_once and item.evidence:
            history = self.histories[item.history]
            session = next(m.session for m in history.messages if m.source == item.evidence[0])
            as_of = self._positions[f"{item.history}/{session}"]
        hits = self.memory.space(item.history).search(item.question, k=self.k, as_of=as_of)
        return [hit.cube.source or "" for hit in hits], 1 / (1 + math.exp(-hits[0].score)) if hits else 0.0

    def held(self, history: str) -> list[Message]:
        out: list[Message] = []
        cursor: str | None = None
        while True:
            page = self.memory.space(history).list(limit=1000, cursor=cursor)
            for cube in page:
                at = cube.event_at.isoformat() if cube.event_at else ""
                out.append(Message(cube.source or "", int(cube.metadata["session"]), cube.author or "", cube.text, at))
            cursor = page.cursor
            if cursor is None:
                return sorted(out, key=lambda message: message.at)

    def usage(self) -> Mapping[str, float]:
        if self.memory.path == ":memory:":
            return super().usage()
        return {"bytes": float(disk_bytes(self.memory.path, self.memory.path + "-wal"))}


@dataclass
class Bm25System(ReadingSystem):
    """The baseline: BM25 over the same texts, without the words of questions."""

    _lexical: dict[str, tuple[Bm25, list[str]]] = field(default_factory=dict, init=False)

    def _take(self, history: History, messages: Sequence[Message]) -> None:
        self._lexical[history.name] = Bm25([message.text for message in messages]), [message.source for message in messages]

    def held(self, history: str) -> list[Message]:
        known = set(self._lexical[history][1])
        return [message for message in self.histories[history].messages if message.source in known]

    def rank(self, item: Item, at_once: bool) -> tuple[list[str], float]:
        if at_once:
            raise Invalid("BM25: has no history to go back in; only the product is asked 'at once'")
        lexical, sources = self._lexical[item.history]
        ranking = lexical.rank(item.question, self.k, STOP_WORDS)
        return [sources[i] for i in ranking], 1.0 if ranking else 0.0


def newest(messages: Sequence[Message], tokens: int) -> list[Message]:
    """The newest messages that fit into `tokens`, in order."""
    kept, left = [], tokens
    for message in reversed(messages):
        left -= _COUNT(message.text)
        if left < 0:
            break
        kept.append(message)
    return kept[::-1]


def replay(history: History, sessions: Sequence[int]) -> list[Message]:
    """Whole sessions, in the order in which they were."""
    wanted = set(sessions)
    return [message for message in history.messages if message.session in wanted]
