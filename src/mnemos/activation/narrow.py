"""Keys of fewer channels: those that queries hardly use are not stored (ThinK, arXiv 2407.21018).

A channel's score for a head is the size that it gives to the products of queries and keys, ‖Q[:, j]‖ · ‖K[:, j]‖ (section 3.2): keeping the channels
of the largest scores is the greedy answer to what narrow keys keep most of the products. Query heads that share a key share its channels. Scores are
of keys as they are cached, after rotation: narrow keys cannot be turned to another position, unless the two channels of a rotated pair go together.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mnemos.activation.parts import Bytes, Dense, Marks, Part, load, register, size_of
from mnemos.activation.view import View
from mnemos.base.errors import Invalid

CHANNELS = "think.channels"
"""The note of a layer that says which channels are kept: [B, G, d] bool, all False for a head that was not narrowed yet."""


class Narrow:
    """A part whose keys have only some channels: `inner` holds keys [B, h, n, d'], `channels` [B, h, d'] int16 says which, of `width` d."""

    kind = "narrow"

    def __init__(self, inner: Part, channels: Tensor, width: int) -> None:
        self.inner, self.channels, self.width = inner, channels, width

    @property
    def heads(self) -> tuple[int, ...]:
        return self.inner.heads

    @property
    def positions(self) -> Tensor:
        return self.inner.positions

    @property
    def marks(self) -> Marks:
        return self.inner.marks

    @marks.setter
    def marks(self, marks: Marks) -> None:
        self.inner.marks = marks

    def __copy__(self) -> Narrow:
        return Narrow(copy.copy(self.inner), self.channels, self.width)

    @property
    def length(self) -> int:
        return self.inner.length

    def open(self, queries: Tensor, scaling: float) -> Part:
        return self

    def logits(self, queries: Tensor) -> Tensor:
        rows, heads, group, new, _ = queries.shape
        kept = self.channels.long()[:, :, None, None, :].expand(rows, heads, group, new, -1)
        return self.inner.logits(queries.gather(-1, kept))

    def mix(self, weights: Tensor) -> Tensor:
        return self.inner.mix(weights)

    def dense(self) -> tuple[Tensor, Tensor]:
        narrow, values = self.inner.dense()
        keys = narrow.new_zeros((*narrow.shape[:-1], self.width))
        return keys.scatter(-1, self.channels.long().unsqueeze(2).expand_as(narrow), narrow), values

    def within(self, change: Callable[[Part], Part]) -> Narrow:
        """The same channels of a changed part."""
        return Narrow(change(self.inner), self.channels, self.width)

    def join(self, other: Part) -> Part | None:
        """This part with another of the same channels after it; None where it has others, or nothing can follow."""
        join = getattr(self.inner, "join", None)
        if not isinstance(other, Narrow) or join is None or not torch.equal(self.channels, other.channels):
            return None
        inner = join(other.inner)
        return None if inner is None else Narrow(inner, self.channels, self.width)

    def nbytes(self) -> Bytes:
        return self.inner.nbytes() + Bytes(size_of(self.channels))

    def rows(self, index: Tensor) -> Narrow:
        return Narrow(self.inner.rows(index), self.channels.index_select(0, index), self.width)

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        plain, tensors = self.inner.state()
        inner = {f"inner.{name}": tensor for name, tensor in tensors.items()}
        return {"inner": {"kind": self.inner.kind, "plain": plain}, "width": self.width}, {"channels": self.channels, **inner}


def _load(plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Narrow:
    inner = {name.removeprefix("inner."): tensor for name, tensor in tensors.items() if name.startswith("inner.")}
    return Narrow(load(plain["inner"]["kind"], plain["inner"]["plain"], inner), tensors["channels"], plain["width"])


register(Narrow.kind, _load)


def channel_scores(queries: Tensor, keys: Tensor, seen: Tensor, there: Tensor) -> Tensor:
    """[B, G, d] float32: mean of squares of queries [B, H, w, d], over those that are `seen` [B, w] and over the heads that share a key, times the
    mean of squares of keys [B, G, n, d], over those that are `there` [B, G, n]. Ranks as the product of norms does."""
    rows, heads = queries.shape[0], keys.shape[1]
    squares = queries.float().square() * seen[:, None, :, None]
    asked = (squares.sum(2) / seen.sum(-1).clamp_min(1)[:, None, None]).reshape(rows, heads, -1, queries.shape[-1]).mean(2)
    kept = (keys.float().square() * there.unsqueeze(-1)).sum(2) / there.sum(-1).clamp_min(1).unsqueeze(-1)
    return asked * kept


@dataclass(frozen=True)
class Thin:
    """The codec: drops `share` of the channels of every key, chosen once for a sequence by its last `query_window` queries.

    `pairs`: the two channels of a rotated pair, j and j + d / 2, stay or go together. `adaptive`: heads keep unequally many, so that together they
    keep the most of what all heads' products are made of, for the same bytes; what counts is the mean over the rows of a batch.
    """

    share: float = 0.4
    query_window: int = 32
    pairs: bool = False
    adaptive: bool = False
    name = "think"

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise Invalid(f"a share of {self.share} of the channels cannot go: give one in [0, 1)")
        if self.pairs and self.adaptive:
            raise Invalid("channels go in pairs, as many of each head, or by head as they are worth: give one of pairs and adaptive")

    def encode(self, part: Part, view: View) -> Sequence[Part]:
        width = view.keys.shape[-1]
        if width - int(self.share * width) == width:
            return [part]
        if part.kind == "quantised":
            raise Invalid("channels are dropped before numbers are rounded, not after: give .then(Thin(…), Quantise(…)) in that order")
        keys, values = part.dense()
        chosen = self._chosen(part, keys, view)
        counts = chosen[0].sum(-1).tolist()
        parts: list[Part] = []
        for count in sorted(set(counts), reverse=True):
            where = [place for place, its in enumerate(counts) if its == count]
            kept = chosen[:, where].nonzero()[:, -1].reshape(len(chosen), len(where), count)
            narrow = keys[:, where].gather(-1, kept.unsqueeze(2).expand(-1, -1, keys.shape[2], -1))
            positions = part.positions if part.positions.shape[1] == 1 else part.positions[:, where]
            marks = {name: mark[:, where] for name, mark in part.marks.items()}
            inner = Dense(narrow.contiguous(), values[:, where].contiguous(), positions.contiguous(), [part.heads[place] for place in where], marks)
            parts.append(Narrow(inner, kept.to(torch.int16), width))
        return parts

    def _chosen(self, part: Part, keys: Tensor, view: View) -> Tensor:
        """[B, h, d] bool: the channels of the part's heads; chosen at their first part, and noted."""
        notes, heads = view.layer.notes, list(part.heads)
        if CHANNELS not in notes:
            notes[CHANNELS] = torch.zeros(view.keys.shape[0], view.heads, view.keys.shape[-1], dtype=torch.bool, device=keys.device)
        known: Tensor = notes[CHANNELS]
        there = (part.positions >= 0).expand(-1, len(heads), -1)
        new = ~known[:, heads].any(2).any(1)  # rows whose channels are not chosen yet
        if bool(new.any()):
            if view.queries is None or view.query_positions is None:
                raise RuntimeError("the layer keeps no queries, by which channels are chosen")
            group = view.queries.shape[1] // view.heads
            asked = view.queries.unflatten(1, (view.heads, group))[:, heads].flatten(1, 2)
            scores = channel_scores(asked, keys, view.query_positions >= 0, there)
            best = self._best(scores) if bool(new.all()) else self._like(scores, known[:, heads][~new][0].sum(-1).tolist())
            chosen = torch.where(new[:, None, None], best, known[:, heads])
            present = there.any(2).any(1)[:, None, None]  # a row that has no token yet chooses later
            known[:, heads] = torch.where(present, chosen, known[:, heads])
            return chosen
        return known[:, heads]

    def _like(self, scores: Tensor, counts: list[int]) -> Tensor:
        """[B, h, d] bool: so many of each head, as other rows have chosen."""
        if self.pairs:
            return self._top(scores.unflatten(-1, (2, -1)).sum(-2), [count // 2 for count in counts]).repeat(1, 1, 2)
        return self._top(scores, counts)

    def _best(self, scores: Tensor) -> Tensor:
        """[B, h, d] bool, as many of each head in all rows."""
        heads, width = scores.shape[1:]
        count = width - int(self.share * width)
        if self.pairs:
            half = scores.unflatten(-1, (2, width // 2)).sum(-2)
            return self._top(half, [max(1, count // 2)] * heads).repeat(1, 1, 2)
        counts = [count] * heads
        if self.adaptive:
            shares = (scores / scores.sum(-1, keepdim=True).clamp_min(1e-30)).sort(-1, descending=True).values.mean(0)
            best = shares.flatten().topk(count * heads).indices // width
            counts = [max(1, int((best == head).sum())) for head in range(heads)]
        return self._top(scores, counts)

    @staticmethod
    def _top(scores: Tensor, counts: Sequence[int]) -> Tensor:
        ranks = scores.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
        return ranks < torch.tensor(counts, device=scores.device)[None, :, None]
