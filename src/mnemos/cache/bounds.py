"""What the paper proves of each algorithm: bounds on misses by the optimum's misses and the errors of the bits, for k pages of one size.

Source: Antoniadis and others, "Paging with Succinct Predictions" (ICML 2023); Guard: arXiv 2507.16242. (alpha, beta, gamma)-competitive
means at most alpha times the optimum, beta for each wrong 0, gamma for each wrong 1.
"""

from __future__ import annotations

from mnemos.cache.labels import Errors


def harmonic(k: int) -> float:
    """H_k = 1 + 1/2 + … + 1/k."""
    return sum(1 / i for i in range(1, k + 1))


def flush_when_all_0s(optimum: int, errors: Errors, k: int) -> float:
    """FlushWhenAll0s with discard bits: (1, k - 1, 1), on every sequence."""
    return optimum + (k - 1) * errors.eta0 + errors.eta1


def mark_0(optimum: int, errors: Errors, k: int) -> float:
    """Mark0 with discard bits: (1, 2 H_k, 1), in expectation."""
    return optimum + 2 * harmonic(k) * errors.eta0 + errors.eta1


def mark_and_predict(optimum: int, errors: Errors, k: int) -> float:
    """Mark&Predict with phase bits: (2, H_k, 1), in expectation."""
    return 2 * optimum + harmonic(k) * errors.eta0 + errors.eta1


def guard(optimum: int, k: int) -> float:
    """Guard, whatever the bits: 2 H_(k-1) + 2 times the optimum, in expectation; the pages of the first phase are loaded once more."""
    return (2 * harmonic(k - 1) + 2) * optimum + k


def switching(leaders: int, switches: int, k: int) -> float:
    """Any rule that follows one of several shadows: the misses of each leader while it led, and at most k pages fetched anew at each change."""
    return leaders + k * (switches + 1)


def two_experts(least: int, switches: int, k: int, eps: float) -> float:
    """`Switching` between two: no more than (2 + eps) times the better one's misses, and k pages at the start and at each switch."""
    return (2 + eps) * least + k + 1 + k * (switches + 1)
