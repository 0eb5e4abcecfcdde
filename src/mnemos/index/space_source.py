"""What a space's index reads: a store's snapshot, and where its vectors lie that are too many for memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from mnemos.base.chain import Entry
from mnemos.base.cube import State
from mnemos.base.errors import MnemosError

if TYPE_CHECKING:
    from mnemos.index.spann.index import SpannIndex


class Source(Protocol):
    """What the index reads of a store's snapshot."""

    position: int

    def index_rows(self, space: int, since: int) -> Iterable[tuple[Any, ...]]: ...
    def index_changes(self, space: int, since: int) -> Iterable[Entry]: ...
    def vectors(self, space: int, since: int) -> Iterable[tuple[int, int, bytes]]: ...
    def vectors_at(self, space: int, seqs: NDArray[np.int64]) -> Iterable[tuple[int, int, bytes]]: ...
    def metadata(self, space: int, since: int) -> Iterable[tuple[int, str | None]]: ...
    def embedders(self) -> dict[int, tuple[str, int]]: ...
    def vector_round(self) -> int: ...
    def states_at(self, space: int, position: int) -> dict[UUID, State]: ...


class Beyond(Protocol):
    """Where vectors are kept that are too many for memory."""

    def get(self, space: int, embedder: int, vector_round: int) -> SpannIndex | None:
        """The index on disk of a space's vectors by one embedder, as of a round of writing them; None where there is none that is complete."""
        ...

    def lost(self, disk: SpannIndex, error: MnemosError) -> None:
        """What `get` gave failed, and is not to be given again."""
        ...
