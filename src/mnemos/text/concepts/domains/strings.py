"""Texts as a domain, small, to show that nothing of concepts is particular to grids: lines and words are taken apart, changed, and put together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

from mnemos.text.concepts.concept import Problem
from mnemos.text.concepts.domain import Domain
from mnemos.text.concepts.terms import Failed, Routine
from mnemos.text.concepts.types import Type, function, parse_type

TEXT, INT, TEXTS = Type("Text"), Type("Int"), parse_type("list[Text]")
MAP = function([TEXT], TEXT)
LONGEST = 2_000


def check(value: Any) -> None:
    """Raise `Failed` for a text or list that is too long."""
    if isinstance(value, (str, list)) and len(value) > LONGEST:
        raise Failed("too long")


def _at(texts: list[str], place: int) -> str:
    if not -len(texts) <= place < len(texts):
        raise Failed("no such place")
    return texts[place]


def _split(text: str, mark: str) -> list[str]:
    if not mark or mark not in text:
        raise Failed("the mark is not there")
    return text.split(mark)


def _joined(texts: list[str], mark: str) -> str:
    return mark.join(texts)


def _initial(text: str) -> str:
    if not text:
        raise Failed("empty")
    return text[0]


def _only(wanted: Callable[[str], bool]) -> Callable[[str], str]:
    return lambda text: "".join(one for one in text if wanted(one))


def _mapped(texts: list[str], change: Callable[[str], str]) -> list[str]:
    return [change(one) for one in texts]


def _routine(name: str, run: Callable[..., Any], parameters: Sequence[tuple[str, Type]], result: Type, about: str) -> Routine:
    return Routine(name, tuple(parameters), result, run, about=about)


PRIMITIVES = (
    _routine("upper", str.upper, [("text", TEXT)], TEXT, "in capitals"),
    _routine("lower", str.lower, [("text", TEXT)], TEXT, "in small letters"),
    _routine("capital", str.capitalize, [("text", TEXT)], TEXT, "the first letter a capital, the rest small"),
    _routine("strip", str.strip, [("text", TEXT)], TEXT, "without blanks at the ends"),
    _routine("backwards", lambda text: text[::-1], [("text", TEXT)], TEXT, "from the end to the beginning"),
    _routine("initial", _initial, [("text", TEXT)], TEXT, "the first character"),
    _routine("digits", _only(str.isdigit), [("text", TEXT)], TEXT, "the digits alone"),
    _routine("letters", _only(str.isalpha), [("text", TEXT)], TEXT, "the letters alone"),
    _routine("split", _split, [("text", TEXT), ("mark", Type("Mark"))], TEXTS, "the parts between marks"),
    _routine("joined", _joined, [("texts", TEXTS), ("mark", Type("Mark"))], TEXT, "parts put together with a mark between them"),
    _routine("at", _at, [("texts", TEXTS), ("place", INT)], TEXT, "the part at a place, from 0, or from -1 at the end"),
    _routine("mapped", _mapped, [("texts", TEXTS), ("change", MAP)], TEXTS, "every part changed"),
    _routine("sorted", lambda texts: sorted(texts), [("texts", TEXTS)], TEXTS, "in order of the alphabet"),
    _routine("reversed", lambda texts: texts[::-1], [("texts", TEXTS)], TEXTS, "the last part first"),
    _routine("together", lambda text, other: text + other, [("text", TEXT), ("other", TEXT)], TEXT, "one behind the other"),
)


def constants(problem: Problem) -> dict[str, Sequence[Any]]:
    """Marks that stand in the pairs, and places."""
    seen = {one for pair in problem.train for text in (pair.input, pair.output) for one in text if not one.isalnum()}
    return {"Mark": ["", *sorted(seen)], "Int": (0, 1, -1)}


def features(problem: Problem) -> frozenset[str]:
    """What is true of every pair."""
    sets = [frozenset(_seen(pair.input, pair.output)) for pair in problem.train]
    return frozenset.intersection(*sets) if sets else frozenset()


def _seen(given: str, made: str) -> Iterator[str]:
    if len(given) == len(made):
        yield "same length"
    if len(made) < len(given):
        yield "output is shorter"
    if len(made) > len(given):
        yield "output is longer"
    if made in given:
        yield "output stands in the input"
    if sorted(given) == sorted(made):
        yield "same characters"
    if given.casefold() == made.casefold():
        yield "only capitals change"
    if made.isupper():
        yield "output is in capitals"
    if made.islower():
        yield "output is in small letters"
    if made.isdigit():
        yield "output is digits"
    for mark in " ,-/.:;_":
        if mark in given:
            yield f"input has {mark!r}"
        if mark in made:
            yield f"output has {mark!r}"


def _key(value: Any) -> Hashable:
    return tuple(value) if isinstance(value, list) else value


def string_domain() -> Domain:
    """The domain of texts."""
    return Domain("texts", TEXT, TEXT, PRIMITIVES, constants, features, _key, check)
