"""Block retrieval without training, the sibling of Landmark Attention for any model (its fallback; Quest, arXiv 2406.10774, with bounds).

Nothing is forgotten: keys and values of settled tokens lie far, and each token of a later turn brings the blocks that it needs. Near is what stands
for each block, in few bits where asked, and the newest tokens as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from mnemos.activation import rationing
from mnemos.activation.blocks import BOUNDS, MEAN, FarBlocks
from mnemos.activation.chunks import ChunkStore, place_of
from mnemos.activation.coding import check_bits
from mnemos.activation.policy import Budget, Policy
from mnemos.activation.rationing import Sizes, Way
from mnemos.base.errors import Invalid

if TYPE_CHECKING:
    from mnemos.activation.layer import MemoryLayer


SMALL = Budget(share=1 / 32)
"""3.1 % of the tokens seen."""
WAYS = ((1, 4), (1, 2), (1, 1), (2, 2), (2, 1), (4, 2), (4, 1), (8, 1), (16, 1))
"""Tokens of a block, and bits of what stands for it, from what is found best to what takes least."""
CHOSEN = ("block", "bits", "flush", "reuse")
"""What `near` decides."""


@dataclass(frozen=True)
class Blocks(Policy):
    """Defaults are those that the reference model answers with as with the full cache (`mnemos bench kv-landmark`)."""

    budget: Budget = SMALL
    """Tokens that each key-value head brings for a query."""
    block: int = 1
    """Tokens that are picked together: facts of few tokens want small blocks, whose keys are kept in fewer bits."""
    bits: int | None = 2
    """In which what stands for a block is kept: 1, 2, 4 or 8; None: as keys come."""
    by: str = MEAN
    """What stands for a block: the "mean" of its keys, or their "bounds", twice as many numbers."""
    local: int = 8
    """Newest tokens that stay as they are."""
    flush: int = 64
    """Generated tokens after which those before the local ones are moved."""
    reuse: bool = True
    """Whether blocks that are picked again are not brought again; they count as near then."""
    folder: str | None = None
    """Where blocks lie on disk; None: in the host's memory."""
    near: float | None = None
    """Share of the full cache's bytes, in the model's type, that is near at most whenever a prompt is settled or a token was generated: `CHOSEN` for
    the length of the first prompt; None: they are as given."""
    name = "blocks"

    def __post_init__(self) -> None:
        for name, least in (("block", 1), ("local", 0), ("flush", 1)):
            if getattr(self, name) < least:
                raise Invalid(f"blocks: {name} is {getattr(self, name)}, and has to be at least {least}")
        check_bits(self.bits, "blocks")
        if self.by not in (MEAN, BOUNDS):
            raise Invalid(f"blocks: what stands for a block is {MEAN!r} or {BOUNDS!r}, not {self.by!r}")

    def settle(self, layer: MemoryLayer) -> None:
        if self.near is None:
            self._move(layer)
        else:
            tokens = int((layer.tail.positions >= 0).sum(-1).max())
            replace(self, near=None, **rationing.chosen(layer, self.name, self.near, tokens, self._ways(), self._bytes))._move(layer)

    def _ways(self) -> Iterator[Way]:
        for block, bits in WAYS:
            for reuse in (True, False):
                for flush in (64, 16, 8):
                    yield {"block": block, "bits": bits, "flush": flush, "reuse": reuse}

    def _bytes(self, sizes: Sizes, way: Way) -> int:
        """What is near of a row, its tail as long as it becomes."""
        block = int(way["block"])
        chunks, numbers = max(0, sizes.tokens - self.local) // block, sizes.keys * (1 if self.by == MEAN else 2)
        kept = sizes.buffer(-(-self.budget.of(sizes.tokens) // block), block) if way["reuse"] else 0
        return sizes.summaries(chunks, numbers, way["bits"]) + 8 + kept + sizes.tail(self.local + block - 1 + way["flush"])

    def _move(self, layer: MemoryLayer) -> None:
        """Moves all whole blocks but the newest `local` tokens from the tail to where they lie far."""
        old = next((part for part in layer.parts if isinstance(part, FarBlocks)), None)
        there = (layer.tail.positions[:, 0] >= 0).sum(-1)
        seen = there if old is None else there + (old.places >= 0).sum((1, 2)).to(there.device)
        counts = torch.tensor([-(-self.budget.of(int(count)) // self.block) for count in seen], device=there.device)
        if old is None and rationing.NOTE not in layer.notes and bool((there <= counts * self.block + self.local).all()):
            return  # all of it could be picked
        taken = layer.tail.cut(self.local, self.block)
        if taken is None:
            return
        if old is None:
            store = ChunkStore(place_of(self.folder, layer.place), self.bits)
            layer.parts.append(FarBlocks.of(taken, self.block, store, counts, self.by, self.reuse))
        else:
            layer.parts[layer.parts.index(old)] = old.joined(taken, counts)

    def step(self, layer: MemoryLayer) -> None:
        if layer.generated % layer.notes.get(rationing.NOTE, {}).get("flush", self.flush) == 0:
            self.settle(layer)

    def describe(self) -> dict[str, Any]:
        numbers = {name: value for name, value in vars(self).items() if name not in ("budget", "folder")}
        return {"policy": self.name, "budget": {"tokens": self.budget.tokens, "share": self.budget.share}, **numbers}


def make(top: int | None = None, share: float | None = None, **options: Any) -> Policy:
    """Brings `top` blocks for each head and query, or a `share` of the tokens seen (1/32 where neither is given); options are those of `Blocks`.
    Raises `Invalid`."""
    rationing.check(options.get("near"), "blocks", options, CHOSEN)
    if top is None and share is None:
        return Blocks(**options)
    if top is not None and top < 1:
        raise Invalid(f"blocks: top is {top}, and has to be at least 1")
    tokens = None if top is None else top * int(options.get("block", Blocks.block))
    return Blocks(Budget(tokens, share), **options)
