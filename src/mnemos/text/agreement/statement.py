"""A statement: whose attribute, which value, and whether another value could hold beside it; and what all readers of clauses need to make one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mnemos.text.agreement.predicates import Clause, Standing
from mnemos.text.agreement.subjects import Subject
from mnemos.text.agreement.tokens import Token
from mnemos.text.agreement.values import NOTHING, Value, number_of, read_value
from mnemos.text.agreement.words import EMPTY, PREPOSITIONS

SINGLE, USUAL, OPEN = 0.9, 0.7, 0.0
"""How surely an attribute has one value at a time: one home; usually one car; any number of likes."""


@dataclass(frozen=True, slots=True)
class Statement:
    """That an attribute of a subject has a value."""

    subject: Subject
    slot: str
    """The attribute: `home`, `employer`, `is` (what a thing is), `count`, or a verb."""
    key: frozenset[int]
    """What narrows the attribute: the thing counted, the category, the purpose; terms."""
    value: Value
    positive: bool = True
    standing: Standing = Standing.STATE
    cue: str = ""
    single: float = OPEN
    """0..1: how surely there is one value at a time."""
    previous: Value = NOTHING
    """The value before, where the statement names it (`from A to B`)."""
    occasion: frozenset[int] = frozenset()
    """When, where and with whom; terms."""
    lasting: bool = False
    """Whether the attribute never changes."""
    ongoing: bool = False
    """Whether it is said to go on just now."""
    text: str = ""

    @property
    def name(self) -> str:
        """Subject and attribute, to be read."""
        return f"{self.subject.shown}: {self.slot}"


Roles = dict[str, list[Token]]
Reader = Callable[[Clause, list[Token], Roles, str], Iterator[Statement]]


def roles_of(rest: Sequence[Token]) -> tuple[list[Token], Roles]:
    """The object, and what stands after each preposition; `of` stays inside what it belongs to."""
    objects: list[Token] = []
    roles: Roles = {}
    current = objects
    for at, token in enumerate(rest):
        if token.low == ",":
            if at + 1 < len(rest) and rest[at + 1].low in EMPTY - {"a", "an", "the", "and"} | {"which", "so"}:
                break
            current.append(token)
        elif token.low == "instead":
            current = roles.setdefault("from", []) if rest[at + 1 : at + 2] and rest[at + 1].low == "of" else []
        elif token.low == "rather" and rest[at + 1 : at + 2] and rest[at + 1].low == "than":
            current = roles.setdefault("from", [])
        elif token.low == "than" and at and rest[at - 1].low == "rather":
            continue
        elif token.low in PREPOSITIONS and token.low != "of" and not (token.low in ("up", "down", "out", "off") and at == 0):
            if token.low in ("about", "around", "over") and at + 1 < len(rest) and number_of(rest[at + 1].low) is not None:
                continue
            current = roles.setdefault(token.low, [])
        elif token.low in ("every", "each", "once", "twice"):
            current = roles.setdefault("every", [])
            current.append(token)
        elif token.low in ("because", "so", "which", "who", "where", "when", "while", "that", "if", "although", "though", "but"):
            break
        else:
            current.append(token)
    return objects, roles


def stated(clause: Clause, slot: str, value: Sequence[Token], single: float, key: Sequence[Token] = (), **more: Any) -> Statement:
    cue = clause.cue or ("now" if any(token.low == "instead" for token in clause.rest) else "")
    made = Statement(
        clause.subject, slot, read_value(key).terms, read_value(value), clause.positive, clause.standing, cue, single, ongoing=clause.ongoing
    )
    return replace(made, **more) if more else made


def after_change(clause: Clause, roles: Roles) -> dict[str, Any]:
    """What a verb of change adds: a finished change is a state now, and its `from` was the state before."""
    more: dict[str, Any] = {"previous": read_value(roles.get("from", ()))}
    if clause.standing is Standing.EVENT or (clause.standing is Standing.PAST and clause.perfect):
        more["standing"] = Standing.STATE
        more["cue"] = clause.cue or "changed"
    return more


def place_of(roles: Roles, *prepositions: str) -> list[Token]:
    return next((roles[preposition] for preposition in prepositions if roles.get(preposition)), [])


def items(words: Sequence[Token]) -> list[list[Token]]:
    """The members of a list (`tea, coffee and juice`)."""
    out: list[list[Token]] = [[]]
    for token in words:
        if token.low in ("and", ",", "or", "nor"):
            out.append([])
        else:
            out[-1].append(token)
    return [item for item in out if any(token.low not in EMPTY for token in item)]


def occasion(roles: Roles) -> frozenset[int]:
    return read_value(
        [token for role in ("for", "at", "in", "on", "during", "with", "every", "after", "before") for token in roles.get(role, [])]
    ).terms


def named(words: Sequence[Token], kinds: frozenset[str]) -> bool:
    """Whether words name something, or say that it is one of `kinds`."""
    value = read_value(words)
    return bool(value.names or value.words & kinds)


def consists_of(words: Sequence[Token], allowed: Sequence[str]) -> bool:
    return all(token.low in allowed or token.low in EMPTY for token in words)
