"""Scores of attempts at problems with several test cases: official, strict, and oracle@k (ArcMemo, arXiv 2509.04439, section 4; ARC's rule).

An attempt is one answer for each test case of a problem. Attempts stand in a tree: branches (memories or settings), threads (parallel samples), and
steps (retries); the order of a problem's attempts is by step, then thread, then branch, since retries come later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnemos.base.errors import Invalid

ATTEMPTS = 2
"""Attempts at a test case that count for the official score (the paper's)."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Where in the tree it was made, and its answers, one for each test case; None where there is none."""

    answers: tuple[Any, ...]
    branch: int = 0
    thread: int = 0
    step: int = 0


@dataclass(frozen=True, slots=True)
class Scores:
    """Sums over problems, and how many there were."""

    official: float
    """A case counts where any of the first attempts is right; a problem is worth the mean of its cases."""
    strict: float
    """Problems of which one of these attempts had all cases right by itself."""
    oracle: float
    """As official, but looking at the first k attempts."""
    problems: int


def same(one: Any, other: Any) -> bool:
    """Whether two answers are the same: grids of one shape and equal cells, else equal values."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and one.shape == other.shape and bool((one == other).all())
    return type(one) is type(other) and bool(one == other)


def in_order(attempts: Sequence[Attempt]) -> list[Attempt]:
    """By step, then thread, then branch."""
    return sorted(attempts, key=lambda one: (one.step, one.thread, one.branch))


def score(
    attempts: Mapping[str, Sequence[Attempt]],
    expected: Mapping[str, Sequence[Any]],
    k: int | None = None,
    most: int = ATTEMPTS,
    equal: Callable[[Any, Any], bool] = same,
) -> Scores:
    """The scores of `attempts` by problem; `expected` has the right answers of each problem that counts. `most`: attempts that the official
    and the strict score look at; `k`: attempts that oracle@k looks at, None: all. Raises `Invalid` for an attempt with another number of answers."""
    if most < 1 or (k is not None and k < 1):
        raise Invalid(f"score: most and k are numbers from 1 on, not {most} and {k}")
    official = strict = oracle = 0.0
    for problem, right in expected.items():
        ordered = in_order(attempts.get(problem, ()))
        table = []
        for attempt in ordered:
            if len(attempt.answers) != len(right):
                raise Invalid(f"score: an attempt at {problem!r} has {len(attempt.answers)} answers for {len(right)} test cases")
            table.append([answer is not None and equal(answer, wanted) for answer, wanted in zip(attempt.answers, right, strict=True)])
        if right:
            official += _covered(table[:most], len(right))
            strict += any(all(row) for row in table[:most])
            oracle += _covered(table[:k], len(right))
    return Scores(official, strict, oracle, len(expected))


def _covered(table: Sequence[Sequence[bool]], cases: int) -> float:
    """The share of the test cases that some of these attempts had right."""
    return sum(any(row[case] for row in table) for case in range(cases)) / cases
