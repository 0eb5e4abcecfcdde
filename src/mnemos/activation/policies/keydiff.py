"""KeyDiff (arXiv 2504.15364): keys that are unlike the others stay.

The mean of the keys, each of unit length, stands for what is common; the less a key points that way, the more it is kept. No query is looked at.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize

from mnemos.activation.policy import Budget, Observes, Policy, Pruning
from mnemos.activation.view import View


class UnlikeKeys:
    """The smaller the cosine with the mean key, the better."""

    name = "keydiff"
    query_window = 0
    observes = Observes.NOTHING
    query_aware = False

    def score(self, view: View) -> Tensor:
        there = (view.positions >= 0).unsqueeze(-1)
        keys = normalize(view.keys.float(), dim=-1) * there
        common = normalize(keys.sum(2, keepdim=True), dim=-1)
        return -(keys * common).sum(-1)


def make(tokens: int | None = None, share: float | None = None, recent: int = 32, every: int = 0) -> Policy:
    """Keeps `tokens` of each head, or a `share` of those seen."""
    return Pruning(UnlikeKeys(), Budget(tokens, share), recent=recent, every=every)
