"""How redundant a space is, of what the caller may read, and which groups of memories are worth merging. Nothing is changed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid, shown
from mnemos.index.disk_vectors import VectorsLost
from mnemos.kernel.reading.searching import findable
from mnemos.kernel.reading.viewing import Viewing
from mnemos.store.base import Filter
from mnemos.text.redundancy import Vectors, amount, groups, topics

if TYPE_CHECKING:
    from mnemos.kernel.space import Space

WAYS = ("topic", "type", "author", "source")
"""What memories can be grouped by."""
ATTEMPTS = 8
"""Times that another look is taken, because vectors on disk were being renewed."""
SEED = 0
"""Of the clusters, so that the same memories make the same topics."""


@dataclass(frozen=True)
class Overlap:
    """Memories that stand together. `ids`: those first that add least to what the others say; `label`: what they have in common, or, of a topic, the
    id of the memory in its middle."""

    label: str
    ids: tuple[str, ...]
    different: float
    redundancy: float


@dataclass(frozen=True)
class Redundancy:
    """Of `memories` that the caller may read and that have a vector: see `text.redundancy.Amount`. `overlaps`: groups of them, the most redundant
    first, as a suggestion of what to look at: `space.transform("merge", overlap.ids)` makes one memory of a group where nothing is lost by it.
    `left_out`: memories without a vector, or with one of another embedder than most."""

    memories: int
    different: float
    redundancy: float
    by: str
    overlaps: tuple[Overlap, ...]
    left_out: int

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "overlaps": [{**asdict(each), "ids": list(each.ids)} for each in self.overlaps]}


def redundancy(space: Space, where: Filter, by: str, limit: int, least: float) -> Redundancy:
    """See `Space.redundancy`."""
    if by not in WAYS:
        raise Invalid(f"by: memories are not grouped by {shown(by)}; there are {', '.join(WAYS)}")
    if isinstance(least, bool) or not isinstance(least, (int, float)) or not 0 <= least <= 1:
        raise Invalid(f"least: expected a redundancy in [0, 1], not {shown(least)}")
    seen = _looked(space, where, by)
    kept = seen.vectors
    whole = amount(kept)
    labels = topics(kept, np.random.default_rng(SEED)) if seen.codes is None else seen.codes
    overlaps = [
        Overlap(seen.ids[each.label] if seen.codes is None else seen.names[each.label], tuple(seen.ids[at] for at in each.members),
                each.amount.different, each.amount.redundancy)
        for each in groups(kept, labels) if each.amount.redundancy >= least
    ]  # fmt: skip
    return Redundancy(len(kept), whole.different, whole.redundancy, by, tuple(overlaps[:limit]), seen.left_out)


class _Seen(NamedTuple):
    ids: list[str]
    vectors: Vectors
    codes: NDArray[np.int64] | None
    """What they are grouped by, as places among `names`; None: they are to be clustered."""
    names: list[str]
    left_out: int


def _looked(space: Space, where: Filter, by: str) -> _Seen:
    """The memories that the caller may read, with vectors of one embedder: of that which has most of them."""
    system, attempts = space.system, 0
    while True:
        with system.snapshot() as snapshot:
            viewing = Viewing.of(space, snapshot)
            index = system.index(space.num, snapshot)
            with index.lock:
                if index.position > snapshot.position:  # another thread has seen a newer store: look again
                    continue
                system.indexes.catch_up(index, snapshot)
                masks = findable(snapshot, index, viewing.shown_position(None), viewing.narrowed(where), system.clock(), space.omitted)
                rows = np.flatnonzero(masks.allowed & (index.whole.view() < 0))  # parts of a document are one memory, and are not merged
                try:
                    held = [its.vectors(rows) for its in index.vectors.values()]
                except VectorsLost:
                    if attempts >= ATTEMPTS:
                        raise
                    attempts += 1
                    continue
                vectors = max(held, key=lambda its: int(its.any(1).sum()), default=np.zeros((len(rows), 1), dtype=np.float32))
                there = vectors.any(1)
                columns = {"type": (index.type, index.types), "author": (index.author, index.authors), "source": (index.source, index.sources)}
                codes, names = (None, []) if by == "topic" else (columns[by][0].view()[rows[there]], [*columns[by][1].words, ""])  # -1: none
                ids = [str(index.id_at(int(row))) for row in rows[there]]
                return _Seen(ids, vectors[there], codes, names, len(rows) - len(ids))
