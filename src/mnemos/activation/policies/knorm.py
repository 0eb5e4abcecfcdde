"""KNorm (arXiv 2406.11430): keys of small length attract attention, and stay."""

from __future__ import annotations

from torch import Tensor

from mnemos.activation.policy import Budget, Observes, Policy, Pruning
from mnemos.activation.view import View


class SmallKeys:
    """The shorter the key, the better."""

    name = "knorm"
    query_window = 0
    observes = Observes.NOTHING
    query_aware = False

    def score(self, view: View) -> Tensor:
        return -view.keys.float().norm(dim=-1)


def make(tokens: int | None = None, share: float | None = None, recent: int = 32, every: int = 0) -> Policy:
    """Keeps `tokens` of each head, or a `share` of those seen."""
    return Pruning(SmallKeys(), Budget(tokens, share), recent=recent, every=every)
