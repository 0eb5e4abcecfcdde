"""How two memories stand to each other: the same, one adding to the other, one replacing the other, against each other, or independent."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.base.cube import Content
from mnemos.index.terms import STOP_WORDS, term, words
from mnemos.text.agreement.conflicts import NAMED_SLOTS, Conflict, conflict, meant_alike, same_subject
from mnemos.text.agreement.frames import Frame, read_frame
from mnemos.text.agreement.predicates import Standing
from mnemos.text.agreement.replacing import Replacement, difference, replacement
from mnemos.text.agreement.statement import Statement
from mnemos.text.agreement.statements import read_statements
from mnemos.text.agreement.values import compared, number_of
from mnemos.text.agreement.words import EMPTY, HARMLESS, NEGATIONS, word_set
from mnemos.text.time_expressions import DAY


class Relation(enum.StrEnum):
    """How two memories stand to each other."""

    DUPLICATE = "duplicate"
    """They say the same; nothing is lost where one stays."""
    SUPPLEMENT = "supplement"
    """They speak of the same, and one adds to the other."""
    UPDATE = "update"
    """They give one attribute two values, and the later one replaces the earlier."""
    CONTRADICTION = "contradiction"
    """They cannot both hold, and it is not said that the later one replaces the earlier."""
    INDEPENDENT = "independent"


@dataclass(frozen=True, slots=True)
class Memory:
    """What is compared: a text, and what is known of it."""

    text: str
    author: str | None = None
    type: str = "fact"
    tags: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    event_at: int | None = None
    """Microseconds since 1970, UTC."""
    written: int = 0
    """Order of writing, such as the position in the log: it decides where times do not."""
    vector: NDArray[np.float32] | None = None
    """(d,) unit vector, of the same embedder in both memories."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two memories stand to each other, and why."""

    relation: Relation
    confidence: float
    """0..1."""
    later: int
    """Which of the two is the later one: 0 or 1."""
    fuller: int
    """Which of the two says more: 0 or 1."""
    outdated: float = 0.0
    """0..1: how much of the earlier one no longer holds, of an update or a contradiction. Below 1 it says other things as well, which may hold."""
    reason: Mapping[str, Any] = field(default_factory=dict)
    """Plain JSON. `agree`: attributes with one value in both; `differ`: [{slot, values: [of the first, of the second], confidence}]; `cue`: what
    says that it changed; `overlap`: 0..1, of the words; `similarity`: cosine."""


def memory_of(content: Content, written: int = 0) -> Memory:
    """What is compared of a stored version."""
    return Memory(content.text or "", content.author, content.type, content.tags, content.entities, content.event_at, written)


@dataclass(frozen=True)
class ReadMemory:
    """A memory, read once for any number of comparisons."""

    memory: Memory
    statements: tuple[Statement, ...]
    terms: frozenset[int]
    """Stems of the telling words."""
    exact: tuple[int, ...]
    """Stems of all words, in their order."""
    plain: tuple[int, ...]
    """Stems of the words without those that change nothing (`HARMLESS`), in their order."""
    extra: frozenset[int]
    """Stems that no statement explains."""
    denials: int
    numbers: frozenset[float]

    @cached_property
    def frame(self) -> Frame | None:
        """None for what is long, asked, wished or over. Read when it is first asked for: most memories are never compared by it."""
        return read_frame(self.memory.text)


_LIKELY = 0.6
"""Confidence from which frames are heard where the clauses tell nothing, or are not sure."""
_SURE = 0.8
"""Confidence, and share that is outdated, from which what the clauses tell needs no other opinion."""
SHORT = 25
"""Words up to which a text's vector is that of its one statement."""
_DENIALS = NEGATIONS | word_set("dont doesnt didnt isnt arent wasnt werent havent hasnt hadnt cant cannot couldnt wouldnt shouldnt wont mustnt aint")
_EMPTY_TERMS = frozenset(term(word) for entry in EMPTY | STOP_WORDS for word in words(entry))
_HARMLESS_TERMS = frozenset(term(word) for word in HARMLESS)
_SAYING_TERMS = frozenset(term(word) for word in ("say", "tell", "think", "guess", "mean", "know", "believe"))
"""Words that say that something is said."""
FAMILIES = {
    "home": "live reside move relocate settle home based located living moving place",
    "dwelling": "live move home",
    "employer": "work job join start position employ hire company working employer",
    "job": "work job promote become position role working occupation",
    "is": "change switch set update get",
    "name": "name call",
    "when": "schedule move reschedule postpone push start begin take",
    "like": "like love enjoy adore hate dislike detest loathe fan",
    "allergic to": "allergic allergy have",
    "commute": "commute work office take ride drive bike walk cycle go get",
    "relationship": "marry date divorce engage separate break up married",
    "age": "year old age turn turned years",
    "have": "have own get buy adopt got",
}
"""What the attributes are called by: words that, beside the value, tell nothing more."""
_FAMILY_TERMS = {slot: frozenset(term(word) for word in family.split()) for slot, family in FAMILIES.items()}


def read_memory(memory: Memory) -> ReadMemory:
    """`memory` with its text taken apart. Nothing of it is kept elsewhere: what is forgotten is in no cache."""
    every = list(words(memory.text))
    stems = [term(word) for word in every]
    told = frozenset(stems) - _EMPTY_TERMS
    statements = read_statements(memory.text, memory.author)
    explained: set[int] = set()
    for one in statements:
        explained |= one.value.terms | one.subject.thing | one.key | one.previous.terms | _FAMILY_TERMS.get(one.slot, frozenset())
        explained |= {term(word) for word in (*words(one.slot), *words(one.value.shown))}
    return ReadMemory(
        memory, statements, told, tuple(stems), tuple(h for h in stems if h not in _HARMLESS_TERMS), told - explained,
        sum(word in _DENIALS for word in every) % 2, frozenset(number for word in every if (number := number_of(word)) is not None),
    )  # fmt: skip


def compare(first: Memory, second: Memory) -> Agreement:
    """How `first` and `second` stand to each other. Takes any texts; what is no English is compared by its words alone."""
    return compare_read(read_memory(first), read_memory(second))


def compare_read(first: ReadMemory, second: ReadMemory) -> Agreement:
    """`compare` of memories that have been read."""
    one, other = first.memory, second.memory
    later = 0 if _moment(one) > _moment(other) else 1
    fuller = 0 if (len(first.terms), len(first.exact)) > (len(second.terms), len(second.exact)) else 1
    union = len(first.terms | second.terms)
    overlap = len(first.terms & second.terms) / union if union else float(first.exact == second.exact)
    reason: dict[str, Any] = {"overlap": round(overlap, 3)}
    cosine: float | None = None
    if one.vector is not None and other.vector is not None:
        cosine = float(one.vector @ other.vector)
        reason["similarity"] = round(cosine, 3)
    early, late = ((second, first), (first, second))[later]
    agree = sorted({s.name for s in first.statements for t in second.statements if _agrees(s, t)})
    if agree:
        reason["agree"] = agree
    conflicts = _conflicts(early, late, cosine)
    outdated = _outdated(conflicts, early) if conflicts else 0.0
    sure = outdated >= _SURE and any(found.confidence >= _SURE for found in conflicts)
    replaced = None if sure or (agree and not conflicts and not _differs(early, late)) else _replaced(early, late, cosine)
    if not conflicts and not replaced:
        relation, confidence = _likeness(first, second, bool(agree), overlap, cosine)
        return Agreement(relation, round(confidence, 3), later, fuller, reason=reason)
    order = -1 if later == 0 else 1
    differ = [{"slot": found.earlier.name, "values": list(found.values[::order]), "confidence": round(found.confidence, 3)} for found in conflicts]
    confidence = max((found.confidence for found in conflicts), default=0.0)
    if replaced:
        differ.append({"slot": replaced.frame, "values": list(replaced.values[::order]), "confidence": round(replaced.confidence, 3)})
        confidence, outdated = max(confidence, replaced.confidence), max(outdated, replaced.outdated)
    reason["differ"] = differ
    best = max(conflicts, key=lambda found: found.confidence, default=None)
    if best and best.cue:
        reason["cue"] = best.cue
    contradicts = one.author != other.author or (best is not None and best.lasting)
    relation = Relation.CONTRADICTION if contradicts else Relation.UPDATE
    return Agreement(relation, round(confidence, 3), later, fuller, round(outdated, 3), reason)


def _replaced(early: ReadMemory, late: ReadMemory, cosine: float | None) -> Replacement | None:
    """What the frames of two short statements of one person tell, where it is likely that the later stands for the earlier."""
    if cosine is None or early.memory.author != late.memory.author or late.frame is None or not (late.frame.cue or late.frame.ended):
        return None
    if early.frame is None or _known_apart(early, late):
        return None
    found = replacement(early.frame, late.frame, cosine)
    return found if found is not None and found.confidence >= _LIKELY else None


def _differs(early: ReadMemory, late: ReadMemory) -> bool:
    """Whether two that agree in one thing name two others in its place (`I order my wood from Ash now`)."""
    return early.frame is not None and late.frame is not None and difference(early.frame, late.frame) in ("name", "number", "time")


def _known_apart(first: ReadMemory, second: ReadMemory) -> bool:
    """Whether the two were read, and are about two attributes that are known: a home and a job, or a home and something of another name."""
    ours, theirs = ({one.slot for one in memory.statements} & NAMED_SLOTS for memory in (first, second))
    if ours and theirs:
        return ours.isdisjoint(theirs)
    others = [one for one in (second if ours else first).statements if one.single]
    return bool(ours or theirs) and bool(others) and all((one.subject.thing and not one.subject.is_person) or one.key for one in others)


def _moment(memory: Memory) -> tuple[int, int]:
    return (memory.event_at if memory.event_at is not None else 0, memory.written)


def _conflicts(early: ReadMemory, late: ReadMemory, cosine: float | None) -> list[Conflict]:
    """The attributes to which the two give different values, one for each of the earlier one's statements at most."""
    if not early.statements or not late.statements:
        return []
    gap, told, said = None, early.memory, late.memory
    if told.event_at is not None and said.event_at is not None:
        gap = (said.event_at - told.event_at) / DAY
    out = []
    for s in early.statements:
        if any(_agrees(s, t) for t in late.statements):
            continue
        found = [
            one for t in late.statements if (one := conflict(s, t, gap, told.author == said.author)) is not None
            and not any(_agrees(other, t) for other in early.statements)
        ]  # fmt: skip
        if found:
            out.append(max(found, key=lambda one: one.confidence))
    if out or cosine is None or told.author != said.author or max(len(early.exact), len(late.exact)) > SHORT or _known_apart(early, late):
        return out
    alike = [one for s in early.statements for t in late.statements if (one := meant_alike(s, t, cosine)) is not None]
    return [max(alike, key=lambda one: one.confidence)] if alike else []


def _agrees(s: Statement, t: Statement) -> bool:
    """Whether both give one attribute one value."""
    if s.slot != t.slot or s.positive is not t.positive or not same_subject(s.subject, t.subject):
        return False
    if s.standing is not t.standing:
        return False
    if s.key and t.key and not s.key & t.key:
        return False
    return compared(s.value, t.value) in ("same", "finer")


def _outdated(conflicts: Sequence[Conflict], early: ReadMemory) -> float:
    """How much of the earlier text no longer holds: of its statements, and of its telling words."""
    told = early.terms - _SAYING_TERMS
    touched = frozenset(term(word) for found in conflicts for word in words(found.earlier.text)) & told
    said = len(touched) / len(told) if told else 1.0
    left = [s for s in early.statements if not any(_covers(found.earlier, s) for found in conflicts)]
    return min(said, 1.0 - len(left) / len(early.statements))


def _covers(over: Statement, s: Statement) -> bool:
    """Whether nothing is left of a statement when another is over: they are of one attribute that has one value at a time or say the same of it
    (of `I like jazz and hiking` the hiking is left), or it says no more than a part of the other's clause (`I see my therapist`, of `I see my
    therapist on Mondays`)."""
    if (over.subject, over.slot) == (s.subject, s.slot):
        return bool(over.single) or s.value.terms <= over.value.terms
    return over.text == s.text and (bool(s.single) or s.value.terms <= over.value.terms | over.subject.thing | over.key)


def _likeness(a: ReadMemory, b: ReadMemory, agree: bool, overlap: float, cosine: float | None) -> tuple[Relation, float]:
    """Duplicate, supplement or independent."""
    first, second = a.memory, b.memory
    if not a.exact or not b.exact or not _one_voice(a, b):
        return Relation.INDEPENDENT, 0.9
    apart = first.event_at is not None and second.event_at is not None and abs(first.event_at - second.event_at) > DAY
    told = {s.standing for s in a.statements} & {Standing.EVENT, Standing.STATE} == {Standing.EVENT}
    repeats = apart and (told or first.type == second.type == "turn")
    if a.exact == b.exact:
        return (Relation.DUPLICATE, 0.6) if repeats else (Relation.DUPLICATE, 0.99)
    if a.denials != b.denials or (a.numbers - b.numbers and b.numbers - a.numbers):
        return Relation.INDEPENDENT, 0.8
    if a.plain and a.plain == b.plain:
        return (Relation.DUPLICATE, 0.6) if repeats else (Relation.DUPLICATE, 0.95)
    if told and repeats:
        return Relation.INDEPENDENT, 0.7
    paired = _paired(a.statements, b.statements) and _paired(b.statements, a.statements)
    if agree and paired and not a.extra and not b.extra and all(_same(s, b.statements) for s in a.statements):
        return Relation.DUPLICATE, 0.9
    if cosine is not None and cosine >= 0.97 and overlap >= 0.6 and not a.extra ^ b.extra:
        return Relation.DUPLICATE, 0.85
    smaller = min(len(a.terms), len(b.terms))
    contained = len(a.terms & b.terms) / smaller if smaller else 0.0
    if a.terms == b.terms and not agree:
        return Relation.INDEPENDENT, 0.5  # the same words in another order: who gave whom the book?
    if agree:
        return Relation.SUPPLEMENT, min(0.95, 0.7 + 0.25 * contained)
    if smaller >= 3 and contained >= 0.8:
        return Relation.SUPPLEMENT, min(0.9, 0.3 + 0.6 * contained)
    if smaller >= 4 and overlap >= 0.5:
        return Relation.SUPPLEMENT, min(0.8, 0.3 + 0.6 * overlap)
    return Relation.INDEPENDENT, round(1 - overlap, 3)


def _one_voice(a: ReadMemory, b: ReadMemory) -> bool:
    """Whether the same words mean the same: what two people say of themselves does not."""
    if a.memory.author == b.memory.author:
        return True
    people = {s.subject.owner for s in (*a.statements, *b.statements)}
    return bool(a.statements and b.statements) and len(people) == 1


def _paired(ours: Sequence[Statement], theirs: Sequence[Statement]) -> bool:
    return all(any(_agrees(s, t) for t in theirs) for s in ours)


def _same(s: Statement, theirs: Sequence[Statement]) -> bool:
    return any(_agrees(s, t) and compared(s.value, t.value) == "same" for t in theirs)
