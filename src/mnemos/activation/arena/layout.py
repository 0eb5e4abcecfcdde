"""Where keys and values lie: tensors, slots, tokens and pages, in bytes from the start of the reservation. Pure arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from mnemos.activation.arena.backend import KIB
from mnemos.base.errors import Invalid, shown

ITEM_BYTES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1, "int32": 4, "int16": 2, "int8": 1, "uint8": 1,
}
"""Bytes of an element by the name of its type in torch."""


@dataclass(frozen=True)
class Layout:
    """Virtual tensors of a cache (vAttention, sections 5.1 and 6.3.2).

    Of each layer there is one tensor (max_batch, max_ctx, kv_heads, head_dim) for each plane. With `megacache` there is one tensor
    (max_batch, max_ctx, layers, kv_heads, head_dim) for each plane, so that a page holds fewer tokens of all layers. Raises `Invalid` where a page
    is not a whole number of tokens.
    """

    layers: int
    kv_heads: int
    head_dim: int
    dtype: str = "float32"
    max_batch: int = 1
    """Slots: so many sequences at once."""
    max_ctx: int = 4096
    """Tokens of the longest sequence."""
    page: int = 64 * KIB
    """Bytes of a page group: what is mapped at once into one tensor. The paper: 64, 128 or 256 KiB, or 2 MiB."""
    megacache: bool = False
    planes: int = 2
    """Tensors of a layer: keys and values."""

    def __post_init__(self) -> None:
        for name in ("layers", "kv_heads", "head_dim", "max_batch", "max_ctx", "page", "planes"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise Invalid(f"{name} is a whole number of at least 1, not {shown(value)}")
        if self.dtype not in ITEM_BYTES:
            raise Invalid(f"dtype is one of {', '.join(ITEM_BYTES)}, not {shown(self.dtype)}")
        if self.page % self.row_bytes:
            raise Invalid(
                f"a page of {self.page:,} bytes is not a whole number of tokens of {self.row_bytes:,} bytes; the next size that is one: "
                f"{page_for(self.row_bytes, 1, self.page):,} (`page_for` finds one that suits the backend, too)"
            )

    @property
    def item_bytes(self) -> int:
        return ITEM_BYTES[self.dtype]

    @property
    def row_bytes(self) -> int:
        """Of one token in one tensor."""
        return (self.layers if self.megacache else 1) * self.kv_heads * self.head_dim * self.item_bytes

    @property
    def token_bytes(self) -> int:
        """Of one token in all tensors."""
        return self.row_bytes * self.tensors

    @property
    def tensors(self) -> int:
        return self.planes if self.megacache else self.planes * self.layers

    @property
    def tokens_per_page(self) -> int:
        return self.page // self.row_bytes

    @property
    def block_bytes(self) -> int:
        """Of a block: one page of each tensor. All tensors grow in lock-step, by blocks."""
        return self.page * self.tensors

    @property
    def blocks_per_slot(self) -> int:
        return self.needed(self.max_ctx)

    @property
    def slot_stride(self) -> int:
        """From a slot to the next in a tensor: whole pages, so that none straddles two sequences."""
        return self.blocks_per_slot * self.page

    @property
    def tensor_bytes(self) -> int:
        return self.max_batch * self.slot_stride

    @property
    def nbytes(self) -> int:
        """Address space of all tensors."""
        return self.tensors * self.tensor_bytes

    def needed(self, tokens: int) -> int:
        """Blocks that hold so many tokens."""
        return -(-tokens // self.tokens_per_page)

    def page_offset(self, tensor: int, slot: int, block: int) -> int:
        """Of a page, from the start of the reservation."""
        return tensor * self.tensor_bytes + slot * self.slot_stride + block * self.page

    def view(self, layer: int, plane: int) -> tuple[int, tuple[int, int, int, int], tuple[int, int, int, int]]:
        """Offset in bytes, shape (max_batch, max_ctx, kv_heads, head_dim), and strides in elements of a layer's plane."""
        if not (0 <= layer < self.layers and 0 <= plane < self.planes):
            raise Invalid(f"there are {self.layers} layers of {self.planes} planes, and none is layer {layer}, plane {plane}")
        heads = self.kv_heads * self.head_dim
        tensor, offset = (plane, layer * heads * self.item_bytes) if self.megacache else (layer * self.planes + plane, 0)
        strides = (self.slot_stride // self.item_bytes, self.row_bytes // self.item_bytes, self.head_dim, 1)
        return tensor * self.tensor_bytes + offset, (self.max_batch, self.max_ctx, self.kv_heads, self.head_dim), strides

    def within(self, nbytes: int) -> Layout:
        """The same with as many slots as `nbytes` of address space hold. Raises `Invalid` where that is not one."""
        slots = nbytes // (self.tensors * self.slot_stride)
        if slots < 1:
            raise Invalid(f"a slot takes {self.tensors * self.slot_stride:,} bytes of address space, and there are {nbytes:,}; lower max_ctx")
        return replace(self, max_batch=min(self.max_batch, slots))


def page_for(row_bytes: int, granularity: int, at_least: int = 64 * KIB) -> int:
    """The smallest page of at least `at_least` bytes that is a whole number of rows, and of the backend's `granularity`."""
    unit = math.lcm(row_bytes, granularity)
    return -(-at_least // unit) * unit
