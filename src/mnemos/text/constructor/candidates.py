"""The statements of a chunk that a policy decides on, each with what can be told of it by itself."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from mnemos.text.constructor.gist import Gist, Read, said_by
from mnemos.text.question import ASSISTANTS
from mnemos.text.sentence_spans import sentence_spans
from mnemos.text.time_expressions import find_times
from mnemos.text.tokens import count_tokens

LONGEST = 600
"""Characters of a statement; a longer sentence is cut at its last blank before."""
_FEWEST_WORDS = 2
_LITTLE = 4
"""Words below which a sentence that is about nobody says nothing."""


class Sort(StrEnum):
    """What a statement is, by its form."""

    FACT = "fact"
    """Somebody's attribute has a value, or something is so."""
    EVENT = "event"
    """Something happened, or will, at a time that is said."""
    RULE = "rule"
    """How something is to be done or named from now on."""
    QUESTION = "question"
    CHATTER = "chatter"
    """Too little to be anything."""


MOST = 8
"""Statements of a message that are decided on: a memory is no copy of a long answer, which is found by itself."""
_EMPTY = frozenset((Sort.QUESTION, Sort.CHATTER))
"""Sorts of statements that say nothing, and are not decided on."""
_RULE = re.compile(
    r"^(?:please )?(?:always|never|from now on|remember|whenever|make sure|do not|don't|note that|if .{3,80}, (?:then |use|call|label|answer|say))\b"
    r"|\b(?:gets?|has|is|take) the label\b|\blabel \w+ (?:means|is|stands)\b|\b(?:means|stands for|counts? as|is short for|is called)\b|^记住|标签",
    re.I,
)
_FIRST_PERSON = re.compile(r"\b(?:i|i'(?:m|ve|ll|d)|my|mine|we|our)\b|我", re.I)
_PAST = re.compile(
    r"\b(?:went|was|were|had|did|got|met|saw|bought|made|took|came|gave|found|told|\w{3,}ed|just|ago|yesterday|tomorrow|tonight|will|going to)\b"
    r"|了|将要",
    re.I,
)
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+|^[A-Z][a-z]+(?=(?:'s|[a-z ]*) (?:is|was|has|went|lives|likes|got|met)\b)")
_NUMBER = re.compile(r"\d")
_CLOCK = re.compile(r"\d{4}年|\d+月\d+日|周[一二三四五六日]|明天|昨天|今天|下午|上午")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A statement that could be stored."""

    text: str
    """As it would be stored: with its author before it."""
    gist: Gist
    sort: Sort
    tokens: int
    at: int | None = None
    """When it was said, or, where that is not known, the time it speaks of; microseconds since 1970."""
    source: Hashable = None
    own: bool = False
    """Whether it is in the first person."""
    named: bool = False
    numbered: bool = False
    assistant: bool = False
    """Whether an assistant said it."""
    dated: bool = False
    """Whether it names a time."""


def read_candidates(text: str, author: str | None, at: int | None, source: Hashable, read: Read) -> list[Candidate]:
    """The statements of a message, in order: its sentences, but for those of less than two words."""
    assistant = (author or "").lower() in ASSISTANTS
    out = []
    for sentence in _sentences(text):
        said = said_by(author, sentence)
        gist = read(said)
        if len(gist.words) < _FEWEST_WORDS:
            continue
        times = find_times(sentence, at)
        dated = bool(times) or _CLOCK.search(sentence) is not None
        moment = at if at is not None else next((expression.start for expression in times if expression.start is not None), None)
        out.append(
            Candidate(
                said, gist, sort_of(sentence, gist, dated), count_tokens(said), moment, source,
                own=_FIRST_PERSON.search(sentence) is not None,
                named=_NAME.search(sentence) is not None,
                numbered=_NUMBER.search(sentence) is not None,
                assistant=assistant,
                dated=dated,
            )
        )  # fmt: skip
    return out


def telling(text: str, author: str | None, at: int | None, source: Hashable, read: Read, most: int = MOST) -> list[Candidate]:
    """The first `most` statements of a message that say something: what a policy decides on."""
    return [one for one in read_candidates(text, author, at, source, read) if one.sort not in _EMPTY][:most]


def happened(sentence: str) -> bool:
    """Whether a sentence tells that something was done, or will be."""
    return _PAST.search(sentence) is not None


def is_dated(sentence: str, at: int | None = None) -> bool:
    """Whether it names a time."""
    return _CLOCK.search(sentence) is not None or bool(find_times(sentence, at))


def sort_of(sentence: str, gist: Gist, dated: bool) -> Sort:
    """What a sentence is, by its form."""
    if sentence.rstrip(" \"')”").endswith(("?", "？")):
        return Sort.QUESTION
    if _RULE.search(sentence):
        return Sort.RULE
    if gist.key:
        return Sort.FACT
    if dated and happened(sentence):
        return Sort.EVENT
    little = len(gist.words) < _LITTLE and not _FIRST_PERSON.search(sentence) and not _NAME.search(sentence)
    return Sort.CHATTER if little else Sort.FACT


def _sentences(text: str) -> Iterable[str]:
    for span in sentence_spans(text):
        for line in span.text.splitlines():
            part = line.strip(" \t*#>-•|")
            while len(part) > LONGEST:
                at = part.rfind(" ", 0, LONGEST)
                at = at if at > 0 else LONGEST
                yield part[:at]
                part = part[at:].strip()
            if part:
                yield part
