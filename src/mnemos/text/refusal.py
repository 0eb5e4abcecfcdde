"""The refusal gate: an answer stands only where quoted spans of the sources support it; else nothing is claimed.

ConvoMem (arXiv 2511.10523, section 5): readers invent answers the more often the longer a history is (0.3 % of unanswerable questions after one
conversation, 20 % after 150), whatever else they get right. The gate asks three things of an answer, in words: are its quotes in the sources,
does what it says stand in them, and do they speak of what was asked. The last catches the usual invention: the true value of another thing.
What rules read stands in its quotes by construction; of it the third is asked more closely (`text.support`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mnemos.base.errors import Invalid, shown
from mnemos.index.terms import fold, query_terms, term
from mnemos.text.advice import asks_advice
from mnemos.text.answering.questions import ask
from mnemos.text.subject import COUNTED, FOCUS, FRAME, Weight, base_term, coverage, evenly, subject_terms, terms_of

Reason = Literal["supported", "no quote", "quote not in the sources", "answer not in the quotes", "quotes speak of something else"]

_SPACE = re.compile(r"\s+")


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
    """Of an answer that a model gives: share of the question's subject terms, by weight, that the quotes must hold; 0 to 1. Default: of a thing
    named by three words, no other thing passes that has two of them (`mnemos bench convomem`)."""
    answer: float = 0.5
    """Of an answer that a model gives: share of its own terms that must stand in the quotes; 0 to 1. Numbers are left out, as they may be
    reckoned."""
    likely: float = 0.25
    """Of an answer that rules read: how likely it must be right (`text.support`), 0 to 1. Default: in steps of 0.05, the highest that costs less
    than five points of the right answers to LongMemEval's answerable questions."""

    def __post_init__(self) -> None:
        given = (self.subject, self.answer, self.likely)
        if not all(isinstance(value, (int, float)) and 0 <= value <= 1 for value in given):
            raise Invalid(f"refusal gate: thresholds lie within 0 and 1, not {', '.join(map(shown, given))}")

    def check(
        self, question: str, answer: str, quotes: Sequence[str], sources: Sequence[str], weight: Weight = evenly, near: Sequence[str] = ()
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
        said = tuple({base_term(word) for word in query_terms(answer).words if term(word) not in FRAME and not word.isdigit()} - {*subject})
        asked = ask(question)
        focus = terms_of([asked.focus]) if asked.kind not in COUNTED else set()
        covered = coverage(subject, [*true, *near], lambda h: (FOCUS if h in focus else 1.0) * weight(h))
        if coverage(said, true) < self.answer:
            return Ruling(False, "answer not in the quotes", true, covered)
        if covered < self.subject:
            return Ruling(False, "quotes speak of something else", true, covered)
        return Ruling(True, "supported", true, covered)


def _flat(text: str) -> str:
    return _SPACE.sub(" ", fold(text)).strip()
