"""The newest tokens of a layer, as they came, growing: where every token begins, and where all stay that no policy compresses."""

from __future__ import annotations

import copy
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from mnemos.activation.parts import Bytes, Dense, Marks, size_of

BLOCK, SMALL = 64, 16
"""Tokens that room is made for at a time, and as long as there are fewer than `BLOCK`."""


class Room(Protocol):
    """Where keys and values of a tail lie: room for n tokens, those that are taken first."""

    keys: Tensor
    """[B, G, n, d]"""
    values: Tensor
    """[B, G, n, e]"""

    def grow(self, least: int, length: int) -> None:
        """Room for `least` tokens or more; the first `length` stay. Where that cannot be, it raises and changes nothing."""
        ...

    def hold(self, keys: Tensor, values: Tensor) -> None:
        """Holds these tokens instead, which may be views of it."""
        ...

    def crop(self, length: int) -> None:
        """Only the first `length` tokens are wanted on."""
        ...

    def fork(self, length: int, landlord: Landlord | None) -> Room:
        """Room of another memory, of that landlord, with the same first tokens; what is written to one is not seen in the other."""
        ...

    def close(self) -> None:
        """Nothing in it is wanted any more."""
        ...

    def nbytes(self) -> int:
        """Room to spare included."""
        ...


class Landlord(Protocol):
    """Who gives rooms, and counts what a memory keeps beside them (`mnemos.activation.arena.tenancy`)."""

    place: Any
    """Where what lies far is put (`mnemos.activation.chunks.Place`)."""

    def room(self, keys: Tensor, values: Tensor) -> Room:
        """One that holds these."""
        ...

    def count(self, layer: int, nbytes: int) -> None:
        """A layer keeps so much near beside its room."""
        ...

    def another(self) -> Landlord:
        """Of a memory that goes on by itself."""
        ...


class Heap:
    """Tensors of the tail's own, copied into larger ones as it grows."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values = keys, values

    def grow(self, least: int, length: int) -> None:
        room = room_for(least)
        self.keys, self.values = _wider(self.keys, room, length), _wider(self.values, room, length)

    def hold(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values = keys, values

    def crop(self, length: int) -> None:
        """Room stays."""

    def fork(self, length: int, landlord: Landlord | None) -> Heap:
        return Heap(self.keys.narrow(2, 0, length).clone(), self.values.narrow(2, 0, length).clone())

    def close(self) -> None:
        """It goes with its tensors."""

    def nbytes(self) -> int:
        return size_of(self.keys, self.values)


class Tail:
    """Room for n tokens of all heads, `length` of them taken: keys and values [B, G, n, d], positions [B, 1 or G, n], marks [B, G, n]."""

    def __init__(self, keys: Tensor, values: Tensor, positions: Tensor, marks: Marks | None = None, landlord: Landlord | None = None) -> None:
        """Begins with these tokens; nothing is shared with them. Without a landlord it has tensors of its own."""
        self.room: Room = Heap(keys.clone(), values.clone()) if landlord is None else landlord.room(keys, values)
        self._positions, self._marks = positions.clone(), dict(marks or {})
        self.length = int(keys.shape[2])
        self._whole: bool | None = None

    @property
    def heads(self) -> int:
        """G."""
        return int(self.room.keys.shape[1])

    @property
    def keys(self) -> Tensor:
        """[B, G, length, d], a view."""
        return self.room.keys.narrow(2, 0, self.length)

    @property
    def values(self) -> Tensor:
        """[B, G, length, d], a view."""
        return self.room.values.narrow(2, 0, self.length)

    @property
    def positions(self) -> Tensor:
        """[B, 1 or G, length], a view."""
        return self._positions.narrow(2, 0, self.length)

    @property
    def whole(self) -> bool:
        """Whether a token is at each place: no padding."""
        if self._whole is None:
            self._whole = bool((self.positions >= 0).all())
        return self._whole

    def append(self, keys: Tensor, values: Tensor, positions: Tensor) -> None:
        """Adds tokens: keys and values [B, G, t, d], positions [B, t]; marks of theirs are 0."""
        start, end = self.length, self.length + keys.shape[2]
        if end > self.room.keys.shape[2]:
            self.room.grow(end, start)
        if end > self._positions.shape[2]:
            self._grow(end)
        self.room.keys[:, :, start:end], self.room.values[:, :, start:end], self._positions[:, :, start:end] = keys, values, positions.unsqueeze(1)
        self.length = end
        self._whole = self._whole and bool((positions >= 0).all())

    def _grow(self, least: int) -> None:
        """Positions and marks, a small part of the whole, are tensors of the tail's own in any case."""
        room = room_for(least)
        self._positions = _wider(self._positions, room, self.length)
        self._marks = {name: pad(mark.narrow(2, 0, self.length), (0, room - self.length)) for name, mark in self._marks.items()}

    def mark(self, name: str, dtype: torch.dtype = torch.float32) -> Tensor:
        """The mark of that name [B, G, length], a view that may be written to; zeros where it is new."""
        if name not in self._marks:
            shape = (*self.room.keys.shape[:2], self._positions.shape[2])
            self._marks[name] = torch.zeros(shape, dtype=dtype, device=self._positions.device)
        return self._marks[name].narrow(2, 0, self.length)

    def part(self) -> Dense:
        """All of it as a part, views of the tail's own memory; its marks are the tail's, and may be written to."""
        marks = {name: mark.narrow(2, 0, self.length) for name, mark in self._marks.items()}
        return Dense(self.keys, self.values, self.positions, range(self.heads), marks)

    def cut(self, keep: int, block: int) -> Dense | None:
        """Takes the oldest tokens out (see `parted`). None where no row has a block to give."""
        if (both := self.parted(keep, block)) is None:
            return None
        self.hold(both[1])
        return both[0]

    def parted(self, keep: int, block: int) -> tuple[Dense, Dense] | None:
        """The oldest tokens, of each row whole blocks, as many as leave `keep` tokens or more, and the others; neither shares memory with the tail.
        Rows are cut by their own tokens, whatever the padding: their blocks begin where they begin. None where no row has a block to give."""
        whole = self.part()
        there = whole.positions.expand(-1, self.heads, -1) >= 0
        given = (there.sum(-1, keepdim=True) - keep).clamp_min(0) // block * block
        if not (most := int(given.max())):
            return None
        places, order = torch.arange(self.length, device=there.device).expand_as(there), there.int().cumsum(-1)
        first = there & (order <= given)
        taken = places.masked_fill(~first, self.length).sort(-1).values[..., :most]
        kept = places.masked_fill(first | ~there, -1).sort(-1).values[..., int((first | ~there).sum(-1).min()) :]
        return whole.take(taken.masked_fill(taken == self.length, -1)), whole.take(kept)

    def hold(self, part: Dense, spare: int = 0) -> None:
        """Holds these tokens instead, all but the last `spare`, whose places are room."""
        self.room.hold(part.keys, part.values)
        self._positions = part.positions
        self._marks, self.length, self._whole = dict(part.marks), part.length - spare, None
        self._clear(spare)

    def crop(self, count: int) -> None:
        """Drops the last `count` tokens."""
        self.length -= count
        self.room.crop(self.length)
        self._whole = self._whole or None
        self._clear(count)

    def _clear(self, count: int) -> None:
        """Marks of so many places behind the last token are 0, as those of all room are."""
        if count:
            for mark in self._marks.values():
                mark.narrow(2, self.length, count).zero_()

    def fork(self, landlord: Landlord | None = None) -> Tail:
        """A copy that changes by itself, in a room of that landlord's where this has one of a landlord's."""
        twin = copy.copy(self)
        twin.room, twin._positions = self.room.fork(self.length, landlord), self.positions.clone()
        twin._marks = {name: mark.narrow(2, 0, self.length).clone() for name, mark in self._marks.items()}
        return twin

    def move(self, landlord: Landlord) -> None:
        """From here on it lies in a room of the landlord's."""
        self.room = landlord.room(self.keys, self.values)

    def nbytes(self) -> Bytes:
        """Room to spare included."""
        return Bytes(self.room.nbytes() + size_of(self._positions, *self._marks.values()))


def room_for(least: int) -> int:
    """Tokens that room is made for where so many have to fit."""
    block = BLOCK if least > BLOCK else SMALL
    return -(-least // block) * block


def _wider(tensor: Tensor, room: int, length: int) -> Tensor:
    wider = tensor.new_empty((*tensor.shape[:2], room, *tensor.shape[3:]))
    wider[:, :, :length] = tensor[:, :, :length]
    return wider
