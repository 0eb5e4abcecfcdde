"""Ten days of talk with fifteen users: what an exact reader finds in a context of thoughts, of turns, and with no memory, at equal tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

import mnemos
from mnemos.base.stats import bootstrap_difference
from mnemos.bench.embedding import CountingEmbedder
from mnemos.bench.registry import Options
from mnemos.bench.result import Check
from mnemos.kernel.space import Space
from mnemos.text.tokens import count_tokens

USERS, QUICK, DAYS = 15, 4, 10
BUDGET = 100
"""Tokens of a context: about three turns."""
OVER_NOTHING, OVER_TURNS = 0.15, 0.05
START = datetime(2024, 3, 4, 9, tzinfo=UTC)
ARMS = ("no memory", "turns", "thoughts")
NOTE = (
    f"Persona dialogues: over {DAYS} days a user tells ten facts about herself within small talk, every third one a second time with another "
    f"value. A context has at most {BUDGET} tokens: turns as the foundation ranks them, or thoughts as this strategy does. The reader takes the "
    "first of the values of the attribute that the context names; with no memory it guesses one."
)


@dataclass(frozen=True, slots=True)
class Attribute:
    """Something that is told of oneself."""

    says: str
    asks: str
    values: tuple[str, ...]


ATTRIBUTES = (
    Attribute("I live in {v}.", "Where do I live?", ("Lisbon", "Oslo", "Quito", "Perth", "Turin", "Hanoi")),
    Attribute("I work as a {v}.", "What is my job?", ("nurse", "baker", "pilot", "weaver", "printer", "diver")),
    Attribute("My sister works at {v}.", "Where does my sister work?", ("Bosch", "Ikea", "Airbus", "Spotify", "Nestle", "Zara")),
    Attribute("My dog is called {v}.", "What is my dog called?", ("Rufus", "Biscuit", "Waldo", "Pepper", "Otis", "Nori")),
    Attribute("My commute takes {v} minutes.", "How long is my commute?", ("15", "20", "35", "40", "55", "70")),
    Attribute("I drive a {v}.", "Which car do I drive?", ("Skoda", "Volvo", "Fiat", "Honda", "Mazda", "Seat")),
    Attribute("My dentist appointment is on {v}.", "When is my dentist appointment?", ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")),
    Attribute("I wake up at {v}.", "At what time do I wake up?", ("5:30", "6:15", "6:45", "7:10", "7:50", "8:20")),
    Attribute("I am learning {v}.", "Which language am I learning?", ("Polish", "Greek", "Hindi", "Korean", "Welsh", "Swahili")),
    Attribute("My favorite tea is {v}.", "What is my favorite tea?", ("oolong", "rooibos", "sencha", "chamomile", "assam", "peppermint")),
)
BEFORE = (
    "What a day, I am glad to sit down at last after all those meetings and the endless rain.",
    "Sorry for the late reply, the whole house was upside down.",
    "I have been thinking about what you said yesterday, and I agree with most of it.",
    "The neighbours were loud again, and I could not sleep at all.",
)  # fmt: skip
AFTER = (
    "Anyway, enough of me, tell me something funny before I fall asleep on the sofa.", "Do you think that it will ever stop raining this week?",
    "I should really cook something now, but the fridge is nearly empty again.", "It feels good to write this down, even if nobody needs to know it.",
)  # fmt: skip
REPLIES = ("That sounds exhausting, I hope that you can rest a little now.", "Thank you for telling me!", "I see. How did that make you feel?")
CHAT = (
    "The garden looks nice today.",
    "I read for an hour.",
    "There was a street musician at the station who played the cello very well.",
    "I am so tired.",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and the value that holds after the ten days."""

    attribute: Attribute
    value: str


def dialogue(rng: np.random.Generator) -> tuple[list[tuple[int, str, str]], list[Asked]]:
    """(day, author, text) of the turns of one user's days, and what can be asked after them."""
    turns: list[tuple[int, str, str]] = []
    asked = []
    for number, at in enumerate(rng.permutation(len(ATTRIBUTES)).tolist()):
        attribute = ATTRIBUTES[at]
        old, new = (attribute.values[i] for i in rng.choice(len(attribute.values), 2, replace=False))
        changes = number % 3 == 0
        days = sorted(rng.choice(DAYS, 2, replace=False).tolist())
        for day, value in zip(days, (old, new), strict=True) if changes else [(days[0], new)]:
            text = f"{rng.choice(BEFORE)} {attribute.says.format(v=value)} {rng.choice(AFTER)}"
            turns += [(day, "user", text), (day, "assistant", str(rng.choice(REPLIES)))]
        asked.append(Asked(attribute, new))
    turns += [(day, "user", str(rng.choice(CHAT))) for day in range(DAYS)]
    return sorted(turns, key=lambda turn: turn[0]), asked


def measure(options: Options, embedder: CountingEmbedder, folder: Path) -> tuple[list[Check], dict[str, Any]]:
    """Correct answers with each kind of memory."""
    rng = options.rng()
    right: dict[str, list[float]] = {arm: [] for arm in ARMS}
    tokens: dict[str, list[int]] = {arm: [] for arm in ARMS}
    clusters: list[str] = []
    with mnemos.open(str(folder / "people.db"), embedder=embedder) as memory:
        for number in range(QUICK if options.quick else USERS):
            options.say(f"user {number + 1}")
            turns, asked = dialogue(rng)
            spaces = {arm: memory.space(f"{number} {arm}", strategy=strategy) for arm, strategy in (("turns", "plain"), ("thoughts", "thoughts"))}
            records = []
            for at, (day, author, text) in enumerate(turns):
                moment = START + timedelta(days=day, minutes=at)
                records.append({"text": text, "author": author, "type": "turn", "event_at": moment, "metadata": {"session": day}})
            for space in spaces.values():
                space.add_many(records)
                space.consolidate()
            for one in asked:
                contexts = {
                    "no memory": "", "turns": _context(spaces["turns"], one.attribute.asks, "turn"),
                    "thoughts": _context(spaces["thoughts"], one.attribute.asks, "thought"),
                }  # fmt: skip
                clusters.append(str(number))
                for arm, context in contexts.items():
                    right[arm].append(float(_read(context, one.attribute, rng) == one.value))
                    tokens[arm].append(count_tokens(context))
    rows = {arm: {"n": len(right[arm]), "correct": float(np.mean(right[arm])), "tokens": float(np.mean(tokens[arm]))} for arm in ARMS}
    checks = [
        Check.of(f"correct answers, thoughts − {arm}", bootstrap_difference(right["thoughts"], right[arm], clusters, options.rng()), bound,
                 baseline=rows[arm]["correct"])
        for arm, bound in (("no memory", OVER_NOTHING), ("turns", OVER_TURNS))
    ]  # fmt: skip
    return checks, {"Persona dialogues": rows}


def _context(space: Space, question: str, type: str) -> str:
    """What a search gives of one type, best first, as long as it fits."""
    out: list[str] = []
    left = BUDGET
    for hit in space.search(question, k=20, types=[type]):
        size = count_tokens(hit.cube.text or "")
        if size > left:
            break
        out.append(hit.cube.text or "")
        left -= size
    return "\n".join(out)


def _read(context: str, attribute: Attribute, rng: np.random.Generator) -> str:
    """The value that is named first; one at random where none is."""
    places = {value: context.find(value) for value in attribute.values if value in context}
    return min(places, key=lambda value: places[value]) if places else str(rng.choice(attribute.values))
