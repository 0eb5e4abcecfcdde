"""The newest queries of a layer, as attention saw them: by them a policy says what was asked for last."""

from __future__ import annotations

import torch
from torch import Tensor


class Recent:
    """Of each row its newest queries: `states` [B, H, w, d], rotated for their `positions` [B, w] (−1: padding); None where none is kept. The tensors
    are never changed in place, so that copies share them."""

    def __init__(self, states: Tensor | None = None, positions: Tensor | None = None) -> None:
        self.states, self.positions = states, positions

    def add(self, queries: Tensor, positions: Tensor, window: int) -> None:
        """Queries [B, H, t, d] follow, at positions [B, t]; the newest `window` of all are kept."""
        if self.states is not None and self.positions is not None:
            queries, positions = torch.cat([self.states, queries], 2), torch.cat([self.positions, positions], 1)
        if bool((positions < 0).any()):  # each row keeps its own newest, whatever the padding between its turns
            places = (positions >= 0).int().argsort(dim=1, stable=True)[:, -window:]
            queries = queries.gather(2, places[:, None, :, None].expand(-1, queries.shape[1], -1, queries.shape[-1]))
            positions = positions.gather(1, places)
        self.states, self.positions = queries[:, :, -window:].clone(), positions[:, -window:].clone()

    def shorten(self, window: int) -> None:
        """Only the newest `window` stay; none of 0."""
        if self.states is not None and self.positions is not None:
            some = (self.states[:, :, -window:].clone(), self.positions[:, -window:].clone()) if window else (None, None)
            self.states, self.positions = some

    def crop(self, count: int) -> None:
        """Without the last `count`."""
        if self.states is not None and self.positions is not None:
            self.states, self.positions = self.states[:, :, :-count].clone(), self.positions[:, :-count].clone()

    def rows(self, index: Tensor) -> Recent:
        """The same for these rows of the batch."""
        if self.states is None or self.positions is None:
            return Recent()
        return Recent(self.states.index_select(0, index), self.positions.index_select(0, index))

    def tensors(self) -> dict[str, Tensor]:
        """By name; empty where none is kept. `Recent(**tensors)` undoes it."""
        return {} if self.states is None or self.positions is None else {"states": self.states, "positions": self.positions}
