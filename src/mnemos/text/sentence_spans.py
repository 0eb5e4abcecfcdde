"""Where the sentences of a text stand, so that what is found in one can be quoted with its place."""

from __future__ import annotations

import re
from typing import NamedTuple

_END = re.compile(r"(?<![.!?…])[.!?…]+[\"'”’)\]]{0,4}\s+|[。！？]+\s*|\n\s*")
_ABBREVIATED = re.compile(
    r"(?:\b(?:dr|mr|mrs|ms|st|vs|e\.g|i\.e|prof|jr|sr|approx|no|inc|ltd|co|mt|ft|feat|gen|col|lt)|(?<![^\W\d_])[^\W\d_])\.$", re.I
)


class Sentence(NamedTuple):
    """`source[start:end]` is the sentence."""

    text: str
    start: int
    end: int


def sentence_spans(text: str) -> list[Sentence]:
    """The sentences of `text`, in order: cut after . ! ? and at line breaks, not after abbreviations and initials; without blanks at their ends."""
    out: list[Sentence] = []
    start = 0
    for match in _END.finditer(text):
        mark = match.group().lstrip()
        if mark[:1] == "." and _ABBREVIATED.search(text, max(start, match.start() - 8), match.start() + 1):
            continue
        _add(out, text, start, match.end())
        start = match.end()
    _add(out, text, start, len(text))
    return out


def _add(out: list[Sentence], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    stripped = piece.strip()
    if stripped:
        start += piece.index(stripped)
        out.append(Sentence(stripped, start, start + len(stripped)))
