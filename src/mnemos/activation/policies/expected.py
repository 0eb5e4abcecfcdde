"""Expected Attention (arXiv 2510.00636): what queries that are still to come will attend to stays, as far as those of the prompt tell.

Before rotation a head's queries are taken to be normal with the mean q̄ and the covariance Σ of those that were read. Turned by the mean of the
rotations of the next `future` positions, they pay a key k exp(q̄·k·s + kᵀΣk·s²/2) on average, s being the scaling of attention. A token's score is
its share of that, summed over the query heads that share its key, times the length of its value. No question is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mnemos.activation.layer import MemoryLayer
from mnemos.activation.policy import Budget, Observes, Policy, Pruning
from mnemos.activation.view import View
from mnemos.base.errors import Invalid

COUNT, MEAN, SPREAD = "expected.count", "expected.mean", "expected.spread"
"""Notes: how many queries were read [B], their mean [B, H, d], and, where it counts, the sum of outer products of what they deviate from it
[B, H, d, d]."""


@dataclass(frozen=True)
class ExpectedAttention:
    """The share of attention that later queries are expected to pay, times the value's length."""

    future: int = 512
    sinks: int = 4
    covariance: bool = True
    values: bool = True
    name = "expected"
    query_window = 0
    observes = Observes.NOTHING
    query_aware = False

    def score(self, view: View) -> Tensor:
        notes, heads = view.layer.notes, view.heads
        if COUNT not in notes:  # what is stored was not read here: the newer, the better
            return -view.ranks.float()
        turns = self._mean_rotation(view)
        mean = (notes[MEAN] @ turns).unflatten(1, (heads, -1))
        if self.covariance:
            spread = notes[SPREAD].float() / notes[COUNT].clamp_min(1)[:, None, None, None]
            spread = (turns.mT.unsqueeze(1) @ spread @ turns.unsqueeze(1)).unflatten(1, (heads, -1))
        keys, aside = view.keys.float(), (view.positions < 0) | (view.ages < self.sinks)
        shares = torch.zeros_like(view.positions, dtype=torch.float32)
        for head in range(mean.shape[2]):
            logits = (keys @ mean[:, :, head, :, None]).squeeze(-1) * view.scaling
            if self.covariance:
                logits += (keys @ spread[:, :, head] * keys).sum(-1) * (view.scaling**2 / 2)
            shares += logits.masked_fill(aside, -torch.inf).softmax(-1).nan_to_num()
        return shares * view.values.float().norm(dim=-1) if self.values else shares

    def _mean_rotation(self, view: View) -> Tensor:
        """[B, d, d]: what turns a query, as a row, to the next positions, on average."""
        rotary, size, device = view.layer.rotation(), view.keys.shape[-1], view.keys.device
        ahead = torch.arange(1, self.future + 1, device=device)[:, None]
        units, newest = torch.eye(size, device=device).expand(self.future, -1, -1), torch.full_like(ahead, len(rotary.frequencies) - 1)
        return torch.stack([rotary.rotate(units, last + ahead, newest).mean(0) for last in view.positions.amax((1, 2))])


@dataclass(frozen=True)
class Expected(Pruning):
    """`Pruning` that takes note of the prompt's queries."""

    hears = True
    unrotates = True

    def hear(self, layer: MemoryLayer, queries: Tensor, positions: Tensor) -> None:
        counted = (positions >= self.sinks)[:, None, :, None]  # the first are unlike all others; padding is at −1
        rotary = layer.rotation()
        newest = torch.full_like(positions, len(rotary.frequencies) - 1)[:, None]
        plain = rotary.unrotate(queries.float(), positions[:, None].clamp_min(0), newest)
        count = counted.sum((1, 2, 3))
        mean = (plain * counted).sum(2) / count.clamp_min(1)[:, None, None]
        before, known = layer.notes.get(COUNT, torch.zeros_like(count)), layer.notes.get(MEAN, torch.zeros_like(mean))
        gap, share = mean - known, (count / (before + count).clamp_min(1))[:, None, None]
        if isinstance(self.scorer, ExpectedAttention) and self.scorer.covariance:
            apart = (plain - mean.unsqueeze(2)) * counted
            between = gap.unsqueeze(-1) * gap.unsqueeze(-2) * (share * before[:, None, None]).unsqueeze(-1)
            layer.notes[SPREAD] = apart.mT @ apart + between + (layer.notes[SPREAD].float() if SPREAD in layer.notes else 0)
        layer.notes.update({COUNT: before + count, MEAN: known + gap * share})

    def settle(self, layer: MemoryLayer) -> None:
        super().settle(layer)
        if SPREAD in layer.notes:
            layer.notes[SPREAD] = layer.notes[SPREAD].to(torch.bfloat16)  # between turns; half the bytes


def make(tokens: int | None = None, share: float | None = None, recent: int = 32, sinks: int = 4, every: int = 0, future: int = 512,
         covariance: bool = True, values: bool = True) -> Policy:  # fmt: skip
    """Keeps `tokens` of each head, or a `share` of those seen. `covariance` and `values` off leave those terms out. Raises `Invalid` for a future of
    no position."""
    if future < 1:
        raise Invalid(f"expected: future={future} positions; give at least 1")
    return Expected(ExpectedAttention(future, sinks, covariance, values), Budget(tokens, share), recent=recent, sinks=sinks, every=every)
