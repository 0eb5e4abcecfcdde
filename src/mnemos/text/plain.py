"""The foundation: turns, documents and facts as they are, ranked by every kind of evidence at once. Other strategies build on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from mnemos.base.cube import Content
from mnemos.index.space_index import SpaceIndex
from mnemos.store.base import NewVersion
from mnemos.text.encoding import encode
from mnemos.text.question import Question
from mnemos.text.ranking import Ranking, Rows, rank, top
from mnemos.text.recipe import Recipe
from mnemos.text.strategy import Floats, Recall, View, Workbench


class Plain:
    """Nothing is rewritten at writing; at reading, words, meaning, neighbourhood, speaker and time are weighed together."""

    name = "plain"
    about = "turns, documents and facts, found by words, meaning, neighbourhood, speaker and time"
    consolidates = False

    def __init__(self, recipe: Recipe | None = None) -> None:
        self._recipe = recipe

    def encode(self, content: Content, new_id: Callable[[], UUID]) -> Sequence[NewVersion]:
        return encode(content, new_id)

    def recall(self, question: Question, view: View, k: int) -> Recall:
        index, ranking = view.index, self.ranking(question, view)
        best = distinct(index, ranking.scores, k)
        return Recall(best, ranking.scores[best], ranking.signals(best))

    def ranking(self, question: Question, view: View) -> Ranking:
        """Every row with its score, log odds of bearing on the question; minus infinity where it is not allowed."""
        index = view.index
        rows = Rows(
            thread=index.thread.view(),
            author=index.author.view(),
            event_at=index.event_at.view(),
            flags=index.flags.view(),
            moments=index.moments.view(),
            first=None if index.in_order else index.first.view(),
        )
        return rank(question, rows, index.lexical, view.cosines, view.allowed, self._recipe)

    def consolidate(self, work: Workbench) -> None:
        """Nothing: what was added is all there is."""


def distinct(index: SpaceIndex, scores: Floats, k: int) -> NDArray[np.int64]:
    """The `k` best rows. A turn that was long enough to be cut counts once, by its best part: who asks for ten turns means ten."""
    first = None if index.in_order else index.first.view()
    turns = index.types.number("turn")
    cut = (index.whole.view() >= 0) & (index.type.view() == (-2 if turns is None else turns))
    if not cut.any():
        return top(scores, k, first)
    wanted = min(2 * k, len(scores))
    while True:
        best = top(scores, wanted, first)
        whole = np.where(cut[best], index.whole.view()[best], -1 - best)
        kept = np.sort(np.unique(whole, return_index=True)[1])
        if len(kept) >= k or len(best) < wanted or wanted >= len(scores):
            return best[kept[:k]]
        wanted = min(2 * wanted, len(scores))
