"""Forgetting for good: after it, no byte that was made of a vector is left in the files of the index."""

from __future__ import annotations

import numpy as np

from mnemos.index.spann.mending import Mender
from mnemos.index.spann.parts import Numbers, Parts
from mnemos.index.spann.updating import Updater

_SAME = 1e-6
"""Vectors are one where they are no farther apart, squared, as a share of their own square."""
_BLOCK = 8192


def erase(parts: Parts, updater: Updater, mender: Mender, ids: Numbers) -> int:
    """Let go of the vectors of `ids`, of the entries of every list that do not count, and of heads that are one of the vectors. Reads all lists. How
    many vectors there were.

    Then come a checkpoint and `overwrite`. Vectors are overwritten only when a checkpoint is durable that does not know them: so after a stop at any
    point, the owner calls all of it again, and all is found that has to go.
    """
    with parts.lock:
        slots = parts.slots.map.find(ids)
        slots = np.unique(slots[slots >= 0])
        known = slots[~np.isin(slots, parts.vectors.damaged(slots))]
        parts.doomed = np.concatenate([parts.doomed, parts.rotated(known)])
        updater.remove(ids)
        parts.slots.attributes.compact(parts.slots.live())
        for number in parts.lists.numbers().tolist():
            raw = mender.read(number)
            live = parts.live(raw)
            if not live.all():
                updater.writer.rewrite(number, raw[live])
        for number in _heads_that_are(parts).tolist():
            updater.lire.rehead(number)
        parts.doomed = parts.doomed[:0]
        return len(slots)


def _heads_that_are(parts: Parts) -> Numbers:
    """The heads that are one of the `doomed` vectors, but for rounding: all of those that are equal."""
    found = [np.zeros(0, dtype=np.int64)]
    for vector in parts.doomed:
        wanted, same = 0, np.ones(1, dtype=bool)
        while same.all() and wanted < len(parts.heads):
            wanted = min(max(4 * wanted, 16), len(parts.heads))
            numbers, squares = parts.heads.nearest(vector[None], wanted, probe=len(parts.heads))
            same = squares[0] <= _SAME * float(vector @ vector)
        found.append(numbers[0][same] if wanted else found[0])
    return np.unique(np.concatenate(found))


def overwrite(parts: Parts) -> None:
    """Overwrite what the last checkpoint does not refer to: slots that hold no vector, what stands behind the entries of lists, free pages."""
    with parts.lock:
        empty = parts.slots.empty()
        for start in range(0, len(empty), _BLOCK):
            block = empty[start : start + _BLOCK]
            parts.vectors.write(block, np.zeros((len(block), parts.measure.dimensions), dtype=np.float32))
        parts.lists.clear_behind()
    parts.vectors.sync()
    parts.lists.extents.wipe()
