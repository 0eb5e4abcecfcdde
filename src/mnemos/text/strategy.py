"""The `Strategy` seam of the text tier: how memories are written, recalled and kept in order. A new method is one file that implements it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mnemos.base.cube import Content
from mnemos.index.space_index import Mask, SpaceIndex
from mnemos.store.base import NewVersion
from mnemos.text.question import Question

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class View:
    """What a strategy sees of a space when it recalls: the index, which rows it may show, and the dense evidence."""

    index: SpaceIndex
    allowed: Mask
    """(n,) bool: rows that exist, are visible to the caller, and pass the filters. No other row may bear on the result."""
    cosines: Floats | None
    """(n,) float32 cosine of each row with the voiced question, NaN where a row has no vector; None without an embedder."""
    now: int
    """Microseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Recall:
    """Rows, best first, with their scores and what the scores are made of."""

    rows: NDArray[np.int64]
    scores: Floats
    signals: Mapping[str, Floats] = field(default_factory=dict)


NewId = Callable[[], Any]


class Strategy(Protocol):
    """One way to remember. `name` selects it; `about` says in a line what it is for."""

    name: str
    about: str

    def encode(self, content: Content, new_id: NewId) -> Sequence[NewVersion]:
        """The versions to write for one memory that a caller gives: itself first, then what belongs to it."""
        ...

    def recall(self, question: Question, view: View, k: int) -> Recall:
        """At most `k` of the allowed rows, best first; `k` of them whenever so many exist."""
        ...

    def consolidate(self, view: View) -> Sequence[NewVersion]:
        """What should be written to keep the space in order; nothing where nothing is to do."""
        ...
