"""Accept or reject: which of some scores stand apart from the rest, by a mixture of two normal distributions on a line.

Source: MemGAS, arXiv 2505.19549, section 3.2: the cut adapts to each memory, where a fixed number of neighbours cannot. That two components
are accepted only where the Bayesian information criterion prefers them to one is ours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

ROUNDS = 100
TOLERANCE = 1e-5
_NARROWEST = 0.04
"""The least variance of a component, as a share of that of all: else a single score would be one."""
FLAT = 1e-8
"""Variance below which scores are all alike."""


class Split(NamedTuple):
    """`accepted` (n,) bool: the scores of the component with the higher mean. `posterior` (n,): how likely each belongs to it."""

    accepted: NDArray[np.bool_]
    posterior: Numbers


def split(scores: Numbers) -> Split:
    """Split scores (n,) into those that stand out and the others. None stands out where all are alike, or where one normal distribution says as
    well what two say. The result does not depend on the order of the scores, and moves with them: split(a·x + b) is split(x) for a > 0."""
    n = len(scores)
    nobody = Split(np.zeros(n, dtype=bool), np.zeros(n))
    if n < 3 or np.var(scores) < FLAT:
        return nobody
    mean, spread = float(np.mean(scores)), float(np.std(scores))
    x = (np.asarray(scores, dtype=np.float64) - mean) / spread
    fitted = _fitted(x)
    one = 2 * np.log(n) + n * (np.log(2 * np.pi) + 1.0)
    if one <= fitted.criterion or fitted.means[0] == fitted.means[1]:
        return nobody
    high = int(np.argmax(fitted.means))
    posterior = fitted.shares[:, high]
    # A wide component reaches past a narrow one on both sides: what is below the other's mean is no acceptance.
    accepted = (posterior > 0.5) & (x > fitted.means[1 - high])
    return Split(accepted, np.where(x > fitted.means[1 - high], posterior, 0.0))


class _Fit(NamedTuple):
    means: Numbers
    """(2,)."""
    shares: Numbers
    """(n, 2) how likely each score belongs to each component."""
    criterion: float
    """Bayesian information criterion; the less the better."""


def _starts(x: Numbers) -> list[float]:
    """Cuts to begin from: the widest gap, and some quantiles."""
    ordered = np.sort(x)
    gap = int(np.argmax(np.diff(ordered)))
    return [float(ordered[gap] + ordered[gap + 1]) / 2, *np.quantile(x, [0.5, 0.8]).tolist()]


def _fitted(x: Numbers) -> _Fit:
    """The best of two components of one width (four parameters) and of two (five): expectation maximisation from each start, all at once."""
    n = len(x)
    cuts = np.array(_starts(x) * 2)
    tied = np.arange(len(cuts)) < len(cuts) // 2
    high = x[None, :] > cuts[:, None]
    shares = np.stack([~high, high], axis=2).astype(np.float64)  # (fits, n, 2)
    before = np.full(len(cuts), -np.inf)
    for _ in range(ROUNDS):
        weights = np.maximum(shares.sum(axis=1), 1e-9)
        means = np.einsum("fnc,n->fc", shares, x) / weights
        apart = (x[None, :, None] - means[:, None, :]) ** 2
        squares = np.einsum("fnc,fnc->fc", shares, apart)
        variances = np.where(tied[:, None], squares.sum(axis=1, keepdims=True) / n, squares / weights)
        variances = np.maximum(variances, _NARROWEST)
        logs = (np.log(weights / n) - 0.5 * np.log(2 * np.pi * variances))[:, None, :] - 0.5 * apart / variances[:, None, :]
        total = np.logaddexp(logs[:, :, 0], logs[:, :, 1])
        shares = np.exp(logs - total[:, :, None])
        likelihood = total.sum(axis=1)
        if (likelihood - before < TOLERANCE * n).all():
            break
        before = likelihood
    criteria = np.where(tied, 4, 5) * np.log(n) - 2 * likelihood
    best = int(np.argmin(criteria))
    return _Fit(means[best], shares[best], float(criteria[best]))
