"""Forgetting for good: after it, no byte that was made of a vector is left in the files of the index."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mnemos.index.spann.extents import Extents
from mnemos.index.spann.parts import Numbers, Parts
from mnemos.index.spann.updating import Updater

_SAME = 1e-6
_BLOCK = 8192


def erase(parts: Parts, updater: Updater, extents: Extents, ids: Numbers, checkpoint: Callable[[], None]) -> int:
    """Let go of the vectors of `ids`, and overwrite what was made of them: the vectors, the entries of every list, heads that are one of them, and
    pages that held any of it before. Reads all lists. How many vectors there were.

    The log says that they are gone before this is called: after a stop in the middle, the owner calls it again.
    """
    with parts.lock:
        slots = parts.slots.map.find(ids)
        slots = np.unique(slots[slots >= 0])
        known = slots[~np.isin(slots, parts.vectors.damaged(slots))]
        rotated = parts.rotated(known)
        updater.remove(ids)
        _clear(parts)
        for number in parts.lists.numbers().tolist() if len(slots) else ():
            raw = updater.read(number)
            if np.isin(parts.entries.slots(raw), slots).any():
                updater.rewrite(number, raw[parts.live(raw)])
        if len(rotated) and len(parts.heads):
            nearest, squares = parts.heads.nearest(rotated, 1)
            for number in np.unique(nearest[:, 0][squares[:, 0] <= _SAME]).tolist():
                updater.rehead(number)
    checkpoint()
    extents.wipe()
    return len(slots)


def _clear(parts: Parts) -> None:
    """Overwrite the vectors of all slots that hold none any more. What the last manifest still says of them, the log after it takes back."""
    empty = parts.slots.empty()
    for start in range(0, len(empty), _BLOCK):
        block = empty[start : start + _BLOCK]
        parts.vectors.write(block, np.zeros((len(block), parts.measure.dimensions), dtype=np.float32))
