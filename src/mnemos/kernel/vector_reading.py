"""What the indexes of vectors on disk are made from: vectors of a store, read some at a time, each time as it is then."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Corrupt

if TYPE_CHECKING:
    from mnemos.index.spann.index import SpannIndex
    from mnemos.store.sqlite import SqliteStore
    from mnemos.store.sqlite_read import Reader

Seqs = NDArray[np.int64]
Floats = NDArray[np.float32]

_BLOCK = 2048


class Place(NamedTuple):
    """Whose vectors an index has: a space's, by one embedder."""

    space: int
    embedder: int


def head_at(snapshot: Reader, position: int) -> str | None:
    """The hash of the log's entry at a position, which names all of the log up to there."""
    entry = next(iter(snapshot.log(position - 1, 1)), None)
    return entry.hash.hex() if entry is not None and entry.seq == position else None


def note_heads(disk: SpannIndex, snapshot: Reader, *positions: int) -> None:
    """Let an index keep what the log was at the positions that its next checkpoint may have."""
    disk.note["heads"] = {str(position): head_at(snapshot, position) for position in positions}


def belongs(disk: SpannIndex, position: int | None, snapshot: Reader) -> bool:
    """Whether an index was made from the history that the store has up to `position`: not from one that a backup has replaced, and not of vectors
    that were made anew since."""
    head = None if position is None else head_at(snapshot, position)
    return head is not None and disk.note.get("round") == snapshot.vector_round() and disk.note.get("heads", {}).get(str(position)) == head


def next_block(snapshot: Reader, place: Place, since: int, dimensions: int) -> tuple[int, Seqs, Floats]:
    """Some of the vectors after `since` that are not zero, with their log positions; and how far the log has been read with them."""
    seqs, values, until = [], [], snapshot.position
    for seq, embedder, value in snapshot.vectors(place.space, since):
        if embedder == place.embedder:
            seqs.append(seq)
            values.append(value)
        if len(seqs) == _BLOCK:
            until = seq
            break
    vectors = _matrix(values, dimensions)
    some = vectors.any(axis=1)
    return until, np.array(seqs, dtype=np.int64)[some], vectors[some]


def vectors_at(store: SqliteStore, place: Place, seqs: Seqs, dimensions: int) -> Floats:
    """The vectors (m, dimensions) at log positions `seqs` (m,). One that is forgotten by now is some unit vector: what it was given for is erased."""
    out = np.zeros((len(seqs), dimensions), dtype=np.float32)
    out[:, 0] = 1
    order = np.argsort(seqs)
    for start in range(0, len(seqs), _BLOCK):
        block = order[start : start + _BLOCK]
        with store.committed() as snapshot:
            found = [(seq, value) for seq, embedder, value in snapshot.vectors_at(place.space, seqs[block]) if embedder == place.embedder]
        vectors = _matrix([value for _, value in found], dimensions)
        some = vectors.any(axis=1)
        rows = block[np.searchsorted(seqs[block], np.array([seq for seq, _ in found], dtype=np.int64))]
        out[rows[some]] = vectors[some]
    return out


def usable(store: SqliteStore, place: Place, seqs: Seqs) -> Seqs:
    """Those of the log positions that have a vector which is not zero: a text without a word has one of zeros, which is near to nothing."""
    kept = []
    for start in range(0, len(seqs), _BLOCK):
        with store.committed() as snapshot:
            rows = snapshot.vectors_at(place.space, seqs[start : start + _BLOCK])
            kept += [seq for seq, embedder, value in rows if embedder == place.embedder and any(value)]
    return np.array(kept, dtype=np.int64)


def _matrix(values: list[bytes], dimensions: int) -> Floats:
    """Vectors (m, dimensions) of their bytes. Raises `Corrupt`."""
    if any(len(value) != 4 * dimensions for value in values):
        raise Corrupt(f"vectors: not all have {dimensions} dimensions; run `mnemos verify`, or restore a backup")
    return np.frombuffer(b"".join(values), dtype="<f4").reshape(len(values), dimensions)
