"""The entropy router: how much each grain counts, by how surely it points at few memories.

Source: MemGAS, arXiv 2505.19549, section 3.3, with entropies normalised by log n: the published code leaves that out, and where an entropy is
above 1, which is the usual case, the vaguer grain then counts more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

TEMPERATURE = 0.2
"""λ of the softmax over a grain's scores, for cosines (the paper's)."""


def entropy(scores: Numbers, temperature: float = TEMPERATURE) -> float:
    """Normalised entropy, 0..1, of softmax(scores ÷ temperature), (n,): 1 where the scores are all alike, near 0 where one stands out."""
    if len(scores) < 2:
        return 1.0
    logits = np.asarray(scores, dtype=np.float64) / temperature
    logits = logits - logits.max()
    shares = np.exp(logits)
    total = shares.sum()
    bits = np.log(total) - float((shares * logits).sum()) / total
    return float(min(max(bits / np.log(len(scores)), 0.0), 1.0))


def weights(grains: Sequence[Numbers], temperature: float = TEMPERATURE) -> Numbers:
    """How much each grain counts, (g,), sum 1: the surer, the more. Grains that are all flat count alike."""
    sure = np.array([1.0 - entropy(scores, temperature) for scores in grains])
    total = sure.sum()
    if total < 1e-12:
        return np.full(len(grains), 1.0 / len(grains))
    return np.asarray(sure / total)
