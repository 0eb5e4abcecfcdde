"""Keys can be turned by any model's rotation, and back."""

from __future__ import annotations

import gc
import warnings
from typing import Any

import pytest
import torch
from transformers import (
    Cohere2Config,
    Cohere2ForCausalLM,
    DynamicCache,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GlmConfig,
    GlmForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

from mnemos.activation.rotary import Layout, Rotary, sources
from mnemos.base.errors import Invalid

torch.set_num_threads(1)
SHAPE: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip


def scaled(kind: str, **more: Any) -> LlamaConfig:
    return LlamaConfig(**SHAPE, rope_parameters={"rope_theta": 1000.0, "rope_type": kind, **more})


MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "linear": lambda: LlamaForCausalLM(scaled("linear", factor=4.0)),
    "yarn": lambda: LlamaForCausalLM(scaled("yarn", factor=4.0, original_max_position_embeddings=64)),
    "llama3": lambda: LlamaForCausalLM(scaled("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)),
    "dynamic": lambda: LlamaForCausalLM(scaled("dynamic", factor=2.0)),
    "qwen3, keys normalised": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=16)),
    "phi, half of the components": lambda: PhiForCausalLM(PhiConfig(**SHAPE)),
    "glm, half of them, interleaved": lambda: GlmForCausalLM(GlmConfig(**SHAPE, head_dim=8)),
    "gemma3, one rotation for each kind of layer": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**SHAPE, head_dim=8, layer_types=["sliding_attention", "full_attention"], sliding_window=512)
    ),
    "cohere2, full layers do not rotate": lambda: Cohere2ForCausalLM(
        Cohere2Config(**SHAPE, layer_types=["sliding_attention", "full_attention"], sliding_window=512)
    ),
    "smollm3, some layers do not rotate": lambda: SmolLM3ForCausalLM(SmolLM3Config(**SHAPE, no_rope_layers=[1, 0])),
}


def keys(model: Any, ids: torch.Tensor, positions: torch.Tensor) -> list[torch.Tensor]:
    """Of each layer, as the cache gets them: [B, G, n, d]."""
    cache = DynamicCache(config=model.config)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model(ids, position_ids=positions, cache=cache)
    return [layer.keys for layer in cache.layers]


@pytest.mark.parametrize("name", MODELS)
def test_a_models_keys_turned_back_do_not_depend_on_where_they_stood(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    found = sources(model)
    ids = torch.randint(1, 50, (1, 20))
    near, far = torch.arange(20)[None], torch.arange(130, 150)[None]
    here, there = keys(model, ids, near), keys(model, ids, far)
    for source, one, other in zip(found, here, there, strict=True):
        rotary = source.rotary("cpu")
        one, other = rotary.unrotate(one, near[:, None]), rotary.unrotate(other, far[:, None])
        assert float((one - other).norm() / one.norm()) < 2e-4
        again = rotary.rotate(one, far[:, None])
        assert float((rotary.unrotate(again, far[:, None]) - one).norm() / one.norm()) < 1e-5


def test_layers_that_do_not_rotate_are_left_alone() -> None:
    torch.manual_seed(0)
    assert [source.layout.size for source in sources(MODELS["smollm3, some layers do not rotate"]().eval())] == [8, 0]
    assert [source.layout.size for source in sources(MODELS["cohere2, full layers do not rotate"]().eval())] == [8, 0]
    learned = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=32, n_head=4, n_layer=2)).eval()
    assert [source.layout.size for source in sources(learned)] == [0, 0]
    states = torch.randn(1, 2, 5, 8)
    assert Rotary.identity().rotate(states, torch.arange(5)) is states


def test_types_that_change_with_the_length_are_known_and_read_as_of_now() -> None:
    model = MODELS["dynamic"]().eval()
    source = sources(model)[0]
    assert source.changing
    plain = MODELS["llama"]().eval()
    assert not sources(plain)[0].changing
    before, _ = source.now("cpu")
    keys(model, torch.ones(1, 300, dtype=torch.long), torch.arange(300)[None])
    after, _ = source.now("cpu")
    assert not torch.equal(before, after)


def test_a_rotation_that_nothing_explains_is_refused() -> None:
    model = MODELS["llama"]().eval()

    def otherwise(x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        angles = position_ids[..., None].float().expand(-1, -1, 8) ** 2
        return angles.cos(), angles.sin()

    model.model.rotary_emb.forward = otherwise
    with pytest.raises(Invalid, match="layer 0 depend on positions by no rotation"):
        sources(model)


def test_a_memory_does_not_keep_a_model_alive() -> None:
    source = sources(MODELS["llama"]().eval())[0]
    gc.collect()
    with pytest.raises(Invalid, match="is gone"):
        source.rotary("cpu")


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize(("start", "size"), [(0, 16), (0, 8), (8, 8)])
def test_turning_and_turning_back_is_nothing(interleaved: bool, start: int, size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    frequencies = torch.rand(2, size // 2, generator=generator)
    rotary = Rotary(Layout(start, size, interleaved), frequencies, torch.tensor([1.0, 1.3]))
    states = torch.randn(2, 3, 50, 16, generator=generator)
    positions = torch.randint(0, 100_000, (2, 1, 50), generator=generator)
    sets = torch.randint(0, 2, (2, 1, 50), generator=generator)
    turned = rotary.rotate(states, positions, sets)
    assert float((rotary.unrotate(turned, positions, sets) - states).abs().max()) < 1e-5
    assert torch.equal(turned[..., :start], states[..., :start])
    assert torch.equal(turned[..., start + size :], states[..., start + size :])
    own = states[..., start : start + size].norm(dim=-1), turned[..., start : start + size].norm(dim=-1)
    assert torch.allclose(own[1], own[0] * torch.tensor([1.0, 1.3])[sets], rtol=1e-5)
    two = Rotary(rotary.layout, frequencies[:1], torch.ones(1)).with_set(frequencies[1], 1.3)
    assert torch.equal(two.rotate(states, positions, sets), turned)
