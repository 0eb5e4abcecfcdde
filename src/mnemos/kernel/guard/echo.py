"""Echoes: one claim that several records make, in other words each, while nobody independent of them does."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mnemos.kernel.guard.claims import components, conclusions, root
from mnemos.kernel.guard.paths import Path, query_terms
from mnemos.kernel.guard.vocabulary import Vocabulary

Matrix = NDArray[np.float64]

FAINT = 1 / 3
"""Share of what a claim turns on, by weight, from which a record that is like those that make it makes it, too. Ours, chosen on every other
question of PoisonedRAG."""


class Bounds(Protocol):
    """What benign data says of echoes (`calibration.Calibration`)."""

    @property
    def echo(self) -> float: ...
    @property
    def echo_pair(self) -> float: ...
    @property
    def vocabulary(self) -> Vocabulary: ...


def making(query: str, paths: Sequence[Path], doubtful: Sequence[int], size: int, bounds: Bounds) -> Iterator[list[int]]:
    """For each echo: the indices of the paths that make its claim, ascending, all of them among the `doubtful`.

    At least `size` of these hang together more strongly than benign records do, and nobody else says all of what they say. To them come those
    that are like one of them and say part of it.
    """
    if len(doubtful) < size:
        return
    words = bounds.vocabulary
    strength = echoes(query, paths, words)
    for group in echo_groups(strength[np.ix_(doubtful, doubtful)], bounds.echo, size):
        seeds = _of_one_voice(query, [doubtful[at] for at in group], paths, words)
        if len(seeds) < size:
            continue
        near = strength[:, seeds].max(1) > bounds.echo_pair
        claim = claim_of([paths[at] for at in seeds], query)
        if any(near[at] and claim and at not in doubtful and says(paths[at], claim, 1.0, words) for at in range(len(paths))):
            continue
        fainter = [at for at in doubtful if near[at] and says(paths[at], claim, FAINT, words)]
        yield sorted({*seeds, *_of_one_voice(query, [*seeds, *fainter], paths, words)})


def _of_one_voice(query: str, members: Sequence[int], paths: Sequence[Path], vocabulary: Vocabulary) -> list[int]:
    """Those of a group that do not answer the query with another figure than most of them."""
    answers = dict(zip(members, conclusions(query, [paths[at] for at in members], vocabulary), strict=True))
    figures = Counter(figure for answer in answers.values() if answer is not None for figure in answer.figures)
    usual = {figure for figure, count in figures.items() if 2 * count > len(members)}
    return [
        at for at, answer in answers.items()
        if answer is None or not answer.figures or not usual or any(sentence.figures & usual for sentence in paths[at].sentences)
    ]  # fmt: skip


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


def says(path: Path, claim: frozenset[int], share: float, vocabulary: Vocabulary) -> bool:
    """Whether a path says at least `share` of what a claim turns on, by weight."""
    return vocabulary.weigh(claim & path.terms) >= share * vocabulary.weigh(claim) * (1 - 1e-9)
