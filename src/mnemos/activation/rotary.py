"""Rotary position embeddings (RoPE, arXiv 2104.09864) of any model: turn keys to a position, and turn them back.

A model rotates pairs of a key's components by position × inverse frequency before the cache sees them. Pre-rotation keys are what is of low rank
(ShadowKV), and what can be put at another position (landmarks, merged fragments). Which components a layer rotates, how they are paired and by which
frequencies is not read from names, but found out: a single token attends to itself alone, so that its keys in all layers differ between positions by
nothing but the rotation, and `Rotaries.of` accepts only a rotation that explains them.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from mnemos.base.errors import Invalid

CHANGING = ("dynamic", "longrope")
"""Types of RoPE whose frequencies depend on how long the sequence is."""


@dataclass(frozen=True)
class Layout:
    """Which components are rotated: `size` of them from `start` on, paired as neighbours (`interleaved`) or as first and second half."""

    start: int
    size: int
    interleaved: bool


@dataclass(frozen=True)
class Rotary:
    """A rotation by position. `frequencies` [e, size / 2] float32, one row for each set of frequencies that was in force while the sequence grew;
    `scaling` [e] float32, by which the rotated components are stretched. Without rows nothing is rotated."""

    layout: Layout
    frequencies: Tensor
    scaling: Tensor

    @classmethod
    def identity(cls, device: torch.device | str = "cpu") -> Rotary:
        """Of layers that know no positions."""
        return cls(Layout(0, 0, False), torch.zeros(0, 0, device=device), torch.zeros(0, device=device))

    @classmethod
    def default(cls, head_dim: int, theta: float = 10000.0, interleaved: bool = False) -> Rotary:
        """The plain one: all components, frequencies theta^(−2i / head_dim)."""
        frequencies = 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
        return cls(Layout(0, head_dim, interleaved), frequencies[None], torch.ones(1))

    @property
    def rotates(self) -> bool:
        """Whether it changes anything."""
        return self.layout.size > 0

    @cached_property
    def _stretches(self) -> bool:
        return bool((self.scaling != 1).any())

    def rotate(self, states: Tensor, positions: Tensor, sets: Tensor | None = None) -> Tensor:
        """States [..., d] at integer positions [...], rotated as the model does it; `sets` [...] says which row of frequencies each token was
        rotated by, None: the first."""
        return self._turned(states, positions, sets, back=False)

    def unrotate(self, states: Tensor, positions: Tensor, sets: Tensor | None = None) -> Tensor:
        """Undoes `rotate`."""
        return self._turned(states, positions, sets, back=True)

    def _turned(self, states: Tensor, positions: Tensor, sets: Tensor | None, back: bool) -> Tensor:
        if not self.rotates:
            return states
        which = 0 if sets is None or len(self.frequencies) == 1 else sets.long()
        angles = positions.unsqueeze(-1).float() * self.frequencies[which]
        cosines, sines = angles.cos(), angles.sin()
        if self._stretches:
            scaling = self.scaling[which].unsqueeze(-1) if isinstance(which, Tensor) else self.scaling[0]
            stretch = 1 / scaling if back else scaling
            cosines, sines = cosines * stretch, sines * stretch
        if back:
            sines = -sines
        start, stop = self.layout.start, self.layout.start + self.layout.size
        own = states[..., start:stop]
        if self.layout.interleaved:
            first, second = own[..., 0::2], own[..., 1::2]
        else:
            first, second = own[..., : self.layout.size // 2], own[..., self.layout.size // 2 :]
        turned = first * cosines - second * sines, second * cosines + first * sines
        out = torch.stack(turned, -1).flatten(-2) if self.layout.interleaved else torch.cat(turned, -1)
        if self.layout.size == states.shape[-1]:
            return out.to(states.dtype)
        return torch.cat([states[..., :start], out.to(states.dtype), states[..., stop:]], -1)

    def with_set(self, frequencies: Tensor, scaling: float) -> Rotary:
        """With one more row of frequencies."""
        more = self.scaling.new_tensor([scaling])
        return replace(self, frequencies=torch.cat([self.frequencies, frequencies[None]]), scaling=torch.cat([self.scaling, more]))

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Plain values, and tensors."""
        layout = {"start": self.layout.start, "size": self.layout.size, "interleaved": self.layout.interleaved}
        return layout, {"frequencies": self.frequencies, "scaling": self.scaling}

    @classmethod
    def from_state(cls, plain: dict[str, Any], tensors: dict[str, Tensor]) -> Rotary:
        """Undoes `state`."""
        return cls(Layout(plain["start"], plain["size"], plain["interleaved"]), tensors["frequencies"], tensors["scaling"])


@dataclass(frozen=True)
class Source:
    """Where a layer's rotation is read: a buffer of the model's rotary module, which a weak reference names. Types of RoPE that change their
    frequencies as a sequence grows have other values in it later."""

    module: weakref.ref[Any] | None
    prefix: str
    layout: Layout

    @property
    def changing(self) -> bool:
        """Whether the frequencies may change while a sequence is read."""
        kind = getattr(self._module(), "rope_type", "") if self.module is not None else ""
        kind = kind.get(self.prefix.rstrip("_"), "") if isinstance(kind, dict) else kind
        return any(name in str(kind) for name in CHANGING)

    def now(self, device: torch.device | str) -> tuple[Tensor, float]:
        """The frequencies [size / 2] float32 that the model rotates by, and the scaling, as of its last forward pass."""
        module = self._module()
        scaling = float(getattr(module, f"{self.prefix}attention_scaling", getattr(module, "attention_scaling", 1.0)))
        return getattr(module, f"{self.prefix}inv_freq").detach().to(device, torch.float32, copy=True), scaling

    def rotary(self, device: torch.device | str) -> Rotary:
        """The rotation as of now."""
        if self.module is None:
            return Rotary.identity(device)
        frequencies, scaling = self.now(device)
        return Rotary(self.layout, frequencies[None], torch.tensor([scaling], device=device))

    def _module(self) -> Any:
        module = None if self.module is None else self.module()
        if module is None:
            raise Invalid("the model whose rotary embedding this memory uses is gone: keep the model as long as its memories")
        return module


NOWHERE = Source(None, "", Layout(0, 0, False))
"""Of a layer that does not rotate."""


class _Listener(DynamicCache):
    """Hears the keys of each layer."""

    def __init__(self, config: Any) -> None:
        super().__init__(config=config)
        self.heard: dict[int, Tensor] = {}

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> Any:
        self.heard[layer_idx] = key_states.detach()
        return super().update(key_states, value_states, layer_idx, *args, **kwargs)


def sources(model: Any) -> list[Source]:
    """How each layer of a model rotates its keys, the rotations found by reading one token at a few positions. Raises `Invalid` where a layer's
    keys depend on positions by no rotation that the model's rotary modules have."""
    found = _buffers(model)
    config = model.config.get_text_config(decoder=True)
    if not found:
        return [NOWHERE] * config.num_hidden_layers
    places = torch.tensor([0, 1, 7, max(8, min(200, int(getattr(config, "max_position_embeddings", 201)) - 1))])
    listener = _Listener(model.config)
    embeddings = model.get_input_embeddings().weight.detach()
    device = embeddings.device
    token = int(embeddings[:64].float().norm(dim=-1).argmax())  # not one that pads, which may be all zeros
    ids = torch.full((len(places), 1), token, device=device)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
            model(input_ids=ids, position_ids=places[:, None].to(device), use_cache=True, **{name: listener})
    finally:
        model.train(was_training)
    return [
        _explained(listener.heard[number], places.to(device), found, number) if number in listener.heard else NOWHERE
        for number in range(config.num_hidden_layers)
    ]


def _buffers(model: Any) -> list[tuple[Any, str]]:
    """The modules that hold inverse frequencies, and what stands before "inv_freq" in the names of those."""
    found = []
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name.endswith("inv_freq") and not name.endswith("original_inv_freq") and buffer is not None:
                found.append((module, name.removesuffix("inv_freq")))
    return found


def _explained(keys: Tensor, places: Tensor, found: Sequence[tuple[Any, str]], number: int) -> Source:
    """The rotation by which keys [p, G, 1, d] of the same token differ between its places."""
    still, moved = keys[:1].float(), keys[1:].float()
    allowed = (0.03 if keys.dtype in (torch.float16, torch.bfloat16) else 1e-3) * max(1e-30, float(still.norm()) * len(moved) ** 0.5)
    if float((moved - still).norm()) <= 1e-3 * allowed:
        return NOWHERE
    best, least = NOWHERE, float((moved - still).norm())
    for module, prefix in found:
        size = 2 * int(getattr(module, f"{prefix}inv_freq").numel())
        for start in sorted({0, keys.shape[-1] - size}):
            for interleaved in (False, True):
                if not 0 <= start <= keys.shape[-1] - size:
                    continue
                source = Source(weakref.ref(module), prefix, Layout(start, size, interleaved))
                rotary = source.rotary(keys.device)
                plain = rotary.unrotate(still, torch.zeros_like(places[:1])[:, None, None])
                error = float((rotary.rotate(plain.expand_as(moved), places[1:, None, None]) - moved).norm())
                if error < least:
                    best, least = source, error
    if least > allowed:
        raise Invalid(f"the keys of layer {number} depend on positions by no rotation that the model's rotary embedding has: policies that turn keys "
                      "back cannot be used with this model; choose another policy")  # fmt: skip
    return best


def noted(source: Source, known: list[Any]) -> int:
    """The number, among those that are `known` (plain values of each, which are added to), of the frequencies that are in force now."""
    frequencies, scaling = source.now("cpu")
    now = [frequencies.tolist(), scaling]
    if not known or known[-1] != now:
        known.append(now)
    return len(known) - 1


def so_far(source: Source | None, known: Sequence[Any], device: torch.device | str) -> Rotary:
    """The rotation by all frequencies that are `known` to have been in force; by those of the source where none changed; None: none at all."""
    if source is None:
        return Rotary.identity(device)
    rotary = source.rotary(device)
    for number, (frequencies, scaling) in enumerate(known):
        its = torch.tensor(frequencies, device=device)
        rotary = rotary.with_set(its, scaling) if number else Rotary(rotary.layout, its[None], torch.tensor([scaling], device=device))
    return rotary
