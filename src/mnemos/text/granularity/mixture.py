"""Accept or reject: which of some scores stand apart from the rest, by a mixture of two normal distributions on a line.

Source: MemGAS, arXiv 2505.19549, section 3.2: the cut adapts to each memory, where a fixed number of neighbours cannot. That two components
are accepted only where the Bayesian information criterion prefers them to one is ours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

ROUNDS = 200
TOLERANCE = 1e-10
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
    fitted = max((_fitted(x, start) for start in _starts(x)), key=lambda found: found.likelihood)
    one = -0.5 * n * (np.log(2 * np.pi) + 1.0)
    if -2 * one + 2 * np.log(n) <= -2 * fitted.likelihood + 5 * np.log(n) or fitted.means[0] == fitted.means[1]:
        return nobody
    high = int(np.argmax(fitted.means))
    posterior = fitted.shares[:, high]
    # A wide component reaches past a narrow one on both sides: what is below the other's mean is no acceptance.
    accepted = (posterior > 0.5) & (x > fitted.means[1 - high])
    return Split(accepted, np.where(x > fitted.means[1 - high], posterior, 0.0))


class _Fit(NamedTuple):
    means: Numbers
    shares: Numbers
    likelihood: float


def _starts(x: Numbers) -> list[float]:
    """Cuts to begin from: the widest gap, and some quantiles."""
    ordered = np.sort(x)
    gap = int(np.argmax(np.diff(ordered)))
    return [float(ordered[gap] + ordered[gap + 1]) / 2, *np.quantile(x, [0.5, 0.8]).tolist()]


def _fitted(x: Numbers, cut: float) -> _Fit:
    """Expectation maximisation from a cut.."""
    high = x > cut
    shares = np.column_stack([~high, high]).astype(np.float64)
    before = -np.inf
    for _ in range(ROUNDS):
        weights = np.maximum(shares.sum(axis=0), 1e-9)
        means = shares.T @ x / weights
        variances = np.maximum((shares * (x[:, None] - means) ** 2).sum(axis=0) / weights, _NARROWEST)
        logs = np.log(weights / len(x)) - 0.5 * (np.log(2 * np.pi * variances) + (x[:, None] - means) ** 2 / variances)
        top = logs.max(axis=1, keepdims=True)
        total = top[:, 0] + np.log(np.exp(logs - top).sum(axis=1))
        shares = np.exp(logs - total[:, None])
        likelihood = float(total.sum())
        if likelihood - before < TOLERANCE * len(x):
            break
        before = likelihood
    return _Fit(means, shares, likelihood)
