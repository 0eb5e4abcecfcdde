"""How far a path departs from the others: D = 1 - the best weighted overlap of its triples and its action with theirs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnemos.kernel.guard.actions import similarity
from mnemos.kernel.guard.language import opposed
from mnemos.kernel.guard.paths import Path, Triple

Matrix = NDArray[np.float64]

SUBJECT, RELATION, OBJECT = 0.25, 0.25, 0.5
"""Weights of a triple's parts in its overlap with another: what is said counts as much as of what and how. Ours."""
MOST_TRIPLES = 2_000
"""Triples that are compared at once, the first ones of each path: the tables grow with their square."""
SAME_SLOT = 0.5
"""Overlap of subjects, and of relations, from which two triples speak of the same thing. Ours."""


@dataclass(frozen=True)
class Compared:
    """The triples of several paths, each two compared; all matrices are of shape (triples, triples)."""

    owners: NDArray[np.int64]
    """(triples,) index of the path that each belongs to."""
    overlap: Matrix
    """Weighted overlap, 0 to 1; 0 where two contradict each other."""
    contradict: NDArray[np.bool_]
    same: NDArray[np.bool_]
    """Whether two share something of subject, relation and object, and so may say the same."""

    def by_path(self, pairs: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
        """Whether any triples of two paths are so related, shape (count, count)."""
        out = np.zeros((count, count), dtype=np.bool_)
        i, j = np.nonzero(pairs)
        out[self.owners[i], self.owners[j]] = True
        np.fill_diagonal(out, False)
        return out


def compared(paths: Sequence[Path]) -> Compared:
    """Compares each two triples of the paths."""
    each = max(1, MOST_TRIPLES // max(1, len(paths)))
    triples = [triple for path in paths for triple in path.triples[:each]]
    owners = np.array([owner for owner, path in enumerate(paths) for _ in path.triples[:each]], dtype=np.int64)
    column: dict[int, int] = {}
    for triple in triples:
        for found in triple.terms:
            column.setdefault(found, len(column))
    subject, relation, thing = (_alike([getattr(triple, name) for triple in triples], column) for name in ("subject", "relation", "object"))
    against = np.zeros(subject.shape, dtype=np.bool_)
    for i, j in np.argwhere(np.triu(subject >= SAME_SLOT, 1)):
        if owners[i] != owners[j] and contradict(triples[i], triples[j]):
            against[i, j] = against[j, i] = True
    overlap = np.where(against, 0.0, SUBJECT * subject + RELATION * relation + OBJECT * thing)
    return Compared(owners, overlap, against, ~against & (subject > 0) & (relation > 0) & (thing > 0))


def _alike(parts: Sequence[frozenset[int]], column: Mapping[int, int]) -> Matrix:
    """Jaccard's index of each two sets of terms, shape (parts, parts); 0 where both are empty."""
    rows = np.zeros((len(parts), len(column)), dtype=np.float32)
    for row, terms in enumerate(parts):
        rows[row, [column[found] for found in terms]] = 1.0
    sizes = rows.sum(1)
    shared = (rows @ rows.T).astype(np.float64)
    union = sizes[:, None] + sizes[None, :] - shared
    out: Matrix = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return out


def divergences(
    paths: Sequence[Path], groups: Sequence[int], action_weight: float, table: Compared, among: Collection[int] | None = None
) -> list[float | None]:
    """D of each path against the union of the others, those of its own group left out: who depends on it cannot support it.

    A triple counts by its best plausible counterpart, 0 where the two contradict each other; the action weighs `action_weight` times what
    all triples do. None where a path holds nothing, or there is nobody to compare it with. `table` is `compared(paths)`; `among`, where
    given, are the indices of those that can support others.
    """
    own = np.asarray(groups, dtype=np.int64)
    others = own[:, None] != own[None, :]
    if among is not None:
        others[:, [index for index in range(len(paths)) if index not in among]] = False
    done = _best_of_actions(paths, others)
    said = np.zeros(len(paths))
    if len(table.owners):
        best = np.where(others[np.ix_(table.owners, table.owners)], table.overlap, 0.0).max(1)
        held = np.bincount(table.owners, minlength=len(paths))
        np.divide(np.bincount(table.owners, best, len(paths)), held, out=said, where=held > 0)
    filled = np.array([not path.empty for path in paths])
    out: list[float | None] = []
    for owner, path in enumerate(paths):
        acts, says = (action_weight if path.action else 0.0), (1.0 if path.triples else 0.0)
        if acts + says == 0.0 or not (others[owner] & filled).any():
            out.append(None)
        else:
            out.append(float(1.0 - (acts * done[owner] + says * said[owner]) / (acts + says)))
    return out


def _best_of_actions(paths: Sequence[Path], others: NDArray[np.bool_]) -> Matrix:
    """For each path, the similarity of its action to the nearest one outside its group, shape (paths,)."""
    best = np.zeros(len(paths))
    for i, path in enumerate(paths):
        for j in range(i):
            rival = paths[j].action
            if path.action is not None and rival is not None and (others[i, j] or others[j, i]):
                alike = similarity(path.action, rival)
                best[i], best[j] = max(best[i], alike * others[i, j]), max(best[j], alike * others[j, i])
    return best


def contradict(a: Triple, b: Triple) -> bool:
    """Whether two triples cannot both hold: the same said and denied, other numbers, opposites, or two objects of a relation that has one."""
    if jaccard(a.subject, b.subject) < SAME_SLOT:
        return False
    if a.negated != b.negated:
        return jaccard(a.relation | a.object, b.relation | b.object) >= SAME_SLOT
    if jaccard(a.relation, b.relation) < SAME_SLOT:
        return False
    if a.figures and b.figures:
        return a.figures.isdisjoint(b.figures)
    return opposed(a.object, b.object) or (a.functional and b.functional and a.object.isdisjoint(b.object))


def jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    """|a ∩ b| / |a ∪ b|; 0 where both are empty."""
    union = len(a | b)
    return len(a & b) / union if union else 0.0
