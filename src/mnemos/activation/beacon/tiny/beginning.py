"""Where the tiny decoder begins: random weights, in which a look-up works, and memory tokens that look at the last values before them.

The first layer's heads look at the token before and write it to a place of its own; in the last, queries ask for the present token there, and what
is found is copied (Olsson et al. 2022, "induction heads"). Rotation would scramble a comparison over distances, so that only dimensions that turn
slowly take part in it. In the third layer memory tokens look for values, by what values have in common, rather for near ones than for far ones,
by the dimensions that turn fast, and keep what they see.

The first token of a window has no token before it: a memory token stands there. So memory tokens, too, write the last token they stand for in the
first layer; in the second, the first token of the next window takes it from there as its own, and memory tokens take it out of themselves again.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mnemos.activation.beacon.beacons import Beacons
from mnemos.activation.beacon.tiny import lines
from mnemos.models.reference.training.beginning import fresh

SHAPE: dict[str, Any] = {
    "vocab_size": lines.WORDS, "hidden_size": 128, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 4, "head_dim": 32, "rope_parameters": {"rope_type": "default", "rope_theta": 1e8},
    "pad_token_id": lines.PAD, "bos_token_id": lines.START, "eos_token_id": lines.END,
}  # fmt: skip
"""4 layers of 4 heads, width 128."""

_EMBEDDED, _COMMON, _KIND = 1.8, 0.5, 0.5
"""The length of embeddings, what they have in common as a share of it, and what those of values have in common beside."""
_WRITTEN, _COPIED, _QUIET = 0.3, 0.5, 0.02
"""How strongly the token before is written, what is found is copied, and the third layer writes."""
_SHARP = 16.0
"""Of a look-up's scores."""
_SURE = 1.5
"""Of what the model says in the end."""
_FAR = 256
"""Tokens over which a dimension that turns slowly turns by less than one radian."""
_ONE, _OTHER, _PAIRS = 1.65, 2.87, 3
"""How strongly memory tokens that stand right before are seen in the second layer, by that many pairs of dimensions, and all others, by none."""
_NEAR, _SEEKING, _KEPT = 0.4, 0.25, 0.5
"""How strongly memory tokens ask for what is near, and for values; how strongly what they see is kept."""


def beginning(seed: int) -> Any:
    """The model (`LlamaForCausalLM`); the same seed gives the same."""
    model, rng = fresh(seed, **SHAPE), torch.Generator().manual_seed(seed)
    width, size, heads = (getattr(model.config, name) for name in ("hidden_size", "head_dim", "num_attention_heads"))
    half, each = width // 2, width // 2 // heads
    embeddings = model.get_input_embeddings().weight
    axes = torch.linalg.qr(torch.cat([embeddings.detach().mean(0)[:, None], torch.randn(width, width - 1, generator=rng)], 1))[0].T
    common = axes[0] * torch.sign(axes[0] @ embeddings.detach().mean(0))  # by which heads look back: no part of what a token is
    kind, place, identity = axes[1], axes[half:], torch.cat([axes[2:half], torch.zeros(2, width)])
    slow, fast = _slow_and_fast(model)
    with torch.no_grad():
        tokens = torch.nn.functional.normalize(embeddings @ identity.T @ identity, dim=1)
        embeddings.copy_(_EMBEDDED * (tokens + _COMMON * common))
        embeddings[lines.FIRST_VALUE :] += _KIND * kind
        model.model.norm.weight.fill_(_SURE)
        first, second, third, last = (layer.self_attn for layer in model.model.layers)
        for projection in (first.q_proj, first.k_proj):  # places alone decide where to look, tokens do not
            projection.weight.copy_(projection.weight @ torch.outer(common, common))
        for head in range(heads):
            here, mine = slice(head * size, (head + 1) * size), slice(head * each, (head + 1) * each)
            first.q_proj.weight[here] = first.q_proj.weight[:size]  # every head looks at the token before
            for attention, seen, written, share in ((first, identity, place, _WRITTEN), (second, torch.zeros_like(place), place, _WRITTEN),
                                                    (third, identity, identity, _QUIET), (last, identity, identity, _COPIED)):  # fmt: skip
                attention.v_proj.weight[here] = torch.cat([seen[mine], place[mine] if attention in (third, last) else torch.zeros(each, width)])
                attention.o_proj.weight[:, here] = share * torch.cat([written[mine], torch.zeros(each, width)]).T
            for attention in (third, last):
                turned = math.sqrt(_SHARP) * torch.linalg.qr(torch.randn(len(slow), each, generator=rng))[0]
                for projection, compared in ((attention.q_proj, identity), (attention.k_proj, place)):
                    projection.weight[here] = 0
                    projection.weight[head * size + slow] = turned @ compared[mine]
                attention.k_proj.weight[head * size + fast] = common
            third.k_proj.weight[head * size + slow[0]] = kind
            for projection in (second.q_proj, second.k_proj):  # in the second layer all ordinary tokens are alike to each other
                projection.weight[here] = 0
                projection.weight[head * size + slow[0]] = _OTHER * common
            _ask(second.q_proj.weight[here], _ONE, -_frequencies(model)[fast[:_PAIRS]], fast[:_PAIRS], common)
    return model


def gathering(beacons: Beacons) -> None:
    """Gives memory tokens of a model that began so their first projections."""
    model, own = beacons.model, beacons.projections
    width, size, heads = (getattr(model.config, name) for name in ("hidden_size", "head_dim", "num_attention_heads"))
    each, common = width // 2 // heads, torch.nn.functional.normalize(model.get_input_embeddings().weight.detach().mean(0), dim=0)
    slow, fast = _slow_and_fast(model)
    near, written = fast[:_PAIRS], model.model.layers[1].self_attn.o_proj.weight
    angles = -_frequencies(model)[fast][1:]  # the first pair turns too fast: to it, what is four tokens away is as near as what is two away
    with torch.no_grad():
        beacons.embedding.copy_(_EMBEDDED * common)
        for name in ("0_q_proj", "0_k_proj"):  # nothing but what is common is in them, and of that more than in tokens
            own[name].weight.mul_(_COMMON / math.sqrt(1 + _COMMON**2))
        own["0_v_proj"].weight.zero_()
        own["1_o_proj"].weight.neg_()
        own["2_o_proj"].weight.copy_(_KEPT * torch.linalg.pinv(own["2_v_proj"].weight))
        for head in range(heads):
            here = slice(head * size, (head + 1) * size)
            value, query, key = own["1_v_proj"].weight[here], own["2_q_proj"].weight[here], own["2_k_proj"].weight[here]
            value[:each] = written[:, here][:, :each].T / _WRITTEN
            for name in ("1_q_proj", "1_k_proj"):  # each looks at itself
                own[name].weight[here] = 0
                own[name].weight[head * size + near] = _ONE * common
            query.zero_()
            _ask(query, _NEAR, angles, fast[1:], common)
            query[slow[0]] = _SEEKING * common
            key[fast] = 0  # they look at tokens, not at each other


def _ask(query: Tensor, strength: float, angles: Tensor, pairs: Tensor, common: Tensor) -> None:
    """Makes a head's query ask by `pairs` of dimensions, given by the first of each, for what is turned by these angles."""
    query[pairs] = strength * torch.outer(angles.cos(), common)
    query[pairs + len(query) // 2] = strength * torch.outer(angles.sin(), common)


def _slow_and_fast(model: Any) -> tuple[Tensor, Tensor]:
    """Dimensions of a head that turn slowly, and those that turn fast, of these the first of each pair."""
    frequencies = _frequencies(model)
    return (frequencies * _FAR < 1).repeat(2).nonzero().flatten(), (frequencies * _FAR >= 1).nonzero().flatten()


def _frequencies(model: Any) -> Tensor:
    """By how much each pair of dimensions turns from one token to the next."""
    half = model.config.head_dim // 2
    frequencies: Tensor = model.config.rope_parameters["rope_theta"] ** (-torch.arange(half) / half)
    return frequencies
