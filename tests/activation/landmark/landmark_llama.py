"""Small random Llamas with landmarks, for tests."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from mnemos.activation.landmark.attention import install

WORDS, LANDMARK, BLOCK = 60, 59, 4


def llama(seed: int = 0, words: int = WORDS, **changes: object) -> LlamaForCausalLM:
    """Without landmarks yet; random weights large enough that attention is uneven."""
    torch.manual_seed(seed)
    settings = {"vocab_size": words, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
                "num_key_value_heads": 2, "initializer_range": 0.3, "pad_token_id": 0, "eos_token_id": None, "bos_token_id": None}  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**{**settings, **changes})).eval()


def with_landmarks(seed: int = 0, block: int = BLOCK, **changes: object) -> LlamaForCausalLM:
    model = llama(seed, **changes)
    install(model, block, LANDMARK)
    return model


def ids(count: int, seed: int = 0) -> list[int]:
    """Random, neither padding nor landmarks."""
    return torch.randint(1, LANDMARK, (count,), generator=torch.Generator().manual_seed(seed)).tolist()
