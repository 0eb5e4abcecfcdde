"""Generated memories for the checks of A-MEM: facts that hang together by a made-up name, and facts whose sense comes later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnemos.index.terms import STOP_WORDS, term, words

_SYLLABLES = ("ba", "de", "fi", "go", "ku", "la", "mi", "no", "pe", "ra", "so", "tu", "va", "wo", "xi", "yu", "ze", "cho", "shi", "gle")
_ENDS = ("n", "r", "s", "l", "m", "k", "t", "d")
_FIRST: Sequence[tuple[str, str]] = (
    ("{a} works for {b}.", "For whom does {a} work, and where is that?"),
    ("{a} signed a lease with {b} last spring.", "Who signed the lease of {a}, and what else do they own?"),
    ("{a} studied under {b} for six years.", "Under whom did {a} study, and how did that end?"),
    ("The surgeon who treated {a} was {b}.", "Which surgeon treated {a}, and what is behind that?"),
    ("{a} bought the violin from {b}.", "From whom did {a} buy the violin, and what came of it?"),
)
"""Of a pair's first fact, and the question that begins at it and wants the second."""
_SECOND = (
    "{b} keeps bees on the roof of the town hall.", "{b} moved to the island of {c}.", "{b} was fined for smuggling saffron in {c}.",
    "{b} belongs to the choir of {c}.", "{b} restores old clocks near {c}.",
)  # fmt: skip
_SINGLE = (
    ("{a} collects stamps from {c}.", "From where does {a} collect stamps?"),
    ("{a} plays the cello in {c}.", "Where does {a} play the cello?"),
    ("{a} has a cousin named {c}.", "Who is the cousin of {a}?"),
    ("{a} drives a truck to {c} every week.", "Where does {a} drive the truck?"),
    ("{a} paints boats in {c}.", "Where does {a} paint boats?"),
)
_ABSENT = (
    "Which disease does {a} have?", "What does {a} earn in a year?", "Which language did {a} learn at school?", "Whom did {a} marry?",
    "What is the name of the dog of {a}?",
)  # fmt: skip
_EARLY = (
    "{b} rang at noon and would not say why.", "The parcel for {b} is still in the cellar.", "We met {b} near the mill.",
    "{b} left a blue umbrella here.", "Somebody asked for {b} twice today.", "The invoice of {b} is overdue.", "{b} cannot come on Friday.",
    "I promised {b} two jars of honey.",
)  # fmt: skip
_ROLES = (
    "harbour master", "notary", "beekeeper", "organ builder", "glacier guide", "court interpreter", "locksmith", "midwife", "cartographer",
    "falconer", "chimney sweep", "lighthouse keeper", "violin maker", "tax inspector", "river pilot",
    "bookbinder", "stone mason", "cheese maker", "bell founder",
    "astronomer",
)  # fmt: skip
_DISTRICTS = ("northern", "southern", "eastern", "western", "upper", "lower")


@dataclass(frozen=True)
class Asked:
    """A question, and the sources of the memories that it rests on; none where nothing answers it."""

    text: str
    evidence: frozenset[str]


@dataclass(frozen=True)
class World:
    records: list[dict[str, Any]]
    asked: dict[str, list[Asked]]
    """By kind of question."""


def names(rng: np.random.Generator, count: int) -> list[str]:
    """Made-up names, all different."""
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(rng.choice(_SYLLABLES, int(rng.integers(2, 4)))).capitalize() + str(rng.choice(_ENDS))] = None
    return list(found)


def linked_world(rng: np.random.Generator, *, notes: int = 2000, asked: int = 300) -> World:
    """`asked` pairs of facts that only a name joins, the question sharing no telling word with the second, among single facts; in random order."""
    singles = notes - 2 * asked
    made = iter(names(rng, 3 * asked + 2 * singles))
    records, two, one, absent = [], [], [], []
    for at in range(asked):
        a, b, c = next(made), next(made), next(made)
        fact, question = _FIRST[at % len(_FIRST)]
        second = _SECOND[int(rng.integers(len(_SECOND)))].format(b=b, c=c)
        text = question.format(a=a)
        assert not telling(text) & telling(second), (text, second)
        records += [_record(fact.format(a=a, b=b), f"first {at}"), _record(second, f"second {at}")]
        two.append(Asked(text, frozenset((f"first {at}", f"second {at}"))))
    for at in range(singles):
        a, c = next(made), next(made)
        fact, question = _SINGLE[at % len(_SINGLE)]
        records.append(_record(fact.format(a=a, c=c), f"single {at}"))
        one.append(Asked(question.format(a=a), frozenset([f"single {at}"])))
        absent.append(Asked(_ABSENT[at % len(_ABSENT)].format(a=a), frozenset()))
    order = rng.permutation(len(records)).tolist()
    return World([records[at] for at in order], {"two hops": two, "one hop": one[:asked], "unanswerable": absent[:asked]})


def late_world(rng: np.random.Generator, *, people: int = 40, noise: int = 1200) -> World:
    """Of each person several things are noted before it is said who the person is; the question asks by that. Single facts stand among them."""
    made = iter(names(rng, people + 2 * noise))
    early, late, asked = [], [], []
    for at in range(people):
        b = next(made)
        role = f"{_ROLES[at % len(_ROLES)]} of the {_DISTRICTS[at // len(_ROLES)]} district"
        told = rng.choice(len(_EARLY), 5, replace=False).tolist()
        early += [_record(_EARLY[number].format(b=b), f"early {at} {number}") for number in told]
        late.append(_record(f"{b} is the {role}.", f"late {at}"))
        asked.append(Asked(f"What do we know of the {role}?", frozenset((f"late {at}", *(f"early {at} {number}" for number in told)))))
    singles = [_record(_SINGLE[at % len(_SINGLE)][0].format(a=next(made), c=next(made)), f"single {at}") for at in range(noise)]
    first = [*early, *singles[: noise // 2]]
    then = [*late, *singles[noise // 2 :]]
    order = [*rng.permutation(len(first)).tolist(), *(len(first) + rng.permutation(len(then))).tolist()]
    records = [*first, *then]
    return World([records[at] for at in order], {"explained later": asked})


def telling(text: str) -> set[int]:
    """The terms of the words that say something."""
    return {term(word) for word in words(text) if word not in STOP_WORDS}


def _record(text: str, source: str) -> dict[str, Any]:
    return {"text": text, "source": source}
