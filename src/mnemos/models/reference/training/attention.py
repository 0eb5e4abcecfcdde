"""Exact causal attention in blocks of queries, for training on CPUs, where torch's own spends three times as long.

Only the keys up to a block's end are touched, so the upper triangle costs nothing; all products are plain batched matrix products, which a CPU does
well in bfloat16; probabilities are kept for the backward pass (FlashAttention, Dao et al. 2022, recomputes them).
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface

NAME = "mnemos_blocked"
"""The name under which `install` registers it with transformers."""

_BLOCK = 128


class _Blocked(torch.autograd.Function):
    """q (batch * kv_heads, group, seq_len, head_dim), scaled; k and v (batch * kv_heads, seq_len, head_dim) -> as q."""

    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any) -> Any:
        rows, group, length, width = q.shape
        out = torch.empty_like(q)
        kept = []
        keys = k.transpose(1, 2)
        for begin in range(0, length, _BLOCK):
            end = min(length, begin + _BLOCK)
            scores = torch.bmm(q[:, :, begin:end].reshape(rows, group * (end - begin), width), keys[:, :, :end])
            future = torch.full((end - begin, end - begin), float("-inf"), dtype=scores.dtype).triu(1)
            scores.view(rows, group, end - begin, end)[..., begin:].add_(future)
            weights = torch.softmax(scores, -1)
            kept.append(weights)
            out[:, :, begin:end] = torch.bmm(weights, v[:, :end]).view(rows, group, end - begin, width)
        ctx.save_for_backward(q, k, v, out, *kept)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        q, k, v, out, *kept = ctx.saved_tensors
        rows, group, length, width = q.shape
        inner = (gradient.float() * out.float()).sum(-1, keepdim=True).to(q.dtype)
        to_q, to_k, to_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        values = v.transpose(1, 2)
        for number, weights in enumerate(kept):
            begin = number * _BLOCK
            end = min(length, begin + _BLOCK)
            many = group * (end - begin)
            above = gradient[:, :, begin:end].reshape(rows, many, width)
            to_v[:, :end] += torch.bmm(weights.transpose(1, 2), above)
            to_scores = torch.bmm(above, values[:, :, :end]).sub_(inner[:, :, begin:end].reshape(rows, many, 1)).mul_(weights)
            to_q[:, :, begin:end] = torch.bmm(to_scores, k[:, :end]).view(rows, group, end - begin, width)
            to_k[:, :end] += torch.bmm(to_scores.transpose(1, 2), q[:, :, begin:end].reshape(rows, many, width))
        return to_q, to_k, to_v


def blocked(q: Any, k: Any, v: Any, scale: float) -> Any:
    """Causal softmax(q k^T scale) v: q (batch, heads, seq_len, head_dim), k and v (batch, kv_heads, seq_len, head_dim); gives the shape of q."""
    batch, heads, length, width = q.shape
    kv_heads = k.shape[1]
    folded = (q * scale).reshape(batch * kv_heads, heads // kv_heads, length, width)
    out = _Blocked.apply(folded, k.reshape(batch * kv_heads, length, width), v.reshape(batch * kv_heads, length, width))
    return out.view(batch, heads, length, width)


def _attend(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float, dropout: float = 0.0, **_: Any) -> tuple[Any, None]:
    """As transformers calls an attention function: causal, no cache; padding stands at the end, where nothing real sees it."""
    return blocked(query.to(value.dtype), key.to(value.dtype), value, scaling).transpose(1, 2).contiguous(), None


def install(model: Any) -> None:
    """Let a model attend with `blocked`, by transformers' own extension point."""
    AttentionInterface.register(NAME, _attend)
    model.set_attn_implementation(NAME)
