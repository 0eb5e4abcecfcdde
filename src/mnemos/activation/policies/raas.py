"""RaaS (arXiv 2502.11147): what was attended to longest ago goes, whatever it was before; LRU over activations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mnemos.activation.activations import LAST, Recurrence
from mnemos.activation.layer import MemoryLayer
from mnemos.activation.parts import Part
from mnemos.activation.policy import Budget, Policy, Pruning
from mnemos.activation.view import View


@dataclass(frozen=True)
class LastActivation(Recurrence):
    """The later the last activation, the better."""

    name = "raas"

    def observe(self, layer: MemoryLayer, pieces: Sequence[Part], weights: Sequence[Tensor]) -> None:
        for piece, last, paid in zip(pieces, layer.marked(LAST, torch.int32), weights, strict=True):
            last.masked_fill_(self.active(layer, piece, paid) | (last == 0), layer.seen)

    def least(self, layer: MemoryLayer, piece: Part) -> float | Tensor:
        return self.share / layer.held_tokens()[:, list(piece.heads), None] if self.threshold is None else self.threshold

    def score(self, view: View) -> Tensor:
        return view.marks[LAST].float() if LAST in view.marks else -view.ranks.float()


def make(tokens: int | None = None, share: float | None = None, recent: int = 32, every: int = 1, threshold: float | None = None) -> Policy:
    """Keeps `tokens` of each head, or a `share` of those seen."""
    return Pruning(LastActivation(threshold), Budget(tokens, share), recent=recent, every=every)
