"""MemoRAG's reading window by window, written out for one sequence and a Llama: slow, and without anything that the package computes."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from mnemos.activation.beacon.beacons import Beacons
from mnemos.activation.beacon.windows import Windows

Slot = tuple[str, int]
"""("raw", place in the window), or ("memory", which of the window's)."""


def logits(model: LlamaForCausalLM, beacons: Beacons, windows: Windows, ids: list[int]) -> tuple[Tensor, int]:
    """[n, V] after each token, and how many positions are kept in the end. Memory tokens come when a window is full, but for eager ones."""
    kept: list[list[tuple[Tensor, Tensor]]] = [[] for _ in model.model.layers]
    out, at, number = [], 0, 0
    while at < len(ids):
        size, ratio = windows.size_of(number), windows.ratio_of(number)
        piece = ids[at : at + size]
        slots = _slots(piece, size, ratio, windows)
        base = len(kept[0])
        places = [_position(slot, base, ratio, windows, len(piece)) for slot in slots]
        states = torch.stack([model.model.embed_tokens.weight[piece[slot[1]]] if slot[0] == "raw" else beacons.embedding for slot in slots])
        for layer_number, layer in enumerate(model.model.layers):
            states, keys, values = _layer(model, beacons, layer_number, layer, states, slots, places, kept[layer_number], ratio, windows, len(piece))
            if len(piece) == size:
                wanted = "raw" if ratio is None else "memory"
                chosen = [n for n, slot in enumerate(slots) if slot[0] == wanted]
                kept[layer_number] = kept[layer_number] + [(keys[:, n], values[:, n]) for n in chosen]
        final = model.lm_head(model.model.norm(states))
        out += [final[n] for n, slot in enumerate(slots) if slot[0] == "raw"]
        left = 0 if len(piece) == size else len(slots)
        at, number = at + size, number + 1
    return torch.stack(out), len(kept[0]) + left


def _slots(piece: list[int], size: int, ratio: int | None, windows: Windows) -> list[Slot]:
    raw: list[Slot] = [("raw", place) for place in range(len(piece))]
    if ratio is None:
        return raw
    if windows.eager:
        return [slot for place in range(len(piece)) for slot in [raw[place], *([("memory", place // ratio)] if (place + 1) % ratio == 0 else [])]]
    return [*raw, *(("memory", j) for j in range(size // ratio))] if len(piece) == size else raw


def _position(slot: Slot, base: int, ratio: int | None, windows: Windows, length: int) -> int:
    kind, number = slot
    if kind == "raw":
        return base + number + (number // ratio if windows.eager and ratio else 0)
    assert ratio is not None
    if windows.place == "appended":
        return base + length + number
    return base + (number + 1) * ratio + (number if windows.eager else 0)


def _sees(asking: Slot, other: Slot, ratio: int | None, windows: Windows) -> bool:
    """Whether a slot sees another of its window."""
    if asking[0] == "raw":
        if other[0] == "raw":
            return other[1] <= asking[1]
        return windows.eager and ratio is not None and (other[1] + 1) * ratio <= asking[1]
    assert ratio is not None
    if other[0] == "memory":
        return other[1] == asking[1] or (not windows.blind and other[1] < asking[1])
    begin, end = asking[1] * ratio, (asking[1] + 1) * ratio
    if windows.place == "appended" and windows.coverage == "full":
        return True
    return (begin if windows.coverage == "segment" else 0) <= other[1] < end


def _layer(model: LlamaForCausalLM, beacons: Beacons, number: int, layer: torch.nn.Module, states: Tensor, slots: list[Slot], places: list[int],
           kept: list[tuple[Tensor, Tensor]], ratio: int | None, windows: Windows, length: int) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    config, attention = model.config, layer.self_attn
    normed = layer.input_layernorm(states)

    def projected(name: str, given: Tensor) -> Tensor:
        own = beacons.projections[f"{number}_{name}"]
        return torch.stack([(own if slot[0] == "memory" else getattr(attention, name))(row) for slot, row in zip(slots, given, strict=True)])

    size = config.hidden_size // config.num_attention_heads
    queries, keys, values = (projected(name, normed).reshape(len(slots), -1, size).transpose(0, 1) for name in ("q_proj", "k_proj", "v_proj"))
    all_keys = torch.cat([torch.stack([key for key, _ in kept], 1), keys], 1) if kept else keys
    all_values = torch.cat([torch.stack([value for _, value in kept], 1), values], 1) if kept else values
    queries, all_keys = _turned(model, queries, places), _turned(model, all_keys, [*range(len(kept)), *places])
    group = config.num_attention_heads // config.num_key_value_heads
    seen = torch.tensor([[True] * len(kept) + [_sees(slot, other, ratio, windows) for other in slots] for slot in slots])
    heads = []
    for head in range(config.num_attention_heads):
        scores = (queries[head] @ all_keys[head // group].T) / size**0.5
        heads.append(scores.masked_fill(~seen, float("-inf")).softmax(-1) @ all_values[head // group])
    states = states + projected("o_proj", torch.cat(heads, -1))
    return states + layer.mlp(layer.post_attention_layernorm(states)), keys, values


def _turned(model: LlamaForCausalLM, given: Tensor, places: list[int]) -> Tensor:
    cosines, sines = model.model.rotary_emb(given, torch.tensor([places]))
    turned, _ = apply_rotary_pos_emb(given[None], given[None], cosines, sines)
    return turned[0]
