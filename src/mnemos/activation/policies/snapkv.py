"""SnapKV (arXiv 2404.14469): what the last queries of the prompt attend to stays.

A token's score is the attention that the last `window` queries pay it, averaged over the query heads that share its key, and over its neighbours
(`kernel` tokens), so that what stands around a needle stays with it. It knows the question if the question stands at the end of the prompt.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mnemos.activation.policy import Budget, Observes, Policy, Pruning
from mnemos.activation.view import View
from mnemos.base.errors import Invalid


@dataclass(frozen=True)
class Window:
    """Attention of the last queries, pooled."""

    query_window: int = 32
    kernel: int = 5
    name = "snapkv"
    observes = Observes.NOTHING
    query_aware = True

    def __post_init__(self) -> None:
        if self.query_window < 1 or self.kernel < 1 or self.kernel % 2 == 0:
            raise Invalid(f"scores are of 1 query or more, averaged over an odd number of tokens, not of {self.query_window} over {self.kernel}")

    def score(self, view: View) -> Tensor:
        return view.smoothed(view.window_attention().sum(3).mean(2), self.kernel)


def make(tokens: int | None = None, share: float | None = None, window: int = 32, kernel: int = 5) -> Policy:
    """Keeps `tokens` of each head, or a `share` of those seen; `window` newest among them."""
    return Pruning(Window(window, kernel), Budget(tokens, share), recent=window)
