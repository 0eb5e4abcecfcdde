"""Whom and what a text mentions, as what later pronouns and descriptions can mean: names, relatives (`my sister`), things (`a red guitar`)."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from mnemos.index.terms import fold
from mnemos.text.agreement.words import FORMS, OCCUPATIONS, word_set
from mnemos.text.entities import Entity, entities
from mnemos.text.name_words import CLASS_OF, COMMON, KIN, class_of, gender_of
from mnemos.text.sentence_spans import Sentence

PERSON, THING, PLURAL = "person", "thing", "plural"


@dataclass(slots=True)
class Mention:
    """Something that was spoken of, and what is known of it so far."""

    key: str
    """How it is compared: an entity's key, or whose what it is (`maria sister`)."""
    name: str
    """How it is shown where it replaces a pronoun."""
    place: int
    """Where it begins in its text."""
    sentence: int
    """Number of the sentence in the conversation."""
    sort: str = ""
    """`person`, `plural`, `thing`, a key of `name_words.CLASSES`; empty where it cannot be told."""
    gender: str = ""
    """`m`, `f` or unknown."""
    subject: bool = False
    """Whether its sentence begins with it."""
    title: bool = False
    """Whether it is what the whole text is about."""
    nouns: frozenset[str] = frozenset()
    """What it is called or said to be: `film`, `company`."""


_PERSONS = OCCUPATIONS | word_set(
    """
    actor actress singer songwriter politician footballer player poet writer novelist composer director producer painter philosopher physicist
    scientist king queen emperor duke prince princess bishop general soldier athlete swimmer runner cyclist boxer wrestler comedian presenter
    businessman businesswoman playwright screenwriter filmmaker rapper drummer guitarist pianist organist monarch cricketer sculptor activist
    """
)
_IS_A = re.compile(r"(?:\s*\([^)]*\))?,?\s+(?:is|was|are|were|,)\s+(?:an?|the|one of the)\s+((?:[^\W_]+[\s,-]+){0,8}?)(?=[^\W_])")
_BORN = re.compile(r"\s*\((?:[^)]*\b)?(?:born|née?)\b|\s*\([^)]*\d{4}\s*[–-]\s*[^)]*\d{4}\)")
_PHRASE = re.compile(r"\b(a|an|the|my|our|his|her|their|this|that|two|three|some|both|these|those)\s+((?:[a-z][a-z-]+\s+){0,3}[a-z][a-z-]+)")
_AND = re.compile(r"\s+(?:and|&)\s+")


def mentions(text: str, sentences: Sequence[Sentence], first: int, author: str | None) -> list[Mention]:
    """The mentions of `text` in order of place. `first`: the number of its first sentence; `author`: how the speaker is called."""
    found = [one for one in entities(text) if one.kind not in ("quantity", "phrase")]
    starts = [sentence.start for sentence in sentences]
    out: list[Mention] = []
    for one in found:
        if out and out[-1].place == one.start:
            continue
        at = _number(starts, one.start)
        mention = Mention(one.key, one.surface, one.start, first + at, subject=not text[starts[at] : one.start].strip("\"' ") if starts else False)
        _describe(mention, one, text)
        out.append(mention)
    out += _pairs(found, out, text)
    taken = [(one.start, one.end) for one in found if one.kind != "title"]
    for match in _PHRASE.finditer(text):
        made = _phrase(match, text, author, taken)
        if made is not None:
            at = _number(starts, match.start())
            made.sentence, made.subject = first + at, not text[starts[at] : match.start()].strip()
            out.append(made)
    return sorted(out, key=lambda one: one.place)


def _number(starts: Sequence[int], place: int) -> int:
    return max(bisect_right(starts, place) - 1, 0)


def _describe(mention: Mention, one: Entity, text: str) -> None:
    """What the name itself, and `X is a …` or `X (born …)` right behind it, say of what it names."""
    words = one.key.split()
    mention.title = one.kind == "title"
    mention.sort, mention.gender = class_of(words), gender_of(words)
    mention.nouns = frozenset(word for word in words if word in CLASS_OF)
    before = text[max(0, one.start - 24) : one.start].split()
    kin = KIN.get(before[-1].lower().strip(",")) if before else None
    if kin is not None:
        mention.sort, mention.gender = PERSON, kin or mention.gender
    if _BORN.match(text, one.end):
        mention.sort = PERSON
    said = _IS_A.match(text, one.end)
    if said:
        following = re.findall(r"[^\W_]+(?:-[^\W_]+)*", fold(text[said.start() : said.end() + 90].split(". ")[0]))
        for word in following:
            if word in _PERSONS or word in KIN:
                mention.sort, mention.gender = PERSON, mention.gender or KIN.get(word, "")
                break
            if word in CLASS_OF and mention.sort != PERSON:
                mention.sort = CLASS_OF[word]
                mention.nouns |= {word}
                break
    if one.kind == "quoted" and not mention.sort:
        mention.sort = "work"


def _pairs(found: Sequence[Entity], singles: Sequence[Mention], text: str) -> list[Mention]:
    """`Anna and Bob`, as one that `they` can mean."""
    by_place = {one.place: one for one in singles}
    out = []
    for one, other in pairwise(found):
        if _AND.fullmatch(text[one.end : other.start]) and one.start in by_place:
            sentence = by_place[one.start].sentence
            out.append(Mention(f"{one.key} + {other.key}", f"{one.surface} and {other.surface}", one.start, sentence, PLURAL))
    return out


def _phrase(match: re.Match[str], text: str, author: str | None, taken: Sequence[tuple[int, int]]) -> Mention | None:
    """What a noun phrase without a name mentions; None where it leads to a name, or is none."""
    words: list[str] = []
    for word in match[2].split():
        if word in FORMS or (word in COMMON and word not in CLASS_OF) or (word in KIN and words and words[-1] in KIN):
            break
        words.append(word)
        if word in KIN:
            break
    end = match.start(2) + sum(map(len, words)) + len(words)
    if not words or any(start <= end <= start + 1 for start, _ in taken):
        return None
    head, owner = words[-1], match[1].lower()
    whose = author if author and owner in ("my", "our") else None
    shown = f"{whose}'s {' '.join(words)}" if whose else f"the {' '.join(words)}"
    mention = Mention(" ".join([*([fold(whose)] if whose else []), *words]), shown, match.start(), 0, nouns=frozenset({head}))
    singular = KIN.get(head)
    if singular is not None:
        mention.sort, mention.gender = PERSON, singular
    elif head in _PERSONS:
        mention.sort = PERSON
    elif (head.endswith("s") and not head.endswith(("ss", "us", "is"))) or owner in ("two", "three", "both", "these", "those") or head == "people":
        mention.sort = PLURAL
    else:
        mention.sort = CLASS_OF.get(head, THING)
    return mention
