"""Summaries by way of a global memory: its key points are each searched for, and what they find, together, is summarised.

Source: MemoRAG, arXiv 2409.05591, section 2 (summarisation): a summary that is retrieved for in this way stays within the text of the corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mnemos.base.errors import Invalid
from mnemos.text.clues.evidence import EACH, Hit
from mnemos.text.summary import Passage, Summary, summarise

Item = TypeVar("Item", bound=Hashable)


@dataclass(frozen=True, slots=True)
class KeyPoints(Generic[Item]):
    """A summary of what key points found; `found`: each passage with the points that found it, in the order of the points."""

    summary: Summary
    found: dict[Item, list[str]]


def key_points(gists: Sequence[str], most: int = 12) -> list[str]:
    """Sentences of gists that stand for all of them, at most `most`, by centrality and novelty. Raises `Invalid` for `most` below 1."""
    if most < 1:
        raise Invalid(f"clues.most: expected 1 or more, not {most}")
    if not gists:
        return []
    chosen = summarise([Passage(gist) for gist in gists], budget=30 * most).sentences
    return [sentence.text for sentence in chosen[:most]]


def summarised(points: Sequence[str], search: Callable[[str, int], Sequence[Hit[Item]]], *, budget: int, each: int = EACH) -> KeyPoints[Item]:
    """Search for each point; summarise the union of what is found in `budget` tokens. Raises `Invalid` for a budget, or `each`, below 1."""
    if each < 1:
        raise Invalid(f"clues.each: expected 1 or more, not {each}")
    found: dict[Item, list[str]] = {}
    texts: dict[Item, str] = {}
    for point in points:
        for hit in search(point, each):
            found.setdefault(hit.item, []).append(point)
            texts[hit.item] = hit.text
    return KeyPoints(summarise([Passage(texts[item]) for item in found], budget=budget), found)
