"""The people of the generated histories: what each one's questions are about, and the filler conversations that never bear on them.

Every persona shuffles the same vocabulary and deals it out: each question has things, projects, events, tastes or occasions of its own, and
filler speaks of the rest of the same lists. So items of one persona can share a history, and no filler alters an answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from mnemos.base.errors import Invalid
from mnemos.bench.convomem import words
from mnemos.bench.convomem.grammar import NO_INFORMATION, OF_OTHERS, PLAIN, Key, Statement, ask, say, sentences, slots_of
from mnemos.bench.convomem.reader import day_of
from mnemos.bench.convomem.schema import CATEGORIES, Conversation, EvidenceItem, Message

_T = TypeVar("_T")

PERSONAS = 200
MOST_EVIDENCE = 6
_THINGS = tuple(itertools.product(words.ROOMS, words.NOUNS))
_PROJECTS = tuple(itertools.product(words.MANNERS, words.KINDS))
_EVENTS = tuple(itertools.product((past for past, _, _ in words.DEEDS), words.NAMES))
_CONSTRAINTS = tuple(said for group in words.OCCASIONS.values() for *ways, _ in group for said in ways)
_ATTRIBUTES = tuple(words.ATTRIBUTES)
_DOMAINS = tuple(words.DOMAINS)
_OCCASIONS = tuple(words.OCCASIONS)
_DAYS = 700
_FIRST_DAY = np.datetime64("2023-01-02")
# What each category's items take of the shuffled lists; the second half of each list is the fillers'.
_THINGS_OF = {"user_facts": (0, 6), "changing_facts": (300, 1), "abstention": (400, 1)}
_PROJECTS_OF = {"user_facts": (0, 1), "assistant_facts": (100, 1), "changing_facts": (200, 1)}
_ITEMS_AT_MOST = {"user_facts": 50, "assistant_facts": 100, "changing_facts": 100, "abstention": 100, "preferences": 8,
                  "implicit_connections": len(_OCCASIONS), "temporal": 50}  # fmt: skip
_OWN_DOMAINS = _ITEMS_AT_MOST["preferences"]


@dataclass(frozen=True)
class Settings:
    """How the data is made. The same settings give the same bytes."""

    seed: int = 0
    shortest: int = 80
    """Messages of a conversation, at least; 4 or more. Default: the paper's 80 to 120."""
    longest: int = 120
    fillers: int = 300
    """Filler conversations of a persona; as many as the largest history holds."""
    otherwise: bool = False
    """Say the evidence in other words than the questions: the slice that does not flatter a search by words."""

    def __post_init__(self) -> None:
        if not 4 <= self.shortest <= self.longest or self.fillers < 0:
            raise Invalid(
                f"ConvoMem generator: need 4 <= shortest <= longest and fillers >= 0, not {self.shortest}, {self.longest}, {self.fillers}"
            )


class Persona:
    """One person's use cases; `number` of `PERSONAS`. Raises `Invalid` for another number."""

    def __init__(self, number: int, settings: Settings) -> None:
        if not 0 <= number < PERSONAS:
            raise Invalid(f"ConvoMem generator: personas are numbered 0 to {PERSONAS - 1}, not {number}")
        self.number = number
        self.settings = settings
        rng = self._rng(0)
        self._things = _shuffled(_THINGS, rng)
        self._projects = _shuffled(_PROJECTS, rng)
        self._events = _shuffled(_EVENTS, rng)
        self._domains = _shuffled(_DOMAINS, rng)
        self._occasions = _shuffled(_OCCASIONS, rng)

    @property
    def id(self) -> str:
        return f"persona-{self.number:03}"

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, self.number, *stream])

    # -- fillers --
    @cached_property
    def fillers(self) -> tuple[Conversation, ...]:
        """The filler conversations, in the order in which histories take them up."""
        return tuple(self._filler(i) for i in range(self.settings.fillers))

    def _filler(self, number: int) -> Conversation:
        rng = self._rng(1, number)
        return Conversation(tuple(self._chatter(rng, self._length(rng))), f"{self.id}/filler-{number:03}", False)

    def _length(self, rng: np.random.Generator) -> int:
        return int(rng.integers(self.settings.shortest, self.settings.longest + 1))

    def _chatter(self, rng: np.random.Generator, count: int) -> list[Message]:
        """`count` messages, user and assistant in turn, of the filler's half of the vocabulary."""
        draws = rng.integers(0, 1 << 30, size=(count, 6)).tolist()
        out = []
        for i, (a, b, c, d, e, f) in enumerate(draws):
            if i % 2:
                if a % 2:
                    manner, kind = self._projects[300 + b % 300]
                    slots = {"manner": manner, "kind": kind, "item": words.ITEMS[c % len(words.ITEMS)]}
                    text = PLAIN["advice"][d % 2].format_map(slots)
                else:
                    text = words.REPLIES[b % len(words.REPLIES)]
                out.append(Message("assistant", f"{text} {words.REPLIES[f % len(words.REPLIES)]}"))
            else:
                text = self._remark(a, b, c, d, e)
                out.append(Message("user", f"{text} {words.TALK[f % len(words.TALK)]}"))
        return out

    def _remark(self, a: int, b: int, c: int, d: int, e: int) -> str:
        """Something that the user says beside: of own things that no question asks about, or of what others own, do and want."""
        kind = a % 10
        relative = words.RELATIVES[e % len(words.RELATIVES)]
        if kind < 3:
            room, noun = self._things[600 + b % 600]
            attribute = _ATTRIBUTES[c % len(_ATTRIBUTES)]
            pool = words.ATTRIBUTES[attribute]
            slots = {"attribute": attribute, "room": room, "noun": noun, "value": pool[d % len(pool)], "relative": relative}
            return (OF_OTHERS["fact"] if kind == 2 else PLAIN["fact"][e % 3]).format_map(slots)
        if kind < 7:
            manner, project = self._projects[300 + b % 300]
            slots = {"manner": manner, "kind": project, "item": words.ITEMS[c % len(words.ITEMS)], "number": str(10 * (1 + d % 60)),
                     "relative": relative}  # fmt: skip
            templates: tuple[str, ...] = (OF_OTHERS["purchase"],)
            if kind != 6:
                templates = PLAIN[("purchase", "payment", "budget")[kind - 3]]
            return templates[e % len(templates)].format_map(slots)
        if kind < 9:
            past, name = self._events[300 + b % 300]
            slots = {"past": past, "name": name, "date": _day(c % _DAYS), "relative": relative}
            return (OF_OTHERS["event"] if kind == 8 else PLAIN["event"][e % 2]).format_map(slots)
        if b % 3 == 0:
            return OF_OTHERS["constraint"].format(relative=relative, sentence=_CONSTRAINTS[c % len(_CONSTRAINTS)])
        traits = tuple(words.TRAITS)
        slots = {"domain": _DOMAINS[c % len(_DOMAINS)], "trait": traits[d % len(traits)], "relative": relative}
        return OF_OTHERS["taste"].format_map(slots)

    # -- items --
    def item(self, category: str, evidence: int, number: int) -> EvidenceItem:
        """The persona's item `number` of a category with so many evidence messages, each in a conversation of its own.

        Changing facts have at least 2. Raises `Invalid` for what the vocabulary does not have: more than 6 pieces of evidence, or more
        items than there are things to ask about.
        """
        if category not in CATEGORIES:
            raise Invalid(f"ConvoMem generator: no category {category!r}; there are {', '.join(CATEGORIES)}")
        least = 2 if category == "changing_facts" else 1
        if not least <= evidence <= MOST_EVIDENCE or not 0 <= number < _ITEMS_AT_MOST[category]:
            raise Invalid(
                f"ConvoMem generator: {category} have {least} to {MOST_EVIDENCE} pieces of evidence and items 0 to "
                f"{_ITEMS_AT_MOST[category] - 1}, not {evidence} pieces and item {number}"
            )
        rng = self._rng(2, CATEGORIES.index(category), evidence, number)
        makers: dict[str, Callable[[np.random.Generator, int, int], _Made]] = {
            "user_facts": self._user_facts, "assistant_facts": self._assistant_facts, "changing_facts": self._changing_facts,
            "abstention": self._abstention, "preferences": self._preferences, "implicit_connections": self._implicit,
            "temporal": self._temporal,
        }  # fmt: skip
        made = makers[category](rng, evidence, number)
        name = f"{self.id}/{category}-{evidence}-{number:03}"
        said = [self._say(statement, rng) for statement in made.statements]
        beside = int(rng.integers(evidence))
        conversations = [self._holding(message, f"{name}/{i}", made.decoy if i == beside else None, rng) for i, message in enumerate(said)]
        return EvidenceItem(made.question, made.answer, tuple(said), tuple(conversations), category, name, self.id)

    def _say(self, statement: Statement, rng: np.random.Generator) -> Message:
        ways = sentences(statement, self.settings.otherwise)
        tail = words.TALK if statement.kind != "advice" else words.REPLIES
        text = f"{ways[int(rng.integers(len(ways)))]} {tail[int(rng.integers(len(tail)))]}"
        return Message("assistant" if statement.kind == "advice" else "user", text)

    def _holding(self, message: Message, name: str, decoy: str | None, rng: np.random.Generator) -> Conversation:
        """A conversation with the message, and a decoy, where such messages can stand."""
        messages = self._chatter(rng, self._length(rng))
        places = rng.permutation(np.arange(message.speaker == "assistant", len(messages), 2))
        messages[int(places[0])] = message
        if decoy is not None:
            where = int(places[1]) - (message.speaker == "assistant")  # decoys are the user's
            messages[where] = Message("user", f"{decoy} {words.TALK[int(rng.integers(len(words.TALK)))]}")
        return Conversation(tuple(messages), name, True)

    def _user_facts(self, rng: np.random.Generator, evidence: int, number: int) -> _Made:
        shape = ("parts", "purchases", "total")[int(rng.integers(3))] if evidence > 1 else "parts"
        if shape == "parts":
            start, step = _THINGS_OF["user_facts"]
            things = self._things[start + step * number : start + step * number + evidence]
            attributes = [_ATTRIBUTES[int(i)] for i in rng.integers(len(_ATTRIBUTES), size=evidence)]
            keys = [(attribute, room, noun) for attribute, (room, noun) in zip(attributes, things, strict=True)]
            told = [Statement("fact", key, _one_of(words.ATTRIBUTES[key[0]], rng)) for key in keys]
            return _Made(ask("parts", keys), "; ".join(one.value for one in told), told, _decoy(told, rng))
        project = self._project("user_facts", number)
        bought = _several(words.ITEMS, evidence, rng)
        if shape == "purchases":
            told = [Statement("purchase", project, item) for item in bought]
            return _Made(ask(shape, [project]), "; ".join(bought), told, _decoy(told, rng))
        amounts = 10 * rng.choice(np.arange(1, 60), evidence, replace=False)
        told = [Statement("payment", project, f"{amount} {item}") for amount, item in zip(amounts.tolist(), bought, strict=True)]
        return _Made(ask(shape, [project]), f"{int(amounts.sum())} dollars", told, _decoy(told, rng))

    def _assistant_facts(self, rng: np.random.Generator, evidence: int, number: int) -> _Made:
        project = self._project("assistant_facts", number)
        told = [Statement("advice", project, item) for item in _several(words.ITEMS, evidence, rng)]
        return _Made(ask("all advice" if evidence > 1 else "advice", [project]), "; ".join(one.value for one in told), told, _decoy(told, rng))

    def _changing_facts(self, rng: np.random.Generator, evidence: int, number: int) -> _Made:
        """Half of them amounts that grow and shrink, half values with all that they were before: each message is needed."""
        if rng.integers(2):
            project = self._project("changing_facts", number)
            steps = 10 * rng.choice(np.arange(1, 30), evidence - 1, replace=False)
            kinds = ["raise" if up else "cut" for up in rng.integers(2, size=evidence - 1)]
            base = int(10 * rng.integers(200, 400))
            told = [Statement("budget", project, str(base))]
            told += [Statement(kind, project, str(step)) for kind, step in zip(kinds, steps.tolist(), strict=True)]
            last = base + sum(int(one.value) if one.kind == "raise" else -int(one.value) for one in told[1:])
            return _Made(ask("running", [project]), f"{last} dollars", told, _decoy(told[:1], rng))
        room, noun = self._things[_THINGS_OF["changing_facts"][0] + number]
        attribute = _one_of(_ATTRIBUTES, rng)
        values = _several(words.ATTRIBUTES[attribute], evidence, rng)
        key = (attribute, room, noun)
        told = [Statement("change" if i else "fact", key, value) for i, value in enumerate(values)]
        answer = "; ".join([f"now {values[-1]}", *(f"before {value}" for value in values[:-1])])
        return _Made(ask("history", [key]), answer, told, _decoy(told[:1], rng))

    def _abstention(self, rng: np.random.Generator, evidence: int, number: int) -> _Made:
        """A thing of which other attributes are told. No decoy: nothing may say what is asked, not even of another's thing of that name."""
        thing = self._things[_THINGS_OF["abstention"][0] + number]
        missing, *others = _several(_ATTRIBUTES, evidence + 1, rng)
        told = [Statement("fact", (attribute, *thing), _one_of(words.ATTRIBUTES[attribute], rng)) for attribute in others]
        return _Made(ask("parts", [(missing, *thing)]), NO_INFORMATION, told)

    def _preferences(self, rng: np.random.Generator, evidence: int, number: int) -> _Made:
        domain = self._domains[number]
        traits = tuple(words.TRAITS)
        wanted = [traits[2 * int(pair) + int(rng.integers(2))] for pair in rng.permutation(len(traits) // 2)[:evidence]]
        told = [Statement("taste", (domain,), trait) for trait in wanted]
        return _Made(ask("tastes", [(domain,)]), rubric(wanted), told, _decoy(told, rng))

    def _implicit(self, rng: np.random.Generator, evidence: int, number: int) -> _Made:
        question = self._occasions[number]
        group = words.OCCASIONS[question]
        told = [Statement("constraint", (question,), group[int(i)][2]) for i in rng.permutation(len(group))[:evidence]]
        return _Made(question, rubric([one.value for one in told]), told)

    def _temporal(self, rng: np.random.Generator, evidence: int, number: int) -> _Made:
        keys = self._events[MOST_EVIDENCE * number : MOST_EVIDENCE * number + evidence]
        days = rng.choice(_DAYS, evidence, replace=False).tolist()
        told = [Statement("event", key, _day(day)) for key, day in zip(keys, days, strict=True)]
        told.sort(key=lambda one: day_of(one.value))
        names = [f"{past} with {name}" for past, name in (one.key for one in told)]
        answers = {1: told[0].value, 2: f"{max(days) - min(days)} days"}
        return _Made(ask("dates", keys), answers.get(evidence, "; ".join(names)), told, _decoy(told, rng))

    def _project(self, category: str, number: int) -> Key:
        return self._projects[_PROJECTS_OF[category][0] + number]


def rubric(criteria: Sequence[str]) -> str:
    """An answer's criteria, as the data holds them: the answer has to say each."""
    return "The answer names: " + "; ".join(criteria)


@dataclass(frozen=True)
class _Made:
    question: str
    answer: str
    statements: Sequence[Statement]
    """What the evidence says, in order of time."""
    decoy: str | None = None
    """What somebody else owns, does or wants, in the words of the evidence; one of its conversations holds it, too."""


def _decoy(statements: Sequence[Statement], rng: np.random.Generator) -> str:
    """The decoy beside some of the statements, which are of one kind."""
    statement = statements[int(rng.integers(len(statements)))]
    slots = slots_of(statement)
    if statement.kind == "event":
        slots["date"] = _day(int(rng.integers(_DAYS)))
    elif statement.kind == "fact":
        slots["value"] = _one_of(words.ATTRIBUTES[statement.key[0]], rng)
    elif statement.kind == "taste":
        slots["trait"] = words.TRAITS[statement.value][0]
    else:
        slots |= {"item": _one_of(words.ITEMS, rng), "number": str(10 * int(rng.integers(1, 60)))}
    return say(OF_OTHERS[statement.kind], slots | {"relative": _one_of(words.RELATIVES, rng)})


def _shuffled(values: Sequence[_T], rng: np.random.Generator) -> tuple[_T, ...]:
    return tuple(values[int(i)] for i in rng.permutation(len(values)))


def _one_of(values: Sequence[str], rng: np.random.Generator) -> str:
    return values[int(rng.integers(len(values)))]


def _several(values: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    return [values[int(i)] for i in rng.choice(len(values), count, replace=False)]


_DAY_NAMES = tuple(
    f"{int(str(day)[8:])} {words.MONTHS[int(str(day)[5:7]) - 1]} {str(day)[:4]}" for day in _FIRST_DAY + np.arange(_DAYS)
)


def _day(number: int) -> str:
    return _DAY_NAMES[number]
