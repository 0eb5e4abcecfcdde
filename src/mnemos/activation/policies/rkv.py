"""R-KV (arXiv 2505.24133): long chains of thought repeat themselves; what is attended to stays, unless keys like its own are there already.

Importance is the attention of the last few queries, the largest of the query heads that share a key, averaged over the queries and widened to
neighbours. Redundancy is a key's mean cosine with all others, as shares; of those that are alike the newest is spared, for what was said last holds.
The score is `importance` × the one − (1 − `importance`) × the other, taken anew whenever `every` tokens were generated.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mnemos.activation.policy import Budget, Observes, Policy, Pruning
from mnemos.activation.view import View
from mnemos.base.errors import Invalid


@dataclass(frozen=True)
class ImportantOnce:
    """Attention of the last queries, less what repeats. Keys of a cosine over `alike` are alike; the newest `spared` of those do not count."""

    query_window: int = 8
    importance: float = 0.1
    kernel: int = 7
    alike: float = 0.5
    spared: int = 1
    name = "rkv"
    observes = Observes.NOTHING
    query_aware = True

    def __post_init__(self) -> None:
        if self.query_window < 1 or self.kernel < 1 or self.kernel % 2 == 0 or self.spared < 0 or not 0 <= self.importance <= 1:
            raise Invalid(f"rkv: window={self.query_window} is 1 or more, kernel={self.kernel} odd, spared={self.spared} 0 or more, "
                          f"importance={self.importance} in [0, 1]")  # fmt: skip

    def score(self, view: View) -> Tensor:
        attention = view.widened(view.window_attention().amax(2).mean(2), self.kernel)
        return self.importance * attention - (1 - self.importance) * self.redundancy(view)

    def redundancy(self, view: View) -> Tensor:
        """[B, G, n], of sum 1 over the tokens that are there: the more others a key is like, the larger."""
        there = view.positions >= 0
        keys = normalize(view.keys.float(), dim=-1) * there.unsqueeze(-1)
        cosines = keys @ keys.mT
        cosines.diagonal(dim1=-2, dim2=-1).zero_()
        similar = cosines > self.alike
        later = similar.flip(-1).cumsum(-1, dtype=torch.int32).flip(-1)  # 1 at the newest that is alike, 2 at the one before it, …
        means = cosines.masked_fill_(similar & (later <= self.spared), 0).sum(2) / there.sum(-1, keepdim=True).clamp_min(1)
        return means.masked_fill(~there, -torch.inf).softmax(-1).nan_to_num()


def make(tokens: int | None = None, share: float | None = None, window: int = 8, every: int = 128, importance: float = 0.1, kernel: int = 7,
         alike: float = 0.5, spared: int = 1) -> Policy:  # fmt: skip
    """Keeps `tokens` of each head, or a `share` of those seen, the `window` newest among them, and up to `every` more between evictions."""
    return Pruning(ImportantOnce(window, importance, kernel, alike, spared), Budget(tokens, share), recent=window, every=every)
