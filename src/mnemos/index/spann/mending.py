"""What is damaged on disk is made again when it is found: lists from the vectors, vectors from where they are kept for good."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mnemos.index.spann.codes import Bytes, Floats
from mnemos.index.spann.lists import DamagedLists
from mnemos.index.spann.parts import Numbers, Overtaken, Parts
from mnemos.index.spann.vector_file import DamagedVectors


class Mender:
    """Reads lists and vectors of one index, and mends what it finds damaged. Whoever calls holds `parts.lock`, but for reading beside changes."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.mended = 0
        """Lists and vectors that were made again."""

    def mend(self, damage: DamagedLists) -> None:
        """Make damaged lists again: each of the vectors that are at home there. Copies of others are not missed: those are at home elsewhere."""
        self.make_again(damage.lists)

    def make_again(self, numbers: Sequence[int]) -> None:
        parts = self._parts
        for number in numbers:
            if number not in parts.heads:
                continue
            slots = np.flatnonzero(parts.slots.homes.view() == number)
            head = parts.heads.vector(number)
            entries = parts.entries.write(slots.astype(np.uint32), parts.slots.stamps.view()[slots], self.vectors(slots), head)
            parts.lists.create(number, head, entries)
            self.mended += 1
        parts.epoch += 1

    def mend_vectors(self, damage: DamagedVectors) -> None:
        """Write damaged vectors again, from where they are kept for good. Raises the damage where nobody knows them."""
        parts = self._parts
        slots = np.array(damage.slots, dtype=np.int64)
        if parts.source is None:
            raise damage
        fresh = parts.measure.stored(np.ascontiguousarray(parts.source(parts.slots.ids.view()[slots]), dtype=np.float32))
        parts.vectors.write(slots, fresh)
        self.mended += len(slots)

    def read(self, number: int) -> Bytes:
        """The entries of a list, made again where they were damaged."""
        try:
            return self._parts.lists.read(number)
        except DamagedLists as damage:
            self.mend(damage)
            return self._parts.lists.read(number)

    def lists_beside(self, numbers: Sequence[int]) -> list[Bytes]:
        """The entries of several lists: what they hold now, or held a moment ago."""
        try:
            return self._parts.lists.read_many(numbers)
        except DamagedLists:  # or changed meanwhile
            with self._parts.lock:
                return [self.read(number) for number in numbers]

    def vectors_beside(self, slots: Numbers, stamps: NDArray[np.uint32]) -> Floats:
        """The vectors in `slots`, as heads and lists have them; of one whose stamp is another by now, any. Raises `Overtaken`."""
        try:
            return self._parts.rotated(slots)
        except DamagedVectors:  # or being written meanwhile
            with self._parts.lock:
                if not self._parts.slots.counts(slots.astype(np.uint32), stamps).all():
                    raise Overtaken from None
                return self.vectors(slots)

    def vectors(self, slots: Numbers) -> Floats:
        """The vectors in `slots`, as heads and lists have them."""
        return self._parts.rotate(self.exact(slots))

    def exact(self, slots: Numbers) -> Floats:
        """The vectors in `slots`, as the measure stores them; mended where they were damaged."""
        try:
            return self._parts.vectors.read(slots)
        except DamagedVectors as damage:
            self.mend_vectors(damage)
            return self._parts.vectors.read(slots)
