"""The entropy router: how much each grain counts, by how surely it points at few memories.

Source: MemGAS, arXiv 2505.19549, section 3.3, with two changes. Entropies are normalised by log n: the published code leaves that out, and where an
entropy is above 1, which is the usual case, the vaguer grain then counts more. And scores are measured in their own standard deviations: cosines with
single turns, means of turns and lists of phrases lie on scales of their own, and one temperature would make the widest of them look the surest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

TEMPERATURE = 0.35
"""λ of the softmax, in standard deviations of a grain's scores; calibrated on generated histories (`mnemos bench granularity`)."""

SHARPNESS = 2.0
"""Exponent of a grain's sureness: how much the surest counts before the others. The paper's is 1."""


def standard(scores: Numbers) -> Numbers:
    """Scores (n,) from their mean, in their standard deviations; zeros where they are all alike."""
    scores = np.asarray(scores, dtype=np.float64)
    spread = float(np.std(scores)) if len(scores) else 0.0
    return np.zeros(len(scores)) if spread < 1e-12 else np.asarray((scores - scores.mean()) / spread)


def profile(scores: Numbers, temperature: float = TEMPERATURE) -> Numbers:
    """Shares (n,), sum 1: softmax of the scores, in their standard deviations, over the temperature. Scores that are all alike share alike."""
    logits = standard(scores) / temperature
    shares = np.exp(logits - logits.max(initial=0.0))
    return np.asarray(shares / max(shares.sum(), 1e-300))


def entropy(scores: Numbers, temperature: float = TEMPERATURE) -> float:
    """Normalised entropy of a profile, 0..1: 1 where the scores are all alike, near 0 where one stands out."""
    if len(scores) < 2:
        return 1.0
    shares = profile(scores, temperature)
    held = shares[shares > 0]
    return float(min(max(-(held * np.log(held)).sum() / np.log(len(shares)), 0.0), 1.0))


def weights(grains: Sequence[Numbers], temperature: float = TEMPERATURE) -> Numbers:
    """How much each grain counts, (g,), sum 1: the surer, the more. Grains that are all flat count alike."""
    sure = np.array([(1.0 - entropy(scores, temperature)) ** SHARPNESS for scores in grains])
    total = sure.sum()
    if total < 1e-12:
        return np.full(len(grains), 1.0 / len(grains))
    return np.asarray(sure / total)
