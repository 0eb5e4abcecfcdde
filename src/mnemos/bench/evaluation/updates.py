"""Updates of memory whose right path is known: what the rule of thirds is measured on, 300 of them, a third for each path.

The label is what an update was made to be; the router sees its records only. Some are made to mislead: stable facts with a word of time in a
name, volatile ones without any, documents that say "now" here and there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnemos.kernel.changes.routing import Path

_PLACES = ("Ravenna", "Tromso", "Cordoba", "Szeged", "Galway", "Trento", "Kaunas", "Evora", "Maribor", "Arles", "Ystad", "Plovdiv")
_PEOPLE = ("Ada Moreau", "Ilse Brandt", "Tariq Aziz", "Mina Okafor", "Pedro Alves", "Sunniva Dahl", "Kofi Mensah", "Rhea Kapoor", "Leo Marchetti")
_THINGS = ("copper", "basalt", "linen", "amber", "granite", "beeswax", "cedar", "quartz", "graphite", "cork", "obsidian", "felt")
_FIRMS = ("Halden Shipping", "Orbis Optics", "Tessera Foods", "Corvid Rail", "Marlow Instruments", "Quill and Sons", "Delta Looms")

_VOLATILE = (
    "As of Monday the mayor of {place} is {person}.",
    "{person} is currently the acting director of {firm}.",
    "The share price of {firm} is {n} crowns.",
    "Until further notice the bridge at {place} is closed.",
    "{person} has just moved to {place}.",
    "This week the ferry from {place} leaves at {h} o'clock.",
    "The latest version of the {firm} catalogue lists {n} lamps.",
    "The opening hours of the {place} archive are nine to {h}.",
    "{firm} has been renamed {firm} International.",
    "The forecast for {place} is {n} millimetres of rain.",
    "{person} no longer works for {firm}.",
    "The interim chair of {firm} is {person}.",
)
_ENDING = ("The museum pass of {place} costs {n} crowns.", "{person} is on duty at {firm}.", "Room {n} of the {place} school is free.")
_DISPUTED = (
    "{firm} reportedly owns the quarry at {place}.",
    "According to some, {person} designed the tower of {place}.",
    "{person} denies that the well at {place} was {n} metres deep.",
    "It is disputed whether {place} was founded by {person}.",
    "An unconfirmed report says that {firm} sold {n} ships.",
)
_STABLE = (
    "The density of {thing} sample {n} is {m} grams per litre.",
    "{person} was born in {place} in 19{y}.",
    "The cathedral of {place} was completed in 17{y}.",
    "{firm} was founded by {person} in 18{y}.",
    "The river at {place} is {n} kilometres long.",
    "The inventor of the {thing} press is {person}.",
    "{place} lies {n} metres above the sea.",
    "The treaty of {place} was signed in 16{y}.",
)
_MISLEADING = ("The novel Tomorrow at {place} was written by {person}.", "The film The Latest Guest was shot in {place} in 19{y}.")
_LESSONS = (
    "{thing} is worked with a narrow blade held low.",
    "Before carving, {thing} is soaked overnight and dried in the shade.",
    "A joint of {thing} holds when the grain of both parts runs the same way.",
    "Oil closes the pores of {thing} and darkens it.",
    "Cracks in {thing} are filled with resin and sanded when it is hard.",
    "Masters of {place} measure {thing} by the span of a hand.",
    "The tools for {thing} are kept apart from those for {other}.",
)


@dataclass(frozen=True)
class Update:
    """Records as `Space.add` takes them, what is known before them, and the path that they were made for, with what makes them so."""

    records: Sequence[Mapping[str, Any]]
    known: Sequence[Mapping[str, Any]]
    path: Path
    kind: str


def labelled_updates(rng: np.random.Generator, each: int = 100) -> list[Update]:
    """`each` updates for each of the three paths, in random order."""
    updates = [_external(rng, number) for number in range(each)]
    updates += [_edit(rng, number) for number in range(each)]
    updates += [_broad(rng) for _ in range(each)]
    return [updates[i] for i in rng.permutation(len(updates))]


def _external(rng: np.random.Generator, number: int) -> Update:
    kind = ("wording", "wording", "ends", "disputed", "contradicts", "itself", "middling", "unclear", "wording", "unscoped")[number % 10]
    some = int(rng.integers(1, 4))
    if kind == "wording":
        return Update([_record(rng, _VOLATILE) for _ in range(some)], [], Path.EXTERNAL, kind)
    if kind == "ends":
        ending = [{**_record(rng, _ENDING), "valid_to": f"2024-0{int(rng.integers(1, 10))}-01"} for _ in range(some)]
        return Update(ending, [], Path.EXTERNAL, kind)
    if kind == "disputed":
        return Update([_record(rng, _DISPUTED) for _ in range(some)], [], Path.EXTERNAL, kind)
    if kind in ("contradicts", "itself"):
        river = f"The river at {_one(rng, _PLACES)} is"
        low = int(rng.integers(10, 90))
        both = [{"text": f"{river} {value} kilometres long.", "entities": [river]} for value in (low, low + 7)]
        return Update(both[1:], both[:1], Path.EXTERNAL, kind) if kind == "contradicts" else Update(both, [], Path.EXTERNAL, kind)
    if kind == "middling":  # neither few facts nor a domain
        many = " ".join(_fill(rng, _LESSONS) for _ in range(int(rng.integers(60, 200))))
        return Update([{"text": many, "entities": ["workshop"]}], [], Path.EXTERNAL, kind)
    if kind == "unclear":
        return Update([{"text": f"It was completed in 17{int(rng.integers(10, 99))}.", "entities": ["building"]}], [], Path.EXTERNAL, kind)
    return Update([{"text": _fill(rng, _STABLE)} for _ in range(some)], [], Path.EXTERNAL, kind)


def _edit(rng: np.random.Generator, number: int) -> Update:
    patterns = _MISLEADING if number % 50 == 0 else _STABLE
    texts = dict.fromkeys(_fill(rng, patterns) for _ in range(int(rng.integers(1, 6))))
    facts: dict[str, str] = {}
    for text in texts:  # two values of one thing would be a dispute
        facts.setdefault(text.split(" is ")[0].split(" was ")[0], text)
    return Update([{"text": text, "entities": [key]} for key, text in facts.items()], [], Path.EDIT, "stable")


def _broad(rng: np.random.Generator) -> Update:
    documents = int(rng.integers(60, 120)) if rng.random() < 0.7 else 12
    length = 12 if documents > 12 else 250
    lessons = [_fill(rng, _LESSONS) for _ in range(100)]
    texts = [" ".join(lessons[i] for i in rng.integers(0, len(lessons), length)) for _ in range(documents)]
    texts = [f"{text} Now the piece is ready." if rng.random() < 0.3 else text for text in texts]
    return Update([{"text": text} for text in texts], [], Path.ADAPTER, "domain")


def _record(rng: np.random.Generator, patterns: Sequence[str]) -> dict[str, Any]:
    text = _fill(rng, patterns)
    return {"text": text, "entities": [text.split()[0]]}


def _fill(rng: np.random.Generator, patterns: Sequence[str]) -> str:
    return _one(rng, patterns).format(
        place=_one(rng, _PLACES),
        person=_one(rng, _PEOPLE),
        thing=_one(rng, _THINGS),
        other=_one(rng, _THINGS),
        firm=_one(rng, _FIRMS),
        n=int(rng.integers(2, 400)),
        m=int(rng.integers(500, 9000)),
        h=int(rng.integers(2, 12)),
        y=int(rng.integers(10, 99)),
    )


def _one(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]
