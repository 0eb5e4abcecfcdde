"""What a question is about: the terms that tell, what each counts, which stand side by side, and how much of it texts speak of."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence

from mnemos.index.terms import STOP_WORDS, query_terms, term, words
from mnemos.text.agreement.words import FORMS
from mnemos.text.answering.questions import Asked
from mnemos.text.name_words import KIN
from mnemos.text.time_expressions import find_times

Weight = Callable[[int], float]
"""What a term counts for, 0 or more: its inverse document frequency, say."""

FOCUS = 0.5
"""What the noun that is asked for (`which city`) counts, of another word of the subject: who says "in Rome" need not say that it is a city."""
COUNTED = ("number", "duration", "amount", "choice", "yes-no")
"""Kinds of questions whose noun must be spoken of: `how many dogs`."""
TOGETHER = 3
"""Words from one to the other, at most, of two that stand side by side in the question and together in a text."""
_PERIOD = re.compile(r"\b\d+-(?:minute|hour|day|night|week|month|year)s?\b", re.I)
_PRONOUNS = frozenset(("i", "you", "we", "they", "he", "she", "it"))
_WORD = re.compile(r"[^\W_]+(?:[-'’.][^\W_]+)*")
_FRAME_WORDS = """
what which who when where how why much many long often old far date day days week weeks month months year years time times hour hours minute
minutes total amount number name named kind type sort list everything all order now currently current recently first last before after passed
between since ago mention mentioned said told tell say remember remind previous earlier conversation chat discussed altogether overall please
again exactly different various happen happened thing things get got do go make made new same percentage average distance event pieces past
consecutive higher lower compared item items activity activities usually daily mostly simultaneously excluding including way ways
"""
FRAME = frozenset(term(word) for word in _FRAME_WORDS.split())
"""Terms of a question that say what sort of answer it wants, not what it is about: quotes need not hold them."""


def base_term(word: str) -> int:
    """The term of a folded word; of the base form, where it is a form of a known verb ("flew": fly)."""
    known = FORMS.get(word)
    return term(known[0] if known else word)


def terms_of(texts: Iterable[str]) -> set[int]:
    """The terms of all words of `texts`, verbs by their base form."""
    return {base_term(word) for text in texts for word in words(text)}


def subject_terms(question: str) -> tuple[int, ...]:
    """The terms that say what a question is about, verbs by their base form; nothing for one that is all frame ("What did you say?")."""
    found = query_terms(question)
    telling = (word for h, word in zip(found.hashes.tolist(), found.words, strict=True) if h not in FRAME and word not in STOP_WORDS)
    return tuple(dict.fromkeys(map(base_term, telling)))


def rarity(texts: Sequence[str]) -> Weight:
    """Inverse document frequency of terms among `texts`, ln(1 + (n − df + ½) / (df + ½)): what none of them says weighs most."""
    held = [terms_of([text]) for text in texts]

    def weight(h: int) -> float:
        df = sum(h in one for one in held)
        return math.log1p((len(held) - df + 0.5) / (df + 0.5))

    return weight


def evenly(h: int) -> float:
    """Counts every term the same."""
    return 1.0


def coverage(wanted: Sequence[int], texts: Sequence[str], weight: Weight = evenly) -> float:
    """Share of the `wanted` terms, by weight, that stand in `texts`, 0 to 1; 1 where nothing is wanted."""
    held = terms_of(texts)
    weights = list(map(weight, wanted))
    total = sum(weights)
    return sum(w for h, w in zip(wanted, weights, strict=True) if h in held) / total if total else 1.0


def _plain(question: str) -> str:
    """The question with compounds in their parts, and blanks in place of times ("on 3 May 2023", "5-day"): what is told need not name its time."""
    for time in find_times(question, None):
        start, end = time.span
        question = question[:start] + " " * (end - start) + question[end:]
    return _PERIOD.sub(" ", question).replace("-", " ")


class Subject:
    """What a question is about: its telling terms with what each counts, which of them are people or numbers, and which stand side by side."""

    def __init__(self, asked: Asked, weight: Weight) -> None:
        text = _plain(asked.text)
        focus = terms_of([asked.focus]) if asked.kind not in COUNTED else set()
        self.weights = {h: (FOCUS if h in focus else 1.0) * weight(h) for h in subject_terms(text)}
        self.people: set[int] = set()
        """Terms of names, and of relatives (`my brother`)."""
        self.numbers: set[int] = set()
        self._verbs: set[int] = set()
        """Terms of words that look like verbs, or follow a pronoun: told in other words more often than things are."""
        self._pairs: set[tuple[int, int]] = set()
        self._total = sum(self.weights.values())
        before, last = 0, ""
        for at, match in enumerate(_WORD.finditer(text)):
            for word in words(match.group()):
                h = base_term(word)
                if h in self.weights:
                    if (match.group()[:1].isupper() and at) or word in KIN:
                        self.people.add(h)
                    elif word[:1].isdigit():
                        self.numbers.add(h)
                    elif last in _PRONOUNS or word in FORMS or word.endswith(("ed", "ing")):
                        self._verbs.add(h)
                    if before and before != h:
                        self._pairs.add((before, h))
                    before = h
                elif word not in STOP_WORDS:
                    before = 0
                last = word

    def share(self, held: set[int]) -> float:
        """Share of the subject, by weight, that `held` holds, 0 to 1; 1 where the question is about nothing."""
        return sum(w for h, w in self.weights.items() if h in held) / self._total if self._total else 1.0

    def gap(self, held: set[int]) -> float:
        """The weight of the most telling term, verbs apart, that is missing from `held`, of that of the most telling term of all; 0 to 1."""
        most = max(self.weights.values(), default=0.0)
        return max((w for h, w in self.weights.items() if h not in held and h not in self._verbs), default=0.0) / most if most else 0.0

    def together(self, texts: Sequence[str]) -> float:
        """Share, by weight, of the pairs side by side in the question that stand together in one of `texts`, 0 to 1; 1 where there are no pairs."""
        total = sum(map(self._worth, self._pairs))
        return sum(map(self._worth, {pair for text in texts for pair in self._joined(text)})) / total if total else 1.0

    def holding(self, option: str, held: Sequence[set[int]]) -> int:
        """Which of the texts with the terms `held` holds most of `option`, one of the things compared; the first of equals."""
        own = terms_of([option])
        return max(range(len(held)), key=lambda at: sum(self.weights.get(h, 0.0) for h in own & held[at]))

    def _worth(self, pair: tuple[int, int]) -> float:
        return self.weights[pair[0]] + self.weights[pair[1]]

    def _joined(self, text: str) -> set[tuple[int, int]]:
        places = [(at, h) for at, h in enumerate(map(base_term, words(text))) if h in self.weights]
        found: set[tuple[int, int]] = set()
        for number, (at, h) in enumerate(places):
            for later, other in places[number + 1 :]:
                if later - at > TOGETHER:
                    break
                found |= {(h, other), (other, h)} & self._pairs
        return found
