"""The newest tokens of a layer, as they came, growing: where every token begins, and where all stay that no policy compresses."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from mnemos.activation.parts import Bytes, Dense, Marks, size_of

BLOCK, SMALL = 64, 16
"""Tokens that room is made for at a time, and as long as there are fewer than `BLOCK`."""


class Tail:
    """Room for n tokens of all heads, `length` of them taken: keys and values [B, G, n, d], positions [B, 1 or G, n], marks [B, G, n]."""

    def __init__(self, keys: Tensor, values: Tensor, positions: Tensor, marks: Marks | None = None) -> None:
        """Begins with these tokens; nothing is shared with them."""
        self._keys, self._values, self._positions, self._marks = keys.clone(), values.clone(), positions.clone(), dict(marks or {})
        self.length = int(keys.shape[2])
        self._whole: bool | None = None

    @property
    def heads(self) -> int:
        """G."""
        return int(self._keys.shape[1])

    @property
    def keys(self) -> Tensor:
        """[B, G, length, d], a view."""
        return self._keys.narrow(2, 0, self.length)

    @property
    def values(self) -> Tensor:
        """[B, G, length, d], a view."""
        return self._values.narrow(2, 0, self.length)

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
        if end > self._keys.shape[2]:
            self._grow(end)
        self._keys[:, :, start:end], self._values[:, :, start:end], self._positions[:, :, start:end] = keys, values, positions.unsqueeze(1)
        self.length = end
        self._whole = self._whole and bool((positions >= 0).all())

    def _grow(self, least: int) -> None:
        block = BLOCK if least > BLOCK else SMALL
        room = -(-least // block) * block
        self._keys, self._values = _wider(self._keys, room, self.length), _wider(self._values, room, self.length)
        self._positions = _wider(self._positions, room, self.length)
        self._marks = {name: pad(mark.narrow(2, 0, self.length), (0, room - self.length)) for name, mark in self._marks.items()}

    def mark(self, name: str, dtype: torch.dtype = torch.float32) -> Tensor:
        """The mark of that name [B, G, length], a view that may be written to; zeros where it is new."""
        if name not in self._marks:
            self._marks[name] = torch.zeros(self._keys.shape[:3], dtype=dtype, device=self._keys.device)
        return self._marks[name].narrow(2, 0, self.length)

    def part(self) -> Dense:
        """All of it as a part, views of the tail's own memory; its marks are the tail's, and may be written to."""
        marks = {name: mark.narrow(2, 0, self.length) for name, mark in self._marks.items()}
        return Dense(self.keys, self.values, self.positions, range(self.heads), marks)

    def cut(self, keep: int, block: int) -> Dense | None:
        """Takes the oldest tokens out, as a part that shares no memory with the tail: of each row whole blocks, as many as leave `keep` tokens or
        more. Rows are cut by their own tokens, whatever the padding: their blocks begin where they begin. None where no row has a block to give."""
        whole = self.part()
        there = whole.positions.expand(-1, self.heads, -1) >= 0
        given = (there.sum(-1, keepdim=True) - keep).clamp_min(0) // block * block
        if not (most := int(given.max())):
            return None
        places, order = torch.arange(self.length, device=there.device).expand_as(there), there.int().cumsum(-1)
        first = there & (order <= given)
        taken = places.masked_fill(~first, self.length).sort(-1).values[..., :most]
        kept = places.masked_fill(first | ~there, -1).sort(-1).values[..., int((first | ~there).sum(-1).min()) :]
        part = whole.take(taken.masked_fill(taken == self.length, -1))
        self.hold(whole.take(kept))
        return part

    def hold(self, part: Dense, spare: int = 0) -> None:
        """Holds these tokens instead, all but the last `spare`, whose places are room."""
        self._keys, self._values, self._positions = part.keys, part.values, part.positions
        self._marks, self.length, self._whole = dict(part.marks), part.length - spare, None
        self._clear(spare)

    def crop(self, count: int) -> None:
        """Drops the last `count` tokens."""
        self.length -= count
        self._whole = self._whole or None
        self._clear(count)

    def _clear(self, count: int) -> None:
        """Marks of so many places behind the last token are 0, as those of all room are."""
        if count:
            for mark in self._marks.values():
                mark.narrow(2, self.length, count).zero_()

    def fork(self) -> Tail:
        """A copy that shares nothing."""
        part = self.part()
        return Tail(part.keys, part.values, part.positions, {name: mark.clone() for name, mark in part.marks.items()})

    def nbytes(self) -> Bytes:
        """Room to spare included."""
        return Bytes(size_of(self._keys, self._values, self._positions, *self._marks.values()))


def _wider(tensor: Tensor, room: int, length: int) -> Tensor:
    wider = tensor.new_empty((*tensor.shape[:2], room, *tensor.shape[3:]))
    wider[:, :, :length] = tensor[:, :, :length]
    return wider
