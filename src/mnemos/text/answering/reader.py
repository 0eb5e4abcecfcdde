"""Answers a question from texts, without a language model: the span that most looks like the answer, the sentence that says so, and how sure it is.

Extractive, as readers of passages were before they were neural (Rajpurkar et al., SQuAD, EMNLP 2016, section 5: a log-linear model over candidate
spans): candidates are spans of the texts, weighed by evidence with fitted weights (`weights`). What is compared (`which came first, A or B?`) or
counted between dates is worked out by rules from the texts. Below a threshold of confidence there is no answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mnemos.base.errors import Invalid
from mnemos.text.answering.candidates import Candidate, Source, candidates, lines_of
from mnemos.text.answering.comparing import compare
from mnemos.text.answering.counting import between
from mnemos.text.answering.evidence import Matching
from mnemos.text.answering.questions import Asked, ask
from mnemos.text.answering.weights import CALIBRATION, WEIGHTS

SURE_ENOUGH = 0.2
"""Confidence (0 to 1) below which there is no answer. On the developing half, from gold evidence, 65 % of the questions are answered at 0.2, 47 % of
these rightly, and of the rest 19 % would have been right; from evidence that answers nothing, 15 % are answered. At 0.4: 30, 63, 27 and 6 %."""
MOST_SHOWN = 5
MOST_PARTS = 6
"""Parts of an answer to a question for several things."""
NEARLY = 0.35
"""How likely a part is at least, against the best; of 0.2, 0.35 and 0.5 on the developing half the first two are alike, and the higher adds less."""


@dataclass(frozen=True, slots=True)
class Quote:
    """The sentence that an answer rests on: `text` stands in the source `id` at `start` to `end`, word for word."""

    id: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question is answered with."""

    text: str
    """The answer; empty where there is none that is sure enough."""
    confidence: float
    """0 to 1: how likely it is right, of the best candidate also where it is not given."""
    kind: str
    """What was asked for: one of `questions.KINDS`."""
    quote: Quote | None
    """None where nothing in the texts bears on the question."""
    others: tuple[tuple[str, float], ...] = ()
    """Further candidates with their likelihood, best first."""
    further: tuple[Quote, ...] = ()
    """Where several things were asked for: the sentences of the second and further parts of the answer, in its order."""

    def __bool__(self) -> bool:
        return bool(self.text)


def answer(question: str, sources: Sequence[Source], *, now: int | None = None, least: float = SURE_ENOUGH) -> Answer:
    """Answers `question` from `sources`, best first. `now`: when it is asked, microseconds since 1970, for `how many days ago`.

    `least`: confidence from which an answer is given; 0 gives the best candidate always. Time is linear in the texts. Raises `Invalid` for a
    question without words, or `least` outside 0 to 1.
    """
    if not 0 <= least <= 1:
        raise Invalid(f"least: {least} is no confidence; give a number from 0 to 1")
    asked = ask(question)
    if not asked.low:
        raise Invalid("question: it has no words; ask something")
    told = [source for source in sources if source.text.strip()]
    if not told:
        return Answer("", 0.0, asked.kind, None)
    if asked.kind in ("choice", "yes-no"):
        compared = compare(asked, told)
        if compared is None:
            return Answer("", 0.0, asked.kind, None)
        quote = Quote(compared.source.id, compared.source.text[compared.start : compared.end], compared.start, compared.end)
        return Answer(compared.answer if compared.confidence >= least else "", compared.confidence, asked.kind, quote)
    counted = between(asked, told, now)
    if counted is not None:
        source, start, end = counted.source, counted.start, counted.end
        quote = Quote(source.id, source.text[start:end], start, end)
        return Answer(counted.text if counted.confidence >= least else "", counted.confidence, asked.kind, quote)
    return _extracted(asked, told, least)


def _extracted(asked: Asked, sources: Sequence[Source], least: float) -> Answer:
    ranked = ranking(asked, sources)
    if not ranked:
        return Answer("", 0.0, asked.kind, None)
    merged: dict[str, float] = {}
    for (one, _, _), share in zip(ranked, _likely([score for _, score, _ in ranked]), strict=True):
        merged[one.key] = merged.get(one.key, 0.0) + share
    likeliest = max(merged, key=lambda key: merged[key])
    best, _, match = next(one for one in ranked if one[0].key == likeliest)
    confidence = calibrated(merged[best.key], match)
    shown = {one.key: one.shown for one, _, _ in reversed(ranked)}
    others = sorted(((shown[key], round(share, 3)) for key, share in merged.items() if key != best.key), key=lambda one: -one[1])[:MOST_SHOWN]
    parts = _parts(best, ranked, sources) if asked.several else [best]
    quotes = [_quoted(one, sources) for one in parts]
    text = ", ".join(one.shown for one in parts)
    return Answer(text if confidence >= least else "", round(confidence, 3), asked.kind, quotes[0], tuple(others), tuple(quotes[1:]))


def _parts(best: Candidate, ranked: Sequence[tuple[Candidate, float, float]], sources: Sequence[Source]) -> list[Candidate]:
    """The best candidate, and that of each other turn of a conversation which is nearly as likely and says something else."""
    parts = [best]
    top = next(score for one, score, _ in ranked if one is best)
    for one, score, _ in ranked:
        told = any(one.line.source == other.line.source or one.key in other.key or other.key in one.key for other in parts)
        if not told and len(parts) < MOST_PARTS and math.exp(score - top) >= NEARLY and sources[one.line.source].author is not None:
            parts.append(one)
    return parts


def _quoted(one: Candidate, sources: Sequence[Source]) -> Quote:
    line = one.line
    return Quote(sources[line.source].id, line.text, line.start, line.start + len(line.text))


def ranking(asked: Asked, sources: Sequence[Source]) -> list[tuple[Candidate, float, float]]:
    """The candidates with their scores, best first, and the share of the question that the sentence of each holds."""
    lines = lines_of(sources, asked.terms)
    found = candidates(sources, lines)
    matching = Matching(asked, sources, lines, found)
    scored = []
    for at, one in enumerate(found):
        evidence = matching.evidence(one)
        scored.append((-sum(WEIGHTS.get(name, 0.0) * value for name, value in evidence.items()), at, evidence["sentence and title"]))
    scored.sort()
    return [(found[at], -score, share) for score, at, share in scored]


def _likely(scores: Sequence[float]) -> list[float]:
    odds = np.exp(np.asarray(scores) - max(scores))
    shares: list[float] = (odds / odds.sum()).tolist()
    return shares


def calibrated(share: float, match: float) -> float:
    """How likely the best candidate is right, by its share of the likelihood and by how much of the question its sentence holds (both 0 to 1);
    not at all where that is nothing."""
    if not match:
        return 0.0
    bounded = min(max(share, 1e-4), 1 - 1e-4)
    logit = CALIBRATION["bias"] + CALIBRATION["share"] * math.log(bounded / (1 - bounded)) + CALIBRATION["match"] * match
    return 1 / (1 + math.exp(-logit))
