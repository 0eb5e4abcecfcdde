"""What is read off a curve: risk against coverage, decay over time, a slope."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mnemos.base.errors import Invalid
from mnemos.base.stats.samples import Floats, pair


def risk_coverage(correct: ArrayLike, confidence: ArrayLike) -> tuple[Floats, Floats]:
    """(coverage, risk), shape (n,) each: the share of wrong answers among the i most confident ones, i = 1 to n.

    Equal confidences count as their mean over all orders. A refused answer has confidence −∞: it comes last.
    """
    right, trust = pair(correct, confidence)
    if np.isnan(trust).any():
        raise Invalid("risk_coverage: a confidence is NaN; give −inf for a refused answer")
    order = np.argsort(-trust, kind="stable")
    wrong, trust = 1 - right[order], trust[order]
    starts = np.flatnonzero(np.concatenate([[True], trust[1:] != trust[:-1]]))
    sizes = np.diff(np.append(starts, len(trust)))
    errors = np.cumsum(np.repeat(np.add.reduceat(wrong, starts) / sizes, sizes))
    taken = np.arange(1, len(trust) + 1)
    return taken / len(trust), errors / taken


def aurc(correct: ArrayLike, confidence: ArrayLike) -> float:
    """Area under the risk–coverage curve, the mean risk over all coverages (Geifman and El-Yaniv 2017): 0 where nothing is wrong."""
    return float(risk_coverage(correct, confidence)[1].mean())


@dataclass(frozen=True)
class Decay:
    """Success that falls as `start` · exp(−`rate` · elapsed). `half_life` is ln 2 / rate, in the unit of `elapsed`; infinite without decay."""

    start: float
    rate: float

    @property
    def half_life(self) -> float:
        if math.isnan(self.rate):
            return math.nan
        return math.log(2) / self.rate if self.rate > 0 else math.inf


def fit_decay(elapsed: ArrayLike, success: ArrayLike) -> Decay:
    """The exponential that makes outcomes (0 or 1, or shares between) the most likely: a binomial model with a logarithmic link.

    The likelihood is concave, and is climbed by Fisher's scoring with halved steps. NaN where nothing succeeds, or all was asked at one time;
    no decay where nothing fails. Raises `Invalid` for outcomes outside 0 to 1.
    """
    times, outcomes = pair(elapsed, success)
    if not ((outcomes >= 0) & (outcomes <= 1)).all():
        raise Invalid("fit_decay: outcomes lie between 0 and 1")
    if outcomes.sum() == 0 or times.min() == times.max():
        return Decay(float(outcomes.mean()), math.nan)
    if outcomes.min() == 1:
        return Decay(1.0, 0.0)
    design = np.column_stack([np.ones_like(times), -times])

    def likelihood(at: Floats) -> float:
        log_p = design @ at
        if log_p.max() >= 0:
            return -math.inf
        return float((outcomes * log_p + (1 - outcomes) * np.log(-np.expm1(log_p))).sum())

    found = np.array([math.log(min(float(outcomes.mean()), 0.99)), 0.0])
    reached = likelihood(found)
    for _ in range(200):
        p = np.minimum(np.exp(design @ found), 1 - 1e-12)
        gradient = design.T @ ((outcomes - p) / (1 - p))
        information = design.T @ ((p / (1 - p))[:, None] * design)
        step = np.linalg.lstsq(information, gradient)[0]
        while (better := likelihood(found + step)) <= reached and np.abs(step).max() > 1e-12:
            step /= 2
        if better <= reached:
            break
        found, reached = found + step, better
    return Decay(float(np.exp(found[0])), float(found[1]))


def slope(x: ArrayLike, y: ArrayLike) -> float:
    """Least-squares slope of `y` over `x`; NaN where all `x` are the same."""
    first, second = pair(x, y)
    centred = first - first.mean()
    spread = float((centred**2).sum())
    return float((centred * (second - second.mean())).sum()) / spread if spread else math.nan
