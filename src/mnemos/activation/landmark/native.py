"""Attention by landmarks as a layer (arXiv 2305.16300, section 3.1), for decoders of one's own that are no models of transformers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mnemos.activation.landmark.attention import attend
from mnemos.activation.rotary import Rotary
from mnemos.base.errors import Invalid


class LandmarkAttention(nn.Module):
    """Causal self-attention of states (batch, seq_len, width) in which every (`block` + 1)-th token is a landmark, or those that a call names."""

    def __init__(self, width: int, heads: int, block: int, *, kv_heads: int | None = None, head_dim: int | None = None, base: float = 1e4) -> None:
        """`kv_heads`: as many as heads where they are not given; `head_dim`: width ÷ heads; `base`: of RoPE. Raises `Invalid` for shapes that cannot
        be."""
        super().__init__()
        self.block, self.heads, self.kv_heads = block, heads, heads if kv_heads is None else kv_heads
        self.head_dim = width // heads if head_dim is None else head_dim
        if block < 1 or self.kv_heads < 1 or heads % self.kv_heads or self.head_dim < 2 or self.head_dim % 2:
            raise Invalid(f"{heads} heads of {self.head_dim}, {self.kv_heads} for keys and values, blocks of {block}: heads are a multiple of those "
                          "for keys and values, head_dim is even, and a block has a token")  # fmt: skip
        self.q_proj = nn.Linear(width, heads * self.head_dim, bias=False)
        self.k_proj, self.v_proj = (nn.Linear(width, self.kv_heads * self.head_dim, bias=False) for _ in range(2))
        self.o_proj = nn.Linear(heads * self.head_dim, width, bias=False)
        self.base = base

    def forward(self, states: Tensor, positions: Tensor | None = None, **options: Any) -> Tensor:
        """States (batch, seq_len, width) at `positions` (batch, seq_len), or as they follow → the same shape. `options` (landmarks, kept_blocks,
        top_blocks, rivals) and errors are those of `attention.attend`."""
        places = torch.arange(states.shape[1], device=states.device) if positions is None else positions[:, None]
        plain = Rotary.default(self.head_dim, self.base)
        rotary = Rotary(plain.layout, plain.frequencies.to(states.device), plain.scaling.to(states.device))
        query, key, value = (each(states).unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for each in (self.q_proj, self.k_proj, self.v_proj))
        mixed = attend(rotary.rotate(query, places), rotary.rotate(key, places), value, self.block, **options)
        out: Tensor = self.o_proj(mixed.flatten(2))
        return out
