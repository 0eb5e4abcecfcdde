"""Memory tokens of a model: their embedding, and projections of their own in each layer (MemoRAG, arXiv 2409.05591, equation 4).

They join a model by hooks on its modules and leave it by `remove`; its weights, its state dict and the library stay as they are.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, DynamicLayer

from mnemos.activation.beacon.layout import Layout
from mnemos.activation.beacon.memory import BeaconMemory
from mnemos.activation.beacon.windows import RATIOS, Windows, smallest_ratio
from mnemos.activation.memory import ATTENTION
from mnemos.activation.rotary import Rotary, sources
from mnemos.base.errors import Invalid

INPUTS = ("q_proj", "k_proj", "v_proj", "qkv_proj", "query_key_value", "W_pack")
OUTPUTS = ("o_proj", "dense", "out_proj")
"""What attention modules call the projections that make queries, keys and values, and the one after them."""


class Beacons(nn.Module):
    """`embedding` [width], and in `projections`, by the layer's number and the projection's name, what begins as copies of the model's own. In
    `adapted` there may be such copies for ordinary tokens: they stand in for the model's own where a memory that compresses is read with, and
    nowhere else.

    Everything here is trained, saved and moved by itself (`parameters()`); nothing of it is part of the model.
    """

    def __init__(self, model: Any, output: bool = True, adapted: bool = False) -> None:
        """Joins a model (`…ForCausalLM`). `output`: whether memory tokens have a projection of their own after attention, too; `adapted`: whether
        ordinary tokens have projections of their own, too. Raises `Invalid` for models with beacons already, with layers of limited sight, without
        known projections, or whose positions are no rotation."""
        super().__init__()
        if _has_beacons(model):
            raise Invalid("this model has memory tokens already: remove() those first")
        config = model.config.get_text_config(decoder=True)
        if any(type(layer) is not DynamicLayer for layer in DynamicCache(config=model.config).layers):
            raise Invalid(f"{type(model).__name__} has layers that see only so far, or keep no keys: memory tokens need layers that see everything")
        rotations = sources(model)
        if any(source.changing for source in rotations):
            raise Invalid(f"{type(model).__name__} changes the rotation of its keys as texts grow: memory tokens need fixed frequencies")
        device = model.get_input_embeddings().weight.device
        self._rotations = [_unscaled(source.rotary(device)) for source in rotations]
        self._model = [model]  # in a list: no part of this module
        self._before = model.config._attn_implementation
        self._positions = getattr(config, "max_position_embeddings", None)
        self._now = threading.local()
        ends = config.eos_token_id if config.eos_token_id is not None else config.bos_token_id
        first = ends[0] if isinstance(ends, (list, tuple)) else ends
        self.embedding = nn.Parameter(model.get_input_embeddings().weight[0 if first is None else first].detach().float().clone())
        self.projections, self.adapted = nn.ModuleDict(), nn.ModuleDict()
        self._hooks: list[Any] = []
        found = _attentions(model)
        if len(found) != config.num_hidden_layers:
            raise Invalid(f"{len(found)} of {config.num_hidden_layers} layers of {type(model).__name__} have projections that are known here: memory "
                          f"tokens need layers with {', '.join(INPUTS)}")  # fmt: skip
        for number, attention in enumerate(found):
            for name in (*INPUTS, *(OUTPUTS if output else ())):
                if isinstance(module := getattr(attention, name, None), nn.Linear):
                    self.projections[f"{number}_{name}"] = own = _copy(module)
                    if adapted:
                        self.adapted[f"{number}_{name}"] = _copy(module)
                    others = self.adapted[f"{number}_{name}"] if adapted else None
                    self._hooks.append(module.register_forward_hook(self._projected(own, others)))
        base = model.base_model
        self._hooks.append(base.register_forward_pre_hook(self._enter, with_kwargs=True))
        self._hooks.append(base.register_forward_hook(self._leave, with_kwargs=True, always_call=True))
        if self._before != ATTENTION:
            model.set_attn_implementation(ATTENTION)

    @property
    def model(self) -> Any:
        """The model that they have joined."""
        return self._model[0]

    def remove(self) -> None:
        """Leaves the model as it was. Memories made before cannot go on."""
        for hook in self._hooks:
            hook.remove()
        if self._hooks and self.model.config._attn_implementation == ATTENTION and self._before != ATTENTION:
            self.model.set_attn_implementation(self._before)
        self._hooks = []

    def fitting(self, tokens: int | Sequence[int], windows: Windows | None = None, ratios: Sequence[int] = RATIOS) -> Windows:
        """The same windows, of the smallest ratio by which so many tokens, or documents of so many, leave room for a question in the model's
        positions (`smallest_ratio`); None, so that nothing is lost, where they fit as they are. Raises `Invalid` where none suffices."""
        windows = windows or Windows()
        if self._positions is None:
            raise Invalid(f"{type(self.model).__name__} does not say how many positions it was made for: give a ratio")
        return replace(windows, ratio=smallest_ratio(tokens, self._positions, windows.size, ratios, windows.sinks))

    def memory(self, windows: Windows | None = None) -> BeaconMemory:
        """An empty memory. Raises `Invalid` after `remove`."""
        if not self._hooks:
            raise Invalid("these memory tokens have left their model: make new ones (Beacons(model)), and load their weights")
        return BeaconMemory(windows or Windows(), self._rotations, self._positions)

    def close(self, memory: BeaconMemory) -> None:
        """Makes memory of windows that are begun and not full, with ⌈tokens / ratio⌉ memory tokens each: what is read next begins a window."""
        if any(cursor.filled for cursor in memory.cursors) and not memory.close_without_reading():
            self._now.closing = True
            try:
                nothing = torch.zeros(len(memory.cursors), 0, dtype=torch.long, device=self.embedding.device)
                self.model.base_model(input_ids=nothing, cache=memory, use_cache=True)
            finally:
                self._now.closing = False

    # Hooks

    def _enter(self, base: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Before the model reads: puts memory tokens among what is given."""
        self._now.layout = None
        memory = next((value for value in kwargs.values() if isinstance(value, BeaconMemory)), None)
        if memory is None:
            return None
        ids, embeds = kwargs.get("input_ids", args[0] if args else None), kwargs.get("inputs_embeds")
        if embeds is None:
            embeds = base.get_input_embeddings()(ids)
        rows, given = embeds.shape[:2]
        layout = memory.begin(rows, _real(kwargs.get("attention_mask"), rows, given), embeds.device, getattr(self._now, "closing", False))
        source = layout.source.expand(rows, -1)
        if given:
            index = source.clamp_min(0).unsqueeze(-1).expand(-1, -1, embeds.shape[-1])
            slots = embeds.gather(1, index)
        else:
            slots = embeds.new_zeros(rows, layout.count, embeds.shape[-1])
        if layout.memory_places is not None:
            own = self.embedding.to(slots.dtype).expand(len(layout.memory_places[0]), -1)
            slots = slots.index_put(layout.memory_places, own)
        self._now.layout, self._now.memory, self._now.given = layout, memory, given
        zeros = torch.zeros(1, layout.count, dtype=torch.long, device=slots.device)
        return (), {**kwargs, "input_ids": None, "inputs_embeds": slots, "position_ids": zeros, "attention_mask": None}

    def _leave(self, base: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """After the model has read: takes memory tokens out of what it gives."""
        layout: Layout | None = getattr(self._now, "layout", None)
        if layout is None:
            return None
        memory, given = self._now.memory, self._now.given
        self._now.layout = self._now.memory = None
        if output is None:
            memory.fail()
            return None
        memory.finish(given)
        places = _places(layout, given)

        def taken(states: Tensor) -> Tensor:
            return states.gather(1, places.unsqueeze(-1).expand(len(states), -1, states.shape[-1]))

        output.last_hidden_state = taken(output.last_hidden_state)
        if getattr(output, "hidden_states", None) is not None:
            output.hidden_states = tuple(taken(states) for states in output.hidden_states)
        return output

    def _projected(self, own: nn.Linear, others: Any) -> Any:
        """A hook on a projection: memory tokens go through theirs, and ordinary tokens through `others`, where there are such."""

        def hook(module: Any, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
            layout: Layout | None = getattr(self._now, "layout", None)
            if layout is None:
                return None
            if others is not None and layout.windows.compresses:
                output = others(args[0])
            if layout.memory_places is None:
                return output
            return output.index_put(layout.memory_places, own(args[0][layout.memory_places]).to(output.dtype))

        hook.beacons = True  # type: ignore[attr-defined]
        return hook


def _copy(module: nn.Linear) -> nn.Linear:
    own = nn.Linear(module.in_features, module.out_features, module.bias is not None, device=module.weight.device, dtype=module.weight.dtype)
    own.load_state_dict(module.state_dict())
    return own


def _attentions(model: Any) -> list[Any]:
    """The modules that have projections, in the order of their layers."""
    return [module for module in model.base_model.modules() if any(isinstance(getattr(module, name, None), nn.Linear) for name in INPUTS)]


def _has_beacons(model: Any) -> bool:
    return any(getattr(hook, "beacons", False) for module in _projections(model) for hook in module._forward_hooks.values())


def _projections(model: Any) -> Iterator[Any]:
    for attention in _attentions(model):
        yield from (module for name in INPUTS if isinstance(module := getattr(attention, name, None), nn.Linear))


def _unscaled(rotary: Rotary) -> Rotary:
    """The same rotation without its stretch, which the model has already done where it turned by nothing."""
    return Rotary(rotary.layout, rotary.frequencies, torch.ones_like(rotary.scaling))


def _real(mask: Any, rows: int, given: int) -> list[range] | list[list[int]]:
    """For each row, the places of its tokens among those given. Raises `Invalid` for masks of other forms than [B, n]."""
    if mask is None:
        return [range(given)] * rows
    if not isinstance(mask, Tensor) or mask.dim() != 2:
        raise Invalid("a BeaconMemory takes attention_mask as [B, n], which says what is padding: it makes its own masks of what may be seen")
    mine = mask[:, mask.shape[1] - given :].bool()
    if bool(mine.all()):
        return [range(given)] * rows
    return [row.nonzero().flatten().tolist() for row in mine]


def _places(layout: Layout, given: int) -> Tensor:
    """[B or 1, given]: the slot of each place that was given; of padding, any."""
    source = layout.source
    out = torch.zeros(len(source), given + 1, dtype=torch.long, device=source.device)
    slots = torch.arange(layout.count, device=source.device).expand(len(source), -1)
    out.scatter_(1, torch.where(source < 0, given, source), slots)
    return out[:, :given]
