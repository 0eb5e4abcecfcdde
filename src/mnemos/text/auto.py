"""The default strategy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

import numpy as np

from mnemos.base.cube import Content
from mnemos.store.base import NewVersion
from mnemos.text.encoding import encode
from mnemos.text.strategy import Recall, View


class Auto:
    name = "auto"
    about = "turns, documents and facts, found by words, meaning, neighbourhood, speaker and time"

    def encode(self, content: Content, new_id: Callable[[], UUID]) -> Sequence[NewVersion]:
        return encode(content, new_id)

    def recall(self, question: str, view: View, k: int) -> Recall:
        lexical = view.index.lexical.search(question, view.allowed).bm25
        score = np.zeros(len(view.index), dtype=np.float32)
        for part in (lexical, view.cosines):
            if part is not None:
                order = np.argsort(-np.where(np.isnan(part), -9, part), kind="stable")
                rank = np.empty(len(order)); rank[order] = np.arange(len(order))
                score += 1 / (60 + rank)
        rows = np.flatnonzero(view.allowed)
        rows = rows[np.argsort(-score[rows], kind="stable")[:k]]
        return Recall(rows, score[rows], {"lexical": lexical[rows]})

    def consolidate(self, view: View) -> Sequence[NewVersion]:
        return ()
