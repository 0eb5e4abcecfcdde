"""What records claim about a query: how far they cover it, whether they make the same claim, and whether their claims exclude each other."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnemos.kernel.guard.divergence import Compared
from mnemos.kernel.guard.paths import Path, query_terms
from mnemos.kernel.guard.vocabulary import Vocabulary

Matrix = NDArray[np.float64]
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


def echoes(query: str, paths: Sequence[Path], vocabulary: Vocabulary) -> Matrix:
    """How nearly each two paths make one claim about the query, 0 to 1, shape (paths, paths), 0 on the diagonal.

    The weighted Jaccard index of what their claims turn on (names, numbers, and the words of the query that they take up), times the root of
    the lesser share of the query that one sentence holds, times the fourth root of the lesser share of the text that the query is. Paraphrases
    of one claim differ in everything else. The form is ours, chosen on the development part of PoisonedRAG for its distance to benign passages.
    """
    asked = query_terms(query)
    whole = vocabulary.weigh(asked)
    held = np.zeros(len(paths))
    dense = np.zeros(len(paths))
    turns_on = [path.keys | (path.terms & asked) for path in paths]
    weights = [vocabulary.weigh(terms) for terms in turns_on]
    for i, path in enumerate(paths):
        taken = vocabulary.weigh(path.terms & asked)
        if taken and whole:
            held[i] = max(vocabulary.weigh(sentence.terms & asked) for sentence in path.sentences) / whole
            dense[i] = taken / vocabulary.weigh(path.terms)
    out = np.zeros((len(paths), len(paths)))
    for i in range(len(paths)):
        for j in range(i):
            shared = vocabulary.weigh(turns_on[i] & turns_on[j])
            if shared:
                alike = shared / (weights[i] + weights[j] - shared)
                out[i, j] = out[j, i] = alike * min(held[i], held[j]) ** 0.5 * min(dense[i], dense[j]) ** 0.25
    return out


def echo_strength(echo: Matrix, size: int) -> float:
    """The strength at which `size` of the paths hang together (single linkage); 0 where they never do."""
    parents = list(range(len(echo)))
    sizes = [1] * len(echo)
    pairs = np.argwhere(np.triu(echo, 1) > 0)
    for i, j in pairs[np.argsort(-echo[pairs[:, 0], pairs[:, 1]], kind="stable")] if len(pairs) else ():
        a, b = root(parents, i), root(parents, j)
        if a != b:
            parents[a] = b
            sizes[b] += sizes[a]
            if sizes[b] >= size:
                return float(echo[i, j])
    return 0.0


def echo_groups(echo: Matrix, strong: float, size: int) -> list[list[int]]:
    """Groups of at least `size` paths that hang together more strongly than `strong`."""
    return [group for group in components(echo > strong) if len(group) >= size]


def claim_of(group: Sequence[Path], query: str) -> frozenset[int]:
    """What the claim of a group turns on beyond the query: the names and numbers that most of them share, else the terms."""
    asked = query_terms(query)
    return _shared([path.keys - asked for path in group]) or _shared([path.terms - asked for path in group])


def _shared(sets: Sequence[frozenset[int]]) -> frozenset[int]:
    counts = Counter(itertools.chain.from_iterable(sets))
    return frozenset(found for found, count in counts.items() if 2 * count > len(sets))


def says(path: Path, claim: frozenset[int], share: float) -> bool:
    """Whether a path says at least `share` of what a claim turns on."""
    return len(claim & path.terms) >= share * len(claim)


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

