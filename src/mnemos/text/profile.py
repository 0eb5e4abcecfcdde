"""What is known of each person: facts by attribute with their newest value, drawn from the statements that memories make. No language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mnemos.text.agreement import Memory
from mnemos.text.agreement.conflicts import conflict, same_subject
from mnemos.text.agreement.predicates import Standing
from mnemos.text.agreement.statement import Statement
from mnemos.text.agreement.statements import read_statements
from mnemos.text.agreement.subjects import SPEAKER
from mnemos.text.agreement.values import compared
from mnemos.text.agreement.words import word_set
from mnemos.text.time_expressions import DAY
from mnemos.text.tokens import TokenCounter, count_tokens

_ONCE = 0.4
_SINGLE = 0.5
"""How surely an attribute has one value at a time, from which only its newest is shown."""


_OF_A_PERSON = word_set("like have prefer be play speak learn use eat drink smoke read watch collect grow cook support wear own sing practice teach")
"""Attributes that a person may have many values of, and that tell something of her; what she thinks or hears of does not."""


@dataclass(frozen=True, slots=True)
class Fact:
    """That an attribute of a person has a value."""

    attribute: str
    """`home`, `favorite color`, `like`, …; with `sister:` and the like before it, where it is that of somebody of hers."""
    value: str
    memory: int
    """Which of the memories says so."""
    since: int | None
    """When it was said, microseconds since 1970."""
    before: tuple[str, ...] = ()
    """Earlier values, oldest first."""
    clause: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """A person's facts, by attribute."""

    name: str
    facts: tuple[Fact, ...]


@dataclass(slots=True)
class _Held:
    statement: Statement
    memory: int
    at: int | None
    before: list[str] = field(default_factory=list)


def profile(memories: Sequence[Memory]) -> list[Person]:
    """The persons that `memories` tell of, most told of first, with what holds of each: later statements replace earlier ones that they contradict.

    Only what is said to be so counts: no events, plans or questions.
    """
    order = sorted(range(len(memories)), key=lambda i: (memories[i].event_at if memories[i].event_at is not None else 0, memories[i].written, i))
    held: list[_Held] = []
    for i in order:
        memory = memories[i]
        for statement in read_statements(memory.text, memory.author):
            _take(held, statement, i, memory.event_at)
    people: dict[str, list[Fact]] = {}
    for one in held:
        told = one.statement.single >= _ONCE or one.statement.slot in _OF_A_PERSON or one.statement.slot == "allergic to"
        if told and one.statement.positive and one.statement.subject.owner:
            people.setdefault(_name(one.statement), []).append(_fact(one))
    persons = [Person(name, tuple(sorted(facts, key=lambda fact: fact.attribute))) for name, facts in people.items()]
    return sorted(persons, key=lambda person: -len(person.facts))


def _take(held: list[_Held], statement: Statement, memory: int, at: int | None) -> None:
    """Add a statement; what it ends goes, and what it says again is kept once."""
    if statement.standing not in (Standing.STATE, Standing.PAST):
        return
    before: list[str] = []
    kept: list[_Held] = []
    for one in held:
        gap = (at - one.at) / DAY if at is not None and one.at is not None else None
        found = conflict(one.statement, statement, gap, True)
        if found is not None and found.confidence >= _SINGLE:
            if one.statement.positive and statement.positive:
                before += [*one.before, one.statement.value.shown]
            continue
        if _repeats(one.statement, statement):
            before += one.before
            if len(one.statement.value.terms) > len(statement.value.terms):
                statement = one.statement
            continue
        kept.append(one)
    held[:] = kept
    if statement.standing is Standing.STATE and (statement.value or statement.positive):
        held.append(_Held(statement, memory, at, before))


def _repeats(one: Statement, other: Statement) -> bool:
    return (
        one.slot == other.slot and one.positive is other.positive and one.key == other.key and other.standing is Standing.STATE
        and same_subject(one.subject, other.subject) and bool(one.value) and compared(one.value, other.value) in ("same", "finer")
    )  # fmt: skip


def _name(statement: Statement) -> str:
    owner = statement.subject.owner
    return "the user" if owner == SPEAKER else owner.removeprefix(SPEAKER)


def _fact(one: _Held) -> Fact:
    statement = one.statement
    words = " ".join(statement.subject.words)
    attribute = words if statement.slot == "is" and words else f"{words}: {statement.slot}" if words else statement.slot
    return Fact(attribute, statement.value.shown, one.memory, one.at, tuple(one.before), statement.text)


def profile_text(persons: Sequence[Person], budget: int, count: TokenCounter = count_tokens) -> str:
    """The profiles as text, a person a paragraph and an attribute a line, in at most `budget` tokens: facts that may be left out come last."""
    lines: list[str] = []
    for person in persons:
        heading = f"{person.name}:"
        merged: dict[str, list[str]] = {}
        for fact in person.facts:
            merged.setdefault(fact.attribute, []).append(fact.value or "yes")
        block = [heading, *(f"- {attribute}: {', '.join(dict.fromkeys(values))}" for attribute, values in merged.items())]
        for line in block:
            if count("\n".join([*lines, line])) > budget:
                return "\n".join(lines if not lines or lines[-1] != heading else lines[:-1])
            lines.append(line)
    return "\n".join(lines)
