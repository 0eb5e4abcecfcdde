"""Blocks of tokens that end with a landmark: the landmarks' keys are near and are scored, the tokens lie far, each query brings few blocks back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mnemos.activation import parts
from mnemos.activation.chunks import Place
from mnemos.activation.landmark.positions import Queries
from mnemos.activation.landmark.store import BlockStore
from mnemos.activation.parts import Bytes, Marks, Part, product, size_of
from mnemos.activation.rotary import Rotary
from mnemos.activation.shadow.selection import ABSENT


@dataclass
class Statistics:
    """What reading did since the first block was stored."""

    fetched: int = 0
    """Blocks of a key-value head that were brought; one that several queries of a call picked counts once."""
    copied: int = 0
    """Bytes of them."""
    calls: int = 0
    """Times that queries picked."""
    picks: list[Tensor] | None = None
    """Where it is a list: of each call, the ordinals of the blocks that each query picked, [B, G, g or 1, t or 1, k], −1 for none."""

    def note(self, blocks: Blocks, picked: Tensor) -> None:
        """Queries picked these blocks [B, G, g or 1, t or 1, k]."""
        self.calls += 1
        if self.picks is not None:
            self.picks.append(blocks.ordinals_of(picked).masked_fill(picked == ABSENT, -1))


@dataclass
class Brought:
    """Blocks for u choices of k: keys [B, G, u, k, ℓ, d], values [B, G, u, k, ℓ, e], landmarks [B, G, u, k, d], and `there` [B, G, u, k, ℓ], True for
    tokens that are; u stands for two dimensions, query heads of a key-value head and queries, each of which may be 1 for all."""

    keys: Tensor
    values: Tensor
    landmarks: Tensor
    there: Tensor


@dataclass
class Blocks:
    """n blocks of up to ℓ tokens of each row, in their order.

    `store`: the keys of landmarks [B, G, n, d], as they are at the end of slot 0; the keys and values of a block's tokens [B, G, n, ℓ · (d + e)],
    keys as they are in slot 0, whatever stood before the block when it was read. `places` [B, n, ℓ] int32: where tokens stood, −1: there is none.
    """

    store: BlockStore
    places: Tensor
    rotary: Rotary
    statistics: Statistics = field(default_factory=Statistics)
    marks: Marks = field(default_factory=dict)
    kind = "landmark blocks"

    @classmethod
    def empty(cls, like: Tensor, values: int, block: int, rotary: Rotary, place: Place) -> Blocks:
        """Without blocks; for keys like [B, G, …, d] and values of `values` numbers."""
        rows, heads, size = like.shape[0], like.shape[1], like.shape[-1]
        store = BlockStore(place)
        store.put(like.new_zeros(rows, heads, 0, size), like.new_zeros(rows, heads, 0, block * (size + values)),
                  torch.zeros(rows, 0, 2, dtype=torch.int32), torch.zeros(rows, heads, 0, dtype=torch.bool, device=like.device))  # fmt: skip
        return cls(store, torch.zeros(rows, 0, block, dtype=torch.int32, device=like.device), rotary)

    @property
    def heads(self) -> tuple[int, ...]:
        """All of the layer."""
        return tuple(range(self.store.summaries.shape[1]))

    @property
    def block(self) -> int:
        """ℓ."""
        return int(self.places.shape[2])

    @property
    def length(self) -> int:
        return int(self.places.shape[1]) * self.block

    @property
    def positions(self) -> Tensor:
        """[B, 1, n · ℓ]."""
        return self.places.flatten(1).unsqueeze(1)

    @cached_property
    def present(self) -> Tensor:
        """[B, n]: whether a row has a block there."""
        return (self.places >= 0).any(-1)

    @cached_property
    def ordinals(self) -> Tensor:
        """[B, n]: how many blocks of the row stand before one."""
        return self.present.long().cumsum(-1) - self.present.long()

    @cached_property
    def cached(self) -> Tensor:
        """[B]: the blocks that a row has."""
        return self.present.sum(-1)

    @cached_property
    def largest(self) -> Tensor:
        """[B, G]: the norm of the largest landmark key."""
        return self.store.summaries.float().norm(dim=-1).amax(-1)

    def ordinals_of(self, picked: Tensor) -> Tensor:
        """Of blocks [B, …, k]."""
        spread = self.ordinals.view(len(self.ordinals), *[1] * (picked.dim() - 2), -1).expand(*picked.shape[:-1], -1)
        return spread.gather(-1, picked.clamp_max(self.ordinals.shape[1] - 1))

    def extended(self, keys: Tensor, landmarks: Tensor, values: Tensor, places: Tensor, most: int | None) -> Blocks:
        """With blocks after it: keys [B, G, m, ℓ, d] and landmarks [B, G, m, d] as they are in slot 0, values [B, G, m, ℓ, e], places [B, m, ℓ]. Of
        more than `most` blocks of a row, the oldest go."""
        there = places >= 0
        last = places.amax(-1)
        spans = torch.stack([torch.where(there, places, ABSENT).amin(-1).masked_fill(last < 0, -1), last], -1)
        readable = there.any(-1).unsqueeze(1).expand(landmarks.shape[:3]).contiguous()
        store = self.store.fork()
        store.put(landmarks, torch.cat([keys.flatten(3), values.flatten(3)], -1), spans, readable)
        other = Blocks(store, torch.cat([self.places, places], 1), self.rotary, self.statistics)
        return other if most is None else other._newest(most)

    def _newest(self, most: int) -> Blocks:
        surplus = self.present & (self.ordinals < (self.cached - most).unsqueeze(-1))
        if not bool(surplus.any()):
            return self
        for row in range(len(surplus)):
            if chunks := surplus[row].nonzero().squeeze(1).tolist():
                self._wipe(row, chunks)
        left = (self.places >= 0).any(-1).any(0).nonzero()
        gone = int(left[0]) if len(left) else self.places.shape[1]
        self.store.drop(gone)
        return Blocks(self.store, self.places[:, gone:].clone(), self.rotary, self.statistics)

    def _wipe(self, row: int, chunks: list[int]) -> None:
        """Overwrites these blocks of a row by zeros, of a store that is this part's alone."""
        m, heads, near = len(chunks), len(self.heads), self.store.summaries
        self.store.overwrite(row, chunks, near.new_zeros(heads, m, near.shape[-1]), near.new_zeros(heads, m, self.store.payloads[0].shape[-1]),
                             torch.full((m, 2), -1, dtype=torch.int32))  # fmt: skip
        self.places = self.places.clone()
        self.places[row, chunks] = -1

    # Picking and bringing

    def scores(self, queries: Queries) -> Tensor:
        """[B, G, g, t, n] float32, unscaled: what queries think of the landmarks; −∞ for blocks that are not there, or may not be read."""
        here = queries.here()
        scores = self.store.score(here.to(self.store.summaries.dtype))
        slots = queries.layout.scored_at(self.ordinals, self.cached).masked_fill(~self.present, 0)
        if not (few := int((slots > 0).sum(-1).max())):
            return scores
        numbers = torch.arange(slots.shape[-1], device=slots.device).expand_as(slots)
        recent = numbers.masked_fill(slots == 0, -1).topk(few, -1).values  # all others stand at slot 0
        at = recent.clamp_min(0)
        spread = at.unsqueeze(1).expand(-1, len(self.heads), -1)
        landmarks = parts.gather(self.store.summaries, spread).float()
        theirs = (queries.seeing(slots.gather(1, at)[:, None, None, None]) * landmarks[:, :, None, None]).sum(-1)
        theirs = theirs.masked_fill(~parts.gather(self.store.readable, spread)[:, :, None, None], -torch.inf)
        place = at[:, None, None, None].expand_as(theirs)
        theirs = torch.where((recent >= 0)[:, None, None, None], theirs, scores.gather(-1, place))
        return scores.scatter(-1, place, theirs)

    def bring(self, picked: Tensor) -> Brought:
        """The blocks [B, G, g or 1, t or 1, k], `ABSENT` where there is none."""
        rows, heads, n = self.store.readable.shape
        present = picked < ABSENT
        line = (torch.arange(rows * heads, device=picked.device).view(rows, heads, 1, 1, 1) * n + picked).masked_fill(~present, -1)
        unique, inverse = line.unique(return_inverse=True)
        wanted = unique[unique >= 0]
        before = self.store.copied
        fetched = self.store.fetch(wanted // (heads * n), wanted // n % heads, wanted % n)
        self.statistics.fetched += len(wanted)
        self.statistics.copied += self.store.copied - before
        inverse = (inverse - (len(unique) - len(wanted))).clamp_min(0)
        size = self.store.summaries.shape[-1]
        if len(wanted):
            payload = fetched.index_select(0, inverse.flatten()).view(*picked.shape, -1)
            landmarks = self.store.summaries.flatten(0, 2).index_select(0, wanted).index_select(0, inverse.flatten()).view(*picked.shape, size)
        else:
            payload = self.store.summaries.new_zeros(*picked.shape, self.store.payloads[0].shape[-1])
            landmarks = self.store.summaries.new_zeros(*picked.shape, size)
        at = torch.arange(rows, device=picked.device).view(rows, 1, 1, 1, 1) * n + picked.clamp_max(n - 1)
        there = (self.places >= 0).flatten(0, 1).index_select(0, at.flatten()).view(*picked.shape, self.block) & present.unsqueeze(-1)
        split = self.block * size
        return Brought(payload[..., :split].unflatten(-1, (self.block, size)), payload[..., split:].unflatten(-1, (self.block, -1)), landmarks, there)

    # Leaving out

    def without(self, row: int, start: int, stop: int, erase: bool) -> Blocks:
        """The same without the blocks that hold some of a row's tokens at positions from `start` to before `stop`: whole, for their landmarks have
        seen those tokens. Overwritten, or no more than never read again."""
        chunks = self.store.within(row, start, stop)
        other = Blocks(self.store.fork(), self.places, self.rotary, self.statistics)
        if chunks and erase:
            other._wipe(row, chunks)
        elif chunks:
            other.places = self.places.clone()
            other.places[row, chunks] = -1
            other.store.readable = self.store.readable.clone()
            other.store.readable[row, :, chunks] = False
        return other

    # The rest of what a part is

    def open(self, queries: Tensor, scaling: float) -> Part:
        return self

    def dense(self) -> tuple[Tensor, Tensor]:
        rows, heads, n = self.store.readable.shape
        size, split = self.store.summaries.shape[-1], self.block * self.store.summaries.shape[-1]
        payload = self.store.whole()
        keys = payload[..., :split].reshape(rows, heads, n * self.block, size)
        offsets = torch.arange(self.block, device=keys.device).repeat(n)
        keys = self.rotary.rotate(keys.float(), (self.positions - offsets).clamp_min(0)).to(payload.dtype)
        return keys, payload[..., split:].reshape(rows, heads, n * self.block, -1)

    def logits(self, queries: Tensor) -> Tensor:
        return product(queries, self.dense()[0].transpose(-1, -2))

    def mix(self, weights: Tensor) -> Tensor:
        values = self.dense()[1]
        return product(weights.to(values.dtype), values)

    def nbytes(self) -> Bytes:
        return self.store.nbytes() + Bytes(size_of(self.places, self.rotary.frequencies, self.rotary.scaling))

    def rows(self, index: Tensor) -> Blocks:
        store = BlockStore(self.store.place)
        store.__dict__.update(self.store.rows(index).__dict__)
        return Blocks(store, self.places.index_select(0, index), self.rotary)

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        layout, rotation = self.rotary.state()
        tensors = {"places": self.places, **{f"store.{name}": tensor for name, tensor in self.store.state().items()}}
        return {"rotary": layout}, {**tensors, **{f"rotary.{name}": tensor for name, tensor in rotation.items()}}


def _load(plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Blocks:
    def of(name: str) -> dict[str, Tensor]:
        return {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}

    store = BlockStore.from_state(of("store"))
    assert isinstance(store, BlockStore)
    return Blocks(store, tensors["places"], Rotary.from_state(plain["rotary"], of("rotary")))


parts.register(Blocks.kind, _load)
