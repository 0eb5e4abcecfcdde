"""BERT encoder with mean pooling in plain NumPy float32: the yardstick that a converted model must agree with before it is used.

Source: "BERT: Pre-training of Deep Bidirectional Transformers" §3; "Sentence-BERT" §3 (mean pooling over tokens).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mnemos.models.weights import Tensors

Array = NDArray[np.float32]


def embed_tokens(weights: Tensors, token_ids: Sequence[int], *, layers: int, heads: int) -> Array:
    """Unit embedding, float32, shape (hidden,), of one token sequence (with its special tokens)."""
    ids = np.asarray(token_ids)
    x = weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.position_embeddings.weight"][: len(ids)]
    x = _layer_norm(weights, "embeddings.LayerNorm", x + weights["embeddings.token_type_embeddings.weight"][0])
    for layer in range(layers):
        name = f"encoder.layer.{layer}"
        attended = _linear(weights, f"{name}.attention.output.dense", _attention(weights, f"{name}.attention.self", x, heads))
        x = _layer_norm(weights, f"{name}.attention.output.LayerNorm", x + attended)
        widened = _gelu(_linear(weights, f"{name}.intermediate.dense", x))
        x = _layer_norm(weights, f"{name}.output.LayerNorm", x + _linear(weights, f"{name}.output.dense", widened))
    pooled = x.mean(axis=0)
    return np.asarray(pooled / np.linalg.norm(pooled), dtype=np.float32)


def _linear(weights: Tensors, name: str, x: Array) -> Array:
    return np.asarray(x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"], dtype=np.float32)


def _layer_norm(weights: Tensors, name: str, x: Array) -> Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
    return np.asarray(scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"], dtype=np.float32)


def _attention(weights: Tensors, name: str, x: Array, heads: int) -> Array:
    def split(role: str) -> Array:  # (seq_len, hidden) -> (heads, seq_len, head_dim)
        return _linear(weights, f"{name}.{role}", x).reshape(len(x), heads, -1).transpose(1, 0, 2)

    query, key, value = split("query"), split("key"), split("value")
    scores = query @ key.transpose(0, 2, 1) / np.sqrt(np.float32(query.shape[-1]))
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    context = scores / scores.sum(axis=-1, keepdims=True) @ value
    return np.asarray(context.transpose(1, 0, 2).reshape(len(x), -1), dtype=np.float32)


def _gelu(x: Array) -> Array:
    return np.asarray(0.5 * x * (1.0 + _erf(x / np.sqrt(2.0))), dtype=np.float32)


def _erf(x: Array) -> NDArray[np.float64]:
    # Abramowitz & Stegun 7.1.26: absolute error below 1.5e-7, so that SciPy is not needed for one function.
    magnitude = np.abs(x).astype(np.float64)
    t = 1.0 / (1.0 + 0.3275911 * magnitude)
    polynomial = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.asarray(np.sign(x) * (1.0 - polynomial * np.exp(-(magnitude**2))))
