"""How the procedures of a space are learnt, found, and let go."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Literal

from mnemos.base.errors import Invalid, shown
from mnemos.text.procedures.pool import Weights
from mnemos.text.procedures.procedure import KEYS
from mnemos.text.trajectories import credit, duplicates, trajectory


@dataclass(frozen=True, slots=True)
class Settings:
    """Defaults are the paper's (ReMe, arXiv 2512.10696, sections 3 and 4.1) unless a field says otherwise."""

    k: int = 5
    """Entries for a task; 1 to 100."""
    key: str = "scenario"
    """What entries are found by: "scenario", "query", "generalised" or "keywords"."""
    weights: Weights = field(default_factory=Weights)
    """How they are ranked without a model. Ours."""
    floor: float | None = None
    """Score below which an entry is not handed out; None: there is no such bound."""
    relative: float = 0.7
    """Share of the best entry's score below which an entry is not handed out, 0 to 1; 0: there is no such bound. Ours: what is for other tasks
    misleads."""
    least_trust: float | None = None
    """Mean of confidence and validation score below which an entry is not handed out; the paper's filter has 0.3; None: no filter."""
    hold_out: float = credit.HOLD_OUT
    """Share of the runs in which one entry is withheld, 0 to 1. Ours."""
    success: float = trajectory.SUCCESS
    """Reward from which on a run is a success."""
    repeated: float = duplicates.THRESHOLD
    """Cosine above which two entries say the same, 0 to 1. The paper's is 0.5."""
    hard: bool = False
    """Compare pieces of successes with pieces of failures that are like them, too."""
    segment: bool = False
    """Let a language model look at a run in groups of steps, as it divides it itself. This and the next two take a chat model."""
    rerank: bool = False
    """Let it put what was found in order."""
    rewrite: bool = False
    """Let it make one piece of guidance for the task of what was found."""
    rule: Literal["uplift", "absolute"] = "uplift"
    """What is let go: "uplift" is ours, by what an entry adds over the base rate; "absolute" is the paper's u/f < β."""
    alpha: int = credit.ALPHA
    """Uses before which nothing is let go."""
    beta: float = credit.BETA
    """The bound of the absolute rule, 0 to 1."""
    sure: float = credit.SURE
    """The probability that the rule of uplift asks for, 0 to 1. Ours."""
    every: int = 10
    """Tasks after which `solve` prunes; 0: never."""
    retries: int = 3
    """Further attempts at a task that failed, each with what was learnt from those before."""

    def __post_init__(self) -> None:
        if self.key not in KEYS:
            raise Invalid(f"settings: key {shown(self.key)} is none of {', '.join(KEYS)}")
        if self.rule not in ("uplift", "absolute"):
            raise Invalid(f"settings: rule {shown(self.rule)} is neither 'uplift' nor 'absolute'")
        for name in ("hold_out", "relative", "success", "repeated", "beta", "sure"):
            if not (_number(value := getattr(self, name)) and 0 <= value <= 1):
                raise Invalid(f"settings: {name} is {shown(value)}; it lies between 0 and 1")
        for name in ("floor", "least_trust"):
            if (value := getattr(self, name)) is not None and not _number(value):
                raise Invalid(f"settings: {name} is {shown(value)}; it is a number, or None for no bound")
        for name in ("hard", "segment", "rerank", "rewrite"):
            if not isinstance(getattr(self, name), bool):
                raise Invalid(f"settings: {name} is {shown(getattr(self, name))}; it is true or false")
        if not isinstance(self.weights, Weights) or not all(map(_number, (self.weights.cosine, self.weights.words, self.weights.uplift))):
            raise Invalid(f"settings: weights is {shown(self.weights)}; it is Weights of `mnemos.text.procedures.pool`, of numbers")
        for name, least in (("k", 1), ("alpha", 0), ("every", 0), ("retries", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise Invalid(f"settings: {name} is {shown(value)}; it is a whole number, {least} or more")
        if self.k > 100:
            raise Invalid(f"settings: k is {self.k}; a task gets at most 100 procedures")

    @classmethod
    def of(cls, **given: object) -> Settings:
        """Settings with these fields. Raises `Invalid` for an unknown one."""
        unknown = given.keys() - {f.name for f in fields(cls)}
        if unknown:
            raise Invalid(f"settings: unknown {sorted(unknown)[0]!r}; known are {', '.join(f.name for f in fields(cls))}")
        return cls(**given)  # type: ignore[arg-type]


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
