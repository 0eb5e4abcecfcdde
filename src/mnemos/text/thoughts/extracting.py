"""What a turn gives to remember, without a language model: its statements and relations, each in a sentence that stands by itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from mnemos.base.cube import Content
from mnemos.index.terms import fold
from mnemos.text.agreement.frames import read_frame
from mnemos.text.agreement.statements import read_statements
from mnemos.text.agreement.subjects import SPEAKER, UNKNOWN
from mnemos.text.agreement.values import stems
from mnemos.text.coreference import Discourse, Reference, voiced
from mnemos.text.entities import key_of
from mnemos.text.question import ASSISTANTS, USERS
from mnemos.text.relations_in_text import Relation, relations
from mnemos.text.sentence_spans import Sentence, sentence_spans
from mnemos.text.thoughts.quantities import Step, steps
from mnemos.text.thoughts.thought import INFERENCE, MOST_WORDS, STATEMENT, Thought

BEFORE = 2
"""Turns before one, of its thread, in which its pronouns may find what they mean."""
LEAST_SURE = 0.6
"""Confidence of a relation that is worth a thought."""
_INFERRED = 0.6
"""How much of its confidence a thought keeps where the assistant said it."""
_STATED = 0.7
"""Confidence of a statement that shows only once pronouns are resolved (`you have`)."""
_OPENING = re.compile(
    r"^(?:(?:no|yes|yeah|well|oh|hey|hi|hello|okay|ok|also|and|but|so|actually|anyway|wow|haha|thanks|by the way)\b[,!.]*\s+)+", re.I
)
"""What begins a turn, and is no part of what it tells."""
_OWN = re.compile(r"\b(?:I|my|we|our)\b|\bI['’]", re.I)
_PARTS = re.compile(r"\s[-–—]\s|,? (?:and|but) (?=(?:I|my|we|our|I['’]\w+)\b)|; (?!(?:he|she|it|they)\b)")
"""What parts a sentence into several that can hold apart: what stands behind a dash, and `and I`; not what tells more of the same (`; she is`)."""
_FEWEST = 3
_LONGEST = 4000
"""Characters of a memory that are read; a document comes as parts shorter than that."""


class Turn(NamedTuple):
    """A memory that thoughts are to be drawn from, with those before it in its thread, oldest first."""

    content: Content
    before: Sequence[Content] = ()


def extract(turn: Turn, most: int) -> list[Thought]:
    """At most `most` thoughts of one turn, in the order of its sentences; none is a valid answer."""
    content = turn.content
    text, author = _parted((content.text or "")[:_LONGEST]), content.author
    discourse = Discourse(_speakers(turn))
    for one in turn.before[-BEFORE:]:
        discourse.read((one.text or "")[:_LONGEST], one.author)
    references = discourse.read(text, author)
    best = _surest(relations(text, author, content.event_at, references))
    tallied = None if author is None or inferred(author) else _counted(turn)
    found = []
    for sentence in sentence_spans(text):
        relation = best.get(sentence.start)
        words = len(sentence.text.split())
        spoken_of = tallied if tallied is None or _means(sentence, references, tallied) else None
        entry = next(iter(steps(sentence.text, spoken_of)), None) if author is not None and not inferred(author) else None
        if entry is not None:
            tallied = entry
            relation = relation or Relation(fold(author or ""), "count", entry.thing.lower(), sentence.text, sentence.start, sentence.end, LEAST_SURE)
        said = _voiced(sentence, references)
        relation = relation or _stated(said, sentence, author) or _changed(sentence, author)
        if relation is None or not _FEWEST <= words <= MOST_WORDS or sentence.text.rstrip(" \"')").endswith("?"):
            continue
        found.append(_thought(content, said, sentence, relation, entry))
    kept = sorted(sorted(range(len(found)), key=lambda at: (-found[at].confidence, at))[:most])
    return [found[at] for at in kept]


def _parted(text: str) -> str:
    """`text` with a stop for each of `_PARTS`, of the same length, so that places stay."""
    return _PARTS.sub(lambda found: "." + " " * (len(found[0]) - 1), text)


def inferred(author: str | None) -> bool:
    """Whether what an author says is a conclusion of the model."""
    return author is not None and fold(author) in ASSISTANTS


def _counted(turn: Turn) -> Step | None:
    """What the author of a turn counted last before it."""
    last: Step | None = None
    for one in turn.before[-BEFORE:]:
        if one.author == turn.content.author:
            for sentence in sentence_spans((one.text or "")[:_LONGEST]):
                last = next(reversed(steps(sentence.text, last)), last)
    return last


def _means(sentence: Sentence, references: Sequence[Reference], last: Step) -> bool:
    """Whether `them`, where a sentence says so, can be what was counted last."""
    meant = [one.name for one in references if one.surface.lower() == "them" and sentence.start <= one.start < sentence.end]
    return not meant or any(last.term in stems(fold(word)) for name in meant for word in name.split())


def _speakers(turn: Turn) -> list[str]:
    return list(dict.fromkeys(one.author for one in (*turn.before[-BEFORE:], turn.content) if one.author))


def _surest(found: Sequence[Relation]) -> dict[int, Relation]:
    """Start of a sentence → the relation that it says most surely."""
    out: dict[int, Relation] = {}
    for one in found:
        if one.confidence >= LEAST_SURE and one.head and one.tail and (one.start not in out or out[one.start].confidence < one.confidence):
            out[one.start] = one
    return out


def _voiced(sentence: Sentence, references: Sequence[Reference]) -> str:
    """A sentence with its pronouns resolved, as one that stands by itself."""
    within = [
        one._replace(start=one.start - sentence.start, end=one.end - sentence.start)
        for one in references if sentence.start <= one.start and one.end <= sentence.end
    ]  # fmt: skip
    said = _OPENING.sub("", voiced(sentence.text, within).strip()) or sentence.text
    return said[:1].upper() + said[1:]


def _stated(said: str, sentence: Sentence, author: str | None) -> Relation | None:
    """The first statement about a person that a sentence makes as it stands (`I don't smoke`), or once its pronouns are resolved."""
    for text, speaker in ((sentence.text, author), (said, None)):
        for one in read_statements(text, speaker):
            owner = one.subject.owner.lstrip(SPEAKER)
            if one.subject.owner == SPEAKER:
                owner = fold(speaker or next(iter(USERS & {said.split(" ")[0].lower()}), ""))
            if one.subject.owner != UNKNOWN and owner:
                tail = key_of(one.value.shown) or fold(one.value.shown) or one.slot
                return Relation(
                    key_of(" ".join([owner, *one.subject.words])), one.slot, tail, sentence.text, sentence.start, sentence.end, _STATED, one.positive
                )  # fmt: skip
    return None


def _changed(sentence: Sentence, author: str | None) -> Relation | None:
    """A sentence of one's own that says that something has changed, whatever it is."""
    if author is None or not _OWN.search(sentence.text):
        return None
    frame = read_frame(sentence.text)
    if frame is None or not (frame.cue or frame.ended):
        return None
    tail = frame.value.shown.lower() or " ".join(sorted(frame.telling))
    return Relation(fold(author), "change", tail, sentence.text, sentence.start, sentence.end, LEAST_SURE)


def _thought(content: Content, said: str, sentence: Sentence, relation: Relation, entry: Step | None) -> Thought:
    inference = inferred(content.author)
    return Thought(
        relation.head, relation.relation, relation.tail, said, sentence.text, content.author, INFERENCE if inference else STATEMENT,
        round(relation.confidence * (_INFERRED if inference else 1.0), 3), content.event_at, relation.valid_from, relation.valid_to,
        count=None if entry is None else (entry.term, fold(content.author or "")), sources=(content.id,), place=sentence.start,
    )  # fmt: skip
