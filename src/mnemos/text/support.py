"""How likely an answer that was read by rules is right, by what its source, and what else was read, say of the question: no language model.

Questions that a history does not answer mostly ask for a neighbour of what it tells: another person, thing, place or event (LongMemEval, arXiv
2410.10813, section 3.2; LoCoMo, arXiv 2402.17753, category 5). So the words that say what a question is about have to be borne out by the
memory that the answer comes from, those that stand side by side, together, and the answer has to be of the sort asked for. The evidence is
weighed in log odds; the weights (`support_weights`) are fitted by `mnemos.bench.refusal_fitting`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from mnemos.index.terms import words
from mnemos.text.agreement.words import OCCUPATIONS, word_set
from mnemos.text.answering.candidates import Source
from mnemos.text.answering.questions import ask
from mnemos.text.answering.reader import Answer
from mnemos.text.name_words import KIN
from mnemos.text.subject import Subject, Weight, base_term, terms_of
from mnemos.text.support_weights import WEIGHTS
from mnemos.text.time_expressions import find_times

Evidence = dict[str, float]
"""Pieces of evidence by name; what is absent is 0."""

LEAST_SURE = 0.002
"""Confidence is taken to lie between this and one less this."""
OTHERS = word_set("he him his she her hers they them their theirs we us our ours")
"""Words for people, one of whom may be whom the question names; a source without them that does not name her speaks of somebody else."""
AMOUNTS = ("number", "amount", "duration")
"""Kinds of questions that an amount answers."""
_AMOUNT = re.compile(
    r"\d|\b(?:an?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty|forty|fifty|hundred|thousand|dozen|half|"
    r"couple|few|several|once|twice|every|each|daily|weekly|monthly|yearly)\b", re.I,
)  # fmt: skip
_YEAR = re.compile(r"\W*(?:1[5-9]|20)\d\d\W*")


def evidence(question: str, answer: Answer, read: Sequence[Source], weight: Weight) -> Evidence:
    """What speaks for and against `answer` to `question`; `read` is what it was read from, the sources of its quotes among them.

    `weight` says what the terms of the question count. Empty for an answer without a quote.
    """
    quoted = {quote.id for quote in (answer.quote, *answer.further) if quote is not None}
    if not quoted:
        return {}
    asked = ask(question)
    subject = Subject(asked, weight)
    held = [terms_of([source.text, source.author or ""]) for source in read]
    quoted |= {read[subject.holding(option, held)].id for option in asked.options}
    anywhere = set().union(*held)
    source = set().union(*(terms for one, terms in zip(read, held, strict=True) if one.id in quoted))
    speakers = {one.author for one in read if one.author}
    asked_of = terms_of([question])
    named = {author for author in speakers if base_term(next(words(author), "")) in asked_of}
    speak = {one.author for one in read if one.id in quoted}
    missing = subject.weights.keys() - source
    pronouns = not OTHERS.isdisjoint(word for one in read if one.id in quoted for word in words(one.text))
    sure = min(max(answer.confidence, LEAST_SURE), 1 - LEAST_SURE)
    return {
        "bias": 1.0,
        "sure": math.log(sure / (1 - sure)),
        "source": subject.share(source),
        "behind": max(map(subject.share, held)) - subject.share(source),
        "together": subject.together([one.text for one in read]),
        "gap": subject.gap(anywhere),
        "length": math.log1p(len(subject.weights)),
        "other speaker": float(bool(named) and not named & speak),
        "somebody else": float(bool(subject.people & missing) and not pronouns),
        "number missing": float(bool(subject.numbers & missing)),
        "no amount": float(asked.kind in AMOUNTS and not fits(asked.kind, answer.text)),
        "no name": float(asked.kind not in AMOUNTS and not fits(asked.kind, answer.text)),
    }


def likelihood(found: Mapping[str, float], weights: Mapping[str, float] = WEIGHTS) -> float:
    """How likely an answer is right, 0 to 1, by its evidence; 0 without evidence."""
    return 1 / (1 + math.exp(-sum(weights.get(name, 0.0) * value for name, value in found.items()))) if found else 0.0


def fits(kind: str, text: str) -> bool:
    """Whether `text` can be what a question of this kind (`answering.questions.KINDS`) asks for: how many is no year, who has a name."""
    if kind in AMOUNTS:
        return _AMOUNT.search(text) is not None and _YEAR.fullmatch(text) is None
    if kind == "when":
        return any(character.isdigit() for character in text) or bool(find_times(text, None))
    if kind == "who":
        return text[:1].isupper() or any(word in KIN or word in OCCUPATIONS for word in words(text))
    return kind != "where" or any(part[:1].isupper() for part in text.split())
