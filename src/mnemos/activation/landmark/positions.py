"""Stingy positions (arXiv 2305.16300, section 3.2.1): a model that was trained on few positions reads any length, for stored blocks are put at a few
slots before the tokens that are being read.

A slot is ℓ + 1 positions wide: a block of ℓ tokens and its landmark. Before the local tokens stand min(N, k + 1) slots, where N blocks are stored and
k are retrieved. Below, N is `cached` [B] and k is `top`; an ordinal is the place of a block among the stored ones of its row, 0 for the oldest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mnemos.activation.rotary import Rotary


@dataclass(frozen=True)
class Layout:
    """Where blocks and local tokens are put. `stingy` False: each where it stood, which shows what stinginess is for."""

    block: int
    """ℓ."""
    top: int
    """k."""
    stingy: bool = True

    @property
    def slot(self) -> int:
        """Positions of a slot."""
        return self.block + 1

    def first(self, cached: Tensor) -> Tensor:
        """[B]: the position of the oldest local token."""
        return (cached.clamp_max(self.top + 1) if self.stingy else cached) * self.slot

    def scored_at(self, ordinals: Tensor, cached: Tensor) -> Tensor:
        """Ordinals [B, n] → the slots at which landmarks are scored: the last k blocks at slots 1 … k, in their true order, all older ones at slot 0;
        each at its own where there are no more than fit."""
        return (ordinals - (cached - self.top - 1).clamp_min(0).unsqueeze(-1)).clamp_min(0) if self.stingy else ordinals

    def attended_at(self, ordinals: Tensor, cached: Tensor) -> Tensor:
        """Ordinals [B, …, m] of blocks that were retrieved, ascending → the slots at which they are attended to: the r-th at slot r, and one further
        where it is of the last k, so that what is recent stands where it did; each at its own where all can be retrieved."""
        if not self.stingy:
            return ordinals
        shaped = cached.view(-1, *[1] * (ordinals.dim() - 1))
        placed = torch.arange(ordinals.shape[-1], device=ordinals.device) + (ordinals >= shaped - self.top)
        return torch.where(shaped <= self.top, ordinals, placed).clamp_max(self.top)


@dataclass(frozen=True)
class Queries:
    """Queries before rotation, [B, G, g, t, d], at positions [B, t]. Only distances count: a block always lies as in slot 0, and a query that sees it
    in another slot comes so much nearer."""

    states: Tensor
    positions: Tensor
    rotary: Rotary
    layout: Layout

    @property
    def here(self) -> Tensor:
        """As they see local tokens, and blocks in slot 0: [B, G, g, t, d]."""
        return self._turned[..., 0, :]

    @cached_property
    def _turned(self) -> Tensor:
        """As they see the slots that there are, 0 … k: [B, G, g, t, k + 1, d]; where blocks stand anywhere, slot 0 alone."""
        slots = torch.arange(self.layout.top + 1 if self.layout.stingy else 1, device=self.positions.device)
        return self._in(slots.expand(1, 1, 1, 1, -1))

    def _in(self, slots: Tensor) -> Tensor:
        distances = (self.positions[:, None, None, :, None] - slots * self.layout.slot).clamp_min(0)
        return self.rotary.rotate(self.states.unsqueeze(-2).expand(*self.states.shape[:4], slots.shape[-1], -1), distances)

    def seeing(self, slots: Tensor) -> Tensor:
        """As they see blocks in these slots [B, 1 or G, 1 or g, 1 or t, m]: [B, G, g, t, m, d]."""
        if not self.layout.stingy:
            return self._in(slots)
        rows, heads, group, new, size = self.states.shape
        return self._turned.gather(4, slots.unsqueeze(-1).expand(rows, heads, group, new, -1, size))

    def some(self, where: slice) -> Queries:
        """Those of some tokens."""
        if where.stop - where.start == self.positions.shape[1]:
            return self
        return Queries(self.states[:, :, :, where], self.positions[:, where], self.rotary, self.layout)
