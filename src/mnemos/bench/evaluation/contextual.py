"""The contextual layer: what becomes of evidence in the prompt, by its position and by what surrounds it (arXiv 2509.18868, contextual memory)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from mnemos.bench.evaluation.scoring import Answers, accuracy, aligned, flags, mean, ratio, right, share

POSITIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Where the evidence lies in the context: 0 is its begin, 1 its end."""


def position_curve(y_true: Answers, y_pred: Answers, *, position: Sequence[float]) -> dict[float, float]:
    """Accuracy by evidence position, each item counted at the nearest of `POSITIONS`; NaN where no item is."""
    aligned(y_true, position)
    hits = right(y_true, y_pred)
    nearest = np.array([min(POSITIONS, key=lambda p: (abs(p - at), p)) for at in position])
    return {p: share(hits, nearest == p) for p in POSITIONS}


def mid_drop(y_true: Answers, y_pred: Answers, *, position: Sequence[float]) -> float:
    """Mean accuracy of the two ends minus that of the middle: positive where evidence in the middle is lost."""
    curve = position_curve(y_true, y_pred, position=position)
    return (curve[0.0] + curve[1.0]) / 2 - curve[0.5]


def position_robustness(y_true: Answers, y_pred: Answers, *, position: Sequence[float]) -> float:
    """Lowest accuracy over positions divided by the highest: 1 where the position does not matter. NaN where a position has no item, or
    where nothing is right anywhere."""
    curve = list(position_curve(y_true, y_pred, position=position).values())
    return math.nan if any(math.isnan(value) for value in curve) else ratio(min(curve), max(curve))


def ppr(y_true: Answers, y_pred: Answers, *, context: Sequence[Literal["random", "oracle"]]) -> float:
    """Accuracy with random context divided by accuracy with oracle context: near 1 where the prior answers, near 0 where the context does."""
    aligned(y_true, context)
    hits = right(y_true, y_pred)
    return ratio(share(hits, flags(c == "random" for c in context)), share(hits, flags(c == "oracle" for c in context)))


def ln_accuracy(y_true: Answers, y_pred: Answers, *, length: Sequence[float]) -> float:
    """LN-Acc: accuracy divided by the natural logarithm of the mean context length, in tokens. NaN for a mean length of 1 or less.

    The survey writes Acc / log L for one L; the mean over the items and the base e are Mnemos' choice.
    """
    aligned(y_true, length)
    size = float(np.mean(length)) if len(length) else 0.0
    return accuracy(y_true, y_pred) / math.log(size) if size > 1 else math.nan


def robustness_loss(y_true: Answers, y_pred: Answers, *, noisy: Sequence[bool]) -> float:
    """1 − accuracy under noise / accuracy without: 0 where noise costs nothing."""
    aligned(y_true, noisy)
    hits, noise = right(y_true, y_pred), flags(noisy)
    return 1 - ratio(share(hits, noise), share(hits, ~noise))


def step_coverage(y_true: Sequence[Sequence[Any]], y_pred: Sequence[Sequence[Any] | None]) -> float:
    """Mean share of an item's needed steps that its answer goes through; items that need none do not count."""
    aligned(y_true, y_pred)
    pairs = [(set(needed), set(taken or ())) for needed, taken in zip(y_true, y_pred, strict=True)]
    return mean([ratio(len(needed & taken), len(needed)) for needed, taken in pairs])


def temporal_consistency(y_true: Sequence[Sequence[Any]], y_pred: Sequence[Sequence[Any] | None]) -> float:
    """Mean share of an item's pairs of events that the answer puts in their true order.

    Each item is a sequence of events in order; a pair with an event that the answer lacks counts as wrong, and items with fewer than two
    events do not count.
    """
    aligned(y_true, y_pred)
    return mean([_ordered(list(true), list(said or ())) for true, said in zip(y_true, y_pred, strict=True)])


def _ordered(true: list[Any], said: list[Any]) -> float:
    place = {event: i for i, event in reversed(list(enumerate(said)))}
    pairs = [(a, b) for i, a in enumerate(true) for b in true[i + 1 :]]
    return ratio(sum(a in place and b in place and place[a] < place[b] for a, b in pairs), len(pairs))
