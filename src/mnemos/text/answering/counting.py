"""How long between two things, or since one: worked out from when the texts say that they happened."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mnemos.index.terms import STOP_WORDS, words
from mnemos.text.answering.candidates import Source
from mnemos.text.answering.questions import Asked
from mnemos.text.answering.senses import sense
from mnemos.text.sentence_spans import sentence_spans
from mnemos.text.time_expressions import DAY, find_times

_UNITS = {"day": 1.0, "week": 7.0, "month": 30.44, "year": 365.25}
_HOW_MANY = re.compile(r"\bhow many (day|week|month|year)s?\b", re.I)
_BETWEEN = re.compile(r"\bbetween (.{4,}?) and (?:the (?:day|time|date) )?(?:when |that )?(.{4,}?)\?*$", re.I)
_AGO = re.compile(r"\b(?:ago did|ago was|have passed since|has it been since|passed since|ago)\b\s*(.{4,}?)\?*$", re.I)
LEAST_SHARED = 0.34
"""Share of an event's words that the sentence on it must hold."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A number of days, weeks, months or years, and the sentence of the first event."""

    text: str
    confidence: float
    source: Source
    start: int
    end: int


def between(asked: Asked, sources: Sequence[Source], now: int | None) -> Counted | None:
    """The time between two events, or from one to `now`, where the question asks for it and the texts say when they were; else None."""
    unit = _HOW_MANY.search(asked.text)
    if unit is None:
        return None
    two = _BETWEEN.search(asked.text)
    one = _AGO.search(asked.text) if two is None else None
    if two is not None:
        first, second = _when(two[1], sources), _when(two[2], sources)
        if first is None or second is None:
            return None
        days, source = abs(first[0] - second[0]), first
    elif one is not None and now is not None:
        found = _when(one[1], sources)
        if found is None or found[0] > now // DAY:
            return None
        days, source = now // DAY - found[0], found
    else:
        return None
    count = round(days / _UNITS[unit[1].lower()])
    return Counted(str(count), 0.5, source[1], source[2], source[3])


def _when(event: str, sources: Sequence[Source]) -> tuple[int, Source, int, int] | None:
    """The day (since 1970) of an event, by the time in the sentence that shares most with it, else by when it was said; with the sentence."""
    own = {sense(part) for part in words(event) if part not in STOP_WORDS}
    best: tuple[float, Source, int, int, str] | None = None
    for source in sources:
        for sentence in sentence_spans(source.text):
            share = len(own & {sense(part) for part in words(sentence.text)}) / (len(own) or 1)
            if share >= LEAST_SHARED and (best is None or share > best[0]):
                best = share, source, sentence.start, sentence.end, sentence.text
    if best is None:
        return None
    _, source, start, end, text = best
    named = [time.start for time in find_times(text, source.time) if time.start is not None and time.kind == "day"]
    moment = named[0] if named else source.time
    return (moment // DAY, source, start, end) if moment is not None else None
