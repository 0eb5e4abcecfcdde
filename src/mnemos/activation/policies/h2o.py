"""H2O, heavy hitters (arXiv 2306.14048): what has been attended to most so far stays.

A token's score is all the attention that it has been paid, by prompt and generated tokens alike, summed over the query heads that share its key. What
came early was seen by more queries, and is preferred for it; that is the method.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mnemos.activation.layer import MemoryLayer
from mnemos.activation.parts import Part
from mnemos.activation.policy import Budget, Observes, Policy, Pruning
from mnemos.activation.view import View


class HeavyHitters:
    """Attention paid so far, in the mark `mass`."""

    name = "h2o"
    query_window = 0
    observes = Observes.EVERYTHING
    query_aware = True

    def observe(self, layer: MemoryLayer, pieces: Sequence[Part], weights: Sequence[Tensor]) -> None:
        """Adds what the new queries paid."""
        for mass, paid in zip(layer.marked("mass"), weights, strict=True):
            mass.add_(paid.sum((2, 3)))

    def score(self, view: View) -> Tensor:
        return view.marks["mass"]


def make(tokens: int | None = None, share: float | None = None, recent: int = 32, every: int = 1) -> Policy:
    """Keeps `tokens` of each head, or a `share` of those seen, half of them for what is recent in the paper, here `recent`."""
    return Pruning(HeavyHitters(), Budget(tokens, share), recent=recent, every=every)
