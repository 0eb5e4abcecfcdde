"""Whom pronouns and descriptions mean: `I`, `you`, `she`, `it`, `the company`, by rules over the last few sentences. English; no language model.

A mention that agrees in number, gender and sort is weighed by how near it is, whether its sentence begins with it, and whether it is the text's
subject, in the manner of Lappin and Leass (An Algorithm for Pronominal Anaphora Resolution, Computational Linguistics 20, 1994, section 2), and is
the less sure the closer the next one comes. What stays below `LEAST` stays unresolved: no guess is better than a wrong one.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mnemos.index.terms import fold
from mnemos.text.agreement.values import dimension, number_of, ordinal
from mnemos.text.agreement.words import FORMS, form_of
from mnemos.text.mentions import PERSON, PLURAL, THING, Mention, mentions
from mnemos.text.name_words import CLASS_OF
from mnemos.text.sentence_spans import sentence_spans

WINDOW = 4
"""Sentences back in which a pronoun finds what it means; beyond, only the subject of the whole text."""
LEAST = 0.35
"""Confidence (0 to 1) below which a reference stays unresolved."""
_FADE = 0.75
"""How much less sure each sentence between makes a reference."""
_PRONOUN = re.compile(
    r"(?<![\w'’])(?:I|me|my|mine|myself|you|your|yours|yourself|he|him|his|himself|she|her|hers|herself|it|its|itself|they|them|their|theirs|themselves)(?!\w)",
    re.I,
)
_DESCRIPTION = re.compile(
    rf"\b(?:the|this|that)\s+({'|'.join(sorted(CLASS_OF))})\b(?!\s+(?:of|that|which|who|where|called|named)\b|['’-]|\s+(?-i:[A-Z]))", re.I
)
_SELF = frozenset(("i", "me", "my", "mine", "myself"))
_OTHER = frozenset(("you", "your", "yours", "yourself"))
_GENDER = {**dict.fromkeys(("he", "him", "his", "himself"), "m"), **dict.fromkeys(("she", "her", "hers", "herself"), "f")}
_MANY = frozenset(("they", "them", "their", "theirs", "themselves"))
_OBJECT = frozenset(("him", "them", "it", "her"))
_OWNING = frozenset(("my", "your", "his", "its", "their", "mine", "yours", "hers", "theirs"))
_EMPTY_IT = re.compile(
    r"it(?:['’]s|\s+(?:is|was|will\s+be|would\s+be|has\s+been|seems?|feels?|felt|looks?|turns?\s+out|takes?|took|rains?|rained|depends?))?\s+"
    r"(?:raining|snowing|cold|hot|warm|late|early|sunny|time\b|been\s+a\s+while|like\b|\S+ly\b|(?:\S+\s+){1,2}(?:to|that|when|how|if|for|because|seeing)\b|that\b|out\b)",
    re.I,
)
_COUNTED = re.compile(r"(?<![\w.,-])(\d+|[a-z]+(?:-[a-z]+)?)(?=\s+((?:[a-z]*[a-rt-z]\s+)?[a-z]+s)\b)", re.I)
"""What may be a number, before what may be a plural."""
_PART_OF = re.compile(r"(?<![\w.,-])(\d+|[a-z]+(?:-[a-z]+)?)\s+of\s+$", re.I)
_PARTS = frozenset(("some", "most", "many", "several", "few", "half", "all", "any", "none", "both", "each", "rest"))
_QUOTED = re.compile(r"[\"“][^\"“”\n]{0,500}[\"”]")
_WORD_AFTER = re.compile(r"\s+([^\W_]+)")
_S_FORM = {FORMS[form][0]: form for form in FORMS if FORMS[form][1] == "s" and form not in ("am", "are")} | {"be": "is"}


class Reference(NamedTuple):
    """`text[start:end]` means somebody or something that was named before, or a speaker."""

    start: int
    end: int
    surface: str
    key: str
    """What is meant, as a mention's or an entity's key."""
    name: str
    """The same, to be read."""
    confidence: float
    """0 to 1: 0.95 for a known speaker; less the further back, the more possible, and the less is known of its gender or sort."""


class _Counted(NamedTuple):
    """So many of something, which `five of them` may be a part of."""

    sentence: int
    place: int
    number: float
    thing: str


class Discourse:
    """A conversation, or a text, read from its beginning; holds what was mentioned lately. The same texts give the same references."""

    def __init__(self, speakers: Iterable[str] = ()) -> None:
        """`speakers`: who takes part, where it is known beforehand; else they are learnt as they speak."""
        self._speakers: list[str] = list(dict.fromkeys(speakers))
        self._mentions: list[Mention] = []
        self._counted: list[_Counted] = []
        self._sentence = 0

    def read(self, text: str, author: str | None = None) -> list[Reference]:
        """The references in `text`, said by `author`, in order; and what it mentions is remembered for the next one."""
        if author is not None and author not in self._speakers:
            self._speakers.append(author)
        sentences = sentence_spans(text)
        coming = mentions(text, sentences, self._sentence, author)
        if any(one.title for one in coming):
            self._mentions = [one for one in self._mentions if not one.title]
        quoted = deque(match.span() for match in _QUOTED.finditer(text))
        out: list[Reference] = []
        starts = [sentence.start for sentence in sentences]
        counted = [
            _Counted(self._sentence + max(bisect_right(starts, match.start()) - 1, 0), match.start(), number, match[2])
            for match in _COUNTED.finditer(text)
            if (number := number_of(match[1].lower())) is not None and not ordinal(match[1].lower()) and not dimension(match[2].lower())
        ]
        taken = 0
        for start, end, description in _signs(text):
            at = self._sentence + max(bisect_right(starts, start) - 1, 0)
            while taken < len(coming) and coming[taken].place < start:
                self._remember(coming[taken])
                taken += 1
            self._forget(at)
            while quoted and quoted[0][1] <= start:
                quoted.popleft()
            if quoted and quoted[0][0] <= start:
                continue
            if description:
                found = self._described(text, start, end, description, at)
            else:
                found = self._part(text, start, end, counted, at) or self._meant(text, start, end, author, at)
            if found is not None:
                out.append(found)
        for mention in coming[taken:]:
            self._forget(mention.sentence)
            self._remember(mention)
        self._sentence += len(sentences)
        self._counted = [one for one in (*self._counted, *counted) if one.sentence >= self._sentence - WINDOW]
        return out

    def _forget(self, at: int) -> None:
        """Drops what is too far back from sentence `at` to be meant."""
        if self._mentions and self._mentions[0].sentence < at - WINDOW:
            self._mentions = [one for one in self._mentions if one.title or one.sentence >= at - WINDOW]

    def _remember(self, mention: Mention) -> None:
        """The newest mention of a thing stands for it, and knows what was known of it."""
        known = next((one for one in self._mentions if one.key == mention.key), None)
        if known is not None:
            self._mentions.remove(known)
            mention.sort, mention.gender = mention.sort or known.sort, mention.gender or known.gender
            mention.nouns |= known.nouns
            mention.title |= known.title
        self._mentions.append(mention)

    def _meant(self, text: str, start: int, end: int, author: str | None, at: int) -> Reference | None:
        low = text[start:end].lower()
        if low in _SELF:
            return None if author is None else Reference(start, end, text[start:end], fold(author), author, 0.95)
        if low in _OTHER:
            others = [one for one in self._speakers if one != author]
            return Reference(start, end, text[start:end], fold(others[0]), others[0], 0.9) if author is not None and len(others) == 1 else None
        if low == "it" and _EMPTY_IT.match(text, start):
            return None
        speakers = {fold(one) for one in self._speakers} if len(self._speakers) == 2 else {fold(author or "")}
        speaking = low not in ("it", "its", "itself")
        weighed = []
        for one in self._mentions:
            if (speaking and author is not None and one.key in speakers) or not _agrees(one, low):
                continue
            if low in _OBJECT and one.subject and one.sentence == at and not _owns(text, end, low) and not _parted(text[one.place : start]):
                continue  # Anna called her: not Anna
            weighed.append((_weight(one, low, at), one))
        return _chosen(text, start, end, weighed, at, low)

    def _part(self, text: str, start: int, end: int, counted: Sequence[_Counted], at: int) -> Reference | None:
        """What `five of them` is a part of: the last thing that was counted, of which there are as many; None where there is none."""
        part = _PART_OF.search(text, max(0, start - 30), start) if text[start:end].lower() == "them" else None
        if part is None:
            return None
        number = number_of(part[1].lower())
        if number is None and part[1].lower() not in _PARTS:
            return None
        whole = [one for one in (*self._counted, *(one for one in counted if one.place < part.start())) if at - one.sentence <= WINDOW]
        whole = [one for one in whole if number is None or one.number > number]
        if not whole:
            return None
        last = whole[-1]
        return Reference(start, end, text[start:end], fold(last.thing), f"the {last.thing}", round(0.8 * 0.85 ** (at - last.sentence), 3))

    def _described(self, text: str, start: int, end: int, noun: str, at: int) -> Reference | None:
        """What `the company` means: the last mention that is called so, else the last of its sort."""
        wanted = CLASS_OF[noun]
        weighed = [
            (_FADE ** (at - one.sentence) + (0.6 if noun in one.nouns else 0.0) + 0.3 * one.title, one)
            for one in self._mentions
            if (noun in one.nouns or one.sort == wanted) and not one.name.startswith("the ")
        ]
        return _chosen(text, start, end, weighed, at, noun)


def _signs(text: str) -> list[tuple[int, int, str]]:
    """Pronouns and descriptions, in order of place; the noun of a description."""
    found = [(*match.span(), "") for match in _PRONOUN.finditer(text)]
    found += [(*match.span(), match[1].lower()) for match in _DESCRIPTION.finditer(text)]
    return sorted(found)


def _agrees(one: Mention, low: str) -> bool:
    if low in _GENDER:
        named = one.sort in ("", PERSON)
        return named and one.gender in ("", _GENDER[low])
    if low in _MANY:
        return one.sort in (PLURAL, "organisation")
    return one.sort not in (PERSON, PLURAL) and not (one.sort == "" and one.gender)


def _weight(one: Mention, low: str, at: int) -> float:
    weight = _FADE ** (at - one.sentence) + 0.35 * one.subject + 0.4 * one.title
    if low in _GENDER:
        weight += 0.5 * (one.gender != "") + 0.2 * (one.sort == PERSON)
    elif low in _MANY:
        weight += 0.4 * (one.sort == PLURAL)
    else:
        weight += 0.1 * (one.sort != "") + 0.15 * (one.sort != THING)
    return weight


def _chosen(text: str, start: int, end: int, weighed: list[tuple[float, Mention]], at: int, low: str) -> Reference | None:
    """The best, with how sure it is; ties go to the later mention."""
    near = [(weight, one) for weight, one in weighed if one.title or at - one.sentence <= WINDOW]
    if not near:
        return None
    weight, best = max(near, key=lambda pair: (pair[0], pair[1].sentence, pair[1].place))
    second = max((other for other, one in near if one.key != best.key), default=0.0)
    known = best.gender != "" if low in _GENDER else best.sort not in ("", THING)
    fade = 1.0 if best.title else 0.85 ** max(at - best.sentence, 0)
    confidence = (0.95 if known else 0.65) * fade * (weight / (weight + 0.5 * second))
    if confidence < LEAST:
        return None
    if low in _GENDER and not best.gender and confidence > 0.5:
        best.gender = _GENDER[low]
    return Reference(start, end, text[start:end], best.key, best.name, round(confidence, 3))


def _owns(text: str, end: int, low: str) -> bool:
    """Whether `her` stands before what is hers."""
    following = _WORD_AFTER.match(text, end)
    return low == "her" and following is not None and following[1].lower() not in ("to", "in", "at", "and", "for", "with", "on", "as", "about")


def _parted(between: str) -> bool:
    """Whether another clause begins in between."""
    return any(mark in between for mark in (",", ";", " and ", " but ", " because ", " when ", " that ", " who ", " while "))


def voiced(text: str, references: Sequence[Reference], least: float = 0.5) -> str:
    """`text` with what it refers to named, so that it stands by itself: `I live with my mom` said by Maria: `Maria lives with Maria's mom`.

    References below `least` stay as they are. A verb in the present after `I` or `you` takes the form of the third person.
    """
    parts, done = [], 0
    for one in references:
        if one.confidence < least or one.start < done:
            continue
        low = one.surface.lower()
        end, name = one.end, one.name
        owning = low in _OWNING or (low == "her" and _owns(text, end, low))
        if owning:
            name += "'" if name.endswith("s") else "'s"
        if one.surface[0].isupper() and low != "i":
            name = name[0].upper() + name[1:]
        parts += [text[done : one.start], name]
        done = end
        if low in ("i", "you") and not _ASKED.search(text, max(0, one.start - 12), one.start):
            said, done = _third_person(text, end)
            parts.append(said)
    return "".join([*parts, text[done:]])


_JOINED = {"m": " is", "re": " is", "ve": " has", "ll": " will", "d": " would"}
_ASKED = re.compile(r"\b(?:do|did|does|can|could|will|would|should|shall|may|might|must)\s+$", re.I)
"""Before a subject whose verb keeps its form: `did you see`."""
_AFTER_I = re.compile(r"['’](m|re|ve|ll|d)\b|(\s+)((?:also|just|really|still|always|never|currently|now|only|often|usually)\s+)?([a-z]+)\b")


def _third_person(text: str, end: int) -> tuple[str, int]:
    """The verb after `I` or `you` in the form that goes with a name, and where it ends in `text`."""
    match = _AFTER_I.match(text, end)
    if match is None:
        return "", end
    if match[1]:
        return _JOINED[match[1]], match.end()
    form = {"am": "is", "are": "is", "were": "was", "do": "does", "have": "has"}.get(match[4])
    if form is None and form_of(match[4]) == "base":
        form = _S_FORM.get(FORMS[match[4]][0])
    return (f"{match[2]}{match[3] or ''}{form}", match.end()) if form else ("", end)
