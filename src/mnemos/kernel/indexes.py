"""The indexes of spaces that are held in memory: which ones, the scheduler says, by what loading them costs and how much they are used."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mnemos.index.space_index import SpaceIndex
from mnemos.kernel.scheduling import Action, Scheduler
from mnemos.kernel.scheduling.decisions import Key

if TYPE_CHECKING:
    from mnemos.kernel.vector_files import VectorFiles
    from mnemos.store.sqlite_read import Reader

BUDGET = 2 * 2**30
"""Bytes that indexes may hold together."""
_UNKNOWN = 2**16  # bytes of an index that was never loaded
_GROWN = 1.25  # how much an index grows before the scheduler is told


class Indexes:
    """The tier "index" of a scheduler. What it declines is loaded for the one search, and held until the next that it declines."""

    name = "index"

    def __init__(self, scheduler: Scheduler, budget: int = BUDGET, files: VectorFiles | None = None) -> None:
        self.files = files
        self._scheduler = scheduler
        self._held: dict[Key, SpaceIndex] = {}
        self._sizes: dict[Key, int] = {}
        self._guest: SpaceIndex | None = None
        self._lock = threading.Lock()
        scheduler.register(self, budget)

    def get(self, space: int) -> SpaceIndex:
        """The index of a space, as far as it has been loaded."""
        decision = self._scheduler.use(self.name, space, self._sizes.get(space, _UNKNOWN), scene=space)
        with self._lock:
            if decision.action is not Action.DECLINE:
                index = self._held.get(space)
                if index is None:
                    index = self._held[space] = self.new(space)
                return index
            if self._guest is None or self._guest.space != space:
                self._guest = self.new(space)
            return self._guest

    def new(self, space: int) -> SpaceIndex:
        """An empty index of a space."""
        return SpaceIndex(space, self.files)

    def held(self, space: int) -> SpaceIndex | None:
        """The index of a space, where it is held."""
        return self._held.get(space)

    def drop(self, key: Key) -> None:
        """The scheduler says that this index gives way. (No lock: it may be asked while `get` waits for it.)"""
        self._held.pop(key, None)

    def catch_up(self, index: SpaceIndex, snapshot: Reader) -> None:
        """Bring an index to the snapshot's position, and note what that took. The caller holds the index's lock."""
        empty, before = not len(index), time.perf_counter()
        index.catch_up(snapshot)
        seconds = time.perf_counter() - before
        known = self._sizes.get(index.space, 0)
        if self.files is not None:
            self.files.look_at(index)
        if not empty and len(index) < 1024 and known:
            return  # a small index that was there: nothing that would change a decision
        size = max(index.nbytes, 1)
        if empty and len(index):
            self._scheduler.observe(self.name, "build", size, seconds)
            self._scheduler.observe(self.name, "without", size, seconds)
            self._scheduler.observe(self.name, "within", size, 0.0)
        if size > _GROWN * known or size * _GROWN < known:
            self._sizes[index.space] = size
            self._scheduler.resized(self.name, index.space, size)

    def drop_forgotten(self, spaces: Iterable[int]) -> None:
        """Let go of what is held in memory of spaces in which something was forgotten, where it has come to be much."""
        spaces = set(spaces)
        if self.files is not None:
            self.files.drop_forgotten(spaces)
        for space in spaces:
            index = self._held.get(space)
            if index is not None and index.forgotten > len(index) // 4 + 256:
                self._scheduler.drop(self.name, space)
        guest = self._guest
        if guest is not None and guest.space in spaces:
            self._guest = None

    def load_ahead(self, snapshot: Reader) -> int:
        """Bring the indexes that are held to the snapshot's position, and load those of the spaces that are likely to be asked next; give how
        many were loaded."""
        for index in list(self._held.values()):
            with index.lock:
                if index.position <= snapshot.position:
                    self.catch_up(index, snapshot)
        decisions = self._scheduler.ahead(self.name)
        for decision in decisions:
            assert isinstance(decision.key, int)
            with self._lock:
                index = self._held.setdefault(decision.key, self.new(decision.key))
            with index.lock:
                if index.position <= snapshot.position:
                    self.catch_up(index, snapshot)
        return len(decisions)
