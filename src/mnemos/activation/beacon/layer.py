"""One layer of a beacon memory: keys, before rotation, and values of what is remembered, and of the window that is not full yet."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.cache_utils import CacheLayerMixin

from mnemos.activation.beacon.layout import Layout
from mnemos.activation.parts import Bytes, size_of
from mnemos.activation.rotary import Rotary
from mnemos.base.errors import Invalid


class Reading(Protocol):
    """What a layer asks of the memory that it is of."""

    @property
    def layout(self) -> Layout | None:
        """Of the pass that is under way."""
        ...

    def get_seq_length(self) -> int: ...


class BeaconLayer(CacheLayerMixin):
    """`remembered` and `tail`: keys and values [B, G, m, d] and [B, G, t, d]. Rows with less memory have zeros at its end, those with a shorter tail
    at its beginning. The tensors are never changed in place, so that snapshots share them."""

    is_sliding = False
    supports_early_init = False
    is_croppable = False

    def __init__(self, memory: Reading, rotary: Rotary) -> None:
        super().__init__()
        self.memory, self.rotary = memory, rotary
        self.remembered: tuple[Tensor, Tensor]
        self.tail: tuple[Tensor, Tensor]

    # What transformers calls

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        nothing = key_states[:, :, :0].detach().clone(), value_states[:, :, :0].detach().clone()
        self.hold(nothing, nothing)

    def hold(self, remembered: tuple[Tensor, Tensor], tail: tuple[Tensor, Tensor]) -> None:
        """Has these from now on."""
        self.remembered, self.tail, self.is_initialized = remembered, tail, True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, kwargs: dict[str, Any] | None = None,
               **more: Any) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Hands the layer to the attention function, which hands it the queries. Raises `Invalid` where that is not ours."""
        if kwargs is None or self.memory.layout is None:
            raise Invalid("a BeaconMemory works only with the model whose Beacons made it (Beacons.memory), as long as they are not removed")
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        kwargs["memory"] = self
        return key_states, value_states

    def get_seq_length(self) -> int:
        return self.memory.get_seq_length()

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Masks are made here: none of transformers' is needed."""
        return query_length, 0

    def get_max_length(self) -> int:
        return -1

    def reset(self) -> None:
        self.is_initialized = False

    def select_rows(self, index: Tensor) -> None:
        """Keeps these rows of the batch, in that order."""
        if self.is_initialized:
            self.hold(*((keys.index_select(0, index), values.index_select(0, index)) for keys, values in (self.remembered, self.tail)))

    def settle(self, layout: Layout) -> None:
        """Moves from the tail to the memory what a layout without slots says."""
        keys, values = self.tail
        self.hold(self._remembered(layout, keys, values), (_picked(keys, layout.left), _picked(values, layout.left)))

    # What attention calls

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scaling: float, positions: Tensor | None,
               softcap: float | None) -> Tensor:  # fmt: skip
        """Queries [B, H, s, d], keys and values [B, G, s, d] of the slots of a pass, none of them rotated → output [B, s, H, d]. What becomes memory
        by this pass is memory for the windows after it."""
        layout = self.memory.layout
        assert layout is not None
        keys, values = torch.cat([self.tail[0], keys], 2), torch.cat([self.tail[1], values], 2)
        remembered = self._remembered(layout, keys, values)
        turned = self.rotary.rotate(queries, layout.positions[:, None])
        local = self.rotary.rotate(keys, layout.all_positions[:, None])
        places = torch.arange(remembered[0].shape[2], device=keys.device)[None, None]
        known = self.rotary.rotate(remembered[0], places)
        outputs = []
        for start, stop, count, first, seen in layout.blocks():
            here = slice(first, layout.before + stop)
            both = torch.cat([known[:, :, :count], local[:, :, here]], 2), torch.cat([remembered[1][:, :, :count], values[:, :, here]], 2)
            outputs.append(_attention(turned[:, :, start:stop], *both, seen, scaling, softcap))
        self.hold(remembered, (_picked(keys, layout.left), _picked(values, layout.left)))
        return torch.cat(outputs, 2).transpose(1, 2)

    def _remembered(self, layout: Layout, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """The memory with what this pass adds to it."""
        if not layout.kept.shape[1]:
            return self.remembered
        new = _picked(keys, layout.kept), _picked(values, layout.kept)
        if layout.alike:
            return torch.cat([self.remembered[0], new[0]], 2), torch.cat([self.remembered[1], new[1]], 2)
        had = self.remembered[0].shape[2]
        index = torch.full((layout.rows, layout.deepest), -1, device=keys.device)
        for row, (base, cursor) in enumerate(zip(layout.bases, layout.after, strict=True)):
            index[row, :base] = torch.arange(base)
            index[row, base : cursor.base] = torch.arange(had, had + cursor.base - base)
        return tuple(_picked(torch.cat([old, more], 2), index) for old, more in zip(self.remembered, new, strict=True))

    def nbytes(self) -> Bytes:
        """Of the tensors."""
        return Bytes(size_of(*self.remembered, *self.tail)) if self.is_initialized else Bytes()


def _picked(states: Tensor, index: Tensor) -> Tensor:
    """States [B, G, n, d] at places [B, m], or [1, m] of all rows, zeros where these are −1; a tensor of its own."""
    if len(index) == 1:  # rows are alike, so that none has less than another
        return states.index_select(2, index[0])
    wide = index.clamp_min(0)[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3])
    return states.gather(2, wide).masked_fill((index < 0)[:, None, :, None], 0.0)


def _attention(queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor, scaling: float, softcap: float | None) -> Tensor:
    """[B, H, s, d], with the mask [B or 1, 1, s, n]."""
    if softcap is None:
        output: Tensor = scaled_dot_product_attention(queries, keys, values, attn_mask=seen, scale=scaling, enable_gqa=True)
        return output
    rows, heads, new, size = queries.shape
    grouped = queries.reshape(rows, keys.shape[1], -1, size)
    scores = (grouped @ keys.transpose(-1, -2)).float() * scaling
    scores = softcap * torch.tanh(scores / softcap)
    scores = scores.reshape(rows, heads, new, -1).masked_fill(~seen, float("-inf"))
    weights = scores.softmax(-1).to(values.dtype).reshape(rows, keys.shape[1], -1, keys.shape[2])
    return (weights @ values).reshape(queries.shape)
