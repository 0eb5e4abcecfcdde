"""What a text says of two things at once: (head, relation, tail) with the sentence that says it, and from when to when it holds. No language model.

Two sources: frames, a verb, preposition or noun between two names (as in Fader, Soderland and Etzioni, Identifying Relations for Open Information
Extraction, EMNLP 2011, section 3: relation phrases are verbs with their preposition); and statements about persons (`text.agreement`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from mnemos.index.terms import fold
from mnemos.text.agreement.statements import read_statements
from mnemos.text.agreement.subjects import UNKNOWN
from mnemos.text.agreement.words import ADVERBS, AUXILIARIES, FORMS, NEGATIONS, PREPOSITIONS
from mnemos.text.coreference import Discourse, Reference
from mnemos.text.entities import entities, key_of
from mnemos.text.name_words import CLASS_OF, KIN
from mnemos.text.sentence_spans import sentence_spans
from mnemos.text.time_expressions import EARLIEST, LATEST, TimeExpression, find_times

FARTHEST = 9
"""Words between two names that one frame may span."""
LEAST_SURE = 0.5
"""Confidence that a reference needs to stand for a name in a frame."""
_WORD = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*|[,;:()]")
_ARTICLES = frozenset(("a", "an", "the", "his", "her", "its", "their", "my", "our", "your", "also", "then", "who", "which", "that", "one"))
_PARTICIPLE = re.compile(r"[a-z]{3,}(?:ed|wn|ught)$")
_BEGUN = re.compile(r"\b(?:moved|joined|started|began|became|married|adopted|bought|switched|hired|founded|opened)\b", re.I)
"""What is so from then on."""
_OWN = re.compile(r"\s*['’]s?\s+((?:[a-z-]+\s+){0,2}[a-z-]+),?\s*(?:is|was|called|named)?\s*$")
_OWNED = re.compile(r"\s+((?:[a-z-]+\s+){0,2}[a-z-]+),?\s*(?:is|was|called|named)?\s*$")


class Relation(NamedTuple):
    """That `sentence`, `text[start:end]`, says how `head` stands to `tail`."""

    head: str
    """Key, as `entities` and `Discourse` give it."""
    relation: str
    """`directed by`, `move to`, `sister`, `in`; of a statement its attribute (`home`)."""
    tail: str
    sentence: str
    start: int
    end: int
    confidence: float
    """0 to 1: 0.85 of a statement; 0.8 of a verb between two names; 0.4 of a bare preposition; times that of the references it rests on."""
    positive: bool = True
    valid_from: int | None = None
    """Microseconds since 1970 in UTC, included, where the sentence says when; else None."""
    valid_to: int | None = None


class _Argument(NamedTuple):
    key: str
    start: int
    end: int
    confidence: float
    quantity: bool = False
    """Quantities are told of others, and nothing is told of them."""


def relations(text: str, author: str | None = None, anchor: int | None = None, references: Sequence[Reference] | None = None) -> list[Relation]:
    """The relations that `text`, said by `author` at `anchor` (microseconds since 1970), states, in order. `references`: what its pronouns mean, as
    `Discourse.read` gave it; without, they are resolved within the text."""
    known = Discourse().read(text, author) if references is None else references
    arguments = _arguments(text, known)
    times = find_times(text, anchor)
    out: list[Relation] = []
    topic = next((one for one in entities(text) if one.kind == "title"), None)
    for sentence in sentence_spans(text):
        here = [one for one in arguments if sentence.start <= one.start < sentence.end]
        if (topic is not None and sentence.start <= topic.start < sentence.end) or sentence.text.endswith("?"):
            continue
        when = _valid([one for one in times if sentence.start <= one.span[0] < sentence.end], sentence.text)
        for head, relation, tail, confidence, positive in _frames(text, here):
            out.append(Relation(head, relation, tail, sentence.text, sentence.start, sentence.end, confidence, positive, *when))
    out += _stated(text, author, times)
    best: dict[tuple[str, str, str], Relation] = {}
    for one in out:
        triple = one.head, one.relation, one.tail
        if triple not in best or best[triple].confidence < one.confidence:
            best[triple] = one
    return sorted(best.values(), key=lambda one: (one.start, -one.confidence, one.head, one.relation, one.tail))


def _arguments(text: str, references: Sequence[Reference]) -> list[_Argument]:
    """Names and resolved references, in order, none within another."""
    found = [_Argument(one.key, one.start, one.end, 1.0, one.kind == "quantity") for one in entities(text) if one.kind not in ("phrase", "ngram")]
    found += [_Argument(one.key, one.start, one.end, one.confidence) for one in references if one.confidence >= LEAST_SURE]
    out: list[_Argument] = []
    for one in sorted(found, key=lambda one: (one.start, -one.end)):
        if not out or one.start >= out[-1].end:
            out.append(one)
    return out


def _frames(text: str, arguments: Sequence[_Argument]) -> Iterator[tuple[str, str, str, float, bool]]:
    subject: _Argument | None = None
    for one, other in pairwise(arguments):
        subject = subject or one
        between = text[one.end : other.start]
        own = _OWN.match(between)
        owner = text[one.start : one.end].lower() in ("my", "his", "her", "their", "its", "your")
        if own is None and owner:
            own = _OWNED.match(between)
        if own is not None and one.key != other.key:
            yield one.key, own[1].split()[-1], other.key, 0.8 * one.confidence * other.confidence, True
            continue
        words = [match.group().lower() for match in _WORD.finditer(between)]
        if len(words) > FARTHEST or ";" in words or ":" in words:
            subject = None
            continue
        conjoined = next((at for at, word in enumerate(words) if word in ("and", "but", ",")), None)
        label, sure, positive = _label(words)
        head = one
        if conjoined is not None and subject is not one and any(_verb(word) for word in words[conjoined:]):
            label, sure, positive = _label(words[conjoined + 1 :])
            head = subject
        elif words[:1] and words[0] in PREPOSITIONS and subject is not one and not any(_verb(word) for word in words):
            sure = 0.4
        if label and not head.quantity and not any(character.isdigit() for character in label) and head.key != other.key:
            yield head.key, label, other.key, round(sure * head.confidence * other.confidence, 3), positive


def _label(words: Sequence[str]) -> tuple[str, float, bool]:
    """The relation that the words between two names state; empty where they state none."""
    positive = not any(word in NEGATIONS or word.endswith("n't") for word in words)
    plain = [word for word in words if word not in NEGATIONS and word not in ADVERBS and word not in _ARTICLES and word not in "()"]
    verbs = [at for at, word in enumerate(plain) if _verb(word) and word not in AUXILIARIES]
    if verbs:
        at = verbs[-1]
        passive = any(word in AUXILIARIES for word in plain[:at]) or (at + 1 < len(plain) and plain[at + 1] == "by")
        said = plain[at] if passive else FORMS.get(plain[at], (plain[at],))[0]
        rest = [word for word in plain[at + 1 :] if word != ","]
        preposition = [rest[-1]] if rest and rest[-1] in PREPOSITIONS else []
        nouns = rest[: len(rest) - len(preposition)]
        return " ".join([said, *nouns[-2:], *preposition]), 0.8 if len(rest) <= 2 else 0.6, positive
    nouns = [word for word in plain if word not in AUXILIARIES and word != ","]
    if any(word in AUXILIARIES for word in plain) or words[:1] == [","]:
        if nouns and nouns[-1] in PREPOSITIONS and len(nouns) > 1:
            return " ".join(nouns[-3:]), 0.7, positive
        if nouns and any(word in KIN or word in CLASS_OF for word in nouns):
            return nouns[-1], 0.5, positive
        return ("is", 0.6, positive) if not nouns and words[:1] != [","] else ("", 0.0, positive)
    return (nouns[0], 0.4, positive) if len(nouns) == 1 and nouns[0] in PREPOSITIONS else ("", 0.0, positive)


def _verb(word: str) -> bool:
    return (word in FORMS and word not in PREPOSITIONS) or _PARTICIPLE.match(word) is not None


def _valid(times: Sequence[TimeExpression], sentence: str) -> tuple[int | None, int | None]:
    """From when to when a sentence holds that names one time, or two of which the later ends it; open at the end where something began then."""
    known = [(one.start, one.end) for one in times if one.start is not None and one.end is not None]
    if not 1 <= len(known) <= 2:
        return None, None
    start, end = min(one[0] for one in known), max(one[1] for one in known)
    begun = len(known) == 1 and _BEGUN.search(sentence) is not None
    return None if start <= EARLIEST else start, None if begun or end >= LATEST else end


def _stated(text: str, author: str | None, times: Sequence[TimeExpression]) -> Iterator[Relation]:
    """Statements about persons, as relations between who and what."""
    sentences = sentence_spans(text)
    for one in read_statements(text, author):
        if one.subject.owner == UNKNOWN or not one.value.shown:
            continue
        who = one.subject.owner.lstrip("@") or (fold(author) if author else "")
        head = " ".join(part for part in (who, *one.subject.words) if part)
        words = one.text.lower().split()
        place = max(sentences, key=lambda sentence: sum(word in sentence.text.lower() for word in words), default=None)
        if place is None or not head:
            continue
        when = _valid([time for time in times if place.start <= time.span[0] < place.end], place.text)
        tail = key_of(one.value.shown) or fold(one.value.shown)
        yield Relation(key_of(head), one.slot, tail, place.text, place.start, place.end, 0.85, one.positive, *when)
