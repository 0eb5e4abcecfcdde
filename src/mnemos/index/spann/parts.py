"""The parts of one index that searching and updating share."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from mnemos.index.spann.codes import Bytes, Entries, Floats
from mnemos.index.spann.head_index import ChosenKernel, HeadIndex
from mnemos.index.spann.lists import Lists
from mnemos.index.spann.metric import Measure
from mnemos.index.spann.options import Options
from mnemos.index.spann.sketches import Sketches
from mnemos.index.spann.slots import Slots
from mnemos.index.spann.turnover import Turnover
from mnemos.index.spann.vector_file import VectorFile
from mnemos.index.spann.whole import Whole

Numbers = NDArray[np.int64]
Task = Literal["split", "merge", "renew"]
Source = Callable[[Numbers], Floats]
"""The vectors (m, d) of ids, from where they are kept for good."""


LONGEST = 65536
"""Entries of the longest list."""
SPARE = 1.15
"""Bytes that a head takes, as a multiple of its vector's."""


PENDING = 1 << 20
"""Bytes that appended entries may take in memory before they are written to their lists, at most."""


UNLIMITED = 1e9
"""From this spread on, no list is left out. (JSON has no infinity.)"""


@dataclass(frozen=True, slots=True)
class Settings:
    """How wide a search looks."""

    lists: int = 32
    """Lists of the nearest heads that are read, at most."""
    spread: float = UNLIMITED
    """After the `first`, only those whose head is near beside the k-th nearest vector in these: see `pruning.worth`."""
    rescore: int = 256
    """Vectors that are looked at exactly: the best by their codes."""
    recall: float | None = None
    """The recall@10 that was measured with these on a sample; None where it was not."""
    first: int = 4
    """Lists that are read before it is decided which others are."""
    rule: int = 2
    """Of pruning that the spread was measured with."""
    floor: float | None = None
    """The recall that settings which the index chooses later, when much has changed, have to reach, too: that of those chosen by a build, or by
    whoever asked for it. None: none was."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Settings as a manifest holds them. A spread that was measured with an older rule limits nothing any more."""
        return cls(**values) if values.get("rule") == cls().rule else cls(**{**values, "spread": UNLIMITED, "rule": cls().rule})


class Overtaken(Exception):
    """What a step of upkeep has read beside changes has become something else meanwhile. Nothing was done."""


@dataclass
class Parts:
    """Everything that an index consists of. Hold `lock` to change any of it, and to search among the heads."""

    options: Options
    measure: Measure
    rotation: Floats
    entries: Entries
    heads: HeadIndex
    lists: Lists
    slots: Slots
    vectors: VectorFile
    settings: Settings = field(default_factory=Settings)
    turnover: Turnover = field(default_factory=Turnover)
    source: Source | None = None
    kernel: ChosenKernel = "numpy"
    lock: threading.RLock = field(default_factory=threading.RLock)
    upkeep: threading.RLock = field(default_factory=threading.RLock)
    """Held by who moves entries between lists, and taken before `lock`: it may let go of that one in the middle, and find lists as they were."""
    epoch: int = 0
    """Grows with each step that moves entries between lists, or an id to another slot: a search that ran across one looks again."""
    building: bool = False
    """A build is going on, or was stopped: lists do not hold all vectors yet."""
    doomed: Floats = field(init=False)
    """Vectors (m, dimensions), as heads have them, whose erasing was begun: heads that are one of them have to go."""
    waiting: OrderedDict[int, Task] = field(default_factory=OrderedDict)
    """Lists that have to be split, merged or renewed, the oldest first."""

    sketches: Sketches = field(init=False)
    whole: Whole = field(init=False)
    """What filtered searches hold of the vectors that they have read."""

    def __post_init__(self) -> None:
        self.doomed = np.zeros((0, self.measure.dimensions), dtype=np.float32)
        self._hold_nothing()
        self.slots.refilled = self._refilled

    def _hold_nothing(self) -> None:
        self.sketches, self.whole = Sketches(self.measure.dimensions), Whole(self.measure.dimensions)

    def _refilled(self, slots: Numbers) -> None:
        self.sketches.forget(slots)
        self.whole.forget(slots)
        if self.room < 0:
            self._hold_nothing()

    @property
    def held(self) -> int:
        """Bytes in memory that searches under filters have taken, and give back where the memory is needed."""
        return self.sketches.nbytes + self.whole.nbytes

    @property
    def aside(self) -> int:
        """Bytes of the memory that are left for what is appended to lists."""
        return PENDING if self.options.memory is None else min(PENDING, self.options.memory // 32)

    @property
    def room(self) -> float:
        """Bytes of memory that they may still take."""
        return UNLIMITED if self.options.memory is None else self.options.memory - self.nbytes - self.held - self.aside

    @property
    def nbytes(self) -> int:
        """Bytes in memory of what grows with the vectors, what is `held` left out."""
        return self.heads.nbytes + self.lists.nbytes + self.turnover.nbytes + self.slots.nbytes + 2 * self.rotation.nbytes

    @property
    def typical(self) -> float:
        """Entries of a list, on average."""
        return self.lists.total / max(1, len(self.heads))

    @property
    def rng_factor(self) -> float:
        """That of the options; 1 where it was left to a build, and there was none."""
        return 1.0 if self.options.rng_factor is None else self.options.rng_factor

    @property
    def limit(self) -> int:
        """Entries that a list may have. Where memory has no room for another head, lists get longer instead of more."""
        memory = self.options.memory
        if memory is None:
            return self.options.list_limit
        more = max(self.bytes_of_a_head, self.heads.nbytes // 7)  # groups of heads grow by up to an eighth at once
        return self.options.list_limit if self.nbytes + more + self.aside <= memory else LONGEST

    @property
    def bytes_of_a_head(self) -> int:
        """Bytes in memory that one more list takes: the head, spare room of its group, and where it is."""
        return int(4 * self.measure.dimensions * SPARE + self.lists.table.dtype.itemsize + 12)

    def rotate(self, vectors: Floats) -> Floats:
        """Vectors (m, dimensions) as heads and lists have them: turned so that no component says more than another."""
        return np.asarray(vectors @ self.rotation, dtype=np.float32)

    def rotated(self, slots: Numbers) -> Floats:
        """The vectors in `slots`, as heads and lists have them."""
        return self.rotate(self.vectors.read(slots))

    def live(self, raw: Bytes) -> NDArray[np.bool_]:
        """Which entries count."""
        return self.slots.counts(self.entries.slots(raw), self.entries.stamps(raw))


def random_rotation(dimensions: int, seed: int) -> Floats:
    """A random orthogonal matrix (dimensions, dimensions)."""
    rng = np.random.default_rng(seed)
    q, r = np.linalg.qr(rng.standard_normal((dimensions, dimensions)))
    return np.asarray(q * np.sign(np.diag(r)), dtype=np.float32)
