"""Keys and values in few bits, as KIVI stores them (arXiv 2402.02750): keys by channel, values by token, each group with its own scale and zero.

Channels of keys differ in size far more than tokens do, and values the other way round; so a group of keys is one channel over `group` tokens, and a
group of values is one token over `group` channels. Numbers are rounded to 2^bits steps between the least and the largest of their group.

Heads of a layer may be stored in unlike bits, each kind in a part of its own, side by side (UNComp, arXiv 2410.03090, has budgets by head).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mnemos.activation.parts import Bytes, Dense, Marks, Part, gather, product, register, size_of
from mnemos.activation.planning import WIDTHS, Grid
from mnemos.activation.trellis import codes_of, levels, top
from mnemos.activation.view import View
from mnemos.base.errors import Invalid

COARSE = 3
"""Bits up to which a trellis is worth the time that it takes to choose codes; more lose nothing to speak of."""


@dataclass(frozen=True)
class Packed:
    """A tensor [..., n] in groups along its last axis: `codes` uint8 [..., groups, group · bits / 8], `scale` and `zero` [..., groups] float16. The
    last group is filled up with copies of its last number; `length` says where the tensor ends. `trellis`: codes say which of twice as many levels,
    together with those before them in their group (`trellis`)."""

    codes: Tensor
    scale: Tensor
    zero: Tensor
    bits: int
    length: int
    dtype: torch.dtype
    trellis: bool = False

    @classmethod
    def of(cls, tensor: Tensor, bits: int, group: int, trellis: bool = False) -> Packed:
        """Rounds to the nearest of 2^bits steps, or of levels as near as a trellis has. Half precision holds scale and zero; codes are chosen for
        them as stored."""
        length = tensor.shape[-1]
        if fill := -length % group:
            tensor = torch.cat([tensor, tensor[..., -1:].expand(*tensor.shape[:-1], fill)], -1)
        groups = tensor.float().unflatten(-1, (-1, group))
        least, largest = groups.amin(-1), groups.amax(-1)
        most = top(bits) if trellis else 2**bits - 1
        scale = ((largest - least) / most).clamp_min(1e-6).to(torch.float16)
        zero = least.to(torch.float16)
        steps = (groups - zero.float().unsqueeze(-1)) / scale.float().unsqueeze(-1)
        codes = codes_of(steps, bits) if trellis else steps.round().clamp(0, most).int()
        return cls(_packed(codes, bits), scale, zero, bits, length, tensor.dtype, trellis)

    def tensor(self) -> Tensor:
        """[..., n] as the codes say."""
        codes = _unpacked(self.codes, self.bits)
        values = (levels(codes) if self.trellis else codes) * self.scale.float().unsqueeze(-1) + self.zero.float().unsqueeze(-1)
        return values.flatten(-2)[..., : self.length].to(self.dtype)

    @property
    def full(self) -> bool:
        """Whether the last group is whole, so that others can follow."""
        return bool(self.length == self.codes.shape[-2] * self.codes.shape[-1] * 8 // self.bits)

    def tensors(self) -> dict[str, Tensor]:
        """What takes room."""
        return {"codes": self.codes, "scale": self.scale, "zero": self.zero}

    def having(self, tensors: Mapping[str, Tensor], length: int | None = None) -> Packed:
        """The same with other tensors, as `tensors` names them."""
        its = tensors["codes"], tensors["scale"], tensors["zero"]
        return Packed(its[0], its[1], its[2], self.bits, self.length if length is None else length, self.dtype, self.trellis)

    def then(self, other: Packed, axis: int) -> Packed:
        """Both, one after the other along an axis of the tensor; along the last one where this one is `full`."""
        mine, its = self.tensors(), other.tensors()
        if axis != -1:
            return self.having({name: torch.cat([mine[name], its[name]], axis) for name in mine})
        groups = {name: torch.cat([mine[name], its[name]], -2 if name == "codes" else -1) for name in mine}
        return self.having(groups, self.length + other.length)

    def rows(self, index: Tensor) -> Packed:
        """These places along the first axis."""
        return self.having({name: tensor.index_select(0, index) for name, tensor in self.tensors().items()})


def _packed(codes: Tensor, bits: int) -> Tensor:
    """int32 [..., n], each under 2^bits → uint8 [..., n · bits / 8]: one after the other, the first in the lowest bits; of 3 bits
    eight in three bytes."""
    words = (codes.unflatten(-1, (-1, _in_word(bits))) << _shifts(bits, codes.device)).sum(-1, dtype=torch.int32)
    return torch.stack([words >> start for start in range(0, bits * _in_word(bits), 8)], -1).bitwise_and_(255).flatten(-2).to(torch.uint8)


def _unpacked(packed: Tensor, bits: int) -> Tensor:
    """Undoes `_packed`: int32 [..., n]."""
    its = packed.int().unflatten(-1, (-1, bits * _in_word(bits) // 8))
    words = its[..., 0]
    for place in range(1, its.shape[-1]):
        words = words | (its[..., place] << 8 * place)
    return ((words.unsqueeze(-1) >> _shifts(bits, packed.device)) & (2**bits - 1)).flatten(-2)


def _in_word(bits: int) -> int:
    """Codes that fill whole bytes together."""
    return 8 if 8 % bits else 8 // bits


def _shifts(bits: int, device: torch.device) -> Tensor:
    return torch.arange(0, bits * _in_word(bits), bits, dtype=torch.int32, device=device)


class Quantised:
    """A part in few bits: keys packed as [B, h, d, n], values as [B, h, n, d]."""

    kind = "quantised"

    def __init__(self, keys: Packed, values: Packed, positions: Tensor, heads: tuple[int, ...], marks: Marks, group: int) -> None:
        self.keys, self.values, self.positions, self.heads, self.marks, self.group = keys, values, positions, heads, marks, group

    @classmethod
    def of(cls, part: Part, bits: int, group: int, trellis: bool = False) -> Quantised:
        """A part of any form, rounded. Of each head the tokens come first, places without one after them, as copies of the last token: so groups are
        those of a part that has no such places."""
        keys, values = part.dense()
        positions, marks = part.positions, part.marks
        if bool((positions < 0).any()):
            there = positions.expand(-1, len(part.heads), -1) >= 0
            order = (~there).int().argsort(dim=-1, stable=True)
            counts = there.sum(-1, keepdim=True)
            last = order.gather(-1, (counts - 1).clamp_min(0))
            filled = torch.where(torch.arange(part.length, device=order.device) < counts, order, last)
            keys, values = gather(keys, filled), gather(values, filled)
            positions, marks = gather(positions, order), {name: gather(mark, order) for name, mark in marks.items()}
        narrow = min(group, -(-values.shape[-1] // 8) * 8)
        packed = Packed.of(keys.transpose(-1, -2), bits, group, trellis), Packed.of(values, bits, narrow, trellis)
        return cls(*packed, positions, part.heads, marks, group)

    @property
    def length(self) -> int:
        return self.keys.length

    def open(self, queries: Tensor, scaling: float) -> Part:
        return self

    def logits(self, queries: Tensor) -> Tensor:
        return product(queries, self.keys.tensor())

    def mix(self, weights: Tensor) -> Tensor:
        values = self.values.tensor()
        return product(weights.to(values.dtype), values)

    def dense(self) -> tuple[Tensor, Tensor]:
        return self.keys.tensor().transpose(-1, -2), self.values.tensor()

    def nbytes(self) -> Bytes:
        return Bytes(size_of(*self.keys.tensors().values(), *self.values.tensors().values(), self.positions, *self.marks.values()))

    def rows(self, index: Tensor) -> Quantised:
        marks = {name: mark.index_select(0, index) for name, mark in self.marks.items()}
        positions = self.positions.index_select(0, index)
        return Quantised(self.keys.rows(index), self.values.rows(index), positions, self.heads, marks, self.group)

    def join(self, other: Part) -> Part | None:
        """This part with another of its form after it; None where its last group of keys is not whole, so that nothing can follow."""
        if not isinstance(other, Quantised) or not self.keys.full:
            return None
        heads = len(self.heads)
        positions = torch.cat([self.positions.expand(-1, heads, -1), other.positions.expand(-1, heads, -1)], 2)
        marks = {name: torch.cat([mark, other.marks[name]], 2) for name, mark in self.marks.items()}
        return Quantised(self.keys.then(other.keys, -1), self.values.then(other.values, 2), positions, self.heads, marks, self.group)

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        plain = {"heads": list(self.heads), "group": self.group, "bits": self.keys.bits, "dtype": str(self.keys.dtype).removeprefix("torch."),
                 "lengths": [self.keys.length, self.values.length], "trellis": self.keys.trellis}  # fmt: skip
        tensors = {"positions": self.positions, **{f"mark.{name}": mark for name, mark in self.marks.items()}}
        for which, packed in (("keys", self.keys), ("values", self.values)):
            tensors |= {f"{which}.{name}": tensor for name, tensor in packed.tensors().items()}
        return plain, tensors


def _load(plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Quantised:
    def packed(which: str, length: int) -> Packed:
        codes, scale, zero = (tensors[f"{which}.{name}"] for name in ("codes", "scale", "zero"))
        return Packed(codes, scale, zero, plain["bits"], length, getattr(torch, plain["dtype"]), plain.get("trellis", False))

    keys, values = packed("keys", plain["lengths"][0]), packed("values", plain["lengths"][1])
    marks = {name.removeprefix("mark."): tensor for name, tensor in tensors.items() if name.startswith("mark.")}
    return Quantised(keys, values, tensors["positions"], tuple(plain["heads"]), marks, plain["group"])


register(Quantised.kind, _load)


@dataclass(frozen=True)
class Quantise:
    """The codec: `bits` of 2, 3, 4 or 8 for each number, or, as a plan has them (`planning.bits_of`), for those of each head, [layers][key-value
    heads]; in groups of `group` (a multiple of 8). `trellis`: codes of up to `COARSE` bits are chosen along a trellis, which loses less; without it
    each number by itself, as in the paper. Raises `Invalid` for other bits and groups, and where a plan is of another model."""

    bits: int | Grid = 2
    group: int = 32
    trellis: bool = True
    query_window = 0

    def __post_init__(self) -> None:
        if not self._widths <= set(WIDTHS) or not self._widths or self.group < 8 or self.group % 8:
            widths = ", ".join(map(str, WIDTHS))
            raise Invalid(f"numbers are stored in {widths} bits, in groups of a multiple of 8, not in {self.bits} bits and groups of {self.group}")

    @property
    def _widths(self) -> set[int]:
        return {self.bits} if isinstance(self.bits, int) else {width for its in self.bits for width in its}

    @property
    def name(self) -> str:
        """With its bits, the fewest and the most where heads differ."""
        return "kivi" + "-".join(str(width) for width in sorted({min(self._widths), max(self._widths)}))

    def describe(self) -> dict[str, Any]:
        """Plain values that say what it does."""
        bits = self.bits if isinstance(self.bits, int) else [list(its) for its in self.bits]
        said = {"name": self.name, "bits": bits, "group": self.group}
        return {**said, "trellis": True} if self.trellis and min(self._widths) <= COARSE else said

    def encode(self, part: Part, view: View) -> Sequence[Part]:
        if isinstance(self.bits, int):
            return [self._rounded(part, self.bits)]
        bits = self._of_layer(self.bits, view)
        mine = [bits[head] for head in part.heads]
        if len(set(mine)) == 1:
            return [self._rounded(part, mine[0])]
        some = getattr(part, "of_heads", None) or Dense(*part.dense(), part.positions, part.heads, part.marks).of_heads
        return [self._rounded(some([at for at, its in enumerate(mine) if its == width]), width) for width in sorted(set(mine), reverse=True)]

    def _rounded(self, part: Part, bits: int) -> Part:
        if (within := getattr(part, "within", None)) is not None:  # of keys that have few channels, those are rounded
            its: Part = within(lambda inner: self._of(inner, bits))
            return its
        return self._of(part, bits)

    def _of(self, part: Part, bits: int) -> Quantised:
        return Quantised.of(part, bits, self.group, self.trellis and bits <= COARSE)

    @staticmethod
    def _of_layer(grid: Grid, view: View) -> Sequence[int]:
        """For each head that the layer has."""
        number, left = view.layer.number, view.layer.policy.left(view.layer.number)
        bits = grid[number] if number < len(grid) else ()
        if left is not None and len(bits) > max(left.heads):
            bits = tuple(bits[head] for head in left.heads)
        if len(bits) != view.heads:
            shape = f"{len(grid)} layers of {len(grid[0])} key-value heads"
            raise Invalid(f"the bits are planned for {shape}, and layer {number} of the model has {view.heads}: plan for this model")
        return bits
