"""Numbers that are kept as they came or in few bits: the same handling of both, for what a policy keeps near of tokens that lie far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from mnemos.activation.quantised import Packed
from mnemos.base.errors import Invalid

Numbers: TypeAlias = Tensor | Packed
"""[…, n]; in few bits, n in groups of its own, so that what stands beside it changes nothing."""
GROUP = 32
"""Numbers along the last axis that share a scale and a zero, at most."""
BITS = (2, 4, 8)


def check_bits(bits: int | None, name: str) -> None:
    """Raises `Invalid` for what numbers cannot be kept in; `name` is who asks."""
    if bits is not None and bits not in BITS:
        raise Invalid(f"{name}: numbers are kept in 2, 4 or 8 bits, or, with None, as they come; not in {bits} bits")


def coded(tensor: Tensor, bits: int | None) -> Numbers:
    """A tensor […, n] in so many bits; None: as it is."""
    return tensor if bits is None else Packed.of(tensor, bits, min(GROUP, -(-tensor.shape[-1] // 8) * 8))


def decoded(numbers: Numbers) -> Tensor:
    """[…, n]."""
    return numbers.tensor() if isinstance(numbers, Packed) else numbers


def width(numbers: Numbers) -> int:
    """n."""
    return numbers.length if isinstance(numbers, Packed) else int(numbers.shape[-1])


def each(change: Callable[..., Tensor], first: Numbers, *others: Numbers) -> Numbers:
    """What `change` makes of the tensors behind numbers of one form; it may touch any axis but the last one of […, n]. Zeros in all of them are zeros
    of the whole."""
    if not isinstance(first, Packed):
        return change(first, *others)
    those = [other.tensors() for other in others if isinstance(other, Packed)]
    return first.having({name: change(tensor, *(other[name] for other in those)) for name, tensor in first.tensors().items()})


def tensors(numbers: Numbers) -> tuple[Tensor, ...]:
    """What takes room."""
    return tuple(numbers.tensors().values()) if isinstance(numbers, Packed) else (numbers,)


def state(numbers: Numbers, name: str) -> dict[str, Tensor]:
    """All tensors by names that begin with `name`."""
    if not isinstance(numbers, Packed):
        return {name: numbers}
    form = torch.tensor([numbers.bits, numbers.length], dtype=torch.int32)
    return {f"{name}.form": form, **{f"{name}.{part}": tensor for part, tensor in numbers.tensors().items()}}


def from_state(its: Mapping[str, Tensor], name: str, dtype: torch.dtype) -> Numbers:
    """Undoes `state`; `dtype` is what numbers in few bits are decoded to."""
    if name in its:
        return its[name]
    bits, length = its[f"{name}.form"].tolist()
    return Packed(its[f"{name}.codes"], its[f"{name}.scale"], its[f"{name}.zero"], bits, length, dtype)
