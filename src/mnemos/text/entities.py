"""What a text names, without a language model: titles, capitalised names, quoted names, acronyms, quantities; n-grams where a script has no case.

One pass over the words of a text, so its time is linear in the text. Names at the beginning of a sentence are told from ordinary words by closed
lists, by the rest of the text, and, where given, by how the corpus writes the word (`Statistics`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from mnemos.index.terms import fold, heading_of
from mnemos.text.agreement.words import FORMS, word_set
from mnemos.text.corpus_words import Statistics, phrases
from mnemos.text.name_words import CALENDAR, COMMON, FIRST_NAMES, HONORIFICS

LONGEST_NAME = 10
"""Words of a name; longer runs of capitals are cut there."""
LONGEST_QUOTED = 80
"""Characters between quotation marks that may be a name."""


class Entity(NamedTuple):
    """`text[start:end]` names something."""

    key: str
    """How it is compared (`key_of`): equal for spellings of one name."""
    surface: str
    start: int
    end: int
    kind: str
    """`title`, `name`, `quoted`, `acronym`, `quantity`, `phrase` (a noun phrase, only with statistics) or `ngram` (a script without capitals)."""


_WORD = re.compile(r"(?:[^\W\d_]\.){2,5}|[^\W\d_]\.(?=\s?[^\W\d_])|[^\W_][\u0300-\u036f]*(?:[^\W_]|[\u0300-\u036f]|['’&/.-](?=[^\W_]))*")
_UNCASED = "\u0590-\u08ff\u0900-\u10ff\u1100-\u11ff\u1200-\u137f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_UNCASED_RUN = re.compile(f"[{_UNCASED}]+")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_PARTICLES = re.compile("[のはがをにでともへやかのはですますたしてるれらりい、。的了是在和有我你他她它们這这那个個不也都就]+")
_NUMBERS = re.compile(
    r"(?<![\w.,-])[$€£¥]?\d+(?:,\d{3})*(?:\.\d+)?(?:%|[kKmM]\b)?(?:[ -]?(?:million|billion|thousand|hundred|percent|%))?"
    r"(?:[ -](?!(?:and|or|to|of|in|on|at|by|as|for|the|a|is|was|with|from|that|but|if|so|when)\b)[a-zµ°²]+(?: (?:per|a) [a-z]+(?: [a-z]+)?)?)?"
)
_YEAR = re.compile(r"(?:1\d|20)\d\d(?![\d.])")
_QUOTED = re.compile(
    rf"[“„«]([^“”„«»\n]{{1,{LONGEST_QUOTED}}})[”“»]|\"([^\"\n]{{1,{LONGEST_QUOTED}}})\"|(?<!\w)['‘]([A-Z\d][^'’\n]{{1,{LONGEST_QUOTED}}}(?:['’]\w[^'’\n]*)?)['’](?!\w)"
)
_LABELLED = re.compile(r"([^\W_][^:\n]{0,98}): ?(?=\S)")
_JOINING = word_set("of de da do di del della von van der den du des la le los las el al bin ibn ben y dos af av zu & the for")
_FOR = word_set("center centre institute institution association society foundation department ministry agency union office fund council")
_ABBREVIATED = word_set("dr mr mrs ms st mt ft jr sr prof gen col lt sgt rev no vs inc ltd co")
_ENDS = frozenset(".!?\n:;•*…。！？\"“”(|")
_BEFORE_YEAR = word_set("in since by until till during from around circa of")
_ARTICLES = frozenset(("the", "a", "an"))
_QUALIFIER = re.compile(r"\s*[(（][^()（）]*[)）]\s*$")
_NUMERAL = re.compile("[IVX]+")
_RANKS = word_set(
    "duke duchess count countess prince princess king queen earl baron baroness marquess margrave landgrave elector viscount baronet jr sr"
)
_CONTRACTED = ("'ve", "'ll", "'re", "'d", "'m", "n't")
_AFTER_NUMERAL = re.compile(r"[.,;:)]|\s+(?:of|and|was|is|in)\b|\s+the\s[^\W\d_a-z]|$")
_KEY_WORD = re.compile(r"[^\W_]+(?:[\u0300-\u036f][^\W_]*)*")
_ENDING = re.compile(r"(?:ing|ly|ed|ness|ful|ous|able|tion)$")


@lru_cache(maxsize=1 << 15)
def key_of(surface: str) -> str:
    """How a name is compared: folded (case, accents, width), without articles before it, possessives, punctuation and a qualifier in parentheses
    at its end; initials joined (`J. K. Rowling`, `JK Rowling`: `jk rowling`; `U.S.`: `us`). Empty for a text without letters and digits."""
    text = fold(_QUALIFIER.sub("", surface) or surface)
    text = text.replace("'s ", " ").removesuffix("'s").removesuffix("'").replace("'", "")
    words = _KEY_WORD.findall(text)
    while len(words) > 1 and words[0] in _ARTICLES:
        del words[0]
    out: list[str] = []
    joined = False
    for word in words:
        single = len(word) == 1 and word.isalpha()
        if single and joined:
            out[-1] += word
        else:
            out.append(word)
        joined = single
    return " ".join(out)


def entities(text: str, statistics: Statistics | None = None) -> list[Entity]:
    """What `text` names, in the order of the text, which may be any Unicode. A title and a quoted name may hold other names.

    With `statistics` of the corpus: words that it writes in lower case begin no names, and noun phrases that are telling in it are added.
    """
    found: list[Entity] = []
    body = 0
    title = _title(text)
    if title is not None:
        found.append(title)
        body = title.end
    taken: list[tuple[int, int]] = []
    if '"' in text or "“" in text or "„" in text or "«" in text or "'" in text or "‘" in text:
        for match in _QUOTED.finditer(text, body):
            quoted = _quoted(match)
            if quoted is not None:
                found.append(quoted)
                taken.append((quoted.start, quoted.end))
    names = _names(text, body, statistics)
    names += _ranked(text, names)
    found += [name for name in names if not any(start <= name.start and name.end <= end for start, end in taken)] if taken else names
    if not text.isascii() and _UNCASED_RUN.search(text, body):
        found += _ngrams(text, body)
    if any(map(text.__contains__, "0123456789")):
        held = [(one.start, one.end) for one in found if one.kind != "title"]
        found += [one for one in _quantities(text, body) if not any(start <= one.start < end for start, end in held)]
    if statistics is not None:
        held = [(one.start, one.end) for one in found]
        for start, end in phrases(text, statistics):
            if start >= body and not any(start < b and a < end for a, b in held):
                found.append(Entity(key_of(text[start:end]), text[start:end], start, end, "phrase"))
    found.sort(key=lambda one: (one.start, -one.end))
    return found


def keys(found: Iterable[Entity]) -> list[str]:
    """The keys of entities, each once, in order."""
    return list(dict.fromkeys(one.key for one in found))


def _title(text: str) -> Entity | None:
    """The title that a passage begins with: a short first line, or what stands before its first colon, if it is written like a name."""
    head = heading_of(text)
    if not head:
        labelled = _LABELLED.match(text)
        if labelled is None or not _like_a_name(labelled[1]):
            return None
        head = labelled[1]
    elif head.rstrip()[-1:] in (".", "?", "!", ":", ",", ";") and not _like_a_name(head):
        return None
    start = len(head) - len(head.lstrip())
    surface = head.strip()
    key = key_of(surface)
    return Entity(key, surface, start, start + len(surface), "title") if key else None


def _like_a_name(text: str) -> bool:
    words = text.split()
    telling = [word for word in words if word.lower() not in COMMON]
    return bool(telling) and len(words) <= LONGEST_NAME and all(word[0].isupper() or not word[0].isalpha() for word in telling)


def _quoted(match: re.Match[str]) -> Entity | None:
    group = next(number for number in (1, 2, 3) if match[number] is not None)
    start, end = match.span(group)
    surface = match[group]
    stripped = surface.strip(" ,.")
    words = stripped.split()
    capitals = sum(word[0].isupper() or word[0].isdigit() for word in words)
    if not words or len(words) > LONGEST_NAME or capitals * 2 < len(words) or (group != 3 and surface.endswith(("!", "?")) and len(words) > 6):
        return None
    start += surface.index(stripped)
    end = start + len(stripped)
    key = key_of(stripped)
    return Entity(key, stripped, start, end, "quoted") if key else None


def _ranked(text: str, names: list[Entity]) -> list[Entity]:
    """Names with the rank or the `Jr.` that stands behind a comma (`Godfrey III, Duke of Lower Lorraine`), beside the names alone."""
    out = []
    for one, other in pairwise(names):
        words = other.key.split()
        if text[one.end : other.start] == ", " and (words[0] in _RANKS or (words[0][0].isdigit() and words[1:2] and words[1] in _RANKS)):
            end = other.end + (text[other.end : other.end + 1] == "." and words[0] in ("jr", "sr"))
            out.append(Entity(key_of(text[one.start : end]), text[one.start : end], one.start, end, "name"))
    return out


class _Run:
    """A run of capitalised words that grows while the text is read."""

    __slots__ = ("doubtful", "end", "pending", "start", "words")

    def __init__(self, start: int, end: int, word: str, doubtful: bool) -> None:
        self.start, self.end, self.words, self.doubtful = start, end, [word], doubtful
        self.pending: list[str] = []

    def add(self, word: str, end: int) -> None:
        self.words += [*self.pending, word]
        self.pending = []
        self.end = end


def _names(text: str, body: int, statistics: Statistics | None) -> list[Entity]:
    out: list[Entity] = []
    run: _Run | None = None
    last_end, previous, number_at = body, "", -1
    for match in _WORD.finditer(text, body):
        word = match.group()
        start = match.start()
        gap = text[last_end:start]
        begins = start == body or (gap != " " and not _ENDS.isdisjoint(gap) and not (gap == ". " and previous in _ABBREVIATED))
        first = word[0]
        if first in "dl" and word[1:2] in ("'", "’") and word[2:3].isupper() and run is None:
            start, word, first, gap = start + 2, word[2:], word[2], " "  # à l'École
        joined = run is not None and not begins and (gap in (" ", "", " & ") or (gap == ". " and previous in _ABBREVIATED))
        if joined and gap == " & " and run is not None:
            run.pending.append("&")
        if run is not None and not joined:
            _close(run, text, out, statistics)
            run = None
        low = word.lower()
        if first.isupper():
            bare = word[:-2] if low.endswith(("'s", "’s")) else word
            if "’" in word:
                low = low.replace("’", "'")
            if (first == "I" and (len(word) == 1 or word[1] in "'’")) or low.endswith(_CONTRACTED):
                if run is not None and len(word) == 1 and not run.pending and _AFTER_NUMERAL.match(text, match.end()):
                    run.add(word, match.end())  # Henry I
                elif run is not None:
                    _close(run, text, out, statistics)
                    run = None
            elif run is None:
                common = (low if bare is word else bare.lower()) in COMMON
                if (not (common and begins) and bare.lower() not in CALENDAR) or (len(word) > 1 and word.isupper() and not common):
                    begun = number_at if number_at >= 0 and gap == " " else start
                    run = _Run(begun, start + len(bare), bare, begins)
                    run.words[:0] = [text[number_at : last_end]] if begun != start else []
            elif len(run.words) < LONGEST_NAME and (low not in CALENDAR or text[match.end() + 1 : match.end() + 2].isupper()):
                run.add(bare, start + len(bare))
            else:
                _close(run, text, out, statistics)
                run = None
            if run is not None and bare is not word and (run.words[0].lower() in FIRST_NAMES or run.words[0][1:2] == "."):
                _close(run, text, out, statistics)  # Maria's Porsche: two names
                run = None
        elif run is not None:
            if first.isdigit() and len(word) <= 6 and gap == " " and not run.pending and run.words[-1].lower() not in CALENDAR:
                run.add(word, match.end())  # Boeing 747
            elif low[:2] in ("d'", "d’") and gap == " " and word[2:3].isupper():
                run.add(word, match.end())  # Ballon d'Or
            elif low in _JOINING and not (low == "for" and run.words[-1].lower() not in _FOR) and not (
                low == "the" and not run.pending and not _NUMERAL.fullmatch(run.words[-1])
            ):
                run.pending.append(word)
            else:
                _close(run, text, out, statistics)
                run = None
        number_at = start if first.isdigit() and previous not in _BEFORE_YEAR and (word.isdigit() or word[-2:] in ("st", "nd", "rd", "th")) else -1
        if number_at >= 0 and word.isdigit() and len(word) != 4:
            number_at = -1
        last_end, previous = match.end(), low
    if run is not None:
        _close(run, text, out, statistics)
    return out


def _close(run: _Run, text: str, out: list[Entity], statistics: Statistics | None) -> None:
    """Takes a finished run over, unless it is an ordinary word that only begins a sentence."""
    words = run.words
    if len(words) == 1:
        word = words[0]
        low = word.lower()
        if (len(word) == 1 and word.isascii()) or low in CALENDAR or (low in COMMON and low not in FIRST_NAMES) or low in HONORIFICS:
            return
        if run.doubtful and low not in FIRST_NAMES and not word[1:].isupper() and _ordinary(low, text, statistics):
            return
    surface = text[run.start : run.end]
    key = key_of(surface)
    if key:
        acronym = len(words) == 1 and 2 <= len(key) <= 6 and surface.replace(".", "").isupper()
        out.append(Entity(key, surface, run.start, run.end, "acronym" if acronym else "name"))


def _ordinary(low: str, text: str, statistics: Statistics | None) -> bool:
    """Whether the single word that begins a sentence is none that names."""
    if low in FORMS or f" {low}" in text:
        return True
    if statistics is not None and (written := statistics.written(low)) is not None:
        return written < 0.5
    return _ENDING.search(low) is not None


def _quantities(text: str, body: int) -> list[Entity]:
    out = []
    for match in _NUMBERS.finditer(text, body):
        surface = match.group()
        if _YEAR.match(surface) or _in_date(text, match.start(), match.end()):
            continue
        out.append(Entity(fold(surface).replace(",", ""), surface, match.start(), match.start() + len(surface), "quantity"))
    return out


def _in_date(text: str, start: int, end: int) -> bool:
    """Whether a number is the day of a month that is named beside it."""
    before, after = text[max(0, start - 11) : start].split(), text[end : end + 14].split()
    return bool((before and before[-1].lower().strip(".") in CALENDAR) or (after and after[0].lower().strip(".,") in CALENDAR))


def _ngrams(text: str, body: int) -> list[Entity]:
    """Runs of a script without capitals: words where the script has blanks; else what stands between particles, and its pairs of characters."""
    out = []
    for match in _UNCASED_RUN.finditer(text, body):
        if not _UNSPACED.search(match.group()):
            if len(match.group()) >= 3 or "\uac00" <= match.group()[0] <= "\ud7af":
                out.append(Entity(key_of(match.group()), match.group(), match.start(), match.end(), "ngram"))
            continue
        at = match.start()
        for piece in _PARTICLES.split(match.group()):
            start = text.index(piece, at) if piece else at
            at = start + len(piece)
            if 2 <= len(piece) <= 6:
                out.append(Entity(key_of(piece), piece, start, at, "ngram"))
            elif len(piece) > 6:
                out += [Entity(key_of(piece[i : i + 2]), piece[i : i + 2], start + i, start + i + 2, "ngram") for i in range(len(piece) - 1)]
    return [one for one in out if one.key]
