"""How much a set of vectors says: truncated matrix entropy (UNComp, arXiv 2410.03090, section 3).

Vectors are centred and brought to length 1; the eigenvalues of their covariance, divided by its trace, are a distribution, and the entropy of its
largest k entries is what they say. The eigenvalues after an elbow are noise: with them entropy grows with depth, without them it falls.

For the vectors of texts, and, in `mnemos.activation.entropy`, for hidden states, queries and keys.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid

SHARE = 0.25
"""Of d eigenvalues the fixed rule counts so many: 32 of 128 in the authors' code."""
RULES = ("fixed", "half", "chord")

Spectrum = NDArray[np.float64]


def spectrum(vectors: Any, shrinkage: float = 0.0, library: Any = np, centred: bool = False) -> Spectrum:
    """[..., n, d] → [..., d]: eigenvalues of the covariance of centred unit rows, largest first, of sum 1; all 0 where the rows are all the same.
    `centred`: rows are centred already, by what more than they are centred around.

    Where n < d, they are those of the n × n products of rows, which are the same but for zeros. `shrinkage` in [0, 1] moves the covariance towards
    the identity, which few rows need: their covariance has lower entropy than that of what they were drawn from. Computed in double precision by
    `library`, which is the one of the vectors: NumPy, or one that has the same functions. Raises `Invalid` for fewer than 2 rows and for a shrinkage
    outside [0, 1].
    """
    if vectors.ndim < 2 or vectors.shape[-2] < 2:
        raise Invalid(f"matrix entropy is of at least 2 rows of vectors [..., n, d]; the shape {tuple(vectors.shape)} has fewer")
    if not 0 <= shrinkage <= 1:
        raise Invalid(f"shrinkage is a share in [0, 1], not {shrinkage}")
    given = library.asarray(vectors, dtype=library.float64)
    n, d = given.shape[-2:]
    rows = given if centred else given - given.mean(-2)[..., None, :]
    lengths = (rows * rows).sum(-1) ** 0.5
    rounding = 1e-12 * library.amax(abs(given), (-2, -1))[..., None]  # what centring leaves of rows that are all the same
    rows = rows / library.where(lengths > rounding, lengths, library.inf)[..., None]
    across = rows.swapaxes(-1, -2)
    values = np.asarray(library.linalg.eigvalsh(across @ rows if n >= d else rows @ across).tolist(), dtype=np.float64)
    values = np.clip(values[..., ::-1], 0.0, None)
    if n < d:
        values = np.concatenate([values, np.zeros((*values.shape[:-1], d - n))], -1)
    total = values.sum(-1, keepdims=True)
    shares: Spectrum = np.divide(values, total, out=np.zeros_like(values), where=total > 0)
    shares *= 1 - shrinkage
    shares += shrinkage / d
    return shares


def fixed(values: Spectrum, share: float = SHARE) -> NDArray[np.int64]:
    """[..., d] → [...]: `share` of d, the same for all; at least 1."""
    return np.full(values.shape[:-1], max(1, round(share * values.shape[-1])), dtype=np.int64)


def chord(values: Spectrum) -> NDArray[np.int64]:
    """[..., d] → [...]: how many eigenvalues stand before the elbow: where the logarithm of the sorted spectrum lies farthest below the straight line
    from its first to its last; those that are zero but for rounding do not count. All where there is no elbow, at least 1."""
    flat = values.reshape(-1, values.shape[-1])
    counts = np.ones(len(flat), dtype=np.int64)
    for row, its in enumerate(flat):
        there = its[its > 1e-12 * max(its[0], 1e-300)]
        if len(there) < 3:
            counts[row] = max(1, len(there))
            continue
        logs = np.log(there)
        below = np.linspace(logs[0], logs[-1], len(logs)) - logs
        at = int(below.argmax())
        counts[row] = max(1, at) if below[at] > 1e-9 * max(1.0, abs(logs[0] - logs[-1])) else len(there)
    return counts.reshape(values.shape[:-1])


def truncated(values: Spectrum, counts: int | NDArray[np.int64], normalised: bool = False) -> NDArray[np.float64]:
    """[..., d] → [...]: −Σ λ log λ over the first k, in nats; `normalised`: divided by log d. It never falls as k grows."""
    places = np.arange(values.shape[-1])
    terms = -values * np.log(np.where(values > 0, values, 1.0))
    entropy: NDArray[np.float64] = np.where(places < np.asarray(counts)[..., None], terms, 0.0).sum(-1)
    return entropy / np.log(values.shape[-1]) if normalised else entropy


def matrix_entropy(vectors: Any, rule: str = "fixed", shrinkage: float = 0.0, normalised: bool = False,
                   library: Any = np) -> NDArray[np.float64]:  # fmt: skip
    """[..., n, d] → [...]: truncated matrix entropy by a rule: "fixed" counts a quarter of the eigenvalues, "half" half of them, "chord" those before
    the elbow. Raises `Invalid` for another, and as `spectrum` does."""
    if rule not in RULES:
        raise Invalid(f"no rule for the elbow of a spectrum is named {rule!r}; there are {', '.join(RULES)}")
    values = spectrum(vectors, shrinkage, library)
    counts = chord(values) if rule == "chord" else fixed(values, 0.5 if rule == "half" else SHARE)
    return truncated(values, counts, normalised)
