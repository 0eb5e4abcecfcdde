"""A layer as scorers and planners see it: every stored token of every head side by side, and the newest queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, max_pool1d

from mnemos.activation.parts import Dense, Marks, Part

if TYPE_CHECKING:
    from mnemos.activation.layer import MemoryLayer


@dataclass(frozen=True)
class View:
    """`part`: keys, values, positions and marks of all tokens, [B, G, n, …], oldest first, places without a token (position −1) anywhere.
    `queries` [B, H, w, d]: the newest, as attention saw them; `query_positions` [B, w]."""

    layer: MemoryLayer
    part: Dense
    queries: Tensor | None
    query_positions: Tensor | None
    scaling: float
    softcap: float | None

    @property
    def keys(self) -> Tensor:
        """[B, G, n, d]."""
        return self.part.keys

    @property
    def values(self) -> Tensor:
        """[B, G, n, d]."""
        return self.part.values

    @cached_property
    def positions(self) -> Tensor:
        """[B, G, n]."""
        return self.part.positions.expand(-1, self.heads, -1)

    @property
    def marks(self) -> Marks:
        """By name, [B, G, n]."""
        return self.part.marks

    @property
    def heads(self) -> int:
        """G."""
        return int(self.part.keys.shape[1])

    @cached_property
    def ranks(self) -> Tensor:
        """[B, G, n]: 0 for the newest token of a head, 1 for the one before, …"""
        there = (self.positions >= 0).int()
        return there.flip(-1).cumsum(-1).flip(-1) - there

    @cached_property
    def ages(self) -> Tensor:
        """[B, G, n]: 0 for the oldest token that a head holds, 1 for the next, …"""
        there = (self.positions >= 0).int()
        return there.cumsum(-1) - there

    def newest(self, count: int | Tensor) -> Dense:
        """The newest `count` tokens of each head (of each row's, where it is [B, G]), in order, as a part of its own."""
        counts = torch.as_tensor(count, device=self.positions.device)
        most, n = int(counts.max()), self.positions.shape[-1]
        places = torch.arange(n, device=self.positions.device).expand_as(self.positions)
        index = places.masked_fill(self.ranks >= counts[..., None], -1).masked_fill(self.positions < 0, -1)
        return self.part.take(index.sort(-1).values[..., -min(most, n) :] if most else index[..., :0])

    def of_newest(self, count: int) -> View:
        """The same with only the newest `count` queries."""
        if self.queries is None or self.query_positions is None:
            return self
        return replace(self, queries=self.queries[:, :, -count:], query_positions=self.query_positions[:, -count:])

    def in_blocks(self, count: int) -> Iterator[View]:
        """The same with `count` of the queries after another."""
        if self.queries is not None and self.query_positions is not None:
            for start in range(0, self.queries.shape[2], count):
                some = slice(start, start + count)
                yield replace(self, queries=self.queries[:, :, some], query_positions=self.query_positions[:, some])

    def window_attention(self) -> Tensor:
        """[B, G, g, w, n] float32: what the newest queries attend to among the stored tokens; each sees what is not after it. Queries in padded
        places attend to nothing."""
        if self.queries is None or self.query_positions is None:
            raise RuntimeError("the policy keeps no queries: its query_window is 0")
        rows, heads, new, size = self.queries.shape
        grouped = self.queries.reshape(rows, self.heads, heads // self.heads, new, size)
        scores = torch.einsum("bhgtd,bhnd->bhgtn", grouped, self.keys).float() * self.scaling
        if self.softcap is not None:
            scores = self.softcap * torch.tanh(scores / self.softcap)
        places = self.positions[:, :, None, None, :]
        seen = (places >= 0) & (places <= self.query_positions[:, None, None, :, None])
        return torch.nan_to_num(scores.masked_fill(~seen, -torch.inf).softmax(-1))

    def smoothed(self, scores: Tensor, kernel: int) -> Tensor:
        """[B, G, n] averaged over `kernel` (odd) neighbouring tokens, as many as there are of them at the ends."""
        there, order = self._side_by_side()
        there, scores = there.gather(-1, order), scores.gather(-1, order)
        summed = avg_pool1d(scores * there, kernel, 1, kernel // 2, count_include_pad=True)
        means = summed / avg_pool1d(there, kernel, 1, kernel // 2, count_include_pad=True).clamp_min(1 / (2 * kernel))
        return torch.empty_like(means).scatter_(-1, order, means)

    def widened(self, scores: Tensor, kernel: int) -> Tensor:
        """[B, G, n], not negative: the largest of `kernel` (odd) neighbouring tokens."""
        there, order = self._side_by_side()
        largest = max_pool1d((scores * there).gather(-1, order), kernel, 1, kernel // 2)
        return torch.empty_like(largest).scatter_(-1, order, largest)

    def _side_by_side(self) -> tuple[Tensor, Tensor]:
        """[B, G, n]: 1 where a token is, and the order in which neighbours are next to each other, whatever padding stands between them."""
        there = (self.positions >= 0).float()
        return there, there.argsort(dim=-1, stable=True)


def side_by_side(pieces: Sequence[Part], heads: int) -> Dense:
    """All tokens of all heads in one part, padded where heads hold unequally many."""
    if len(pieces) == 1 and len(pieces[0].heads) == heads and isinstance(pieces[0], Dense):
        return pieces[0]
    lengths = [sum(piece.length for piece in pieces if head in piece.heads) for head in range(heads)]
    (keys, values), rows, room = pieces[-1].dense(), pieces[-1].positions.shape[0], max(lengths)
    whole = Dense(
        keys.new_zeros(rows, heads, room, keys.shape[-1]), values.new_zeros(rows, heads, room, values.shape[-1]),
        pieces[-1].positions.new_full((rows, heads, room), -1), range(heads),
        {name: mark.new_zeros(rows, heads, room) for name, mark in pieces[-1].marks.items()},
    )  # fmt: skip
    filled = [room - length for length in lengths]  # so that the newest tokens of all heads stand at the same places
    for piece in pieces:
        keys, values = piece.dense()
        positions = piece.positions.expand(-1, len(piece.heads), -1)
        for place, head in enumerate(piece.heads):
            to = slice(filled[head], filled[head] + piece.length)
            whole.keys[:, head, to], whole.values[:, head, to], whole.positions[:, head, to] = keys[:, place], values[:, place], positions[:, place]
            for name, mark in piece.marks.items():
                if name in whole.marks:
                    whole.marks[name][:, head, to] = mark[:, place]
            filled[head] = to.stop
    return whole
