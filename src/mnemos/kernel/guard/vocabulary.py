"""Which terms are usual in a memory: rare ones weigh more, and a query's words that nobody else uses may be a trigger."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mnemos.kernel.guard.paths import Path


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """In how many of `records` records each term, and each two neighbouring terms, stand. Empty: every term weighs 1, and none is known."""

    records: int = 0
    counts: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Vocabulary:
        """The vocabulary of some records."""
        counts: Counter[int] = Counter()
        records = 0
        for path in paths:
            counts.update(path.terms)
            counts.update(path.pairs)
            records += 1
        return cls(records, counts)

    def weigh(self, terms: frozenset[int]) -> float:
        """The weight of several terms together: of each ln(1 + records / (1 + records that hold it)), and 1 where there are no records."""
        if not self.records:
            return float(len(terms))
        counts, records = self.counts, self.records
        return sum(math.log(1.0 + records / (1 + counts.get(term, 0))) for term in terms)

    def as_json(self) -> dict[str, Any]:
        return {"records": self.records, "counts": {str(term): count for term, count in self.counts.items()}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Vocabulary:
        """What `as_json` wrote. Raises `KeyError`, `TypeError` or `ValueError` for anything else."""
        return cls(int(value["records"]), {int(term): int(count) for term, count in value["counts"].items()})
