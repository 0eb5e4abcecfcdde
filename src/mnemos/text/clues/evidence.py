"""From clues to evidence: each clue is searched for by itself, and what they find is fused with what the question itself finds.

Source: MemoRAG, arXiv 2409.05591, section 2 and its published pipeline (three passages a line, their union in document order), with reciprocal ranks
(Cormack, Clarke and Buettcher, Reciprocal Rank Fusion, SIGIR 2009) in place of the unranked union, and with provenance.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from mnemos.base.errors import Invalid
from mnemos.text.clues.memory import MOST, Clue, cleaned
from mnemos.text.tokens import TokenCounter, count_tokens

Item = TypeVar("Item", bound=Hashable)

CONSTANT = 60.0
"""Of reciprocal rank fusion; the paper's."""
EACH = 3
"""Passages that each clue is searched for; MemoRAG's h."""


class Hit(NamedTuple, Generic[Item]):
    """What a search gives: what it found, its text, and how well it matches; scores of one search function compare over its searches."""

    item: Item
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Evidence(Generic[Item]):
    """A passage, and which clues found it; none where the question did alone."""

    item: Item
    text: str
    score: float
    """Sum of the reciprocal ranks."""
    clues: tuple[Clue, ...]


@dataclass(frozen=True, slots=True)
class Found(Generic[Item]):
    """Evidence, best first, the clues that were searched for, and whether they were all given up for the question alone."""

    evidence: list[Evidence[Item]]
    clues: list[Clue]
    alone: bool
    tokens: int
    """Of all texts of the evidence together."""


def fused(
    own: Sequence[Item], by_clue: Sequence[tuple[Clue, Sequence[Item]]], rank_of: Callable[[Item], int] | None = None, weighed: bool = True
) -> dict[Item, tuple[float, dict[Clue, float]]]:
    """Each item with its sum of reciprocal ranks, and what each clue gave to it. Best first; ties keep the question's order, then the clues'.
    `rank_of`: the rank, from 1, that the question gives an item that is not in `own`; None gives it none. Not
    `weighed`, each clue counts as much as the question."""
    scores: dict[Item, float] = {item: 1.0 / (CONSTANT + rank) for rank, item in enumerate(own, 1)}
    given: dict[Item, dict[Clue, float]] = {}
    for clue, items in by_clue:
        for rank, item in enumerate(items, 1):
            gain = (clue.weight if weighed else 1.0) / (CONSTANT + rank)
            if item not in scores:
                scores[item] = 0.0 if rank_of is None else 1.0 / (CONSTANT + rank_of(item))
            scores[item] += gain
            given.setdefault(item, {})[clue] = gain
    order = sorted(scores, key=lambda item: -scores[item])
    return {item: (scores[item], given.get(item, {})) for item in order}


def gather(
    question: str,
    clues: Sequence[Clue],
    search: Callable[[str, int], Sequence[Hit[Item]]],
    *,
    k: int = 10,
    each: int = EACH,
    tokens: int | None = None,
    count: TokenCounter = count_tokens,
) -> Found[Item]:
    """Search for the question and for each clue; give at most `k` passages, at most `tokens` of them together.

    The clues are cleaned first (`memory.cleaned`). A clue whose best passage matches it worse than the question's best passage matches the question
    is given up; where all are, the question stands alone. Each clue counts as much as the question. No clue is ever among the evidence. A passage
    that no longer fits the budget is left out, and smaller ones after it may still fit. Raises `Invalid` for `k`, `each` or `tokens` below 1.
    """
    for name, value in (("k", k), ("each", each), ("tokens", 1 if tokens is None else tokens)):
        if value < 1:
            raise Invalid(f"clues.{name}: expected 1 or more, not {value}")
    own = list(search(question, k))
    bound = max((hit.score for hit in own), default=float("-inf"))
    by_clue: list[tuple[Clue, Sequence[Item]]] = []
    texts: dict[Item, str] = {hit.item: hit.text for hit in own}
    searched = cleaned(question, clues, MOST)
    for clue in searched:
        hits = list(search(clue.text, each))
        if hits and max(hit.score for hit in hits) >= bound:
            texts |= {hit.item: hit.text for hit in hits}
            by_clue.append((clue, [hit.item for hit in hits]))
    evidence: list[Evidence[Item]] = []
    used = 0
    for item, (score, given) in fused([hit.item for hit in own], by_clue, weighed=False).items():
        size = count(texts[item])
        if len(evidence) < k and (tokens is None or used + size <= tokens):
            evidence.append(Evidence(item, texts[item], score, tuple(given)))
            used += size
    return Found(evidence, searched, not by_clue, used)
