"""What somebody or something changed to, and what is no more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from mnemos.text.agreement.attributes import amount, category, counts, scheduled
from mnemos.text.agreement.predicates import Clause, Standing
from mnemos.text.agreement.statement import (
    OPEN,
    SINGLE,
    USUAL,
    Roles,
    Statement,
    after_change,
    items,
    place_of,
    stated,
)
from mnemos.text.agreement.subjects import noun_phrase
from mnemos.text.agreement.tokens import Token
from mnemos.text.agreement.values import NOTHING, read_value
from mnemos.text.agreement.words import (
    DIETS,
    GIVERS,
    HAPPENINGS,
)


def switching(clause: Clause, objects: list[Token], roles: Roles, speaker: str) -> Iterator[Statement]:
    """`switched from A to B`, `changed my X to B`, `replaced A with B`, `raised the rent to N`."""
    target = roles.get("to") or (roles.get("with") if clause.verb in ("replace", "swap") else None) or []
    if clause.passive and not objects:
        yield from reset(clause, target, roles)
        return
    aside = {token.low for token in objects} <= {"back", "down", "up"}
    if objects and aside and target and clause.subject.is_person and read_value(target).numbers and clause.standing is not Standing.PLAN:
        told = replace(clause, verb="have", standing=Standing.STATE, cue=clause.cue or "changed")
        yield from amount(told, list(target), {role: words for role, words in roles.items() if role != "to"})
        return
    subject = noun_phrase(objects, speaker) if objects else None
    if target and clause.subject.is_person and subject is None:
        found = list(category(clause, target))
        before = next((one.value for one in category(clause, roles.get("from", []))), NOTHING)
        if found:
            yield replace(found[0], previous=before)
            return
    if clause.verb in ("replace", "swap") and target:
        yield replace(stated(clause, "use", target, OPEN), previous=read_value(objects), standing=Standing.STATE, cue="changed")
    elif subject is not None and subject.thing and target:
        yield from reset(replace(clause, subject=subject), target, roles)
    elif not clause.subject.is_person and target:
        yield from reset(clause, target, roles)
    elif target and read_value(target).words & DIETS:
        yield stated(clause, "diet", [token for token in target if token.low != "one"], SINGLE, **after_change(clause, roles))
    elif target:
        yield stated(clause, "use", target, OPEN, roles.get("for", ()), **after_change(clause, roles))


def reset(clause: Clause, target: Sequence[Token], roles: Roles) -> Iterator[Statement]:
    """That a thing has a new value."""
    if clause.standing is Standing.PLAN or not target or not clause.subject.thing:
        return
    clause = replace(clause, standing=Standing.STATE, cue="changed")
    if clause.subject.head in HAPPENINGS and read_value(target).times:
        yield from scheduled(clause, [], {"from": roles.get("from", []), "to": list(target)})
    elif counts(clause.subject, target, read_value(target)):
        yield from amount(replace(clause, verb="be"), list(target), {})
    elif clause.verb == "rename":
        yield stated(clause, "name", target, USUAL, previous=read_value(roles.get("from", ())))
    else:
        told = [token for token in target if token.low not in clause.subject.words] or target
        yield stated(clause, "is", told, SINGLE, previous=read_value(roles.get("from", ())))


def giving_up(clause: Clause, objects: list[Token], roles: Roles, speaker: str) -> Iterator[Statement]:
    """What was had, done or consumed, and is no more."""
    positive = not clause.positive
    if clause.verb == "trade" and roles.get("for") and clause.standing is Standing.EVENT:
        yield stated(clause, "use", roles["for"], OPEN, previous=read_value(objects), standing=Standing.STATE, cue="changed")
        return
    particles = {token.low for token in objects} | roles.keys()
    if clause.standing is Standing.PLAN or (clause.verb == "give" and not particles & {"up", "away"}):
        return
    if clause.verb == "finish" and clause.standing is not Standing.EVENT:
        return
    left = [*roles.get("up", []), *(roles.get("on", []) if clause.verb == "give" else [])]
    gone = [token for token in [*objects, *left] if token.low not in ("up", "away", "rid", "of")]
    if clause.verb in ("leave", "quit", "resign", "retire"):
        if read_value(gone).names and not place_of(roles, "at", "from"):
            yield replace(stated(clause, "do", gone, OPEN), positive=positive, standing=Standing.STATE, cue="no longer")
        job = any(token.low in ("job", "position", "work") for token in gone)
        where = place_of(roles, "at", "from") if job or not gone else gone
        value = read_value(where)
        if value.names or job:
            yield replace(stated(clause, "employer", where, OPEN), positive=positive, standing=Standing.STATE, cue="no longer")
            return
    for item in items(gone):
        for slot in ("have",) if clause.verb in GIVERS or "away" in particles else ("do", "have"):
            yield replace(stated(clause, slot, item, OPEN), positive=positive, standing=Standing.STATE, cue="no longer")
