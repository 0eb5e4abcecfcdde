"""What new tokens of a layer get: attention over its parts and its tail, computed by the fastest kernel that gives the right numbers.

The new tokens stand in the tail already. Where nothing but the tail is there, and nobody has to see the weights, that is torch's own kernel; else
parts are asked for logits, and one softmax goes over all of them (`merging`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from mnemos.activation.merging import attend
from mnemos.activation.policy import Observes
from mnemos.activation.tail import Tail
from mnemos.base.errors import Invalid

if TYPE_CHECKING:
    from mnemos.activation.layer import MemoryLayer

ROWS_AT_ONCE = 128
"""Queries whose attention to everything is held at a time where it has to be seen."""


def attended(layer: MemoryLayer, queries: Tensor, mask: Tensor | None, decodes: bool) -> Tensor:
    """Queries [B, H, t, d] of the newest tokens → what they get [B, H, t, d], seen by the policy where it asked for that. `mask` [B, 1, t, t] is True
    where a token sees another; None: each sees those before it. `decodes`: they were generated."""
    policy, tail = layer.policy, layer.tail
    watched = policy.observes is Observes.EVERYTHING or (decodes and policy.observes is Observes.DECODING)
    own = policy.attend(layer, queries, mask)
    fused = own is None and not layer.parts and layer.softcap is None
    if own is not None:
        output = own
    elif watched and fused and decodes and mask is None:
        whole = tail.part()
        weights = _row(tail, queries, layer.scaling)
        policy.observe(layer, [whole], [weights.unsqueeze(3)])
        if whole.length <= layer.seen:  # something was dropped: what comes out need not be the full cache's to the bit
            output, fused = torch.matmul(weights.to(whole.values.dtype), whole.values).reshape(*queries.shape[:-1], -1), False
    elif watched or not fused:
        output = _merged(layer, queries, mask, watched)
    if fused:  # also where it was computed to be watched: the same numbers come out of the same kernel, watched or not
        output = _fused(tail, queries, mask, layer.scaling)
    return output


def seen_of_tail(tail: Tail, mask: Tensor | None, start: int, stop: int, new: int) -> Tensor:
    """[B, 1, stop − start, n]: what new queries start … stop see of the n tokens of the tail, the last `new` of which are theirs."""
    if mask is None:
        mask = torch.ones(new, new, dtype=torch.bool, device=tail.keys.device).tril()[None, None]
    own = mask[:, :, start:stop]
    there = _asking(tail, start, stop, new)
    return torch.cat([there.expand(-1, -1, -1, tail.length - new), own.expand(there.shape[0], -1, -1, -1)], -1)


def placed(positions: Tensor | None, mask: Tensor | None, seen: int, keys: Tensor) -> Tensor:
    """[B, t] int32: where the tokens of new keys [B, G, t, d] stand, −1 at padding. `positions` [B or 1, t]; None: they follow the `seen` ones.
    Raises `Invalid` for masks of another form than [B, 1, t, t]."""
    new = keys.shape[2]
    if positions is None:
        positions = torch.arange(seen, seen + new, device=keys.device)[None]
    positions = positions.to(torch.int32).expand(keys.shape[0], -1)
    if mask is None:
        return positions
    if mask.dtype != torch.bool or mask.shape[-2:] != (new, new):
        raise Invalid(f"a KVMemory takes boolean masks of the new tokens among themselves, [B, 1, {new}, {new}], not {mask.dtype} "
                      f"{tuple(mask.shape)}: give attention_mask [B, n], which says what is padding")  # fmt: skip
    return positions.masked_fill(~mask[:, 0].diagonal(dim1=-2, dim2=-1), -1)  # what does not even see itself is padding


def by_token(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None,
             positions: Tensor | None) -> Iterator[tuple[tuple[Tensor, Tensor, Tensor], Tensor | None, Tensor | None]]:  # fmt: skip
    """Queries, keys and values, mask, and positions of one new token after another. Raises `Invalid` where they do not simply follow one another."""
    if mask is not None:
        there = mask[:, 0].diagonal(dim1=-2, dim2=-1)
        expected = torch.ones_like(mask[0, 0]).tril() & there[:, None]
        if not bool(((mask[:, 0] == expected) | ~there[:, :, None]).all()):
            raise Invalid("tokens that do not simply follow one another, such as trees of drafts, are no sequence that a policy could observe: give "
                          "each branch to a fork of the memory")  # fmt: skip
    for at in range(queries.shape[2]):
        one = slice(at, at + 1)
        own, where = None if mask is None else mask[:, :, one, one], None if positions is None else positions[:, one]
        yield (queries[:, :, one], keys[:, :, one], values[:, :, one]), own, where


def _asking(tail: Tail, start: int, stop: int, new: int) -> Tensor:
    """[B, 1, stop − start, 1]: which of the new queries are of a token, and see what is stored; the others are padding."""
    first = tail.length - new
    return tail.positions[:, :1, first + start : first + stop, None] >= 0


def _fused(tail: Tail, queries: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
    """Over the tail alone, by torch's own kernel."""
    new, length, rows = queries.shape[2], tail.length, queries.shape[0]
    keys, values = tail.keys, tail.values
    absent = not tail.whole
    if new == length and not absent and mask is None:
        return scaled_dot_product_attention(queries, keys, values, is_causal=new > 1, scale=scaling, enable_gqa=True)
    if new == 1 and not absent:  # the query heads that share a key-value head stand as if they were tokens: no copy of keys
        grouped = queries.reshape(rows, keys.shape[1], -1, queries.shape[-1])
        return scaled_dot_product_attention(grouped, keys, values, scale=scaling).reshape(*queries.shape[:-1], -1)
    if mask is None and not absent:
        return _in_blocks(tail, queries, scaling)
    seen = seen_of_tail(tail, mask, 0, new, new) & (tail.positions >= 0)[:, :, None, :]
    seen = seen | ~seen.any(-1, keepdim=True)  # a padded query sees everything rather than nothing, which would be NaN
    if seen.shape[1] not in (1, queries.shape[1]):
        seen = seen.repeat_interleave(queries.shape[1] // seen.shape[1], 1)
    return scaled_dot_product_attention(queries, keys, values, attn_mask=seen, scale=scaling, enable_gqa=True)


def _in_blocks(tail: Tail, queries: Tensor, scaling: float) -> Tensor:
    """Queries block by block: each looks at what stands up to its end, and not at what none of it can see."""
    outputs, new = [], queries.shape[2]
    before = tail.length - new
    for start in range(0, new, ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, new)
        keys, values = tail.keys[:, :, : before + stop], tail.values[:, :, : before + stop]
        seen = seen_of_tail(tail, None, start, stop, new)[..., : before + stop]
        some = queries[:, :, start:stop]
        outputs.append(scaled_dot_product_attention(some, keys, values, attn_mask=seen, scale=scaling, enable_gqa=True))
    return torch.cat(outputs, 2)


def _row(tail: Tail, queries: Tensor, scaling: float) -> Tensor:
    """[B, G, g, n] float32: what one new query [B, H, 1, d] attends to in the tail."""
    rows, heads, size = queries.shape[0], tail.heads, queries.shape[-1]
    grouped, keys = queries.reshape(rows * heads, -1, size), tail.keys.flatten(0, 1)
    scores = torch.baddbmm(grouped.new_empty(()), grouped, keys.mT, beta=0, alpha=scaling).unflatten(0, (rows, heads)).float()
    if tail.whole:
        return scores.softmax(-1)
    return scores.masked_fill((tail.positions < 0).unsqueeze(2), -torch.inf).softmax(-1).nan_to_num()


def _merged(layer: MemoryLayer, queries: Tensor, mask: Tensor | None, watched: bool) -> Tensor:
    """Over parts and tail; what is attended to is seen by the policy where it asked for it."""
    tail, (rows, heads, new, size) = layer.tail, queries.shape
    grouped = queries.reshape(rows, tail.heads, heads // tail.heads, new, size)
    outputs = []
    for start in range(0, new, ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, new)
        some = grouped[:, :, :, start:stop]
        pieces = layer.pieces()
        opened = [*(layer.policy.open(layer, part, some[:, list(part.heads)], new) for part in layer.parts), pieces[-1]]
        masks = [getattr(part, "seen", None) for part in opened[:-1]]
        if mask is not None:
            asking = _asking(tail, start, stop, new)
            both = [asking if seen is None else seen & asking for seen in masks]
            masks = [seen.expand(-1, -1, -1, part.length) for seen, part in zip(both, opened[:-1], strict=True)]
        masks.append(seen_of_tail(tail, mask, start, stop, new))
        output, weights = attend(some, opened, masks, layer.scaling, layer.softcap)
        if watched:
            layer.policy.observe(layer, pieces, weights)
        outputs.append(output)
    return torch.cat(outputs, 3).reshape(*queries.shape[:-1], -1)
