"""A compressed memory of what a model has read: the transformers cache in which memory tokens stand for windows of tokens.

Source: MemoRAG, arXiv 2409.05591, section 3.1; the memory tokens are those of Activation Beacon, arXiv 2401.03462.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from mnemos.activation.beacon.layer import BeaconLayer
from mnemos.activation.beacon.layout import Cursor, Layout, check_room
from mnemos.activation.beacon.windows import Windows
from mnemos.activation.parts import Bytes
from mnemos.activation.rotary import Rotary
from mnemos.base.errors import Invalid

States = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
"""What is remembered, and the tail, of a layer: keys and values of each."""


@dataclass(frozen=True)
class Snapshot:
    """A point that a memory can be taken back to, as often as one likes. It shares the tensors of the memory, which are never changed in place."""

    cursors: tuple[Cursor, ...]
    slots: int
    layers: tuple[States, ...]


class BeaconMemory(Cache):
    """Make one by `Beacons.memory`; give it as `cache`. What comes is compressed window by window, also what is generated: fork it, or take a
    `snapshot`, before a question that the next one shall not see.

    `positions`: how many the model was made for; None: unknown."""

    layers: list[BeaconLayer]

    def __init__(self, windows: Windows, rotations: Sequence[Rotary], positions: int | None = None) -> None:
        super().__init__(layers=[BeaconLayer(self, rotary) for rotary in rotations])
        self.windows, self.positions = windows, positions
        self.cursors: tuple[Cursor, ...] = ()
        """How far each row is read; none before the first pass."""
        self.layout: Layout | None = None
        self._slots = 0
        self._broken = False

    # A pass of the model

    def begin(self, rows: int, new: Sequence[Sequence[int]], device: torch.device | str, closing: bool = False) -> Layout:
        """Lays out the next pass: `new` tells for each row the places of its tokens among those given. Raises `Invalid` for another number of rows,
        for more than the model has positions for, and after a pass that was broken off."""
        if self._broken:
            raise Invalid("a pass of the model was broken off, so this memory is half written: restore a snapshot of it, or read again")
        cursors = self.cursors or (Cursor(),) * rows
        if len(cursors) != rows:
            raise Invalid(f"the memory holds {len(cursors)} sequences, and {rows} are given: give as many, in the same order")
        layout = Layout(self.windows, cursors, new, device, closing)
        check_room(layout, self.positions)
        self.layout, self._broken = layout, True
        return layout

    def close_without_reading(self) -> bool:
        """Makes memory of the windows that are begun, where no memory token has to be read for that; whether it was so."""
        layout = Layout(self.windows, self.cursors, [()] * len(self.cursors), self.layers[0].tail[0].device, closing=True)
        if layout.count:
            return False
        for layer in self.layers:
            layer.settle(layout)
        self.cursors = tuple(layout.after)
        return True

    def finish(self, given: int) -> None:
        """The pass has reached the end of the model: what it read is read."""
        assert self.layout is not None
        self.cursors, self.layout, self._broken = tuple(self.layout.after), None, False
        self._slots += given

    def fail(self) -> None:
        """The pass was broken off."""
        self.layout = None

    # What transformers calls

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Places that were given, padding included: memory tokens do not count, and what they stand for does."""
        return self._slots

    def reset(self) -> None:
        for layer in self.layers:
            layer.reset()
        self.cursors, self.layout, self._slots, self._broken = (), None, 0, False

    @property
    def is_croppable(self) -> bool:
        """Whether tokens can be taken back, however many: not once some have become memory."""
        return all(cursor.window == 0 for cursor in self.cursors) and not self.windows.eager

    def crop(self, tokens_to_remove: int) -> None:
        """Forgets the newest tokens, of which there are −`tokens_to_remove`, as transformers counts them. Raises `Invalid` for a positive number, and
        where some of them have become memory: restore a snapshot then."""
        count = -tokens_to_remove
        left = min((cursor.filled for cursor in self.cursors), default=0)
        if count < 0:
            raise Invalid(f"crop({tokens_to_remove}): give how many tokens to take back as a negative number")
        if count and (count > left or self.windows.eager or len({cursor.filled for cursor in self.cursors}) > 1):
            raise Invalid(f"cannot take back {count} tokens, for only the newest {left} are not compressed: take a snapshot before, and restore it")
        if count:
            for layer in self.layers:
                keys, values = layer.tail
                layer.hold(layer.remembered, (keys[:, :, :-count].clone(), values[:, :, :-count].clone()))
            self.cursors = tuple(replace(cursor, filled=cursor.filled - count, read=cursor.read - count) for cursor in self.cursors)
            self._slots -= count

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self._select(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        self._select(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._select(torch.arange(len(self.cursors)).repeat_interleave(repeats))

    def _select(self, index: Tensor) -> None:
        for layer in self.layers:
            layer.select_rows(index.to(layer.tail[0].device) if layer.is_initialized else index)
        if self.cursors:
            self.cursors = tuple(self.cursors[row] for row in index.tolist())

    # Snapshots

    def snapshot(self) -> Snapshot:
        """This point. Raises `Invalid` after a pass that was broken off."""
        if self._broken:
            raise Invalid("a pass of the model was broken off, so this memory is half written: restore a snapshot of it, or read again")
        return Snapshot(self.cursors, self._slots, tuple((layer.remembered, layer.tail) for layer in self.layers if layer.is_initialized))

    def restore(self, snapshot: Snapshot) -> None:
        """Back to a point: what came after it has left no trace. Raises `Invalid` for a snapshot of another model."""
        if snapshot.layers and len(snapshot.layers) != len(self.layers):
            raise Invalid(f"the snapshot has {len(snapshot.layers)} layers, this memory {len(self.layers)}: restore one of the same model")
        self.reset()
        for layer, (remembered, tail) in zip(self.layers, snapshot.layers, strict=False):
            layer.hold(remembered, tail)
        self.take_up(snapshot.cursors, snapshot.slots)

    def take_up(self, cursors: Sequence[Cursor], slots: int) -> None:
        """Says how far what the layers hold is read: `slots` places were given. Raises `Invalid` where they hold something else."""
        there = [(layer.remembered[0].shape, layer.tail[0].shape) for layer in self.layers if layer.is_initialized]
        wanted = (len(cursors), max((cursor.base for cursor in cursors), default=0), max(map(self._tail_of, cursors), default=0))
        if cursors and any((held[0], held[2], tail[2]) != wanted for held, tail in there):
            raise Invalid(f"the layers hold {[tuple(map(tuple, shapes)) for shapes in there[:1]]}, not {wanted} sequences, positions and tokens")
        self.cursors, self._slots, self._broken, self.layout = tuple(cursors), slots, False, None

    def fork(self) -> BeaconMemory:
        """A memory that goes on by itself from here."""
        out = BeaconMemory(self.windows, [layer.rotary for layer in self.layers], self.positions)
        out.restore(self.snapshot())
        return out

    # What it holds

    def held(self) -> tuple[int, ...]:
        """Positions that each row takes: memory, and the tail."""
        return tuple(cursor.base + self._tail_of(cursor) for cursor in self.cursors)

    def _tail_of(self, cursor: Cursor) -> int:
        ratio = self.windows.ratio_of(cursor.window) if self.windows.eager else None
        return cursor.filled + (cursor.filled // ratio if ratio else 0)

    def room(self) -> int | None:
        """Tokens that can follow until the model has no positions left, as long as no window becomes smaller by them; None where that is unknown."""
        if self.positions is None:
            return None
        window = max((cursor.window for cursor in self.cursors), default=0)
        free = self.positions - max((cursor.base for cursor in self.cursors), default=0)
        filled = min((cursor.filled for cursor in self.cursors), default=0)
        total = 0
        while True:
            size, slots = self.windows.size_of(window), self.windows.slots_of(window)
            if free < size + slots or slots == 0 or total > _PLENTY:
                return max(0, total + min(free, size - 1) - filled)
            total, free, window = total + size, free - slots, window + 1

    def nbytes(self) -> Bytes:
        """Of the tensors that all layers hold."""
        return sum((layer.nbytes() for layer in self.layers), Bytes())


_PLENTY = 1 << 24
