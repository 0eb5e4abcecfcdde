"""RaaS (arXiv 2502.11147): what was attended to longest ago goes, whatever it was before; LRU over activations."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mnemos.activation.policies.lazyeviction import LAST, Recurrence
from mnemos.activation.policy import Budget, Policy, Pruning
from mnemos.activation.view import View


@dataclass(frozen=True)
class LastActivation(Recurrence):
    """The later the last activation, the better."""

    name = "raas"

    def score(self, view: View) -> Tensor:
        return view.marks[LAST].float() if LAST in view.marks else -view.ranks.float()


def make(tokens: int | None = None, share: float | None = None, recent: int = 32, every: int = 1, threshold: float | None = None) -> Policy:
    """Keeps `tokens` of each head, or a `share` of those seen."""
    return Pruning(LastActivation(threshold), Budget(tokens, share), recent=recent, every=every)
