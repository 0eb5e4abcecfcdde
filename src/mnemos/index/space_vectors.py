"""The vectors of a space's rows, by the embedder that made them: in memory, or, when they are too many, on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from mnemos.base.errors import Corrupt
from mnemos.index.disk_vectors import DiskVectors
from mnemos.index.exact import ExactIndex
from mnemos.index.growing import Growing
from mnemos.index.space_source import Beyond, Source
from mnemos.index.vectors import Floats, Mask, Rows, VectorIndex


class SpaceVectors(dict[int, VectorIndex]):
    """What holds the vectors of rows whose log positions are `seq` (n,), ascending, by number of embedder. A row has one of one embedder at most."""

    def __init__(self, space: int, seq: Growing, beyond: Beyond | None) -> None:
        super().__init__()
        self.erase_again = False
        """Something is forgotten that is still on disk: another process has had it forgotten."""
        self._space, self._seq, self._beyond = space, seq, beyond
        self._embedders: dict[int, tuple[str, int]] = {}
        self._round = -1
        self._until = 0

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        return sum(index.nbytes for index in self.values())

    def catch_up(self, source: Source, forgotten: Callable[[], Rows]) -> None:
        """Bring them to the position of `source`, that of the rows, of which those that `forgotten` gives are gone. Vectors are written with their
        rows, and again, in rounds, when another embedder takes over."""
        current = source.vector_round()
        if current > self._round:  # a snapshot from before the round has nothing to add
            self._begin_again()
            self._round = current
        self._take_from_disk(source, forgotten)
        if self._until == source.position:
            return
        on_disk = self._on_disk()
        if not self._until and self._embedders and len(on_disk) == len(self._embedders):
            self._until = min(index.base for index in on_disk)
        self._put(source.vectors(self._space, self._until), source)
        self._until = source.position
        for index in on_disk:
            if len(rows := index.lacking()):  # a text without a word has a vector of zeros, which is not there
                self._put(source.vectors_at(self._space, self._seq.view()[rows]), source)

    def forget_rows(self, rows: Sequence[int]) -> None:
        """Rows are gone: nothing of them is held in memory beside the matrices, whose bytes go when the index is made anew."""
        for index in self._on_disk():
            self.erase_again |= index.forget_rows(rows)

    def cosines(self, queries: Mapping[int, Floats], allowed: Mask | None = None) -> Floats | None:
        """Cosine of each row with the query vector of the row's embedder (`queries`: embedder → vector): (n,), NaN where there is none; None where
        no row has one. Of the rows `allowed`, the nearest are exact (see `VectorIndex.scores`)."""
        n, out = len(self._seq), None
        for embedder, query in queries.items():
            index = self.get(embedder)
            if index is None or not len(index):
                continue
            values = index.scores(query, n, allowed)
            out = values if out is None else np.where(np.isnan(out), values, out)
        return out

    def _on_disk(self) -> list[DiskVectors]:
        return [index for index in self.values() if isinstance(index, DiskVectors)]

    def _begin_again(self) -> None:
        self.clear()
        self._until = 0

    def _put(self, vectors: Iterable[tuple[int, int, bytes]], source: Source) -> None:
        found: dict[int, tuple[list[int], list[bytes]]] = {}
        for seq, embedder, value in vectors:
            seqs, values = found.setdefault(embedder, ([], []))
            seqs.append(seq)
            values.append(value)
        for embedder, (seqs, values) in found.items():
            if embedder not in self._embedders:
                self._embedders = source.embedders()
            size = self._embedders[embedder][1]
            data = b"".join(values)
            if len(data) != 4 * size * len(values):
                raise Corrupt(f"vectors of space {self._space}: not all have {size} dimensions; run `mnemos verify`, or restore a backup")
            rows: Rows = np.searchsorted(self._seq.view(), seqs)
            self.setdefault(embedder, ExactIndex(size)).put(rows, np.frombuffer(data, dtype="<f4").reshape(-1, size))

    def _take_from_disk(self, source: Source, forgotten: Callable[[], Rows]) -> None:
        """Leave to the disk what has come to be there; take from the store what is not there any more."""
        if self._beyond is None:
            return
        if not self._embedders:
            self._embedders = source.embedders()
        for embedder in self._embedders:
            held, disk = self.get(embedder), self._beyond.get(self._space, embedder, self._round)
            if isinstance(held, DiskVectors):
                if held.disk is disk:
                    held.settle()
                    continue
                self._begin_again()
                self._take_from_disk(source, forgotten)
                return
            if disk is None or disk.dimensions != self._embedders[embedder][1]:
                continue
            index = self[embedder] = DiskVectors(disk, self._seq, self._beyond.lost)
            if isinstance(held, ExactIndex):
                index.take(held, without=forgotten().tolist())
