"""Bounds from benign data: each is the 99th percentile of what a memory shows when nobody attacks it, never a constant set by hand."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
import orjson

from mnemos.base.errors import Invalid
from mnemos.kernel.guard import echo, independence
from mnemos.kernel.guard.actions import Effect
from mnemos.kernel.guard.divergence import compared, divergences
from mnemos.kernel.guard.paths import Path, path_of
from mnemos.kernel.guard.probing import Retrieve
from mnemos.kernel.guard.records import Candidate, candidates_of
from mnemos.kernel.guard.settings import Settings
from mnemos.kernel.guard.vocabulary import Vocabulary

PERCENTILE = 99.0
"""Share of benign cases, in per cent, that a bound lets pass."""
LEAST_SAMPLES = 30
"""Lists of records without which no percentile means anything."""


@dataclass(frozen=True)
class Calibration:
    """The bounds, all from benign lists of retrieved records.

    `divergence`: of D, leave-one-out; None where no data had paths to compare, and then nothing is excluded by D. `echo`: of the strength at
    which `echo_size` records of a list make one claim; `echo_pair`: of that of two. `near`: of the overlap of the terms of two texts.
    `vocabulary`: what is usual there; `actions`: kinds of what independent records did; `known`: ids of the records, and `until`
    the time (microseconds since 1970) until which whatever was written counts as one of them. `samples`: lists that the bounds come from.
    """

    divergence: float | None
    echo: float
    echo_pair: float
    near: float
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    actions: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()
    until: int | None = None
    samples: int = 0

    def knows(self, record: Candidate) -> bool:
        """Whether a record was there in benign times."""
        early = self.until is not None and record.created_at is not None and record.created_at <= self.until
        return early or record.id in self.known

    @functools.cached_property
    def fingerprint(self) -> str:
        """Names the bounds and the vocabulary, for the log of decisions."""
        return sha256(orjson.dumps(self.as_json(), option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]

    def as_json(self) -> dict[str, Any]:
        return {
            "divergence": self.divergence, "echo": self.echo, "echo_pair": self.echo_pair, "near": self.near,
            "vocabulary": self.vocabulary.as_json(), "actions": sorted(self.actions), "known": sorted(self.known),
            "until": self.until, "samples": self.samples,
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Calibration:
        """What `as_json` wrote. Raises `Invalid`."""
        try:
            bound = value["divergence"]
            return cls(None if bound is None else float(bound), float(value["echo"]), float(value["echo_pair"]), float(value["near"]),
                       Vocabulary.from_json(value["vocabulary"]), frozenset(map(str, value["actions"])),
                       frozenset(map(str, value["known"])), None if value["until"] is None else int(value["until"]),
                       int(value["samples"]))  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Invalid(f"calibration: {error!r}; give the JSON that the guard wrote, unchanged") from None


REFERENCE = Calibration(divergence=None, echo=0.266, echo_pair=0.141, near=0.343)
"""For a memory that has not been calibrated: from 1,582 benign lists of ten passages (Natural Questions and three multi-hop sets, retrieved by
Mnemos with hashed n-grams), every term weighing 1; `mnemos bench poison` measures them anew. There is no vocabulary in it, so that triggers are
not looked for, and no bound for D."""


def calibrate(
    lists: Iterable[tuple[str, Sequence[object]]],
    settings: Settings | None = None,
    *,
    memory: Iterable[object] = (),
    effects: Mapping[str, Effect] | None = None,
    vocabulary: Vocabulary | None = None,
) -> Calibration:
    """The bounds from benign (query, retrieved records) pairs, `LEAST_SAMPLES` of them or more; see `leave_one_out` for a source of them.

    `memory` are all records that were there in benign times, those of the lists or more: they tell what is usual. `vocabulary` replaces
    theirs. Raises `Invalid` for too few lists.
    """
    settings = settings or Settings()
    read = [(query, candidates_of(found)) for query, found in lists]
    if len(read) < LEAST_SAMPLES:
        raise Invalid(f"calibrate: {len(read)} lists are too few for a percentile; give {LEAST_SAMPLES} benign queries with what they found, or more")
    records = {record.id: record for record in itertools.chain(map(Candidate.of, memory), *(found for _, found in read))}
    seen = {id: path_of(record, effects) for id, record in records.items()}
    words = vocabulary if vocabulary is not None else Vocabulary.of(seen.values())
    distances: list[float] = []
    strengths: list[float] = []
    echo_pairs: list[float] = []
    overlaps: list[float] = []
    for query, listed in read:
        found = list({record.text: record for record in reversed(listed)}.values())[::-1]  # copies are no echo, and go before one is sought
        paths = [seen[record.id] for record in found]
        strength, alike = echo.echoes(query, paths, words), independence.alike(paths)
        upper = np.triu_indices(len(paths), 1)
        strengths.append(echo.echo_strength(strength, settings.echo_size))
        echo_pairs += strength[upper].tolist()
        overlaps += alike[upper].tolist()
        # No near-duplicates are joined here: how near benign records come to each other is what is being measured.
        trusts = [independence.trust_of(record, settings) for record in found]
        witness = independence.dependence(found, paths, trusts, settings, near=1.0)
        distances += [d for d in divergences(paths, witness, settings.action_weight, compared(paths)) if d is not None]
    bound = _bound(distances) if distances else None
    return Calibration(bound, _bound(strengths), _bound(echo_pairs), _bound(overlaps), words, _usual(records, seen, settings),
                       frozenset(records), samples=len(read))  # fmt: skip


def _usual(records: Mapping[str, Candidate], paths: Mapping[str, Path], settings: Settings) -> frozenset[str]:
    """The kinds of action that enough independent records tell of."""
    sources: dict[str, set[str]] = {}
    for id, record in records.items():
        action = paths[id].action
        if action is not None:
            sources.setdefault(action.kind, set()).add(record.session or record.source or record.author or id)
    return frozenset(kind for kind, found in sources.items() if len(found) >= settings.independent_sources)


def leave_one_out(records: Sequence[object], retrieve: Retrieve, k: int = 10) -> Iterator[tuple[str, list[Candidate]]]:
    """For each record, its text as the query, and the `k` records that are found for it, itself left out: benign lists of a memory as it is."""
    for record in candidates_of(records):
        found = [Candidate.of(other) for other in retrieve(record.text, k + 1)]
        yield record.text, [other for other in found if other.id != record.id][:k]


def _bound(values: Sequence[float]) -> float:
    return float(np.percentile(np.asarray(values), PERCENTILE)) if values else 1.0
