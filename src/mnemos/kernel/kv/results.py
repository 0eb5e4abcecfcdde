"""What a shelf gives: a memory that a prompt can go on from, and what the model says with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnemos.base.protocols import Piece

if TYPE_CHECKING:
    from mnemos.activation.memory import KVMemory


@dataclass(frozen=True, slots=True)
class Injected:
    """What a prompt can go on from: `memory` holds `tokens`, which stand for the texts in their order; of these so many were `taken` from what was
    kept, and so many `read` now."""

    memory: KVMemory
    tokens: list[int]
    taken: int
    read: int


class Said(Iterator[Piece]):
    """What the model says: the stream that its `generate` gave, whose attributes it has, too."""

    def __init__(self, stream: Iterator[Piece]) -> None:
        self._stream = stream

    def __next__(self) -> Piece:
        return next(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Answered(Said):
    """What the model says to a prompt. `sources`: the memories that the prompt is known to hold, `()` where its words are of nobody; `taken`: how
    many of its tokens were not read again."""

    def __init__(self, stream: Iterator[Piece], sources: tuple[str, ...], taken: int) -> None:
        super().__init__(stream)
        self.sources, self.taken = sources, taken
