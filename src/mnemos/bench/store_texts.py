"""Realistic texts in any number: sentences of public-domain prose, recombined."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mnemos.bench.datasets import read_lines, read_text

BOOKS = ("dracula", "great-expectations", "moby-dick", "pride-and-prejudice", "sherlock-holmes-adventures", "tale-of-two-cities")
_END = re.compile(r"(?<=[.!?])[\"”’)]*\s+")


def sentences(folder: Path) -> list[str]:
    """Sentences of 4 to 60 words from six novels and 65 speeches, each once, in their order."""
    prose = [read_text(folder, f"text/{book}.txt.gz") for book in BOOKS]
    prose += [speech["text"] for speech in read_lines(folder, "text/state_union.jsonl.gz")]
    found = (" ".join(part.split()) for text in prose for part in _END.split(text))
    return list(dict.fromkeys(part for part in found if 4 <= part.count(" ") + 1 <= 60))


def recombined(pool: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """`count` different texts of one to three sentences each."""
    texts: dict[str, None] = {}
    while len(texts) < count:
        sizes = rng.integers(1, 4, size=count - len(texts))
        picks = rng.integers(0, len(pool), size=(len(sizes), 3))
        texts.update(dict.fromkeys(" ".join(pool[i] for i in row[:size]) for row, size in zip(picks, sizes, strict=True)))
    return list(texts)


def questions(pool: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """`count` questions of common question words and six to nine words that follow one another in some sentence."""
    asked = []
    for index in rng.integers(0, len(pool), size=count):
        words = pool[index].rstrip(".!?").split()
        size = int(rng.integers(6, 10))
        start = int(rng.integers(0, max(1, len(words) - size + 1)))
        asked.append(f"What was said about {' '.join(words[start : start + size])}?")
    return asked
