"""KV memory in models of several families: what sdpa or eager attention says."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, MistralConfig, Phi3Config, PretrainedConfig, Qwen2Config, Qwen3Config

from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy

torch.set_num_threads(1)
SHAPE = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "max_position_embeddings": 256, "initializer_range": 0.3, "bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}  # fmt: skip
FAMILIES: dict[str, PretrainedConfig] = {
    "qwen2": Qwen2Config(**SHAPE),
    "qwen3": Qwen3Config(**SHAPE, head_dim=8),
    "mistral": MistralConfig(**SHAPE, sliding_window=None),
    "mistral with a window": MistralConfig(**SHAPE, sliding_window=16),
    "phi3": Phi3Config(**SHAPE),
    "gemma2": Gemma2Config(**SHAPE, head_dim=8, sliding_window=16, query_pre_attn_scalar=8),
}

SMALL = {"snapkv": {"tokens": 40, "window": 8}, "think": {"share": 0.5, "recent": 8, "window": 4}, "kivi": {"group": 8, "recent": 8}}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_full_memory_is_the_model(family: str) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(FAMILIES[family], attn_implementation="eager").eval()
    ids = torch.randint(1, 97, (2, 60), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        right = model(ids, use_cache=False).logits
        memory = KVMemory.of(model)
        seen = [model(ids[:, :40], cache=memory).logits, *(model(ids[:, i : i + 1], cache=memory).logits for i in range(40, 60))]
    assert torch.allclose(torch.cat(seen, 1), right, atol=2e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_policies_compress_what_they_may_and_generate_goes_on(family: str) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(FAMILIES[family]).eval()
    ids = torch.randint(1, 97, (1, 80), generator=torch.Generator().manual_seed(1))
    full = KVMemory.of(model)
    model.generate(ids, max_new_tokens=5, do_sample=False, cache=full)
    for name, options in SMALL.items():
        memory = KVMemory.of(model, policy(name, **options))
        out = model.generate(ids, max_new_tokens=5, do_sample=False, cache=memory)
        assert out.shape[1] == 85
        if memory.managed:
            assert memory.nbytes().near < full.nbytes().near
