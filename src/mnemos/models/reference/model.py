"""The reference model's shape: a small Llama with grouped queries."""

from __future__ import annotations

from typing import Any

from transformers import LlamaConfig

from mnemos.models.reference import language


def config(**changes: Any) -> LlamaConfig:
    """4 layers of 8 query and 4 key-value heads of 32, width 160, tied embeddings, RoPE with theta 10^6; `changes` make other shapes, for tests."""
    settings: dict[str, Any] = {
        "vocab_size": len(language.VOCABULARY),
        "hidden_size": 160,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 32,
        "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "tie_word_embeddings": True,
        "initializer_range": 0.04,
        "pad_token_id": language.IDS[language.PAD],
        "bos_token_id": language.IDS[language.START],
        "eos_token_id": language.IDS[language.END],
    }
    return LlamaConfig(**{**settings, **changes})
