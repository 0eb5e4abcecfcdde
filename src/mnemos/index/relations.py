"""The relations of a space: which memories a view is of, edges between two memories, and n-ary relations, each asserted by a view.

A view (`base.lineage.VIEW_OF`) keeps edges in its metadata as {"edges": [{"to": id, "kind": word, "weight": number}]}, from itself to another
memory, and, being a relation itself, the memories that it relates as {"members": [{"id": id, "role": word, "weight": number}]}. So the provenance
of each is a version of a cube: who made it, when, from what. Nodes are memories, named by the row of their first version.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from mnemos.base.cube import Content
from mnemos.base.errors import Invalid
from mnemos.base.ids import parse_id
from mnemos.base.lineage import VIEW_OF
from mnemos.index.codes import Codes
from mnemos.index.growing import Growing
from mnemos.index.places import Places
from mnemos.index.space_index import SpaceIndex
from mnemos.index.vectors import Mask

Rows = NDArray[np.int64]


class Versions(Protocol):
    """What is read of a store's snapshot."""

    def versions(self, seqs: Sequence[int]) -> Mapping[int, Any]: ...
    def version_seq(self, cube: UUID, version: int) -> int | None: ...
    def parts(self, cube: UUID, version: int) -> list[int]: ...


class Edges(NamedTuple):
    """Edges as columns of one length: `source` and `target` are nodes, `weight` is as it was given (1 where it was not)."""

    source: Rows
    target: Rows
    weight: NDArray[np.float64]


class Incidence(NamedTuple):
    """N-ary relations as columns of one length: the row of the relation, a node that it relates, in which role (`Relations.roles`), how much."""

    relation: Rows
    node: Rows
    role: Rows
    weight: NDArray[np.float64]


class Relations:
    """What the views among the rows of one index say. The caller holds the index's lock."""

    def __init__(self) -> None:
        self.kinds, self.roles, self.strategies = Codes(), Codes(), Codes()
        self._read = 0
        self._sources = Growing(np.int64, 2)  # (row of a view, row that it is a view of)
        self._edges = Growing(np.int64, 3)  # (row of the view that says so, node, kind)
        self._weights = Growing(np.float64)
        self._by_target = Places()  # of edges
        self._members = Growing(np.int64, 3)  # (row of the relation, node, role)
        self._shares = Growing(np.float64)
        self._strategy = Growing(np.int64, 2)  # (row of a view, strategy)
        self._missing: set[UUID] = set()  # memories that views speak of, and that have no row so far

    @classmethod
    def of(cls, index: SpaceIndex, snapshot: Versions, is_view: Mask) -> Relations:
        """The relations of an index that is caught up to the snapshot; `is_view` says which rows are views."""
        held = index.attached("relations", cls)
        held._catch_up(index, snapshot, is_view)
        return held

    def _catch_up(self, index: SpaceIndex, snapshot: Versions, is_view: Mask) -> None:
        if self._missing and not self._missing.isdisjoint(index.id_at(row) for row in range(self._read, len(index))):
            self.__init__()  # type: ignore[misc]  # read all of it again, in the order in which it would be read at first use
        fresh = self._read + np.flatnonzero(is_view[self._read :])
        self._read = len(index)
        if not len(fresh):
            return
        stored = snapshot.versions(index.seq.view()[fresh].tolist())
        for row, seq in zip(fresh.tolist(), index.seq.view()[fresh].tolist(), strict=True):
            if seq not in stored:  # forgotten since
                continue
            content: Content = stored[seq].content
            self._sources.extend([(row, source) for source in self._rows_of_sources(index, snapshot, content)] or np.empty((0, 2)))
            self._strategy.extend([(row, self.strategies.encode([_word(content.metadata.get("strategy"))])[0])])
            edges = list(self._said(index, content.metadata.get("edges"), "to", "kind"))
            if edges:
                self._edges.extend([(row, node, self.kinds.encode([kind])[0]) for node, kind, _ in edges])
                self._weights.extend([weight for _, _, weight in edges])
            members = list(self._said(index, content.metadata.get("members"), "id", "role"))
            if members:
                self._members.extend([(row, node, self.roles.encode([role])[0]) for node, role, _ in members])
                self._shares.extend([weight for _, _, weight in members])

    def _said(self, index: SpaceIndex, listed: Any, id_key: str, word_key: str) -> Iterator[tuple[int, str | None, float]]:
        """(node, word, weight) of what metadata list, where it is there; what a caller wrote into metadata by hand may be anything."""
        for one in listed if isinstance(listed, (list, tuple)) else ():
            if not isinstance(one, Mapping) or not isinstance(one.get(id_key), str):
                continue
            try:
                cube = parse_id(one[id_key])
            except Invalid:
                continue
            weight = one.get("weight", 1.0)
            if not isinstance(weight, (int, float)) or isinstance(weight, bool) or not np.isfinite(weight):
                continue
            rows = index.rows_of(cube)
            if rows:
                yield rows[0], _word(one.get(word_key)), float(weight)
            else:
                self._missing.add(cube)

    @staticmethod
    def _rows_of_sources(index: SpaceIndex, snapshot: Versions, content: Content) -> Iterator[int]:
        """The rows of the very versions that a view was made of; those of a document are its parts. -1 where one is not there any more."""
        for link in content.derived_from:
            if link.relation != VIEW_OF:
                continue
            seq = snapshot.version_seq(link.id, link.version)
            if seq is None:
                yield -1
                continue
            seqs = [seq] if index.has_row(seq) else [part for part in snapshot.parts(link.id, link.version) if index.has_row(part)]
            yield from index.rows_at(np.array(seqs, dtype=np.int64)).tolist() if seqs else (-1,)

    def forget_rows(self, rows: Sequence[int]) -> None:
        """Let go of what views at `rows` say, and of what is said of them: what would be held if they had never been there."""
        self._by_target = Places()
        gone = np.zeros(max(self._read, max(rows) + 1), dtype=bool)
        gone[list(rows)] = True
        pairs = self._sources.view()
        pairs[gone[pairs[:, 1]] & (pairs[:, 1] >= 0), 1] = -1
        self._sources = _only(self._sources, ~gone[pairs[:, 0]])
        self._strategy = _only(self._strategy, ~gone[self._strategy.view()[:, 0]])
        self.strategies, self._strategy = _recoded(self.strategies, self._strategy, 1)
        for said, weights, words in (("_edges", "_weights", "kinds"), ("_members", "_shares", "roles")):
            column = getattr(self, said)
            left = ~gone[column.view()[:, 0]] & ~gone[column.view()[:, 1]]
            setattr(self, weights, _only(getattr(self, weights), left))
            recoded, column = _recoded(getattr(self, words), _only(column, left), 2)
            setattr(self, words, recoded)
            setattr(self, said, column)

    # -- asking --
    def usable(self, seen: Mask, is_view: Mask) -> Mask:
        """The views all of whose sources are seen, too: what anybody may not see has no bearing on what is found, by no detour."""
        usable = seen & is_view
        pairs = self._sources.view()
        if not len(pairs):
            return usable & False
        views, sources = pairs[:, 0], pairs[:, 1]
        with_sources = np.zeros(len(seen), dtype=bool)
        with_sources[views] = True
        usable &= with_sources
        gone, made_of_views = sources < 0, is_view[sources]
        while True:
            lacking = views[gone | ~np.where(made_of_views, usable[sources], seen[sources])]
            if not usable[lacking].any():
                return usable
            usable[lacking] = False

    def sources(self, views: Mask) -> tuple[Rows, Rows]:
        """(view, source) rows, pair by pair, of the views in the mask."""
        pairs = self._sources.view()
        pairs = pairs[views[pairs[:, 0]]]
        return pairs[:, 0], pairs[:, 1]

    def of_strategy(self, name: str, n: int) -> Mask:
        """Which of `n` rows are views that the strategy `name` made."""
        mask = np.zeros(n, dtype=bool)
        number, said = self.strategies.number(name), self._strategy.view()
        if number is not None:
            mask[said[said[:, 1] == number, 0]] = True
        return mask

    def edges(self, first: Rows, views: Mask, kinds: Iterable[str] | None = None) -> Edges:
        """The edges that the views in the mask assert, of some kinds (None: of all). `first`: the index's column of that name."""
        said = self._edges.view()
        chosen = views[said[:, 0]] & _among(said[:, 2], self.kinds, kinds)
        return Edges(first[said[chosen, 0]], said[chosen, 1], self._weights.view()[chosen])

    def said(self, views: Mask, touching: tuple[Rows, Rows] | None = None) -> tuple[Rows, Rows, NDArray[np.float64]]:
        """(row of the view that says so, node, weight) of the edges that the views in the mask assert, in the order of the views; with `touching`
        (rows of views, nodes) only of those that one of these views asserts, or that lead to one of the nodes."""
        said = self._edges.view()
        if touching is None:
            at = np.flatnonzero(views[said[:, 0]])
        else:
            saying, nodes = touching
            column: Any = said[:, 0]  # in order; NumPy's own search would copy all of it
            found = [np.arange(bisect_left(column, row), bisect_right(column, row)) for row in saying.tolist()]
            found += [self._by_target.of(said[:, 1], node) for node in np.unique(nodes).tolist()]
            at = np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)
            at = at[views[said[at, 0]]]
        return said[at, 0], said[at, 1], self._weights.view()[at]

    def incidence(self, views: Mask, roles: Iterable[str] | None = None) -> Incidence:
        """The n-ary relations among the views in the mask, with their members in some roles (None: in all)."""
        said = self._members.view()
        chosen = views[said[:, 0]] & _among(said[:, 2], self.roles, roles)
        return Incidence(said[chosen, 0], said[chosen, 1], said[chosen, 2], self._shares.view()[chosen])


def _only(column: Growing, left: Mask) -> Growing:
    """The rows of a column that are left."""
    if left.all():
        return column
    view = column.view()
    out = Growing(view.dtype, None if view.ndim == 1 else view.shape[1])
    out.extend(view[left])
    return out


def _recoded(codes: Codes, column: Growing, at: int) -> tuple[Codes, Growing]:
    """Codes without the words that no row of a column uses any more, and the column, whose place `at` holds them, in these codes."""
    used = np.unique(column.view()[:, at])
    used = used[used >= 0]
    if len(used) == len(codes.words):
        return codes, column
    out = Codes()
    numbers = np.full(len(codes.words) + 1, -1, dtype=np.int64)  # the last for -1
    numbers[used] = out.encode([codes.words[number] for number in used.tolist()])
    column.view()[:, at] = numbers[column.view()[:, at]]
    return out, column


def _among(codes: Rows, words: Codes, wanted: Iterable[str] | None) -> Mask:
    if wanted is None:
        return np.ones(len(codes), dtype=bool)
    chosen = np.zeros(len(words.words) + 1, dtype=bool)  # the last for -1
    chosen[[number for word in wanted if (number := words.number(word)) is not None]] = True
    return np.asarray(chosen[codes])


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) else None
