"""Plain text memory under the same questions: the context is ingested as documents, a turn is a search, and a reader without a model, or a chat
model, answers from what is found."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import mnemos
from mnemos.base.protocols import ChatModel
from mnemos.bench.scbench.clients import Answered
from mnemos.bench.scbench.methods import Stats
from mnemos.bench.scbench.records import Record, Span, Turn
from mnemos.kernel.space import Space
from mnemos.text.tokens import count_tokens

PAGE = 500
PIECE_TOKENS = 60
"""Tokens of a document, about: sentences are put together until they are as long."""
_SENTENCE = re.compile(r".+?(?:[.!?](?=\s)|[。;](?=\s|$|[^\s])|, (?=\")|\n|$)", re.DOTALL)


def pieces(text: str, tokens: int = PIECE_TOKENS) -> list[Span]:
    """Where the documents lie: whole sentences or lines, put together up to `tokens`; a longer sentence is one by itself."""
    out: list[Span] = []
    held = 0
    for found in _SENTENCE.finditer(text):
        if not found.group().strip():
            continue
        cost = count_tokens(found.group())
        if out and held + cost <= tokens:
            out[-1] = (out[-1][0], found.end())
            held += cost
        else:
            out.append(found.span())
            held = cost
    return out


def _document(text: str, span: Span) -> dict[str, Any]:
    """A piece of the context as a memory that knows where it stood."""
    return {"text": text, "type": "document", "metadata": {"span": list(span)}}


class MemoryClient:
    """A space of its own for each session. `embedder` and `strategy` as `mnemos.open` and `space` take them; with `chat` a model reads the finds.
    `store`: an open memory in which all sessions lie, each in its space; None: each has a store of its own."""

    query_aware = False

    def __init__(
        self, embedder: Any = None, strategy: str = "plain", chat: ChatModel | None = None, store: mnemos.Mnemos | None = None
    ) -> None:
        self.embedder, self.strategy, self.chat, self.store = embedder, strategy, chat, store
        self._opened = 0
        self.name = f"memory {strategy}" + (f", {chat.fingerprint}" if chat else ", rules")
        self.template = hashlib.sha256(f"memory\x1f{PIECE_TOKENS}\x1f{self.name}".encode()).hexdigest()[:16]

    def open(self, record: Record, query: Turn | None = None) -> MemoryConversation:
        memory = self.store or mnemos.open(":memory:", embedder=self.embedder)
        self._opened += 1
        try:
            space = memory.space(f"session-{self._opened}", strategy=self.strategy)
            spans = self.split(record)
            space.add_many(_document(record.context[start:end], (start, end)) for start, end in spans)
        except BaseException:
            if self.store is None:
                memory.close()
            raise
        return self.conversation(record, memory, space)

    def split(self, record: Record) -> list[Span]:
        """Where the documents lie in the context."""
        return pieces(record.context)

    def conversation(self, record: Record, memory: mnemos.Mnemos, space: Space) -> MemoryConversation:
        """Over a space that has read the context."""
        return MemoryConversation(self, memory, space, record, owner=self.store is None)


class MemoryConversation:
    """The space with the context. Asking reads only, so that a fork is the same space."""

    def __init__(self, client: MemoryClient, memory: mnemos.Mnemos, space: Space, record: Record, owner: bool = True) -> None:
        self._client, self._memory, self._space, self._record, self._owner = client, memory, space, record, owner
        self._size, self._documents = len(record.context.encode()), len(client.split(record))
        self._asked = ""

    def ask(self, turn: Turn, n: int) -> Answered:
        before = self.digest()
        start = perf_counter()
        answer = self._space.answer(turn.input, chat=self._client.chat)
        seconds = perf_counter() - start
        self._asked = turn.input
        read = self._read(turn, [tuple(hit.cube.metadata["span"]) for hit in answer.hits if "span" in hit.cube.metadata])
        return Answered(answer.text, count_tokens(answer.text), rest_seconds=seconds, stats=Stats(self.resident()), read=read,
                        rolled_back=before == self.digest())  # fmt: skip

    def resident(self) -> dict[str, int]:
        """Bytes of the context's text, and of the vectors by which its documents are found."""
        embedder = self._memory.embedding.embedder
        if embedder is None:
            return {"text": self._size}
        return {"text": self._size, "vectors": 4 * embedder.dimensions * self._documents}

    @staticmethod
    def _read(turn: Turn, found: Sequence[Span | None]) -> float | None:
        """The share of the turn's evidence that lies in what was found; None without evidence."""
        wanted = {place for begin, end in turn.evidence for place in range(begin, end)}
        seen = {place for span in found if span is not None for place in range(*span)}
        return len(wanted & seen) / len(wanted) if wanted else None

    def settle(self, answer: str) -> None:
        """The question and its answer become a memory, too."""
        self._space.add(f"{self._asked}\n{answer}", type="turn")

    def change(self, record: Record) -> None:
        """Forgets the documents that are no longer there, and adds those that are new."""
        spans = self._client.split(record)
        now = {record.context[start:end]: (start, end) for start, end in spans}
        before: set[str] = set()
        gone: list[Any] = []
        cursor: str | None = None
        while True:
            page = self._space.list(types=["document"], limit=PAGE, cursor=cursor)
            before |= {cube.text for cube in page}
            gone += [cube.id for cube in page if cube.text not in now]
            cursor = page.cursor
            if cursor is None:
                break
        if gone:
            self._space.forget(ids=gone, reason="the context has changed")
        self._space.add_many(_document(text, span) for text, span in now.items() if text not in before)
        self._record, self._size, self._documents = record, len(record.context.encode()), len(now)

    def fork(self) -> MemoryConversation:
        return MemoryConversation(self._client, self._memory, self._space, self._record, owner=False)

    def digest(self) -> str | None:
        """The position of the log: every write moves it."""
        return str(self._memory.position())

    def close(self) -> None:
        if self._owner:
            self._memory.close()
