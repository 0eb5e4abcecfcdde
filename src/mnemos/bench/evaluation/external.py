"""The external layer: what is retrieved, what is cited, and what is made of it (arXiv 2509.18868, external memory).

Rankings against evidence (Recall@k, nDCG@10, MRR, Hit@k) are `mnemos.bench.metrics`; here they are taken over items.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mnemos.bench import metrics
from mnemos.bench.evaluation.scoring import Answers, accuracy, aligned, flags, given, mean, ratio, right, share

Sources = Sequence[str]
"""Ids of stored pieces."""
Claims = Sequence[bool | None]
"""The factual sentences of one answer: whether each is supported by what it cites. None is a sentence that states no fact."""


def recall_at_k(y_true: Sequence[Sources], y_pred: Sequence[Sources], k: int = 5) -> float:
    """Mean share of an item's evidence among its first `k` retrieved pieces. Items without evidence do not count."""
    return _over(y_true, y_pred, lambda ranking, evidence: metrics.recall(ranking, evidence, k))


def hit_at_k(y_true: Sequence[Sources], y_pred: Sequence[Sources], k: int = 5) -> float:
    """Share of items with some evidence among the first `k` pieces. Items without evidence do not count."""
    return _over(y_true, y_pred, lambda ranking, evidence: metrics.any_hit(ranking, evidence, k))


def ndcg_at_k(y_true: Sequence[Sources], y_pred: Sequence[Sources], k: int = 10) -> float:
    """Mean normalised discounted cumulative gain of the first `k` pieces. Items without evidence do not count."""
    return _over(y_true, y_pred, lambda ranking, evidence: metrics.ndcg(ranking, evidence, k))


def mrr(y_true: Sequence[Sources], y_pred: Sequence[Sources]) -> float:
    """Mean of 1 / rank of the first evidence, 0 where there is none. Items without evidence do not count."""
    return _over(y_true, y_pred, metrics.reciprocal_rank)


def _over(y_true: Sequence[Sources], y_pred: Sequence[Sources], measure: Any) -> float:
    aligned(y_true, y_pred)
    return mean([measure(metrics.unique(ranking), frozenset(e)) for e, ranking in zip(y_true, y_pred, strict=True) if len(e)])


def fgs(y_pred: Sequence[Claims]) -> float:
    """Factual grounding: supported sentences divided by all sentences that state a fact, over all answers. A refusal states none."""
    return share(flags(claim for answer in y_pred for claim in answer if claim is not None))


def ucr(y_pred: Sequence[Claims]) -> float:
    """Unsupported-claim rate: 1 − `fgs`."""
    return 1 - fgs(y_pred)


def citation_precision(y_true: Sequence[Sources], y_pred: Sequence[Sources]) -> float:
    """Share of all citations that are evidence of their item. NaN where nothing is cited."""
    aligned(y_true, y_pred)
    return share(flags(source in set(evidence) for evidence, cited in zip(y_true, y_pred, strict=True) for source in dict.fromkeys(cited)))


def citation_recall(y_true: Sequence[Sources], y_pred: Sequence[Sources]) -> float:
    """Mean share of an item's evidence that is cited. Items without evidence do not count."""
    return recall_at_k(y_true, y_pred, k=10**9)


def citation_coverage(y_pred: Answers, *, cited: Sequence[Sources]) -> float:
    """Share of given answers that cite at least one piece."""
    aligned(y_pred, cited)
    return share(flags(len(sources) for sources in cited), given(y_pred))


def fresh_at_k(y_pred: Sequence[Sequence[bool]], k: int = 5) -> float:
    """Share of the first `k` retrieved pieces that are valid now, over all items; each piece is given as whether it is."""
    return share(flags(valid for pieces in y_pred for valid in list(pieces)[:k]))


def out_of_date_use(y_pred: Answers, *, superseded: Sequence[Sequence[Any]]) -> float:
    """Share of given answers that state a value that was superseded; `superseded` lists each item's old values."""
    aligned(y_pred, superseded)
    return share(flags(answer in list(old) for answer, old in zip(y_pred, superseded, strict=True)), given(y_pred))


def refusal_at_stale(y_pred: Answers, *, stale: Sequence[bool]) -> float:
    """Share of refusals among the items for which only superseded evidence was at hand."""
    aligned(y_pred, stale)
    return share(~given(y_pred), flags(stale))


def conflict_handled_at_k(y_true: Answers, y_pred: Answers, *, conflicting: Sequence[bool]) -> float:
    """Accuracy over the items whose first k retrieved pieces contradict each other, as `conflicting` says."""
    aligned(y_true, conflicting)
    return share(right(y_true, y_pred), flags(conflicting))


def kir(y_true: Answers, y_pred: Answers, *, closed_book: Answers, weight: float) -> float:
    """Knowledge integration: accuracy with retrieval minus accuracy closed book, divided by the context's weight.

    `weight` is the share of the prompt's tokens that the retrieved text takes (0 to 1, above 0): what was gained per unit of context. The
    survey names the quotient and leaves the weight open; this choice of it is Mnemos'.
    """
    gained = accuracy(y_true, y_pred) - accuracy(y_true, closed_book)
    return gained / weight if 0 < weight <= 1 else math.nan


def ltrs(y_true: Answers, y_pred: Answers, *, initial: Answers, decay: float) -> float:
    """Long-term retention: (accuracy after the delay / accuracy at once) · (1 − decay), with `decay` the share that is lost per session.

    `decay` is 1 − exp(−λ) of the fitted exponential (`stats.fit_decay`, elapsed in sessions). The survey leaves decay open.
    """
    return ratio(accuracy(y_true, y_pred), accuracy(y_true, initial)) * (1 - decay)
