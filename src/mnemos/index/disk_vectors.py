"""A space's vectors beyond memory: those up to some position of the log in a SPANN index on disk, all others exact, in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Corrupt, Invalid, MnemosError, NotFound
from mnemos.index.exact import ExactIndex
from mnemos.index.growing import Growing
from mnemos.index.vectors import Floats, Mask, Rows

if TYPE_CHECKING:
    from mnemos.index.spann.filters import Allowed
    from mnemos.index.spann.index import SpannIndex

Told = TypeVar("Told")

NEAR = 512
"""So many of the nearest rows get their exact cosine: more than a search weighs in full."""
_WIDER = 4
"""So many times more lists are read than the index would read for ten. Reading the vectors of so many rows takes most of the time anyway: on 60,000
texts by MiniLM four times the lists take 4.7 ms instead of 4.3, and find 99.5 of 100 of the ten nearest instead of 96.5."""
_SPARSE = 32
"""Where the log has more positions for each row of this space, a search has its versions looked up; else it gets a mask by position."""
_NEAREST = 64
"""No row that was not looked at counts as nearer than so many of those that were."""
_SAMPLE = 2048
"""From so many rows it is told how near a row is that was not looked at: a ranking asks where a cosine stands between the mean and the largest."""


class VectorsLost(Corrupt):
    """The index on disk cannot be read or mended. Nothing is lost: the store has the vectors, and whoever asks again reads them from there."""


class DiskVectors:
    """Vectors of rows whose log positions are `seq` (n,), ascending; an index on disk knows a vector by the log position of its version.

    The index on disk may hold versions that this space's view does not have (yet, or any more): they are never found. Several views share it, while
    others add to it and erase from it. `lost` is called with what went wrong where it fails, before `VectorsLost` is raised.
    """

    def __init__(self, disk: SpannIndex, seq: Growing, lost: Callable[[SpannIndex, MnemosError], None] | None = None) -> None:
        self.dimensions = disk.dimensions
        self.disk = disk
        self.base = disk.position
        """Vectors of versions after this position are held in memory; those before it as well, where the disk lacks them."""
        self._seq = seq
        self._lost = lost
        self._tail = ExactIndex(self.dimensions)
        self._on_disk = np.zeros(0, dtype=bool)
        self._looked = 0
        self._sample: tuple[Rows, Floats] = np.zeros(0, dtype=np.int64), np.zeros((0, self.dimensions), dtype=np.float32)

    def __len__(self) -> int:
        return int(np.count_nonzero(self._known())) + len(self._tail)

    @property
    def nbytes(self) -> int:
        return self.disk.nbytes + self._tail.nbytes + self._on_disk.nbytes + self._sample[1].nbytes

    @property
    def tail(self) -> int:
        """How many vectors are held in memory."""
        return len(self._tail)

    @property
    def waiting(self) -> int:
        """How many of them wait to go to disk."""
        return int(np.count_nonzero(self._seq.view()[self._tail.rows] > self.base))

    def put(self, rows: Rows, vectors: Floats) -> None:
        fresh = ~self._are_known(rows)
        self._tail.put(rows[fresh], vectors[fresh])

    def take(self, other: ExactIndex, without: Sequence[int] = ()) -> None:
        """Hold the vectors that another index has and the disk lacks, but for those of rows `without`."""
        rows = np.setdiff1d(other.rows, without)
        rows = rows[~self._are_known(rows)]
        self._tail.put(rows, other.vectors(rows))

    def lacking(self) -> Rows:
        """Rows up to `base` of which neither disk nor memory has a vector; each is told once."""
        start, known = self._looked, self._known()
        self._looked = len(known)
        absent = ~known[start:]
        rows = self._tail.rows
        absent[rows[(rows >= start) & (rows < len(known))] - start] = False
        return start + np.flatnonzero(absent)

    def settle(self) -> None:
        """Let go of what has come to be on disk."""
        base = self.disk.position
        if base <= self.base:
            return
        self.base = base
        tail, self._tail = self._tail, ExactIndex(self.dimensions)
        self.take(tail)

    def scores(self, query: Floats, n: int, allowed: Mask | None = None) -> Floats:
        if query.shape != (self.dimensions,):
            raise Invalid(f"query vector: has shape {query.shape}, vectors here have {self.dimensions} dimensions")
        out = self._tail.scores(query, n)
        known = self._known()[:n]
        if not known.any():
            return out
        if not query.any():
            out[: len(known)][known] = 0.0
            return out
        seqs, may = self._seq.view(), self._may(known, allowed)
        found = self._ask(lambda: self.disk.search(query, NEAR, may, lists=_WIDER * self.disk.settings.lists))
        rows = np.searchsorted(seqs, found.ids)
        near = np.minimum(rows, len(known) - 1)
        here = (seqs[near] == found.ids) & known[near]  # others change the disk meanwhile
        rows, cosines = rows[here], 1 - found.distances[here]
        rest = known.copy()
        rest[rows] = False
        out[: len(known)][rest] = min(float(cosines[:_NEAREST].min(initial=1.0)), self._typical(query, rest, allowed))
        out[rows] = cosines
        return out

    def _may(self, known: Mask, allowed: Mask | None) -> Allowed | None:
        """Which versions on disk a search may give: those of the rows `known`, and of these of the rows `allowed`, where there are such rows. None
        where that is all of them."""
        if allowed is not None:
            known = known[: len(allowed)] & allowed[: len(known)]
        seqs, count = self._seq.view()[: len(known)], int(np.count_nonzero(known))
        if count == len(self.disk):
            return None
        if not count or self.base <= _SPARSE * len(known):  # a mask by position is made faster than each version is looked up
            mask = np.zeros(int(seqs[-1]) + 1 if count else 0, dtype=bool)
            mask[seqs[known]] = True
            return mask

        def looked_up(ids: NDArray[np.int64]) -> Mask:
            rows = np.searchsorted(seqs, ids)
            near = np.minimum(rows, len(known) - 1)
            there: Mask = (seqs[near] == ids) & known[near]
            return there

        return looked_up

    def _typical(self, query: Floats, rest: Mask, allowed: Mask | None) -> float:
        """About the mean cosine of the rows `rest`, of those `allowed` where they are some."""
        rows, vectors = self._sample
        if 2 * len(rows) < min(int(np.count_nonzero(self._known())), _SAMPLE) or (len(rows) and len(self._known()) > 2 * rows[-1] + 2):
            there = np.flatnonzero(self._known())
            rows = there[np.unique(np.linspace(0, len(there) - 1, _SAMPLE).astype(np.int64))]
            vectors = self.vectors(rows)
            self._sample = rows, vectors
        counted = (rows < len(rest)) & rest[np.minimum(rows, len(rest) - 1)]
        if allowed is not None and len(allowed):
            chosen = counted & (rows < len(allowed)) & allowed[np.minimum(rows, len(allowed) - 1)]
            counted = chosen if chosen.any() else counted
        return float((vectors[counted] @ query).mean()) if counted.any() else -1.0

    def scores_of(self, queries: Floats, n: int, allowed: Mask | None = None) -> Floats:
        if queries.ndim != 2 or queries.shape[1] != self.dimensions:
            raise Invalid(f"query vectors: have shape {queries.shape}, vectors here have {self.dimensions} dimensions")
        return np.array([self.scores(query, n, allowed) for query in queries], dtype=np.float32).reshape(len(queries), n)

    def vectors(self, rows: Rows) -> Floats:
        out = self._tail.vectors(rows)
        there = np.flatnonzero((rows >= 0) & self._are_known(rows))
        while len(there):
            seqs, places = np.unique(self._seq.view()[rows[there]], return_inverse=True)
            try:
                out[there] = self._ask(lambda: self.disk.vectors(seqs))[places]  # noqa: B023  (it is called here and now)
                break
            except NotFound:  # somebody has just had one of them erased, as the log will tell this view
                there = there[self.disk.has(self._seq.view()[rows[there]])]
        return out

    def forget_rows(self, rows: Sequence[int]) -> bool:
        """Rows are gone, also from the index on disk; give whether some are still there: another process had them forgotten."""
        known = self._known()
        if np.isin(rows, self._tail.rows).any():
            tail, self._tail = self._tail, ExactIndex(self.dimensions)
            self.take(tail, without=rows)
        gone = np.array([row for row in rows if row < len(known)], dtype=np.int64)
        known[gone] = False
        return bool(self.disk.has(self._seq.view()[gone]).any())

    def _are_known(self, rows: Rows) -> Mask:
        """Which of `rows` have a vector on disk."""
        known = self._known()
        if not len(known):
            return np.zeros(len(rows), dtype=bool)
        return (rows < len(known)) & known[np.minimum(rows, len(known) - 1)]

    def _known(self) -> Mask:
        """Which of the rows up to `base` have a vector on disk."""
        end = int(np.searchsorted(self._seq.view(), self.base, side="right"))
        if len(self._on_disk) < end:
            more = self.disk.has(self._seq.view()[len(self._on_disk) : end])
            self._on_disk = np.concatenate([self._on_disk, more])
        return self._on_disk

    def _ask(self, ask: Callable[[], Told]) -> Told:
        """What the index on disk says. Raises `VectorsLost`."""
        try:
            return ask()
        except (NotFound, Invalid):
            raise
        except MnemosError as error:
            if self._lost is not None:
                self._lost(self.disk, error)
            raise VectorsLost(f"the vectors on disk cannot be read ({error}); ask again: they are read from the store then") from error
