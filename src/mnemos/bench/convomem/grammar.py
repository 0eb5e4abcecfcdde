"""The slot grammar: what can be said, in which words, and how a sentence is understood again.

Each kind of statement has sentences that share their words with the question, and paraphrases that do not: messages that hold the
question's words verbatim flatter a search by words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mnemos.bench.convomem import words

Key = tuple[str, ...]

PLAIN: Mapping[str, tuple[str, ...]] = {
    "fact": (
        "The {attribute} of my {room} {noun} is {value}.",
        "My {room} {noun} has this {attribute}: {value}.",
        "As to the {attribute} of my {room} {noun}, it is {value}.",
    ),
    "change": (
        "I changed the {attribute} of my {room} {noun} to {value}.",
        "From today on the {attribute} of my {room} {noun} is {value}.",
    ),
    "purchase": ("I bought {item} for the {manner} {kind}.", "For the {manner} {kind} I bought {item}."),
    "payment": ("I paid {number} dollars for {item} for the {manner} {kind}.", "For the {manner} {kind} I paid {number} dollars, for {item}."),
    "advice": ("For your {manner} {kind} I recommend {item}.", "I recommend {item} for your {manner} {kind}."),
    "budget": ("The budget of my {manner} {kind} is {number} dollars.", "I set the budget of my {manner} {kind} to {number} dollars."),
    "raise": ("I raised the budget of my {manner} {kind} by {number} dollars.",),
    "cut": ("I cut the budget of my {manner} {kind} by {number} dollars.",),
    "taste": ("I like a {domain} to be {trait}.", "A {domain} has to be {trait} for me."),
    "event": ("I {past} with {name} on {date}.", "On {date} I {past} with {name}."),
}
"""Sentences by kind of statement, in words that questions use too."""
OTHERWISE: Mapping[str, tuple[str, ...]] = {
    "purchase": ("I carried home {item} on account of the {manner} {other_kind}.",),
    "payment": ("Another {number} dollars went on {item} because of the {manner} {other_kind}.",),
    "advice": ("If the {manner} {other_kind} were mine, I would get {item}.",),
    "budget": ("There are {number} dollars set aside for my {manner} {other_kind}.",),
    "raise": ("Another {number} dollars are set aside for my {manner} {other_kind}.",),
    "cut": ("I took {number} dollars away from my {manner} {other_kind}.",),
    "change": ("Scrap what I said of the {other_noun} in my {room}, {attribute} and all: {value} now.",),
    "taste": ("Whenever I choose a {other_domain}, I want {phrase}.",),
    "event": ("It was {date} when {name} and I {other_past}.",),
}
OF_ATTRIBUTE: Mapping[str, str] = {
    "colour": "I had the {other_noun} in my {room} done all in {value}.",
    "brand": "It was {value} who made the {other_noun} in my {room}.",
    "material": "They built the {other_noun} in my {room} out of {value}.",
    "price": "I handed over {value} to have the {other_noun} in my {room}.",
    "seller": "I got the {other_noun} in my {room} from {value}.",
    "length": "From end to end the {other_noun} in my {room} measures {value}.",
    "origin": "The {other_noun} in my {room} came all the way from {value}.",
}
"""Paraphrases of facts, which name neither thing nor attribute by the question's word."""
OF_OTHERS: Mapping[str, str] = {
    "fact": "The {attribute} of the {room} {noun} of my {relative} is {value}.",
    "purchase": "My {relative} bought {item} for the {manner} {kind}.",
    "payment": "My {relative} paid {number} dollars for {item} for the {manner} {kind}.",
    "advice": "My {relative} told me to get {item} for the {manner} {kind}.",
    "budget": "My {relative} thinks that the budget of my {manner} {kind} should be {number} dollars.",
    "taste": "My {relative} likes a {domain} to be {trait}.",
    "constraint": 'My {relative} told me: "{sentence}"',
    "event": "My {relative} {past} with {name} on {date}.",
}
"""What other people own, do and want: distractors with the same words, which say nothing of the user."""

ROOM_NOUNS = {other: noun for noun, other in words.NOUNS.items()}
KIND_OF = {other: kind for kind, other in words.KINDS.items()}
DOMAIN_OF = {other: domain for domain, other in words.DOMAINS.items()}
TRAIT_OF = {phrase: trait for trait, (_, phrase) in words.TRAITS.items()}
PAST_OF = {other: past for past, _, other in words.DEEDS}
CONSTRAINTS: Mapping[str, tuple[str, str]] = {
    said: (question, demand) for question, group in words.OCCASIONS.items() for *ways, demand in group for said in ways
}
"""Sentence → the question whose answer it shapes, and what it asks of it."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a sentence says of the user: `kind` of the grammar, `key` what it is about, `value` what it says of it."""

    kind: str
    key: Key
    value: str


def say(template: str, slots: Mapping[str, str]) -> str:
    return template.format_map(slots)


def slots_of(statement: Statement) -> dict[str, str]:
    """The words that a statement's sentences need."""
    kind, key, value = statement.kind, statement.key, statement.value
    if kind in ("fact", "change"):
        attribute, room, noun = key
        return {"attribute": attribute, "room": room, "noun": noun, "other_noun": words.NOUNS[noun], "value": value}
    if kind in ("purchase", "advice", "payment", "budget", "raise", "cut"):
        manner, project = key
        slots = {"manner": manner, "kind": project, "other_kind": words.KINDS[project]}
        number, _, item = value.partition(" ")
        return slots | ({"item": value} if kind in ("purchase", "advice") else {"number": number, "item": item})
    if kind == "taste":
        return {"domain": key[0], "other_domain": words.DOMAINS[key[0]], "trait": value, "phrase": words.TRAITS[value][1]}
    past, name = key
    return {"past": past, "name": name, "date": value, "other_past": next(other for deed, _, other in words.DEEDS if deed == past)}


def sentences(statement: Statement, otherwise: bool = False) -> tuple[str, ...]:
    """All the ways in which the grammar says a statement; with `otherwise` the paraphrases."""
    if statement.kind == "constraint":
        group = words.OCCASIONS[statement.key[0]]
        said, paraphrase, _ = next(entry for entry in group if entry[2] == statement.value)
        return (paraphrase if otherwise else said,)
    slots = slots_of(statement)
    if otherwise and statement.kind == "fact":
        return (say(OF_ATTRIBUTE[statement.key[0]], slots),)
    return tuple(say(template, slots) for template in (OTHERWISE if otherwise else PLAIN)[statement.kind])


_SLOT = re.compile(r"\{(\w+)\}")
_WIDE = {"value": r".+?", "item": r".+?", "past": r".+?", "other_past": r".+?", "date": r"\d+ \w+ \d+", "phrase": r".+?", "other_domain": r".+?",
         "other_kind": r"[\w-]+", "other_noun": r"\w+"}  # fmt: skip


def _compiled(template: str) -> re.Pattern[str]:
    parts = _SLOT.split(template)
    return re.compile("".join(re.escape(part) if i % 2 == 0 else f"(?P<{part}>{_WIDE.get(part, '[^ ]+')})" for i, part in enumerate(parts)))


_PATTERNS: dict[str, list[tuple[str, re.Pattern[str], str | None]]] = {}
"""First word of a sentence → (kind, pattern, attribute that the pattern itself says)."""
for _group in (PLAIN, OTHERWISE):
    for _kind, _templates in _group.items():
        for _template in _templates:
            _PATTERNS.setdefault(_template.split()[0], []).append((_kind, _compiled(_template), None))
for _attribute, _template in OF_ATTRIBUTE.items():
    _PATTERNS.setdefault(_template.split()[0], []).append(("fact", _compiled(_template), _attribute))
_SENTENCE = re.compile(r"[^.?!]*[.?!]+\s*")


@lru_cache(maxsize=1 << 16)
def understand(text: str) -> tuple[Statement, ...]:
    """What a message says of the user, by its sentences; nothing where it speaks of others, or only talks."""
    found = (_understood(match.group().strip()) for match in _SENTENCE.finditer(text))
    return tuple(statement for statement in found if statement is not None)


def _understood(sentence: str) -> Statement | None:
    if sentence in CONSTRAINTS:
        question, demand = CONSTRAINTS[sentence]
        return Statement("constraint", (question,), demand)
    first = sentence.split(" ", 1)[0]
    for kind, pattern, attribute in _PATTERNS.get(first, ()):
        match = pattern.fullmatch(sentence)
        if match and (kind not in ("fact", "change") or attribute or match["attribute"] in words.ATTRIBUTES):
            return _statement(kind, match.groupdict(), attribute)
    return None


def _statement(kind: str, slots: Mapping[str, str], attribute: str | None) -> Statement:
    if kind in ("fact", "change"):
        noun = slots.get("noun") or ROOM_NOUNS.get(slots["other_noun"], "")
        return Statement(kind, (attribute or slots["attribute"], slots["room"], noun), slots["value"])
    if kind == "taste":
        domain = slots.get("domain") or DOMAIN_OF.get(slots["other_domain"], "")
        return Statement(kind, (domain,), slots.get("trait") or TRAIT_OF.get(slots["phrase"], ""))
    if kind == "event":
        return Statement(kind, (slots.get("past") or PAST_OF.get(slots["other_past"], ""), slots["name"]), slots["date"])
    project = slots.get("kind") or KIND_OF.get(slots["other_kind"], "")
    value = {"purchase": "{item}", "advice": "{item}", "payment": "{number} {item}"}.get(kind, "{number}").format_map(slots)
    return Statement(kind, (slots["manner"], project), value)


# -- questions --
@dataclass(frozen=True, slots=True)
class Asked:
    """A question, understood: its `shape`, and the keys it asks about, in order."""

    shape: str
    keys: tuple[Key, ...]


NO_INFORMATION = "You never told me."


def ask(shape: str, keys: Sequence[Key]) -> str:
    """The question of that shape about `keys`."""
    first = keys[0]
    if shape == "parts":
        named = [f"the {attribute} of my {room} {noun}" for attribute, room, noun in keys]
        return f"What is {named[0]}?" if len(named) == 1 else f"What are {', '.join(named[:-1])} and {named[-1]}?"
    if shape == "dates":
        events = [f"{past} with {name}" for past, name in keys]
        if len(events) == 1:
            base = {past: base for past, base, _ in words.DEEDS}[first[0]]
            return f"On which date did I {base} with {first[1]}?"
        if len(events) == 2:
            return f"How many days passed between the day I {events[0]} and the day I {events[1]}?"
        return f"In which order did I do these: {'; '.join(events)}?"
    return {
        "purchases": "What have I bought for the {0} {1}? List everything.",
        "total": "How much have I paid in total for the {0} {1}?",
        "advice": "What did you recommend for my {0} {1}?",
        "all advice": "What did you recommend for my {0} {1}? List everything.",
        "running": "What is the budget of my {0} {1} now?",
        "history": "What is the {0} of my {1} {2} now, and what was it before?",
        "tastes": "Which {0} would you recommend to me?",
        "occasion": "{0}",
    }[shape].format(*first)


_ASKED = tuple(
    (shape, re.compile(pattern))
    for shape, pattern in (
        ("purchases", r"What have I bought for the (\S+) (\S+)\? List everything\."),
        ("total", r"How much have I paid in total for the (\S+) (\S+)\?"),
        ("advice", r"What did you recommend for my (\S+) (\S+)\?(?: List everything\.)?"),
        ("running", r"What is the budget of my (\S+) (\S+) now\?"),
        ("history", r"What is the (\S+) of my (\S+) (\S+) now, and what was it before\?"),
        ("tastes", r"Which (\S+) would you recommend to me\?"),
    )
)
_PART = re.compile(r"the (\S+) of my (\S+) (\w+)")
_ON = re.compile(r"On which date did I (.+) with (\w+)\?")
_BETWEEN = re.compile(r"How many days passed between the day I (.+) with (\w+) and the day I (.+) with (\w+)\?")
_ORDER = re.compile(r"In which order did I do these: (.+)\?")


def asked(question: str) -> Asked | None:
    """What a question asks for; None where it is none of the grammar."""
    if question in words.OCCASIONS:
        return Asked("occasion", ((question,),))
    for shape, pattern in _ASKED:
        match = pattern.fullmatch(question)
        if match:
            return Asked(shape, (match.groups(),))
    if match := _ON.fullmatch(question):
        past = {base: past for past, base, _ in words.DEEDS}.get(match.group(1), "")
        return Asked("dates", ((past, match.group(2)),))
    if match := _BETWEEN.fullmatch(question):
        a, b, c, d = match.groups()
        return Asked("dates", ((a, b), (c, d)))
    if match := _ORDER.fullmatch(question):
        events = (event.rpartition(" with ") for event in match.group(1).split("; "))
        return Asked("dates", tuple((past, name) for past, _, name in events))
    parts = tuple(match.groups() for match in _PART.finditer(question))
    return Asked("parts", parts) if parts and question.startswith(("What is ", "What are ")) else None
