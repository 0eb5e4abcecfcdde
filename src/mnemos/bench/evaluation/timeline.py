"""Histories with a planted truth, in the manner of ConvoMem: people, facts that are said, changed, contradicted and never said, amid chatter.

Every sentence is made from patterns, so that a reader without a language model can find what a text states, and what it states is known.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from mnemos.bench.evaluation.items import History, Item, Message

_NAMED = (
    "Nora Tomas Ingrid Rafael Yusuf Mei Carla Anders Leila Marco Priya Oskar Hana Diego Sofia Emil Amara Viktor Chloe Jonas Farah Luca Astrid "
    "Kenji Noemi Pavel Zainab Hugo Irina Mateo Freya Samir Lotte Bruno Aiko Stefan Dalia Erik Rosa Timur"
)
NAMES = tuple(_NAMED.split())


@dataclass(frozen=True)
class Relation:
    """Something that can be known of a person: how it is said, changed and asked, and which values it can have."""

    name: str
    said: tuple[str, ...]
    changed: tuple[str, ...]
    asked: tuple[str, ...]
    values: tuple[str, ...]


def _relation(name: str, said: Sequence[str], changed: Sequence[str], asked: Sequence[str], values: str) -> Relation:
    return Relation(name, tuple(said), tuple(changed), tuple(asked), tuple(part.strip() for part in values.split(",")))


RELATIONS = (
    _relation(
        "home",
        ("{p} lives in {v}.", "{p} has a flat in {v}."),
        ("{p} has moved to {v}.", "As of this month {p} lives in {v}."),
        ("Where does {p} live now?", "Which city is {p} living in?", "In what town is {p}'s home?"),
        "Lisbon, Porto, Ghent, Turin, Malmo, Krakow, Bergen, Toledo, Graz, Nantes, Leipzig, Aarhus, Split, Bilbao, Utrecht, Tartu",
    ),
    _relation(
        "work",
        ("{p} works as a {v}.", "{p} earns a living as a {v}."),
        ("{p} has a new job as a {v}.", "{p} now works as a {v}."),
        ("What does {p} do for a living?", "Which job does {p} have?", "What is {p}'s profession?"),
        "carpenter, translator, nurse, surveyor, baker, librarian, welder, botanist, notary, glazier, midwife, tuner, courier, archivist",
    ),
    _relation(
        "pet",
        ("{p} has a pet {v}.", "At home {p} keeps a {v}."),
        ("{p} gave the old pet away and now keeps a {v}.", "{p} has a {v} as a new pet."),
        ("What kind of pet does {p} have?", "Which animal does {p} keep?", "What animal lives with {p}?"),
        "parrot, tortoise, ferret, beagle, siamese, gecko, rabbit, hamster, canary, poodle, hedgehog, cockatoo",
    ),
    _relation(
        "drink",
        ("{p} always orders {v}.", "{p}'s favourite drink is {v}."),
        ("{p} has switched to {v}.", "These days {p}'s favourite drink is {v}."),
        ("What does {p} like to drink?", "Which drink does {p} order?", "What is {p}'s favourite drink?"),
        "espresso, oolong, kombucha, cider, lemonade, cocoa, rooibos, kefir, matcha, horchata, chai, tonic",
    ),
    _relation(
        "instrument",
        ("{p} plays the {v}.", "{p} practises the {v} every evening."),
        ("{p} took up the {v} instead.", "{p} sold the old instrument and plays the {v} now."),
        ("Which instrument does {p} play?", "What does {p} play?", "What instrument is {p} practising?"),
        "cello, oboe, harp, banjo, accordion, clarinet, viola, mandolin, bassoon, zither, ukulele, trombone",
    ),
    _relation(
        "allergy",
        ("{p} is allergic to {v}.", "{p} cannot eat {v}."),
        ("The doctor says {p}'s allergy is to {v}.", "{p}'s new test shows an allergy to {v}."),
        ("What is {p} allergic to?", "Which food must {p} avoid?", "What allergy does {p} have?"),
        "walnuts, shellfish, celery, lupins, mustard, sesame, almonds, soy, mango, buckwheat, kiwi, lentils",
    ),
)

CHATTER = (
    "The weather was dull all week.",
    "I slept badly and had two meetings before noon.",
    "Somebody should fix the lift one of these days.",
    "We watched an old film and fell asleep halfway.",
    "The bus was late again, as always on Mondays.",
    "I am thinking of painting the kitchen green.",
    "{p} sends greetings, by the way.",
    "I ran into {p} at the market, but we only waved.",
    "{p} laughed a lot about the story with the ladder.",
    "I read that {v} is quite fashionable this year.",
    "There was a long article about {v} in the paper.",
    "My neighbour would not stop talking about {v}.",
)

FIRST_DAY = datetime(2024, 1, 8, 9)


@dataclass(frozen=True)
class Shape:
    """How a timeline is made. Shares are of the facts: `updated` change once, `contradicted` are said with two values on one day by different
    speakers (the user's own counts), `unknown` are asked but never said. `chatter` messages stand beside each fact."""

    sessions: int = 20
    facts: int = 60
    updated: float = 0.3
    contradicted: float = 0.1
    unknown: float = 0.15
    chatter: float = 3.0


def make_history(name: str, rng: np.random.Generator, shape: Shape | None = None) -> History:
    """One history of `shape`, with a question for every fact and for every fact that is missing."""
    shape = shape or Shape()
    pairs = [(person, relation) for person in NAMES for relation in RELATIONS]
    chosen = [pairs[i] for i in rng.permutation(len(pairs))[: shape.facts]]
    said: list[tuple[int, str, str]] = []  # session, author, text
    plans = []
    for number, (person, relation) in enumerate(chosen):
        old, new = (relation.values[i] for i in rng.choice(len(relation.values), 2, replace=False))
        draw = rng.random()
        session = int(rng.integers(shape.sessions))
        kind = "unknown" if draw < shape.unknown else "single"
        if shape.unknown <= draw < shape.unknown + shape.updated and shape.sessions > 1:
            kind, session = "updated", int(rng.integers(shape.sessions - 1))
        elif shape.unknown + shape.updated <= draw < shape.unknown + shape.updated + shape.contradicted:
            kind = "contradicted"
        plans.append((number, person, relation, old, new, session, kind))
    where: dict[int, dict[str, int]] = {}
    for number, person, relation, old, new, session, kind in plans:
        where[number] = {}
        if kind == "unknown":
            continue
        where[number]["old"] = len(said)
        said.append((session, "user", _fill(rng, relation.said, person, old)))
        if kind == "updated":
            where[number]["new"] = len(said)
            said.append((int(rng.integers(session + 1, shape.sessions)), "user", _fill(rng, relation.changed, person, new)))
        elif kind == "contradicted":
            where[number]["rumour"] = len(said)
            said.append((session, "assistant", _fill(rng, relation.said, person, new)))
    for _ in range(round(shape.chatter * len(said))):
        person, relation = pairs[int(rng.integers(len(pairs)))]
        value = relation.values[int(rng.integers(len(relation.values)))]
        said.append((int(rng.integers(shape.sessions)), "user", _fill(rng, CHATTER, person, value)))
    order = sorted(range(len(said)), key=lambda i: (said[i][0], rng.random()))
    rank = {i: place for place, i in enumerate(order)}
    messages = tuple(_message(place, *said[i]) for place, i in enumerate(order))
    items, events = [], dict[int, tuple[str, ...]]()
    for number, person, relation, old, new, _, kind in plans:
        asked = [pattern.format(p=person) for pattern in relation.asked]
        places = {what: rank[i] for what, i in where[number].items()}
        truth, proof = (new, places["new"]) if kind == "updated" else (old, places["old"]) if kind != "unknown" else (None, None)
        items.append(_item(f"{name}/{number}", name, asked, truth, kind, proof, places, old, messages, shape.sessions))
        for what, place in places.items():
            session = messages[place].session
            events[session] = (*events.get(session, ()), f"{person}|{relation.name}|{old if what == 'old' else new}")
    return History(name, messages, tuple(items), events)


def _item(
    id: str, history: str, asked: list[str], truth: str | None, kind: str, proof: int | None, places: dict[str, int], old: str,
    messages: tuple[Message, ...], sessions: int,
) -> Item:  # fmt: skip
    if proof is None:
        return Item(id, history, asked[0], None, kind, paraphrases=tuple(asked[1:]))
    updated = kind == "updated"
    return Item(
        id,
        history,
        asked[0],
        truth,
        kind,
        evidence=(messages[proof].source,),
        superseded=(old,) if updated else (),
        stale=(messages[places["old"]].source,) if updated else (),
        position=proof / max(1, len(messages) - 1),
        elapsed=float(sessions - 1 - messages[proof].session),
        paraphrases=tuple(asked[1:]),
    )


def _fill(rng: np.random.Generator, patterns: Sequence[str], person: str, value: str) -> str:
    return patterns[int(rng.integers(len(patterns)))].format(p=person, v=value)


def _message(place: int, session: int, author: str, text: str) -> Message:
    at = FIRST_DAY + timedelta(days=7 * session, seconds=place)
    return Message(f"s{session}:{place}", session, author, text, f"{at.isoformat()}+00:00")


@dataclass(frozen=True)
class Statement:
    """What a sentence states: `value` of `relation` of `person`."""

    person: str
    relation: str
    value: str


def _pattern(text: str) -> re.Pattern[str]:
    parts = re.split(r"(\{p\}|\{v\})", text)
    body = "".join({"{p}": r"(?P<p>[A-Z]\w+)", "{v}": r"(?P<v>\w+)"}.get(part, re.escape(part)) for part in parts)
    return re.compile(rf"^{body}$")


_SAID = [(relation.name, _pattern(text)) for relation in RELATIONS for text in (*relation.said, *relation.changed)]
_ASKED = [(relation.name, _pattern(text)) for relation in RELATIONS for text in relation.asked]


@functools.lru_cache(maxsize=65536)
def statement(text: str) -> Statement | None:
    """What a message states, None for chatter."""
    found = ((name, pattern.match(text.strip())) for name, pattern in _SAID)
    return next((Statement(match["p"], name, match["v"]) for name, match in found if match), None)


def asked_about(question: str) -> tuple[str, str] | None:
    """The person and the relation that a question is about; None where it is of no known form."""
    found = ((name, pattern.match(question.strip())) for name, pattern in _ASKED)
    return next(((match["p"], name) for name, match in found if match), None)
