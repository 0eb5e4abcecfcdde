"""ThinK (arXiv 2407.21018): every token stays, keys of all but the newest without the channels that queries hardly use.

It goes together with what drops tokens, and with few bits: `policy("snapkv", share=1/8).then(Thin(0.4), Quantise(2))`.
"""

from __future__ import annotations

from mnemos.activation.narrow import Thin
from mnemos.activation.policy import Policy, Pruning


def make(share: float = 0.4, window: int = 32, recent: int = 32, pairs: bool = False, adaptive: bool = False) -> Policy:
    """Drops `share` of the channels, chosen by the last `window` queries of the prompt; the `recent` newest keys stay whole."""
    return Pruning(codecs=(Thin(share, window, pairs, adaptive),) if share else (), recent=recent)
