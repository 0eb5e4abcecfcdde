"""Whose tokens a memory holds: sources by the positions that they stand at, found again in chunks, hidden from a reader, and forgotten.

What a source was read into, its own keys and values, is what is overwritten. Tokens that were read after it have attended to it: where no trace may
stay, read again without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor

from mnemos.activation.chunks import ChunkStore
from mnemos.activation.memory import KVMemory
from mnemos.activation.parts import Dense, Part
from mnemos.base.errors import Invalid, NotFound

if TYPE_CHECKING:
    from mnemos.activation.layer import MemoryLayer

NAMES, SPANS = "sources", "source_spans"
"""The notes of a layer that say it: names, and [B, m, 3] int32 of (number of the name, first position, position after the last), −1 where there is
none; both go with a memory into files, forks and batches."""


@runtime_checkable
class Chunked(Protocol):
    """A part whose tokens lie in a store of chunks, of which some can be left out: a shadow, far blocks, landmarks' blocks."""

    store: ChunkStore
    places: Tensor
    """[B, n, c]: where the tokens of each chunk stood."""

    def without(self, row: int, start: int, stop: int, erase: bool) -> Part:
        """The same without a row's tokens at positions from `start` to before `stop`, overwritten or no more than never read again."""
        ...


def label(memory: KVMemory, source: str, start: int, stop: int, row: int = 0) -> None:
    """Says that the tokens of a row at positions from `start` to before `stop` are of this source; it may have several such spans. Raises `Invalid`
    for spans that are empty, and memories that have read nothing."""
    if not 0 <= start < stop:
        raise Invalid(f"{source!r} cannot stand at positions {start} to {stop}: give the first, and the one after the last")
    for layer in memory.managed:
        if not layer.is_initialized or not 0 <= row < layer.tail.keys.shape[0]:
            raise Invalid(f"the memory has no row {row}: label what it has read")
        names = [*layer.notes.get(NAMES, [])]
        if source not in names:
            names.append(source)
        device, rows = layer.tail.keys.device, layer.tail.keys.shape[0]
        new = torch.full((rows, 1, 3), -1, dtype=torch.int32, device=device)
        new[row, 0] = torch.tensor([names.index(source), start, stop], dtype=torch.int32)
        spans = layer.notes.get(SPANS)
        layer.notes[NAMES], layer.notes[SPANS] = names, new if spans is None else torch.cat([spans, new], 1)


def chunks_of(memory: KVMemory, source: str) -> list[list[tuple[int, int]]]:
    """For each layer, the (row, chunk) that hold tokens of a source, beside those that are kept as they are. Raises `NotFound`."""
    found = []
    for layer in memory.managed:
        spans, chunked = list(_spans(layer, source)), [part for part in layer.parts if isinstance(part, Chunked)]
        found.append([(row, chunk) for part in chunked for row, start, stop in spans for chunk in part.store.within(row, start, stop)])
    return found


def forget(memory: KVMemory, source: str) -> int:
    """Overwrites the keys and values of a source in all layers, and its name; gives how many tokens of it the first layer held. Forks made before
    keep what they share. Raises `NotFound` for a source that is not labelled, `Invalid` where another policy's parts hold its tokens."""
    held = [_left(layer, source, erase=True) for layer in memory.managed]
    for layer in memory.managed:
        number = layer.notes[NAMES].index(source)
        names, spans = [*layer.notes[NAMES]], layer.notes[SPANS].clone()
        names[number] = ""  # the numbers of the others stay
        spans[spans[..., 0] == number] = -1
        layer.notes[NAMES], layer.notes[SPANS] = names, spans
    return held[0] if held else 0


def hide(memory: KVMemory, source: str) -> None:
    """Takes a source out of sight for good: its tokens, and whole the chunks that hold some of them, are never scored nor attended to. For a reader
    who may not see it: `fork()` the memory first, and hide from the fork. Raises as `forget` does."""
    for layer in memory.managed:
        _left(layer, source, erase=False)


def _spans(layer: MemoryLayer, source: str) -> Iterator[tuple[int, int, int]]:
    names: list[str] = layer.notes.get(NAMES, [])
    if source not in names or not source:
        raise NotFound(f"no tokens of this memory are labelled {source!r}; labelled are {', '.join(map(repr, filter(None, names))) or 'none'}")
    number = names.index(source)
    for row, spans in enumerate(layer.notes[SPANS].tolist()):
        for its, start, stop in spans:
            if its == number:
                yield row, start, stop


def _left(layer: MemoryLayer, source: str, erase: bool) -> int:
    """Leaves the layer without a source; gives how many tokens of it there were."""
    held = 0
    for row, start, stop in list(_spans(layer, source)):
        held += sum(int(_within(part.places[row], start, stop).sum()) for part in layer.parts if isinstance(part, Chunked))
        tail = layer.tail.part()
        held += int(_within(tail.positions[row, 0], start, stop).sum())
        layer.parts = [_without(part, row, start, stop, erase) for part in layer.parts]
        layer.tail.hold(_without_dense(tail, row, start, stop))
        layer.aside = {kind: each.without(row, start, stop, erase) for kind, each in layer.aside.items()}
    return held


def _within(positions: Tensor, start: int, stop: int) -> Tensor:
    return (positions >= start) & (positions < stop)


def _without(part: Part, row: int, start: int, stop: int, erase: bool) -> Part:
    if isinstance(part, Chunked):
        return part.without(row, start, stop, erase)
    if isinstance(part, Dense):
        return _without_dense(part, row, start, stop)
    raise Invalid(f"tokens cannot be taken out of a part of kind {part.kind!r}: read the text again without them")


def _without_dense(part: Dense, row: int, start: int, stop: int) -> Dense:
    """A part of its own; what it no longer holds is zeros there."""
    gone = torch.zeros_like(part.positions, dtype=torch.bool)
    gone[row] = _within(part.positions[row], start, stop)
    marks = {name: mark.clone() for name, mark in part.marks.items()}
    keys, values = part.keys.masked_fill(gone.unsqueeze(-1), 0), part.values.masked_fill(gone.unsqueeze(-1), 0)
    return Dense(keys, values, part.positions.masked_fill(gone, -1), part.heads, marks)
