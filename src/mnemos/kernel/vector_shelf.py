"""The indexes of vectors beside a store: opened where they belong to its history, described, mended, thrown away where they are no good."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mnemos.base.errors import MnemosError
from mnemos.kernel import vector_folder as folders
from mnemos.kernel.vector_reading import Place, Seqs, belongs, usable, vectors_at

if TYPE_CHECKING:
    from mnemos.index.spann.index import SpannIndex
    from mnemos.store.sqlite import SqliteStore
    from mnemos.store.sqlite_read import Reader

_KEPT = 20
_log = logging.getLogger("mnemos.vectors")


class Held(NamedTuple):
    disk: SpannIndex
    round: int


class Build:
    """A build that goes on: of which vectors, and whether it is to end because one of them is forgotten."""

    def __init__(self, place: Place, seqs: Seqs) -> None:
        self.place, self.seqs, self.undone = place, seqs, False


class Shelf:
    """What is on disk of one store's vectors, open or not. `here`: whether files may lie beside the store at all; those of a sealed store must not,
    and what is left from before it was sealed is removed."""

    def __init__(self, store: SqliteStore, *, here: bool) -> None:
        self.told: list[str] = []
        """What was thrown away, and why: the newest last."""
        self._folder: folders.Folder | None = None
        self._store = store
        self._open: dict[Place, Held] = {}
        self._absent: set[Place] = set()
        self._building: Build | None = None
        self._lock = threading.RLock()
        if store.durable and here:
            self._folder = folders.Folder(folders.beside(store.path))
            if store.keeper is not None:
                try:
                    folders.remove_beside(store.path)
                except MnemosError as error:
                    self._tell(str(error))
                self._folder = None

    @property
    def folder(self) -> Path | None:
        """Where the files are, or would be; None where vectors of this store stay in memory."""
        return None if self._folder is None else self._folder.path

    # -- for the indexes of spaces --
    def get(self, space: int, embedder: int, vector_round: int) -> SpannIndex | None:
        """The index on disk of a space's vectors by one embedder, as of the given round of writing them; None where there is none yet."""
        place = Place(space, embedder)
        if self._folder is None or place in self._absent:
            return None
        held = self._open.get(place)
        if held is None:
            with self._lock:
                held = self._open.get(place) or self._opened(place)
        return held.disk if held is not None and held.round == vector_round else None

    # -- looking after --
    def may_work(self) -> bool:
        """Whether the files are this process's, or nobody's."""
        return self._folder is None or not self._folder.exists() or self._claimed_quietly(if_unsure=True)

    def describe(self, *, opened: bool = False) -> list[dict[str, Any]]:
        """What is on disk, by space and embedder, plainly; of what another process has, only that it has it. `opened`: only what is open already."""
        known = dict(self._open) if opened else self._all_open()
        there = [] if opened or self._folder is None else self._folder.places()
        found: list[dict[str, Any]] = [
            {
                "space": place.space,
                "embedder": place.embedder,
                "vectors": len(held.disk),
                "lists": held.disk.lists,
                "bytes_in_memory": held.disk.nbytes,
                "bytes_on_disk": held.disk.bytes_on_disk,
                "recall": held.disk.settings.recall,
                "backlog": held.disk.backlog,
                "position": held.disk.position,
            }
            for place, held in sorted(known.items())
        ]
        if not self.may_work():
            found += [{"space": place.space, "embedder": place.embedder} for place in there if place not in known]
        return found

    def spaces(self) -> set[int]:
        """The numbers of the spaces of which vectors are on disk."""
        return set() if self._folder is None else {place.space for place in self._folder.places()}

    def problems(self) -> list[tuple[Path, str]]:
        """(folder, what is wrong in it), in words; the store has everything that is in them. Reads all of them."""
        found = [] if self._folder is None else [(path, "was thrown away, and could not be removed") for path in self._folder.left()]
        for place, held in sorted(self._all_open().items()):
            found += [(self._path(place), problem) for problem in self._problems_of(place, held)]
        return found

    def mend(self) -> list[str]:
        """Make again what is damaged, and throw away what cannot be; what was done, in words."""
        done = []
        for place, held in sorted(self._all_open().items()):
            if not (problems := self._problems_of(place, held)):
                continue
            with self._lock:
                with contextlib.suppress(MnemosError):
                    held.disk.mend()
                    held.disk.checkpoint()
                if self._problems_of(place, held):
                    self._throw_away(place, "; ".join(problems))
                    done.append(f"{self._path(place)}: thrown away, and made again from the store when it is searched: {'; '.join(problems)}")
                else:
                    done.append(f"{self._path(place)}: mended: {'; '.join(problems)}")
        return done

    def _all_open(self) -> dict[Place, Held]:
        """What is on disk and belongs to the store, opened."""
        if self._folder is not None:
            for place in self._folder.places():
                if place not in self._open and place not in self._absent:
                    with self._lock:
                        self._opened(place)
        return dict(self._open)

    def _problems_of(self, place: Place, held: Held) -> list[str]:
        with self._lock:
            try:
                found = held.disk.verify()
                ids = held.disk.ids()
            except MnemosError as error:
                return [str(error)]
            with self._store.committed() as snapshot:
                stored = snapshot.vector_positions(*place)
            stored = stored[stored <= held.disk.position]
            lacking, beyond = np.setdiff1d(stored, ids), np.setdiff1d(ids, stored)
            missing = len(usable(self._store, place, lacking)) if len(lacking) else 0
            if missing:
                found.append(f"{missing:,} vectors of the store are not there")
            if len(beyond):
                found.append(f"{len(beyond):,} vectors are there that the store does not have")
            return found

    def _path(self, place: Place) -> Path:
        assert self._folder is not None
        return self._folder.path_of(place)

    def _claimed_quietly(self, if_unsure: bool = False) -> bool:
        assert self._folder is not None
        try:
            return self._folder.claim()
        except MnemosError:  # it cannot be written: a job that works there will say so
            return if_unsure

    def _opened(self, place: Place) -> Held | None:
        """Open what is on disk, or throw it away where it is of another round or history, or damaged beyond mending. A build that was stopped stays.
        The caller holds the lock."""
        assert self._folder is not None
        if self._building is not None and self._building.place == place:
            return None
        if not self._folder.path_of(place).is_dir():
            self._absent.add(place)
            return None
        if not self._claimed_quietly():
            return None
        from mnemos.index.spann.index import SpannIndex  # only where vectors are beyond memory

        disk, why = None, "it is of another history, or of vectors that were made anew since"
        try:
            disk = SpannIndex.open(self._folder.path_of(place), source=self._source(place))
            with self._store.committed() as snapshot:
                right = belongs(disk, disk.position if disk.complete else disk.note.get("until"), snapshot)
                if right and disk.complete:
                    erase_gone(disk, place, snapshot)
                    held = self._open[place] = Held(disk, snapshot.vector_round())
                    self._absent.discard(place)
                    return held
            disk.close()
        except (MnemosError, ValueError, KeyError) as error:
            right, why = False, str(error)
        self._absent.add(place)
        if not right:
            self._try_to_throw_away(place, why)
        return None

    def _retire(self, place: Place) -> None:
        """Hand an index out no more. Searches that have it go on in it; its files are closed with the last of them."""
        self._open.pop(place, None)
        self._absent.add(place)

    def _throw_away(self, place: Place, why: str) -> None:
        with self._lock:
            self._retire(place)
            assert self._folder is not None
            self._folder.throw_away(place)
        if why:
            self._tell(f"{self._path(place)}: thrown away: {why}")

    def _try_to_throw_away(self, place: Place, why: str) -> None:
        """The same where nobody is promised that it is gone: an index that stays is looked at by the next who opens the store."""
        try:
            self._throw_away(place, why)
        except MnemosError as error:
            self._tell(str(error))

    def _tell(self, what: str) -> None:
        _log.warning("vectors on disk: %s", what)
        self.told = [*self.told, what][-_KEPT:]

    def _source(self, place: Place) -> Callable[[Seqs], Any]:
        def vectors(seqs: Seqs) -> Any:
            with self._store.committed() as snapshot:
                dimensions = snapshot.embedders()[place.embedder][1]
            return vectors_at(self._store, place, seqs, dimensions)

        return vectors


def erase_gone(disk: SpannIndex, place: Place, snapshot: Reader) -> None:
    """Erase what the store does not hold any more. What is newer than the snapshot is not known to it."""
    ids = disk.ids()
    gone = ids[(ids <= snapshot.position) & ~np.isin(ids, snapshot.vector_positions(*place))]
    if len(gone):
        disk.erase(gone)
