"""Text for a prompt: what to read, in which order, within which budget (the reading policy of ConvoMem, arXiv 2511.10523, section 5)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mnemos.base.cube import MemCube
from mnemos.base.errors import Invalid
from mnemos.kernel.reading.results import Context, Hit
from mnemos.text.encoding import SESSION_KEYS
from mnemos.text.excerpt import ELLIPSIS, excerpt
from mnemos.text.question import analyse
from mnemos.text.reading_costs import ReadingCosts
from mnemos.text.reading_policy import HistoryStats, ReadPolicy, adaptive_cut

if TYPE_CHECKING:
    from mnemos.kernel.space import Space

Counter = Callable[[str], int]

CANDIDATES = 60
"""Memories ranked for a context, at least. More do not fit a usual budget; fewer would starve questions that need many pieces."""
MOST_CANDIDATES = 1000
_NO_FRAME = ReadingCosts(frame_tokens=0)
"""A context's budget is for the sources alone."""
_LEAST_LINE = 8
"""Tokens that a source takes at least, about: its number, its date, its author, a word."""
_SHARE = 5
"""A long text gets at most this part of the budget while others wait, so that several sources fit."""


def assemble(space: Space, question: str, budget: int, count: Counter, conditions: dict[str, Any]) -> Context:
    """The context for `question`: all that the conditions allow where it is little, else what is relevant, up to the budget.

    A small history is read whole. Of a larger one every memory is ranked, the ranking is cut where the rest holds no more than a twentieth
    of the relevance, and long texts give the sentences that bear on the question.
    """
    if "k" in conditions:
        raise Invalid("context: takes no k; the budget says how much is given")
    k = min(max(CANDIDATES, budget // _LEAST_LINE), MOST_CANDIDATES)
    found, asked = space.search(question, k=k, **conditions), analyse(question)
    chosen = _Chosen(budget, count)
    if len(found) < k and chosen.fits([(hit, hit.cube.text.strip()) for hit in _distinct(found)]):
        stats = HistoryStats(len({_conversation(hit.cube) for hit in found}), chosen.tokens)
        if ReadPolicy(window_tokens=2 * budget, costs=_NO_FRAME).plan(asked, stats).kind == "exhaustive":
            return chosen.context("exhaustive")
        chosen = _Chosen(budget, count)
    scores = np.array([hit.score for hit in found])
    kept = adaptive_cut(scores, maximum=k, multi_evidence=asked.asks_several, gap=None)
    share = max(budget // _SHARE, 3 * _LEAST_LINE)
    for hit in _distinct(found[:kept]):
        text = excerpt(hit.cube.text.strip(), question, share, count)
        if text.strip(ELLIPSIS):
            chosen.add(hit, text)
    return chosen.context("hybrid")


def _conversation(cube: MemCube) -> object:
    """What tells the conversation of a memory from others: its session, else its day."""
    session = next((cube.metadata[key] for key in SESSION_KEYS if key in cube.metadata), None)
    return str(session) if session is not None else (cube.event_at or cube.created_at).date()


def _distinct(hits: list[Hit]) -> list[Hit]:
    """The hits without those that say what a better one says, word for word."""
    seen: set[tuple[str | None, str]] = set()
    out = []
    for hit in hits:
        key = (hit.cube.author, " ".join(hit.cube.text.split()).casefold())
        if key not in seen:
            seen.add(key)
            out.append(hit)
    return out


class _Chosen:
    """Sources chosen so far, and what they cost together."""

    def __init__(self, budget: int, count: Counter) -> None:
        self._budget = budget
        self._count = count
        self._lines: list[tuple[Hit, str]] = []
        self._cost = 0
        self.tokens = 0

    def fits(self, lines: list[tuple[Hit, str]]) -> bool:
        """Take all of `lines` where they fit together; `tokens` is then what they cost."""
        before = self._lines
        self._lines = lines
        self.tokens = self._count("\n".join(_render(lines)[0]))
        if self.tokens <= self._budget:
            return True
        self._lines = before
        return False

    def add(self, hit: Hit, text: str) -> None:
        """Take one more source where it still fits by its own cost (the whole is counted again at the end)."""
        cost = self._count(_line(99, hit, text)) + 1
        if self._cost + cost <= self._budget:
            self._lines.append((hit, text))
            self._cost += cost

    def context(self, policy: str) -> Context:
        """The context, never over the budget by the tokenizer's own count: the worst source goes until it fits."""
        lines = list(self._lines)
        while True:
            rendered, hits = _render(lines)
            text = "\n".join(rendered)
            tokens = self._count(text)
            if tokens <= self._budget or not lines:
                return Context(text if tokens <= self._budget else "", hits, min(tokens, self._budget) if lines else 0, policy, rendered)
            lines.pop()


def _render(lines: list[tuple[Hit, str]]) -> tuple[tuple[str, ...], tuple[Hit, ...]]:
    """The sources in order of time (of writing, where none is given), numbered from 1."""
    ordered = sorted(lines, key=lambda line: (line[0].cube.event_at or line[0].cube.created_at, line[0].cube.position))
    rendered = tuple(itertools.starmap(lambda i, line: _line(i, *line), enumerate(ordered, 1)))
    return rendered, tuple(hit for hit, _ in ordered)


def _line(number: int, hit: Hit, text: str) -> str:
    cube = hit.cube
    when = f"{cube.event_at:%Y-%m-%d %H:%M}" if cube.event_at else ""
    who = cube.author or (cube.source or "" if cube.type == "document" else "")
    head = ", ".join(part for part in (when, who) if part)
    return f"[{number}] {head}: {text}" if head else f"[{number}] {text}"
