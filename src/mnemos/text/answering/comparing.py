"""Questions that compare two things (`which is older, A or B?`) or ask whether both are of one sort: answered from the sources on each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mnemos.index.terms import STOP_WORDS, fold, heading_of, words
from mnemos.text.answering.candidates import Source
from mnemos.text.answering.questions import Asked
from mnemos.text.answering.senses import sense
from mnemos.text.entities import key_of
from mnemos.text.sentence_spans import sentence_spans
from mnemos.text.time_expressions import find_times

_LATER = re.compile(r"\b(?:later|last|latest|newer|newest|younger|youngest|more recent(?:ly)?|most recent(?:ly)?)\b")
_EARLIER = re.compile(r"\b(?:earlier|first|before|older|oldest|earliest|longest running|senior)\b")
_MORE = re.compile(r"\b(?:more|most|higher|highest|taller|tallest|larger|largest|bigger|longer|greater|farther|further)\b")
_LESS = re.compile(r"\b(?:fewer|fewest|less|least|lower|lowest|smaller|smallest|shorter)\b")
_LIFE = re.compile(r"\b(?:lived? (?:a )?longer|longer life|lived the longest)\b")
_MAKER = re.compile(r"\b(director|producer|composer|performer|author|writer|singer|creator)s?\b")
_MADE_BY = {
    "director": r"direct(?:ed|or)[^.]{0,40}?\bby\b|directed by", "producer": r"produced[^.]{0,60}?\bby\b",
    "composer": r"(?:composed|music)[^.]{0,60}?\bby\b",
    "performer": r"(?:performed|recorded|sung|song|album|single)[^.]{0,40}?\bby\b", "author": r"(?:written|novel|book)[^.]{0,40}?\bby\b",
    "writer": r"written[^.]{0,40}?\bby\b", "singer": r"(?:sung|performed|recorded)[^.]{0,40}?\bby\b", "creator": r"created[^.]{0,40}?\bby\b",
}  # fmt: skip
_YEAR = re.compile(r"(?<!\d)(1\d{3}|20\d\d|[1-9]\d\d)(?!\d)")
_LIVED = re.compile(r"\(([^()]{0,120}?\d{3,4}[^()]{0,120})\)")
_MONTHS = "january february march april may june july august september october november december".split()  # noqa: SIM905 (a list of words)
_MONTH_DAY = re.compile(rf"(?:(\d{{1,2}})(?:st|nd|rd|th)?\s+)?({'|'.join(_MONTHS)})(?:\s+(\d{{1,2}}))?", re.I)
_NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?")
_NATION = re.compile(r"\b(?:is|was|are|were)\s+(?:an?|the)\s+(?:[a-z\d-]+\s+){0,4}?((?:[A-Z][\w-]+(?:\s+|,\s*))*[A-Z][\w-]+)")


@dataclass(frozen=True, slots=True)
class Compared:
    """The outcome of a comparison, and the source and the sentence that decided it."""

    answer: str
    confidence: float
    source: Source
    start: int
    end: int


def compare(asked: Asked, sources: Sequence[Source]) -> Compared | None:
    """Answers a question of kind `choice` or `yes-no`; None where the sources do not decide it."""
    pages = [_page(option, sources) for option in asked.options]
    if asked.kind == "choice":
        return _choose(asked, pages, sources)
    if len(pages) == 2 and pages[0] is not None and pages[1] is not None:
        return _alike(asked, pages[0], pages[1], sources)
    return _affirmed(asked, sources)


def _page(name: str, sources: Sequence[Source]) -> Source | None:
    """The source on a thing: whose title is its name; else that which names it first."""
    key = key_of(name)
    if not key:
        return None
    told = set(key.split())

    def likeness(source: Source) -> float:
        title = set(key_of(heading_of(source.text)).split())
        if title and key == key_of(heading_of(source.text)):
            return 3.0
        shared = len(told & title) / len(told | title) if title else 0.0
        return shared + 0.5 * (key in key_of(source.text))

    best = max(sources, key=likeness, default=None)
    return best if best is not None and likeness(best) >= 0.45 else None


def _choose(asked: Asked, pages: Sequence[Source | None], sources: Sequence[Source]) -> Compared | None:
    low = asked.low
    first, second = pages
    if all(source.time is not None for source in sources) and (_LATER.search(low) or _EARLIER.search(low)):
        return _sooner(asked, sources, larger=_LATER.search(low) is not None)
    if first is None or second is None:
        return _named_more(asked, sources)
    if first is not second:
        making = _MAKER.search(low)
        about = [(_maker(page, making[1], sources) if making else None) or page for page in (first, second)]
        if _LIFE.search(low):
            spans = [_lived(page) for page in about]
            lengths = [span[1] - span[0] if span and span[1] is not None else None for span in spans]
            return _by(asked, about, lengths, larger=True, confidence=0.8)
        if _LATER.search(low) or _EARLIER.search(low):
            of_death = "die" in low.split() or "died" in low or "death" in low
            moments = [_moment(page, "death" if of_death else "birth" if making or _of_person(low, page) else "work") for page in about]
            return _by(asked, about, moments, larger=_LATER.search(low) is not None, confidence=0.8)
        if _MORE.search(low) or _LESS.search(low):
            numbers = [_number(page, asked) for page in about]
            return _by(asked, about, numbers, larger=_MORE.search(low) is not None, confidence=0.45)
    return _named_more(asked, sources, (first, second))


def _by(asked: Asked, pages: Sequence[Source], values: Sequence[float | None], larger: bool, confidence: float) -> Compared | None:
    first, second = values
    if first is None or second is None or first == second:
        return None
    chosen = 0 if (first > second) == larger else 1
    return Compared(asked.options[chosen], confidence, pages[chosen], *_first_sentence(pages[chosen]))


def _sooner(asked: Asked, sources: Sequence[Source], larger: bool) -> Compared | None:
    """Which of two things happened earlier (`larger`: later), by the time that the sentence on each names, else by when it was said."""
    found: list[tuple[Source, int, int, float]] = []
    for option in asked.options:
        own = {sense(part) for part in words(option) if part not in STOP_WORDS}
        best: tuple[float, Source, int, int, float] | None = None
        for source in sources:
            for sentence in sentence_spans(source.text):
                share = len(own & {sense(part) for part in words(sentence.text)}) / (len(own) or 1)
                if share >= 0.4 and (best is None or share > best[0]):
                    named = [time.start for time in find_times(sentence.text, source.time) if time.start is not None]
                    best = share, source, sentence.start, sentence.end, float(named[0] if named else source.time or 0)
        if best is None:
            return None
        found.append(best[1:])
    if found[0][3] == found[1][3]:
        return None
    chosen = 0 if (found[0][3] > found[1][3]) == larger else 1
    source, start, end, _ = found[chosen]
    return Compared(asked.options[chosen], 0.6, source, start, end)


def _first_sentence(source: Source) -> tuple[int, int]:
    told = sentence_spans(source.text)
    one = told[1] if len(told) > 1 and heading_of(source.text) else told[0]
    return one.start, one.end


def _named_more(asked: Asked, sources: Sequence[Source], pages: tuple[Source, Source] | None = None) -> Compared | None:
    """The option whose page, or whose sentences, hold more of what is asked."""
    own = [{sense(part) for part in words(option)} for option in asked.options]
    wanted = {h: weight for h, weight in asked.terms.items() if h not in own[0] | own[1]}
    scores: list[tuple[float, Source, int, int]] = []
    for at, option in enumerate(own):
        best = (0.0, sources[0], 0, min(1, len(sources[0].text)))
        for source in (pages[at],) if pages is not None and pages[0] is not pages[1] else sources:
            for sentence in sentence_spans(source.text):
                held = {sense(part) for part in words(sentence.text)}
                about = len(option & held) / (len(option) or 1) if pages is None or pages[0] is pages[1] else 1.0
                best = max(best, (about * (0.2 + sum(weight for h, weight in wanted.items() if h in held)), source, sentence.start, sentence.end),
                           key=lambda one: one[0])
        scores.append(best)
    if scores[0][0] == scores[1][0]:
        return None
    chosen = 0 if scores[0][0] > scores[1][0] else 1
    worth, source, start, end = scores[chosen]
    return Compared(asked.options[chosen], 0.3 + 0.4 * (worth - scores[1 - chosen][0]) / (worth or 1.0), source, start, end)


def _of_person(low: str, page: Source) -> bool:
    return any(word in low.split() for word in ("who", "born", "older", "younger", "person", "oldest", "youngest")) and _lived(page) is not None


def _maker(page: Source, role: str, sources: Sequence[Source]) -> Source | None:
    """The source on who made what `page` is about: whose title stands soonest behind `directed by`, or else anywhere in it."""
    body = page.text
    said = re.search(_MADE_BY[role], body, re.I)
    start = said.end() if said else 0
    best: tuple[int, Source] | None = None
    for source in sources:
        title = heading_of(source.text)
        bare = re.sub(r"\s*\([^)]*\)$", "", title)
        if source is page or not bare:
            continue
        at = body.find(bare, start)
        if at < 0:
            at = body.find(bare.split()[-1], start) + 1000 if bare.split()[-1] in body[start:] else -1
        if at >= 0 and (best is None or at < best[0]):
            best = at, source
    return best[1] if best else None


def _lived(page: Source) -> tuple[float, float | None] | None:
    """Birth and death as years with fractions, from the parentheses of the first sentence, or from what stands behind `born` and `died`."""
    start, end = _first_sentence(page)
    for match in _LIVED.finditer(page.text, start, min(end + 200, len(page.text))):
        moments = _moments(match[1])
        if moments:
            born = re.search(r"\bdied\b", match[1], re.I) is None or len(moments) > 1
            return (moments[0], moments[1] if len(moments) > 1 else None) if born else None
    born_at = re.search(r"\bborn\b[^.]{0,60}", page.text, re.I)
    died_at = re.search(r"\b(?:died|death)\b[^.]{0,60}", page.text, re.I)
    born_on, died_on = (_moments(found[0]) if found else [] for found in (born_at, died_at))
    return (born_on[0], died_on[0] if died_on else None) if born_on else None


def _moments(text: str) -> list[float]:
    """The dates in a text, as years with fractions, in order; a month and day belong to the year that follows them within a few characters."""
    out = []
    last = 0
    for year in _YEAR.finditer(text):
        before = list(_MONTH_DAY.finditer(text, last, year.start()))
        fraction = 0.0
        if before and year.start() - before[-1].end() <= 6:
            one = before[-1]
            fraction = (_MONTHS.index(one[2].lower()) + (int(one[1] or one[3] or 1) - 1) / 31) / 12
        out.append(int(year[1]) + min(fraction, 0.999))
        last = year.end()
    return out


def _moment(page: Source, of: str) -> float | None:
    lived = _lived(page)
    if of == "death":
        return lived[1] if lived else None
    if of == "birth" and lived:
        return lived[0]
    found = _moments(page.text.partition("\n")[2] or page.text)
    return found[0] if found else None


def _number(page: Source, asked: Asked) -> float | None:
    """The number in the sentence that shares most with the question."""
    best: tuple[float, float] | None = None
    for sentence in sentence_spans(page.text):
        numbers = [float(match.group().replace(",", "")) for match in _NUMBER.finditer(sentence.text) if not _YEAR.fullmatch(match.group())]
        if numbers:
            held = {sense(part) for part in words(sentence.text)}
            share = sum(weight for h, weight in asked.terms.items() if h in held)
            if best is None or share > best[0]:
                best = share, max(numbers)
    return best[1] if best else None


def _alike(asked: Asked, first: Source, second: Source, sources: Sequence[Source]) -> Compared | None:
    """Whether two things are of the same nationality or sort, or both are what the question says."""
    making = _MAKER.search(asked.low)
    about = [(_maker(page, making[1], sources) if making else None) or page for page in (first, second)]
    place = _first_sentence(about[0])
    if re.search(r"\b(?:same|share|both from|common)\b", asked.low):
        nations = [_nations(page) for page in about]
        if nations[0] and nations[1]:
            return Compared("yes" if nations[0] & nations[1] else "no", 0.7, about[0], *place)
        return None
    own = {sense(part) for option in asked.options for part in words(option)}
    wanted = {sense(word) for word in asked.low.split() if word not in STOP_WORDS} & set(asked.terms) - own - {sense("both")}
    if not wanted:
        return None
    held = [{sense(part) for part in words(page.text)} for page in about]
    shares = [len(wanted & one) / len(wanted) for one in held]
    return Compared("yes" if min(shares) >= 0.5 else "no", 0.55, about[0], *place)


def _nations(page: Source) -> set[str]:
    """The words in capitals before what the first sentence says that a thing is: `is an American film`."""
    start, _ = _first_sentence(page)
    match = _NATION.search(page.text, start, start + 400)
    return {fold(word) for word in re.split(r"[\s,-]+", match[1])} if match else set()


_DENIAL = re.compile(r"\b(?:not|no|never|none|neither|nor|without)\b|n['’]t\b", re.I)


def _affirmed(asked: Asked, sources: Sequence[Source]) -> Compared | None:
    """Yes, or no where the sentence that shares most with the question denies it; None where none shares half of it."""
    best: tuple[float, Source, int, int, str] | None = None
    for source in sources:
        for sentence in sentence_spans(source.text):
            held = {sense(part) for part in words(sentence.text)}
            share = sum(weight for h, weight in asked.terms.items() if h in held) / (sum(asked.terms.values()) or 1.0)
            if best is None or share > best[0]:
                best = share, source, sentence.start, sentence.end, sentence.text
    if best is None or best[0] < 0.5 or best[4].endswith("?"):
        return None
    return Compared("no" if _DENIAL.search(best[4]) else "yes", 0.3 + 0.3 * best[0], best[1], best[2], best[3])
