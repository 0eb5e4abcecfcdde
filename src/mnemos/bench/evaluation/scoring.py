"""What all metrics share: which answers are right, which were given, and shares that are NaN where there is nothing to share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid

Flags = NDArray[np.bool_]
Answers = Sequence[Any]
"""Values that can be compared; None is a refusal (of a prediction) or the absence of an answer (of a truth)."""


def aligned(y_true: Sequence[Any], *others: Sequence[Any]) -> None:
    """Raise `Invalid` where the sequences differ in length."""
    for other in others:
        if len(other) != len(y_true):
            raise Invalid(f"metric: {len(y_true)} truths, but {len(other)} values beside them; give one for each item")


def right(y_true: Answers, y_pred: Answers) -> Flags:
    """Which predictions equal their truth, shape (n,). A refusal is right exactly where there is no answer."""
    aligned(y_true, y_pred)
    return np.array([bool(a == b) for a, b in zip(y_true, y_pred, strict=True)], dtype=bool)


def given(y_pred: Answers) -> Flags:
    """Which predictions are answers and no refusals, shape (n,)."""
    return np.array([answer is not None for answer in y_pred], dtype=bool)


def flags(values: Iterable[Any]) -> Flags:
    return np.array([bool(value) for value in values], dtype=bool)


def share(what: Flags, among: Flags | None = None) -> float:
    """The share of `among` (None: of all) that is `what`; NaN where it holds nothing."""
    chosen = what if among is None else what[among]
    return float(chosen.mean()) if len(chosen) else math.nan


def mean(values: Sequence[float]) -> float:
    """The mean of the values that are defined; NaN where none is."""
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else math.nan


def ratio(top: float, bottom: float) -> float:
    """`top / bottom`; NaN where that is not defined."""
    return top / bottom if bottom else math.nan


def accuracy(y_true: Answers, y_pred: Answers) -> float:
    """Share of items with the right answer; a refusal is right where there is no answer."""
    return share(right(y_true, y_pred))


def f1(true: frozenset[Any], predicted: frozenset[Any]) -> float:
    """Harmonic mean of precision and recall of a set; 1 where both are empty, 0 where they share nothing."""
    if not true and not predicted:
        return 1.0
    return 2 * len(true & predicted) / (len(true) + len(predicted))
