"""Which of the memories that were found tells how it is now: the newer one of two in which one person says the same kind of thing.

What is known to have been replaced goes below what replaced it. Beyond that, most changes are told without a word of change (`I have 20 titles on my
list`, weeks later `I have 25`), and no rule that looks at the two alone can tell them from two facts. A question can: where both are among the best
for it, and near each other in meaning, the newer one goes first. Which memories are found does not change, only their order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mnemos.index.space_index import UNKNOWN
from mnemos.index.terms import STOP_WORDS, term, words
from mnemos.text.agreement.frames import says_changed
from mnemos.text.agreement.values import number_of
from mnemos.text.question import Question
from mnemos.text.sentence_spans import sentence_spans
from mnemos.text.strategy import Floats, View

Rows = NDArray[np.int64]
_THEN = re.compile(
    r"\b(?:used to|before|previous(?:ly)?|formerly|original(?:ly)?|initial(?:ly)?|first|old|earlier|back then|in the past|change[ds]?|differen\w+"
    r"|compare\w*|increase[ds]?|decrease[ds]?|more than|history|ever|moved? from|last (?:week|month|year|time|summer|winter|spring|fall))\b",
    re.I,
)
"""What asks for how it was, or for both; but not beside a word of now."""
_NOW = re.compile(r"\b(?:now|nowadays|currently|current|so far|these days|at the moment|at present|(?:most )?recent(?:ly)?|latest|still)\b", re.I)
_DID = re.compile(r"\b(?:did|was|were)\b", re.I)
"""What asks for something that happened, unless it asks how many by now, or what a change led to."""
_LED = re.compile(r"\b(?:switch|move|relocate|convert|upgrade|downgrade|transfer)(?:ed)?\b[^?.]*?\bto\b", re.I)
_WORDS = re.compile(r"[\w.,$€£%-]*\w")
_SHARED = 2
_READ = 2000
"""Characters of a memory in which a number is looked for."""
_WHEN = re.compile(r"\b(?:when(?! (?:is|are|do|does)\b)|what date|(?:what|which) (?:month|year))\b", re.I)


@dataclass(frozen=True, slots=True)
class Parameters:
    """When two memories say the same kind of thing. Chosen on half of LongMemEval's questions."""

    within: int = 10
    """Best memories that are looked at; their order changes, and nothing else."""
    alike: float = 0.65
    """Least cosine of the two, or of what was drawn of them."""
    alike_numbers: float = 0.3
    """The same where the question asks how many or how much, and both give a number of it."""
    share: float = 0.8
    """Least cosine with the question of the newer one, as a share of the older one's."""
    gap: float = 3.5
    """Most log odds by which the older one may be ahead; any number where the question has a word of now, or the newer one a word of change."""
    share_changed: float = 0.6
    """`share` where the newer one has a word of change."""


DEFAULTS = Parameters()


def asks_for_now(question: Question) -> bool:
    """Whether a question can be about how things are: not where it names a time, asks for one, or for how it was."""
    if "?" not in question.text:
        return False
    if _NOW.search(question.text):
        return True
    past = _DID.search(question.text) and not (question.asks_amount or _LED.search(question.text))
    return not (past or len(question.intervals) or _WHEN.search(question.text) or _THEN.search(question.text))


def newest_first(question: Question, view: View, scores: Floats, best: Rows, drawn: tuple[Rows, Rows], parameters: Parameters = DEFAULTS) -> Floats:
    """`scores` (n,) with those of the best rows, best first, dealt anew so that the newer of two that say the same kind of thing comes first.
    `drawn`: rows of the thoughts that hold, and of the memories that they were drawn of, pair by pair."""
    if view.cosines is None or view.vectors is None or len(best) < 2:
        return scores
    rows = best[: parameters.within]
    near = np.nan_to_num(view.cosines)
    stands = rows.copy()  # what stands for a memory: itself, or the thought of it that is nearest to the question
    for at, row in enumerate(rows.tolist()):
        thoughts = drawn[0][drawn[1] == row]
        if len(thoughts) and near[thoughts].max() > near[row]:
            stands[at] = thoughts[near[thoughts].argmax()]
    vectors = view.vectors.vectors(stands)
    alike = vectors @ vectors.T
    numbers, changed = _told(question, view, rows)
    least = np.where(numbers[:, None] & numbers[None, :], parameters.alike_numbers, parameters.alike)
    index = view.index
    when = np.where(index.event_at.view()[rows] == UNKNOWN, index.created_at.view()[rows], index.event_at.view()[rows])
    author = index.author.view()[rows]
    gaps = np.where(changed | bool(_NOW.search(question.text)), np.inf, parameters.gap)
    shares = np.where(changed, parameters.share_changed, parameters.share)
    order = list(range(len(rows)))
    for older, newer in _pairs(when):
        same = author[older] == author[newer] and alike[older, newer] >= least[older, newer]
        rivals = near[stands[newer]] >= shares[newer] * near[stands[older]] and scores[rows[older]] - scores[rows[newer]] <= gaps[newer]
        if same and rivals and order.index(newer) > order.index(older):
            order.remove(newer)
            order.insert(order.index(older), newer)
    out = scores.copy()
    out[rows[order]] = scores[rows]
    return _apart(out, rows[order])


def _told(question: Question, view: View, rows: Rows) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(len(rows),) each: whether a memory gives a number that is asked for, and whether it says that something changed; in a sentence that speaks of
    what is asked, in which two telling words of the question are."""
    numbers, changed = np.zeros(len(rows), dtype=bool), np.zeros(len(rows), dtype=bool)
    asked = _terms(question.text)
    least = min(_SHARED, len(asked))
    for at, text in enumerate(view.texts(rows.tolist())):
        for sentence in sentence_spans(text[:_READ]):
            if len(asked & _terms(sentence.text)) >= least:
                lows = [word.lower() for word in _WORDS.findall(sentence.text)]
                numbers[at] |= question.asks_amount and any(number_of(low) is not None for low in lows)
                changed[at] |= says_changed(lows)
    return numbers, changed


def _terms(text: str) -> set[int]:
    return {term(word) for word in words(text) if word not in STOP_WORDS}


def _apart(scores: Floats, order: Rows) -> Floats:
    """Scores of rows that are in this order, of which no two are equal: the index would else decide."""
    for lower, higher in pairwise(order[::-1].tolist()):
        if scores[higher] <= scores[lower]:
            scores[higher] = np.nextafter(scores[lower], np.float32(np.inf))
    return scores


def _pairs(when: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """(older, newer) places, those of the newest last, so that it comes before all that it is like."""
    order = np.argsort(when, kind="stable").tolist()
    for at, newer in enumerate(order):
        for older in order[:at]:
            if when[older] < when[newer]:
                yield older, newer


def exchange(scores: Floats, below: int, above: int) -> None:
    """Let one row come before another, with the scores that the two have."""
    if scores[below] >= scores[above]:
        scores[below], scores[above] = scores[above], scores[below]
        if scores[below] == scores[above]:
            scores[above] = np.nextafter(scores[above], np.float32(np.inf))
