"""Several texts that overlap, as one: the fullest of them, and what the others add."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mnemos.index.terms import term, words

_BETWEEN = re.compile(r"(?<=[.!?…])\s+|\n+")


def combined(texts: Sequence[str]) -> str:
    """The longest text, then, in their order, the sentences of the others that say a word which was not said yet."""
    fullest = max(texts, key=len)
    said = set(map(term, words(fullest)))
    added = []
    for text in texts:
        if text is fullest:
            continue
        for sentence in sentences(text):
            says = set(map(term, words(sentence)))
            if says - said:
                added.append(sentence)
                said |= says
    return " ".join([fullest.rstrip(), *added]) if added else fullest


def sentences(text: str) -> list[str]:
    """The sentences of a text, without the space around them."""
    return [found for piece in _BETWEEN.split(text) if (found := piece.strip())]
