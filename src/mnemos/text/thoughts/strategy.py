"""The strategy "thoughts": conclusions are drawn once, when a turn was written, kept in order, and recalled instead of drawn anew.

Source: Think-in-Memory (TiM), arXiv 2311.08719, section 3: post-thinking extracts thoughts, inserts, forgets and merges them. Here the turns stay
as they were; a thought has its sources, its time, and the thought that ended it; and what has ended bears on no search.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnemos.index.vectors import Mask
from mnemos.text.asking import Report
from mnemos.text.plain import Plain, distinct
from mnemos.text.question import Question
from mnemos.text.strategy import Floats, Memory, Recall, View, Workbench
from mnemos.text.thoughts import currency
from mnemos.text.thoughts.currency import asks_for_now, exchange, newest_first
from mnemos.text.thoughts.settling import Reading
from mnemos.text.thoughts.thought import ENDS, State, thought_of
from mnemos.text.thoughts.upkeep import NAME, Limits, Upkeep

Rows = NDArray[np.int64]
PORTION = 64
_LONG = 400
"""Characters of a source from which on a thought is handed out beside it that takes a third of its length."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """How thoughts are drawn and recalled."""

    most: int = 6
    """Thoughts of one memory; 1 or more."""
    floor: float = 0.3
    """Cosine with the question from which a thought is recalled; the sheet's."""
    bearing: float = 1.5
    """Log odds that a memory gains from a thought of it that says what is asked (cosine 1); less in proportion down to the floor. Ours."""
    handed: float = 0.2
    """Share of the hits that may be thoughts; the rest are sources. Ours."""
    derive: bool = True
    """Whether tallies of what somebody got and parted with are kept."""
    currency: currency.Parameters = currency.DEFAULTS


DEFAULTS = Parameters()


class Thoughts(Plain):
    """Turns give thoughts; newer ones end older ones; a search hands out those that hold, with their sources."""

    name = NAME
    about = "conclusions drawn once and kept: what was said of whom, what replaced it, what it adds up to"
    consolidates = True

    def __init__(self, parameters: Parameters = DEFAULTS) -> None:
        super().__init__()
        self.parameters = parameters

    # -- reading --
    def recall(self, question: Question, view: View, k: int) -> Recall:
        held = Held.of(view)
        if held is None:
            return super().recall(question, view, k)
        if (view.allowed & held.over).any():
            view = replace(view, allowed=view.allowed & ~held.over)
        ranking = self.ranking(question, view)
        lent = self._bearing(view, held)
        scores = np.asarray(ranking.scores + lent, dtype=np.float32)
        if asks_for_now(question):
            scores = _replaced_below(view, held, scores, self.parameters.floor)
            top = distinct(view.index, scores, self.parameters.currency.within)
            scores = newest_first(question, view, scores, top[np.isfinite(scores[top])], held.drawn(), self.parameters.currency)
        best = distinct(view.index, scores, k)
        best = best[np.isfinite(scores[best])]
        rows, values = self._with_thoughts(view, held, best, scores, k)
        return Recall(rows, values, {**ranking.signals(rows), "thought": lent[rows]})

    def _bearing(self, view: View, held: Held) -> Floats:
        """(n,) log odds that each source gains from its best thought."""
        lent = np.zeros(len(view.index), dtype=np.float32)
        if view.cosines is None or not len(held.views):
            return lent
        near = np.nan_to_num(view.cosines[held.views])
        holds = ~held.ended[held.views] | held.merged[held.views]
        gain = np.where(holds, np.maximum(near - self.parameters.floor, 0.0) / (1 - self.parameters.floor), 0.0)
        np.maximum.at(lent, held.sources, np.asarray(self.parameters.bearing * gain, dtype=np.float32))
        return lent

    def _with_thoughts(self, view: View, held: Held, best: Rows, scores: Floats, k: int) -> tuple[Rows, Floats]:
        """The best rows, and before the source of each thought that is recalled the thought itself."""
        room = min(int(k * self.parameters.handed), k - 1)
        if room < 1 or view.cosines is None or view.handed is None:
            return best, scores[best]
        may = view.handed[held.views] & ~held.ended[held.views] & ~view.allowed[held.views]
        near = np.nan_to_num(view.cosines)
        may &= near[held.views] >= self.parameters.floor
        place = np.full(len(scores), len(best))
        place[best] = np.arange(len(best))
        views, at = held.views[may], place[held.sources[may]]
        first: dict[int, int] = {}
        for row, where in zip(views.tolist(), at.tolist(), strict=True):
            if where < len(best) - room or len(best) < k:
                first[row] = min(where, first.get(row, len(best)))
        ranked = sorted((row for row in first if first[row] < len(best)), key=lambda row: (-float(near[row]), row))[: 4 * room]
        chosen = _telling(view, ranked, held)[:room]
        before: dict[int, list[int]] = {}
        for row in chosen:
            before.setdefault(first[row], []).append(row)
        rows, values = [], []
        for where, row in enumerate(best.tolist()):
            for thought in before.get(where, ()):
                rows.append(thought)
                values.append(scores[row])
            rows.append(row)
            values.append(scores[row])
        return np.array(rows[:k], dtype=np.int64), np.array(values[:k], dtype=np.float32)

    # -- consolidation --
    def consolidate(self, work: Workbench) -> None:
        reading, report = Reading(), Report()
        limits = Limits(self.parameters.most, self.parameters.derive)
        for portion in work.portions(PORTION):
            Upkeep(work, portion, limits, reading, report).run()


class Held(NamedTuple):
    """The thoughts that a view may use."""

    views: Rows
    """(m,) rows of thoughts, and `sources` (m,) those of what they were made of, pair by pair; a thought of several sources comes several times."""
    sources: Rows
    ended: Mask
    """(n,) bool: rows of thoughts that no longer hold, `merged` those of them that another says as well."""
    merged: Mask
    over: Mask
    """(n,) bool: rows that no search gives, though they are allowed: thoughts that have ended."""
    replaced: tuple[Rows, Rows]
    """Row of an ended thought, and of the one that ended it, pair by pair; merged ones aside."""

    def drawn(self) -> tuple[Rows, Rows]:
        """Rows of the thoughts that hold, and of their sources, pair by pair."""
        holds = ~self.ended[self.views]
        return self.views[holds], self.sources[holds]

    @classmethod
    def of(cls, view: View) -> Held | None:
        """None where there is no thought."""
        own = view.made_by(NAME)
        if view.relations is None or not own.any():
            return None
        n, first = len(view.index), view.index.first.view()
        views, sources = view.relations.sources(own)
        present = np.full(n, -1, dtype=np.int64)
        rows = np.flatnonzero(own)
        present[first[rows]] = rows  # the usable version of each thought
        ended, merged = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
        pairs: list[tuple[Rows, Rows]] = []
        for state, kind in ENDS.items():
            edges = view.relations.edges(first, own, [kind])
            enders = present[edges.target]
            kept = enders >= 0
            over, by = present[edges.source[kept]], enders[kept]
            ended[over] = True
            if state is State.MERGED:
                merged[over] = True
            else:
                pairs.append((over, by))
        inside = sources >= 0
        replaced = (np.concatenate([one for one, _ in pairs]), np.concatenate([one for _, one in pairs]))
        return cls(views[inside], sources[inside], ended, merged, ended, replaced)


def _telling(view: View, rows: list[int], held: Held) -> list[int]:
    """Those of some thoughts that tell more, or in fewer words, than the source that they come with: what was computed or merged, what names whom
    it is about where the source says `she`, and what stands in a long source."""
    if not rows:
        return []
    texts = view.texts(held.sources[np.searchsorted(held.views, rows)].tolist())  # pairs come in the order of the views
    out = []
    for row, content, text in zip(rows, view.contents(rows), texts, strict=True):
        thought = thought_of(Memory(content, row))
        if thought is None:
            continue
        named = not thought.own and thought.sentence != thought.quote
        if thought.derived or thought.merges or named or len(text) >= max(_LONG, 3 * len(thought.sentence)):
            out.append(row)
    return out


def _replaced_below(view: View, held: Held, scores: Floats, floor: float) -> Floats:
    """Where a source says what another has replaced since, and that is what is asked for, the newer one takes the higher score of the two."""
    if view.cosines is None or not len(held.replaced[0]):
        return scores
    out = scores.copy()
    for older, newer in _chains(held, view.cosines, floor):
        old, new = [[row for row in held.sources[held.views == thought].tolist() if np.isfinite(out[row])] for thought in (older, newer)]
        if not old or not new or set(old) & set(new):
            continue
        worst, best = max(old, key=lambda row: (out[row], -row)), max(new, key=lambda row: (out[row], row))
        exchange(out, worst, best)
    return out


def _chains(held: Held, cosines: Floats, floor: float) -> Iterator[tuple[int, int]]:
    """(ended thought, what ended it) of those that bear on the question, the nearest to it last."""
    older, newer = held.replaced
    near = np.fmax(np.nan_to_num(cosines[older]), np.nan_to_num(cosines[newer]))
    order = np.argsort(near, kind="stable")
    for at in order[near[order] >= floor].tolist():
        yield int(older[at]), int(newer[at])
