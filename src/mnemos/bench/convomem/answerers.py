"""Ways to answer from a history (section 4): read it whole, by blocks, by one extraction, by the hits of a search, or as the policy says."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Protocol, runtime_checkable

import numpy as np

from mnemos.bench.convomem.grammar import NO_INFORMATION
from mnemos.bench.convomem.ranking import Found, Ranking
from mnemos.bench.convomem.reader import Numbered, Piece, Reader, Reading, pieces_of
from mnemos.bench.convomem.schema import Conversation, Message
from mnemos.text.question import analyse
from mnemos.text.reading_policy import BLOCK, MOST_CONVERSATIONS, HistoryStats, ReadPolicy, adaptive_cut
from mnemos.text.refusal import RefusalGate
from mnemos.text.tokens import count_tokens

FRAME_TOKENS = 200
"""Instructions of a prompt."""
HIT_TOKENS = 25
"""Tokens of a message of the generated conversations, about."""
CANDIDATES = 80
"""Messages that a search ranks before the cut."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a question took, and the calls of either model."""

    reader_in: int = 0
    reader_out: int = 0
    helper_in: int = 0
    helper_out: int = 0
    calls: int = 0
    cached: int = 0
    """Of `reader_in` and `helper_in`, what is the same for every question of the history: what a prompt cache may hold."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))

    @property
    def read(self) -> int:
        """Tokens read by either model."""
        return self.reader_in + self.helper_in


@dataclass(frozen=True, slots=True)
class Answer:
    """What a memory system answers. `evidence_ids` are "conversation:message" of what it quotes."""

    text: str
    evidence_ids: tuple[str, ...]
    usage: Usage
    latency: float
    """Seconds."""
    quotes: tuple[str, ...] = ()
    policy: str = ""
    """What the policy chose, where there is one."""


@runtime_checkable
class MemorySystem(Protocol):
    """What the benchmark asks of a system under test."""

    def reset(self) -> None:
        """Forget the history."""
        ...

    def add(self, conversation: Conversation) -> None:
        """Take in the next conversation."""
        ...

    def answer(self, question: str) -> Answer:
        """Answer from what was added."""
        ...


@dataclass
class Answerer:
    """A memory system that keeps conversations and reads them anew for each question; ways to read override `read`."""

    reader: Reader
    gate: RefusalGate | None = None
    """Where given, an answer without quoted support becomes an abstention."""
    history: list[Conversation] = field(default_factory=list)

    def reset(self) -> None:
        self.history = []

    def add(self, conversation: Conversation) -> None:
        self.history.append(conversation)

    def answer(self, question: str) -> Answer:
        start = perf_counter()
        reading, usage, chosen = self.read(question, list(enumerate(self.history)))
        if self.gate is not None:
            reading = gated(self.gate, question, reading, said_in(self.history))
        seconds = perf_counter() - start
        return Answer(reading.text, self._places(reading.quotes), usage, seconds, tuple(quote.text for quote in reading.quotes), chosen)

    def read(self, question: str, conversations: Sequence[Numbered]) -> tuple[Reading, Usage, str]:
        """The reading, what it took, and the way that was chosen where there is a choice."""
        raise NotImplementedError

    def _places(self, quotes: Sequence[Message]) -> tuple[str, ...]:
        wanted = {id(quote) for quote in quotes}
        return tuple(f"{i}:{j}" for i, one in enumerate(self.history) for j, message in enumerate(one.messages) if id(message) in wanted) \
            if wanted else ()  # fmt: skip


def gated(gate: RefusalGate, question: str, reading: Reading, said: Set[str]) -> Reading:
    """The reading, or an abstention where its quotes do not support it; `said` are the messages of the history."""
    if not reading.known:
        return reading
    quotes = [quote.text for quote in reading.quotes]
    ruling = gate.check(question, reading.text, quotes, [quote for quote in quotes if quote in said])
    return reading if ruling.supported else replace(reading, text=NO_INFORMATION, known=False)


def said_in(history: Sequence[Conversation]) -> frozenset[str]:
    """What the messages of a history say."""
    return frozenset(message.text for conversation in history for message in conversation.messages)


def tokens_of(conversations: Sequence[Numbered]) -> int:
    return sum(conversation.tokens for _, conversation in conversations)


def _said(pieces: Sequence[Piece]) -> int:
    return sum(count_tokens(message.text) + 2 for message in {id(piece.message): piece.message for piece in pieces}.values())


def _within(pieces: Sequence[Piece], tokens: int) -> list[Piece]:
    """The first pieces that fit together."""
    kept: list[Piece] = []
    for piece in pieces:
        if _said([*kept, piece]) > tokens:
            break
        kept.append(piece)
    return kept


def read_whole(reader: Reader, question: str, conversations: Sequence[Numbered]) -> tuple[Reading, Usage]:
    """Everything in one prompt."""
    tokens = tokens_of(conversations)
    reading = reader.whole(question, conversations, tokens)
    prompt = tokens + FRAME_TOKENS + count_tokens(question)
    return reading, Usage(prompt, count_tokens(reading.text), calls=1, cached=tokens)


def read_blocks(
    reader: Reader, helper: Reader, question: str, conversations: Sequence[Numbered], size: int = BLOCK, most: int | None = None
) -> tuple[Reading, Usage]:
    """Blocks read by the helper side by side, at most `most` tokens of what they quote read by the reader; abstain where no block has anything."""
    blocks = [conversations[at : at + size] for at in range(0, len(conversations), size)]
    costs = [tokens_of(block) for block in blocks]
    asked = FRAME_TOKENS + count_tokens(question)
    usage = Usage()
    pieces: list[Piece] = []
    for found, cost in zip(helper.extract_all(question, blocks, costs), costs, strict=True):
        kept = found if most is None else _within(found, most - _said(pieces))
        usage += Usage(helper_in=cost + asked, helper_out=_said(found) or 2, calls=1, cached=cost)
        pieces += kept
    if not pieces:
        return Reading(NO_INFORMATION, (), known=False), usage
    left = _said(pieces)
    reading = reader.answer(question, pieces, left)
    return reading, usage + Usage(left + FRAME_TOKENS + count_tokens(question), count_tokens(reading.text), calls=1)


@dataclass
class LongContext(Answerer):
    """Everything in the prompt."""

    def read(self, question: str, conversations: Sequence[Numbered]) -> tuple[Reading, Usage, str]:
        return *read_whole(self.reader, question, conversations), ""


@dataclass
class Blocks(Answerer):
    """Blocks of ten conversations, quotes by a helper, one synthesis."""

    helper: Reader | None = None
    size: int = BLOCK

    def read(self, question: str, conversations: Sequence[Numbered]) -> tuple[Reading, Usage, str]:
        return *read_blocks(self.reader, self.helper or self.reader, question, conversations, self.size), ""


@dataclass
class Extracted(Blocks):
    """One extraction over everything, then the answer."""

    def read(self, question: str, conversations: Sequence[Numbered]) -> tuple[Reading, Usage, str]:
        return *read_blocks(self.reader, self.helper or self.reader, question, conversations, max(1, len(conversations))), ""


@dataclass
class Retrieval(Answerer):
    """The hits of a search: a fixed number `k`, or as many as the adaptive cut keeps where None."""

    ranking: Ranking | None = None
    k: int | None = 5
    drop: float | None = None
    """For `adaptive_cut`, where `k` is None."""

    def read(self, question: str, conversations: Sequence[Numbered]) -> tuple[Reading, Usage, str]:
        return *read_hits(self.reader, question, self.hits(question, conversations)), ""

    def hits(self, question: str, conversations: Sequence[Numbered]) -> list[Found]:
        ranked = _ranked(self.ranking, question, conversations)
        return ranked[: self.k if self.k is not None else cut_of(question, ranked, self.drop)]


@dataclass
class Policy(Answerer):
    """What `ReadPolicy` plans for the question and the size of the history."""

    helper: Reader | None = None
    ranking: Ranking | None = None
    policy: ReadPolicy = field(default_factory=lambda: ReadPolicy(hit_tokens=HIT_TOKENS))

    def read(self, question: str, conversations: Sequence[Numbered]) -> tuple[Reading, Usage, str]:
        asked = count_tokens(question)
        blocks = -(-len(conversations) // BLOCK)
        plan = self.policy.plan(analyse(question), HistoryStats(len(conversations), tokens_of(conversations) + (blocks + 1) * asked))
        helper = self.helper or self.reader
        if plan.kind == "exhaustive":
            return *read_whole(self.reader, question, conversations), plan.kind
        if plan.kind == "blocks":
            most = int(tokens_of(conversations) * self.policy.extract_share)
            return *read_blocks(self.reader, helper, question, conversations, most=most), plan.kind
        ranked = _ranked(self.ranking, question, conversations, plan.hits)
        if plan.kind == "retrieve":
            return *read_hits(self.reader, question, _fitting(ranked[: cut_of(question, ranked, None)], plan.tokens - asked)), plan.kind
        survivors = survivors_of(ranked, conversations, plan.tokens - asked)
        if tokens_of(survivors) <= self.policy.whole_tokens:
            return *read_whole(self.reader, question, survivors), plan.kind
        return *read_blocks(self.reader, helper, question, survivors, most=int(plan.tokens * self.policy.extract_share)), plan.kind


def survivors_of(ranked: Sequence[Found], conversations: Sequence[Numbered], tokens: int) -> list[Numbered]:
    """Conversations ranked by their best hit and cut where 95 % of the relevance is in, as many of them as fit, in order of time."""
    best: dict[int, float] = {}
    for found in ranked:
        best.setdefault(found.place[0], found.score)
    kept = adaptive_cut(np.array(list(best.values())), maximum=MOST_CONVERSATIONS, multi_evidence=True, gap=None)
    survivors: list[Numbered] = []
    for place in list(best)[:kept]:
        if tokens_of([*survivors, conversations[place]]) > tokens:
            break
        survivors.append(conversations[place])
    return sorted(survivors, key=lambda numbered: numbered[0])


def _fitting(hits: Sequence[Found], tokens: int) -> list[Found]:
    """The best hits that fit together."""
    kept, used = [], 0
    for found in hits:
        used += count_tokens(found.message.text) + 2
        if used > tokens:
            break
        kept.append(found)
    return kept


def cut_of(question: str, ranked: Sequence[Found], drop: float | None, gap: float | None = None) -> int:
    """How many hits the adaptive cut keeps; with `gap` by the paper's rule, whichever of relevance and gap comes first."""
    scores = np.array([found.score for found in ranked])
    return adaptive_cut(scores, multi_evidence=analyse(question).asks_several, gap=gap, drop=drop, enough=0.0)


def read_hits(reader: Reader, question: str, hits: Sequence[Found]) -> tuple[Reading, Usage]:
    """The reader on hits alone, in order of time."""
    tokens = sum(count_tokens(found.message.text) + 2 for found in hits)
    pieces = reader.noticed(question, pieces_of((found.place, found.message) for found in hits), tokens)
    reading = reader.answer(question, pieces, tokens)
    return reading, Usage(tokens + FRAME_TOKENS + count_tokens(question), count_tokens(reading.text), calls=1)


def _ranked(ranking: Ranking | None, question: str, conversations: Sequence[Numbered], k: int = CANDIDATES) -> list[Found]:
    if ranking is None:
        with Ranking() as own:
            return own.rank(question, [conversation for _, conversation in conversations], k)
    return ranking.rank(question, [conversation for _, conversation in conversations], k)
