"""The vectors of large spaces on disk: built, followed and erased beside the store, and thrown away where they don't belong to its history.

They are derived: whatever is wrong with them, the store has the vectors, and a search reads those in memory until the files are made again. What is
read for them is read from what is durable, some at a time: a long look at the store would keep a forget from clearing the write-ahead log.

Forgetting. `_lock` is held while a block of vectors is read and written, and while what is forgotten is erased: a forget either comes before the
block, which then lacks what it forgot, or erases it after. A build is longer than a forget may wait, so the forget throws its files away.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from mnemos.base.errors import Conflict, Corrupt, Invalid, MnemosError
from mnemos.base.protocols import Progress
from mnemos.index.disk_vectors import DiskVectors
from mnemos.index.space_index import SpaceIndex
from mnemos.kernel.vector_memory import MEMORY
from mnemos.kernel.vector_reading import Place, belongs, next_block, note_heads, usable, vectors_at
from mnemos.kernel.vector_shelf import Build, Held, Shelf, erase_gone

if TYPE_CHECKING:
    from mnemos.index.spann.index import SpannIndex
    from mnemos.store.sqlite import SqliteStore
    from mnemos.store.sqlite_read import Reader

_TAIL = 16
"""Vectors that came since are taken to disk when they are more than one part in so many of those."""
_STEPS = 64
_SMALLEST = 4096
"""Vectors of the smallest build: a build that forgets keep throwing away is tried with half as many, and the others are added to it."""
_TRIES = 20
_LEAST_BYTES, _PLACE_BYTES, _HEADS_SHARE = 2**26, 64, 0.12
"""What an index may take in memory where `memory` is less: so much at all, and for each vector so many bytes and so much of it."""
_REST_SECONDS = 30.0
_LONGEST_REST_SECONDS = 3600.0


class _Undone(Exception):
    """Ends a build."""


class VectorFiles(Shelf):
    """What is on disk of one store's vectors; `Beyond` for the indexes of its spaces. One process at a time has it: another one searches in memory.

    `memory`: bytes of vectors of one space that stay in memory. `ask` is called when there is `work` to do. `here`: see `Shelf`.
    """

    def __init__(self, store: SqliteStore, memory: int = MEMORY, ask: Callable[[], None] = lambda: None, *, here: bool = True) -> None:
        if isinstance(memory, bool) or not isinstance(memory, int) or memory < 0:
            raise Invalid(f"vector_memory: is {memory!r}, must be 0 or more bytes")
        super().__init__(store, here=here)
        self.memory = memory
        self.rest_seconds = _REST_SECONDS
        """After work that came to nothing, or failed, none is asked for so long."""
        self._ask, self._asked, self._not_before, self._failures = ask, False, 0.0, 0
        self._halvings: dict[Place, int] = {}
        self._working = threading.Lock()

    def lost(self, disk: SpannIndex, error: MnemosError) -> None:
        """A search found that an index cannot be read."""
        with self._lock:
            for place, held in list(self._open.items()):
                if held.disk is disk:
                    self._try_to_throw_away(place, str(error))
                    self._rest()

    def look_at(self, index: SpaceIndex) -> None:
        """Ask for work where an index holds more vectors in memory than it should, or knows of something that is to be erased."""
        if self._folder is None or self._asked or time.monotonic() < self._not_before:
            return
        due, index.vectors.erase_again = index.vectors.erase_again, False
        for vectors in index.vectors.values():
            held, limit = (vectors.waiting, max(self.memory // _TAIL, 2**14)) if isinstance(vectors, DiskVectors) else (len(vectors), self.memory)
            due |= held * vectors.dimensions * 4 > limit
        if due and self.may_work():
            self._asked = True
            self._ask()
        elif due:
            self._not_before = time.monotonic() + self.rest_seconds

    # -- forgetting --
    def drop_forgotten(self, spaces: Iterable[int]) -> None:
        """Leave nothing on disk of what the store does not hold any more. Returns when that is durable; inside a transaction, it is done after it.

        Raises `StoreUnavailable` where it can be neither erased nor thrown away.
        """
        wanted = set(spaces)
        if self._folder is not None:
            self._store.when_durable(lambda: self._drop(wanted))

    def catch_up(self) -> None:
        """Erase what a process had forgotten that was killed before it came to erasing."""
        if self._folder is None or not self._folder.exists() or not self._claimed_quietly():
            return
        with self._lock:
            with self._store.committed() as snapshot:
                due = self._folder.erased() != snapshot.newest_forget()
            if due:
                self._drop(None)

    def _drop(self, spaces: set[int] | None) -> None:
        """Erase what is gone from the files of `spaces` (None: all)."""
        assert self._folder is not None
        with self._lock:
            if not self._folder.exists():
                return
            places = [place for place in self._folder.places() if spaces is None or place.space in spaces]
            if not self._claimed_quietly():  # another process has them, and may not hear of this for long
                for place in places:
                    self._folder.throw_away(place)
                return
            with self._store.committed() as snapshot:
                newest = snapshot.newest_forget()
                for place in places:
                    self._erase_gone(place, snapshot)
            if spaces is None or set(self._folder.places()) <= set(places):
                self._folder.note_erased(newest)

    def _erase_gone(self, place: Place, snapshot: Reader) -> None:
        building = self._building
        if building is not None and building.place == place:
            if not np.isin(building.seqs, snapshot.vector_positions(*place)).all():
                building.undone = True
                self._throw_away(place, "")
            return
        held = self._open.get(place) or self._opened(place)
        if held is None:
            if self._folder is not None and place in self._folder.places():  # a build that was stopped: it may hold anything
                self._throw_away(place, "something was forgotten while its build was stopped")
            return
        if held.round != snapshot.vector_round():
            self._throw_away(place, "")
            return
        try:
            erase_gone(held.disk, place, snapshot)
        except MnemosError as error:
            self._throw_away(place, f"what was forgotten could not be erased from it: {error}")

    # -- work --
    def work(self, progress: Progress | None = None) -> int:
        """Build what is too large for memory, and take to disk what has come since; how many vectors were. Searches go on meanwhile."""
        taken, self._asked = 0, False
        if self._folder is None:
            return 0
        with self._working:
            try:
                for place, dimensions in self._wanted():
                    taken += self._taken(place, dimensions, progress)
            except BaseException:
                self._rest()
                raise
            self._failures = 0
            if not taken:
                self._not_before = time.monotonic() + self.rest_seconds
        return taken

    def _wanted(self) -> list[tuple[Place, int]]:
        """What is on disk, or should be, each with its dimensions."""
        assert self._folder is not None
        with self._store.committed() as snapshot:
            if snapshot.jobs(("waiting", "running"), ("embedding",)):  # all vectors are being made anew
                return []
            wanted = []
            there = set(self._folder.places())
            for embedder, (_, dimensions) in snapshot.embedders().items():
                for row in snapshot.spaces():
                    place = Place(row.num, embedder)
                    if place in there or snapshot.count(row.num)["versions"] * dimensions * 4 > self.memory:
                        wanted.append((place, dimensions))
        if not wanted or not self._folder.claim():
            return []
        self.catch_up()
        with self._lock:
            for place in set(self._open) - there:  # another process has had something forgotten, and thrown them away
                self._retire(place)
        return wanted

    def _taken(self, place: Place, dimensions: int, progress: Progress | None) -> int:
        with self._lock:
            held = self._open.get(place) or self._opened(place)
            with self._store.committed() as snapshot:
                if held is not None and held.round != snapshot.vector_round():
                    self._throw_away(place, "")
                    held = None
        built: int | None = 0
        for _ in range(_TRIES if held is None else 0):
            built = self._build(place, dimensions, progress)
            if built is not None:
                break
        return (built or 0) + self._follow(place, progress)

    def _follow(self, place: Place, progress: Progress | None) -> int:
        """Take to disk what the store has got since."""
        taken = 0
        report = progress or _silent
        while (held := self._open.get(place)) is not None:
            disk = held.disk
            try:
                with self._lock:
                    if self._open.get(place) is not held:
                        break
                    with self._store.committed() as snapshot:
                        if disk.position >= snapshot.position or snapshot.vector_round() != held.round:
                            break
                        until, seqs, vectors = next_block(snapshot, place, disk.position, disk.dimensions)
                        note_heads(disk, snapshot, disk.position, until)
                        disk.apply(until, seqs, vectors, np.zeros(0, dtype=np.int64))
                taken += len(seqs)
                report(taken, taken)
                while disk.tend(_STEPS):
                    report(taken, taken)
            except Corrupt as error:
                self.lost(disk, error)
                raise
        if taken and held is not None:
            with self._lock:
                if self._open.get(place) is held:
                    held.disk.checkpoint()
        return taken

    def _build(self, place: Place, dimensions: int, progress: Progress | None) -> int | None:
        """Build an index of what is too large for memory, and give how many vectors that was; None where a forget undid it."""
        from mnemos.index.spann.index import SpannIndex
        from mnemos.index.spann.options import Options

        assert self._folder is not None
        path = self._folder.path_of(place)
        with self._lock:
            disk, until = self._stopped(place)
            with self._store.committed() as snapshot:
                vector_round = snapshot.vector_round()
                seqs = snapshot.vector_positions(*place)
                build = self._building = Build(place, seqs)
        try:
            seqs = usable(self._store, place, seqs)
            if len(seqs) * dimensions * 4 <= self.memory:
                return 0
            while True:
                chosen = seqs if until is None else seqs[seqs <= until]
                chosen = (chosen if len(chosen) else seqs)[: max(len(seqs) >> self._halvings.get(place, 0), _SMALLEST)]
                with self._lock, self._store.committed() as snapshot:
                    if build.undone:
                        raise _Undone
                    if disk is None:
                        least = len(seqs) * (_PLACE_BYTES + int(_HEADS_SHARE * 4 * dimensions))
                        options = Options(memory=max(self.memory, _LEAST_BYTES, least))
                        disk = SpannIndex.create(path, dimensions, options, source=self._source(place))
                    end = int(chosen[-1])
                    disk.note.update(round=vector_round, until=end)
                    note_heads(disk, snapshot, end)
                    build.seqs = chosen
                try:
                    disk.build(
                        chosen,
                        lambda rows: vectors_at(self._store, place, chosen[rows], dimensions),  # noqa: B023  (it is called in this round only)
                        workers=2,
                        progress=_unless_undone(build, progress),
                        position=end,
                    )
                    break
                except Conflict:  # the build that was stopped was one of other vectors
                    disk.close()
                    self._throw_away(place, "")
                    disk = until = None
            with self._lock, self._store.committed() as snapshot:
                if build.undone:
                    raise _Undone
                if snapshot.vector_round() != vector_round:
                    self._throw_away(place, "")
                    return 0
                erase_gone(disk, place, snapshot)
                self._open[place] = Held(disk, vector_round)
                self._absent.discard(place)
                self._building = None
            self._halvings.pop(place, None)
            return len(chosen)
        except Exception as error:
            if build.undone:
                self._halvings[place] = self._halvings.get(place, 0) + 1
                return None
            if isinstance(error, MnemosError):
                self._throw_away(place, f"it could not be built: {error}")
            raise
        finally:
            self._building = None

    def _stopped(self, place: Place) -> tuple[SpannIndex | None, int | None]:
        """A build of this history that was stopped, and how far the log went that it was of."""
        assert self._folder is not None
        from mnemos.index.spann.index import SpannIndex

        disk = None
        if place in self._folder.places():
            with contextlib.suppress(MnemosError, ValueError, KeyError):
                disk = SpannIndex.open(self._folder.path_of(place), source=self._source(place))
        if disk is not None:
            until = disk.note.get("until")
            with self._store.committed() as snapshot:
                if isinstance(until, int) and not disk.complete and belongs(disk, until, snapshot):
                    return disk, until
            disk.close()
        self._throw_away(place, "")
        return None, None

    def close(self) -> None:
        """Make durable what can be read quicker next time, and let go of the files."""
        with self._working, self._lock:
            with contextlib.suppress(MnemosError):  # what is not erased is at the next opening
                self.catch_up()
            for held in self._open.values():
                with contextlib.suppress(MnemosError):  # what is not durable is taken from the store again
                    held.disk.checkpoint()
                held.disk.close()
            self._open.clear()
            if self._folder is not None:
                self._folder.release()

    def answered(self, failure: Exception | None) -> None:
        """Whoever was asked for work has ended, and may not have done it: jobs may be paused. It is asked for again, but not at once."""
        self._asked, self._not_before = False, max(self._not_before, time.monotonic() + self.rest_seconds)

    def _rest(self) -> None:
        """Something went wrong: ask for no work for a while, longer each time."""
        self._failures += 1
        self._not_before = time.monotonic() + min(self.rest_seconds * 2.0 ** min(self._failures - 1, 32), _LONGEST_REST_SECONDS)


def _unless_undone(build: Build, progress: Progress | None) -> Progress:
    def report(done: int, total: int) -> None:
        if build.undone:
            raise _Undone
        (progress or _silent)(done, total)

    return report


def _silent(done: int, total: int) -> None:
    pass
