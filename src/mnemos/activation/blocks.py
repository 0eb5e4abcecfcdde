"""Block retrieval without training: keys and values lie far, near is what stands for each block, and each query brings the blocks that it needs.

What stands for a block is the mean of its keys, or, as in Quest (arXiv 2406.10774, section 3.3), the least and the largest number of each of their
components, by which no key of the block can have a larger product with a query than is said. Keys are rotated, as the model made them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mnemos.activation import parts
from mnemos.activation.buffer import Buffer, Statistics
from mnemos.activation.chunks import ChunkStore
from mnemos.activation.parts import Bytes, Dense, Marks, product, size_of
from mnemos.activation.shadow.retrieving import Retrieving
from mnemos.activation.shadow.selection import ABSENT

MEAN, BOUNDS = "mean", "bounds"


def represented(keys: Tensor, there: Tensor, by: str) -> Tensor:
    """Keys [B, G, n, c, d], of which `there` [B, 1 or G, n, c] are → what stands for each block, [B, G, n, d], or [B, G, n, 2 d] for bounds."""
    seen = there.unsqueeze(-1)
    if by == MEAN:
        return (keys.float().masked_fill(~seen, 0).sum(3) / seen.sum(3).clamp_min(1)).to(keys.dtype)
    least, largest = keys.masked_fill(~seen, torch.inf).amin(3), keys.masked_fill(~seen, -torch.inf).amax(3)
    return torch.cat([least, largest], -1).nan_to_num(0.0, 0.0, 0.0)


def asking(queries: Tensor, by: str) -> Tensor:
    """Queries [..., d] → those whose product with what stands for a block says how much of them it may get: with bounds, at most."""
    return queries if by == MEAN else torch.cat([-torch.relu(-queries), torch.relu(queries)], -1)


@dataclass
class FarBlocks(Retrieving):
    """n blocks of c tokens of each row.

    `store`: what stands for blocks [B, G, n, d or 2 d], near; keys and values of their tokens [B, G, n, c · (d + e)], far. `places` [B, n, c] int32,
    far: positions, −1 where there is no token. `counts` [B]: the blocks that each key-value head picks for a query. `by`: what stands for them.
    """

    store: ChunkStore
    places: Tensor
    counts: Tensor
    by: str = MEAN
    reuse: bool = True
    """Whether what one step brought is kept for the next."""
    size: int = 0
    """d."""
    marks: Marks = field(default_factory=dict)
    statistics: Statistics = field(default_factory=Statistics)
    buffer: Buffer | None = None
    kind = "far blocks"

    @classmethod
    def of(cls, taken: Dense, block: int, store: ChunkStore, counts: Tensor, by: str, reuse: bool) -> FarBlocks:
        """Tokens [B, G, n · c, …] in their order, put into the store behind what it holds; the part is of them alone."""
        rows, heads, n, size = taken.keys.shape
        shape = (rows, heads, n // block, block)
        positions = taken.positions[:, 0].reshape(rows, -1, block)
        there = (positions >= 0).unsqueeze(1)
        keys, values = (states.masked_fill((taken.positions < 0).unsqueeze(-1), 0).view(*shape, -1) for states in (taken.keys, taken.values))
        last = positions.amax(-1)
        spans = torch.stack([positions.masked_fill(positions < 0, ABSENT).amin(-1).masked_fill(last < 0, -1), last], -1)
        store.put(represented(keys, there, by), torch.cat([keys.flatten(3), values.flatten(3)], -1), spans)
        return cls(store, positions.to("cpu", copy=True), counts, by, reuse, size)

    def joined(self, taken: Dense, counts: Tensor) -> FarBlocks:
        """With tokens [B, G, n · c, …] after it."""
        store = self.store.fork()
        its = FarBlocks.of(taken, self.block, store, counts, self.by, self.reuse)
        return FarBlocks(store, torch.cat([self.places, its.places], 1), counts, self.by, self.reuse, self.size, {}, self.statistics, self.buffer)

    def __copy__(self) -> FarBlocks:
        """A part that shares what never changes, and has a buffer of its own."""
        return FarBlocks(**{**vars(self), "store": self.store.fork(), "marks": {}, "statistics": Statistics(), "buffer": None})

    @property
    def heads(self) -> tuple[int, ...]:
        """All of the layer."""
        return tuple(range(self.store.heads))

    @property
    def block(self) -> int:
        """c."""
        return int(self.places.shape[2])

    @property
    def length(self) -> int:
        return int(self.places.shape[1]) * self.block

    @property
    def positions(self) -> Tensor:
        """[B, 1, n · c]."""
        return self.places.flatten(1).unsqueeze(1).to(self.store.device)

    # Picking and bringing

    def _asking(self, queries: Tensor) -> Tensor:
        return asking(queries, self.by)

    def _room(self, picked: Tensor) -> Buffer:
        keys, values = self._split(self.store.payloads[0][0, 0, :0].to(picked.device))
        return Buffer.empty(picked, keys, keys.shape[-1], values.shape[-1])

    def _fresh(self, picked: Tensor) -> tuple[Tensor, Tensor]:
        rows, heads, k = picked.shape
        wanted = (picked < ABSENT).reshape(-1).nonzero().squeeze(1)
        payload = self.store.payloads[0].new_zeros(rows * heads * k, self.store.payloads[0].shape[-1]).to(picked.device)
        payload[wanted] = self.store.fetch(wanted // (heads * k), wanted // k % heads, picked.reshape(-1)[wanted])
        return self._split(payload.view(rows, heads, k, -1))

    def _bring(self, rows: Tensor, heads: Tensor, chunks: Tensor) -> tuple[Tensor, Tensor]:
        return self._split(self.store.fetch(rows, heads, chunks))

    def _split(self, payload: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = payload.split([self.block * self.size, payload.shape[-1] - self.block * self.size], -1)
        return keys.contiguous(), values.contiguous()

    # Leaving out

    def without(self, row: int, start: int, stop: int, erase: bool) -> FarBlocks:
        """The same without a row's tokens at positions from `start` to before `stop`. Either they are overwritten, and what stands for blocks that
        hold others, too, is of the others; or nothing is written, and all blocks that hold some of them are no longer read."""
        gone = (self.places[row] >= start) & (self.places[row] < stop)
        chunks = gone.any(-1).nonzero().squeeze(1)
        other = copy.copy(self)
        if not len(chunks):
            return other
        other.places = self.places.clone()
        other.places[row] = other.places[row].masked_fill(gone, -1)
        if not erase:
            other.store.hide(row, chunks)
            return other
        heads, m, device = len(self.heads), len(chunks), self.store.device
        where = torch.full((heads * m,), row), torch.arange(heads).repeat_interleave(m), chunks.repeat(heads)
        left = other.places[row, chunks].to(device)  # [m, c]
        stays = left >= 0
        keys, values = (states.view(heads, m, self.block, -1) * stays.unsqueeze(-1) for states in self._bring(*where))
        spans = torch.stack([left.masked_fill(~stays, ABSENT).amin(-1), left.amax(-1)], -1).masked_fill(~stays.any(-1, keepdim=True), -1)
        stand = represented(keys[None], stays[None, None], self.by)[0]
        other.store.overwrite(row, chunks.tolist(), stand, torch.cat([keys.flatten(2), values.flatten(2)], -1), spans)
        return other

    # The rest of what a part is

    def dense(self) -> tuple[Tensor, Tensor]:
        keys, values = self._split(whole := self.store.whole())
        rows, heads, n, _ = whole.shape
        return keys.view(rows, heads, n * self.block, -1), values.view(rows, heads, n * self.block, -1)

    def logits(self, queries: Tensor) -> Tensor:
        return product(queries, self.dense()[0].transpose(-1, -2))

    def mix(self, weights: Tensor) -> Tensor:
        values = self.dense()[1]
        return product(weights.to(values.dtype), values)

    def nbytes(self) -> Bytes:
        near = size_of(self.counts, *(() if self.buffer is None else self.buffer.tensors()))
        return self.store.nbytes() + Bytes(near, size_of(self.places))

    def rows(self, index: Tensor) -> FarBlocks:
        places, counts = self.places.index_select(0, index.cpu()), self.counts.index_select(0, index)
        return FarBlocks(self.store.rows(index), places, counts, self.by, self.reuse, self.size)

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        tensors = {"places": self.places, "counts": self.counts, **{f"store.{name}": tensor for name, tensor in self.store.state().items()}}
        return {"by": self.by, "reuse": self.reuse, "size": self.size}, tensors


def _load(plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> FarBlocks:
    store = ChunkStore.from_state({name.removeprefix("store."): tensor for name, tensor in tensors.items() if name.startswith("store.")})
    return FarBlocks(store, tensors["places"].cpu(), tensors["counts"], plain["by"], plain["reuse"], plain["size"])


parts.register(FarBlocks.kind, _load)
