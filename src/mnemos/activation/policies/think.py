"""ThinK (arXiv 2407.21018): every token stays, keys of all but the newest without the channels that queries hardly use; values, too, where asked for.

It goes together with what drops tokens, and with few bits: `policy("snapkv", share=1/8).then(Thin(0.4), Quantise(2))`.
"""

from __future__ import annotations

from mnemos.activation.narrow import Thin
from mnemos.activation.policy import Policy, Pruning


def make(share: float = 0.4, window: int = 32, recent: int = 32, pairs: bool = False, adaptive: bool = False, values: float = 0.0,
         refresh: int = 0, floor: float = 1.0) -> Policy:  # fmt: skip
    """Drops `share` of the channels of keys and `values` of those of values, chosen by the last `window` queries of the prompt, and anew every
    `refresh` generated tokens (0: never), when old keys lose more of theirs down to `floor`; the `recent` newest tokens stay whole."""
    thin = Thin(share, window, pairs, adaptive, values, refresh, floor)
    return Pruning(codecs=(thin,) if share or values else (), recent=recent)
