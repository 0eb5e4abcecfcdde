"""The refusal gate: an answer stands only where quoted spans of the sources support it; else nothing is claimed.

ConvoMem (arXiv 2511.10523, section 5): readers invent answers the more often the longer a history is (0.3 % of unanswerable questions after one
conversation, 20 % after 150), whatever else they get right. The gate asks three things of an answer, in words: are its quotes in the sources,
does what it says stand in them, and do they speak of what was asked. The last catches the usual invention: the true value of another thing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from mnemos.base.errors import Invalid, shown
from mnemos.index.terms import STOP_WORDS, fold, query_terms, term, words
from mnemos.text.advice import asks_advice
from mnemos.text.agreement.words import FORMS
from mnemos.text.answering.questions import ask

Weight = Callable[[int], float]
"""What a term counts for, 0 or more: its inverse document frequency, say."""
Reason = Literal["supported", "no quote", "quote not in the sources", "answer not in the quotes", "quotes speak of something else"]

_SPACE = re.compile(r"\s+")
FOCUS = 0.5
"""What the noun that is asked for (`which city`) counts, of another word of the subject: who says "in Rome" need not say that it is a city."""
_COUNTED = ("number", "duration", "amount", "choice", "yes-no")
"""Kinds of questions whose noun must be spoken of: `how many dogs`."""
_FRAME_WORDS = """
what which who when where how why much many long often old far date day days week weeks month months year years time times hour hours minute
minutes total amount number name named kind type sort list everything all order now currently current recently first last before after passed
between since ago mention mentioned said told tell say remember remind previous earlier conversation chat discussed altogether overall please
again exactly different various happen happened thing things get got do go make made new same percentage average distance event pieces past
consecutive higher lower compared item items activity activities usually daily mostly simultaneously excluding including way ways
"""
_FRAME = frozenset(term(word) for word in _FRAME_WORDS.split())
"""Terms of a question that say what sort of answer it wants, not what it is about: quotes need not hold them."""


def subject_terms(question: str) -> tuple[int, ...]:
    """The terms that say what a question is about, verbs by their base form; nothing for one that is all frame ("What did you say?")."""
    found = query_terms(question)
    telling = (word for h, word in zip(found.hashes.tolist(), found.words, strict=True) if h not in _FRAME and word not in STOP_WORDS)
    return tuple(dict.fromkeys(map(_base, telling)))


def _base(word: str) -> int:
    """The term of a folded word; of the base form, where it is a form of a known verb ("flew": fly)."""
    known = FORMS.get(word)
    return term(known[0] if known else word)


def rarity(texts: Sequence[str]) -> Weight:
    """Inverse document frequency of terms among `texts`, ln(1 + (n − df + ½) / (df + ½)): what none of them says weighs most."""
    held = [{_base(word) for word in words(text)} for text in texts]

    def weight(h: int) -> float:
        df = sum(h in one for one in held)
        return math.log1p((len(held) - df + 0.5) / (df + 0.5))

    return weight


def coverage(wanted: Sequence[int], texts: Sequence[str], weight: Weight | None = None) -> float:
    """Share of the `wanted` terms, by weight, that stand in `texts`, 0 to 1; 1 where nothing is wanted."""
    held = {_base(word) for text in texts for word in words(text)}
    weights = [1.0 if weight is None else weight(h) for h in wanted]
    total = sum(weights)
    return sum(w for h, w in zip(wanted, weights, strict=True) if h in held) / total if total else 1.0


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the gate found: `quotes` are those that the sources hold; `covered` is the share of the question's subject that they speak of."""

    supported: bool
    reason: Reason
    quotes: tuple[str, ...]
    covered: float

    def __bool__(self) -> bool:
        return self.supported


@dataclass(frozen=True, slots=True)
class RefusalGate:
    """Thresholds of the gate. Advice is only asked for true quotes: what shapes it need share no word with the question."""

    subject: float = 0.7
    """Share of the question's subject terms, by weight, that the quotes must hold; 0 to 1. Default: of a thing named by three words, no other
    thing passes that has two of them (`mnemos bench convomem`). On LongMemEval's 16 unanswerable questions, 0.6 lets nine inventions through,
    0.7 five, 0.8 four, for 3, 5 and 8 points of right answers."""
    answer: float = 0.5
    """Share of the answer's own terms that must stand in the quotes; 0 to 1. Numbers are left out, as they may be reckoned."""

    def __post_init__(self) -> None:
        if not all(isinstance(value, (int, float)) and 0 <= value <= 1 for value in (self.subject, self.answer)):
            raise Invalid(f"refusal gate: thresholds lie within 0 and 1, not {shown(self.subject)} and {shown(self.answer)}")

    def check(
        self, question: str, answer: str, quotes: Sequence[str], sources: Sequence[str], weight: Weight | None = None, near: Sequence[str] = ()
    ) -> Ruling:
        """Whether `answer` to `question` stands by its `quotes` from `sources`, whole texts each; white space and case are not compared.

        `near` is what stands around the quotes (who speaks, when, the turn before): it may say what the quotes speak of, but not the answer.
        """
        shown = [_flat(source) for source in sources]
        wanted = [quote for quote in quotes if quote.strip()]
        true = tuple(quote for quote in wanted if any(_flat(quote) in source for source in shown))
        if not true:
            return Ruling(False, "quote not in the sources" if wanted else "no quote", (), 0.0)
        if asks_advice(question):
            return Ruling(True, "supported", true, 1.0)
        subject = subject_terms(question)
        said = tuple({_base(word) for word in query_terms(answer).words if term(word) not in _FRAME and not word.isdigit()} - {*subject})
        asked = ask(question)
        focus = {_base(word) for word in words(asked.focus)} if asked.kind not in _COUNTED else set()
        covered = coverage(subject, [*true, *near], lambda h: (FOCUS if h in focus else 1.0) * (1.0 if weight is None else weight(h)))
        if coverage(said, true) < self.answer:
            return Ruling(False, "answer not in the quotes", true, covered)
        if covered < self.subject:
            return Ruling(False, "quotes speak of something else", true, covered)
        return Ruling(True, "supported", true, covered)


def _flat(text: str) -> str:
    return _SPACE.sub(" ", fold(text)).strip()
