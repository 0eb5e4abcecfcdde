"""Static folding: a model whose queries and keys lack the channels that nothing uses (sheet think)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen3Config

from activation.tiny_llama import VOCABULARY, greedy, llama, run, tokens
from mnemos.activation.folding import cut, fold, kept_pairs, use_of_pairs
from mnemos.activation.memory import KVMemory
from mnemos.activation.narrow import Thin
from mnemos.activation.policies import policy
from mnemos.activation.policy import Policy
from mnemos.activation.quantised import Quantise
from mnemos.activation.saving import dump, load
from mnemos.base.errors import Invalid
from mnemos.models.local.model import LocalModel

torch.set_num_threads(1)


def uneven(seed: int = 0, **changes: object) -> LlamaForCausalLM:
    """A small Llama that hardly uses the second and the third of its four pairs, each head another one least."""
    model = llama(seed)
    if changes:
        model = LlamaForCausalLM(LlamaConfig(**{**model.config.to_dict(), **changes})).eval()
    with torch.no_grad():
        for layer in model.model.layers:
            for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj):
                for each in (projection.weight, *([projection.bias] if projection.bias is not None else [])):
                    each.copy_(torch.randn(each.shape, generator=torch.Generator().manual_seed(7)) * 0.3)
                    rows = each.view(-1, 2, 4, *each.shape[1:])
                    rows[:, :, 1] *= 0.02
                    rows[: len(rows) // 2, :, 2] *= 0.02
                    rows[len(rows) // 2 :, :, 3] *= 0.02
    return model


def masked(model: LlamaForCausalLM, kept: list[list[list[int]]]) -> LlamaForCausalLM:
    """The same with zeros for the rows that go."""
    dense = copy.deepcopy(model)
    with torch.no_grad():
        for layer, pairs in zip(dense.model.layers, kept, strict=True):
            for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj):
                for each in (projection.weight, *([projection.bias] if projection.bias is not None else [])):
                    rows = each.view(len(pairs), -1, 2, 4, *each.shape[1:])
                    for head, its in enumerate(pairs):
                        gone = [pair for pair in range(4) if pair not in its]
                        rows[head][:, :, gone] = 0
    return dense


@pytest.mark.parametrize("changes", [
    {}, {"attention_bias": True, "tie_word_embeddings": True}, {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
])  # fmt: skip
def test_a_folded_model_computes_what_the_whole_one_computes_without_those_channels(changes: dict[str, object]) -> None:
    model, ids = uneven(**changes), tokens(2, 48)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    thin = fold(model, "it", tokens(3, 40, seed=3).tolist(), 0.05)
    assert thin.config.kept_pairs == [[[0, 3], [0, 2]]] * 2
    dense = masked(model, thin.config.kept_pairs)
    mask = torch.ones(2, 48, dtype=torch.long)
    mask[0, :9] = 0
    with torch.no_grad():
        right, its = dense(ids, attention_mask=mask).logits, thin(ids, attention_mask=mask).logits
    assert torch.allclose(right[mask.bool()], its[mask.bool()], atol=1e-5 * float(right.abs().max()))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())  # never in place


def test_the_bytes_of_its_keys_are_fewer_with_any_cache() -> None:
    model, ids = uneven(), tokens(1, 104)
    thin = cut(model, [[[0, 3], [0, 2]], [[0, 2, 3], [0, 2, 3]]], {})
    caches = [DynamicCache(), DynamicCache()]
    with torch.no_grad():
        model(ids, cache=caches[0])
        thin(ids, cache=caches[1])
    sizes = [[layer.keys.untyped_storage().nbytes() for layer in cache.layers] for cache in caches]
    assert sizes == [[104 * 2 * 8 * 4] * 2, [104 * 2 * 4 * 4, 104 * 2 * 6 * 4]]
    assert caches[1].layers[0].values.untyped_storage().nbytes() == 104 * 2 * 8 * 4
    assert LocalModel(thin).memory_per_token() == LocalModel(model).memory_per_token() - (4 + 2) * 2 * 4


@pytest.mark.parametrize("make", [
    lambda: policy("full"), lambda: policy("think", share=0.5, values=0.3, window=8, recent=8, pairs=True),
    lambda: policy("snapkv", tokens=48, window=8).then(Thin(0.25, 8), Quantise(8, 8)), lambda: policy("h2o", tokens=40, recent=8),
])  # fmt: skip
def test_policies_shape_its_memory_as_they_shape_that_of_the_whole_model_without_those_channels(make: Callable[[], Policy]) -> None:
    model, ids = uneven(), tokens(2, 104)
    kept = [[[0, 3], [0, 2]], [[0, 3], [0, 2]]]
    thin, dense = cut(model, kept, {}), masked(model, kept)
    memory = KVMemory.of(thin, make())
    logits = run(thin, memory, ids)[:, -1]
    memory.settle()
    chosen, _ = greedy(thin, memory, logits, 20)
    if "think" not in memory.policy.name:  # which drops a share of the channels that there are
        whole = KVMemory.of(dense, make())
        logits = run(dense, whole, ids)[:, -1]
        whole.settle()
        assert greedy(dense, whole, logits, 20)[0] == chosen
        assert memory.nbytes().near < whole.nbytes().near
        assert memory.held() == whole.held()
    again, last = load(thin, dump(memory, "it"), "it", make()), torch.tensor(chosen)[:, -1:]
    assert torch.equal(run(thin, memory, last), run(thin, again, last))


def test_what_is_useless_is_so_in_every_text_and_for_every_query_head() -> None:
    use = torch.tensor([[[0.002, 0.5, 0.003, 0.495], [0.2, 0.004, 0.5, 0.296]]])
    assert kept_pairs(use, 0.01) == [[[1, 2, 3], [0, 2, 3]]]  # a head that has one only: so the other keeps three, too
    assert kept_pairs(use, 0.001) == [[[0, 1, 2, 3]] * 2]
    assert kept_pairs(use, 0.999) == [[[1], [2]]]  # one stays in any case
    model = uneven()
    one, other = tokens(1, 30, seed=1).tolist(), tokens(1, 30, seed=2).tolist()
    both = use_of_pairs(model, [*one, *other])
    assert torch.equal(both, torch.maximum(use_of_pairs(model, one), use_of_pairs(model, other)))
    memory = KVMemory.of(model, policy("think", window=30))
    run(model, memory, torch.tensor(one))
    queries, keys = memory.managed[1].recent.tensors()["states"], memory.managed[1].tail.keys
    shares = []
    for head in (2, 3):  # both of the second key head
        each = [float(queries[0, head][:, [j, j + 4]].square().sum() * keys[0, 1][:, [j, j + 4]].square().sum()) for j in range(4)]
        shares.append(torch.tensor(each) / sum(each))
    assert torch.allclose(use_of_pairs(model, one)[1, 1], torch.maximum(*shares), atol=1e-5)


def test_it_says_what_it_was_made_of_and_is_saved_and_loaded(tmp_path: Path) -> None:
    model = LocalModel(uneven())
    texts = tokens(3, 40, seed=3).tolist()
    thin = LocalModel(fold(model.module, model.fingerprint, texts, 0.05))
    assert thin.module.config.folded["from"] == model.fingerprint
    assert thin.module.config.folded["lost"] == 0.05
    assert thin.fingerprint != model.fingerprint
    other = fold(model.module, model.fingerprint, tokens(3, 40, seed=4).tolist(), 0.05)
    assert other.config.folded["calibration"] != thin.module.config.folded["calibration"]
    thin.save(tmp_path)
    again = LocalModel.load(tmp_path, tokenizer=None)
    assert again.fingerprint == thin.fingerprint
    assert again.module.config.kept_pairs == thin.module.config.kept_pairs
    ids = tokens(1, 20)
    with torch.no_grad():
        assert torch.equal(again.module(ids).logits, thin.module(ids).logits)
    assert again.generate(ids[0].tolist(), max_tokens=5).run()[0].tokens == thin.generate(ids[0].tolist(), max_tokens=5).run()[0].tokens


def test_what_it_does_not_know_is_refused() -> None:
    small = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4,
             "num_key_value_heads": 2}  # fmt: skip
    texts = tokens(1, 20).tolist()
    with pytest.raises(Invalid, match="k_norm and q_norm"):
        fold(LocalModel.random(Qwen3Config(**small, head_dim=8)).module, "it", texts)
    with pytest.raises(Invalid, match="Qwen2"):
        fold(LocalModel.random(Qwen2Config(**small)).module, "it", texts)
    model = uneven()
    thin = cut(model, [[[0, 3], [0, 2]]] * 2, {})
    with pytest.raises(Invalid, match="already"):
        fold(thin, "it", texts)
    with pytest.raises(Invalid, match="useless"):
        fold(llama(), "it", texts, 1e-9)
    with pytest.raises(Invalid, match="lost"):
        fold(model, "it", texts, 0.0)
    with pytest.raises(Invalid, match="sequence"):
        fold(model, "it", [])
    model.model.layers[1].self_attn.q_proj = torch.nn.Sequential(model.model.layers[1].self_attn.q_proj)
    with pytest.raises(Invalid, match="Sequential"):
        fold(model, "it", texts)
    with pytest.raises(Invalid, match="turn"):
        KVMemory.of(thin, policy("shadowkv", tokens=16))
