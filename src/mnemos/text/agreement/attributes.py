"""What somebody or something is, and how much of it there is: readers of clauses around "be", of schedules, categories and amounts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from mnemos.text.agreement.predicates import Clause, Standing
from mnemos.text.agreement.statement import (
    OPEN,
    SINGLE,
    USUAL,
    Roles,
    Statement,
    items,
    place_of,
    stated,
)
from mnemos.text.agreement.subjects import Subject, noun_phrase, subject_of
from mnemos.text.agreement.tokens import Token
from mnemos.text.agreement.values import Value, dimension, number_of, ordinal, read_value, stems
from mnemos.text.agreement.words import (
    ATTRIBUTES,
    CATEGORIES,
    COLOURS,
    DIETS,
    EMPTY,
    HAPPENINGS,
    LASTING,
    OCCUPATIONS,
    PICKED,
    RELATIONSHIPS,
    ROLES,
    THINGS,
    form_of,
    word_set,
)

_HAVING = word_set("have own get keep collect buy lead manage supervise employ coach be grow spend do")
_ONCE = word_set("today tonight tomorrow yesterday weekend")
MOVES = word_set("move reschedule postpone push shift delay extend change bump set bring")


def being(clause: Clause, objects: list[Token], roles: Roles, speaker: str) -> Iterator[Statement]:
    """What somebody or something is: the kind of complement decides which attribute it is."""
    subject = clause.subject
    value = read_value(objects)
    lows = [token.low for token in objects]
    everything = [*objects, *(token for preposition, words in roles.items() for token in (Token(preposition, preposition), *words))]
    if lows[:1] and lows[0] in ("my", "our", "the") and (not subject.owner or (subject.names and not subject.thing)):
        turned = noun_phrase(objects, speaker)  # blue is my favorite color; Rachel is my manager
        if turned is not None and turned.owner == speaker and turned.thing:
            named = subject.words or tuple(sorted(subject.names))
            told = [Token(word.capitalize() if subject.names else word, word) for word in named]
            yield from being(replace(clause, subject=turned), told, {}, speaker)
            return
    if subject.is_person:
        yield from _person_is(clause, objects, roles, value, lows)
        return
    if subject.head in HAPPENINGS and (read_value(everything).times or roles):
        yield from scheduled(clause, objects, roles)
        return
    yield from attribute(clause, objects, roles)


def _person_is(clause: Clause, objects: list[Token], roles: Roles, value: Value, lows: list[str]) -> Iterator[Statement]:
    age = next((number for number, _ in value.numbers), None)
    subject = clause.subject
    if age is not None and (not value.words - {"old", "years", "year", "yo"} or "old" in lows) and not roles.get("at"):
        if not {"almost", "nearly"} & set(clause.text.lower().split()):
            yield stated(clause, "age", objects, SINGLE)
    elif value.words & RELATIONSHIPS or (value.words & {"relationship", "seeing"}):
        yield stated(clause, "relationship", objects, SINGLE)
    elif value.words & DIETS:
        yield stated(clause, "diet", objects, SINGLE)
    elif "allergic" in lows and roles.get("to"):
        yield from (stated(clause, "allergic to", item, OPEN) for item in items(roles["to"]))
    elif lows[:1] in (["based"], ["located"], ["living"]):
        yield stated(clause, "home", place_of(roles, "in", "at", "near"), SINGLE)
    elif not lows and roles.get("from"):
        yield stated(clause, "from", roles["from"], USUAL, lasting=True)
    elif not lows and (roles.get("on") or roles.get("at") or roles.get("in")):
        yield from category(clause, roles.get("on") or roles.get("in") or [])
        yield from amount(clause, roles.get("on") or [], {})
        return
    elif lows[:1] in (["up"], ["down"]) and roles.get("to"):
        yield from amount(replace(clause, cue=clause.cue or "changed"), roles["to"], {role: roles[role] for role in roles if role != "to"})
    elif lows[-1:] == ["student"] and read_value(roles.get("at", ())).names:
        yield stated(clause, "school", roles["at"], USUAL)
    elif lows[-1:] == ["student"] and len(value.words) > 1:
        yield stated(clause, "field of study", objects[:-1], USUAL)
    elif lows[:1] == ["called"] or lows[:1] == ["named"]:
        yield stated(clause, "name", objects[1:], USUAL)
    elif _occupation(objects):
        yield stated(clause, "job", objects, USUAL, previous=read_value(roles.get("from", ())))
    elif subject.head in ROLES and value.names and len(value.words) <= 3:
        yield stated(clause, "name", objects, SINGLE)
    elif subject.words and value.names and len(value.words) <= 2 and subject.owner and not value.numbers:
        yield stated(clause, "name", objects, 0.5)
    elif lows[:1] in (["sick"], ["tired"], ["bored"]) and "of" in lows:
        yield replace(stated(clause, "like", objects[2:], OPEN), positive=not clause.positive)
    elif "fan" in lows or ("into" in roles and not objects) or "fond" in lows:
        liked = roles.get("into") or [token for token in objects if token.low not in ("fan", "big", "huge", "fond", "of", "a")]
        yield stated(clause, "like", liked, OPEN)
    elif len(lows) == 1 and lows[0].endswith("ed") and roles.get("with"):
        yield stated(clause, f"{lows[0]} with", roles["with"], 0.4)
    elif value and lows[0] in ("a", "an"):
        yield stated(clause, "be", objects, OPEN)


def _occupation(objects: Sequence[Token]) -> bool:
    """Whether what somebody is is an occupation: `a senior data engineer`, not `a pretty good cook` or `a fan of nurses`."""
    lows = [token.low for token in objects]
    head = lows[: lows.index("of")] if "of" in lows else lows
    return bool(head) and head[-1] in OCCUPATIONS and not {"good", "great", "bad", "terrible", "decent", "better", "best"} & set(lows)


def attribute(clause: Clause, objects: list[Token], roles: Roles) -> Iterator[Statement]:
    """What a thing is, or an attribute has as its value."""
    subject, head = clause.subject, clause.subject.head
    if head == "name" and len(subject.words) > 1:
        owner = subject_of(subject.owner, [Token(word, word) for word in subject.words if word != "name"])
        yield replace(stated(clause, "name", objects, USUAL), subject=owner)
        return
    if not objects and roles.get("to") and form_of(roles["to"][0].low) == "base":
        return  # the goal is to win
    told = [token for token in objects if token.low != "up"] or place_of(roles, "to", "on", "at", "in", "with", "from", "by", "near", "for")
    if not told:
        return
    told = [token for token in told if token.low not in subject.words] or told
    value = read_value(told)
    if counts(subject, told, value):
        cue = clause.cue or ("changed" if "to" in roles else "")
        yield from amount(replace(clause, verb="be", standing=Standing.STATE, cue=cue), told, {})
        return
    if told[0].low == "due" and len(objects) == 1:
        due = replace(clause.subject, thing=subject.thing | frozenset(stems("deadline")), words=(*subject.words, "deadline"))
        yield from scheduled(replace(clause, subject=due), [], roles)
        return
    single = 0.4
    if head in ATTRIBUTES or any(word in PICKED for word in subject.words):
        single = SINGLE
    elif (head in THINGS and value.names) or head in HAPPENINGS or value.numbers or value.times:
        single = USUAL
    elif value.words & COLOURS:
        single = 0.6
    yield stated(clause, "is", told, single, lasting=bool(LASTING & set(subject.words)))


def becoming(clause: Clause, objects: list[Token], roles: Roles, speaker: str) -> Iterator[Statement]:
    if clause.standing is Standing.PLAN:
        return
    target = roles.get("to") or objects
    yield from being(replace(clause, verb="be", standing=Standing.STATE, cue=clause.cue or "changed"), target, {}, speaker)
    if clause.verb == "promote" and _occupation(target):
        yield stated(clause, "job", target, SINGLE, standing=Standing.STATE, cue="changed", previous=read_value(roles.get("from", ())))


def turning(clause: Clause, objects: list[Token], roles: Roles, speaker: str) -> Iterator[Statement]:
    value = read_value(objects)
    if clause.subject.is_person and value.numbers and not value.words and value.numbers[0][0] < 120 and clause.standing is not Standing.PLAN:
        yield stated(clause, "age", objects, SINGLE, standing=Standing.STATE, cue="changed")


def counts(subject: Subject, told: Sequence[Token], value: Value) -> bool:
    """Whether what is said of a thing is a number of something else: `my team has five people`, `my morning run is 5 km`."""
    counted = value.numbers and (value.words or value.numbers[0][1]) and not value.times and subject.owner and subject.head not in ATTRIBUTES
    return bool(counted) and number_of(told[0].low) is not None


def amount(clause: Clause, objects: list[Token], roles: Roles) -> Iterator[Statement]:
    """How many or how much of what: the number is the value, all the rest says of what, whoever is said to have it."""
    number = read_value(objects)
    place = next((at for at, token in enumerate(objects) if number_of(token.low) is not None), None)
    if place is None or not number.numbers or ordinal(objects[place].low):
        return
    rest, occasions = [], [token for role in ("every", "during", "per") for token in roles.get(role, [])]
    for at, token in enumerate(objects):
        if dimension(token.low) and at and objects[at - 1].low in ("a", "an", "each"):
            occasions.append(token)
        elif number_of(token.low) is None:
            measured = dimension(token.low) if at and number_of(objects[at - 1].low) is not None else None
            rest.append(Token(measured, measured) if measured else token)
    around = [
        token for role, words in roles.items() if role not in ("since", "by", "as", "about", "every", "during", "per", "from")
        for token in words if number_of(token.low) is None
    ]  # fmt: skip
    subject, told = clause.subject, read_value(rest + around)
    key = told.terms
    if subject.thing and subject.owner and not subject.is_person:
        subject, key = Subject(subject.owner), key | subject.thing | subject.context
    if not key:
        return
    standing = Standing.STATE if clause.perfect and clause.standing is Standing.EVENT else clause.standing
    if standing is Standing.STATE and not _ONCE.isdisjoint(clause.text.lower().split()):
        standing = Standing.EVENT
    verb = "have" if clause.verb in _HAVING else clause.verb
    value = Value(number.shown, frozenset(), frozenset(), number.numbers[:1])
    yield replace(
        stated(clause, f"how many {verb}", [], USUAL), subject=subject, key=key, value=value, standing=standing, occasion=read_value(occasions).terms,
    )  # fmt: skip


def category(clause: Clause, words: Sequence[Token]) -> Iterator[Statement]:
    """`the night shift`, `the Pro plan`: that the shift, the plan, is the one."""
    telling = [token for token in words if token.low not in EMPTY]
    at = next((at for at, token in enumerate(telling) if token.low in CATEGORIES), None)
    if at and clause.subject.is_person and clause.standing is not Standing.PLAN:
        head = telling[at].low.removesuffix("s")
        subject = Subject(clause.subject.owner, frozenset(stems(head)), (head,))
        changed = clause.standing is Standing.EVENT or clause.passive
        more: dict[str, Any] = {"standing": Standing.STATE, "cue": clause.cue or "changed"} if changed else {}
        yield stated(replace(clause, subject=subject), "is", telling[:at], USUAL, **more)


def scheduled(clause: Clause, objects: list[Token], roles: Roles) -> Iterator[Statement]:
    """When and where something happens."""
    spoken = ("on", "at", "to", "for", "in", "until", "till", "every", *(() if roles.get("to") else ("from",)))
    when = read_value(objects + [token for role in spoken for token in roles.get(role, [])])
    more: dict[str, Any] = {"previous": read_value(roles.get("from", ()))} if roles.get("to") else {}
    if clause.standing is not Standing.PLAN and clause.verb in MOVES and (clause.standing is Standing.EVENT or clause.passive):
        more |= {"standing": Standing.STATE, "cue": clause.cue or "changed"}
    if when.times or when.numbers:
        told = Value(when.shown, frozenset(), frozenset(), when.numbers, when.times)
        yield replace(stated(clause, "when", [], USUAL, **more), value=told)
    where = place_of(roles, "at", "in")
    place = read_value(where)
    if place.words and not place.times:
        yield stated(clause, "where", where, USUAL, **more)
