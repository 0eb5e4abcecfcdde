"""Tokens that a policy took out of a layer and did not drop: keys and values lie far, and come back before they are expected to be attended to again.

Nobody attends to what is far, so that what is far is known by its past alone: a token that was activated at a step, and whose longest gap between two
activations is known, is expected one gap later (LazyEviction, arXiv 2506.15969; `mnemos.base.recurrence.returns`). Keys and values never change: what
came near and goes again is not copied a second time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mnemos.activation import aside
from mnemos.activation.activations import GAP, LAST
from mnemos.activation.chunks import ChunkStore, Place
from mnemos.activation.parts import Bytes, Dense, size_of
from mnemos.base.recurrence import returns

SLOT = "lazy.slot"
"""The mark, int32, of a token that lies far, too: where, from 1 on; 0: it does not."""


@dataclass(frozen=True)
class Copies:
    """Tokens of single heads, counted since the layer began. Of those that were brought, and went again, each was either `used` or `wasted`; what was
    `missed` passed the step at which it was expected while it was far."""

    put: int = 0
    """That went far for the first time: their keys and values were copied."""
    brought: int = 0
    """That came back: their keys and values were copied."""
    used: int = 0
    """That were activated between coming back and going again."""
    wasted: int = 0
    """That were not."""
    missed: int = 0
    bytes_put: int = 0
    """Of keys and values, all places of the far store that were written."""
    bytes_brought: int = 0


@dataclass(frozen=True)
class Demoted:
    """n places of each of B rows and G heads. `store`: keys and values of single tokens, far, as those of B · G rows of one head. Far, too, all
    [B, G, n]: `positions` int32 (−1: no token), `last` and `gap` int32 as they were when it went, `away`, whether it is not near as well, and `vain`,
    whether it was brought back and not used since."""

    store: ChunkStore
    positions: Tensor
    last: Tensor
    gap: Tensor
    away: Tensor
    vain: Tensor
    copies: Copies = Copies()
    kind = "demoted"

    @classmethod
    def none(cls, like: Dense, place: Place) -> Demoted:
        """Room for tokens as those of a part of all heads, in that place."""
        rows, heads = like.keys.shape[:2]
        numbers, flags = (torch.zeros(rows, heads, 0, dtype=dtype) for dtype in (torch.int32, torch.bool))
        return cls(ChunkStore(place), numbers, numbers, numbers, flags, flags)

    @property
    def heads(self) -> int:
        """G."""
        return int(self.positions.shape[1])

    def put(self, tokens: Dense, step: int) -> Demoted:
        """With tokens [B, G, m, …] of all heads (positions of −1: none), which are near no more; their marks say what is known of them."""
        there, slots = (tokens.positions >= 0).expand(-1, self.heads, -1).cpu(), tokens.marks[SLOT].cpu().long() - 1
        last, gap = tokens.marks[LAST].cpu(), tokens.marks[GAP].cpu()
        known = there & (slots >= 0)
        was, where = self._at(self.last, slots, known), (*known.nonzero()[:, :2].T, slots[known])
        used = last[known] > was
        fields = {name: getattr(self, name).clone() for name in ("last", "gap", "away", "vain")}
        for name, new in (("last", last[known]), ("gap", gap[known]), ("away", True), ("vain", ~used)):
            fields[name][where] = new
        copies = replace(self.copies, used=self.copies.used + int(used.sum()), wasted=self.copies.wasted + int((~used).sum()))
        return replace(self, copies=copies, **fields)._grown(tokens, there & ~known, last, gap)

    def _at(self, field: Tensor, slots: Tensor, known: Tensor) -> Tensor:
        """A field's numbers at the slots that are known, one after the other."""
        return field.gather(2, slots.clamp_min(0))[known] if field.shape[2] else field.new_zeros(0)

    def _grown(self, tokens: Dense, fresh: Tensor, last: Tensor, gap: Tensor) -> Demoted:
        """With places for those of the tokens that never were far."""
        if not (most := int(fresh.sum(-1).max())):
            return self
        order = fresh.int().argsort(dim=-1, descending=True, stable=True)[..., :most]
        fresh = fresh.gather(-1, order)
        its = tokens.take(order.masked_fill(~fresh, -1).to(tokens.keys.device))
        absent = (its.positions < 0).unsqueeze(-1)
        payload = torch.cat([its.keys.masked_fill(absent, 0), its.values.masked_fill(absent, 0)], -1).flatten(0, 1).unsqueeze(1)
        store = self.store.fork()
        store.put(payload[..., :0], payload, its.positions.flatten(0, 1).unsqueeze(-1).expand(-1, -1, 2).contiguous())
        both = zip((self.positions, self.last, self.gap, self.away, self.vain),
                   (its.positions.cpu(), last.gather(-1, order), gap.gather(-1, order), fresh, torch.zeros_like(fresh)), strict=True)  # fmt: skip
        fields = dict(zip(("positions", "last", "gap", "away", "vain"), (torch.cat(pair, 2) for pair in both), strict=True))
        copied = replace(self.copies, put=self.copies.put + int(fresh.sum()),
                         bytes_put=self.copies.bytes_put + payload.numel() * payload.element_size())  # fmt: skip
        return replace(self, store=store, copies=copied, **fields)

    def expected(self, step: int, ahead: int, margin: float, most: int) -> Tensor:
        """[B, G, k ≤ `most`] int64: the places of tokens that may be needed within the next `ahead` steps, the soonest, −1 where there are fewer. One
        that came back in vain is not expected a second time."""
        soon, late = returns(self.last, self.gap, margin)
        due = self.away & (self.gap > 0) & ~self.vain & (soon <= step + ahead) & (late >= step)
        return self._first(due, (self.last + self.gap).float(), most)

    def within(self, start: int, stop: int) -> Tensor:
        """[B, G, k]: the places of tokens at positions from `start` to before `stop` that are far alone, −1 where there are fewer."""
        there = self.away & (self.positions >= start) & (self.positions < stop)
        return self._first(there, self.positions.float(), there.shape[2])

    def _first(self, some: Tensor, order: Tensor, most: int) -> Tensor:
        most = min(most, int(some.sum(-1).max())) if some.numel() else 0
        if not most:
            return torch.zeros(*some.shape[:2], 0, dtype=torch.long)
        best = order.masked_fill(~some, torch.inf).topk(most, -1, largest=False)
        return best.indices.masked_fill(best.values == torch.inf, -1)

    def bring(self, places: Tensor, like: Dense) -> tuple[Dense, Demoted]:
        """What lies at places [B, G, k], as a part with the marks of `like`, and this without what came near."""
        rows, heads, most = places.shape
        known = places >= 0
        index = places.clamp_min(0)
        widths = [like.keys.shape[-1], like.values.shape[-1]]
        payload = like.keys.new_zeros(rows * heads * most, sum(widths))
        flat = known.flatten().nonzero().squeeze(1)
        if len(flat):
            got = self.store.fetch(flat // most, torch.zeros_like(flat), index.flatten()[flat])
            payload[flat.to(payload.device)] = got.to(payload.device)
        keys, values = payload.view(rows, heads, most, sum(widths)).split(widths, -1)
        device = like.keys.device
        marks = {name: mark.new_zeros(rows, heads, most) for name, mark in like.marks.items()}
        for name, its in ((LAST, self.last.gather(2, index)), (GAP, self.gap.gather(2, index)), (SLOT, index.int() + 1)):
            marks[name] = its.masked_fill(~known, 0).to(device)
        positions = self.positions.gather(2, index).masked_fill(~known, -1).to(device)
        away = self.away.clone()
        away[(*known.nonzero()[:, :2].T, places[known])] = False
        size = payload.shape[-1] * payload.element_size()
        copies = replace(self.copies, brought=self.copies.brought + len(flat), bytes_brought=self.copies.bytes_brought + len(flat) * size)
        return Dense(keys, values, positions, range(heads), marks), replace(self, away=away, copies=copies)

    def passed(self, since: int, step: int) -> Demoted:
        """Counts what is far at a step, and was expected after the step `since`."""
        at = self.last + self.gap
        missed = int((self.away & (self.gap > 0) & ~self.vain & (at > since) & (at <= step)).sum())
        return replace(self, copies=replace(self.copies, missed=self.copies.missed + missed))

    # What is asked of all that is kept aside

    def nbytes(self) -> Bytes:
        far = size_of(self.positions, self.last, self.gap, self.away, self.vain)
        return (self.store.nbytes() if self.store.payloads else Bytes()) + Bytes(0, far)

    def rows(self, index: Tensor) -> Demoted:
        index, each = index.cpu(), torch.arange(self.heads)
        fields = {name: getattr(self, name).index_select(0, index) for name in ("positions", "last", "gap", "away", "vain")}
        if not self.store.payloads:
            return replace(self, **fields)
        its = (index[:, None] * self.heads + each).flatten()
        return replace(self, store=self.store.rows(its.to(self.store.device)), **fields)

    def without(self, row: int, start: int, stop: int, erase: bool) -> Demoted:
        gone = torch.zeros_like(self.away)
        gone[row] = (self.positions[row] >= start) & (self.positions[row] < stop)
        if not bool(gone.any()):
            return self
        store = self.store.fork()
        for head in range(self.heads):
            if not len(places := gone[row, head].nonzero().squeeze(1)):
                continue
            if erase:
                size = store.payloads[0].shape[-1]
                none = torch.full((len(places), 2), -1, dtype=torch.int32)
                store.overwrite(row * self.heads + head, places.tolist(), torch.zeros(1, len(places), 0, dtype=store.payloads[0].dtype),
                                torch.zeros(1, len(places), size, dtype=store.payloads[0].dtype), none)  # fmt: skip
            else:
                store.hide(row * self.heads + head, places)
        numbers = {name: getattr(self, name).masked_fill(gone, 0) for name in ("last", "gap")}
        return replace(self, store=store, positions=self.positions.masked_fill(gone, -1), away=self.away & ~gone, vain=self.vain & ~gone, **numbers)

    def moved(self, place: Place) -> Demoted:
        if not self.store.payloads:
            return replace(self, store=ChunkStore(place))
        store = self.store.fork()
        store.move(place)
        return replace(self, store=store)

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        store = {f"store.{name}": tensor for name, tensor in self.store.state().items()} if self.store.payloads else {}
        fields = {name: getattr(self, name) for name in ("positions", "last", "gap", "away", "vain")}
        return {"copies": asdict(self.copies)}, {**store, **fields}


def _load(plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Demoted:
    its = {name.removeprefix("store."): tensor for name, tensor in tensors.items() if name.startswith("store.")}
    fields = {name: tensors[name].cpu() for name in ("positions", "last", "gap", "away", "vain")}
    return Demoted(ChunkStore.from_state(its) if its else ChunkStore(), copies=Copies(**plain["copies"]), **fields)


aside.register(Demoted.kind, _load)
