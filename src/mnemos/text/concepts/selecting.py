"""Which concepts a problem's features suggest: naive Bayes over the solutions that used them, and what a routine costs a search accordingly.

ArcMemo (arXiv 2509.04439) has a reasoning model select; this is the deterministic counterpart, ours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from math import exp, log

import numpy as np

from mnemos.text.concepts.concept import Lesson, Solution
from mnemos.text.concepts.search import units
from mnemos.text.concepts.terms import Library
from mnemos.text.concepts.types import Type

SHRINK = 2.0
"""Solutions' worth of belief that a concept's problems are like all others."""
TEMPER = 0.5
"""Weight of the evidence: features overlap, so that they do not add up in full."""
EVEN = 0.3
"""Share of probability that is spread evenly, so that nothing becomes unreachable; retries raise it."""
STEP = 2
"""Cost of each application beside its probability, half bits: what is likely is not applied again and again."""
BEFORE = 0.5
"""Uses that every concept is given beforehand."""


class Selector:
    """Log odds of concepts, given a problem's features. Learns from solutions; a later solution of the same problem takes the earlier one's place."""

    def __init__(self, solutions: Iterable[Solution] = ()) -> None:
        self._uses: dict[str, list[frozenset[str]]] = defaultdict(list)
        self._problems: list[frozenset[str]] = []
        for one in solutions:
            self.add(one)

    def add(self, solution: Solution) -> None:
        held = frozenset(solution.features)
        self._problems.append(held)
        for name in solution.concepts:
            self._uses[name].append(held)

    def scores(self, features: Iterable[str], names: Iterable[str]) -> dict[str, float]:
        """Log odds of each name being used in a solution: its share of the solutions, and the evidence of every feature, there or not."""
        given = frozenset(features)
        total = len(self._problems)
        known = sorted(given.union(*self._problems)) if self._problems else []
        common = {one: (sum(one in held for held in self._problems) + 1) / (total + 2) for one in known}
        out = {}
        for name in names:
            uses = self._uses.get(name, [])
            share = (len(uses) + BEFORE) / (total + 2 * BEFORE + 1)
            evidence = 0.0
            for one in known if uses else ():
                likely = (sum(one in held for held in uses) + SHRINK * common[one]) / (len(uses) + SHRINK)
                evidence += log(likely / common[one]) if one in given else log((1 - likely + 1e-9) / (1 - common[one] + 1e-9))
            out[name] = log(share / (1 - share)) + TEMPER * evidence
        return out

    def cues(self, name: str) -> list[str]:
        """The features that were true in every use of a concept."""
        uses = self._uses.get(name, [])
        return sorted(frozenset.intersection(*uses)) if uses else []


def costs(library: Library, scores: Mapping[str, float], even: float = EVEN) -> dict[str, int]:
    """What each routine costs a search: the bits of its probability among those of its result type, `even` of it spread evenly."""
    groups: dict[Type, list[str]] = defaultdict(list)
    for one in library.routines.values():
        groups[one.result].append(one.name)
    out = {}
    for names in groups.values():
        told = np.array([_odds(scores.get(name, -9.0)) for name in names])
        shares = (1 - even) * told / told.sum() + even / len(names)
        out.update({name: STEP + units(float(share)) for name, share in zip(names, shares, strict=True)})
    return out


def _odds(score: float) -> float:
    return exp(min(max(score, -30.0), 30.0))


def lesson_of(solution: Solution) -> Lesson | None:
    """An open-ended lesson without a model: the features of a solved problem suggest what its solution used. None where it used nothing."""
    if not solution.concepts:
        return None
    return Lesson("; ".join(sorted(solution.features)) or "anything", ", ".join(solution.concepts), solution.id)


def lesson_scores(lessons: Iterable[Lesson], features: Iterable[str], names: Iterable[str], most: int = 5) -> dict[str, float]:
    """Log odds of names from open-ended lessons: the share of the `most` lessons whose situations are nearest (Jaccard) that suggest each."""
    given = set(features)

    def near(lesson: Lesson) -> float:
        held = set(lesson.situation.split("; "))
        return len(held & given) / max(len(held | given), 1)

    nearest = sorted(lessons, key=near, reverse=True)[:most]
    out = {}
    for name in names:
        share = (sum(name in one.suggestion.split(", ") for one in nearest) + BEFORE) / (len(nearest) + 2 * BEFORE + 1)
        out[name] = log(share / (1 - share))
    return out
