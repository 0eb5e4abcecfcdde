"""Answers from memory, with the memories that they are quoted from, or none: what is not supported word for word is not claimed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnemos.base.clock import to_micros
from mnemos.base.errors import Invalid
from mnemos.base.protocols import ChatModel
from mnemos.kernel.reading.results import Hit
from mnemos.text.answering.candidates import Source
from mnemos.text.asking import Report
from mnemos.text.block_reading import grounded
from mnemos.text.question import analyse
from mnemos.text.refusal import RefusalGate
from mnemos.text.subject import rarity

if TYPE_CHECKING:
    from mnemos.kernel.space import Space

BY_RULES = 8
"""Memories that are read by rules: of 3, 5, 8, 15 and 25, those after which unanswerable questions of LongMemEval are told apart best."""
BY_MODEL = 40
"""Memories that a model reads. Default: the most that the adaptive cut keeps; twice as many where several things are asked for."""


@dataclass(frozen=True, slots=True)
class MemoryAnswer:
    """What memory answers. `text` is empty where it claims nothing; then `reason` says why."""

    text: str
    quotes: tuple[tuple[str, str], ...]
    """(id of the memory, what it says word for word): what supports the answer; of a refused one, what it was taken from."""
    reason: str
    confidence: float
    by: str
    """"rules", or the fingerprint of the model."""
    hits: tuple[Hit, ...] = ()
    """The memories that were read, best first."""

    def __bool__(self) -> bool:
        return bool(self.text)

    def __str__(self) -> str:
        return self.text

    def as_json(self) -> dict[str, Any]:
        quotes = [{"id": id_, "text": text} for id_, text in self.quotes]
        hits = [hit.as_json() for hit in self.hits]
        return {"text": self.text, "quotes": quotes, "reason": self.reason, "confidence": self.confidence, "by": self.by, "hits": hits}


def answer_from(
    space: Space,
    question: str,
    chat: ChatModel | None,
    gate: RefusalGate | None,
    count: Callable[[str], int],
    report: Report | None,
    conditions: dict[str, Any],
) -> MemoryAnswer:
    """The answer that the best memories for `question` support. Raises `Invalid`, `PermissionDenied` as a search does."""
    for name, given, known, wanted in (
        ("chat", chat, ChatModel, "a chat model"), ("gate", gate, RefusalGate, "a RefusalGate"), ("report", report, Report, "a Report"),
    ):  # fmt: skip
        if given is not None and not isinstance(given, known):
            raise Invalid(f"{name}: expected {wanted}, or None, not {type(given).__name__}")
    if "k" in conditions:
        raise Invalid("answer: takes no k; what is read depends on who reads it")
    ranked = space.search(question, k=BY_MODEL * (2 if analyse(question).asks_several else 1), **conditions)
    hits = ranked[:BY_RULES] if chat is None else ranked
    sources = [Source(str(hit.cube.id), hit.cube.text, hit.cube.author, to_micros(hit.cube.event_at)) for hit in hits]
    weight = rarity([hit.cube.text for hit in ranked])
    found = grounded(question, sources, chat=chat, gate=gate, now=space.system.clock(), weight=weight, count=count, report=report)
    quotes = tuple((quote.id, quote.text) for quote in found.quotes)
    return MemoryAnswer(found.text, quotes, found.reason, found.confidence, found.by, tuple(hits))
