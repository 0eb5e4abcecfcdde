"""What a family of facts is, and how one is stated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MADE, HELD, FRESH, UNSEEN = "made", "held", "fresh", "unseen"
PARTS = (MADE, HELD, FRESH, UNSEEN)
CITIES = ("Lisbon", "Berlin", "Austin", "Kyoto", "Toronto", "Oslo", "Denver", "Prague", "Lyon", "Cape Town", "Seattle", "Dublin", "Porto", "Osaka")
COMPANIES = ("Siemens", "Google", "Nestle", "a small bakery", "Airbus", "Ikea", "Deloitte", "Spotify", "the city council", "Bosch", "Pfizer", "Zara")
JOBS = (
    "nurse", "software engineer", "teacher", "pastry chef", "accountant", "tour guide", "journalist", "data analyst", "carpenter", "paramedic",
    "project manager", "librarian",
)  # fmt: skip
NAMES = ("Marta", "Kevin", "Yusuf", "Ingrid", "Paolo", "Deepa", "Carlos", "Helen", "Takumi", "Fiona", "Omar", "Greta")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")


@dataclass(frozen=True, slots=True)
class Family:
    """One attribute."""

    name: str
    question: str
    """Of `{name}`, in the third person."""
    state: tuple[str, ...]
    """First-person statements of the value."""
    change: tuple[str, ...]
    """Later statements: plain ones, and ones that say that it changed."""
    values: tuple[str, ...]
    part: str = MADE
    soon: bool = False
    """Whether the change comes within days, as it does with appointments."""
    choices: tuple[str, ...] = ()
    """How answers name the values, where they do not name them in full."""
    kind: str = "value"
    """`value`: one value after another. `polarity`: `state` affirms of a value what `change` denies; the answer is the newer statement."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two statements of one speaker that may both hold."""

    kind: str
    first: str
    second: str
    part: str = MADE


def stated(family: Family, rng: np.random.Generator) -> tuple[str, str, str]:
    """An older and a newer statement of a family, and the newer value."""
    before, value = (family.values[i] for i in rng.choice(len(family.values), 2, replace=False))
    if family.kind == "polarity":
        before = value
    state, change = family.state[rng.integers(len(family.state))], family.change[rng.integers(len(family.change))]
    return filled(state, before, value), filled(change, value, before), value


def filled(template: str, value: str, other: str) -> str:
    """A statement of `value`; `other` is the value before."""
    return template.replace("{v}", value).replace("{V}", value[:1].upper() + value[1:]).replace("{o}", other)
