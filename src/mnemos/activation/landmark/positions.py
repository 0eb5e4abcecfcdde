"""Stingy positions (arXiv 2305.16300, section 3.2.1): a model that was trained on few positions reads any length, for stored blocks are put at a few
slots before the tokens that are being read.

A slot is ℓ + 1 positions wide: a block of ℓ tokens and its landmark. Before the local tokens stand min(N, k + 1) slots, where N blocks are stored and
k are retrieved. Below, N is `cached` [B] and k is `top`; an ordinal is the place of a block among the stored ones of its row, 0 for the oldest.
"""

from __future__ import annotations

import torch
from torch import Tensor


def first(cached: Tensor, top: int, block: int) -> Tensor:
    """[B]: the position of the oldest local token."""
    return cached.clamp_max(top + 1) * (block + 1)


def scored_at(ordinals: Tensor, cached: Tensor, top: int) -> Tensor:
    """Ordinals [B, n] → the slots at which landmarks are scored: the last `top` blocks at slots 1 … top, in their true order, all older ones at slot
    0; each at its own where there are no more than fit."""
    return (ordinals - (cached - top - 1).clamp_min(0).unsqueeze(-1)).clamp_min(0)


def attended_at(ordinals: Tensor, cached: Tensor, top: int) -> Tensor:
    """Ordinals [B, …, m] of blocks that were retrieved, ascending → the slots at which they are attended to: the r-th at slot r, and one further
    where it is of the last `top`, so that what is recent stands where it did; each at its own where all can be retrieved."""
    shaped = cached.view(-1, *[1] * (ordinals.dim() - 1))
    ranks = torch.arange(ordinals.shape[-1], device=ordinals.device).expand_as(ordinals)
    return torch.where(shaped <= top, ordinals, ranks + (ordinals >= shaped - top).long()).clamp(0, top)
