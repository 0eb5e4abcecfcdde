"""TOVA (arXiv 2401.06104): at each step, what the newest token attends to least goes.

The newest query's attention, averaged over all heads of the layer, ranks tokens; each head therefore keeps the same ones.
"""

from __future__ import annotations

from torch import Tensor

from mnemos.activation.policy import Budget, Observes, Policy, Pruning
from mnemos.activation.view import View


class LastAttention:
    """Attention of the newest query."""

    name = "tova"
    query_window = 1
    observes = Observes.NOTHING
    query_aware = True

    def score(self, view: View) -> Tensor:
        votes = view.window_attention().sum(3).mean(2)
        return votes.mean(1, keepdim=True).expand_as(votes)


def make(tokens: int | None = None, share: float | None = None, every: int = 1) -> Policy:
    """Keeps `tokens`, or a `share` of those seen."""
    return Pruning(LastAttention(), Budget(tokens, share), recent=1, every=every)
