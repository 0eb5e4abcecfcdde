"""Where training begins: random weights, of which the first layer already looks back.

A look-up needs heads that attend to the token a fixed distance before (Olsson et al. 2022, "previous-token heads"). To find them by gradient takes a
small model longer than all that follows, so all embeddings begin with one direction in common, from which each head of the first layer makes a query
and a key whose product, by RoPE, is largest at a distance of its own: 1, 2, 3, … Training may change that like everything else.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from transformers import LlamaForCausalLM

from mnemos.models.reference.model import config

_EMBEDDED, _QUIET = 4.0, 0.2
"""Fresh embeddings are so much larger, and what layers write is so much smaller, than transformers makes them: a token's identity must not drown."""

_COMMON = 0.5
"""The common part of fresh embeddings, as a share of their length without it."""

_SHARPNESS = 16.0
"""What each pair of dimensions of a fresh looking-back head adds to the score of its distance."""


def fresh(seed: int, **changes: Any) -> Any:
    """The model to train (with a shape changed as `config` takes it); the same seed gives the same, and torch's own generator is left as it was."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config(**changes))
        model.get_input_embeddings().weight.mul_(_EMBEDDED)
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.mul_(_QUIET)
            layer.mlp.down_proj.weight.mul_(_QUIET)
        _look_back(model)
        return model


def _look_back(model: Any) -> None:
    shape = model.config
    width, half = shape.hidden_size, shape.head_dim // 2
    common = torch.nn.functional.normalize(torch.randn(width), dim=0)
    embeddings = model.get_input_embeddings().weight
    embeddings += common * embeddings.norm(dim=1).mean() * _COMMON
    after_norm = math.sqrt(width) * _COMMON / math.sqrt(1 + _COMMON**2)
    frequencies = shape.rope_parameters["rope_theta"] ** (-torch.arange(half) / half)
    used = (torch.arange(half) < max(1, half // 2)).float()
    strength = math.sqrt(_SHARPNESS * math.sqrt(shape.head_dim)) / after_norm
    attention = model.model.layers[0].self_attn
    for head in range(shape.num_attention_heads):
        angles = -frequencies * (1 + head)
        query = torch.cat([angles.cos() * used, angles.sin() * used]) * strength
        attention.q_proj.weight[head * 2 * half : (head + 1) * 2 * half] += torch.outer(query, common)
    for head in range(shape.num_key_value_heads):
        key = torch.cat([used, torch.zeros(half)]) * strength
        attention.k_proj.weight[head * 2 * half : (head + 1) * 2 * half] += torch.outer(key, common)
