"""Texts as detectors read them: digits and punctuation of every script as ASCII, invisible characters gone, places still known."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache, cached_property

_INVISIBLE = "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff"
_INVISIBLE_RUN = re.compile(f"[{_INVISIBLE}]+")
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63"
_BLANKS = "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_LAST_DIGIT = 0x1FBF9
_MARKS = {"\u2024": ".", "\ufe6b": "@", "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u0130": "I"}


@cache
def _table() -> tuple[dict[str, str], re.Pattern[str]]:
    """Character → its ASCII stand-in, and a pattern that finds those characters."""
    table = dict(_MARKS) | dict.fromkeys(_DASHES, "-") | dict.fromkeys(_BLANKS, " ")
    table |= {chr(0xFEE0 + code): chr(code) for code in range(0x21, 0x7F)}  # full-width forms
    for code in range(0x80, _LAST_DIGIT + 1):
        if unicodedata.category(chr(code)) == "Nd":
            table[chr(code)] = str(unicodedata.digit(chr(code)))
    return table, re.compile("[" + "".join(re.escape(character) for character in sorted(table)) + "]")


_NUMBERS = re.compile(r"[0-9+(][0-9 ()./+-]{5,}+")


class Folded:
    """A text folded character by character. `text` has the length of the original less its invisible characters; `span` leads back."""

    def __init__(self, original: str) -> None:
        self.original = original
        self._gone: list[int] = []  # folded positions before which characters were left out
        self._shifts: list[int] = []  # how many in all up to there
        text = original
        if not text.isascii():
            table, foldable = _table()
            text = foldable.sub(lambda match: table[match[0]], text)
            text = self._without_invisible(text)
        self.text = text

    def _without_invisible(self, text: str) -> str:
        pieces, end, kept, gone = [], 0, 0, 0
        for match in _INVISIBLE_RUN.finditer(text):
            pieces.append(text[end : match.start()])
            kept += match.start() - end
            end = match.end()
            gone += match.end() - match.start()
            self._gone.append(kept)
            self._shifts.append(gone)
        return "".join([*pieces, text[end:]]) if pieces else text

    @cached_property
    def lower(self) -> str:
        """`text` in lower case, place by place."""
        return self.text.lower()

    @cached_property
    def numbers(self) -> list[tuple[int, int]]:
        """(start, end) of each stretch of digits and what may stand between them, 6 characters and more, and 2 beyond its end, for a pattern
        that looks ahead."""
        return [(match.start(), match.end() + 2) for match in _NUMBERS.finditer(self.text)]

    def numbered(self, pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
        """The matches of a pattern of digits in `numbers`."""
        for start, end in self.numbers:
            yield from pattern.finditer(self.text, start, end)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where `text[start:end]` stands in the original; invisible characters inside it belong to it. `start` < `end`."""
        return self._place(start), self._place(end - 1) + 1

    def _place(self, position: int) -> int:
        at = bisect_right(self._gone, position)
        return position + (self._shifts[at - 1] if at else 0)

    def hits(self, *words: str) -> Iterator[int]:
        """Where any of `words`, in lower case, stands in the text: by word, each in order of place."""
        for word in words:
            at = self.lower.find(word)
            while at >= 0:
                yield at
                at = self.lower.find(word, at + len(word))
