"""Sliding window with attention sinks (StreamingLLM, arXiv 2309.17453): the first few tokens and the newest ones stay, whatever they say.

Positions stay those at which the tokens stood; what was dropped cannot come back.
"""

from __future__ import annotations

from torch import Tensor

from mnemos.activation.policy import Budget, Observes, Policy, Pruning
from mnemos.activation.view import View


class Newest:
    """The newer, the better."""

    name = "window"
    query_window = 0
    observes = Observes.NOTHING
    query_aware = False

    def score(self, view: View) -> Tensor:
        return -view.ranks.float()


def make(tokens: int | None = None, share: float | None = None, sinks: int = 4, recent: int = 1, every: int = 1) -> Policy:
    """Keeps `tokens`, or a `share` of those seen, `sinks` of them from the beginning."""
    return Pruning(Newest(), Budget(tokens, share), recent=recent, sinks=sinks, every=every)
