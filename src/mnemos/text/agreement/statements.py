"""The statements of a text: each clause goes to the reader of its verb."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from mnemos.text.agreement.attributes import attribute, becoming, being, scheduled, turning
from mnemos.text.agreement.changing import giving_up, switching
from mnemos.text.agreement.clauses import clauses
from mnemos.text.agreement.having import doing, having, lasting, liking, preferring, using
from mnemos.text.agreement.living import dwelling_in, following, going, growing, pairing, studying, travelling, working
from mnemos.text.agreement.predicates import Clause, Standing
from mnemos.text.agreement.statement import (
    SINGLE,
    USUAL,
    Reader,
    Roles,
    Statement,
    roles_of,
)
from mnemos.text.agreement.subjects import UNKNOWN, Subject, noun_phrase, speaker_of
from mnemos.text.agreement.tokens import Token, english, sentences, tokens
from mnemos.text.agreement.values import Value, read_value, stems
from mnemos.text.agreement.words import (
    ATTRIBUTES,
    DISLIKES,
    FORMS,
    HAPPENINGS,
    LIKES,
    PEOPLE,
    word_set,
)
from mnemos.text.question import USERS

_COMPOSES = re.compile(
    r"\s*(?:please\s+|can you\s+|could you\s+)?"
    r"(?:write|draft|compose|imagine|pretend|rewrite|translate|summari[sz]e|act as|assume|paraphrase|proofread)\b",
    re.I,
)
"""An order to write something: who says "I" in what follows is not the speaker."""
_VALUELESS = word_set("smoke drink work")
_OF_PERSONS = {
    "job": "job", "occupation": "job", "profession": "job", "position": "job", "role": "job", "home": "home", "residence": "home",
    "employer": "employer", "company": "employer", "workplace": "employer", "commute": "commute", "alarm": "waking", "bedtime": "bedtime",
    "diet": "diet", "address": "address", "car": "drives", "vehicle": "drives", "age": "age", "major": "field of study", "status": "relationship",
}  # fmt: skip
"""Things of a person that are attributes of hers: `my job is` and `I work as` speak of one attribute."""
_SURELY_ONE = word_set("home age employer address diet")
_PLAIN_WORDS = word_set("wake-up relationship marital day full-time current main daily morning")


def read_statements(text: str, author: str | None = None) -> tuple[Statement, ...]:
    """The statements that `text`, said by `author`, makes. Nothing for questions, orders and what is not English."""
    if _COMPOSES.match(text):
        return ()
    out: list[Statement] = []
    speaker = speaker_of(author, USERS)
    last: list[Subject] = []
    for sentence in sentences(text):
        if english(tokens(sentence)):
            for clause in clauses(sentence, speaker, last):
                out += statements_of(clause, speaker)
            if not sentence.rstrip(" \"')").endswith("?"):
                out += _appositions(tokens(sentence), speaker)
    return tuple(dict.fromkeys(out))


def statements_of(clause: Clause, speaker: str) -> list[Statement]:
    """The statements that one clause makes."""
    if not clause.asserted:
        return []
    objects, roles = roles_of(clause.rest)
    reader = _READERS.get(clause.verb, doing)
    if clause.subject.head in HAPPENINGS and read_value([*objects, *(token for words in roles.values() for token in words)]).times:
        reader = _happening
    said = [*reader(clause, objects, roles, speaker), *lasting(clause, objects, roles)]
    found = [_canonical(replace(one, text=clause.text)) for one in said if one.value or one.slot in _VALUELESS]
    return [one for one in found if one.subject.owner != UNKNOWN and (one.subject.owner or one.subject.thing)]


def _happening(clause: Clause, objects: list[Token], roles: Roles, speaker: str) -> Iterator[Statement]:
    yield from scheduled(clause, objects, roles)


def _appositions(words: list[Token], speaker: str) -> Iterator[Statement]:
    """`my new email, a@example.org`: that the thing is what stands beside it."""
    for at, word in enumerate(words):
        if word.low != "," or at < 2:
            continue
        start = next((back for back in range(at - 1, max(at - 6, -1), -1) if words[back].low in ("my", "our", "a")), None)
        end = next((after for after in range(at + 1, len(words)) if words[after].low in (",", ".", "!", ")", ";")), len(words))
        if start is None or not 1 <= end - at - 1 <= 3 or any(FORMS.get(token.low) for token in words[start:at]):
            continue
        subject, told = noun_phrase(words[start:at], speaker), words[at + 1 : end]
        new = any(token.low == "new" for token in words[start:at])
        known = subject is not None and (new if words[start].low == "a" else subject.head in ATTRIBUTES)
        if subject is not None and known and any(token.capital or any(c.isdigit() or c == "@" for c in token.low) for token in told):
            subject, cue = replace(subject, owner=subject.owner or speaker), "changed" if new else ""
            clause = Clause(subject, "be", True, Standing.STATE, cue, tuple(told), text=" ".join(token.text for token in words))
            yield from (_canonical(one) for one in attribute(clause, told, {}))


def _canonical(one: Statement) -> Statement:
    """The statement under the name that its attribute has, however it was called."""
    subject, value = one.subject, one.value
    if one.slot == "is" and subject.owner and subject.head in _OF_PERSONS:
        slot = _OF_PERSONS[subject.head]
        whose = tuple(word for word in subject.words[:-1] if word not in _PLAIN_WORDS)
        if not whose or whose[-1] in PEOPLE:
            person = Subject(subject.owner, frozenset(h for word in whose for h in stems(word)), whose, subject.names)
            one = replace(one, slot=slot, subject=person, single=SINGLE if slot in _SURELY_ONE else max(one.single, USUAL))
    if one.slot in ("waking", "bedtime"):
        times = value.times | {("clock", int(60 * number)) for number, unit in value.numbers if not unit and number <= 24}
        one = replace(one, value=Value(value.shown, frozenset(), frozenset(), (), frozenset(times)))
    return one


_READERS: dict[str, Reader] = {
    **dict.fromkeys(("live", "reside", "move", "relocate", "settle"), dwelling_in),
    **dict.fromkeys(("work", "join", "hire", "employ", "start", "appoint"), working),
    **dict.fromkeys(("become", "promote"), becoming),
    "be": being,
    **dict.fromkeys(("have", "own", "buy", "adopt", "book"), having),
    **dict.fromkeys(sorted(LIKES | DISLIKES), liking),
    "prefer": preferring,
    **dict.fromkeys(("drive", "ride", "walk", "bike", "cycle", "commute", "take"), travelling),
    **dict.fromkeys(("study", "major", "attend", "enroll", "enrol", "transfer"), studying),
    **dict.fromkeys(("wake", "go", "get"), going),
    **dict.fromkeys(("use", "pay"), using),
    **dict.fromkeys(("grow", "reach", "hit"), growing),
    "follow": following,
    **dict.fromkeys(
        ("switch", "change", "replace", "swap", "upgrade", "downgrade", "rename", "raise", "lower", "increase", "decrease", "reduce", "drop", "bump",
         "postpone", "reschedule", "push", "shift", "extend", "set", "update", "cut", "correct", "delay", "rise", "fall"), switching,
    ),
    **dict.fromkeys(
        ("sell", "lose", "donate", "return", "trade", "give", "quit", "stop", "leave", "resign", "retire", "cancel", "finish"), giving_up,
    ),
    **dict.fromkeys(("break", "marry", "divorce", "engage", "separate", "date"), pairing),
    "turn": turning,
}  # fmt: skip
