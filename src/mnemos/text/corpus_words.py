"""What a corpus tells of its words: in how many texts each stands, and whether it is written like a name. And the noun phrases that tell most."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

from mnemos.base.errors import Invalid
from mnemos.index.terms import fold, term
from mnemos.text.agreement.words import FORMS
from mnemos.text.name_words import COMMON

LONGEST_PHRASE = 3
"""Words of a noun phrase."""
MOST_PHRASES = 6
"""Noun phrases that one text gives, the most telling ones."""
_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
_ENDING = re.compile(r"(?:ly|ing|ed)$")


class Statistics:
    """Document frequencies and letter case of a corpus' words. Texts can be added and removed in any order: only sums are kept."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.texts = 0
        self._holders: Counter[int] = Counter()
        self._capital: Counter[int] = Counter()
        self._lower: Counter[int] = Counter()
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        """Counts a text."""
        self._count(text, 1)

    def remove(self, text: str) -> None:
        """Takes back a text that was added. Raises `Invalid` where there is none left to take back."""
        if not self.texts:
            raise Invalid("statistics: no text is left to remove; remove only what was added")
        self._count(text, -1)

    def idf(self, word: str) -> float:
        """How telling a folded word is: ln((texts + 1) / (texts that hold it + 0.5)), so never below 0 by more than half a text's worth."""
        return math.log((self.texts + 1) / (self._holders[term(word)] + 0.5))

    def written(self, word: str) -> float | None:
        """The share of a folded word's occurrences within sentences that are capitalised; None where it was seen at most at their beginning."""
        h = term(word)
        capital, lower = self._capital[h], self._lower[h]
        return capital / (capital + lower) if capital + lower else None

    def _count(self, text: str, step: int) -> None:
        self.texts += step
        seen = set()
        last = 0
        for match in _WORD.finditer(text):
            word = match.group()
            h = term(fold(word))
            seen.add(h)
            if word[0].islower():
                _add(self._lower, h, step)
            elif match.start() and text[last : match.start()] == " ":
                _add(self._capital, h, step)
            last = match.end()
        for h in seen:
            _add(self._holders, h, step)


def _add(counts: Counter[int], h: int, step: int) -> None:
    counts[h] += step
    if counts[h] <= 0:
        del counts[h]


def phrases(text: str, statistics: Statistics, k: int = MOST_PHRASES) -> list[tuple[int, int]]:
    """Where the `k` noun phrases stand that tell most of `text` in its corpus: runs of up to three words in lower case that are no function words,
    verbs or adverbs, by how often the text has them times the mean idf of their words. In the order of the text, each at its first place."""
    counts: Counter[str] = Counter()
    places: dict[str, tuple[int, int]] = {}
    weights: dict[str, float] = {}
    run: list[re.Match[str]] = []

    def close() -> None:
        if run:
            chosen = run[-LONGEST_PHRASE:]
            start, end = chosen[0].start(), chosen[-1].end()
            key = " ".join(match.group() for match in chosen)
            counts[key] += 1
            places.setdefault(key, (start, end))
            weights[key] = sum(statistics.idf(fold(match.group())) for match in chosen) / len(chosen) * math.sqrt(len(chosen))
            run.clear()

    last = -1
    for match in _WORD.finditer(text):
        word = match.group()
        telling = word[0].islower() and len(word) > 2 and word not in COMMON and word not in FORMS and _ENDING.search(word) is None
        if run and text[last : match.start()] != " ":
            close()
        if telling:
            run.append(match)
        else:
            close()
        last = match.end()
    close()
    best = sorted(weights, key=lambda key: (-weights[key] * counts[key], places[key]))[:k]
    return sorted(places[key] for key in best if weights[key] > 0)
