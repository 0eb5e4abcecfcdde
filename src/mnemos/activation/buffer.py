"""The chunks that were picked last, as they are attended to: what is picked again stays, only the rest is brought (ShadowKV, arXiv 2410.21465,
section 4.2). Of all parts whose tokens lie far: a shadow, far blocks, landmarks' blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from mnemos.activation import parts
from mnemos.activation.chunks import ChunkStore
from mnemos.activation.shadow.selection import ABSENT

Bring = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]]
"""Rows, heads and chunks [m], ordered by them → their states, each [m, p], as many as the buffer has."""


class Buffer:
    """`picked` [B, G, k]: chunks, ascending, `ABSENT` where there are fewer; `states`, each [B, G, k, p], of them, in this order. The order depends
    on what is picked alone, so that it is all the same whether a chunk was kept or brought."""

    def __init__(self, picked: Tensor, *states: Tensor) -> None:
        self.picked, self.states = picked, states

    @classmethod
    def empty(cls, picked: Tensor, like: Tensor, *sizes: int) -> Buffer:
        """With room for as many, of states of these numbers each, and nothing in it."""
        return cls(torch.full_like(picked, ABSENT), *(like.new_zeros(*picked.shape, size) for size in sizes))

    def widened(self, more: int) -> Buffer:
        """With room for so many more."""
        return Buffer(pad(self.picked, (0, more), value=ABSENT), *(pad(states, (0, 0, 0, more)) for states in self.states))

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
        flat = [states.view(rows * heads * k, -1) for states in self.states]
        for states in flat:
            states.index_copy_(0, moved, states.index_select(0, origin[moved]))
        wanted = (asked & ~had).reshape(-1).nonzero().squeeze(1)
        if len(wanted):
            for states, new in zip(flat, bring(wanted // (heads * k), wanted // k % heads, picked.reshape(-1)[wanted]), strict=True):
                states.index_copy_(0, wanted, new)
        self.picked = picked
        return int(asked.sum()), int(had.sum())

    def left(self, staying: Tensor, gone: int) -> Buffer:
        """Of chunks 0 … n − 1 those alone that `staying` [B, n] says are there, when the first `gone` are counted no more; zeros where others
        stood."""
        stays = (self.picked < ABSENT) & parts.gather(staying.unsqueeze(1), self.picked.clamp_max(staying.shape[1] - 1))
        picked, order = (self.picked - gone).masked_fill(~stays, ABSENT).sort(-1)
        absent = (picked == ABSENT).unsqueeze(-1)
        return Buffer(picked, *(parts.gather(states, order).masked_fill(absent, 0) for states in self.states))

    def tensors(self) -> tuple[Tensor, ...]:
        """All that it holds."""
        return self.picked, *self.states


@dataclass
class Statistics:
    """What picking did since the part was made: chunks of a key-value head `asked` for and `kept` from the step before, where one choice of them
    stands for all queries that are given together, as while decoding."""

    asked: int = 0
    kept: int = 0
    steps: int = 0
    copied: int = 0
    """Bytes that were brought near."""
    most: int = 0
    """Bytes of keys and values, those that were near already among them, that were attended to at once: what a layer needs while it attends."""

    @property
    def hit_rate(self) -> float:
        """Of the chunks asked for, the share that was near already."""
        return self.kept / self.asked if self.asked else 0.0


class Reusing(ABC):
    """The base of parts that keep what one step brought for the next."""

    store: ChunkStore
    reuse: bool
    """Whether they do."""
    statistics: Statistics
    buffer: Buffer | None

    @abstractmethod
    def _room(self, picked: Tensor) -> Buffer:
        """An empty buffer for chunks [B, G, k]."""

    @abstractmethod
    def _bring(self, rows: Tensor, heads: Tensor, chunks: Tensor) -> tuple[Tensor, ...]:
        """What a buffer holds of these m chunks, which are ordered by row and head."""

    def _turned(self, picked: Tensor) -> Buffer:
        """One that holds these chunks [B, G, k], ascending, `ABSENT` where there are fewer."""
        more = 0 if self.buffer is None else picked.shape[-1] - self.buffer.picked.shape[-1]
        buffer = self.buffer
        if buffer is None or more < 0:
            buffer = self._room(picked)
        elif more:
            buffer = buffer.widened(more)
        before = self.store.copied
        asked, had = buffer.turn_to(picked, self._bring)
        self.buffer = buffer if self.reuse else None
        self.statistics.asked += asked
        self.statistics.kept += had
        self.statistics.steps += 1
        self.statistics.copied += self.store.copied - before
        return buffer
