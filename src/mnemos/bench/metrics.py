"""Measures of a ranking against the set of evidence, for one question. Rankings hold source ids, best first, each once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

Ranking = Sequence[str]


def unique(sources: Iterable[str | None]) -> list[str]:
    """The ranking without repetitions: a source that several hits come from counts where it is first."""
    return list(dict.fromkeys(source for source in sources if source is not None))


def recall(ranking: Ranking, evidence: frozenset[str], k: int) -> float:
    """Share of the evidence among the first `k`."""
    return len(evidence.intersection(ranking[:k])) / len(evidence)


def any_hit(ranking: Ranking, evidence: frozenset[str], k: int) -> float:
    """1 when some evidence is among the first `k`, else 0."""
    return float(not evidence.isdisjoint(ranking[:k]))


def all_hit(ranking: Ranking, evidence: frozenset[str], k: int) -> float:
    """1 when all the evidence is among the first `k`, else 0."""
    return float(evidence.issubset(ranking[:k]))


def ndcg(ranking: Ranking, evidence: frozenset[str], k: int) -> float:
    """Normalised discounted cumulative gain of the first `k`, with gains of 0 and 1 (Järvelin and Kekäläinen 2002)."""
    gain = sum(1 / math.log2(rank + 2) for rank, source in enumerate(ranking[:k]) if source in evidence)
    return gain / sum(1 / math.log2(rank + 2) for rank in range(min(k, len(evidence))))


def reciprocal_rank(ranking: Ranking, evidence: frozenset[str]) -> float:
    """1 / rank of the first evidence, 0 where the ranking holds none."""
    return next((1 / rank for rank, source in enumerate(ranking, 1) if source in evidence), 0.0)


def score(ranking: Ranking, evidence: frozenset[str]) -> dict[str, float]:
    """Every measure, by the name that reports use."""
    return {
        **{f"recall@{k}": recall(ranking, evidence, k) for k in (5, 10, 20)},
        "all@10": all_hit(ranking, evidence, 10),
        "any@10": any_hit(ranking, evidence, 10),
        "ndcg@10": ndcg(ranking, evidence, 10),
        "mrr": reciprocal_rank(ranking, evidence),
    }
