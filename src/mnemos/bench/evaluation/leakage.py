"""Leakage audit: how much of an evaluation set stands in what a system was made from, by MinHash (Broder 1997) over word shingles."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

OVERLAP = 0.8
"""Estimated Jaccard similarity from which two texts count as overlapping."""
ACCEPTED = 0.007
"""Share of evaluation texts that may overlap."""
SHINGLE = 5
PERMUTATIONS = 128
_BANDS = 32
_PRIME = np.uint64((1 << 31) - 1)
_WORD = re.compile(r"\w+")

Signatures = NDArray[np.uint64]


@dataclass(frozen=True)
class Leakage:
    """`share` of the evaluation texts that overlap with a source text; `pairs` are (evaluation index, source index, estimated similarity)."""

    share: float
    pairs: tuple[tuple[int, int, float], ...]
    accepted: float = ACCEPTED

    @property
    def passed(self) -> bool:
        return self.share <= self.accepted


def signatures(texts: Sequence[str], seed: int = 0) -> Signatures:
    """MinHash signatures, shape (len(texts), 128): the share of equal columns estimates the Jaccard similarity of the sets of shingles of five
    words; a shorter text is one shingle."""
    rng = np.random.default_rng(seed)
    factors = rng.integers(1, int(_PRIME), PERMUTATIONS, dtype=np.uint64)
    shifts = rng.integers(0, int(_PRIME), PERMUTATIONS, dtype=np.uint64)
    out = np.empty((len(texts), PERMUTATIONS), dtype=np.uint64)
    for row, text in enumerate(texts):
        hashes = _shingles(text) % _PRIME
        out[row] = ((hashes[:, None] * factors + shifts) % _PRIME).min(0)
    return out


def _shingles(text: str) -> NDArray[np.uint64]:
    words = _WORD.findall(text.casefold())
    parts = {" ".join(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1))}
    return np.array([int.from_bytes(hashlib.blake2b(p.encode(), digest_size=8).digest(), "little") for p in sorted(parts)], dtype=np.uint64)


def leakage(evaluation: Sequence[str], sources: Sequence[str], threshold: float = OVERLAP) -> Leakage:
    """Which evaluation texts overlap with a source text. Candidates share one of 32 bands of 4 columns, so that a pair at 0.8 is missed with
    probability 5e-8; each is then judged by its whole signature."""
    ours, theirs = signatures(evaluation), signatures(sources)
    width = PERMUTATIONS // _BANDS
    buckets: dict[tuple[int, bytes], list[int]] = {}
    for row, signature in enumerate(theirs):
        for band in range(_BANDS):
            buckets.setdefault((band, signature[band * width : (band + 1) * width].tobytes()), []).append(row)
    pairs = []
    for row, signature in enumerate(ours):
        keys = ((band, signature[band * width : (band + 1) * width].tobytes()) for band in range(_BANDS))
        for other in sorted({candidate for key in keys for candidate in buckets.get(key, ())}):
            alike = float(np.mean(signature == theirs[other]))
            if alike >= threshold:
                pairs.append((row, other, alike))
    share = len({row for row, _, _ in pairs}) / len(evaluation) if len(evaluation) else 0.0
    return Leakage(share, tuple(pairs))
