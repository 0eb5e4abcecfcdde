"""Which things a corpus speaks of together, and how far beyond chance."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import combinations

from mnemos.base.errors import Invalid

MOST_TOGETHER = 24
"""Different keys of one unit (a sentence, a turn) that are paired; of a longer list the first ones count."""


class Cooccurrence:
    """Counts of keys and of pairs of keys over units of text. Units can be added and removed in any order: only sums are kept."""

    def __init__(self, units: Iterable[Iterable[str]] = ()) -> None:
        self.units = 0
        self._single: Counter[str] = Counter()
        self._pairs: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for unit in units:
            self.add(unit)

    def add(self, keys: Iterable[str]) -> None:
        """Counts the keys of one unit; what stands in it twice counts once."""
        self._count(keys, 1)

    def remove(self, keys: Iterable[str]) -> None:
        """Takes a unit back that was added. Raises `Invalid` where it cannot have been."""
        keys = list(keys)
        if not self.units or any(not self._single[key] for key in keys):
            raise Invalid("co-occurrence: these keys were never added together; remove only what was added")
        self._count(keys, -1)

    def together(self, one: str, other: str) -> int:
        """Units that hold both."""
        return self._pairs[one][other] if one in self._pairs else 0

    def pmi(self, one: str, other: str) -> float:
        """Pointwise mutual information in nats: ln(p(one, other) / (p(one) p(other))); −∞ where they never meet (Church and Hanks, Word
        Association Norms, Computational Linguistics 16, 1990)."""
        both = self.together(one, other)
        return math.log(both * self.units / (self._single[one] * self._single[other])) if both else -math.inf

    def npmi(self, one: str, other: str) -> float:
        """PMI divided by −ln p(one, other): −1 (never together) to 1 (never apart) (Bouma, Normalized PMI in Collocation Extraction, 2009)."""
        both = self.together(one, other)
        if not both:
            return -1.0
        return self.pmi(one, other) / -math.log(both / self.units) if both < self.units else 1.0

    def beside(self, key: str, k: int = 10, least: int = 1) -> list[tuple[str, float]]:
        """The `k` keys that most surely belong to `key`, with their normalised PMI, best first; those that meet it in fewer than `least` units
        are left out. Ties go to the one that meets it more often, then by the alphabet."""
        met = self._pairs.get(key, Counter())
        found = [(other, self.npmi(key, other), count) for other, count in met.items() if count >= least]
        return [(other, weight) for other, weight, _ in sorted(found, key=lambda one: (-one[1], -one[2], one[0]))[:k]]

    def _count(self, keys: Iterable[str], step: int) -> None:
        unit = list(dict.fromkeys(keys))[:MOST_TOGETHER]
        self.units += step
        for key in unit:
            _add(self._single, key, step)
        for one, other in combinations(unit, 2):
            for a, b in ((one, other), (other, one)):
                _add(self._pairs[a], b, step)
                if not self._pairs[a]:
                    del self._pairs[a]


def _add(counts: Counter[str], key: str, step: int) -> None:
    counts[key] += step
    if counts[key] <= 0:
        del counts[key]
