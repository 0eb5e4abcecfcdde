"""Readers of the generated conversations: the exact one, which knows the grammar and nothing else, and what it finds and answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from mnemos.bench.convomem.grammar import NO_INFORMATION, Asked, Key, Statement, asked, understand
from mnemos.bench.convomem.schema import Conversation, Message

KINDS_OF_SHAPE: Mapping[str, tuple[str, ...]] = {
    "parts": ("fact", "change"),
    "history": ("fact", "change"),
    "purchases": ("purchase",),
    "total": ("payment",),
    "advice": ("advice",),
    "running": ("budget", "raise", "cut"),
    "tastes": ("taste",),
    "occasion": ("constraint",),
    "dates": ("event",),
}
Numbered = tuple[int, Conversation]
"""A conversation and its number in the history."""
_CHANGES = frozenset({"raise", "cut"})


@dataclass(frozen=True, slots=True)
class Piece:
    """A message that bears on a question, and where it stands: `place` orders pieces in time."""

    message: Message
    place: tuple[int, int]
    """(number of the conversation in the history, number of the message in it)."""
    statement: Statement | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer with the messages that it rests on; `known` says whether it claims to know."""

    text: str
    quotes: tuple[Message, ...] = ()
    known: bool = True


class Reader(Protocol):
    """Reads conversations for a question: `extract` what bears on it, then `answer` from that. `tokens` is what is read at once."""

    def extract(self, question: str, conversations: Sequence[Numbered], tokens: int) -> list[Piece]:
        """The pieces, in order of time, of numbered conversations."""
        ...

    def extract_all(self, question: str, blocks: Sequence[Sequence[Numbered]], tokens: Sequence[int]) -> list[list[Piece]]:
        """The pieces of several blocks, read side by side."""
        ...

    def noticed(self, question: str, pieces: Sequence[Piece], tokens: int) -> list[Piece]:
        """What it takes in of pieces that somebody else picked, such as the hits of a search, from a prompt of `tokens`."""
        ...

    def answer(self, question: str, pieces: Sequence[Piece], tokens: int) -> Reading:
        """The answer that the pieces give, of a prompt of `tokens`."""
        ...

    def whole(self, question: str, conversations: Sequence[Numbered], tokens: int) -> Reading:
        """The answer from everything, in one prompt of `tokens`."""
        ...


class ExactReader:
    """Understands every sentence of the grammar, looks up what the question asks, and says that it was not told where it was not."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Conversation, Mapping[tuple[str, Key], list[Piece]]]] = {}

    def extract(self, question: str, conversations: Sequence[Numbered], tokens: int) -> list[Piece]:
        ask = asked(question)
        if ask is None:
            return []
        wanted = [(kind, key) for key in ask.keys for kind in KINDS_OF_SHAPE[ask.shape]]
        wanted += [("topic", key[1:]) for key in ask.keys if ask.shape == "parts"]
        return sorted((self._numbered(piece, number) for number, conversation in conversations
                       for piece in self._pieces(conversation, wanted)), key=lambda piece: piece.place)  # fmt: skip

    def extract_all(self, question: str, blocks: Sequence[Sequence[Numbered]], tokens: Sequence[int]) -> list[list[Piece]]:
        return [self.extract(question, block, cost) for block, cost in zip(blocks, tokens, strict=True)]

    def noticed(self, question: str, pieces: Sequence[Piece], tokens: int) -> list[Piece]:
        return list(pieces)

    def whole(self, question: str, conversations: Sequence[Numbered], tokens: int) -> Reading:
        return self.answer(question, self.extract(question, conversations, tokens), tokens)

    @staticmethod
    def _numbered(piece: Piece, number: int) -> Piece:
        return Piece(piece.message, (number, piece.place[1]), piece.statement)

    def _pieces(self, conversation: Conversation, wanted: Iterable[tuple[str, Key]]) -> Iterable[Piece]:
        book = self.book(conversation)
        found = {piece.place[1]: piece for entry in wanted for piece in book.get(entry, ())}
        return found.values()

    def book(self, conversation: Conversation) -> Mapping[tuple[str, Key], list[Piece]]:
        """What a conversation says, by kind and key; facts also by what they are about, as ("topic", (room, thing)), and by attribute."""
        held = self._known.get(id(conversation))
        if held is None:
            book: dict[tuple[str, Key], list[Piece]] = {}
            for i, message in enumerate(conversation.messages):
                for statement in understand(message.text):
                    if (statement.kind == "advice") == (message.speaker == "assistant"):
                        piece = Piece(message, (0, i), statement)
                        book.setdefault((statement.kind, statement.key), []).append(piece)
                        if statement.kind == "fact":
                            book.setdefault(("topic", statement.key[1:]), []).append(piece)
                            book.setdefault(("attribute", statement.key[:1]), []).append(piece)
            held = self._known[id(conversation)] = (conversation, book)
        return held[1]

    def answer(self, question: str, pieces: Sequence[Piece], tokens: int) -> Reading:
        ask = asked(question)
        if ask is None:
            return Reading(NO_INFORMATION, (), known=False)
        kinds = KINDS_OF_SHAPE[ask.shape]
        bearing = [piece for piece in pieces if piece.statement and piece.statement.kind in kinds and piece.statement.key in ask.keys]
        text = _compose(ask, [piece.statement for piece in bearing if piece.statement])
        if text is None:
            return Reading(NO_INFORMATION, tuple(piece.message for piece in pieces), known=False)
        return Reading(text, tuple(piece.message for piece in bearing))


def pieces_of(messages: Iterable[tuple[tuple[int, int], Message]]) -> list[Piece]:
    """Pieces of single messages with their places, as a search finds them: one for each statement, in order of time."""
    return sorted(
        (
            Piece(message, place, statement)
            for place, message in messages
            for statement in understand(message.text)
            if (statement.kind == "advice") == (message.speaker == "assistant")
        ),
        key=lambda piece: piece.place,
    )


def _compose(ask: Asked, statements: Sequence[Statement]) -> str | None:
    """The answer that statements, in order of time, give; None where they give none."""
    values: dict[Key, list[str]] = {}
    for statement in statements:
        values.setdefault(statement.key, []).append(statement.value)
    if any(key not in values for key in ask.keys):
        return None
    if ask.shape == "parts":
        return "; ".join(values[key][-1] for key in ask.keys)
    told = values[ask.keys[0]]
    if ask.shape == "history":
        return "; ".join([f"now {told[-1]}", *(f"before {value}" for value in told[:-1])])
    if ask.shape == "total":
        return f"{sum(int(value.split()[0]) for value in told)} dollars"
    if ask.shape == "running":
        return _running(statements)
    if ask.shape == "dates":
        return _dates(ask, [values[key][0] for key in ask.keys])
    return "; ".join(dict.fromkeys(told))


def _running(statements: Sequence[Statement]) -> str | None:
    total: int | None = None
    for statement in statements:
        amount = int(statement.value)
        if statement.kind in _CHANGES:
            if total is not None:
                total += amount if statement.kind == "raise" else -amount
        else:
            total = amount
    return None if total is None else f"{total} dollars"


def _dates(ask: Asked, told: Sequence[str]) -> str:
    days = [day_of(value) for value in told]
    if len(days) == 1:
        return told[0]
    if len(days) == 2:
        return f"{abs((days[1] - days[0]).days)} days"
    order = sorted(range(len(days)), key=lambda i: days[i])
    return "; ".join(f"{past} with {name}" for past, name in (ask.keys[i] for i in order))


def day_of(text: str) -> date:
    """The day of "12 March 2024"."""
    return datetime.strptime(text, "%d %B %Y").date()
