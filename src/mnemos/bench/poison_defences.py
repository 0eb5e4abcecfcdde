"""The defences that a guard has to beat: a character language model that finds odd texts, and an audit that looks at each record by itself."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from mnemos.kernel.guard.records import Candidate

_ORDER = 4
_ODD = re.compile(
    r"\bignore (?:all |any )?(?:previous|prior|above)|\bdisregard\b|\bsystem prompt\b|\bdo not tell\b|\boverride\b"
    r"|\b(?:without|no need for) (?:asking|approval|confirmation)\b|\bjailbreak|\bpassword|\bcredential|\b(?:rm -rf|drop table)\b"
    r"|https?://|[\w.+-]+@[\w-]+\.\w+",
    re.IGNORECASE,
)


class CharacterModel:
    """Character n-grams of general English (orders 0 to 4, Witten-Bell weights), in place of the language model of published filters; flags
    texts more perplexing than 99 % of the benign ones."""

    def __init__(self, english: Sequence[str], benign: Sequence[str]) -> None:
        self._counts: list[Counter[str]] = [Counter() for _ in range(_ORDER + 1)]
        self._follow: list[Counter[str]] = [Counter() for _ in range(_ORDER + 1)]
        self._totals: list[Counter[str]] = [Counter() for _ in range(_ORDER + 1)]
        for text in english:
            self._add(text)
        self.bound = float(np.percentile([self.perplexity(text) for text in benign], 99))

    def flags(self, text: str) -> bool:
        """Whether the text is odder than benign ones."""
        return self.perplexity(text) > self.bound

    def perplexity(self, text: str) -> float:
        """Per character."""
        loss = -sum(math.log(self._probability(gram)) for gram in _grams(text, _ORDER))
        return math.exp(loss / max(1, len(text)))

    def _probability(self, gram: str) -> float:
        """Of the last character after the others: each order is weighed against the shorter ones by how many characters follow its context."""
        probability = 1 / 256
        for order in range(_ORDER + 1):
            piece = gram[_ORDER - order :]
            kinds = self._follow[order][piece[:-1]]
            if kinds:
                probability = (self._counts[order][piece] + kinds * probability) / (self._totals[order][piece[:-1]] + kinds)
        return probability

    def _add(self, text: str) -> None:
        for order in range(_ORDER + 1):
            for gram in _grams(text, order):
                if not self._counts[order][gram]:
                    self._follow[order][gram[:-1]] += 1
                self._counts[order][gram] += 1
                self._totals[order][gram[:-1]] += 1


def audit_flags(record: Candidate) -> bool:
    """Whether a reader of this one record, who knows the usual signs of an injection, would flag it: phrases, addresses, links."""
    calls = " ".join(f"{call.tool} {' '.join(map(str, call.arguments.values()))}" for call in record.calls)
    return bool(_ODD.search(record.text) or _ODD.search(calls))


def _grams(text: str, order: int) -> list[str]:
    padded = " " * _ORDER + text
    return [padded[at - order : at + 1] for at in range(_ORDER, len(padded))]
