"""Balanced k-means on a sample: parts of nearly equal size.

Source: SPANN, arXiv 2111.08566, section 3.2.1 (hierarchical balanced clustering)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

STILL = 1e-3
"""Centres that move less than this share of the spread of the vectors (root of the mean squared distance from the mean) have arrived."""
PATIENCE = 5
"""Iterations without improvement after which k-means ends."""


class Clusters(NamedTuple):
    """`centres` (k, d) float32; `assignment` (m,) the centre of each vector. `arbitrary`: the vectors could not be told apart, and were
    divided in the order in which they came."""

    centres: Floats
    assignment: Ints
    arbitrary: bool


def balanced_kmeans(
    vectors: Floats,
    k: int,
    *,
    rng: np.random.Generator,
    balance: float = 100.0,
    samples: int = 1000,
    inits: int = 3,
    iterations: int = 100,
) -> Clusters:
    """Divides `vectors` (m, d) into `k` parts (at most m): k-means on `samples` of them, from the best of `inits` random starts, then one pass
    over all. A member costs its squared distance from the centre and λ for each member that the part had in the iteration before, where
    λ = min(λ₀, λ₁); λ₀ = spread² / (`balance`·samples), λ₁ = (farthest − mean squared distance in the biggest part) / samples. A smaller
    `balance` makes sizes more equal, and parts less tight.

    A part may be left empty, but the vectors never all fall into one part of several: where they would (they are all the same), they are
    divided into equal runs, and `arbitrary` says so. No vector is ever lost. Raises `Invalid` for no vectors, or k < 1.
    """
    count = len(vectors)
    if vectors.ndim != 2 or count == 0 or k < 1:
        raise Invalid(f"clustering: needs vectors (m, d) and a number of parts from 1 on; got shape {vectors.shape} and {k} parts")
    k = min(k, count)
    if k == 1:
        return Clusters(vectors.mean(axis=0, dtype=np.float64).astype(np.float32)[None], np.zeros(count, dtype=np.int64), False)
    # Seen from their middle, so that no digits are lost far from the origin.
    middle = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    vectors = vectors - middle
    sample = vectors if count <= samples else vectors[np.sort(rng.choice(count, samples, replace=False))]
    centres = _refined(sample, _start(sample, k, rng, inits), balance, iterations)
    assignment, _ = nearest_centres(vectors, centres)
    if np.any(assignment != assignment[0]):
        return Clusters(centres + middle, assignment, False)
    runs = np.arange(count, dtype=np.int64) * k // count
    return Clusters(means(vectors, runs, centres)[0] + middle, runs, True)


def nearest_centres(vectors: Floats, centres: Floats, penalty: Floats | None = None) -> tuple[Ints, Floats]:
    """For each of `vectors` (m, d) the nearest of `centres` (k, d), and its squared distance from it, (m,) each; of equally near ones the first.
    `penalty` (k,) is added to the squared distances before they are compared."""
    half = np.einsum("ij,ij->i", centres, centres) / 2
    scores = vectors @ centres.T
    scores -= half if penalty is None else half + penalty / 2
    assignment = scores.argmax(axis=1)
    best = scores[np.arange(len(vectors)), assignment] + (0 if penalty is None else penalty[assignment] / 2)
    distances = np.einsum("ij,ij->i", vectors, vectors) - 2 * best
    return assignment, np.maximum(distances, 0, out=distances)


def means(vectors: Floats, assignment: Ints, centres: Floats) -> tuple[Floats, Ints]:
    """The mean of each part, (k, d), and its size, (k,); an empty part keeps its centre."""
    k = len(centres)
    sizes = np.bincount(assignment, minlength=k)
    member = np.zeros((k, len(vectors)), dtype=np.float32)
    member[assignment, np.arange(len(vectors))] = 1
    sums = member @ vectors
    return np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centres).astype(np.float32), sizes


def _start(sample: Floats, k: int, rng: np.random.Generator, inits: int) -> Floats:
    """Of `inits` random draws of k members the one that is nearest to all of them in sum."""
    draws = [sample[np.sort(rng.choice(len(sample), k, replace=False))] for _ in range(max(inits, 1))]
    totals = [float(nearest_centres(sample, draw)[1].sum(dtype=np.float64)) for draw in draws]
    return draws[int(np.argmin(totals))]


def _refined(sample: Floats, centres: Floats, balance: float, iterations: int) -> Floats:
    """The centres of the best of the iterations of k-means on `sample`, each penalised by the sizes of the one before."""
    count = len(sample)
    spread = float(np.maximum(np.var(sample, axis=0, dtype=np.float64).sum(), 0.0))
    assignment, distances = nearest_centres(sample, centres)
    sizes = np.bincount(assignment, minlength=len(centres))
    best, lowest, waited = centres, np.inf, 0
    for _ in range(iterations):
        biggest = distances[assignment == sizes.argmax()]
        weight = min(spread / (balance * count), float(biggest.max() - biggest.mean()) / count)
        assignment, distances = nearest_centres(sample, centres, (weight * sizes).astype(np.float32))
        total = float(distances.sum(dtype=np.float64)) + weight * float(sizes[assignment].sum())
        if total < lowest:
            best, lowest, waited = centres, total, 0
        else:
            waited += 1
        moved, sizes = means(sample, assignment, centres)
        _reseed(moved, sample, assignment, distances, sizes)
        shift = float(np.einsum("ij,ij->i", moved - centres, moved - centres).max())
        centres = moved
        if waited >= PATIENCE or shift < STILL**2 * spread or spread == 0:
            break
    return best


def _reseed(centres: Floats, sample: Floats, assignment: Ints, distances: Floats, sizes: Ints) -> None:
    """Sets the centre of each empty part on a member of the biggest part, the farthest first."""
    empty = np.flatnonzero(sizes == 0)
    if len(empty):
        members = np.flatnonzero(assignment == sizes.argmax())
        far = members[np.argsort(-distances[members], kind="stable")][: len(empty)]
        centres[empty[: len(far)]] = sample[far]
