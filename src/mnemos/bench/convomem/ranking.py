"""The search of the retrieving answerers: Mnemos's own, by words alone, over the messages of one persona's conversations, held in one space.

Thousands of cases share conversations, so each is indexed once; a case's history is a mask over the rows, as a filter would make it.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

import mnemos
from mnemos.bench.convomem.schema import Conversation, Message
from mnemos.text.question import analyse
from mnemos.text.registry import make
from mnemos.text.strategy import View


class Found(NamedTuple):
    """A message that a search found: (conversation in the history, message in it), and its score in log odds."""

    place: tuple[int, int]
    message: Message
    score: float


class Ranking:
    """Ranks the messages of conversations for a question. Conversations are taken in when first seen. Close it, or use it in a `with`."""

    def __init__(self) -> None:
        self._memory = mnemos.open(":memory:", embedder="none")
        self._space = self._memory.space("history")
        self._strategy = make("auto")
        self._rows: dict[int, tuple[Conversation, int]] = {}
        self._count = 0
        self._last: tuple[tuple[str, tuple[int, ...]], int, list[Found]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._memory.close()

    def take_in(self, conversations: Sequence[Conversation]) -> None:
        """Remember those conversations that are new."""
        records = []
        for conversation in conversations:
            if id(conversation) not in self._rows:
                self._rows[id(conversation)] = (conversation, self._count)
                self._count += len(conversation.messages)
                session = str(len(self._rows))
                records += [{"text": message.text, "author": message.speaker, "type": "turn", "metadata": {"session": session}}
                            for message in conversation.messages]  # fmt: skip
        if records:
            self._space.add_many(records)

    def rank(self, question: str, conversations: Sequence[Conversation], k: int) -> list[Found]:
        """The best `k` messages of a history, best first; several methods ask the same, so the last ranking is kept."""
        key = question, tuple(map(id, conversations))
        if self._last is None or self._last[0] != key or self._last[1] < k:
            self._last = key, k, self._ranked(question, conversations, k)
        return self._last[2][:k]

    def _ranked(self, question: str, conversations: Sequence[Conversation], k: int) -> list[Found]:
        self.take_in(conversations)
        starts = np.array([self._rows[id(conversation)][1] for conversation in conversations], dtype=np.int64)
        lengths = np.array([len(conversation.messages) for conversation in conversations], dtype=np.int64)
        order = np.argsort(starts)
        with self._memory.snapshot() as snapshot:
            index = self._memory.index(self._space.num, snapshot)
            with index.lock:
                self._memory.indexes.catch_up(index, snapshot)
                mask: NDArray[np.bool_] = np.zeros(len(index), dtype=np.bool_)
                for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
                    mask[start : start + length] = True
                now = self._memory.clock()
                asked = analyse(question, index.speakers(mask), now, index.span(mask))
                recall = self._strategy.recall(asked, View(index, mask, None, now), k)
        rows = recall.rows
        at = order[np.searchsorted(starts[order], rows, side="right") - 1]
        return [
            Found((which, row - int(starts[which])), conversations[which].messages[row - int(starts[which])], score)
            for which, row, score in zip(at.tolist(), rows.tolist(), recall.scores.tolist(), strict=True)
        ]
