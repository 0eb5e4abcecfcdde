"""The chunks that were picked last, as they are attended to: what is picked again stays, only the rest is brought."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from mnemos.activation.shadow.selection import ABSENT

Bring = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Rows, heads and chunks [m], ordered by them → their keys [m, c·d] and values [m, c·e]."""


class Buffer:
    """`picked` [B, G, k]: chunks, ascending, `ABSENT` where there are fewer; keys [B, G, k, c·d] and values [B, G, k, c·e] of them, in this order.
    The order depends on what is picked alone, so that it is all the same whether a chunk was kept or brought."""

    def __init__(self, picked: Tensor, keys: Tensor, values: Tensor) -> None:
        self.picked, self.keys, self.values = picked, keys, values

    @classmethod
    def empty(cls, picked: Tensor, keys: int, values: int, like: Tensor) -> Buffer:
        """With room for as many, and nothing in it."""
        shape = picked.shape
        return cls(torch.full_like(picked, ABSENT), like.new_zeros(*shape, keys), like.new_zeros(*shape, values))

    def widened(self, more: int) -> Buffer:
        """With room for so many more."""
        return Buffer(pad(self.picked, (0, more), value=ABSENT), pad(self.keys, (0, 0, 0, more)), pad(self.values, (0, 0, 0, more)))

    def turn_to(self, picked: Tensor, bring: Bring) -> tuple[int, int]:
        """Holds these chunks from now on: those that it has are moved in place, all others are brought. Gives how many were asked for, and how many
        of these it had."""
        rows, heads, k = picked.shape
        slot = torch.searchsorted(self.picked, picked).clamp_max(k - 1)
        asked = picked < ABSENT
        had = asked & (self.picked.gather(-1, slot) == picked)
        line = torch.arange(rows * heads * k, device=picked.device)
        origin = slot.reshape(-1) + line // k * k
        moved = (had.reshape(-1) & (origin != line)).nonzero().squeeze(1)
        keys, values = self.keys.view(rows * heads * k, -1), self.values.view(rows * heads * k, -1)
        for states in (keys, values):
            states.index_copy_(0, moved, states.index_select(0, origin[moved]))
        wanted = (asked & ~had).reshape(-1).nonzero().squeeze(1)
        if len(wanted):
            for states, new in zip((keys, values), bring(wanted // (heads * k), wanted // k % heads, picked.reshape(-1)[wanted]), strict=True):
                states.index_copy_(0, wanted, new)
        self.picked = picked
        return int(asked.sum()), int(had.sum())

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """All that it holds."""
        return self.picked, self.keys, self.values
