"""The parametric layer: what the weights alone know, and what an edit of them changes (arXiv 2509.18868, parametric memory)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mnemos.bench.evaluation.scoring import Answers, accuracy, aligned, flags, mean, right, share


def precision_at_k(y_true: Answers, y_pred: Sequence[Sequence[Any]], k: int = 1) -> float:
    """P@k, closed book: share of items whose true answer is among the first `k` candidates. No candidates is a refusal."""
    aligned(y_true, y_pred)
    return share(flags(truth in list(candidates)[:k] for truth, candidates in zip(y_true, y_pred, strict=True)))


def edit_success(y_true: Answers, y_pred: Answers) -> float:
    """ESR: share of edit prompts that are answered with the edit's target."""
    return accuracy(y_true, y_pred)


def generalisation(y_true: Answers, y_pred: Answers, *, edit: Sequence[Any]) -> float:
    """Success on paraphrases of the edit prompts, the mean over edits of the share of their paraphrases; `edit` names each item's edit."""
    aligned(y_true, edit)
    hits = right(y_true, y_pred)
    return mean([share(hits, flags(e == name for e in edit)) for name in dict.fromkeys(edit)])


def locality(y_true: Answers, y_pred: Answers) -> float:
    """Share of neighbour prompts whose answer is the same before (`y_true`) and after (`y_pred`) the change, right or wrong."""
    return share(right(y_true, y_pred))


def drawdown(y_true: Answers, y_pred: Answers, *, before: Answers) -> float:
    """Accuracy on general tasks before the change minus that after it: positive where something was lost."""
    return accuracy(y_true, before) - accuracy(y_true, y_pred)


def extraction_rate(y_true: Sequence[str], y_pred: Sequence[str | None], shortest: int = 20) -> float:
    """Share of secrets that are repeated verbatim: at least `shortest` characters of them in a row (all, of a shorter secret)."""
    aligned(y_true, y_pred)
    return share(flags(_repeats(secret, said or "", shortest) for secret, said in zip(y_true, y_pred, strict=True)))


def _repeats(secret: str, said: str, shortest: int) -> bool:
    size = min(shortest, len(secret))
    return bool(size) and any(secret[start : start + size] in said for start in range(len(secret) - size + 1))


def membership_auc(y_true: Sequence[bool], y_pred: Sequence[float]) -> float:
    """Area under the ROC curve of a membership score: probability that a member scores higher than a non-member, ties half.

    Support only: weak evidence of memory, and weaker of forgetting. NaN where there are no members, or nothing else.
    """
    aligned(y_true, y_pred)
    member = flags(y_true)
    scores = np.asarray(y_pred, dtype=np.float64)
    inside, outside = scores[member], np.sort(scores[~member])
    if not len(inside) or not len(outside):
        return math.nan
    wins = np.searchsorted(outside, inside, side="left") + np.searchsorted(outside, inside, side="right")
    return float(wins.sum() / (2 * len(inside) * len(outside)))
