"""Locality-sensitive hashing of unit vectors: nearest neighbours without looking at all of them.

Source: Think-in-Memory, arXiv 2311.08719, section 3.2: F(x) = argmax([xR; -xR]). Several tables, runner-up coordinates as further probes (after Lv et
al., Multi-Probe LSH, VLDB 2007) and centred vectors are added: one bucket of one table misses neighbours that lie beyond its border, and real
embeddings fill a cone. Below `exact_below` vectors every one is compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid
from mnemos.index.growing import Growing

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
_AT_ONCE = 2048
"""Vectors that are hashed together."""
_GATHERED = 256
"""Vectors that are compared together: 384 KiB of 384 dimensions."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """How vectors are hashed. The paper gives no values; these are the sheet's where nothing else is said."""

    tables: int = 4
    """L, independent hash functions; 1 or more."""
    probes: int = 3
    """p, buckets of each table that a query looks into; 1 to `fewest` / 2."""
    seed: int = 0
    per_bucket: int = 256
    """Vectors a bucket holds on average at most; decides how many buckets there are. The sheet's 32 projects the query on eight times as many
    directions, which leave the processor's cache and occupy several of its cores, and finds less (`mnemos bench thoughts`)."""
    fewest: int = 8
    most: int = 4096
    """Least and most buckets of a table, powers of two."""
    cap: int = 1024
    """Vectors of one bucket from which on the number of buckets is doubled, up to `most`; the sheet's 256, for as many more in a bucket."""
    exact_below: int = 2000

    def __post_init__(self) -> None:
        for name in ("fewest", "most"):
            value = getattr(self, name)
            if value < 2 or value & (value - 1):
                raise Invalid(f"hashing.{name}: expected a power of two, not {value!r}")
        if self.tables < 1 or not 1 <= self.probes <= self.fewest // 2 or self.most < self.fewest or self.per_bucket < 1:
            raise Invalid(f"hashing: {self!r} is out of range")


DEFAULTS = Parameters()


class Near(NamedTuple):
    """Neighbours, nearest first: `ids` and `cosines` (k,); `compared`: how many vectors were looked at."""

    ids: Rows
    cosines: Floats
    compared: int


class Hash:
    """F(x) for one table. Its random directions are drawn from the seed once, those of fewer buckets first, so that a table can grow."""

    def __init__(self, dimensions: int, most: int, seed: int, table: int) -> None:
        rng = np.random.default_rng([seed, table])
        self._directions = rng.standard_normal((most // 2, dimensions)).astype(np.float32)

    def __call__(self, vectors: Floats, buckets: int) -> Rows:
        """The bucket, 0 to `buckets` - 1, of each of vectors (n, d); of the lower number where two are as near."""
        out = np.empty(len(vectors), dtype=np.int64)
        for start in range(0, len(vectors), _AT_ONCE):
            out[start : start + _AT_ONCE] = self._along(vectors[start : start + _AT_ONCE], buckets).argmax(axis=1)
        return out

    def directions(self, buckets: int) -> Floats:
        """(buckets / 2, d) what vectors are projected on."""
        return self._directions[: buckets // 2]

    def _along(self, vectors: Floats, buckets: int) -> Floats:
        projected = vectors @ self.directions(buckets).T
        return np.concatenate([projected, -projected], axis=1)


def probes(projected: Floats, count: int) -> Rows:
    """(tables, count) the bucket of a vector in each table, then those that it nearly fell into, by its projections (tables, buckets / 2). At most
    half of the buckets, the nearest of which are then those on the vector's side of each direction."""
    along = np.abs(projected)
    best = np.argpartition(along, -count, axis=1)[:, -count:]
    buckets = best + (np.take_along_axis(projected, best, axis=1) < 0) * projected.shape[1]
    order = np.lexsort((buckets, -np.take_along_axis(along, best, axis=1)), axis=1)
    return np.take_along_axis(buckets, order, axis=1)


class HashedIndex:
    """Vectors by id, in buckets; `fingerprint` names the embedder that made them, and no other's are let in."""

    def __init__(self, dimensions: int, fingerprint: str = "", parameters: Parameters = DEFAULTS) -> None:
        self.dimensions, self.fingerprint, self.parameters = dimensions, fingerprint, parameters
        self.buckets = parameters.fewest
        self.mean = np.zeros(dimensions, dtype=np.float32)
        """What is taken off each vector before it is hashed; drawn anew whenever the number of buckets changes."""
        self._hashes: list[Hash] = []
        self._directions = np.zeros((0, dimensions), dtype=np.float32)
        """Those of all tables as they are now, one after the other: a query meets them in one product."""
        self._ids = Growing(np.int64)
        self._vectors = Growing(np.float32, dimensions)
        self._alive = Growing(np.bool_)
        self._place: dict[int, int] = {}
        self._tables: list[dict[int, Rows]] = []
        self._keys = Growing(np.int64, parameters.tables)
        self._lost: list[int] = []
        """Places of zero vectors, which have no direction: every search looks at them."""

    def __len__(self) -> int:
        return len(self._place)

    @property
    def hashed(self) -> bool:
        """Whether searches go by buckets."""
        return bool(self._tables)

    # -- writing --
    def add(self, ids: Rows, vectors: Floats, fingerprint: str | None = None) -> None:
        """Put vectors (m, d), each of its id; an id that has one gets the new one. Raises `Invalid` for another embedder's."""
        if fingerprint is not None and fingerprint != self.fingerprint:
            raise Invalid(f"vectors of {fingerprint!r} among those of {self.fingerprint!r}: make a new index of all texts")
        if vectors.shape != (len(ids), self.dimensions):
            raise Invalid(f"vectors: have shape {vectors.shape}, expected {(len(ids), self.dimensions)}")
        last = {id: at for at, id in enumerate(ids.tolist())}
        kept = list(last.values())
        self.remove(np.array(list(last), dtype=np.int64))
        start = len(self._ids)
        self._ids.extend(np.array(list(last), dtype=np.int64))
        self._vectors.extend(np.asarray(vectors, dtype=np.float32)[kept])
        self._alive.extend(np.ones(len(kept), dtype=bool))
        self._place.update({id: start + at for at, id in enumerate(last)})
        if len(self) < self.parameters.exact_below and not self.hashed:
            return
        if not self.hashed or self._wanted() > self.buckets:
            self._rebuild(max(self._wanted(), self.buckets))
        else:
            self._insert(start)
            self._split()

    def remove(self, ids: Rows) -> None:
        """Take vectors out; ids that have none are passed over."""
        for id in ids.tolist():
            place = self._place.pop(id, None)
            if place is None:
                continue
            self._alive.view()[place] = False
            if not self.hashed:
                continue
            if place in self._lost:
                self._lost.remove(place)
                continue
            for table, bucket in zip(self._tables, self._keys.view()[place].tolist(), strict=True):
                table[bucket] = table[bucket][table[bucket] != place]
                if not len(table[bucket]):
                    del table[bucket]

    def _wanted(self) -> int:
        """Buckets for as many vectors as there are."""
        limits = self.parameters
        needed = max(len(self) / limits.per_bucket, 1.0)
        return int(min(max(2 ** int(np.ceil(np.log2(needed))), limits.fewest), limits.most))

    def _rebuild(self, buckets: int) -> None:
        """Hash every vector anew into as many buckets; what was removed is let go."""
        alive = np.flatnonzero(self._alive.view())
        ids, vectors = self._ids.view()[alive], self._vectors.view()[alive]
        limits = self.parameters
        if not self._hashes:
            self._hashes = [Hash(self.dimensions, limits.most, limits.seed, table) for table in range(limits.tables)]
        self.buckets = buckets
        self._directions = np.concatenate([hash.directions(buckets) for hash in self._hashes])
        self.mean = np.asarray(vectors.mean(axis=0), dtype=np.float32)
        self._ids, self._vectors = Growing(np.int64), Growing(np.float32, self.dimensions)
        self._alive, self._keys = Growing(np.bool_), Growing(np.int64, limits.tables)
        self._ids.extend(ids)
        self._vectors.extend(vectors)
        self._alive.extend(np.ones(len(ids), dtype=bool))
        self._place = {id: at for at, id in enumerate(ids.tolist())}
        self._tables, self._lost = [{} for _ in range(limits.tables)], []
        self._insert(0)
        self._split()

    def _insert(self, start: int) -> None:
        """Put the vectors from a place on into their buckets."""
        vectors = self._vectors.view()[start:]
        keys = self.keys(vectors)
        self._keys.extend(keys)
        directed = vectors.any(axis=1)
        self._lost += (start + np.flatnonzero(~directed)).tolist()
        places = np.flatnonzero(directed)
        for table, held in zip(self._tables, keys[places].T, strict=True):
            order = np.argsort(held, kind="stable")
            buckets, starts = np.unique(held[order], return_index=True)
            for bucket, more in zip(buckets.tolist(), np.split(start + places[order], starts[1:]), strict=True):
                table[bucket] = np.concatenate([table[bucket], more]) if bucket in table else more.copy()

    def _split(self) -> None:
        fullest = max((len(places) for table in self._tables for places in table.values()), default=0)
        if fullest > self.parameters.cap and self.buckets < self.parameters.most:
            self._rebuild(2 * self.buckets)

    # -- reading --
    def keys(self, vectors: Floats) -> Rows:
        """The bucket of vectors (n, d) in each table, (n, tables), as buckets are now."""
        if not self.hashed:
            raise Invalid(f"hashing begins at {self.parameters.exact_below:,} vectors; this index has {len(self):,}")
        centred = np.asarray(vectors - self.mean, dtype=np.float32)
        return np.stack([hash(centred, self.buckets) for hash in self._hashes], axis=1)

    def contents(self, table: int) -> dict[int, list[int]]:
        """The ids in each bucket of a table."""
        ids = self._ids.view()
        return {bucket: ids[places].tolist() for bucket, places in self._tables[table].items()}

    def candidates(self, vector: Floats) -> Rows:
        """The places that a search for a vector looks at."""
        if not self.hashed or not vector.any():
            return np.flatnonzero(self._alive.view())
        centred = np.asarray(vector - self.mean, dtype=np.float32)
        projected = (self._directions @ centred).reshape(len(self._tables), -1)
        near = probes(projected, self.parameters.probes).tolist()
        found = [table[bucket] for table, buckets in zip(self._tables, near, strict=True) for bucket in buckets if bucket in table]
        places = np.sort(np.concatenate([np.array(self._lost, dtype=np.int64), *found]))
        return places[np.diff(places, prepend=-1) > 0]  # `unique`, in a quarter of its time

    def search(self, vector: Floats, k: int, allowed: NDArray[np.bool_] | None = None, least: float = -1.0) -> Near:
        """The `k` nearest of those whose id `allowed` (by id) lets through, with a cosine of at least `least`, among the candidates.
        `vector` (d,) is a unit vector."""
        if vector.shape != (self.dimensions,):
            raise Invalid(f"query vector: has shape {vector.shape}, vectors here have {self.dimensions} dimensions")
        places = self.candidates(vector)
        ids = self._ids.view()[places]
        if allowed is not None:
            let = allowed[ids]
            places, ids = places[let], ids[let]
        whole = len(places) == len(self._ids)
        cosines = np.asarray(self._vectors.view() @ vector if whole else _products(self._vectors.view(), places, vector), dtype=np.float32)
        best = np.argpartition(-cosines, k)[:k] if k < len(cosines) else np.arange(len(cosines))
        best = best[np.lexsort((ids[best], -cosines[best]))]
        best = best[cosines[best] >= least]
        return Near(ids[best], cosines[best], len(places))


def _products(vectors: Floats, places: Rows, vector: Floats) -> Floats:
    """(len(places),) products of some of vectors (n, d) with one. Few are gathered at a time, so that they stay in the processor's cache and no
    search asks the system for memory."""
    out = np.empty(len(places), dtype=np.float32)
    some = np.empty((_GATHERED, vectors.shape[1]), dtype=np.float32)
    for start in range(0, len(places), _GATHERED):
        wanted = places[start : start + _GATHERED]
        gathered = some[: len(wanted)]
        np.take(vectors, wanted, axis=0, out=gathered, mode="clip")
        np.matmul(gathered, vector, out=out[start : start + len(wanted)])
    return out
