"""The notes of a space as they are read: which memory each is of, which memories they link, and the boxes that links make."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from mnemos.index.relations import Edges
from mnemos.index.vectors import Mask
from mnemos.text.strategy import Memory, View

Rows = NDArray[np.int64]
NAME = "notes"


class Shelf:
    """The notes that may bear on a result. The caller holds the index's lock."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.mask: Mask = view.made_by(NAME)
        views, sources = view.relations.sources(self.mask) if view.relations is not None else (np.zeros(0, np.int64), np.zeros(0, np.int64))
        at = np.flatnonzero(np.diff(views, prepend=-1))
        self.rows = views[at]
        """(v,) rows of notes, ascending."""
        self.of = sources[at]
        """(v,) row of the memory that each is of: the first of its sources. The others are those that its evolution drew on."""

    def __len__(self) -> int:
        return len(self.rows)

    def note_of(self) -> Rows:
        """(n,) the note of each row, -1 where it has none."""
        out = np.full(len(self._view.index), -1, dtype=np.int64)
        out[self.of] = self.rows
        return out

    def links(self, touching: Rows | None = None) -> Edges:
        """The links between memories that may both be shown, from the later to the earlier one, as rows; those of the rows `touching`, or all.
        Whoever follows them the other way, too, has the back-links. One whose other end is gone is no link any more."""
        view = self._view
        none = np.zeros(0, np.int64)
        if view.relations is None or not len(self.rows):
            return Edges(none, none, np.zeros(0))
        near = None
        if touching is not None:
            touched = np.zeros(len(view.index), dtype=bool)
            touched[touching] = True
            near = self.rows[touched[self.of]], view.index.first.view()[touching]
        notes, nodes, weight = view.relations.said(self.mask, near)
        source, target = self.of[np.searchsorted(self.rows, notes)], self._shown(nodes)
        whole = (target >= 0) & (source != target)
        whole[whole] = view.allowed[source[whole]]
        return Edges(source[whole], target[whole], weight[whole])

    def _shown(self, nodes: Rows) -> Rows:
        """The row at which each node may be shown; -1 where it may not."""
        index, allowed = self._view.index, self._view.allowed
        if index.in_order:
            return np.where(allowed[nodes], nodes, -1)
        first, shown = index.first.view(), np.flatnonzero(allowed)
        row_of = np.full(len(first), -1, dtype=np.int64)
        row_of[first[shown]] = shown
        return np.asarray(row_of[nodes])

    def box(self, row: int) -> Rows:
        """The box of a memory: itself and what it is linked with, in either direction, ascending. A memory is in the boxes of all of these."""
        links = self.links(np.array([row]))
        return np.unique(np.concatenate([[row], links.target[links.source == row], links.source[links.target == row]]))


def present(view: View, ids: Iterable[UUID]) -> dict[UUID, Memory]:
    """Those of some memories that may be shown, as they are now."""
    rows: dict[UUID, int] = {}
    for id in dict.fromkeys(ids):
        shown = [row for row in view.index.rows_of(id) if view.allowed[row]]
        if shown:
            rows[id] = shown[-1]
    return dict(zip(rows, memories(view, rows.values()), strict=True))


def memories(view: View, rows: Iterable[int]) -> list[Memory]:
    """What stands at `rows`."""
    listed = list(rows)
    return [Memory(content, row) for content, row in zip(view.contents(listed), listed, strict=True)]
