"""A reader whose capacity is limited, calibrated by the paper's own tables: what it gets wrong grows with what it reads at once.

A question has a difficulty, drawn once from its text: a prompt of t tokens is read right where the reader's error at t lies below it. So the
same question is as hard to every method, and what differs between methods is what they put in front of the reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from mnemos.base.errors import Invalid
from mnemos.bench.convomem.grammar import Statement, asked, sentences
from mnemos.bench.convomem.reader import ExactReader, Numbered, Piece, Reading
from mnemos.bench.convomem.schema import Message

READER_ERRORS = ((1, 0.05), (150, 0.18))
"""(conversations, error): long context on user facts, 94.7 % right after one and 82.0 % after 150 (table 3; the sheet's calibration)."""
HELPER_ERRORS = ((1, 0.13), (10, 0.18), (300, 0.80))
"""A lite model: implicit connections by one extraction (75 % and 17.5 %) and by blocks of ten (70.7 % on average), over the 82 % of the reader."""
INVENTIONS = ((1, 0.003), (10, 0.033), (30, 0.05), (100, 0.157), (150, 0.203), (300, 0.237))
"""(conversations, share of unanswerable questions answered all the same): long context on abstention, 99.7 % right to 76.3 %."""
_FALSE_QUOTES = 0.5
"""Share of inventions whose quote was never said; the others quote what was said of another thing."""


@dataclass(frozen=True)
class Curve:
    """A share by the tokens read at once: linear in their logarithm between the points, straight on beyond the last, flat before the first."""

    tokens: tuple[float, ...]
    shares: tuple[float, ...]

    @classmethod
    def of(cls, points: Sequence[tuple[int, float]], conversation_tokens: float) -> Curve:
        """From points by conversations, of so many tokens each. Raises `Invalid` for fewer than two points."""
        if len(points) < 2 or conversation_tokens <= 0:
            raise Invalid("capacity: a curve needs two points and conversations of more than 0 tokens")
        return cls(tuple(n * conversation_tokens for n, _ in points), tuple(share for _, share in points))

    def at(self, tokens: float) -> float:
        """The share after `tokens`, within 0 and 1."""
        x, xs = np.log(max(tokens, 1.0)), np.log(self.tokens)
        share = float(np.interp(x, xs, self.shares))
        if x > xs[-1]:
            share += float((x - xs[-1]) * (self.shares[-1] - self.shares[-2]) / (xs[-1] - xs[-2]))
        return min(1.0, max(0.0, share))


def draw(*parts: object) -> float:
    """A number within 0 and 1 that depends on `parts` alone."""
    digest = blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


@dataclass(frozen=True)
class CapacityReader:
    """Reads like the exact reader, but overlooks one piece of evidence of what is too hard for it, and invents where it was told nothing."""

    errors: Curve
    inventions: Curve
    who: str = ""
    """Whose questions: the same words from another person are another question, of a difficulty of its own."""
    exact: ExactReader = field(default_factory=ExactReader)

    def extract(self, question: str, conversations: Sequence[Numbered], tokens: int) -> list[Piece]:
        """The pieces, less one where the question is too hard at `tokens`, and with something near that could be taken for the answer."""
        found = self.exact.extract(question, conversations, tokens)
        return self.noticed(question, [*found, *self._near(question, conversations)], tokens)

    def extract_all(self, question: str, blocks: Sequence[Sequence[Numbered]], tokens: Sequence[int]) -> list[list[Piece]]:
        return [self.extract(question, block, cost) for block, cost in zip(blocks, tokens, strict=True)]

    def noticed(self, question: str, pieces: Sequence[Piece], tokens: int) -> list[Piece]:
        """What of `pieces` the reader takes in from a prompt of `tokens`."""
        kept = list(pieces)
        ask = asked(question)
        bearing = [piece for piece in kept if ask and piece.statement and piece.statement.key in ask.keys]
        if bearing and draw(self.who, question, "difficulty") < self.errors.at(tokens):
            kept.remove(bearing[int(draw(self.who, question, "piece") * len(bearing))])
        return kept

    def answer(self, question: str, pieces: Sequence[Piece], tokens: int) -> Reading:
        reading = self.exact.answer(question, pieces, tokens)
        if reading.known or draw(self.who, question, "invention") >= self.inventions.at(tokens):
            return reading
        return self._invented(question, pieces) or reading

    def whole(self, question: str, conversations: Sequence[Numbered], tokens: int) -> Reading:
        return self.answer(question, self.extract(question, conversations, tokens), tokens)

    def _near(self, question: str, conversations: Sequence[Numbered]) -> list[Piece]:
        """One fact of the asked attribute about something else, of those read, which of them depending on the question."""
        ask = asked(question)
        if ask is None or ask.shape != "parts":
            return []
        for step in range(len(conversations)):
            number, conversation = conversations[(int(draw(self.who, question, "near") * len(conversations)) + step) % len(conversations)]
            told = self.exact.book(conversation).get(("attribute", ask.keys[0][:1]), [])
            others = [piece for piece in told if piece.statement and piece.statement.key not in ask.keys]
            if others:
                return [Piece(others[0].message, (number, others[0].place[1]), others[0].statement)]
        return []

    def _invented(self, question: str, pieces: Sequence[Piece]) -> Reading | None:
        ask = asked(question)
        if ask is None or ask.shape != "parts":
            return None
        near = [piece for piece in pieces if piece.statement and piece.statement.kind == "fact" and piece.statement.key[:1] == ask.keys[0][:1]
                and piece.statement.key not in ask.keys]  # fmt: skip
        if not near or near[0].statement is None:
            return None
        value = near[0].statement.value
        if draw(self.who, question, "false quote") < _FALSE_QUOTES:
            said = sentences(Statement("fact", ask.keys[0], value))[0]
            return Reading(value, (Message("user", said),))
        return Reading(value, (near[0].message,))
