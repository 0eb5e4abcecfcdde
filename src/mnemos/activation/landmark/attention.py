"""Landmark attention as transformers knows it: any rotary causal model trains with it once `install` has set it.

The grouped softmax needs to know which tokens are landmarks. Where every row begins a grid of its own at its first token, as training rows do, the
model's configuration says it all; rows with other grids (left padding, conversations) bring `landmarks=`, [batch, all tokens so far] bool, in the
call of the model, which hands it on to every layer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from mnemos.activation.landmark.softmax import blockwise, grouped_softmax, groups_of
from mnemos.base.errors import Invalid

NAME = "landmark"
"""The name under which transformers knows it."""

BLOCK, TOKEN = "landmark_block", "landmark_token_id"
"""What the configuration of a model with landmarks says: tokens in a block, its landmark not counted; the id of the landmark."""

_ROWS_AT_ONCE = 64
"""Queries whose weights over everything are held at a time, where the layout is not regular."""


def attention(module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float | None = None,
              dropout: float = 0.0, landmarks: Tensor | None = None, kept_blocks: Tensor | None = None, top_blocks: int | None = None,
              rivals: int = 0, softcap: float | None = None, **_: Any) -> tuple[Tensor, None]:  # fmt: skip
    """As transformers calls an attention function; options are those of `attend`. Raises `Invalid` as it does, and for models that cap their scores
    and for dropout of weights."""
    block = getattr(module.config, BLOCK, None)
    if block is None:
        raise Invalid(f"the model's configuration has no {BLOCK}: prepare it with mnemos.activation.landmark.attention.install")
    if softcap is not None or dropout:
        raise Invalid("landmark attention knows no capped scores and no dropout of weights: set attention_dropout to 0, or take another model")
    query, key = query.to(value.dtype), key.to(value.dtype)
    return attend(query, key, value, block, scaling, attention_mask, landmarks, kept_blocks, top_blocks, rivals), None


def attend(query: Tensor, key: Tensor, value: Tensor, block: int, scaling: float | None = None, attention_mask: Tensor | None = None,
           landmarks: Tensor | None = None, kept_blocks: Tensor | None = None, top_blocks: int | None = None, rivals: int = 0) -> Tensor:  # fmt: skip
    """Query (batch, heads, t, head_dim), of the last t of n tokens, key and value (batch, kv_heads, n, head_dim), a boolean mask (batch, 1, t, n) or
    None → (batch, t, heads, head_dim). `scaling`, by which scores are multiplied, is 1 / √head_dim where it is not given.

    `landmarks` (batch, n) bool: where a row's landmarks stand; None: the regular grid of `block`. `kept_blocks` (batch, blocks) bool: blocks that
    are False are seen from within only. `top_blocks`: so many blocks each query and head sees, those whose landmarks it likes best. `rivals`:
    landmarks of so many other rows compete with a row's own, on the regular grid alone. Raises `Invalid` where a mask moves the grid and `landmarks`
    is not given, and for rivals where there is no regular grid.
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    new, length = query.shape[2], key.shape[2]
    if landmarks is None and attention_mask is None and new == length:
        return blockwise(query, key, value, block, scale, kept_blocks, top_blocks, rivals).transpose(1, 2).contiguous()
    if rivals:
        raise Invalid("rivals are rows with the same grid: leave out landmarks, positions and the mask")
    if landmarks is None:
        if attention_mask is not None and not bool(attention_mask[:, :, -1, 0].all()):
            raise Invalid("a row begins with padding, so that its grid of landmarks begins later: give landmarks=, as tokens.batch makes it")
        landmarks = (torch.arange(length, device=key.device) % (block + 1) == block).expand(len(query), -1)
    if landmarks.shape != (len(query), length):
        raise Invalid(f"landmarks is {tuple(landmarks.shape)}; it says of all {length} tokens of {len(query)} rows whether they are landmarks")
    return _any_layout(query, key, value, attention_mask, scale, landmarks, kept_blocks, top_blocks).contiguous()


def _any_layout(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, landmarks: Tensor,
                kept: Tensor | None, top: int | None) -> Tensor:  # fmt: skip
    """The output (batch, t, heads, head_dim) by `grouped_softmax`, some queries at a time."""
    batch, heads, new, size = query.shape
    kv_heads, length = key.shape[1], key.shape[2]
    queries = query.reshape(batch, kv_heads, heads // kv_heads, new, size)
    groups, marked, causal = groups_of(landmarks, new)
    seen = causal if mask is None else mask[:, 0] & causal
    if kept is not None:
        there = kept.gather(1, (landmarks.int().cumsum(1) - landmarks.int()).long().clamp_max(kept.shape[1] - 1))
        seen = seen & ((groups == 0) | there[:, None, :])
    outputs = []
    for start in range(0, new, _ROWS_AT_ONCE):
        rows = slice(start, min(new, start + _ROWS_AT_ONCE))
        logits = torch.matmul(queries[:, :, :, rows], key.unsqueeze(2).transpose(-1, -2)).float() * scale
        shown = seen[..., rows, :] if seen.dim() == 2 else seen[:, None, None, rows, :]
        if top is not None:
            gate = marked[:, None, None] & (groups[:, None, None, rows, :] > 0) & shown
            liked = logits.masked_fill(~gate, -torch.inf)
            shown = shown & ~(gate & (liked < liked.topk(min(top, length), -1).values[..., -1:]))
        weights = grouped_softmax(logits, groups[:, None, None, rows, :], marked[:, None, None], shown)
        outputs.append(torch.matmul(weights.to(value.dtype), value.unsqueeze(2)))
    return torch.cat(outputs, 3).reshape(batch, heads, new, size).transpose(1, 2)


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def install(model: Any, block: int, token: int) -> None:
    """Let a model attend by landmarks: blocks of `block` tokens, each followed by the landmark, id `token`. Raises `Invalid` for values that cannot
    be."""
    words = model.get_input_embeddings().weight.shape[0]
    if block < 1 or not 0 <= token < words:
        raise Invalid(f"a block of {block} tokens with landmark {token} cannot be: a block has at least one token, ids go from 0 to {words - 1}")
    config = model.config.get_text_config(decoder=True)
    setattr(config, BLOCK, block)
    setattr(config, TOKEN, token)
    model.set_attn_implementation(NAME)
