"""What records claim about a query: what they answer it with, and whether their claims agree or exclude each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnemos.kernel.guard.divergence import Compared
from mnemos.kernel.guard.paths import Path, query_terms
from mnemos.kernel.guard.vocabulary import Vocabulary

Flags = NDArray[np.bool_]

COVERED = 0.5
"""Share of a query's weight that a sentence must hold for it to answer the query. Ours."""
_FIGURE = re.compile(
    r"\bhow (?:many|much|old|long|tall|high|far|big|large|heavy|fast|often|deep|wide)\b|\bwhen\b"
    r"|\b(?:what|which|in what) (?:year|date|day|age|number|percentage|amount|price|time)\b",
    re.IGNORECASE,
)
_YES_NO = re.compile(r"\W*(?:is|are|was|were|am|do|does|did|can|could|will|would|has|have|had|should|must|may)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What a record answers a query with: figures for "how many" and "when", yes or no for a question of that form."""

    figures: frozenset[str] = frozenset()
    affirms: bool | None = None


def components(linked: NDArray[np.bool_]) -> list[list[int]]:
    """The connected components of a symmetric relation, each in ascending order, by their first member."""
    parents = list(range(len(linked)))
    for i, j in np.argwhere(np.triu(linked, 1)):
        a, b = root(parents, i), root(parents, j)
        if a != b:
            parents[max(a, b)] = min(a, b)
    groups: dict[int, list[int]] = {}
    for member in range(len(linked)):
        groups.setdefault(root(parents, member), []).append(member)
    return list(groups.values())


def root(parents: list[int], member: int) -> int:
    """The representative of a member's set, in a forest of parents; paths are halved on the way."""
    while parents[member] != member:
        parents[member] = parents[parents[member]]
        member = parents[member]
    return member


def conclusions(query: str, paths: Sequence[Path], vocabulary: Vocabulary) -> list[Conclusion | None]:
    """What each path answers a query about a figure, or for a yes or no, with; None where it does not bear on it."""
    asked = query_terms(query)
    figures, yes_no = bool(_FIGURE.search(query)), bool(_YES_NO.match(query))
    whole = vocabulary.weigh(asked)
    out: list[Conclusion | None] = []
    for path in paths:
        best = max(path.sentences, key=lambda sentence: vocabulary.weigh(sentence.terms & asked), default=None)
        if best is None or not (figures or yes_no) or vocabulary.weigh(best.terms & asked) < COVERED * whole:
            out.append(None)
        elif figures:
            out.append(Conclusion(figures=best.figures - frozenset(query.split())))
        else:
            out.append(Conclusion(affirms=not best.negated))
    return out


def relations(
    query: str, paths: Sequence[Path], vocabulary: Vocabulary, table: Compared
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(which two paths exclude each other, which two agree on something), both of shape (paths, paths)."""
    answers = conclusions(query, paths, vocabulary)
    exclude, agree = table.by_path(table.contradict, len(paths)), table.by_path(table.same, len(paths))
    for i in range(len(paths)):
        for j in range(i):
            same, other = _concluded(answers[i], answers[j])
            exclude[i, j] = exclude[j, i] = exclude[i, j] or other
            agree[i, j] = agree[j, i] = agree[i, j] or same
    return exclude, agree & ~exclude


def _concluded(a: Conclusion | None, b: Conclusion | None) -> tuple[bool, bool]:
    """(whether two conclusions are the same, whether they exclude each other)."""
    if a is None or b is None:
        return False, False
    if a.affirms is not None:
        return a.affirms is b.affirms, a.affirms is not b.affirms
    return not a.figures.isdisjoint(b.figures), bool(a.figures) and bool(b.figures) and a.figures.isdisjoint(b.figures)

