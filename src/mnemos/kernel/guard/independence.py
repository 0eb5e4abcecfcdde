"""Who is independent of whom: records of one session, source or author, or in nearly the same words, are one witness."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mnemos.kernel.guard.claims import components
from mnemos.kernel.guard.paths import Path
from mnemos.kernel.guard.records import Candidate
from mnemos.kernel.guard.settings import Settings

_LABELS = ("session", "source", "author")


def trust_of(record: Candidate, settings: Settings) -> float:
    """How far a record is believed, 0 to 1: its own trust, else that of its origin."""
    return record.trust if record.trust is not None else settings.trust.get(record.origin or "", settings.unknown_trust)


def dependence(records: Sequence[Candidate], paths: Sequence[Path], trusts: Sequence[float], settings: Settings, near: float) -> list[int]:
    """The witness that each record belongs to, as the index of that witness's first record.

    Two records whose labels can be believed are one witness where the most particular label that both have (session, else source, else
    author) is the same, and two where it differs. Of any others, one shared label or texts whose terms overlap by more than `near` (Jaccard)
    make one witness: other labels cost a liar nothing.
    """
    linked = alike(paths) > near
    for i, first in enumerate(records):
        for j in range(i):
            second = records[j]
            shared = [getattr(first, name) == getattr(second, name) for name in _LABELS if getattr(first, name) and getattr(second, name)]
            if min(trusts[i], trusts[j]) >= settings.attested_trust:
                linked[i, j] = shared[0] if shared else linked[i, j]
            else:
                linked[i, j] = linked[i, j] or any(shared)
            linked[j, i] = linked[i, j]
    witness = [0] * len(records)
    for group in components(linked):
        for member in group:
            witness[member] = group[0]
    return witness


def alike(paths: Sequence[Path]) -> NDArray[np.float64]:
    """Jaccard's index of the terms of each two texts, shape (paths, paths), 0 on the diagonal and for texts without terms."""
    out = np.zeros((len(paths), len(paths)))
    for i, first in enumerate(paths):
        for j in range(i):
            shared = len(first.terms & paths[j].terms)
            if shared:
                out[i, j] = out[j, i] = shared / (len(first.terms) + len(paths[j].terms) - shared)
    return out


def weights(witnesses: Sequence[int], trusts: Sequence[float]) -> list[float]:
    """The vote of each record: its trust, shared among those of its witness."""
    sizes = Counter(witnesses)
    return [trust / sizes[witness] for witness, trust in zip(witnesses, trusts, strict=True)]


def capped(witnesses: Sequence[int], k: int) -> list[int]:
    """Indices of the first `k` records of which at most ⌈k/3⌉ belong to one witness, in their order."""
    most = math.ceil(k / 3)
    taken: Counter[int] = Counter()
    chosen: list[int] = []
    for index, witness in enumerate(witnesses):
        if taken[witness] < most and len(chosen) < k:
            taken[witness] += 1
            chosen.append(index)
    return chosen
