"""How much each memory is used. Noting a use costs a read nothing durable: the store learns of it when the lives of memories are tended.

The heat of a memory is the sum over its uses of exp(−age / τ), τ = 1 day (the reuse estimate of MemOS, arXiv 2507.03724, section 5.3, as the
scheduler's proposal has it). It is an estimate: a process that is killed loses the uses since it last told the store.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from uuid import UUID

import numpy as np

from mnemos.base.recurrence import is_due, longest
from mnemos.store.base import Heat

TAU = 86_400_000_000
"""Microseconds in which the weight of a use falls to 1/e."""
RECENT = 8
"""Uses whose times are kept."""
_MOST = 200_000  # memories whose uses are kept until the store learns of them; beyond, those used longest ago are let go

COLD = Heat(0, 0.0, 0)


def at(heat: Heat, now: int) -> float:
    """The heat at the time `now`."""
    return heat.value * math.exp(-max(0, now - heat.at) / TAU)


def interval(heat: Heat) -> int:
    """The longest gap between two of the latest uses, in microseconds, 0 where there were not two."""
    return int(longest(heat.recent))


def is_warm(heat: Heat, now: int, floor: float, comes_back: float) -> bool:
    """Whether a memory was used lately (its heat is `floor` or more), or is due to come back: silent for no longer than `comes_back` times its
    longest gap (`mnemos.base.recurrence`, as the tokens of a cache)."""
    return at(heat, now) >= floor or bool(is_due(np, now - heat.at, interval(heat), comes_back))


def joined(earlier: Heat, later: Heat) -> Heat:
    """Two records of uses of one memory as one."""
    if earlier.at > later.at:
        earlier, later = later, earlier
    return Heat(
        earlier.hits + later.hits, at(earlier, later.at) + later.value, later.at, tuple(sorted((*earlier.recent, *later.recent))[-RECENT:])
    )


class AccessTracker:
    """The uses that the store does not know of yet. Safe to use from many threads."""

    def __init__(self) -> None:
        self._uses: dict[UUID, Heat] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._uses)

    def note(self, cubes: Iterable[UUID], now: int) -> None:
        """These memories were used at the time `now`."""
        with self._lock:
            for cube in cubes:
                known = self._uses.get(cube, COLD)
                self._uses[cube] = Heat(known.hits + 1, at(known, now) + 1, now, (*known.recent[1 - RECENT :], now))
            if len(self._uses) > _MOST:
                latest = sorted(self._uses.items(), key=lambda item: item[1].at)[_MOST // 2 :]
                self._uses = dict(latest)

    def peek(self, cube: UUID) -> Heat:
        """The uses of one memory that the store does not know of."""
        return self._uses.get(cube, COLD)

    def take(self) -> dict[UUID, Heat]:
        """All of them, which are then for the caller to keep, or to `give_back`."""
        with self._lock:
            taken, self._uses = self._uses, {}
        return taken

    def give_back(self, uses: dict[UUID, Heat]) -> None:
        """Uses that could not be kept."""
        with self._lock:
            for cube, heat in uses.items():
                self._uses[cube] = joined(heat, self._uses[cube]) if cube in self._uses else heat

    def drop(self, cubes: Iterable[UUID]) -> None:
        """Nothing is to be known of these memories any more."""
        with self._lock:
            for cube in cubes:
                self._uses.pop(cube, None)
