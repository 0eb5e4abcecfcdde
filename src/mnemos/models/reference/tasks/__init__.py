"""Tasks in the compact language: ten things that a model must look up in its context, generated from a seed at any length."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from mnemos.base.errors import Invalid, NotFound, shown
from mnemos.models.reference.tasks.code import code
from mnemos.models.reference.tasks.reasoning import chain, list_, rule, run, world
from mnemos.models.reference.tasks.recall import copy, kv, needle, span
from mnemos.models.reference.tasks.session import Filler, Session, Span, Turn, plain

__all__ = ["GENERATORS", "NAMES", "TURN_WORDS", "Filler", "Session", "Span", "Turn", "make", "most_turns", "plain"]

GENERATORS: dict[str, Callable[[Random, int, int, Filler], Session]] = {
    "kv": kv, "copy": copy, "needle": needle, "span": span, "chain": chain, "list": list_, "rule": rule, "world": world, "code": code, "run": run
}  # fmt: skip
NAMES = tuple(GENERATORS)

SHORTEST = 64
"""Words of the shortest session that is made."""

MOST_TURNS = 60

TURN_WORDS = {"kv": 16, "copy": 48, "needle": 32, "span": 20, "chain": 16, "list": 12, "rule": 18, "world": 24, "code": 60, "run": 1}
"""Words of a session that one turn takes at most, so that its context still holds more than is asked."""


def most_turns(name: str, length: int) -> int:
    """How many turns a session of so many words can have."""
    return 1 if name == "run" else max(1, min(MOST_TURNS, (length - 4) // TURN_WORDS[name]))


def make(name: str, length: int, turns: int, seed: int | str, filler: Filler = plain) -> Session:
    """A session of about `length` words, questions and answers included (never more), with `turns` turns; the same seed gives the same session.

    Raises `NotFound` for an unknown task and `Invalid` for a length or a number of turns that cannot be.
    """
    if name not in GENERATORS:
        raise NotFound(f"there is no task {shown(name)}; the tasks are {', '.join(NAMES)}")
    if length < SHORTEST:
        raise Invalid(f"a session of {length} words is too short; the shortest has {SHORTEST}")
    if not 1 <= turns <= most_turns(name, length):
        raise Invalid(f"{turns} turns of {name!r} do not fit {length} words; at least 1 and at most {most_turns(name, length)} do")
    return GENERATORS[name](Random(f"{name} {length} {turns} {seed}"), length, turns, filler)
