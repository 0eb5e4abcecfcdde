"""A Llama whose queries and keys lack some channels for good: what ThinK's static folding makes (arXiv 2407.21018; `mnemos.activation.folding`).

The rows of W_Q and W_K that made those channels are not there. Channels go in the pairs that rotate together, and each pair that is left turns by the
frequency that it had: a head gets the cosines and sines of its own pairs. Products are divided by √d of the whole head: the temperature stays.
Values and all else are as they were. Importing this module makes the kind known to transformers (`AutoConfig.register`), so that saved ones load.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaAttention, eager_attention_forward, rotate_half

from mnemos.models.local.loading import FOLDED


class FoldedLlamaConfig(LlamaConfig):
    """`kept_pairs` [layers][key-value heads]: the rotated pairs, j for channels j and j + head_dim / 2, that a head has, ascending, as many in each
    head of a layer; `folded`: what it was made of (`from`, `calibration`, `lost`)."""

    model_type = FOLDED
    kept_pairs: list[Any] | None = None
    folded: dict[str, Any] | None = None

    def channels(self, layer: int) -> list[list[int]]:
        """[G][2 · p]: those that the heads of a layer have, the first of all pairs before the second."""
        half = self.head_dim // 2
        pairs = [list(range(half))] * self.num_key_value_heads if self.kept_pairs is None else self.kept_pairs[layer]
        return [[*its, *(pair + half for pair in its)] for its in pairs]


class FoldedAttention(LlamaAttention):
    """Attention whose queries and keys have 2 · p channels."""

    def __init__(self, config: FoldedLlamaConfig, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        self.channels = config.channels(layer_idx)
        self.width = len(self.channels[0])
        self._index: Tensor | None = None  # made when it is needed: while weights are loaded there is no place for it
        bias = config.attention_bias
        self.q_proj = nn.Linear(config.hidden_size, config.num_attention_heads * self.width, bias=bias)
        self.k_proj = nn.Linear(config.hidden_size, config.num_key_value_heads * self.width, bias=bias)

    def forward(self, hidden_states: Tensor, position_embeddings: tuple[Tensor, Tensor], attention_mask: Tensor | None = None, cache: Any = None,
                **kwargs: Any) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """What `LlamaAttention` gives."""
        shape = hidden_states.shape[:-1]
        queries = self.q_proj(hidden_states).view(*shape, -1, self.width).transpose(1, 2)
        keys = self.k_proj(hidden_states).view(*shape, -1, self.width).transpose(1, 2)
        values = self.v_proj(hidden_states).view(*shape, -1, self.head_dim).transpose(1, 2)
        if self._index is None or self._index.device != hidden_states.device:
            self._index = torch.tensor(self.channels, device=hidden_states.device)
        cosines, sines = (each[..., self._index].transpose(1, 2) for each in position_embeddings)  # [B, G, t, 2p]
        keys = keys * cosines + rotate_half(keys) * sines
        cosines, sines = (each.repeat_interleave(self.num_key_value_groups, 1) for each in (cosines, sines))
        queries = queries * cosines + rotate_half(queries) * sines
        if cache is not None:
            keys, values = cache.update(keys, values, self.layer_idx, kwargs=kwargs)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        dropout = self.attention_dropout if self.training else 0.0
        output, weights = attend(self, queries, keys, values, attention_mask, dropout=dropout, scaling=self.scaling, **kwargs)
        return self.o_proj(output.reshape(*shape, -1).contiguous()), weights


class FoldedLlamaForCausalLM(LlamaForCausalLM):
    """The model of a `FoldedLlamaConfig`."""

    config_class = FoldedLlamaConfig
    _can_record_outputs: ClassVar[dict[str, Any]] = {**LlamaForCausalLM._can_record_outputs, "attentions": FoldedAttention}

    def __init__(self, config: FoldedLlamaConfig) -> None:
        super().__init__(config)
        for number, layer in enumerate(self.model.layers):
            layer.self_attn = FoldedAttention(config, number)
        self.post_init()


AutoConfig.register(FOLDED, FoldedLlamaConfig, exist_ok=True)
AutoModelForCausalLM.register(FoldedLlamaConfig, FoldedLlamaForCausalLM, exist_ok=True)
