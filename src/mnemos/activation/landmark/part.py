"""Blocks of tokens that end with a landmark: the landmarks' keys are near and are scored, the tokens lie far, each query brings few blocks back."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mnemos.activation import buffer, parts
from mnemos.activation.buffer import Buffer, Reusing
from mnemos.activation.chunks import Place
from mnemos.activation.coding import SAME, STEPS
from mnemos.activation.landmark import index as indexes
from mnemos.activation.landmark.index import Exact, Index
from mnemos.activation.landmark.positions import Layout, Queries
from mnemos.activation.landmark.store import BlockStore
from mnemos.activation.parts import Bytes, Marks, Part, product, size_of
from mnemos.activation.rotary import Rotary
from mnemos.activation.shadow.selection import ABSENT
from mnemos.base.errors import Corrupt


@dataclass
class Statistics(buffer.Statistics):
    """What reading did since the part was made, as for all parts whose tokens lie far, and of landmarks alone:"""

    fetched: int = 0
    """Blocks of a key-value head that were brought; one that several queries of a call picked counts once."""
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
    tokens that are (None: all); u stands for two dimensions, query heads of a key-value head and queries, each of which may be 1 for all."""

    keys: Tensor
    values: Tensor
    landmarks: Tensor
    there: Tensor | None


@dataclass
class Blocks(Reusing):
    """n blocks of up to ℓ tokens of each row, in their order.

    `store`: the keys of landmarks [B, G, n, d], as they are at the end of slot 0, and, far, payloads [B, G, n, p]: the keys and values of a block's
    tokens, p = ℓ · (d + e), keys as they are in slot 0, whatever stood before the block when it was read; and d more where landmarks are near in few
    bits: the landmark's key as it came. Few bits are enough to find blocks by; what a block weighs, the key as it came says, once it is brought.
    `places` [B, n, ℓ] int32: where tokens stood, −1: there is none. The buffer holds payloads [B, G, g · k, p] of what the query heads of a key-value
    head picked together.
    """

    store: BlockStore
    places: Tensor
    rotary: Rotary
    reuse: bool = False
    """Whether what one step brought is kept for the next."""
    statistics: Statistics = field(default_factory=Statistics)
    marks: Marks = field(default_factory=dict)
    buffer: Buffer | None = None
    index: Index = field(default_factory=Exact)
    """Which landmarks a query is compared with."""
    _near: dict[Layout, tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor] | None] = field(default_factory=dict, init=False, repr=False)
    kind = "landmark blocks"

    @classmethod
    def empty(cls, like: Tensor, values: int, block: int, rotary: Rotary, place: Place, bits: int | None = None, reuse: bool = False,
              index: Index | None = None) -> Blocks:  # fmt: skip
        """Without blocks; for keys like [B, G, …, d] and values of `values` numbers. Landmarks are near in `bits`; None: as they come. `index` knows
        of none; None: all are compared."""
        rows, heads, size = like.shape[0], like.shape[1], like.shape[-1]
        store = BlockStore(place, bits)
        store.put(like.new_zeros(rows, heads, 0, size), like.new_zeros(rows, heads, 0, block * (size + values) + (bits is not None) * size),
                  torch.zeros(rows, 0, 2, dtype=torch.int32), torch.zeros(rows, heads, 0, dtype=torch.bool, device=like.device))  # fmt: skip
        return cls(store, torch.zeros(rows, 0, block, dtype=torch.int32, device=like.device), rotary, reuse,
                   index=index or Exact())  # fmt: skip

    def __copy__(self) -> Blocks:
        """A part that shares what never changes, and has a buffer of its own."""
        return Blocks(self.store.fork(), self.places, self.rotary, self.reuse, index=self.index)

    @property
    def heads(self) -> tuple[int, ...]:
        """All of the layer."""
        return tuple(range(self.store.heads))

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
    def there(self) -> Tensor:
        """[B, n, ℓ]: whether there is a token."""
        return self.places >= 0

    @cached_property
    def whole(self) -> bool:
        """Whether all rows have all blocks, all full, and all may be read."""
        return bool(self.there.all()) and bool(self.store.readable.all())

    @cached_property
    def present(self) -> Tensor:
        """[B, n]: whether a row has a block there."""
        return self.there.any(-1)

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

    @property
    def coarse(self) -> float:
        """How far codes may part landmark keys that are the same but for rounding: 0 where keys are kept as they come."""
        return 0.0 if self.store.bits is None else STEPS[self.store.bits] * SAME * float(self.store.width) ** 0.5

    def ordinals_of(self, picked: Tensor) -> Tensor:
        """Of blocks [B, …, k]."""
        if self.whole:
            return picked.clamp_max(self.ordinals.shape[1] - 1)
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
        exact = [] if store.bits is None else [landmarks]
        store.put(landmarks, torch.cat([keys.flatten(3), values.flatten(3), *exact], -1), spans, readable)
        other = Blocks(store, torch.cat([self.places, places], 1), self.rotary, self.reuse, self.statistics, buffer=self.buffer,
                       index=self.index.add(store))  # fmt: skip
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
        kept = None if self.buffer is None else self.buffer.left(~surplus, gone)
        return Blocks(self.store, self.places[:, gone:].clone(), self.rotary, self.reuse, self.statistics, buffer=kept)

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
        if not queries.layout.stingy:  # turned anew for each call: held, they would be as large as the keys in full
            at = queries.layout.scored_at(self.ordinals, self.cached).clamp_min(0) * queries.layout.slot
            landmarks = self.rotary.rotate(self.store.summaries.float(), at.unsqueeze(1))
            theirs = torch.einsum("bghtd,bgnd->bghtn", queries.here.float(), landmarks)
            return theirs.masked_fill(~self.store.readable[:, :, None, None], -torch.inf)
        scores = self.store.score(queries.here.to(self.store.payloads[0].dtype))
        nearer = self.nearer(queries.layout)
        if nearer is None:
            return scores
        at, slots, there, landmarks, readable = nearer
        theirs = (queries.seeing(slots) * landmarks).sum(-1).masked_fill(~readable, -torch.inf)
        place = at.expand_as(theirs)
        return scores.scatter(-1, place, theirs if there is None else torch.where(there, theirs, scores.gather(-1, place)))

    def nearer(self, layout: Layout) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor] | None:
        """The blocks that are scored at another slot than 0, m of each row: places [B, 1, 1, 1, m], slots, whether there is one (None: everywhere),
        landmarks [B, G, 1, 1, m, d], whether they may be read [B, G, 1, 1, m]; None where there are none. Of stingy layouts."""
        if layout not in self._near:
            slots = layout.scored_at(self.ordinals, self.cached).masked_fill(~self.present, 0)
            few = int((slots > 0).sum(-1).max()) if slots.numel() else 0
            numbers = torch.arange(slots.shape[-1], device=slots.device).expand_as(slots)
            found = numbers.masked_fill(slots == 0, -1).topk(few, -1).values
            at = found.clamp_min(0)
            spread = at.unsqueeze(1).expand(-1, len(self.heads), -1)
            landmarks = parts.gather(self.store.summaries, spread).float()[:, :, None, None]
            there = None if bool((found >= 0).all()) else (found >= 0)[:, None, None, None]
            readable = parts.gather(self.store.readable, spread)[:, :, None, None]
            its = at[:, None, None, None], slots.gather(1, at)[:, None, None, None], there, landmarks, readable
            self._near[layout] = its if few else None
        return self._near[layout]

    def bring(self, picked: Tensor) -> Brought:
        """The blocks [B, G, g or 1, t or 1, k], `ABSENT` where there is none. What one choice for all queries brings may be kept for the next."""
        rows, heads, n = len(self.places), self.store.heads, self.store.count
        payload = self._again(picked) if self.reuse and picked.shape[3] == 1 else self._anew(picked)
        self.statistics.most = max(self.statistics.most, size_of(payload))
        at, there = picked.clamp_max(n - 1), None
        row, head = (torch.arange(m, device=picked.device) for m in (rows, heads))
        where = row.view(-1, 1, 1, 1, 1).expand_as(at), head.view(-1, 1, 1, 1).expand_as(at), at
        keys, values, landmarks = self._split(payload)
        if self.store.bits is None:
            landmarks = self.store.summaries_of(*(each.reshape(-1) for each in where)).view(*picked.shape, self.store.width)
        if not self.whole:
            there = self.there[where[0], at] & (picked < ABSENT).unsqueeze(-1)
        return Brought(keys, values, landmarks, there)

    def _split(self, payload: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Payloads [..., p] → keys [..., ℓ, d], values [..., ℓ, e] and, where they are there, landmarks [..., d]."""
        split, exact = self.block * self.store.width, 0 if self.store.bits is None else self.store.width
        keys, values, landmarks = payload.split([split, payload.shape[-1] - split - exact, exact], -1)
        return keys.unflatten(-1, (self.block, -1)), values.unflatten(-1, (self.block, -1)), landmarks

    def _again(self, picked: Tensor) -> Tensor:
        """The payloads [B, G, g or 1, 1, k, p] of one choice for all queries: what was near stays."""
        together = _together(picked)
        kept, asked = self.statistics.kept, self.statistics.asked
        (payload,) = (held := self._turned(together)).states
        self.statistics.fetched += self.statistics.asked - asked - (self.statistics.kept - kept)
        if picked.shape[2] > 1:
            slot = torch.searchsorted(held.picked, picked.flatten(2)).clamp_max(together.shape[-1] - 1)
            payload = parts.gather(payload, slot)
        return payload.view(*picked.shape, -1)

    def _anew(self, picked: Tensor) -> Tensor:
        """The payloads of any choices, each block brought once, past the buffer."""
        rows, heads, n = len(self.places), self.store.heads, self.store.count
        present = picked < ABSENT
        line = torch.arange(rows * heads, device=picked.device).view(rows, heads, 1, 1, 1) * n + picked
        once = picked.shape[2] * picked.shape[3] == 1 and (self.whole or bool(present.all()))
        if once:  # ascending, and each but once
            wanted = line.flatten()
        else:
            unique, inverse = line.masked_fill(~present, -1).unique(return_inverse=True)
            wanted = unique[unique >= 0]
        before = self.store.copied
        payload = self.store.fetch(wanted // (heads * n), wanted // n % heads, wanted % n)
        self.statistics.fetched += len(wanted)
        self.statistics.copied += self.store.copied - before
        if picked.shape[3] == 1:
            self.statistics.asked += len(wanted)
            self.statistics.steps += 1
        if not once:
            spread = (inverse - (len(unique) - len(wanted))).clamp_min(0).flatten()
            blank = payload.new_zeros(int(not len(wanted)), payload.shape[-1])  # where nothing may be read at all
            payload = torch.cat([payload, blank]).index_select(0, spread)
        return payload.view(*picked.shape, -1)

    def _room(self, picked: Tensor) -> Buffer:
        first = self.store.payloads[0]
        return Buffer.empty(picked, first[0, 0, :0].to(picked.device), first.shape[-1])

    def _bring(self, rows: Tensor, heads: Tensor, chunks: Tensor) -> tuple[Tensor, ...]:
        return (self.store.fetch(rows, heads, chunks),)

    def by_means(self) -> Blocks:
        """The same blocks, found by the means of their keys: what landmarks are measured against."""
        keys, _, _ = self._split(self.store.whole())
        there = (self.places >= 0)[:, None, :, :, None]
        means = keys.masked_fill(~there, 0).sum(3) / there.sum(3).clamp_min(1)
        return Blocks(self.store.found_by(means.to(keys.dtype)), self.places, self.rotary)

    # Leaving out

    def without(self, row: int, start: int, stop: int, erase: bool) -> Blocks:
        """The same without the blocks that hold some of a row's tokens at positions from `start` to before `stop`: whole, for their landmarks have
        seen those tokens. Overwritten, or no more than never read again."""
        chunks = self.store.within(row, start, stop)
        other = copy.copy(self)
        if chunks and erase:
            other._wipe(row, chunks)
        elif chunks:
            other.places = self.places.clone()
            other.places[row, chunks] = -1
            other.store.hide(row, chunks)
        if chunks:
            other.index = other.index.remove(other.store, row)
        return other

    # The rest of what a part is

    def open(self, queries: Tensor, scaling: float) -> Part:
        return self

    def dense(self) -> tuple[Tensor, Tensor]:
        rows, heads, n = len(self.places), self.store.heads, self.store.count
        states = self._split(self.store.whole())[:2]
        keys, values = (each.reshape(rows, heads, n * self.block, each.shape[-1]) for each in states)
        offsets = torch.arange(self.block, device=keys.device).repeat(n)
        keys = self.rotary.rotate(keys.float(), (self.positions - offsets).clamp_min(0)).to(values.dtype)
        return keys, values

    def logits(self, queries: Tensor) -> Tensor:
        return product(queries, self.dense()[0].transpose(-1, -2))

    def mix(self, weights: Tensor) -> Tensor:
        values = self.dense()[1]
        return product(weights.to(values.dtype), values)

    def nbytes(self) -> Bytes:
        derived = [value for value in vars(self).values() if isinstance(value, Tensor)]
        nearer = [tensor for its in self._near.values() for tensor in its or ()]
        kept = () if self.buffer is None else self.buffer.tensors()
        own = size_of(*derived, *nearer, *kept, self.rotary.frequencies, self.rotary.scaling)
        return self.store.nbytes() + Bytes(own + self.index.nbytes())

    def rows(self, index: Tensor) -> Blocks:
        store = BlockStore(self.store.place)
        store.__dict__.update(self.store.rows(index).__dict__)
        return Blocks(store, self.places.index_select(0, index), self.rotary, self.reuse, index=self.index.rows(index))

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        layout, rotation = self.rotary.state()
        tensors = {"places": self.places, **{f"store.{name}": tensor for name, tensor in self.store.state().items()}}
        plain, its = self.index.state()
        for prefix, more in (("rotary", rotation), ("index", its)):
            tensors |= {f"{prefix}.{name}": tensor for name, tensor in more.items()}
        return {"rotary": layout, "reuse": self.reuse, "index": plain, "exact": self.store.bits is not None}, tensors


def _together(picked: Tensor) -> Tensor:
    """[B, G, g or 1, 1, k] → what the query heads of a key-value head picked, [B, G, g · k], ascending, each block once, `ABSENT` behind."""
    if picked.shape[2] == 1:
        return picked[:, :, 0, 0].contiguous()
    every = picked.flatten(2).sort(-1).values
    again = torch.cat([torch.zeros_like(every[..., :1], dtype=torch.bool), every[..., 1:] == every[..., :-1]], -1)
    return every.masked_fill(again, ABSENT).sort(-1).values


def _load(plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Blocks:
    def of(name: str) -> dict[str, Tensor]:
        return {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}

    store = BlockStore.from_state(of("store"))
    assert isinstance(store, BlockStore)
    if plain.get("exact", False) != (store.bits is not None):
        raise Corrupt("these landmark blocks are of another version, which kept no exact keys beside landmarks in few bits: read the text anew")
    return Blocks(store, tensors["places"], Rotary.from_state(plain["rotary"], of("rotary")), plain["reuse"],
                  index=indexes.from_state(plain["index"], of("index")))  # fmt: skip


parts.register(Blocks.kind, _load)
