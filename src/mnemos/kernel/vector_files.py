"""The vectors of large spaces on disk: built, followed and erased beside the store, and thrown away where they don't belong to its history.

They are derived: whatever is wrong with them, the store has the vectors, and a search reads those in memory until the files are made again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Conflict, Invalid, MnemosError, NotFound
from mnemos.base.protocols import Progress
from mnemos.index.disk_vectors import DiskVectors
from mnemos.index.space_index import SpaceIndex

if TYPE_CHECKING:
    from mnemos.index.spann.index import SpannIndex
    from mnemos.store.sqlite import SqliteStore
    from mnemos.store.sqlite_read import Reader

MEMORY = 512 * 2**20
"""Bytes of vectors of one space that are held in memory; beyond, they go to disk."""
_TAIL = 16
"""Vectors that came since are taken to disk when they are more than one part in so many of those."""
_BLOCK = 2048
_STEPS = 64


class _Place(NamedTuple):
    space: int
    embedder: int


class VectorFiles:
    """What is on disk of one store's vectors; `Beyond` for the indexes of its spaces. One process at a time has it: another one searches in memory.

    `memory`: bytes of vectors of one space that stay in memory. `ask` is called when there is `work` to do.
    """

    def __init__(self, store: SqliteStore, memory: int = MEMORY, ask: Callable[[], None] = lambda: None) -> None:
        if memory < 0:
            raise Invalid(f"vector_memory: is {memory}, must be 0 or more bytes")
        self.folder = Path(f"{store.path}-vectors") if store.durable else None
        """None: there is nowhere to keep them. Those of a sealed store must not lie in the open; what is left from before it was sealed goes."""
        if self.folder is not None and store.keeper is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None
        self.memory = memory
        self._store, self._ask, self._asked = store, ask, False
        self._open: dict[_Place, SpannIndex] = {}
        self._rounds: dict[_Place, int] = {}
        self._absent: set[tuple[_Place, int]] = set()
        self._lock = threading.RLock()
        self._working = threading.Lock()
        self._claim: int | None = None

    # -- for the indexes of spaces --
    def get(self, space: int, embedder: int, vector_round: int) -> SpannIndex | None:
        """The index on disk of a space's vectors by one embedder, as of the given round of writing them; None where there is none yet."""
        if self.folder is None:
            return None
        place = _Place(space, embedder)
        found = self._open.get(place)
        if found is not None and self._rounds[place] == vector_round:
            return found
        if (place, vector_round) in self._absent:
            return None
        with self._lock:
            return self._opened(place, vector_round)

    def look_at(self, index: SpaceIndex) -> None:
        """Ask for work where an index holds more vectors in memory than it should."""
        if self.folder is None or self._asked:
            return
        for vectors in index.vectors.values():
            held, limit = (vectors.tail, self.memory // _TAIL) if isinstance(vectors, DiskVectors) else (len(vectors), self.memory)
            if held * vectors.dimensions * 4 > limit:
                self._asked = True
                self._ask()
                return

    def drop_forgotten(self, spaces: Iterable[int]) -> None:
        """Leave nothing on disk of what the store does not hold any more. Returns when that is durable."""
        wanted = set(spaces)
        with self._lock:
            for place in self._places():
                if place.space in wanted:
                    with self._store.snapshot() as snapshot:
                        disk = self._open.get(place) or self._opened(place, snapshot.vector_round())
                        if disk is not None:
                            _reconcile(disk, place, snapshot)

    # -- work --
    def work(self, progress: Progress | None = None) -> int:
        """Build what is too large for memory, and take to disk what has come since; how many vectors were. Searches go on meanwhile."""
        if self.folder is None or not self._claimed():
            return 0
        taken, self._asked = 0, False
        with self._working, self._store.snapshot() as snapshot:
            current = snapshot.vector_round()
            for embedder, (_, dimensions) in snapshot.embedders().items():
                for row in snapshot.spaces():
                    place = _Place(row.num, embedder)
                    disk = self.get(*place, current)
                    if disk is not None:
                        taken += _follow(disk, place, snapshot)
                    elif snapshot.count(row.num)["versions"] * dimensions * 4 > self.memory:
                        taken += self._build(place, current, dimensions, snapshot, progress)
        return taken

    def problems(self) -> list[str]:
        """What is wrong with the files, in words; the store has everything that is in them."""
        with self._lock:
            return [f"{self._path(place)}: {problem}" for place, disk in self._open.items() for problem in disk.verify()]

    def close(self) -> None:
        """Make durable what can be read quicker next time, and let go of the files."""
        with self._working, self._lock:
            for disk in self._open.values():
                with contextlib.suppress(MnemosError):  # what is not durable is taken from the store again
                    disk.checkpoint()
                disk.close()
            self._open.clear()
            if self._claim is not None:
                os.close(self._claim)
                self._claim = None

    # -- files --
    def _path(self, place: _Place) -> Path:
        assert self.folder is not None
        return self.folder / f"space-{place.space}-embedder-{place.embedder}"

    def _places(self) -> list[_Place]:
        if self.folder is None or not self.folder.is_dir():
            return []
        found = []
        for path in sorted(self.folder.glob("space-*-embedder-*")):
            _, space, _, embedder = path.name.split("-")
            found.append(_Place(int(space), int(embedder)))
        return found

    def _claimed(self) -> bool:
        """Whether this process may use the files: it is the first one to."""
        if self._claim is not None:
            return True
        assert self.folder is not None
        import fcntl

        self.folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._claim = descriptor
        return True

    def _opened(self, place: _Place, vector_round: int) -> SpannIndex | None:
        """Open what is on disk, or throw it away where it is of another round or history, or damaged beyond mending."""
        old = self._open.pop(place, None)
        if old is not None:
            old.close()
        if not self._path(place).is_dir() or not self._claimed():
            self._absent.add((place, vector_round))
            return None
        from mnemos.index.spann.index import SpannIndex  # only where vectors are beyond memory

        try:
            disk = SpannIndex.open(self._path(place), source=self._source(place))
        except (MnemosError, ValueError):
            disk = None
        with self._store.snapshot() as snapshot:
            if disk is None or not _belongs(disk, vector_round, snapshot):
                if disk is not None:
                    disk.close()
                self._throw_away(place)
                self._absent.add((place, vector_round))
                return None
            _reconcile(disk, place, snapshot)
        self._open[place], self._rounds[place] = disk, vector_round
        return disk

    def _throw_away(self, place: _Place) -> None:
        path = self._path(place)
        (path / "manifest").unlink(missing_ok=True)  # first: what is left of a removal that was stopped must not be taken for an index
        shutil.rmtree(path, ignore_errors=True)

    def _source(self, place: _Place) -> Callable[[NDArray[np.int64]], NDArray[np.float32]]:
        def vectors(seqs: NDArray[np.int64]) -> NDArray[np.float32]:
            with self._store.snapshot() as snapshot:
                return np.concatenate([_vectors_at(snapshot, place, np.array([seq])) for seq in seqs.tolist()])

        return vectors

    def _build(self, place: _Place, vector_round: int, dimensions: int, snapshot: Reader, progress: Progress | None) -> int:
        from mnemos.index.spann.index import SpannIndex
        from mnemos.index.spann.options import Options

        seqs = snapshot.vector_positions(*place)
        usable = np.concatenate([_vectors_at(snapshot, place, seqs[at : at + _BLOCK]).any(axis=1) for at in range(0, len(seqs), _BLOCK)])
        seqs = seqs[usable]  # a text without a word has a vector of zeros, which is near to nothing
        if len(seqs) * dimensions * 4 <= self.memory:
            return 0
        try:
            disk = SpannIndex.open(self._path(place), source=self._source(place))
        except (MnemosError, ValueError):
            self._throw_away(place)
            disk = SpannIndex.create(self._path(place), dimensions, Options(), source=self._source(place))
        disk.note.update(round=vector_round, head=_head_at(snapshot, snapshot.position))
        read = lambda rows: _vectors_at(snapshot, place, seqs[rows])  # noqa: E731
        try:
            disk.build(seqs, read, workers=2, progress=progress, position=snapshot.position)
        except Conflict:  # a build of other vectors was stopped here
            disk.close()
            self._throw_away(place)
            disk = SpannIndex.create(self._path(place), dimensions, Options(), source=self._source(place))
            disk.note.update(round=vector_round, head=_head_at(snapshot, snapshot.position))
            disk.build(seqs, read, workers=2, progress=progress, position=snapshot.position)
        with self._lock, self._store.snapshot() as now:  # what was forgotten while it was built
            _reconcile(disk, place, now)
            self._open[place], self._rounds[place] = disk, vector_round
            self._absent.discard((place, vector_round))
        return len(seqs)


def _follow(disk: SpannIndex, place: _Place, snapshot: Reader) -> int:
    """Take to disk what the store has got since."""
    taken, since = 0, disk.position
    while since < snapshot.position:
        seqs, values = [], []
        for seq, embedder, value in snapshot.vectors(place.space, since):
            since = seq
            if embedder == place.embedder:
                seqs.append(seq)
                values.append(value)
            if len(seqs) == _BLOCK:
                break
        else:
            since = snapshot.position
        vectors = np.frombuffer(b"".join(values), dtype="<f4").reshape(len(seqs), disk.dimensions)
        some = vectors.any(axis=1)
        disk.note["head"] = _head_at(snapshot, since)
        disk.apply(since, np.array(seqs, dtype=np.int64)[some], vectors[some], np.zeros(0, dtype=np.int64))
        taken += len(seqs)
        while disk.tend(_STEPS):
            pass
    disk.checkpoint()
    return taken


def _belongs(disk: SpannIndex, vector_round: int, snapshot: Reader) -> bool:
    """Whether an index is complete, and was made from the history that the store has: not from one that a backup has replaced."""
    return disk.complete and disk.note.get("round") == vector_round and disk.note.get("head") == _head_at(snapshot, disk.position)


def _head_at(snapshot: Reader, position: int) -> str | None:
    """The hash of the log's entry at a position, which names all of the log up to there."""
    entry = next(iter(snapshot.log(position - 1, 1)), None)
    return entry.hash.hex() if entry is not None and entry.seq == position else None


def _reconcile(disk: SpannIndex, place: _Place, snapshot: Reader) -> None:
    """Erase what the store does not hold any more. What is newer than the snapshot is not known to it."""
    ids = disk.ids()
    gone = ids[(ids <= snapshot.position) & ~np.isin(ids, snapshot.vector_positions(*place))]
    if len(gone):
        disk.erase(gone)


def _vectors_at(snapshot: Reader, place: _Place, seqs: NDArray[np.int64]) -> NDArray[np.float32]:
    """The vectors (m, dimensions) at log positions (m,), ascending."""
    wanted, out = set(seqs.tolist()), []
    for seq, embedder, value in snapshot.vectors(place.space, int(seqs[0]) - 1):
        if embedder == place.embedder and seq in wanted:
            out.append(value)
        if seq >= seqs[-1]:
            break
    if len(out) != len(seqs):
        raise NotFound(f"vectors of space {place.space}: {len(seqs) - len(out)} are not in the store any more")
    return np.frombuffer(b"".join(out), dtype="<f4").reshape(len(seqs), -1)

