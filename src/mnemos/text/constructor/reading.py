"""The frozen reader of the reward: what of a memory is read for a question, and how well that answers it.

Source: Mem-α, arXiv 2509.25911, section 3.2: BM25, the best 20 of the facts and of the events, and the core. The paper's reader is a language
model of 32 billion parameters; here answers are looked up, exactly or by the share of their words, so that a policy is trained without a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mnemos.index.terms import fold
from mnemos.text.constructor.gist import Gist
from mnemos.text.constructor.memory import Entry, Memory
from mnemos.text.constructor.operations import LISTS, Kind

K1, B = 1.5, 0.75
"""The common retriever's (Okapi BM25)."""
MOST = 20
Words = frozenset[int]


@dataclass(frozen=True, slots=True)
class Read:
    """Something that was read."""

    id: str
    """Of the entry, or "core" and the number of the line."""
    text: str
    gist: Gist
    step: int
    """When it was written or last changed."""


def best(memory: Memory, words: Words, kinds: Sequence[Kind], most: int) -> list[Entry]:
    """The entries of some kinds that hold most of the words, by BM25, at most `most`; newer ones first where they are equal."""
    held = memory._held
    n = len(held.entries)
    if not n:
        return []
    average = sum(len(entry.gist.words) for entry in held.entries.values()) / n
    scores: dict[str, float] = {}
    for word in sorted(words):
        ids = held.by_word.get(word)
        if ids:
            idf = math.log(1.0 + (n - len(ids) + 0.5) / (len(ids) + 0.5))
            for id in ids:
                scores[id] = scores.get(id, 0.0) + idf
    weighed = [
        (score * (K1 + 1) / (1.0 + K1 * (1 - B + B * len(held.entries[id].gist.words) / average)), held.entries[id].step, id)
        for id, score in scores.items()
        if held.entries[id].kind in kinds
    ]
    weighed.sort(reverse=True)
    return [held.entries[id] for _, _, id in weighed[:most]]


def look(memory: Memory, words: Words, most: int = MOST, together: bool = False) -> list[Read]:
    """What the reader reads: the best `most` facts, the best `most` events (of both together where `together`), and the core."""
    groups: list[tuple[Kind, ...]] = [LISTS] if together else [(kind,) for kind in LISTS]
    found = [entry for kinds in groups for entry in best(memory, words, kinds, most)]
    out = [Read(entry.id, entry.shown, entry.gist, entry.step) for entry in found]
    return out + [Read(f"core {at}", line.text, line.gist, line.step) for at, line in enumerate(memory.lines)]


class Asked(Protocol):
    """A question."""

    @property
    def words(self) -> Words:
        """What is looked for."""
        ...

    def score(self, read: Sequence[Read]) -> float:
        """0..1: how well what was read answers it."""
        ...


@dataclass(frozen=True, slots=True)
class Lookup:
    """A question that is answered by the newest of what speaks of it: right where that holds the answer."""

    words: Words
    must: Words
    """What speaks of the question holds all of these."""
    answer: str
    """Folded."""
    key: str = ""
    """The attribute that is asked for: then what gives it a value speaks of the question."""

    def score(self, read: Sequence[Read]) -> float:
        speaking = [one for one in read if (one.gist.key == self.key if self.key else self.must <= one.gist.words)]
        newest = max(speaking, key=lambda one: one.step, default=None)
        return float(newest is not None and self.answer in fold(newest.text))


@dataclass(frozen=True, slots=True)
class Told:
    """A question whose answer is told in some words: the share of them that any one of what was read holds; all where it has the answer as it is."""

    words: Words
    answer: str
    """Folded; empty where only the words count."""
    telling: Words

    def score(self, read: Sequence[Read]) -> float:
        if self.answer and any(self.answer in fold(one.text) for one in read):
            return 1.0
        return max((len(self.telling & one.gist.words) / len(self.telling) for one in read), default=0.0) if self.telling else 0.0


@dataclass(frozen=True, slots=True)
class Shown:
    """A question that needs several pieces of evidence: the share of them that is read."""

    words: Words
    evidence: tuple[str, ...]
    """Folded texts, as they would be stored."""

    def score(self, read: Sequence[Read]) -> float:
        texts = [fold(one.text) for one in read]
        return sum(any(piece in text for text in texts) for piece in self.evidence) / len(self.evidence) if self.evidence else 0.0


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of the questions, and what leave-one-out credit is given by."""

    scores: list[float]
    owed: dict[str, float]
    """`Read.id` → the scores, summed over the questions, that would be lost without that entry, or line of the core."""


def ask(memory: Memory, questions: Sequence[Asked], most: int = MOST, together: bool = False, credit: bool = False) -> Scored:
    """Every question put to a memory."""
    scores: list[float] = []
    owed: dict[str, float] = {}
    for question in questions:
        read = look(memory, question.words, most, together)
        score = question.score(read)
        scores.append(score)
        if credit and score > 0:
            for one in read:
                lost = score - question.score([other for other in read if other is not one])
                if lost > 0:
                    owed[one.id] = owed.get(one.id, 0.0) + lost
    return Scored(scores, owed)
