"""Gists: the few sentences that stand for a section of a corpus.

Source: MemoRAG, arXiv 2409.05591, its "lite" memory: gists of at most 512 tokens for chunks of 4,096, written by a language model. Ours are
extractive, and sections and gists are shorter by the same factor, as embedders read some 256 tokens at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnemos.text.summary import Passage, Sentence, summarise


@dataclass(frozen=True, slots=True)
class Sections:
    """How a corpus is cut into sections."""

    words: int = 1200
    """Of a section, about: it ends with the memory that reaches them."""
    fewest: int = 250
    """From which a section has a gist."""
    share: int = 8
    """Words of a section for each token of its gist, about: MemoRAG's ratio."""


SECTIONS = Sections()


def cut(lengths: Sequence[float] | NDArray[np.float32], sections: Sections = SECTIONS) -> list[slice]:
    """Consecutive stretches of memories of those `lengths` in words, the last one as long as it is. More memories at the end move no earlier cut."""
    out, start, total = [], 0, 0.0
    for at, length in enumerate(lengths):
        total += float(length)
        if total >= sections.words:
            out.append(slice(start, at + 1))
            start, total = at + 1, 0.0
    return [*out, slice(start, len(lengths))] if start < len(lengths) else out


def gist(passages: Sequence[Passage], words: float, sections: Sections = SECTIONS) -> list[Sentence]:
    """The sentences that stand for some passages of so many words, in their order; `Sentence.passage` says whose each is."""
    return list(summarise(passages, budget=max(int(words) // sections.share, 24)).sentences)
