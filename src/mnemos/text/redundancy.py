"""How much of what memories say they say again, by the entropy of their embeddings; which of them stand together, and how alike those are.

The eigenvalues of what unit vectors have in common are a distribution; e to the power of its entropy is how many wholly different vectors would have
as much (matrix entropy: UNComp, arXiv 2410.03090, section 3; as a count of different things: Friedman and Dieng, The Vendi Score, arXiv 2210.02410).
Vectors are seen from the mean of all of them, not from that of their group: what a group has in common is what it says again and again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnemos.base.entropy import spectrum, truncated
from mnemos.index.spann.clustering import balanced_tree

Vectors = NDArray[np.float32]
TOPIC = 8
"""Memories of a topic, at most, beside the one in its middle."""
MANY = 2000
"""Members of a group over which those that add least are not looked for: it takes a matrix of all pairs, and an eigenvalue problem for each."""
FEW = 64
"""Members of a group up to which each is left out in turn, to see what it adds; of more, those nearest to another come first."""


@dataclass(frozen=True)
class Amount:
    """Of `memories` that have a vector: `different`, how many wholly different ones would say as much, and `redundancy`, the share of the entropy
    that so many could have which they lack: 0 where all differ, 1 where all say the same."""

    memories: int
    different: float
    redundancy: float


def amount(vectors: Vectors, middle: Vectors | None = None) -> Amount:
    """Of vectors [n, d], seen from `middle` [d]; None: from their own mean. What cannot repeat anything, one vector or none, has redundancy 0."""
    n, d = vectors.shape
    if n < 2:
        return Amount(n, float(n), 0.0)
    middle = vectors.mean(0, dtype=np.float64) if middle is None else middle
    entropy = float(truncated(spectrum(vectors - middle, centred=True), d))
    return Amount(n, math.exp(entropy), min(1.0, max(0.0, 1 - entropy / math.log(min(n, d)))))


@dataclass(frozen=True)
class Group:
    """Memories that stand together: their places, those first that add least to what the others say."""

    label: int
    members: tuple[int, ...]
    amount: Amount


def groups(vectors: Vectors, labels: NDArray[np.int64], least: int = 2) -> list[Group]:
    """The groups of vectors [n, d] with the same of n `labels`, the most redundant first; none of fewer than `least` members. All are seen from the
    mean of all vectors."""
    middle = vectors.mean(0, dtype=np.float64).astype(np.float32) if len(vectors) else vectors
    places: dict[int, list[int]] = {}
    for place, label in enumerate(labels.tolist()):
        places.setdefault(label, []).append(place)
    found = []
    for label, its in places.items():
        if len(its) >= max(least, 2):
            some = vectors[its]
            order = [its[at] for at in _by_what_they_add(some, middle)]
            found.append(Group(label, tuple(order), amount(some, middle)))
    return sorted(found, key=lambda group: (-group.amount.redundancy, group.members))


def topics(vectors: Vectors, rng: np.random.Generator, size: int = TOPIC) -> NDArray[np.int64]:
    """[n, d] → [n]: for each vector the topic that it belongs to, of at most `size` + 1 of them, by a tree of balanced clusters; a topic is called by
    the place of the vector in its middle."""
    if not len(vectors):
        return np.zeros(0, dtype=np.int64)
    tree = balanced_tree(lambda rows: vectors[rows], len(vectors), leaf=size, rng=rng)
    is_middle = np.zeros(len(vectors), dtype=bool)
    is_middle[tree.parent[tree.parent >= 0]] = True
    own = np.arange(len(vectors))
    return np.where(is_middle | (tree.parent < 0), own, tree.parent)


def _by_what_they_add(vectors: Vectors, middle: Vectors) -> list[int]:
    """Places, by how many fewer different things the others say without each; of equal ones the later first. In their order where they are too
    many."""
    n = len(vectors)
    if n > MANY:
        return list(range(n))
    if n <= FEW and n > 2:
        whole = amount(vectors, middle).different
        added = [whole - amount(np.delete(vectors, at, 0), middle).different for at in range(n)]
    else:
        rows = vectors - middle
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        alike = rows @ rows.T
        np.fill_diagonal(alike, -1)
        added = (1 - alike.max(1)).tolist()
    return sorted(range(n), key=lambda at: (round(added[at], 9), -at))
