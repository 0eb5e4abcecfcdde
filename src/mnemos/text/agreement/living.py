"""Where and how somebody lives, works, studies, travels, and with whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from mnemos.text.agreement.attributes import amount, being, category, scheduled
from mnemos.text.agreement.changing import giving_up, reset, switching
from mnemos.text.agreement.having import doing, having
from mnemos.text.agreement.places import wide
from mnemos.text.agreement.predicates import Clause, Standing
from mnemos.text.agreement.statement import (
    SINGLE,
    USUAL,
    Roles,
    Statement,
    after_change,
    consists_of,
    named,
    place_of,
    stated,
)
from mnemos.text.agreement.subjects import noun_phrase
from mnemos.text.agreement.tokens import Token
from mnemos.text.agreement.values import Value, read_value
from mnemos.text.agreement.words import (
    COMMUTES,
    DIETS,
    DWELLINGS,
    EMPLOYERS,
    EMPTY,
    HAPPENINGS,
    PLACE_WORDS,
    SCHOOLS,
    STREETS,
    VEHICLES,
    WORKPLACES,
    form_of,
)


def dwelling_in(clause: Clause, objects: list[Token], roles: Roles, speaker: str) -> Iterator[Statement]:
    moving = clause.verb in ("move", "relocate", "settle")
    place = place_of(roles, "to", "in", "into", "at", "on", "back") or (objects if moving and not roles.get("with") else [])
    if clause.subject.head in HAPPENINGS:
        yield from scheduled(clause, objects, roles)
        return
    if moving and objects and place is not objects and clause.verb == "move" and any(token.low not in EMPTY for token in objects):
        subject = noun_phrase(objects, speaker)  # I moved the meeting to Friday
        if subject is not None and roles.get("to"):
            yield from reset(replace(clause, subject=subject), roles["to"], roles)
        return
    if not clause.subject.is_person:
        if moving and roles.get("to"):
            yield stated(clause, "is", roles["to"], USUAL, **after_change(clause, roles))
        return
    told = read_value(place)
    if moving and not told.names and not told.words & PLACE_WORDS and not wide(told.words) and not told.words & DWELLINGS:
        yield from category(clause, place)
        return
    if place and "floor" in told.words:
        yield from category(clause, place)
        return
    if place:
        more = after_change(clause, roles) if moving else {}
        if told.numbers and told.words & STREETS:
            yield stated(clause, "address", place, SINGLE, **more)
            return
        dwelling = any(token.low.rstrip("s") in DWELLINGS for token in place) and not any(token.capital for token in place)
        yield stated(clause, "dwelling" if dwelling else "home", place, SINGLE, **more)
        if dwelling and roles.get("in", place) is not place:
            yield stated(clause, "home", roles["in"], SINGLE, **more)
    company = roles.get("with")
    if company and not moving:
        yield stated(clause, "household", company, 0.5)


def working(clause: Clause, objects: list[Token], roles: Roles, speaker: str) -> Iterator[Statement]:
    yield from category(clause, objects)
    changing = clause.verb in ("join", "hire", "employ", "start", "appoint", "transfer", "accept")
    more = after_change(clause, roles) if changing else {}
    if clause.verb == "work" and any(token.low in ("remotely", "home") for token in [*objects, *roles.get("from", [])]):
        yield stated(clause, "workplace", [Token("remotely", "remotely")], SINGLE)
    where = place_of(roles, "at", "for", "by")
    if clause.verb == "join" and named(objects, EMPLOYERS):
        where = where or objects
    if clause.verb == "work" and roles.get("on"):
        where = roles.get("at", [])
        task = read_value(roles["on"])
        if not task.times and (task.names or roles["on"][0].low == "the"):
            yield stated(clause, "work on", roles["on"], 0.4, previous=read_value(roles.get("from", ())))
    if clause.verb == "start" and not any(token.low in ("job", "position", "work", "working", "role") for token in objects):
        where = []
        if objects and any(form_of(token.low) == "past" for token in objects):
            return
    if clause.verb == "transfer":
        where = place_of(roles, "to")
    if where and not read_value(where).numbers and not read_value(where).times and not consists_of(where, ("home", "night", "all", "least")):
        yield stated(clause, "employer", where, USUAL if clause.verb == "work" else SINGLE, **more)
    if roles.get("as"):
        yield stated(clause, "job", roles["as"], SINGLE, **more)
    hours = read_value([token for role in ("every", "on", "from", "per") for token in roles.get(role, [])] + objects)
    if clause.verb == "work" and (hours.numbers or hours.times):
        yield replace(stated(clause, "working hours", [], USUAL), value=hours)


def _to_work(words: Sequence[Token]) -> bool:
    """Whether the words lead to work, and to no place with a name of its own."""
    return any(token.low in WORKPLACES for token in words) and not any(token.capital for token in words)


def studying(clause: Clause, objects: list[Token], roles: Roles, speaker: str) -> Iterator[Statement]:
    more = after_change(clause, roles)
    place = place_of(roles, "at") if clause.verb in ("study", "enroll", "enrol", "transfer") else objects
    if clause.verb in ("enroll", "enrol", "transfer"):
        place = place or place_of(roles, "in", "to")
    if clause.verb == "major":
        yield stated(clause, "field of study", place_of(roles, "in"), SINGLE, **more)
    elif clause.verb == "study" and objects and clause.standing is not Standing.EVENT:
        yield stated(clause, "field of study", objects, USUAL)
    if clause.verb != "major" and place and read_value(place).names and (clause.verb != "attend" or read_value(place).words & SCHOOLS):
        yield stated(clause, "school", place, USUAL, **more)


def travelling(clause: Clause, objects: list[Token], roles: Roles, speaker: str) -> Iterator[Statement]:
    """How somebody goes to work; what is driven; else as any verb."""
    target = roles.get("to", [])
    if clause.verb == "commute" or (clause.verb in COMMUTES and _to_work([*target, *objects])):
        if clause.standing is not Standing.EVENT:
            means = roles.get("by") or roles.get("on") or [token for token in objects if token.low not in WORKPLACES]
            vehicle = means if read_value(means).words else [Token(clause.verb, {"cycle": "bike"}.get(clause.verb, clause.verb))]
            yield stated(clause, "commute", vehicle, SINGLE)
    elif clause.verb == "drive" and not target and clause.standing is not Standing.EVENT and named(objects, VEHICLES):
        yield stated(clause, "drives", objects, USUAL)
    else:
        yield from doing(clause, objects, roles, speaker)


def going(clause: Clause, objects: list[Token], roles: Roles, speaker: str) -> Iterator[Statement]:
    """Waking and going to bed."""
    when = read_value(objects + [token for words in roles.values() for token in words])
    if clause.verb == "go" and clause.subject.is_person and read_value(objects).words & DIETS:
        yield from being(replace(clause, standing=Standing.STATE, cue=clause.cue or "changed"), objects, roles, speaker)
        return
    if clause.verb == "go" and not clause.subject.is_person:
        yield from switching(clause, [], roles, speaker)
        return
    bed = clause.verb == "go" and any(token.low in ("bed", "sleep") for token in [*objects, *roles.get("to", [])])
    up = "up" in roles or any(token.low == "up" for token in objects)
    if (clause.verb == "wake" or bed or (clause.verb == "get" and up)) and clause.standing is not Standing.EVENT:
        if when.times or when.numbers:
            value = Value(when.shown, frozenset(), frozenset(), when.numbers if not when.times else (), when.times)
            yield replace(stated(clause, "bedtime" if bed else "waking", [], USUAL), value=value)
        return
    if clause.verb == "get" and objects[:1] and objects[0].low == "rid":
        yield from giving_up(replace(clause, verb="sell"), objects, roles, speaker)
    elif clause.verb == "get" and roles.get("to") and read_value(roles["to"]).numbers:
        yield from amount(replace(clause, standing=Standing.STATE, cue=clause.cue or "changed"), roles["to"], {})
    elif clause.verb == "get":
        yield from having(clause, objects, roles, speaker)
    else:
        yield from travelling(clause, objects, roles, speaker)


def growing(clause: Clause, objects: list[Token], roles: Roles, speaker: str) -> Iterator[Statement]:
    """`my team has grown to N people`."""
    told = roles.get("to") or objects
    if clause.subject.thing and read_value(told).numbers and clause.standing is not Standing.PLAN:
        yield from being(replace(clause, standing=Standing.STATE, cue=clause.cue or "changed"), list(told), {}, speaker)
    else:
        yield from doing(clause, objects, roles, speaker)


def following(clause: Clause, objects: list[Token], roles: Roles, speaker: str) -> Iterator[Statement]:
    diet = any(token.low == "diet" for token in objects)
    if diet and clause.subject.is_person:
        yield stated(clause, "diet", [token for token in objects if token.low != "diet"], SINGLE)
    else:
        yield from doing(clause, objects, roles, speaker)


def pairing(clause: Clause, objects: list[Token], roles: Roles, speaker: str) -> Iterator[Statement]:
    """`broke up with`, `got divorced from`, `married`, `got engaged to`."""
    if clause.verb == "break" and not (roles.get("up") is not None or any(token.low == "up" for token in objects)):
        return
    status = {"break": "single", "marry": "married", "divorce": "divorced", "engage": "engaged", "separate": "separated", "date": "dating"}[
        clause.verb
    ]
    if clause.standing is Standing.PLAN:
        return
    yield replace(stated(clause, "relationship", [Token(status, status)], SINGLE), standing=Standing.STATE, cue=clause.cue or "changed")
