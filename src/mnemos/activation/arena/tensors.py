"""Tensors over an arena's memory: torch views that keep the reservation, and never own it."""

from __future__ import annotations

from typing import Any

import torch

from mnemos.activation.arena.arena import Arena
from mnemos.activation.arena.backend import KIB, Backend
from mnemos.activation.arena.layout import ITEM_BYTES, Layout
from mnemos.activation.arena.span import Span
from mnemos.base.errors import Invalid

TORCH_TYPES = {name: getattr(torch, name) for name in ITEM_BYTES}
NAMES = {type_: name for name, type_ in TORCH_TYPES.items()}


def init(
    layers: int,
    kv_heads: int,
    head_dim: int,
    dtype: torch.dtype = torch.float32,
    max_batch: int = 1,
    max_ctx: int = 4096,
    page: int = 64 * KIB,
    megacache: bool = False,
    backend: Backend | None = None,
    **options: Any,
) -> tuple[Arena, list[tuple[torch.Tensor, torch.Tensor]]]:
    """An arena, and of each layer keys and values (max_batch, max_ctx, kv_heads, head_dim). `options` and errors are those of `Arena`."""
    arena = Arena(Layout(layers, kv_heads, head_dim, name_of(dtype), max_batch, max_ctx, page, megacache), backend, **options)
    return arena, [(tensor(arena, layer, 0), tensor(arena, layer, 1)) for layer in range(layers)]


def tensor(arena: Arena, layer: int, plane: int) -> torch.Tensor:
    """A layer's plane (0 keys, 1 values) of all slots: (max_batch, max_ctx, kv_heads, head_dim), strided, no copy.

    Rows up to `arena.lens[slot]` are there. Rows beyond it read as anything on a CPU, and must not be touched on a GPU. The view keeps the address
    space, also when the arena is gone. Raises `Invalid` where the backend has no memory behind its addresses.
    """
    offset, shape, strides = arena.layout.view(layer, plane)
    kind = TORCH_TYPES[arena.layout.dtype]
    flat = _bytes(arena).view(kind)
    return flat.as_strided(shape, strides, offset // arena.layout.item_bytes)


def name_of(dtype: torch.dtype) -> str:
    """Of a torch type in a layout. Raises `Invalid` where layouts do not know it."""
    if dtype not in NAMES:
        raise Invalid(f"an arena holds {', '.join(NAMES.values())}, not {dtype}")
    return NAMES[dtype]


def _bytes(arena: Arena) -> torch.Tensor:
    device = arena.capabilities.device
    if not arena.capabilities.addressable:
        raise Invalid(f"the backend {arena.backend.name} has no memory to look at")
    if device == "cpu":
        return torch.frombuffer(arena.span.buffer(), dtype=torch.uint8)
    return torch.as_tensor(CudaBytes(arena.span), device=device)


class CudaBytes:
    """A reservation of a GPU, as `torch.as_tensor` takes it. torch keeps this object, and with it the reservation, as long as it has a view."""

    def __init__(self, span: Span) -> None:
        self._span = span

    @property
    def __cuda_array_interface__(self) -> dict[str, object]:
        return {"shape": (self._span.nbytes,), "typestr": "|u1", "data": (self._span.base, False), "version": 3, "strides": None, "stream": None}
