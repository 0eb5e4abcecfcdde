"""Spans of the sources that could be an answer: names and their parts, times, numbers, noun phrases, what follows a verb."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple

from mnemos.index.terms import STOP_WORDS, fold, heading_of, words
from mnemos.text.agreement.words import AUXILIARIES, FORMS, PREPOSITIONS
from mnemos.text.answering.senses import sense
from mnemos.text.entities import Entity, entities, key_of
from mnemos.text.name_words import COMMON
from mnemos.text.sentence_spans import Sentence, sentence_spans
from mnemos.text.time_expressions import DAY, EARLIEST, TimeExpression, find_times

KINDS = ("name", "part", "place", "title", "quoted", "time", "said", "number", "phrase", "tail")
MOST_WORDS = 9
"""Words of a candidate of kind `tail`."""
MOST_SENTENCES = 60
"""Sentences of all sources together that candidates are taken from, those that share most with the question."""
LONGEST_LINE = 120
"""Words of a sentence that are read as one; a longer one is read in pieces."""
_WORD = re.compile(r"[^\W_]+(?:[-'’.,:/][^\W_]+)*%?|[$€£¥]\d[\d,.]*\d|[^\w\s]")
_NUMBER_WORDS = frozenset(
    ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "fifteen", "twenty", "thirty", "forty",
     "fifty", "once", "twice", "hundred", "thousand", "dozen", "couple")
)  # fmt: skip
_LINKS = (" of ", " of the ", " of a ", " and ", " for ", " in ", " in the ")
_ENDS_CLAUSE = ("which", "who", "but", "so", "because")
_PERIOD = re.compile(
    r"(?<!\w)(?:about |around |over |almost |nearly )?"
    r"(?:\d+(?:\.\d+)?|an?|one|two|three|four|five|six|seven|eight|nine|ten|few|several|couple of|twelve|twenty|thirty)"
    r"(?:[- ]and[- ]a[- ]half)?[ -](?:second|minute|hour|day|night|week|month|year|decade|time)s?\b(?: (?:a|per) (?:day|week|month|year))?", re.I,
)  # fmt: skip
_RELATIVE = re.compile(r"\b(last|next|this)\s+(week|weekend|month|year|monday|tuesday|wednesday|thursday|friday|saturday|sunday)\b", re.I)
_BARE_YEAR = re.compile(r"(?<![\w.,/-])(?:1[0-9]|20)\d\d(?![\w/]|[.,]\d)(?:\s?[–-]\s?(?:\d\d){1,2}\b)?")


@dataclass(frozen=True, slots=True)
class Source:
    """A text that may hold the answer."""

    id: str
    text: str
    author: str | None = None
    time: int | None = None
    """When it was said, microseconds since 1970."""
    weight: float = 1.0
    """How relevant it is, 0 to 1."""


class Word(NamedTuple):
    """A word or sign of a sentence."""

    low: str
    h: int
    """Its term; 0 for signs."""
    start: int
    end: int


@dataclass(slots=True)
class Line:
    """A sentence of a source, with its words."""

    source: int
    number: int
    """Among the sentences of its source."""
    text: str
    start: int
    words: list[Word]
    held: set[int] = field(default_factory=set)
    """Terms that it holds."""


@dataclass(slots=True)
class Candidate:
    """A possible answer: `sources[line.source].text[start:end]`, given as `shown`."""

    shown: str
    key: str
    kind: str
    """One of `KINDS`: `part` of a name, `said` for the day on which the turn was said, `tail` for what follows a verb."""
    start: int
    end: int
    line: Line
    interval: tuple[int, int] | None = None
    """With kinds `time` and `said`: microseconds since 1970."""


def lines_of(sources: Sequence[Source], wanted: dict[int, float]) -> list[Line]:
    """The sentences of the sources, the most promising ones where they are many, in order."""
    out = []
    for number, source in enumerate(sources):
        at = 0
        for sentence in sentence_spans(source.text):
            told = _words(sentence)
            for first in range(0, len(told), LONGEST_LINE):
                piece = told[first : first + LONGEST_LINE]
                start = piece[0].start if first else sentence.start
                end = piece[-1].end if first + LONGEST_LINE < len(told) else sentence.end
                out.append(Line(number, at, source.text[start:end], start, piece, {word.h for word in piece if word.h}))
                at += 1
    if len(out) > MOST_SENTENCES:
        worth = [sum(weight for h, weight in wanted.items() if h in line.held) - 0.01 * line.number for line in out]
        least = sorted(worth, reverse=True)[MOST_SENTENCES - 1]
        out = [line for line, value in zip(out, worth, strict=True) if value >= least][: 2 * MOST_SENTENCES]
    return out


def _words(sentence: Sentence) -> list[Word]:
    out = []
    for match in _WORD.finditer(sentence.text):
        low = fold(match.group())
        parts = list(words(match.group()))
        out.append(Word(low, sense(parts[-1]) if parts else 0, sentence.start + match.start(), sentence.start + match.end()))
    return out


def candidates(sources: Sequence[Source], lines: Sequence[Line]) -> list[Candidate]:
    """The candidates of the lines, in order; of the same span the first kind counts."""
    out: list[Candidate] = []
    by_source: dict[int, list[Line]] = {}
    for line in lines:
        by_source.setdefault(line.source, []).append(line)
    for number, of_source in by_source.items():
        source = sources[number]
        found = entities(source.text)
        times = find_times(source.text, source.time)
        title = heading_of(source.text)
        for line in of_source:
            end = line.start + len(line.text)
            here = [one for one in found if line.start <= one.start and one.end <= end]
            if title and line.number == 0 and line.start < len(title):
                out += [_made(source, line, one.start, one.end, "title") for one in here if one.kind == "title"]
                continue
            spans: dict[tuple[int, int], Candidate] = {}
            for made in _of_line(source, line, here, [one for one in times if line.start <= one.span[0] < end]):
                if made.key:
                    spans.setdefault((made.start, made.end), made)
            out += spans.values()
    return out


def _made(source: Source, line: Line, start: int, end: int, kind: str) -> Candidate:
    shown = source.text[start:end]
    return Candidate(shown, key_of(shown), kind, start, end, line)


def _of_line(source: Source, line: Line, found: Sequence[Entity], times: Sequence[TimeExpression]) -> Iterator[Candidate]:
    text = source.text
    for time in times:
        yield _time(source, line, time)
    for match in _BARE_YEAR.finditer(line.text):
        start = line.start + match.start()
        if not any(time.span[0] <= start < time.span[1] for time in times):
            yield _made(source, line, start, line.start + match.end(), "time")
    if source.time is not None:
        said = datetime.fromtimestamp(source.time / 1e6, UTC)
        yield Candidate(_day(said), _day(said), "said", line.start, line.start + len(line.text), line, (source.time, source.time + DAY))
    for match in _PERIOD.finditer(line.text):
        yield _made(source, line, line.start + match.start(), line.start + match.end(), "number")
    for one in found:
        if one.kind == "quantity":
            yield _made(source, line, one.start, one.end, "number")
            digits = re.match(r"[$€£¥]?[\d,.]*\d%?(?: (?:million|billion|thousand))?", one.surface)
            if digits and len(digits[0]) < len(one.surface):
                yield _made(source, line, one.start, one.start + len(digits[0]), "number")
        elif one.kind in ("name", "acronym", "ngram"):
            yield _made(source, line, one.start, one.end, "name")
            yield from _parts(source, line, one)
        elif one.kind == "quoted":
            yield _made(source, line, one.start, one.end, "quoted")
    for one, other in pairwise(found):
        if one.kind == other.kind == "name" and text[one.end : other.start] == ", ":
            yield _made(source, line, one.start, other.end, "place")
    for at, word in enumerate(line.words):
        if word.low in _NUMBER_WORDS:
            yield _made(source, line, word.start, word.end, "number")
            if at + 1 < len(line.words) and line.words[at + 1].h and line.words[at + 1].low not in STOP_WORDS:
                yield _made(source, line, word.start, line.words[at + 1].end, "number")
    yield from _phrases(source, line)
    yield from _tails(source, line)


def _parts(source: Source, line: Line, one: Entity) -> Iterator[Candidate]:
    """What stands in a name before and behind `of`, `in`, `for`."""
    for match in re.finditer(r" (?:of|of the|in|for|for the|at) ", one.surface):
        yield _made(source, line, one.start, one.start + match.start(), "part")
        yield _made(source, line, one.start + match.end(), one.end, "part")


def _time(source: Source, line: Line, time: TimeExpression) -> Candidate:
    """A time as it is written; one that is relative to when it was said, as an absolute one."""
    start, end = time.span
    written = source.text[start:end]
    shown = re.sub(r"^(?:in|since|until|till|by|during|of|before|after|around|from|to|and|circa|on|the)\s+", "", written, flags=re.I)
    start = end - len(shown)
    interval = (time.start, time.end) if time.start is not None and time.end is not None else None
    if source.time is not None and interval is not None and not re.search(r"\d{4}", written):
        said = datetime.fromtimestamp(source.time / 1e6, UTC)
        relative = _RELATIVE.search(written)
        first = datetime.fromtimestamp(max(interval[0], EARLIEST) / 1e6, UTC)
        which, what = (relative[1].lower(), relative[2].lower()) if relative else ("", "")
        if which in ("last", "next") and what not in ("month", "year"):
            named = what if what.startswith("week") else what.title()
            shown = f"the {named} {'before' if which == 'last' else 'after'} {_day(said)}"
        elif what in ("week", "weekend"):
            shown = f"the {what} of {_day(first)}"
        elif time.kind == "day":
            shown = _day(first)
        elif time.kind == "month":
            shown = f"{first:%B %Y}"
        elif time.kind in ("year", "decade"):
            shown = f"{first:%Y}"
        elif time.kind == "week":
            shown = f"the week of {_day(first)}"
        elif time.kind == "season":
            shown = f"{shown} {first:%Y}"
    return Candidate(shown, key_of(shown), "time", start, end, line, interval)


def _day(moment: datetime) -> str:
    return f"{moment.day} {moment:%B %Y}"


def _phrases(source: Source, line: Line) -> Iterator[Candidate]:
    """Runs of words that are no function words and no finite verbs; their last two words and their last word; and two runs joined by `of`."""
    runs: list[list[Word]] = [[]]
    for word in line.words:
        verb = word.low in FORMS and FORMS[word.low][1] != "ing" and word.low not in ("work", "play", "run", "walk", "train", "book", "study")
        if word.h and word.low not in STOP_WORDS and word.low not in AUXILIARIES and not verb and (word.low not in COMMON or len(word.low) > 6):
            runs[-1].append(word)
        else:
            runs.append([])
    runs = [run for run in runs if run]
    for at, run in enumerate(runs):
        whole = run[-6:]
        yield _made(source, line, whole[0].start, whole[-1].end, "phrase")
        for length in (1, 2, 3):
            if len(whole) > length:
                yield _made(source, line, whole[-length].start, whole[-1].end, "phrase")
        if len(whole) > 2:
            yield _made(source, line, whole[0].start, whole[1].end, "phrase")
        if at + 1 < len(runs) and source.text[run[-1].end : runs[at + 1][0].start] in _LINKS:
            yield _made(source, line, whole[0].start, runs[at + 1][-1].end, "phrase")


def _tails(source: Source, line: Line) -> Iterator[Candidate]:
    """What follows a verb or a preposition up to the end of the clause."""
    for at, word in enumerate(line.words[:-1]):
        if not ((word.low in FORMS or word.low in ("to", "by", "because", "as", "like", "called", "with", "about", "for")) and line.words[at + 1].h):
            continue
        begin = at + 1
        while begin < len(line.words) - 1 and line.words[begin].low in ("a", "an", "the", "to", "my", "her", "his", "their", "our"):
            begin += 1
        stop = begin
        while stop < min(len(line.words), begin + MOST_WORDS) and line.words[stop].h and line.words[stop].low not in _ENDS_CLAUSE:
            stop += 1
        if stop - begin >= 2 and line.words[stop - 1].low not in STOP_WORDS and line.words[stop - 1].low not in PREPOSITIONS:
            yield _made(source, line, line.words[begin].start, line.words[stop - 1].end, "tail")
