"""What every generator gives: a context, and questions on it with their answers and the places in the context that they need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from mnemos.models.reference.language import ANSWER, END, QUESTION, START, WORDS

Filler = Callable[[Random, int], list[str]]
"""So many words of text that means nothing to the task, from a generator of random numbers."""

Span = tuple[int, int]
"""From a place in the context up to, not with, another."""

_PLAIN = [word for word in WORDS[40:240] if not word.startswith("##")]


@dataclass(frozen=True)
class Turn:
    """A question (from `<q>` to `<a>`), its answer (up to and with `<end>`), and the spans of the context without which it cannot be answered."""

    question: list[str]
    answer: list[str]
    evidence: list[Span]


@dataclass(frozen=True)
class Session:
    """A context that begins with `<s>` and the turns on it, in words of the compact language."""

    task: str
    context: list[str]
    turns: list[Turn]

    def words(self) -> list[str]:
        """The whole session, answers included."""
        return self.context + [word for turn in self.turns for word in turn.question + turn.answer]

    def prompt(self, turn: int) -> list[str]:
        """All that comes before the answer of a turn (from 0), the true answers of the turns before it included."""
        return self.context + [word for past in self.turns[:turn] for word in past.question + past.answer] + self.turns[turn].question


def asked(words: Sequence[str], answer: Sequence[str], evidence: Sequence[Span]) -> Turn:
    """A turn from its bare words."""
    return Turn([QUESTION, *words, ANSWER], [*answer, END], sorted(evidence))


def laid(lines: Sequence[Sequence[str]]) -> tuple[list[str], list[Span]]:
    """Lines one after the other behind `<s>`, and where each came to lie."""
    context = [START]
    spans = []
    for line in lines:
        spans.append((len(context), len(context) + len(line)))
        context.extend(line)
    return context, spans


def among(rng: Random, lines: Sequence[Sequence[str]], room: int, filler: Filler) -> tuple[list[str], list[Span]]:
    """Lines in their order, spread over `room` words, with text between them; and where each came to lie."""
    spare = room - sum(map(len, lines)) - 1
    if spare < 8:
        return laid(lines)
    words = filler(rng, spare)
    cuts = sorted(_boundary(words, rng.randrange(spare + 1)) for _ in lines)
    context = [START]
    spans = []
    for line, begin, end in zip(lines, [0, *cuts], cuts, strict=False):
        context.extend(words[begin:end])
        spans.append((len(context), len(context) + len(line)))
        context.extend(line)
    context.extend(words[cuts[-1] if cuts else 0 :])
    return context, spans


def _boundary(words: Sequence[str], place: int) -> int:
    """The next place where a word begins."""
    while place < len(words) and words[place].startswith("##"):
        place += 1
    return place


def plain(rng: Random, count: int) -> list[str]:
    """Filler that needs no data: common words at random, in sentences of 5 to 14."""
    words: list[str] = []
    while len(words) < count:
        words += [*rng.choices(_PLAIN, k=rng.randrange(5, 15)), "."]
    return words[:count]


def fresh(rng: Random, pool: Sequence[str], count: int) -> list[str]:
    """`count` different members of the pool."""
    return rng.sample(pool, count)
