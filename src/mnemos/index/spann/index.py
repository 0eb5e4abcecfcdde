"""Vectors beyond memory: SPANN (arXiv 2111.08566) with updates in place (SPFresh, arXiv 2410.14452), derived from a log.

In memory are the heads and a few bytes a vector; lists and vectors are on disk. The index follows a log whose entries are durable elsewhere, and says
how far (`position`): a checkpoint makes that durable, and after a stop, however sudden, the owner applies what came after it again. `decisions/` in
docs says why there is no journal of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Conflict, Invalid, NotFound
from mnemos.base.protocols import Progress
from mnemos.index.spann import building, checking, opening
from mnemos.index.spann.attributes import Where, Words, checked_marks, marking
from mnemos.index.spann.codes import Floats
from mnemos.index.spann.disk import Disk
from mnemos.index.spann.erasing import erase, overwrite
from mnemos.index.spann.filters import Allowed, wheres_of
from mnemos.index.spann.head_index import Kernel
from mnemos.index.spann.inputs import checked_count, checked_ids
from mnemos.index.spann.manifest import MANIFEST, TABLES
from mnemos.index.spann.metric import checked
from mnemos.index.spann.opening import LISTS, VECTORS, Opened
from mnemos.index.spann.options import Options
from mnemos.index.spann.parts import Numbers, Settings, Source
from mnemos.index.spann.saving import Saver
from mnemos.index.spann.scanning import Found
from mnemos.index.spann.searching import Searcher
from mnemos.index.spann.tuning import Tuner
from mnemos.index.spann.updating import Updater
from mnemos.index.spann.working import one_blas_thread

_LATER = 1.25
"""An add makes a checkpoint itself only where so many times what makes it due waits: while somebody tends, it is made there."""
_PATIENCE, _IMPATIENCE = 256, 1024
"""Where so many lists wait to be split, an add splits one itself; where so many do, also if it has to wait for the step that goes on: the backlog
cannot grow without end."""


class SpannIndex:
    """An index of vectors (d,) under ids (int64). Safe for threads: searches run beside each other and beside changes.

    Nothing is durable before `checkpoint`. `source` gives the vectors of ids from where they are kept for good; with it, damage to vectors is mended
    when it is found. `cache`: a mapping, safe for threads, that may hold lists of this index which searches read often, whole, by number
    (`mnemos.cache.mapping.EvictingCache(nbytes, size=len)` fits). `kernel`: see `head_index.Kernel`.
    """

    def __init__(self, opened: Opened) -> None:
        """Use `create` or `open`."""
        self._disk, self._parts, self._mender, self._meta = opened.disk, opened.parts, opened.mender, opened.meta
        self.dimensions = int(self._meta["dimensions"])
        self._updater = Updater(self._parts, self._mender)
        self._searcher = Searcher(self._parts, self._mender)
        self._tuner = Tuner(self._parts, self._mender, self._updater, opened.queries)
        self._saver = Saver(opened, self._updater, self._tuner)

    # -- coming and going --
    @classmethod
    def create(
        cls,
        folder: Path | str | Disk,
        dimensions: int,
        options: Options | None = None,
        *,
        source: Source | None = None,
        cache: MutableMapping[int, bytes] | None = None,
        kernel: Kernel = "numpy",
    ) -> Self:
        """A new, empty index in a folder of its own. Raises `Conflict` where there is one, `Invalid` for a kernel that this process cannot have."""
        index = cls(opening.created(folder, dimensions, options or Options(), source, cache, kernel))
        index.checkpoint()
        return index

    @classmethod
    def open(
        cls,
        folder: Path | str | Disk,
        *,
        source: Source | None = None,
        cache: MutableMapping[int, bytes] | None = None,
        kernel: Kernel = "numpy",
    ) -> Self:
        """The index in a folder, as of its last checkpoint. Raises `NotFound` where there is none, `Invalid` for a kernel that this process cannot
        have, and `Corrupt` where it is damaged beyond what can be mended from it: then it is built again from the log."""
        return cls(opening.opened(folder, source, cache, kernel))

    def close(self) -> None:
        """Let go of the files. What was not checkpointed is applied again from the log next time."""
        close = getattr(self._disk, "close", None)
        if close:
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what there is --
    def __len__(self) -> int:
        return len(self._parts.slots)

    def __contains__(self, key: int) -> bool:
        return bool(self.has(np.array([key], dtype=np.int64))[0])

    @property
    def options(self) -> Options:
        return self._parts.options

    @property
    def settings(self) -> Settings:
        """How wide a search looks that does not say so itself."""
        return self._parts.settings

    @property
    def position(self) -> int:
        """How far the log has been applied, checkpointed or not."""
        return int(self._meta["position"])

    @property
    def note(self) -> dict[str, Any]:
        """What the owner wants kept with the next checkpoint (plain JSON)."""
        note: dict[str, Any] = self._meta.setdefault("note", {})
        return note

    @property
    def complete(self) -> bool:
        """Whether no build goes on, or was stopped in the middle. Until then searches look at every vector, and nothing can be changed."""
        return not self._parts.building

    @property
    def lists(self) -> int:
        """How many lists there are."""
        return len(self._parts.heads)

    @property
    def backlog(self) -> int:
        """What waits for `tend`: splits, merges and renewals, a sweep of what is stale, choosing `settings` anew. 0 where nothing does."""
        return len(self._parts.waiting) + self._updater.stale + self._tuner.due

    @property
    def nbytes(self) -> int:
        """Bytes in memory of what grows with the vectors, the cache left out."""
        return self._parts.nbytes + self._parts.held + self._parts.lists.pending + self._searcher.nbytes

    @property
    def bytes_on_disk(self) -> int:
        return sum(self._disk.size(name) for name in (LISTS, VECTORS, TABLES, MANIFEST))

    @property
    def live_bytes(self) -> int:
        """Bytes of the vectors there are, of the entries of their lists, and of what says where they are."""
        parts = self._parts
        heads = 4 * parts.measure.dimensions * self.lists
        return len(self) * parts.vectors.record + parts.lists.total * parts.entries.size + heads + self._saver.checkpoints.pages.bytes_used

    def statistics(self) -> dict[str, Any]:
        """Counts of what was done since the index was opened, and the shape of the lists."""
        with self._parts.lock:
            counts = self._parts.lists.counts()[self._parts.lists.numbers()]
        lire = self._updater.lire
        return {
            "vectors": len(self),
            "lists": self.lists,
            "entries": int(counts.sum()),
            "copies": float(counts.sum() / max(1, len(self))),
            "longest": int(counts.max(initial=0)),
            "p99": float(np.percentile(counts, 99)) if len(counts) else 0.0,
            "unevenness": float(counts.std() / counts.mean()) if len(counts) and counts.any() else 0.0,
            "backlog": self.backlog,
            "splits": lire.splits,
            "merges": lire.merges,
            "followed": lire.followed,
            "renewed": self._updater.renewer.renewed,
            "reassigned": lire.reassigned,
            "mended": self._mender.mended,
        }

    def has(self, ids: Numbers) -> NDArray[np.bool_]:
        """Which of `ids` (m,) have a vector."""
        ids = checked_ids(ids, distinct=False)
        with self._parts.lock:
            return np.asarray(self._parts.slots.map.find(ids) >= 0)

    def ids(self) -> Numbers:
        """The ids of all vectors, ascending."""
        with self._parts.lock:
            return np.sort(self._parts.slots.ids.view()[self._parts.slots.live()])

    def vectors(self, ids: Numbers) -> Floats:
        """The vectors (m, d) of `ids`, as the measure keeps them (unit vectors, for cosines). Raises `NotFound`."""
        ids = checked_ids(ids)
        with self._parts.lock:
            slots = self._parts.slots.map.find(ids)
            if (slots < 0).any():
                raise NotFound(f"vector index: there is no vector of id {int(ids[slots < 0][0])}")
            return np.asarray(self._mender.exact(slots)[:, : self.dimensions])

    # -- searching --
    def search(
        self,
        query: Floats,
        k: int = 10,
        allowed: Allowed | None = None,
        *,
        lists: int | None = None,
        rescore: int | None = None,
        spread: float | None = None,
        exact: bool = False,
        where: Where | tuple[Where, ...] | None = None,
    ) -> Found:
        """The `k` vectors nearest to `query` (d,), of those `allowed` (see `Allowed`) whose attributes are as `where` says, or as each of several
        says; fewer only where fewer are there.

        `lists`, `rescore` and `spread` say how wide to look instead of `settings`; `exact` looks at every vector.
        """
        asked, k = self._asked(query), checked_count(k)
        for name, value in (("lists", lists), ("rescore", rescore)):
            if value is not None and value < 1:
                raise Invalid(f"search: {name} is {value!r}, must be 1 or more")
        if exact:
            return self._searcher.exact(asked, k, allowed, wheres_of(where))
        return self._searcher.search(asked, k, allowed, lists, rescore, spread, wheres_of(where))

    def iterate(self, query: Floats, allowed: Allowed | None = None, where: Where | tuple[Where, ...] | None = None) -> Iterator[Found]:
        """Ever farther results in batches, each sorted, none twice, until every vector was given: for joins that cannot say k beforehand."""
        return self._searcher.iterate(self._asked(query), allowed, wheres_of(where))

    def kneighbors(self, queries: Floats, k: int = 10) -> tuple[Floats, Numbers]:
        """Distances and ids (m, k) for `queries` (m, d), as scikit-learn gives them; infinite and -1 where there are fewer."""
        values, k = checked(queries, self.dimensions, "queries"), checked_count(k)
        distances, ids = np.full((len(values), k), np.inf, dtype=np.float32), np.full((len(values), k), -1, dtype=np.int64)
        for row, query in enumerate(values):
            found = self.search(query, k)
            distances[row, : len(found.ids)], ids[row, : len(found.ids)] = found.distances, found.ids
        return distances, ids

    def _asked(self, query: Floats) -> Floats:
        values = checked(np.asarray(query)[None] if np.ndim(query) == 1 else query, self.dimensions, "query vector")
        if len(values) != 1:
            raise Invalid(f"query vector: has shape {np.shape(query)}, must be ({self.dimensions},)")
        return np.asarray(self._parts.measure.asked(values)[0])

    # -- changing --
    def add(self, ids: Numbers, vectors: Floats, attributes: Words | None = None, times: Numbers | None = None) -> None:
        """Put in `vectors` (m, d) under `ids` (m,), all different; an id that has a vector gets the new one. Raises `Invalid`: nothing changed.

        `attributes`: a set of words for each, by which a search finds it `where` they are asked for; `times` (m,): whole numbers of any unit. An id
        that gets a new vector has the attributes and the time that are given with it, or none.
        """
        ids, stored = self._given(ids, vectors)
        marks = checked_marks(attributes, times, len(ids))
        with self._changing(), marking(self._parts.slots, ids, *marks):
            self._updater.add(ids, stored)
        self._tend_if_late()
        self._saver.save_if_due(_LATER)

    def remove(self, ids: Numbers) -> int:
        """Let go of the vectors of `ids`; how many there were. An id that is not there is no error."""
        with self._changing():
            gone = self._updater.remove(checked_ids(ids, distinct=False))
        self._saver.save_if_due(_LATER)
        return gone

    def erase(self, ids: Numbers) -> int:
        """Let go of the vectors of `ids`, as `remove` does, and leave no byte in the files that was made of them; how many there were.

        It reads all lists, makes a checkpoint and overwrites all free space: erase many at once. Where it was stopped, call it again.
        """
        ids = checked_ids(ids, distinct=False)
        with self._parts.upkeep, self._changing():
            gone = erase(self._parts, self._updater, self._mender, ids)
        self.checkpoint()
        overwrite(self._parts)
        return gone

    def apply(
        self, position: int, ids: Numbers, vectors: Floats, removed: Numbers, attributes: Words | None = None, times: Numbers | None = None
    ) -> None:
        """Bring the index from its position to `position`: what the log says in between. Applied twice, it is as applied once. An id that is both
        removed and given anew in between has the vector that is given."""
        if position < self.position:
            raise Invalid(f"vector index: is at position {self.position} of the log, ahead of {position}")
        ids, stored = self._given(ids, vectors)
        gone, marks = checked_ids(removed, distinct=False), checked_marks(attributes, times, len(ids))
        with self._changing():
            with marking(self._parts.slots, ids, *marks):
                self._updater.add(ids, stored)
            self._updater.remove(gone[~np.isin(gone, ids)])
            self._meta["position"] = position
        self._saver.save_if_due()

    def tend(self, steps: int = 1) -> int:
        """Do at most so many steps of what waits: splits, merges, new heads, lists written anew, and, when much has changed since, `calibrate`; how
        many were done."""
        with self._changing():
            pass  # or it is refused here; each step takes the lock for itself
        done = self._updater.tend(steps)
        if done < steps and self._tuner.due:
            self._tuner.choose_again()
            done += 1
        self._saver.save_if_due()
        return done

    def _tend_if_late(self) -> None:
        """One step of what waits, where that is much."""
        if self.backlog > _PATIENCE and self._parts.upkeep.acquire(blocking=self.backlog > _IMPATIENCE):
            try:
                self._updater.tend(1)
            finally:
                self._parts.upkeep.release()

    def _given(self, ids: Numbers, vectors: Floats) -> tuple[Numbers, Floats]:
        """Ids (m,) and their vectors, as the measure stores them. Raises `Invalid`."""
        ids, values = checked_ids(ids), checked(vectors, self.dimensions, "vectors")
        if len(ids) != len(values):
            raise Invalid(f"vectors: {len(values)} for {len(ids)} ids")
        return ids, self._parts.measure.stored(values)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """The lock, for a change. Raises `Conflict` while a build is not complete: it would not know of the change."""
        with self._parts.lock:
            if self._parts.building:
                raise Conflict("vector index: its build goes on, or was stopped; `build` the same again before changing it")
            yield

    def build(
        self,
        ids: Numbers,
        vectors: Floats | Callable[[Numbers], Floats],
        *,
        workers: int = 1,
        progress: Progress | None = None,
        position: int = 0,
        attributes: Words | None = None,
        times: Numbers | None = None,
    ) -> None:
        """Fill an empty index with the vectors of `ids` (n,): `vectors` (n, d), or what gives those of row numbers; `attributes` and `times` as in
        `add`. It is durable when this returns.

        A build that was stopped goes on where it was when it is called again with the same. `settings` are chosen for `options.recall`.
        """
        with one_blas_thread():
            building.build(self, self._parts, self._meta, checked_ids(ids), vectors, workers, progress, *checked_marks(attributes, times, len(ids)))
        self.calibrate()
        self._meta["position"] = position
        self.checkpoint()

    def calibrate(self, queries: Floats | None = None) -> Settings:
        """Choose `settings` anew for `options.recall`: by a sample of the vectors that are there now, or by `queries` (q, d), some dozens to hundreds
        of the kind that will be asked, which the index keeps for the next time.

        Vectors of the index are easier to find than what is unlike them: questions among passages were found at a recall of 0.89 by settings that
        reached 0.96 on the passages themselves. Whoever has queries should give them.
        """
        if queries is not None:
            self._tuner.keep(self._parts.measure.asked(checked(queries, self.dimensions, "queries")))
        self._tuner.choose()
        return self.settings

    # -- durability --
    def checkpoint(self) -> None:
        """Make everything up to `position` durable. Others go on meanwhile; the lock is held only to say what is part of it."""
        self._saver.save()

    def verify(self) -> list[str]:
        """What is wrong with the index, memory and disk, in words; empty where nothing is. Reads all of it."""
        with self._parts.upkeep, self._parts.lock:
            return [*self._saver.checkpoints.problems(), *checking.problems(self._parts)]

    def mend(self) -> int:
        """Put right what `verify` finds; how many lists and vectors were made again, or written anew. Raises `Corrupt` where nobody knows a vector
        any more."""
        with self._parts.upkeep, self._changing():
            return checking.put_right(self._parts, self._updater, self._mender)
