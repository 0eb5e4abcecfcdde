"""Keys and values of fewer channels: those that hardly count are not stored (ThinK, arXiv 2407.21018).

A channel of keys counts by the size that it gives to the products of queries and keys, ‖Q[:, j]‖ · ‖K[:, j]‖ (section 3.2): keeping the channels of
the largest scores is the greedy answer to what narrow keys keep most of the products. A channel of values counts by its size where queries attend,
times what the output projection makes of it. Query heads that share a key share its channels. Scores are of keys as they are cached, after rotation:
narrow keys cannot be turned to another position, unless the two channels of a rotated pair go together.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mnemos.activation.channels import best, best_of, channel_scores, retained, value_scores
from mnemos.activation.parts import Bytes, Dense, Marks, Part, load, register, size_of
from mnemos.activation.quantised import Quantised
from mnemos.activation.view import View
from mnemos.base.errors import Invalid

if TYPE_CHECKING:
    from mnemos.activation.layer import MemoryLayer

CHANNELS, VALUES = "think.channels", "think.values"
"""Notes of a layer that say which channels of keys and of values are kept: [B, G, d] bool, all False for a head that was not narrowed yet."""
RETAINED = ".retained"
"""What follows in the name of the note [B, G] float32 that says which share of a head's scores its kept channels have."""
DUE = ".due"
"""What follows in the name of the note [B, G] bool that says whose channels are to be chosen anew for what is narrowed next."""
QUERIES_AT_ONCE = 8


@dataclass(frozen=True)
class Kept:
    """Which channels are stored: `channels` [B, h, d'] int16, ascending, of `width` d."""

    channels: Tensor
    width: int

    @classmethod
    def of(cls, chosen: Tensor) -> Kept:
        """Of [B, h, d] bool with as many for each head."""
        return cls(chosen.nonzero()[:, -1].reshape(*chosen.shape[:2], -1).to(torch.int16), int(chosen.shape[-1]))

    def _index(self, states: Tensor) -> Tensor:
        shape = [*self.channels.shape[:2], *[1] * (states.dim() - 3), self.channels.shape[-1]]
        return self.channels.long().reshape(shape).expand(*states.shape[:-1], -1)

    def of_wide(self, states: Tensor) -> Tensor:
        """[B, h, …, d] → [B, h, …, d'], in memory of its own."""
        return states.gather(-1, self._index(states))

    def widened(self, states: Tensor) -> Tensor:
        """[B, h, …, d'] → [B, h, …, d], zeros where nothing is stored."""
        return states.new_zeros((*states.shape[:-1], self.width)).scatter_(-1, self._index(states), states)

    def rows(self, index: Tensor) -> Kept:
        """These rows of the batch."""
        return Kept(self.channels.index_select(0, index), self.width)


def _same(one: Kept | None, other: Kept | None) -> bool:
    return one is other if one is None or other is None else torch.equal(one.channels, other.channels)


class Narrow:
    """A part whose `inner` holds only some channels of keys [B, h, n, d'], of values, or of both; None: all of them."""

    kind = "narrow"

    def __init__(self, inner: Part, keys: Kept | None, values: Kept | None = None) -> None:
        self.inner, self.keys, self.values = inner, keys, values

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
        return Narrow(copy.copy(self.inner), self.keys, self.values)

    @property
    def length(self) -> int:
        return self.inner.length

    def open(self, queries: Tensor, scaling: float) -> Part:
        return self

    def logits(self, queries: Tensor) -> Tensor:
        return self.inner.logits(queries if self.keys is None else self.keys.of_wide(queries))

    def mix(self, weights: Tensor) -> Tensor:
        mixed = self.inner.mix(weights)
        return mixed if self.values is None else self.values.widened(mixed)

    def dense(self) -> tuple[Tensor, Tensor]:
        keys, values = self.inner.dense()
        return keys if self.keys is None else self.keys.widened(keys), values if self.values is None else self.values.widened(values)

    def within(self, change: Callable[[Part], Part]) -> Narrow:
        """The same channels of a changed part."""
        return Narrow(change(self.inner), self.keys, self.values)

    def of_heads(self, where: Sequence[int]) -> Narrow:
        """Only the heads at these places of `heads`."""
        whole = self.inner if isinstance(self.inner, Dense) else Dense(*self.inner.dense(), self.positions, self.heads, self.marks)
        keys, values = (None if kept is None else Kept(kept.channels[:, list(where)], kept.width) for kept in (self.keys, self.values))
        return Narrow(whole.of_heads(where), keys, values)

    def further(self, chosen: Tensor) -> Narrow:
        """Only the channels of keys that are `chosen` [B, h, d] among those that are stored, as many of each head; numbers in few bits stay what
        they are."""
        if self.keys is None:
            raise Invalid("a part whose keys have all channels is narrowed by a codec, not further")
        left = Kept.of(chosen)
        places = chosen.gather(-1, self.keys.channels.long()).nonzero()[:, -1].reshape(left.channels.shape)
        inner, stored = self.inner, Kept(places, self.keys.channels.shape[-1])
        if isinstance(inner, Dense):
            return Narrow(Dense(stored.of_wide(inner.keys), inner.values, inner.positions, inner.heads, inner.marks), left, self.values)
        if isinstance(inner, Quantised):  # its keys are packed as [B, h, d', n]: whole channels go
            packed = {name: _channels_of(tensor, places) for name, tensor in inner.keys.tensors().items()}
            keys = inner.keys.having(packed)
            return Narrow(Quantised(keys, inner.values, inner.positions, inner.heads, inner.marks, inner.group), left, self.values)
        raise Invalid(f"narrow keys of kind {inner.kind!r} cannot be narrowed further: give floor=1")

    def join(self, other: Part) -> Part | None:
        """This part with another of the same channels after it; None where it has others, or nothing can follow."""
        join = getattr(self.inner, "join", None)
        if not isinstance(other, Narrow) or join is None or not (_same(self.keys, other.keys) and _same(self.values, other.values)):
            return None
        inner = join(other.inner)
        return None if inner is None else Narrow(inner, self.keys, self.values)

    def nbytes(self) -> Bytes:
        return self.inner.nbytes() + Bytes(sum(size_of(kept.channels) for kept in (self.keys, self.values) if kept is not None))

    def rows(self, index: Tensor) -> Narrow:
        keys, values = (None if kept is None else kept.rows(index) for kept in (self.keys, self.values))
        return Narrow(self.inner.rows(index), keys, values)

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        plain, tensors = self.inner.state()
        kept = {name: its for name, its in (("keys", self.keys), ("values", self.values)) if its is not None}
        widths = {name: its.width for name, its in kept.items()}
        inner = {f"inner.{name}": tensor for name, tensor in tensors.items()}
        return {"inner": {"kind": self.inner.kind, "plain": plain}, "widths": widths}, {**{name: its.channels for name, its in kept.items()}, **inner}


def _channels_of(tensor: Tensor, places: Tensor) -> Tensor:
    """[B, h, d', …] → [B, h, d'', …], at the places [B, h, d'']."""
    return tensor.gather(2, places.reshape(*places.shape, *[1] * (tensor.dim() - 3)).expand(-1, -1, -1, *tensor.shape[3:]))


def _load(plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Narrow:
    inner = {name.removeprefix("inner."): tensor for name, tensor in tensors.items() if name.startswith("inner.")}
    keys, values = (Kept(tensors[name], plain["widths"][name]) if name in plain["widths"] else None for name in ("keys", "values"))
    return Narrow(load(plain["inner"]["kind"], plain["inner"]["plain"], inner), keys, values)


register(Narrow.kind, _load)


@dataclass(frozen=True)
class Thin:
    """The codec: drops `share` of the channels of every key, and `values` of those of every value, chosen once for a sequence by its last
    `query_window` queries.

    `pairs`: the two channels of a rotated pair, j and j + d / 2, stay or go together. `adaptive`: heads keep unequally many, so that together they
    keep the most of what all heads' scores are made of, for the same bytes; what counts is the mean over the rows of a batch.

    `refresh`: after each turn that was read, and after so many generated tokens, the channels of what is narrowed from then on are chosen anew by the
    newest queries, as many as before; what was narrowed before keeps its own. At the same times `floor` under 1 − `share` takes from the keys
    narrowed before `share` of the channels that they still have, as the newest queries say, until `floor` of all are left: none ever comes back.
    `refresh` 0: never.
    """

    share: float = 0.4
    query_window: int = 32
    pairs: bool = False
    adaptive: bool = False
    values: float = 0.0
    refresh: int = 0
    floor: float = 1.0
    name = "think"

    def __post_init__(self) -> None:
        for share in (self.share, self.values):
            if not 0 <= share < 1:
                raise Invalid(f"a share of {share} of the channels cannot go: give one in [0, 1)")
        if self.pairs and self.adaptive:
            raise Invalid("channels go in pairs, as many of each head, or by head as they are worth: give one of pairs and adaptive")
        if self.refresh < 0 or not 0 < self.floor <= 1:
            raise Invalid(f"channels are chosen anew every refresh={self.refresh} tokens, 0 or more, and floor={self.floor} in (0, 1] stays")
        if self.floor < 1 and not (self.refresh and self.share):
            raise Invalid("keys are narrowed further, down to a floor, when channels are chosen anew: give refresh= and share= as well")

    @property
    def weighs(self) -> bool:
        """Whether it needs to know what the model makes of values."""
        return self.values > 0

    def encode(self, part: Part, view: View) -> Sequence[Part]:
        thinner = int(self.share * view.keys.shape[-1]) > 0, int(self.values * view.values.shape[-1]) > 0
        if not any(thinner):
            return [part]
        if part.kind == "quantised":
            raise Invalid("channels are dropped before numbers are rounded, not after: give .then(Thin(…), Quantise(…)) in that order")
        whole = Dense(*part.dense(), part.positions, part.heads, part.marks)
        wanted = [
            self._chosen(CHANNELS, self._of_keys, self.share, self.pairs, whole, view) if thinner[0] else None,
            self._chosen(VALUES, self._of_values, self.values, False, whole, view) if thinner[1] else None,
        ]
        counts = list(zip(*(_counts(chosen, len(part.heads)) for chosen in wanted), strict=True))
        parts: list[Part] = []
        for count in sorted(set(counts), reverse=True):
            where = [place for place, its in enumerate(counts) if its == count]
            its = whole if len(where) == len(counts) else whole.of_heads(where)
            keys, values = (None if chosen is None else Kept.of(chosen[:, where]) for chosen in wanted)
            inner = Dense(
                its.keys.contiguous() if keys is None else keys.of_wide(its.keys),
                its.values.contiguous() if values is None else values.of_wide(its.values),
                its.positions.contiguous(), its.heads, its.marks,
            )  # fmt: skip
            parts.append(Narrow(inner, keys, values))
        return parts

    def revise(self, layer: MemoryLayer) -> None:
        """Where it is time: notes that channels are to be chosen anew, and narrows further what is narrow."""
        if not self.refresh or layer.generated % self.refresh:
            return
        for kind in (CHANNELS, VALUES):
            if kind in layer.notes:
                layer.notes[kind + DUE] = layer.notes[kind].any(-1)
        if self.floor < 1 - self.share and any(isinstance(part, Narrow) for part in layer.parts):
            view = layer.view()
            layer.parts = [self._further(part, view) if isinstance(part, Narrow) else part for part in layer.parts]

    def _further(self, part: Narrow, view: View) -> Narrow:
        if part.keys is None:
            return part
        width, stored = part.keys.width, part.keys.channels.shape[-1]
        count = max(stored - int(self.share * stored), -int(-self.floor * width // 1))
        count = count // 2 * 2 if self.pairs else count
        if not 0 < count < stored:
            return part
        whole = Dense(*part.dense(), part.positions, part.heads, part.marks)
        there = torch.zeros_like(whole.keys[:, :, 0], dtype=torch.bool).scatter_(-1, part.keys.channels.long(), True)
        scores = self._of_keys(whole, view).masked_fill(~there, -1)
        return part.further(best_of(scores, [count] * len(part.heads), self.pairs))

    def _chosen(self, kind: str, score: Callable[[Dense, View], Tensor], share: float, pairs: bool, part: Dense, view: View) -> Tensor:
        """[B, h, d] bool: the channels of the part's heads; chosen at their first part and when they are due, and noted."""
        notes, heads = view.layer.notes, list(part.heads)
        states = view.keys if kind == CHANNELS else view.values
        if kind not in notes:
            notes[kind] = torch.zeros(len(states), view.heads, states.shape[-1], dtype=torch.bool, device=states.device)
            notes[kind + RETAINED] = torch.ones(len(states), view.heads, device=states.device)
        known: Tensor = notes[kind][:, heads]
        present = (part.positions >= 0).expand(-1, len(heads), -1).any(2).any(1)  # a row that has no token yet chooses later
        first = ~known.any(2).any(1)
        due = notes[kind + DUE][:, heads].any(1) & present & ~first if kind + DUE in notes else torch.zeros_like(first)
        if not bool((first | due).any()):
            return known
        scores = score(part, view)
        fresh = best(scores, share, pairs, self.adaptive) if bool(first.all()) else best_of(scores, _counts(known[~first], len(heads)), pairs)
        chosen = torch.where((first | due)[:, None, None], fresh, known)
        noted = ((first | due) & present)[:, None]
        notes[kind][:, heads] = torch.where(noted.unsqueeze(-1), chosen, known)
        notes[kind + RETAINED][:, heads] = torch.where(noted, retained(scores, chosen), notes[kind + RETAINED][:, heads])
        if kind + DUE in notes:
            notes[kind + DUE][:, heads] &= ~due[:, None]
        return chosen

    @staticmethod
    def _of_keys(part: Dense, view: View) -> Tensor:
        asked, positions = _asked(part, view)
        return channel_scores(asked, part.keys, positions >= 0, (part.positions >= 0).expand(-1, len(part.heads), -1))

    @staticmethod
    def _of_values(part: Dense, view: View) -> Tensor:
        """By what the newest queries attend to among these tokens."""
        asked, positions = _asked(part, view)
        its = replace(view, part=part, queries=asked, query_positions=positions)
        attention = torch.stack([some.window_attention().sum(3) for some in its.in_blocks(QUERIES_AT_ONCE)]).sum(0)
        layer = view.layer
        if layer.output is None:
            raise RuntimeError("the layer does not know its output projection, by which channels of values are chosen")
        left = layer.policy.left(layer.number)
        norms = layer.output.norms(asked.shape[1] // len(part.heads) * view.heads if left is None else len(left.givers)).to(part.values.device)
        norms = norms if left is None else norms[list(left.queries)]
        return value_scores(attention, part.values, norms.unflatten(0, (view.heads, -1))[list(part.heads)])


def _asked(part: Dense, view: View) -> tuple[Tensor, Tensor]:
    """The newest queries [B, h · g, w, d] of the part's heads, and their positions [B, w]."""
    if view.queries is None or view.query_positions is None:
        raise RuntimeError("the layer keeps no queries, by which channels are chosen")
    return view.queries.unflatten(1, (view.heads, -1))[:, list(part.heads)].flatten(1, 2), view.query_positions


def _counts(chosen: Tensor | None, heads: int) -> list[int]:
    """How many channels each head keeps; −1: all, untouched."""
    return [-1] * heads if chosen is None else [int(count) for count in chosen[0].sum(-1)]
