"""Folding into weights (ThinK, arXiv 2407.21018, taken to its end): channels of queries and keys that no text of a calibration set makes use of are
cut out of the model's projections. What comes out is another model, permanently thinner, that says what it was made of.

How much a rotated pair of channels gives to a head's products does not depend on positions: the mean over queries of the squared length of the pair,
times that over keys. A pair's share of its query head's sum, in the text in which it is largest, says how useless it is.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from mnemos.activation.memory import KVMemory
from mnemos.activation.policy import Policy
from mnemos.base.errors import Invalid
from mnemos.models.local.folded import FoldedLlamaConfig, FoldedLlamaForCausalLM

LOST = 0.01
"""Most of a query head's products that the pairs which go may have given, all together, in any text."""


class _Watch(Policy):
    """Drops nothing, and has layers keep all queries."""

    name = "watch"
    query_window = 1 << 30


def use_of_pairs(model: Any, sequences: Sequence[Sequence[int]]) -> Tensor:
    """[layers, G, d / 2] float32: the largest share of the products of a query head that a pair gives, over all sequences and over the query heads
    that share the key. Raises `Invalid` for no sequences, or empty ones."""
    if not sequences or min(len(each) for each in sequences) < 1:
        raise Invalid("folding needs at least one sequence of tokens, and none that is empty")
    found = []
    for sequence in sequences:
        memory = KVMemory.of(model, _Watch())
        with torch.no_grad():
            model(torch.tensor([list(sequence)], device=model.device), cache=memory, logits_to_keep=1)
        found.append(torch.stack([_shares(layer.recent.tensors()["states"][0], layer.tail.keys[0]) for layer in memory.managed]))
    return torch.stack(found).amax(0)


def _shares(queries: Tensor, keys: Tensor) -> Tensor:
    """Of queries [H, n, d] and keys [G, n, d]: [G, d / 2]."""
    asked, kept = (states.float().square().unflatten(-1, (2, -1)).sum(-2).mean(1) for states in (queries, keys))
    products = asked.unflatten(0, (len(kept), -1)) * kept.unsqueeze(1)
    return (products / products.sum(-1, keepdim=True).clamp_min(1e-30)).amax(1)


def kept_pairs(use: Tensor, lost: float) -> list[list[list[int]]]:
    """[layers][G]: the pairs that stay, ascending. Of each head the least used go, as long as together they gave no more than `lost`; as many in all
    heads of a layer, and never all."""
    pairs = []
    for layer in use:
        least = layer.sort(-1)
        gone = min(int((least.values.cumsum(-1) <= lost).sum(-1).min()), layer.shape[-1] - 1)
        pairs.append(least.indices[:, gone:].sort(-1).values.tolist())
    return pairs


def fold(model: Any, fingerprint: str, sequences: Sequence[Sequence[int]], lost: float = LOST) -> FoldedLlamaForCausalLM:
    """A copy of a Llama without the channels of queries and keys that the token sequences, some tens of them, show useless; the model itself stays as
    it is. `fingerprint`: the model's; it stands in `config.folded` of the copy, whose own differs. Caches of the copy hold narrower keys, whatever
    policy shapes them; policies that turn keys back refuse it. Raises `Invalid` for a model that is no plain Llama, and where no pair is useless."""
    if not 0 < lost < 1:
        raise Invalid(f"pairs that gave lost={lost} of the products cannot go: give a share in (0, 1)")
    _check(model)
    kept = kept_pairs(use_of_pairs(model, sequences), lost)
    whole = model.config.head_dim // 2
    if all(len(its[0]) == whole for its in kept):
        raise Invalid(f"no pair of channels is useless: in every layer a head needs all for {1 - lost:.1%} of its products; nothing to fold")
    read = hashlib.sha256(json.dumps([[int(one) for one in sequence] for sequence in sequences]).encode()).hexdigest()
    return cut(model, kept, {"from": fingerprint, "calibration": read, "lost": lost})


def cut(model: Any, kept: Sequence[Sequence[Sequence[int]]], provenance: dict[str, Any]) -> FoldedLlamaForCausalLM:
    """A copy of a Llama that has these pairs alone. Raises `Invalid` for a model that is no plain Llama."""
    _check(model)
    passing = ("model_type", "architectures", "transformers_version", "dtype")
    settings = {name: value for name, value in copy.deepcopy(model.config.to_dict()).items() if name not in passing}
    config = FoldedLlamaConfig(**settings, kept_pairs=[[list(pairs) for pairs in its] for its in kept], folded=provenance)
    with torch.random.fork_rng(devices=[]):
        thin: FoldedLlamaForCausalLM = FoldedLlamaForCausalLM(config).to(model.device, model.dtype).eval()
    state = model.state_dict()
    for number in range(config.num_hidden_layers):
        channels = torch.tensor(config.channels(number), device=model.device)
        for name, heads in (("q_proj", config.num_attention_heads), ("k_proj", config.num_key_value_heads)):
            for kind in ("weight", "bias") if config.attention_bias else ("weight",):
                place = f"model.layers.{number}.self_attn.{name}.{kind}"
                rows = state[place].unflatten(0, (heads, config.head_dim))
                which = channels.repeat_interleave(heads // len(channels), 0)
                state[place] = rows[torch.arange(heads, device=model.device)[:, None], which].flatten(0, 1)
    thin.load_state_dict(state)
    thin.generation_config = copy.deepcopy(model.generation_config)
    return thin


def _check(model: Any) -> None:
    if type(model) is FoldedLlamaForCausalLM:
        raise Invalid("this model is folded already: fold the one that it was made of")
    if type(model) is not LlamaForCausalLM:
        norms = sorted({name.rpartition(".")[2] for name, _ in model.named_modules() if name.endswith(("q_norm", "k_norm"))})
        why = f" ({' and '.join(norms)} divide by the size of whole heads, which channels that go change)" if norms else ""
        raise Invalid(f"channels are folded into the weights of LlamaForCausalLM alone, not of {type(model).__name__}{why}")
    if model.config.rope_parameters.get("partial_rotary_factor", 1.0) != 1.0:
        raise Invalid("channels are folded where all of them rotate; this model rotates only a part of them")
    projections = [each for layer in model.model.layers for each in (layer.self_attn.q_proj, layer.self_attn.k_proj)]
    if odd := [type(each).__name__ for each in projections if type(each) is not nn.Linear]:
        raise Invalid(f"the projections of queries and keys are {odd[0]}, not plain ones whose rows could be cut: merge adapters, load whole weights")
