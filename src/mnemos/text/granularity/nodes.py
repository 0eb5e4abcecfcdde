"""The grains of all sessions as they are compared when a new one is associated; their vectors are held beside the index, and caught up."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from mnemos.index.growing import Growing
from mnemos.index.vectors import Mask, VectorIndex
from mnemos.text.strategy import Floats, View

if TYPE_CHECKING:
    from mnemos.text.granularity.strategy import Session, Sessions

Rows = NDArray[np.int64]

TURN, SESSION, SUMMARY, KEYWORDS = range(4)
_NEVER = np.iinfo(np.int64).max
_ALONE = 1 << 32
"""Added to the first row of a memory that stands alone, to name its session; others are named by their thread."""
_DESCRIBED, _NEW = 1 << 40, 1 << 50
"""Of equally near nodes sessions come first, then views, then what this portion has made, each in its order."""


class Held:
    """Unit vectors of sessions (the direction of their turns taken together) and of views. What is there is never changed, only added to, as a
    portion goes on with it after the index was let go; a session that changes gets a new place."""

    def __init__(self) -> None:
        self.vectors: VectorIndex | None = None
        self._begin(0)

    def _begin(self, dimensions: int) -> None:
        self._allowed: Mask = np.zeros(0, dtype=bool)
        self._place: dict[int, int] = {}
        self.names, self.means = Growing(np.int64), Growing(np.float32, dimensions)
        self._known: Mask = np.zeros(0, dtype=bool)
        self.views, self.described = Growing(np.int64), Growing(np.float32, dimensions)

    def catch_up(self, sessions: Sessions, vectors: VectorIndex) -> None:
        if vectors is not self.vectors or len(self.names) > 2 * len(self._place) + 64:  # another embedder's; or mostly places that are given up
            self.vectors = vectors
            self._begin(vectors.dimensions)
        n = len(sessions.view.index)
        self._catch_up_sessions(sessions.view, vectors, n)
        known = np.zeros(n, dtype=bool)
        known[: len(self._known)] = self._known
        fresh = sessions.views[~known[sessions.views]]
        known[fresh] = True
        self.views.extend(fresh)
        self.described.extend(vectors.vectors(fresh))
        self._known = known

    def _catch_up_sessions(self, view: View, vectors: VectorIndex, n: int) -> None:
        before = np.zeros(n, dtype=bool)
        before[: len(self._allowed)] = self._allowed
        changed = np.flatnonzero(before != view.allowed)
        self._allowed = view.allowed.copy()
        if not len(changed):
            return
        thread, first = view.index.thread.view(), view.index.first.view()
        touched = np.zeros(len(view.index.threads.words) + 1, dtype=bool)  # the last for -1
        touched[thread[changed]] = True
        touched[-1] = False
        single = np.zeros(n, dtype=bool)
        single[first[changed[thread[changed] < 0]]] = True
        rows = np.flatnonzero(view.allowed & (touched[thread] | ((thread < 0) & single[first])))
        names = np.where(thread[rows] >= 0, thread[rows], _ALONE + first[rows])
        order = np.argsort(names, kind="stable")
        names, rows = names[order], rows[order]
        starts = np.flatnonzero(np.diff(names, prepend=-1))
        if len(starts):
            start, found = len(self.names), names[starts]
            self.means.extend(unit(np.add.reduceat(vectors.vectors(rows), starts, axis=0)))
            self.names.extend(found)
            self._place.update(zip(found.tolist(), range(start, start + len(found)), strict=True))

    def current(self) -> Mask:
        """(sessions,) which places are those of sessions as they are."""
        out = np.zeros(len(self.names), dtype=bool)
        out[list(self._place.values())] = True
        return out


class Nodes:
    """The nodes that a new session may be associated with: unit vectors, and the memory that stands for the session of each."""

    def __init__(self, sessions: Sessions, vectors: VectorIndex) -> None:
        self._exact, self._index = vectors, sessions.view.index
        held = self._index.attached("granularity nodes", Held)
        held.catch_up(sessions, vectors)
        names, views = held.names.view(), held.views.view()
        self._held = (held.means.view(), held.described.view())
        begins = np.full(sessions.slots, _NEVER)
        begins[sessions.slot[sessions.rows[::-1]]] = sessions.rows[::-1]
        self._stands = begins.copy()
        summaries = sessions.grain == SUMMARY
        self._stands[sessions.of[summaries]] = sessions.views[summaries]
        of, grain = np.full(len(self._index), -1), np.full(len(self._index), SUMMARY)
        of[sessions.views], grain[sessions.views] = sessions.of, sessions.grain
        slots = np.where(names < _ALONE, names, len(self._index.threads.words) + names - _ALONE)
        self._slots = np.concatenate([slots, of[views]])
        self._order = np.where(self._slots >= 0, begins[self._slots], _NEVER)
        self._order[: len(names)][~held.current()] = _NEVER
        self._grains = np.concatenate([np.full(len(names), SESSION), grain[views]])
        self._among_equals = np.concatenate([names, _DESCRIBED + views])
        self._new: list[UUID] = []
        self._fresh: Floats = np.zeros((0, vectors.dimensions), dtype=np.float32)

    @classmethod
    def of(cls, sessions: Sessions) -> Nodes | None:
        """None where meaning cannot be compared."""
        return None if sessions.view.vectors is None else cls(sessions, sessions.view.vectors)

    def likeness(self, session: Session, vectors: Floats) -> Floats:
        """Cosines (v, m) of unit vectors (v, d) with the nodes of the sessions that began before one; minus infinity with the others."""
        out: Floats = np.concatenate([vectors @ part.T for part in (*self._held, self._fresh)], axis=1)
        earlier = (self._order < session.memories[0].row) & (self._slots != session.thread)
        out[:, ~earlier] = -np.inf
        return out

    def nearest(self, likeness: Floats, count: int) -> Rows:
        """The `count` nodes with the greatest likeness (m,), the nearest first; none of minus infinity."""
        limit = np.partition(likeness, len(likeness) - count)[len(likeness) - count] if len(likeness) > count else -np.inf
        best = np.flatnonzero((likeness >= limit) & np.isfinite(likeness))
        return best[np.lexsort((self._among_equals[best], -likeness[best]))][:count]

    def id_at(self, node: int) -> UUID:
        """The memory that stands for a node's session: its summary, or its first turn."""
        held = len(self._order) - len(self._fresh)
        return self._new[(node - held) // 3] if node >= held else self._index.id_at(int(self._stands[self._slots[node]]))

    def grain_of(self, node: int) -> int:
        return int(self._grains[node])

    def mean_of(self, session: Session) -> Floats:
        """The direction of a session's turns taken together."""
        rows = np.array([memory.row for memory in session.memories], dtype=np.int64)
        mean: Floats = unit(self._exact.vectors(rows).sum(axis=0, keepdims=True))[0]
        return mean

    def put(self, session: Session, summary: UUID, vectors: Floats) -> None:
        """Let a session be found by those that are associated after it, as it is now."""
        self._order[self._slots == session.thread] = _NEVER
        new = _NEW + len(self._fresh) + np.arange(3)
        self._fresh = np.vstack([self._fresh, self.mean_of(session)[None], vectors])
        self._order = np.append(self._order, np.full(3, session.memories[0].row))
        self._slots = np.append(self._slots, np.full(3, session.thread))
        self._grains = np.append(self._grains, (SESSION, SUMMARY, KEYWORDS))
        self._among_equals = np.append(self._among_equals, new)
        self._new.append(summary)


def unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)
