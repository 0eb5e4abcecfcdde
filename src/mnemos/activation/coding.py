"""Numbers that are kept as they came or in few bits: the same handling of both, for what a policy keeps near of tokens that lie far.

Two forms of few bits. `Packed` has a scale and a zero for each group of numbers, and needs to know nothing of them. `Codes` takes a bit or two less
for each number: it is for numbers that `Frames` have brought to mean 0 and spread 1 channel by channel, once for hundreds of tokens, so that little
or nothing has to be kept beside the codes of one token (scales by channel, as KIVI, arXiv 2402.02750, has them for keys, of more tokens at once).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

from mnemos.activation.quantised import Packed
from mnemos.base.errors import Invalid

GROUP = 32
"""Numbers along the last axis of a `Packed` that share a scale and a zero, at most."""
BITS = (1, 2, 4, 8)
STEPS = {1: 1.596, 2: 0.996, 4: 0.335, 8: 0.04}
"""Distances of the levels by which normal numbers of spread 1 lose least (Max, Quantizing for minimum distortion, 1960); of 8 bits, wide enough for 5
spreads."""
OCTAVE = 8
"""Scales of codes are powers of 2^(1 / OCTAVE), so that a byte holds one."""
SMALLEST = 3 * OCTAVE
"""How much smaller a vector's scale may be than one by which no number is outside of the levels, in steps of scales: eight times."""
LEAST_SPREAD = 0.1
"""Of a channel that hardly changes, as a share of the spread of its vector: what is kept for it."""
SAME = 1e-4
"""The least spread of a channel, which is kept for it where all vectors are the same."""
ENOUGH = 256
"""Vectors after which a frame is not measured anew when others come, which begin another."""
NEVER = 2**31 - 1
"""Stands for where a frame begins that a row does not have."""


@dataclass(frozen=True)
class Codes:
    """A tensor […, n] of numbers around 0 of spread 1: `codes` uint8 […, ⌈n · bits / 8⌉], whose levels lie `STEPS` apart on both sides of 0, and,
    where vectors are scaled, `scale` uint8 […, 1], their own factor, 0 for vectors of zeros."""

    codes: Tensor
    scale: Tensor | None
    bits: int
    length: int
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor, bits: int, weights: Tensor | None = None) -> Codes:
        """The nearest levels. With `weights`, which are broadcast to the tensor, each vector is scaled by what loses least: the sum of squares that
        numbers are off, times these. A number that weighs little may be outside of the levels for the sake of those that weigh more."""
        half, numbers, scale = (2**bits - 1) / 2, tensor.float() / STEPS[bits], None
        if weights is not None:
            scale = _least(numbers, weights, half)
            numbers = numbers / _factor(scale).clamp_min(1e-30)
        codes = (numbers + half).round().clamp(0, 2**bits - 1).to(torch.uint8)
        if fill := -codes.shape[-1] % (8 // bits):
            codes = torch.cat([codes, codes.new_zeros(*codes.shape[:-1], fill)], -1)
        shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=codes.device)
        return cls((codes.unflatten(-1, (-1, 8 // bits)) << shifts).sum(-1, dtype=torch.uint8), scale, bits, tensor.shape[-1], tensor.dtype)

    def tensor(self, dtype: torch.dtype | None = None) -> Tensor:
        """[…, n] as the codes say."""
        levels = _table(self.bits, self.codes.device)[self.codes.int()].flatten(-2)[..., : self.length]
        return (levels if self.scale is None else levels * _factor(self.scale)).to(dtype or self.dtype)

    def tensors(self) -> dict[str, Tensor]:
        """What takes room."""
        return {"codes": self.codes} if self.scale is None else {"codes": self.codes, "scale": self.scale}

    def having(self, tensors: Mapping[str, Tensor]) -> Codes:
        """The same with other tensors, as `tensors` names them."""
        return Codes(tensors["codes"], tensors.get("scale"), self.bits, self.length, self.dtype)


def _least(numbers: Tensor, weights: Tensor, half: float) -> Tensor:
    """uint8 […, 1]: of numbers in steps, the scale by which most `half` steps to both sides lose least, of equal ones the largest."""
    size = numbers.abs().amax(-1, keepdim=True) / half
    power = (size.clamp_min(1e-30).log2() * OCTAVE).ceil() + 128
    best, least = power, torch.full_like(size, torch.inf)
    for less in range(0, SMALLEST, 2):
        factor = torch.exp2((power - less - 128) / OCTAVE)
        levels = ((numbers / factor + half).round().clamp(0, 2 * half) - half) * factor
        lost = ((levels - numbers).square() * weights).sum(-1, keepdim=True)
        best, least = torch.where(lost < least, power - less, best), torch.minimum(lost, least)
    return best.clamp(1, 255).masked_fill(size == 0, 0).to(torch.uint8)


def _factor(scale: Tensor) -> Tensor:
    """Looked up, so that a vector has the same bits whatever is decoded beside it."""
    powers = torch.exp2((torch.arange(256, device=scale.device) - 128) / OCTAVE)
    powers[0] = 0
    return powers[scale.int()]


def _table(bits: int, device: torch.device) -> Tensor:
    """[256, 8 / bits] float32: the levels that a byte stands for."""
    codes = torch.arange(256, device=device).unsqueeze(-1) >> torch.arange(0, 8, bits, device=device)
    return ((codes & (2**bits - 1)).float() - (2**bits - 1) / 2) * STEPS[bits]


@dataclass(frozen=True)
class Frames:
    """Of vectors that come one after the other, [B, G, n, d] in all, what each channel is around and how much it changes: F frames, each for those
    from one vector on. `middle` and `spread` [B, G, F, d], in their type; `known` [B, F] int32: the vectors of each row that say so; `starts` [B, F]
    int32: the first vector of each, `NEVER` where a row has fewer.

    Keys that were rotated wander: the slow frequencies turn on as the text grows, out of what a frame of its beginning has levels for. So what comes
    when `ENOUGH` are known begins a frame of its own."""

    middle: Tensor
    spread: Tensor
    known: Tensor
    starts: Tensor

    @classmethod
    def of(cls, vectors: Tensor, there: Tensor) -> Frames:
        """One frame, of those that `there` [B, n] says are. Sums are float64 where a device has it: places without a vector change nothing."""
        count, wide = there.sum(-1, keepdim=True), torch.float32 if vectors.device.type == "mps" else torch.float64
        share = (there / count.clamp_min(1)).to(wide)[:, None, :, None]
        numbers = vectors.to(wide).masked_fill(~there[:, None, :, None], 0)
        middle = (numbers * share).sum(2, keepdim=True)
        square = ((numbers - middle).square() * share).sum(2, keepdim=True)
        spread = torch.maximum(square, square.mean(-1, keepdim=True) * LEAST_SPREAD**2).sqrt().clamp_min(SAME)
        return cls(middle.to(vectors.dtype), spread.to(vectors.dtype), count.int(), torch.zeros_like(count, dtype=torch.int32))

    def which(self, places: Tensor) -> Tensor:
        """[B, m]: the frames of the vectors at these places [m]."""
        return (self.starts[:, :, None] <= places).sum(1) - 1

    def within(self, vectors: Tensor, places: Tensor) -> Tensor:
        """[B, G, m, d] of these places [m], float32, as they are in their frames."""
        middle, spread = self._at(places)
        return (vectors.float() - middle) / spread

    def without(self, vectors: Tensor, places: Tensor) -> Tensor:
        """Undoes `within`."""
        middle, spread = self._at(places)
        return (vectors.float() * spread + middle).to(self.middle.dtype)

    def put_back(self, vectors: Tensor, rows: Tensor, heads: Tensor, places: Tensor) -> Tensor:
        """`without`, bit for bit, for vectors [m, d] of these rows, heads and places [m]."""
        frame = (self.starts[rows] <= places.unsqueeze(-1)).sum(-1) - 1
        return (vectors.float() * self.spread[rows, heads, frame].float() + self.middle[rows, heads, frame].float()).to(self.middle.dtype)

    def _at(self, places: Tensor) -> tuple[Tensor, Tensor]:
        if self.starts.shape[1] == 1:
            return self.middle.float(), self.spread.float()
        index = self.which(places)[:, None, :, None].expand(-1, self.middle.shape[1], -1, self.middle.shape[3])
        return self.middle.gather(2, index).float(), self.spread.gather(2, index).float()

    def products(self, queries: Tensor, levels: Tensor, first: int) -> Tensor:
        """[B, G, q, d] float32 by vectors [B, G, m, d] as they are in their frames, the first of which is at place `first`: [B, G, q, m]. Queries are
        put into each frame, not all vectors out of it."""
        out = queries.new_empty(*queries.shape[:3], levels.shape[2])
        which = self.which(torch.arange(first, first + levels.shape[2], device=levels.device))
        for number in range(int(which.min()), int(which.max()) + 1):
            here = which == number
            columns = here.any(0).nonzero().squeeze(1)
            if len(columns):
                some = slice(int(columns[0]), int(columns[-1]) + 1)
                middle, spread = (tensor[:, :, number : number + 1].float() for tensor in (self.middle, self.spread))
                products = torch.matmul(queries * spread, levels[:, :, some].transpose(-1, -2)) + torch.matmul(queries, middle.transpose(-1, -2))
                out[..., some] = torch.where(here[:, None, None, some], products, out[..., some])
        return out

    def rows(self, index: Tensor) -> Frames:
        """Those of these rows."""
        return Frames(*(tensor.index_select(0, index) for tensor in self.tensors()))

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What takes room."""
        return self.middle, self.spread, self.known, self.starts

    def opened(self, n: int) -> int:
        """The first of n vectors that is in a frame which others will change; n: there is none."""
        last = ((self.starts < NEVER).sum(1) - 1)[:, None]
        return min(n, int(self.starts.gather(1, last).masked_fill(self.known.gather(1, last) >= ENOUGH, n).min()))

    def grown(self, vectors: Tensor, there: Tensor, first: int, more: int) -> tuple[Frames, Tensor]:
        """(The frames when vectors [B, G, m, d], of which `there` [B, m] are, stand at places from `first` on, which is `opened` or before it, the
        last `more` of them new; True in [B, m − more] where a vector of before is in another frame now.) Row by row: the last frame is measured anew
        where it knows of fewer than `ENOUGH`, else a new one begins; where nothing is new, all stays."""
        m = there.shape[1]
        places = torch.arange(first, first + m, device=there.device)
        last = ((self.starts < NEVER).sum(1) - 1)[:, None]
        new = there[:, m - more :].any(1, keepdim=True)
        young = new & (self.known.gather(1, last) < ENOUGH)
        slot = last + (new & ~young)
        start = torch.where(young, self.starts.gather(1, last), first + m - more).int()
        measured = Frames.of(vectors, there & (places >= start))
        fill = int(slot.max()) + 1 - self.starts.shape[1]
        wide = (*self.tensors()[:2], *(tensor[:, None, :, None] for tensor in (self.known, self.starts)))
        mine = (*measured.tensors()[:2], measured.known[:, None, :, None], start[:, None, :, None])
        here = ((torch.arange(self.starts.shape[1] + fill, device=there.device) == slot) & new)[:, None, :, None]
        ends = (0, 0, 0, NEVER)
        its = [torch.where(here, now, pad(was, (0, 0, 0, fill), value=end)) for now, was, end in zip(mine, wide, ends, strict=True)]
        return Frames(its[0], its[1], its[2][:, 0, :, 0], its[3][:, 0, :, 0]), young & (places >= start)[:, : m - more]


Numbers: TypeAlias = Tensor | Packed | Codes
"""[…, n]; in few bits, n by itself, so that what stands beside it changes nothing."""


def check_bits(bits: int | None, name: str) -> None:
    """Raises `Invalid` for what numbers cannot be kept in; `name` is who asks."""
    if bits is not None and bits not in BITS:
        raise Invalid(f"{name}: numbers are kept in 1, 2, 4 or 8 bits, or, with None, as they come; not in {bits} bits")


def coded(tensor: Tensor, bits: int | None) -> Numbers:
    """A tensor […, n] of any numbers in 2, 4 or 8 bits; None: as it is."""
    return tensor if bits is None else Packed.of(tensor, bits, min(GROUP, -(-tensor.shape[-1] // 8) * 8))


def decoded(numbers: Numbers) -> Tensor:
    """[…, n]."""
    return numbers if isinstance(numbers, Tensor) else numbers.tensor()


def width(numbers: Numbers) -> int:
    """n."""
    return int(numbers.shape[-1]) if isinstance(numbers, Tensor) else numbers.length


def each(change: Callable[..., Tensor], first: Numbers, *others: Numbers) -> Numbers:
    """What `change` makes of the tensors behind numbers of one form; it may touch any axis but the last one of […, n]. Zeros in all of them are zeros
    of the whole, but for `Codes` without scales."""
    if isinstance(first, Tensor):
        return change(first, *others)
    those = [other.tensors() for other in others if not isinstance(other, Tensor)]
    return first.having({name: change(tensor, *(other[name] for other in those)) for name, tensor in first.tensors().items()})


def tensors(numbers: Numbers) -> tuple[Tensor, ...]:
    """What takes room."""
    return (numbers,) if isinstance(numbers, Tensor) else tuple(numbers.tensors().values())


def state(numbers: Numbers, name: str) -> dict[str, Tensor]:
    """All tensors by names that begin with `name`."""
    if isinstance(numbers, Tensor):
        return {name: numbers}
    form = torch.tensor([numbers.bits, numbers.length], dtype=torch.int32)
    return {f"{name}.form": form, **{f"{name}.{part}": tensor for part, tensor in numbers.tensors().items()}}


def from_state(its: Mapping[str, Tensor], name: str, dtype: torch.dtype) -> Numbers:
    """Undoes `state`; `dtype` is what numbers in few bits are decoded to."""
    if name in its:
        return its[name]
    bits, length = its[f"{name}.form"].tolist()
    codes, scale = its[f"{name}.codes"], its.get(f"{name}.scale")
    if scale is None or f"{name}.zero" not in its:
        return Codes(codes, scale, bits, length, dtype)
    return Packed(codes, scale, its[f"{name}.zero"], bits, length, dtype)


def bits_of(mask: Tensor) -> Tensor:
    """True and False […, n] → eight in a byte, uint8 […, ⌈n / 8⌉]."""
    shifts = torch.arange(8, dtype=torch.uint8, device=mask.device)
    filled = pad(mask.to(torch.uint8), (0, -mask.shape[-1] % 8))
    return (filled.unflatten(-1, (-1, 8)) << shifts).sum(-1, dtype=torch.uint8)


def mask_of(bits: Tensor, n: int) -> Tensor:
    """Undoes `bits_of`."""
    shifts = torch.arange(8, dtype=torch.uint8, device=bits.device)
    return ((bits.unsqueeze(-1) >> shifts) & 1).flatten(-2)[..., :n].bool()
