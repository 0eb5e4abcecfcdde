"""The forms in which keys and values are stored: a *part* holds some tokens of some heads, and can be attended to.

Shapes throughout: B rows, H query heads, G key-value heads, g = H / G query heads that share one, t new queries, n stored tokens, d components.
A part covers the key-value heads named in `heads` (h of them). A position of −1 marks a place that holds no token (rows of unequal length); it is
never attended to. Parts are never changed in place after they are made, except for their marks: what a policy has noted of each token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from mnemos.base.errors import Invalid

Marks = dict[str, Tensor]
"""By name, a tensor [B, h, n]: what a policy keeps of each token; travels with it."""


@dataclass(frozen=True)
class Bytes:
    """Bytes of the tensors themselves: `near` the compute (on the accelerator, where there is one), `far` in the host's memory or on disk."""

    near: int = 0
    far: int = 0

    def __add__(self, other: Bytes) -> Bytes:
        return Bytes(self.near + other.near, self.far + other.far)

    @property
    def total(self) -> int:
        """All of them."""
        return self.near + self.far


def size_of(*tensors: Tensor | None) -> int:
    """Bytes that the storage behind the tensors takes, views of something larger counted whole, and each storage once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors if tensor is not None and tensor.numel()}
    return sum(storages.values())


@runtime_checkable
class Part(Protocol):
    """Some tokens of some heads. A new form is one class; `register` makes it loadable."""

    kind: str
    marks: Marks

    @property
    def heads(self) -> tuple[int, ...]:
        """The key-value heads that it is of."""
        ...

    @property
    def positions(self) -> Tensor:
        """[B, h or 1, n] int32: where each token stood; −1 where there is none."""
        ...

    @property
    def length(self) -> int:
        """n: the tokens that are stored for each head."""
        ...

    def open(self, queries: Tensor, scaling: float) -> Part:
        """What these queries [B, h, g, t, d] shall see of the part; itself, unless it brings back what was put aside."""
        ...

    def logits(self, queries: Tensor) -> Tensor:
        """[B, h, g, t, d] → [B, h, g, t, n]: unscaled products with the keys."""
        ...

    def mix(self, weights: Tensor) -> Tensor:
        """[B, h, g, t, n] → [B, h, g, t, d]: values by weight."""
        ...

    def dense(self) -> tuple[Tensor, Tensor]:
        """Keys and values [B, h, n, d] as well as the part knows them."""
        ...

    def nbytes(self) -> Bytes:
        """Of its own tensors, positions and marks included."""
        ...

    def rows(self, index: Tensor) -> Part:
        """The same for these rows of the batch, in that order."""
        ...

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What `load` makes it from again: plain values, and tensors."""
        ...


_KINDS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Tensor]], Part]] = {}


def register(kind: str, load: Callable[[Mapping[str, Any], Mapping[str, Tensor]], Part]) -> None:
    """Makes parts of a kind loadable: `load(plain, tensors)` undoes `state`."""
    _KINDS[kind] = load


def load(kind: str, plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Part:
    """The part that `state` described. Raises `Invalid` for a kind that nobody registered."""
    if kind not in _KINDS:
        raise Invalid(f"a stored KV part is of kind {kind!r}, which this version does not know; it knows {', '.join(sorted(_KINDS))}")
    return _KINDS[kind](plain, tensors)


def gather(tensor: Tensor, index: Tensor) -> Tensor:
    """Along the tokens: [B, h, n, …] or [B, 1, n, …] with an index [B, h, m] gives [B, h, m, …]."""
    if tensor.shape[1] != index.shape[1]:
        tensor = tensor.expand(-1, index.shape[1], *tensor.shape[2:])
    if tensor.dim() == 4:  # whole vectors at a time, which gather would copy number by number
        rows, heads, size, device = tensor.shape[0], tensor.shape[1], tensor.shape[3], index.device
        row, head, place, number = tensor.stride()
        if number == 1 and place == size and row % size == head % size == 0:  # vectors one behind the other, room between the heads' or not
            first = torch.arange(rows, device=device)[:, None, None] * (row // size) + torch.arange(heads, device=device)[:, None] * (head // size)
            vectors = tensor.as_strided((((rows - 1) * row + (heads - 1) * head) // size + tensor.shape[2], size), (size, 1))
            return vectors.index_select(0, (first + index).flatten()).view(*index.shape, size)
        return tensor[torch.arange(rows, device=device)[:, None, None], torch.arange(heads, device=device)[None, :, None], index]
    return tensor.gather(2, index)


class Dense:
    """Keys and values as they came: [B, h, n, d]."""

    kind = "dense"

    def __init__(self, keys: Tensor, values: Tensor, positions: Tensor, heads: Sequence[int], marks: Marks | None = None) -> None:
        self.keys, self.values, self.positions, self.heads, self.marks = keys, values, positions, tuple(heads), marks or {}

    @property
    def length(self) -> int:
        return int(self.keys.shape[2])

    def open(self, queries: Tensor, scaling: float) -> Part:
        return self

    def logits(self, queries: Tensor) -> Tensor:
        return product(queries, self.keys.transpose(-1, -2))

    def mix(self, weights: Tensor) -> Tensor:
        return product(weights.to(self.values.dtype), self.values)

    def dense(self) -> tuple[Tensor, Tensor]:
        return self.keys, self.values

    def nbytes(self) -> Bytes:
        return Bytes(size_of(self.keys, self.values, self.positions, *self.marks.values()))

    def rows(self, index: Tensor) -> Dense:
        marks = {name: mark.index_select(0, index) for name, mark in self.marks.items()}
        return Dense(self.keys.index_select(0, index), self.values.index_select(0, index), self.positions.index_select(0, index), self.heads, marks)

    def take(self, index: Tensor) -> Dense:
        """The tokens at `index` [B, h, m] (−1: none), as a part of its own that shares no memory with this one."""
        positions = gather(self.positions, index.clamp_min(0)).masked_fill(index < 0, -1)
        index = index.clamp_min(0)
        marks = {name: gather(mark, index) for name, mark in self.marks.items()}
        return Dense(gather(self.keys, index), gather(self.values, index), positions, self.heads, marks)

    def join(self, other: Part) -> Part | None:
        """This part with another of its form after it."""
        return joined([self, other]) if isinstance(other, Dense) else None

    def of_heads(self, where: Sequence[int]) -> Dense:
        """Only the heads at these places of `heads`."""
        index = torch.as_tensor(list(where))
        positions = self.positions if self.positions.shape[1] == 1 else self.positions[:, index]
        marks = {name: mark[:, index] for name, mark in self.marks.items()}
        return Dense(self.keys[:, index], self.values[:, index], positions, [self.heads[i] for i in where], marks)

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        marks = {f"mark.{name}": mark for name, mark in self.marks.items()}
        return {"heads": list(self.heads)}, {"keys": self.keys, "values": self.values, "positions": self.positions, **marks}


def _load_dense(plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Dense:
    marks = {name.removeprefix("mark."): tensor for name, tensor in tensors.items() if name.startswith("mark.")}
    return Dense(tensors["keys"], tensors["values"], tensors["positions"], plain["heads"], marks)


register(Dense.kind, _load_dense)


def product(left: Tensor, right: Tensor) -> Tensor:
    """[B, h, g, t, a] × [B, h, a, b] → [B, h, g, t, b]: one product for each key-value head, its query heads together."""
    rows, heads, group, new, _ = left.shape
    return torch.matmul(left.reshape(rows, heads, group * new, -1), right).reshape(rows, heads, group, new, -1)


def joined(parts: Sequence[Dense]) -> Dense:
    """Parts of the same heads and marks, one after the other."""
    first, heads = parts[0], len(parts[0].heads)
    if all(part.positions.shape[1] == 1 for part in parts):
        positions = torch.cat([part.positions for part in parts], 2)
    else:
        positions = torch.cat([part.positions.expand(-1, heads, -1) for part in parts], 2)
    marks = {name: torch.cat([part.marks[name] for part in parts], 2) for name in first.marks}
    return Dense(torch.cat([part.keys for part in parts], 2), torch.cat([part.values for part in parts], 2), positions, first.heads, marks)
