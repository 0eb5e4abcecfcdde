"""The text tier under the same model as the caches: the context lies in text memory, each question searches it, and the model reads what is found
before the question, nothing else."""

from __future__ import annotations

import hashlib
from time import perf_counter
from typing import Any

import mnemos
from mnemos.base.errors import Invalid
from mnemos.bench.scbench.clients import Answered, TokenClient
from mnemos.bench.scbench.memory_client import MemoryClient, MemoryConversation, pieces
from mnemos.bench.scbench.methods import Stats
from mnemos.bench.scbench.records import COMPACT, Record, Span, Turn
from mnemos.kernel.space import Space
from mnemos.models.reference.language import START

MOST_HITS = 50


class ReadingClient(MemoryClient):
    """Text memory whose finds a model reads. `tokens`: what it reads of them at most, the best first; `piece`: tokens of a document, about."""

    def __init__(self, reader: TokenClient, tokens: int = 64, piece: int = 20, embedder: Any = None, strategy: str = "plain",
                 store: mnemos.Mnemos | None = None) -> None:  # fmt: skip
        if tokens < 1 or piece < 1:
            raise Invalid(f"text memory that a model reads: tokens={tokens} and piece={piece} have to be 1 or more")
        super().__init__(embedder, strategy, store=store)
        self.reader, self.tokens, self.piece = reader, tokens, piece
        self.name = f"text memory, reads {tokens} tokens"
        self.template = hashlib.sha256(f"{self.template}\x1f{reader.template}\x1f{tokens}\x1f{piece}".encode()).hexdigest()[:16]

    def split(self, record: Record) -> list[Span]:
        return pieces(record.context, self.piece)

    def conversation(self, record: Record, memory: mnemos.Mnemos, space: Space) -> ReadingConversation:
        return ReadingConversation(self, memory, space, record, owner=self.store is None)


class ReadingConversation(MemoryConversation):
    """A space with the context; the model's cache lives as long as one answer."""

    def __init__(self, client: ReadingClient, memory: mnemos.Mnemos, space: Space, record: Record, owner: bool = True) -> None:
        super().__init__(client, memory, space, record, owner)
        self._reading = client

    def ask(self, turn: Turn, n: int) -> Answered:
        before, start = self.digest(), perf_counter()
        reader = self._reading.reader
        found = self._found(turn)
        prompt = reader.around.before_context + self._joined(found) + reader.around.before_question + turn.input + reader.around.before_answer
        handle = reader.method.prefill(reader.codec.encode(prompt))
        made = reader.method.generate(handle, n, reader.stop)
        first = perf_counter() - start - made.rest_seconds
        held, kept = reader.method.stats(handle), self.resident()
        reader.method.release(handle)
        self._asked = turn.input
        return Answered(
            reader.codec.decode(made.tokens), len(made.tokens), first, made.rest_seconds, read=self._read(turn, [span for span, _ in found]),
            stats=Stats({**kept, **held.resident}, held.moved, held.length, peak=sum(kept.values()) + (held.peak or 0)), reused=0.0,
            rolled_back=before == self.digest(),
        )  # fmt: skip

    def fork(self) -> ReadingConversation:
        return ReadingConversation(self._reading, self._memory, self._space, self._record, owner=False)

    def _found(self, turn: Turn) -> list[tuple[Span | None, str]]:
        """The best hits within the budget, in the order of the context, what was said since at the end."""
        left, out = self._reading.tokens, []
        for hit in self._space.search(turn.input, k=MOST_HITS):
            cost = len(self._reading.reader.codec.encode(hit.cube.text))
            if cost <= left:
                span = hit.cube.metadata.get("span")
                out.append((None if span is None else (int(span[0]), int(span[1])), hit.cube.text))
                left -= cost
        return sorted(out, key=lambda each: (each[0] is None, each[0] or (0, 0)))

    def _joined(self, found: list[tuple[Span | None, str]]) -> str:
        if self._record.rendering != COMPACT:
            return "\n".join(text.strip() for _, text in found)
        return " ".join([START, *(text.strip().removeprefix(START).strip() for _, text in found)])
