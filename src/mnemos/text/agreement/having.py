"""What somebody has, likes, prefers, uses, or does in any other way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from mnemos.text.agreement.attributes import amount, category, scheduled
from mnemos.text.agreement.predicates import Clause, Standing
from mnemos.text.agreement.statement import (
    OPEN,
    SINGLE,
    USUAL,
    Roles,
    Statement,
    items,
    occasion,
    place_of,
    stated,
)
from mnemos.text.agreement.subjects import noun_phrase, subject_of
from mnemos.text.agreement.tokens import Token
from mnemos.text.agreement.values import Value, dimension, number_of, read_value
from mnemos.text.agreement.words import (
    DISLIKES,
    EMPTY,
    FLEETING,
    FORMS,
    HAPPENINGS,
    OWNS,
    QUANTIFIED,
    form_of,
    word_set,
)

_KNOWN = frozenset(base for base, _ in FORMS.values())


def lasting(clause: Clause, objects: Sequence[Token], roles: Roles) -> Iterator[Statement]:
    """How long somebody has had or done something: `I've had Luna for six months`."""
    span = read_value([token for token in roles.get("for", []) if token.low != "about"])
    what = items(objects)
    if clause.perfect and clause.standing is Standing.STATE and len(span.numbers) == 1 and not span.words and what and clause.subject.is_person:
        value = Value(span.shown, frozenset(), frozenset(), span.numbers)
        yield replace(stated(clause, f"how long {clause.verb}", [], USUAL), value=value, key=read_value(what[-1]).terms)


def having(clause: Clause, objects: list[Token], roles: Roles, speaker: str) -> Iterator[Statement]:
    happening = [token for token in objects if token.low in HAPPENINGS]
    value = read_value(objects)
    times = read_value([token for role in ("on", "at", "every") for token in roles.get(role, [])])
    if happening and times.times and clause.verb in ("have", "book", "take"):
        subject = subject_of(clause.subject.owner, objects)
        yield from scheduled(replace(clause, subject=subject), [], {role: roles[role] for role in ("on", "at") if role in roles})
        return
    named = next((at for at, token in enumerate(objects) if token.low in ("named", "called") and at), None)
    if named is not None:
        subject = subject_of(clause.subject.owner, objects[:named])
        if subject.thing and number_of(objects[0].low) in (None, 1.0):
            yield replace(stated(clause, "name", objects[named + 1 :], 0.5), subject=subject, standing=Standing.STATE)
        return
    counted = value.numbers and objects and number_of(next((t.low for t in objects if t.low not in EMPTY), "")) is not None
    if counted and (clause.standing is not Standing.EVENT or clause.perfect):
        yield from amount(clause, objects, roles)
        return
    if clause.verb in OWNS and any(token.low in ("allergy", "allergies") for token in objects):
        yield stated(clause, "allergic to", [t for t in objects if not t.low.startswith("allerg")] + roles.get("to", []), OPEN)
        return
    if clause.verb == "book" and clause.standing is Standing.STATE:
        yield from category(clause, objects)
    yield from _habit(clause, objects, roles)
    got = clause.verb in ("get", "buy", "adopt")
    if objects and objects[-1].low in ("subscription", "membership") and roles.get("to"):
        objects = roles["to"]
    for item in items(objects):
        if any(token.low in FLEETING or token.low in ("his", "her", "their", "your") for token in item):
            continue
        standing = Standing.STATE if got and clause.standing is Standing.EVENT else clause.standing
        yield stated(clause, "have", item, OPEN, standing=standing)


def liking(clause: Clause, objects: list[Token], roles: Roles, speaker: str) -> Iterator[Statement]:
    if "than" in roles and any(token.low in ("more", "better") for token in objects):
        yield from preferring(clause, [token for token in objects if token.low not in ("more", "better", "a", "lot")], roles, speaker)
        return
    positive = clause.positive is (clause.verb not in DISLIKES)
    what = objects or next(iter(roles.values()), [])
    if any(token.low in ("have", "has", "how", "when") for token in what):
        return  # I hate to have to run
    for item in items(what):
        yield replace(stated(clause, "like", item, OPEN), positive=positive, occasion=occasion(roles))


def preferring(clause: Clause, objects: list[Token], roles: Roles, speaker: str) -> Iterator[Statement]:
    yield from category(clause, objects)
    other = place_of(roles, "to", "over", "than")
    yield stated(clause, "prefer", objects, 0.6, occasion=occasion(roles), previous=read_value(other))


def using(clause: Clause, objects: list[Token], roles: Roles, speaker: str) -> Iterator[Statement]:
    if roles.get("as") or (clause.verb == "pay" and (roles.get("in") or roles.get("for"))):
        subject = noun_phrase(roles.get("as") or roles.get("in") or roles["for"], speaker)  # use X as my Y, pay N in Y: my Y is X
        if subject is not None and subject.thing and clause.standing is Standing.STATE:
            owned = replace(subject, owner=subject.owner or clause.subject.owner)
            yield stated(replace(clause, subject=owned), "is", objects, SINGLE)
        return
    if clause.verb == "pay":
        yield from doing(clause, objects, roles, speaker)
        return
    purpose = roles.get("for", [])
    yield stated(clause, "use", objects, 0.6 if purpose else OPEN, purpose)


def doing(clause: Clause, objects: list[Token], roles: Roles, speaker: str) -> Iterator[Statement]:
    """Any other verb: a number of what stands with it, else that it holds, or does not, of its object, or of what stands after its preposition."""
    verb = clause.verb
    everything = objects + [token for words in roles.values() for token in words]
    if not clause.subject.is_person and clause.subject.thing:
        if verb in _TOLD_OF_THINGS:
            yield stated(clause, verb, everything, USUAL)
        return
    if clause.standing is Standing.EVENT and not clause.perfect:
        yield stated(clause, verb, everything, OPEN)
        return
    if clause.passive and verb in ("call", "name"):
        yield stated(clause, "name", objects, USUAL)
        return
    counted = _counted(verb, objects, roles)
    if counted is not None:
        yield from amount(clause, *counted)
        return
    yield from _habit(clause, objects, roles)
    lesson = next((at for at, token in enumerate(objects) if token.low in ("lessons", "classes") and at), None)
    if lesson and verb == "take":
        verb, objects = "learn", objects[:lesson]
    before = read_value(roles.get("from", ()))
    if objects:
        for item in items(objects):
            yield stated(clause, verb, item, OPEN, occasion=occasion(roles), previous=before)
        return
    preposition = next((role for role in _FRAMES if read_value(roles.get(role, ())).words), None)
    if preposition is not None:
        told = roles[preposition]
        if preposition != "to" or form_of(told[0].low) != "base":  # try to improve
            one = preposition in ("at", "with", "to") and (read_value(told).names or told[0].low == "the")
            yield stated(clause, f"{verb} {preposition}", told, 0.4 if one else OPEN, previous=before)
    elif not read_value(everything).words:
        yield stated(clause, verb, [], OPEN)


_TOLD_OF_THINGS = word_set("cost weigh measure take last start begin end open close leave depart arrive")
_FRAMES = ("at", "with", "to", "for", "by", "in", "on")
"""Prepositions after which stands whom or what a verb without an object concerns: `volunteer at`, `subscribe to`."""


def _counted(verb: str, objects: list[Token], roles: Roles) -> tuple[list[Token], Roles] | None:
    """Where the number is that a verb has: in its object, after `for` (`practise for an hour every day`, `aim for 8,000 steps`); None without."""
    if read_value(objects).numbers:
        return (objects, roles) if verb in QUANTIFIED or verb not in _KNOWN or verb in ("take", "wear", "try") else None
    span = roles.get("for", [])
    numbers = read_value(span).numbers
    if not numbers or (objects and not (roles.get("every") and any(dimension(token.low) == "minute" for token in span))):
        return None
    if not objects and any(dimension(token.low) for token in span):
        return None
    return [*span, *objects], {role: words for role, words in roles.items() if role != "for"}


def _habit(clause: Clause, objects: list[Token], roles: Roles) -> Iterator[Statement]:
    """On which days something is done: `I see my therapist on Mondays`."""
    when = read_value([token for role in ("on", "at", "every") for token in roles.get(role, [])])
    if objects and when.times and clause.standing is Standing.STATE:
        value = Value(when.shown, frozenset(), frozenset(), (), when.times)
        yield replace(stated(clause, f"when {clause.verb}", [], 0.5, objects), value=value)
