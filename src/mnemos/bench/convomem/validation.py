"""What makes labels trustworthy (section 3): with its evidence an item is answered, without it, or without any one message, it is not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mnemos.bench.convomem import words
from mnemos.bench.convomem.grammar import OF_ATTRIBUTE, asked
from mnemos.bench.convomem.judges import right
from mnemos.bench.convomem.reader import Reader
from mnemos.bench.convomem.schema import Conversation, EvidenceItem, TestCase

_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"[^\W_]+")
_PARTLY = 0.8
"""Share of a message's words, from which a message counts as holding it partly."""


@dataclass(frozen=True)
class Validity:
    """What was found of one item."""

    with_evidence: bool
    """Answered from its evidence, twice in a row."""
    without: bool
    """Answered from nothing: its labels are worth nothing then."""
    after_removal: int
    """How many of its conversations can be removed and it is answered all the same."""
    verbatim: bool
    """Each evidence message occurs exactly once, word for word."""

    @property
    def valid(self) -> bool:
        return self.with_evidence and not self.without and not self.after_removal and self.verbatim


def validate(item: EvidenceItem, reader: Reader) -> Validity:
    """Ask the reader with all evidence, with none, and with each conversation removed.

    To abstain is right whatever was read, so an unanswerable item counts as answered only where the reader also quotes every message that
    speaks of the topic: that is what its evidence is.
    """
    everything = item.conversations
    twice = all(_answered(item, reader, everything) for _ in range(2))
    removed = sum(_answered(item, reader, everything[:i] + everything[i + 1 :]) for i in range(len(everything)))
    placed = all(len(locate(message.text, everything)) == 1 for message in item.message_evidences)
    return Validity(twice, _answered(item, reader, ()), removed, placed)


def _answered(item: EvidenceItem, reader: Reader, conversations: Sequence[Conversation]) -> bool:
    tokens = sum(conversation.tokens for conversation in conversations)
    reading = reader.answer(item.question, reader.extract(item.question, list(enumerate(conversations)), tokens), tokens)
    if not right(item, reading.text):
        return False
    return item.category != "abstention" or set(item.message_evidences) <= set(reading.quotes)


def locate(text: str, conversations: Iterable[Conversation]) -> list[tuple[int, int]]:
    """Where a message stands, as (conversation, message): word for word, else but for space and case, else with four fifths of its words."""
    messages = [(i, j, message.text) for i, conversation in enumerate(conversations) for j, message in enumerate(conversation.messages)]
    exact = [(i, j) for i, j, said in messages if text in said]
    if exact:
        return exact
    flat = _SPACE.sub(" ", text).strip().casefold()
    fuzzy = [(i, j) for i, j, said in messages if flat in _SPACE.sub(" ", said).casefold()]
    if fuzzy:
        return fuzzy
    wanted = set(_WORD.findall(flat))
    return [(i, j) for i, j, said in messages if wanted and len(wanted & set(_WORD.findall(said.casefold()))) >= _PARTLY * len(wanted)]


def given_away(item: EvidenceItem, case: TestCase) -> list[str]:
    """Messages of a history that say the detail which an unanswerable item asks for: thing and attribute, in any words of the vocabulary."""
    ask = asked(item.question)
    if ask is None:
        return []
    out = []
    for attribute, room, noun in ask.keys:
        things = re.compile(rf"\b{room} {noun}\b|\b{words.NOUNS[noun]} in my {room}\b")
        details = re.compile(rf"\b{attribute}\b|{_marker(attribute)}")
        out += [message.text for conversation in case.conversations for message in conversation.messages
                if things.search(message.text) and any(things.search(part) and details.search(part) for part in _sentences(message.text))]
    return out


def _marker(attribute: str) -> str:
    """What betrays the attribute in its paraphrase: the words before and after the thing."""
    before, _, after = OF_ATTRIBUTE[attribute].partition("{other_noun} in my {room}")
    parts = [re.escape(part.strip()) for part in (*before.split("{value}"), *after.split("{value}")) if len(part.strip()) > 4]
    return "|".join(parts)


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.!?])\s+", text)
