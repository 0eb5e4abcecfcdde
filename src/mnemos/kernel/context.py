"""Text for a prompt: what to read, in which order, within which budget (the reading policy of ConvoMem, arXiv 2511.10523, section 5)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mnemos.base.errors import Invalid
from mnemos.kernel.results import Context, Hit
from mnemos.text.excerpt import excerpt

if TYPE_CHECKING:
    from mnemos.kernel.space import Space

Counter = Callable[[str], int]

CANDIDATES = 60
"""Memories looked at for one context. More do not fit a usual budget; fewer would starve questions that need many pieces."""
_SHARE = 5
"""A long text gets at most this part of the budget while others wait, so that several sources fit."""


def assemble(space: Space, question: str, budget: int, count: Counter, conditions: dict[str, Any]) -> Context:
    """The context for `question`: everything the conditions allow where it fits the budget, else the best of it."""
    if "k" in conditions:
        raise Invalid("context: takes no k; the budget says how much is given")
    found = space.search(question, k=CANDIDATES, **conditions)
    hits = _distinct(found)
    chosen = _Chosen(budget, count)
    everything = [(hit, hit.cube.text.strip()) for hit in hits]
    if len(found) < CANDIDATES and chosen.fits(everything):
        return chosen.context("exhaustive")
    share = max(budget // _SHARE, 24)
    for hit in hits:
        chosen.add(hit, excerpt(hit.cube.text.strip(), question, share, count))
    return chosen.context("retrieve")


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

    def fits(self, lines: list[tuple[Hit, str]]) -> bool:
        """Take all of `lines` where they fit together."""
        before = self._lines
        self._lines = lines
        if self._count(_render(lines)[0]) <= self._budget:
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
            text, hits = _render(lines)
            tokens = self._count(text)
            if tokens <= self._budget or not lines:
                return Context(text if tokens <= self._budget else "", hits, min(tokens, self._budget) if lines else 0, policy)
            lines.pop()


def _render(lines: list[tuple[Hit, str]]) -> tuple[str, tuple[Hit, ...]]:
    """The sources in order of time (of writing, where none is given), numbered from 1."""
    ordered = sorted(lines, key=lambda line: (line[0].cube.event_at or line[0].cube.created_at, line[0].cube.position))
    text = "\n".join(itertools.starmap(lambda i, line: _line(i, *line), enumerate(ordered, 1)))
    return text, tuple(hit for hit, _ in ordered)


def _line(number: int, hit: Hit, text: str) -> str:
    cube = hit.cube
    when = f"{cube.event_at:%Y-%m-%d %H:%M}" if cube.event_at else ""
    who = cube.author or (cube.source or "" if cube.type == "document" else "")
    head = ", ".join(part for part in (when, who) if part)
    return f"[{number}] {head}: {text}" if head else f"[{number}] {text}"
