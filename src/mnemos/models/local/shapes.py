"""What the keys and values of a model look like, and how many bytes they take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from mnemos.models.local.reading import cache_keyword


@dataclass(frozen=True, slots=True)
class LayerShape:
    """One layer's keys and values, each (batch, kv_heads, seq_len, head_dim)."""

    kv_heads: int
    key_dim: int
    value_dim: int
    window: int | None = None
    """Of a layer that looks back only so far, its own token included; None where it sees everything."""

    def kept(self, tokens: int) -> int:
        """Of so many tokens, those whose keys and values the next token can need."""
        return tokens if self.window is None else min(tokens, self.window - 1)


@dataclass(frozen=True, slots=True)
class Shapes:
    """The layers that keep keys and values, in their order, and the type that these have."""

    layers: tuple[LayerShape, ...]
    query_heads: int
    dtype: str
    """Its name in torch, such as "bfloat16"."""
    itemsize: int
    """Bytes of one number."""

    @property
    def sliding(self) -> tuple[int, ...]:
        """The numbers of the layers that look back only so far."""
        return tuple(number for number, layer in enumerate(self.layers) if layer.window is not None)

    def memory_per_token(self) -> int:
        """Bytes of one token's keys and values over all layers, as long as it is within all windows."""
        return self.kv_bytes(1)

    def kv_bytes(self, tokens: int) -> int:
        """Bytes of the keys and values that one sequence of so many tokens needs: layers with a window keep what the next token can see."""
        return self.itemsize * sum(layer.kv_heads * (layer.key_dim + layer.value_dim) * layer.kept(tokens) for layer in self.layers)


def shapes_of(module: Any) -> Shapes:
    """The shapes of a causal model, as its cache has them: one token is read, since configurations name their dimensions in many ways."""
    cache = DynamicCache(config=module.config)
    device = module.get_input_embeddings().weight.device
    with torch.no_grad():
        module(input_ids=torch.zeros((1, 1), dtype=torch.long, device=device), use_cache=True, **{cache_keyword(module): cache})
    layers, sample = [], None
    for layer in cache.layers:
        keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
        if isinstance(keys, torch.Tensor) and isinstance(values, torch.Tensor):
            sample = keys
            window = int(layer.sliding_window) if getattr(layer, "is_sliding", False) else None
            layers.append(LayerShape(int(keys.shape[1]), int(keys.shape[3]), int(values.shape[3]), window))
    dtype = module.dtype if sample is None else sample.dtype
    heads = int(getattr(module.config.get_text_config(), "num_attention_heads", 0))
    return Shapes(tuple(layers), heads, str(dtype).removeprefix("torch."), dtype.itemsize)
