"""The strategy "notes": each memory gets a note that describes it, links to earlier ones, and learns from later ones.

Source: A-MEM, arXiv 2502.12110, section 3. What is found are the memories, not the notes: by themselves, by what their notes say beyond them, and
by links from what was found. Linked memories may take a share of the slots from direct hits, else cutting the list would throw all of them away.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnemos.index.terms import term, words
from mnemos.text.asking import Report
from mnemos.text.notes.desk import Desk
from mnemos.text.notes.parameters import DEFAULTS, Parameters
from mnemos.text.notes.shelf import NAME, Shelf
from mnemos.text.plain import Plain, distinct
from mnemos.text.question import Question
from mnemos.text.ranking import top
from mnemos.text.strategy import Floats, Recall, View, Workbench

Numbers = NDArray[np.float64]
Rows = NDArray[np.int64]
_APART = 1e-3
"""What is linked stays this far below the direct hits that keep their places, and below what is linked more strongly."""
_MOST_TERMS = 62
_TEN = 10
"""Slots are reserved among the first ten places; what follows is in the order of the scores."""


class Notes(Plain):
    """Notes are views; searches give the memories that they are of."""

    name = NAME
    about = "each memory described, linked with earlier ones and re-described by later ones: what belongs together is found together"
    consolidates = True

    def __init__(self, parameters: Parameters = DEFAULTS) -> None:
        super().__init__()
        self.parameters = parameters

    # -- reading --
    def recall(self, question: Question, view: View, k: int) -> Recall:
        ranking = self.ranking(question, view)
        shelf = Shelf(view)
        if not len(shelf):
            best = distinct(view.index, ranking.scores, k)
            return Recall(best, ranking.scores[best], ranking.signals(best))
        terms = Terms(question, view)
        noted = terms.noted(shelf, self.parameters)
        direct = np.asarray(ranking.scores + noted, dtype=np.float32)
        scores = self._with_links(direct, terms, shelf, k)
        best = distinct(view.index, scores, k)
        lent = np.where(np.isfinite(direct[best]), scores[best] - direct[best], 0.0)
        return Recall(best, scores[best], {**ranking.signals(best), "note": noted[best], "link": np.asarray(lent, dtype=np.float32)})

    def _with_links(self, direct: Floats, terms: Terms, shelf: Shelf, k: int) -> Floats:
        """The direct scores with what links lend, to so many rows as have slots reserved. The strong ones among them stand right behind the direct
        hits that keep their places; the others win a slot where they score more than the hit that they displace."""
        p = self.parameters
        rows, lent = self.linked(direct, terms, shelf)
        first = min(k, _TEN)
        free = int(p.reserve * first)
        if not len(rows) or not free:
            return direct
        kept = distinct(terms.view.index, direct, first - free)
        apart = ~np.isin(rows, kept)
        rows, lent = rows[apart], lent[apart]
        chosen = np.argsort(-lent, kind="stable")[: int(p.reserve * k)]
        rows, strong = rows[chosen], np.flatnonzero(lent[chosen] >= direct[kept].max() - p.strong)[: int(p.granted * first)]
        lent = np.minimum(lent[chosen], direct[kept].min() - _APART)
        lent[strong] = direct[kept].min() - _APART * np.arange(1, len(strong) + 1)
        scores = direct.copy()
        scores[rows] = np.maximum(direct[rows], lent)
        return scores

    def linked(self, direct: Floats, terms: Terms, shelf: Shelf) -> tuple[Rows, Floats]:
        """(rows, scores) of what the best hits are linked with, in either direction, each row once: hit · 0.7 · link, as log odds, and how well the
        row itself fits the question."""
        p = self.parameters
        hits = top(direct, p.origins)
        none = np.zeros(0, np.int64), np.zeros(0, np.float32)
        links = shelf.links(hits)
        is_hit = np.zeros(len(direct), dtype=bool)
        is_hit[hits] = True
        out, back = is_hit[links.source], is_hit[links.target]
        origin = np.concatenate([links.source[out], links.target[back]])
        row = np.concatenate([links.target[out], links.source[back]])
        weight = np.concatenate([links.weight[out], links.weight[back]])
        if not len(row):
            return none
        most = float(direct[hits[0]])
        hit = most + p.share * (direct[origin].astype(np.float64) - most)
        lent = hit + np.log(np.maximum(p.through * weight, 1e-6)) + p.bearing + p.likeness * terms.likeness[row] + p.rest * terms.rest(origin, row)
        rows, at = np.unique(row, return_inverse=True)
        best = np.full(len(rows), -np.inf)
        np.maximum.at(best, at, lent)
        return rows, np.asarray(best, dtype=np.float32)

    # -- consolidation --
    def consolidate(self, work: Workbench) -> None:
        report = Report()
        for portion in work.portions(self.parameters.portion):
            Desk(work, portion, self.parameters, report).work_through()
        for reason, count in report.refused.items():
            work.report(f"degraded: {reason}", count)
        if report.unsupported:
            work.report("rejected: not in its sources", report.unsupported)


class Terms:
    """What of a question rows hold, by words, weighed by how rare they are among the rows that may be shown, and by meaning."""

    def __init__(self, question: Question, view: View) -> None:
        self.view = view
        hashes = np.unique(np.array([term(word) for word in words(question.text)], dtype=np.uint32))[:_MOST_TERMS]
        self._held = view.index.lexical.holding(hashes)
        shown = self._held[np.flatnonzero((self._held != 0) & view.allowed)]
        counts = np.array([np.count_nonzero(shown >> at & 1) for at in range(len(hashes))], dtype=np.float64)
        weights = np.log((max(int(np.count_nonzero(view.allowed)), 1) + 1) / (counts + 0.5))
        self._weights: Numbers = np.maximum(weights, 0.0) / max(float(weights.clip(0).sum()), 1e-9)
        self.likeness: Numbers = np.zeros(len(self._held)) if view.cosines is None else np.nan_to_num(view.cosines).astype(np.float64)

    def rest(self, one: Rows, other: Rows) -> Numbers:
        """Share of the question, (m,), that the rows `other` hold and the rows `one` do not."""
        new = self._held[other] & ~self._held[one]
        some = np.flatnonzero(new)
        out = np.zeros(len(new))
        out[some] = (new[some, None] >> np.arange(len(self._weights)) & 1).astype(np.float64) @ self._weights
        return out

    def noted(self, shelf: Shelf, parameters: Parameters) -> Floats:
        """(n,) log odds that rows gain by what their notes say beyond them."""
        out = np.zeros(len(self._held), dtype=np.float32)
        nearer = np.maximum(self.likeness[shelf.rows] - self.likeness[shelf.of], 0.0)
        said = parameters.said * self.rest(shelf.of, shelf.rows) + parameters.meant * nearer
        out[shelf.of] = said
        return out
