"""Attention over the blocks that queries bring back and the local tokens together, as in training: inference of arXiv 2305.16300, section 3.2.

What is read goes by segments, whose ends lie on a grid of the sequence: within one, its tokens and the block that was open before it are local; at
its end the blocks that a landmark has ended go into the store. So it is all the same in which portions tokens are given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mnemos.activation.attending import seen_of_tail
from mnemos.activation.chunks import Place
from mnemos.activation.landmark.index import Exact, Index
from mnemos.activation.landmark.part import Blocks, Brought
from mnemos.activation.landmark.picking import pick
from mnemos.activation.landmark.positions import Layout, Queries
from mnemos.activation.landmark.softmax import OWN, grouped_softmax
from mnemos.activation.parts import Dense, gather, product
from mnemos.activation.rotary import Rotary
from mnemos.base.errors import Invalid

if TYPE_CHECKING:
    from mnemos.activation.layer import MemoryLayer

LANDMARKS = "landmarks"
"""The keyword of a forward pass, and the mark of tokens, that says which are landmarks."""
FAR = 2**16
"""Positions from which on float32 tells angles so coarsely that local keys are turned to small positions before they are compared; below, distances
are the same and nothing is turned."""


@dataclass(frozen=True)
class Settings:
    """How blocks are kept and brought back; the policy explains each."""

    layout: Layout
    level: str
    segment: int
    local: int
    most: int | None
    place: Place
    bits: int | None = None
    reuse: bool = False
    index: Index = field(default_factory=Exact)
    at_once: int = 2**22


def blocks_of(layer: MemoryLayer) -> Blocks | None:
    """The stored blocks of a layer, where it has some."""
    return next((part for part in layer.parts if isinstance(part, Blocks)), None)


def attend(layer: MemoryLayer, settings: Settings, queries: Tensor, mask: Tensor | None) -> Tensor | None:
    """Queries [B, H, t, d] of the newest tokens of the tail → what they get, [B, H, t, d]; blocks that are complete go from the tail into the store.
    None where there is no landmark yet: all tokens are one open block, and plain softmax is the grouped one. Raises `Invalid` for a landmark after
    more than `block` tokens."""
    marks = layer.tail.part().marks
    if blocks_of(layer) is None and (LANDMARKS not in marks or not bool(marks[LANDMARKS].any())):
        return None
    local = _Local(layer, settings, queries, mask)
    outputs = [local.attended(start, stop) for start, stop in local.pieces()]
    local.close()
    return torch.cat(outputs, 2).to(queries.dtype)


class _Local:
    """The tail while new tokens are attended to, piece by piece: B rows, L tokens, the last t of them new."""

    def __init__(self, layer: MemoryLayer, settings: Settings, queries: Tensor, mask: Tensor | None) -> None:
        self._layer, self._settings, self._mask = layer, settings, mask
        self._tail = layer.tail.part()
        self._new, self._length = queries.shape[2], self._tail.length
        self._rotary = layer.rotation()
        self._places = self._tail.positions[:, 0]
        marks = self._tail.marks
        self._landmarks = marks[LANDMARKS][:, 0].bool() if LANDMARKS in marks else torch.zeros_like(self._places, dtype=torch.bool)
        self._gone = torch.zeros_like(self._landmarks)
        self._sets = sets = marks["rotation"][:, 0] if "rotation" in marks else None
        new, shape = self._places[:, -self._new :], (queries.shape[0], self._tail.keys.shape[1], -1, *queries.shape[2:])
        self._queries = self._plain(queries, new, None if sets is None else sets[:, -self._new :]).view(shape)
        self._turned = queries.float().view(shape) if sets is None and int(self._places.max()) < FAR else None
        self._ends = (new >= 0) & ((new + 1) % settings.segment == 0)
        self._blocks = blocks_of(layer)

    @cached_property
    def _keys(self) -> Tensor:
        """[B, G, L, d], before rotation."""
        return self._plain(self._tail.keys, self._places, self._sets)

    def _plain(self, states: Tensor, places: Tensor, sets: Tensor | None) -> Tensor:
        """[B, h, n, d] as they were before the model turned them, float32."""
        return self._rotary.unrotate(states.float(), places.clamp_min(0).unsqueeze(1), None if sets is None else sets.unsqueeze(1))

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Where segments of some row begin and end among the new tokens; after each, the blocks that it completed are stored."""
        ends = (self._ends.any(0).nonzero().squeeze(1) + 1).tolist() if self._new > 1 else []
        for start, stop in pairwise(sorted({0, self._new, *ends})):
            yield start, stop
            if bool((done := self._ends[:, stop - 1]).any()):
                self._store(done, self._length - self._new + stop)

    def attended(self, start: int, stop: int) -> Tensor:
        """What new tokens `start` to before `stop` get, [B, H, stop − start, d]."""
        settings, upto = self._settings, self._length - self._new + stop
        there = (self._places[:, :upto] >= 0) & ~self._gone[:, :upto]
        lo = 0 if bool(there[:, 0].any()) else int(there.any(0).int().argmax())
        there, span = there[:, lo:], slice(lo, upto)
        blocks = self._blocks
        cached = there.new_zeros(len(there), dtype=torch.long) if blocks is None else blocks.cached
        places = settings.layout.first(cached).unsqueeze(-1) + (there.long().cumsum(-1) - 1).clamp_min(0)
        queries = Queries(self._queries[:, :, :, start:stop], places[:, start - stop :], self._rotary, settings.layout)
        if self._turned is None:
            asking, keys = queries.here, self._rotary.rotate(self._keys[:, :, span], places.unsqueeze(1))
        else:
            asking, keys = self._turned[:, :, :, start:stop], self._tail.keys[:, :, span].float()
        numbers = self._landmarks[:, span].long().cumsum(-1) - self._landmarks[:, span].long()
        mine = numbers[:, start - stop :]
        seen = there[:, None, None]
        if self._new > 1 or self._mask is not None:
            seen = seen & seen_of_tail(self._layer.tail, self._mask, start, stop, self._new)[..., span]
        local = _Tokens(asking, keys, self._tail.values[:, :, span].float(), numbers, self._landmarks[:, span])
        if blocks is None or not blocks.length:
            return self._mixed(queries, None, None, local, slice(0, stop - start), mine, seen).flatten(1, 2)
        picked = pick(blocks, queries, settings.level, self._layer.scaling)
        slots, outputs = settings.layout.attended_at(blocks.ordinals_of(picked), blocks.cached), []
        brought = blocks.bring(picked) if picked.shape[3] == 1 else None  # of one choice for all queries
        step = max(1, settings.at_once // (picked[:, :, :, 0].numel() * blocks.block * 2 * keys.shape[-1]))
        for at in range(0, stop - start, step):
            some = slice(at, min(at + step, stop - start))
            own = (brought, slots) if brought is not None else (blocks.bring(picked[:, :, :, some]), slots[:, :, :, some])
            outputs.append(self._mixed(queries.some(some), *own, local, some, mine[:, some], seen[:, :, some]))
        return torch.cat(outputs, 3).flatten(1, 2)

    def _mixed(self, queries: Queries, brought: Brought | None, slots: Tensor | None, local: _Tokens, some: slice, mine: Tensor,
               seen: Tensor) -> Tensor:  # fmt: skip
        """The grouped softmax over what is brought, which is seen in these slots, and what is local, for `some` of the queries: [B, G, g, t, d]."""
        own = self._scaled(product(local.queries[:, :, :, some], local.keys.transpose(-1, -2)))
        if brought is not None and slots is not None:
            theirs = queries.seeing(slots)
            inner = self._scaled(torch.matmul(brought.keys.float(), theirs.unsqueeze(-1)).squeeze(-1))
            gates = self._scaled((brought.landmarks.float() * theirs).sum(-1))
            there = brought.there
        else:
            gates, there = own[..., :0], None
            inner = gates.unsqueeze(-1)
        if int(local.numbers.max()) == 0:  # of the local tokens all are of the own block
            shares, weights = _of_one_block(inner, gates, own, there, (seen & ~local.landmarks[:, None, None]).unsqueeze(2))
        else:
            shares, weights = _of_several(inner, gates, own, there, seen.unsqueeze(2), local, mine)
        mixed = product(weights, local.values)
        if brought is not None:
            mixed = mixed + torch.matmul(shares.unsqueeze(-2), brought.values.float()).squeeze(-2).sum(-2)
        return mixed

    def _scaled(self, products: Tensor) -> Tensor:
        logits, cap = products * self._layer.scaling, self._layer.softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def _store(self, done: Tensor, upto: int) -> None:
        """Moves the blocks that landmarks among the first `upto` tokens have ended into the store, of the rows `done` [B]."""
        block = self._settings.layout.block
        there = (self._places[:, :upto] >= 0) & ~self._gone[:, :upto]
        landmarks = self._landmarks[:, :upto] & there
        numbers = landmarks.long().cumsum(-1) - landmarks.long()
        complete = there & done.unsqueeze(-1) & (numbers < landmarks.sum(-1, keepdim=True) - self._settings.local)
        if not (most := int((landmarks & complete).sum(-1).max())):
            return
        rows, columns = complete.shape[0], torch.arange(upto, device=complete.device).expand_as(complete)
        order = there.long().cumsum(-1) - 1
        at = numbers.clamp_max(most)
        begins = torch.full((rows, most + 1), upto, device=order.device).scatter_reduce(1, at, order.masked_fill(~there, upto), "amin")
        offsets = order - begins.gather(1, at)
        if bool((complete & (offsets > block)).any()):
            raise Invalid(f"a landmark came after more than {block} tokens: give landmarks as the policy's block={block} says, or another block")
        tokens = _scattered(numbers * block + offsets, columns, complete & ~landmarks, most * block)
        ends = _scattered(numbers, columns, complete & landmarks, most)
        heads, size = self._keys.shape[1], self._keys.shape[-1]
        sizes = offsets.gather(1, ends.clamp_min(0)).masked_fill(ends < 0, 0)
        spread = tokens.clamp_min(0).unsqueeze(1).expand(-1, heads, -1)
        dtype = self._tail.keys.dtype
        within = torch.arange(block, device=tokens.device).repeat(most)
        keys = self._rotary.rotate(gather(self._keys, spread), within.expand_as(spread)).to(dtype)
        keys = keys.masked_fill((tokens < 0)[:, None, :, None], 0).view(rows, heads, most, block, size)
        values = gather(self._tail.values, spread).masked_fill((tokens < 0)[:, None, :, None], 0).view(rows, heads, most, block, -1)
        marks = self._rotary.rotate(gather(self._keys, ends.clamp_min(0).unsqueeze(1).expand(-1, heads, -1)), sizes.unsqueeze(1)).to(dtype)
        places = self._places.gather(1, tokens.clamp_min(0)).masked_fill(tokens < 0, -1).view(rows, most, block)
        if self._blocks is None:
            self._blocks = Blocks.empty(self._tail.keys, self._tail.values.shape[-1], block, _base(self._rotary), self._settings.place,
                                        self._settings.bits, self._settings.reuse, self._settings.index)  # fmt: skip
        self._blocks = self._blocks.extended(keys, marks, values, places, self._settings.most)
        self._gone[:, :upto] |= complete

    def close(self) -> None:
        """Leaves in the tail what is not stored."""
        if not bool(self._gone.any()):
            return
        kept = (self._places >= 0) & ~self._gone
        width = int(kept.sum(-1).max())
        columns = torch.arange(self._length, device=kept.device).expand_as(kept).masked_fill(~kept, -1).sort(-1).values[:, self._length - width :]
        tail: Dense = self._tail.take(columns.unsqueeze(1).expand(-1, len(self._tail.heads), -1))
        tail.positions = tail.positions[:, :1].clone()
        others = [part for part in self._layer.parts if not isinstance(part, Blocks)]
        self._layer.replace([*others, *([] if self._blocks is None else [self._blocks])], tail)


@dataclass(frozen=True)
class _Tokens:
    """Local tokens: keys [B, G, n, d] and the queries [B, G, g, t, d] that they are compared with, values [B, G, n, e], `numbers` [B, n] of their
    blocks, `landmarks` [B, n]."""

    queries: Tensor
    keys: Tensor
    values: Tensor
    numbers: Tensor
    landmarks: Tensor


def _of_one_block(inner: Tensor, gates: Tensor, own: Tensor, there: Tensor | None, seen: Tensor) -> tuple[Tensor, Tensor]:
    """The grouped softmax where no local block but the own one is seen. Logits of brought tokens [B, G, g, t, k, ℓ], of their landmarks [B, G, g, t,
    k], and of local tokens [B, G, g, t, n]; what of them there is (None: all) → weights of the brought, and of the local tokens."""
    if there is not None:
        inner, gates = inner.masked_fill(~there, -torch.inf), gates.masked_fill(~there.any(-1), -torch.inf)
    outer = torch.cat([gates, own.masked_fill(~seen, -torch.inf)], -1).softmax(-1).nan_to_num(0.0)  # queries in padded places see nothing
    opened, shares = outer[..., : gates.shape[-1], None], inner.softmax(-1)
    return (shares * opened if there is None else torch.where(opened > 0, shares * opened, 0.0)), outer[..., gates.shape[-1] :]


def _of_several(inner: Tensor, gates: Tensor, own: Tensor, there: Tensor | None, seen: Tensor, local: _Tokens,
                mine: Tensor) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The same for any layout of local blocks, which are numbered in `local`, and in `mine` [B, t] for queries."""
    rows, heads, group, new, before, block = inner.shape
    wide = torch.cat([inner, gates.unsqueeze(-1)], -1).flatten(-2)
    if there is not None:
        hidden = ~torch.cat([there, there.any(-1, keepdim=True)], -1).expand(rows, heads, group, new, -1, -1).flatten(-2)
        wide = wide.masked_fill(hidden, -torch.inf)
    logits = torch.cat([wide, own.masked_fill(~seen, -torch.inf)], -1)
    groups = torch.where(mine.unsqueeze(-1) == local.numbers[:, None], OWN, local.numbers[:, None] + before + 1)[:, None, None]
    slots = torch.arange(before * (block + 1), device=groups.device)
    groups = torch.cat([(slots // (block + 1) + 1).expand(rows, 1, 1, new, -1), groups], -1)
    landmarks = torch.cat([(slots % (block + 1) == block).expand(rows, 1, 1, 1, -1), local.landmarks[:, None, None, None]], -1)
    weights = grouped_softmax(logits, groups, landmarks)
    return weights[..., : len(slots)].unflatten(-1, (before, block + 1))[..., :-1], weights[..., len(slots) :]


def _scattered(at: Tensor, values: Tensor, where: Tensor, size: int) -> Tensor:
    """[B, size] with `values` [B, n] at places `at`, of those that `where` says; −1 elsewhere."""
    out = torch.full((at.shape[0], size + 1), -1, dtype=torch.long, device=at.device)
    return out.scatter_(1, torch.where(where, at, size), torch.where(where, values, -1))[:, :size].contiguous()


def _base(rotary: Rotary) -> Rotary:
    """The rotation by the first frequencies that were in force: positions stay among those that the model was trained on."""
    return Rotary(rotary.layout, rotary.frequencies[:1], rotary.scaling[:1])
