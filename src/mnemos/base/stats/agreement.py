"""How far raters, or rankings, agree."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mnemos.base.errors import Invalid
from mnemos.base.stats.samples import Floats, pair

Level = Literal["nominal", "ordinal", "interval"]


def cohen_kappa(a: Sequence[Hashable], b: Sequence[Hashable], weights: Literal["linear", "quadratic"] | None = None) -> float:
    """Agreement of two raters beyond chance (Cohen 1960); with `weights` by the distance of the categories in sorted order (Cohen 1968).

    1 where both always say the same one thing: nothing speaks against them. Raises `Invalid` for unequal or empty lists.
    """
    if len(a) != len(b) or not len(a):
        raise Invalid(f"cohen_kappa: two raters rate the same items, not {len(a)} and {len(b)} of them")
    categories = sorted(set(a) | set(b), key=lambda value: (str(type(value)), value))
    number = {category: i for i, category in enumerate(categories)}
    k = len(categories)
    table = np.zeros((k, k))
    np.add.at(table, ([number[x] for x in a], [number[x] for x in b]), 1)
    distance = np.abs(np.subtract.outer(np.arange(k), np.arange(k))).astype(float)
    cost = {None: (distance > 0).astype(float), "linear": distance, "quadratic": distance**2}[weights]
    expected = np.outer(table.sum(1), table.sum(0)) / len(a)
    by_chance = float((cost * expected).sum())
    return 1.0 if by_chance == 0 else 1 - float((cost * table).sum()) / by_chance


def krippendorff_alpha(ratings: ArrayLike, level: Level = "nominal") -> float:
    """Agreement of any number of raters, some ratings missing: `ratings` (raters, units), numbers, NaN where a rater gave none.

    1 − observed / expected disagreement over the coincidences of values within units (Krippendorff 2011, Computing Krippendorff's
    Alpha-Reliability). Units with fewer than two ratings do not count; NaN where no unit has two; 1 where every value is the same.
    """
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2:
        raise Invalid(f"krippendorff_alpha: expected ratings of shape (raters, units), not {table.shape}")
    values = np.unique(table[~np.isnan(table)])
    counts = np.array([(table == value).sum(0) for value in values], dtype=np.float64).reshape(len(values), table.shape[1])
    counts = counts[:, counts.sum(0) >= 2]
    if counts.size == 0:
        return math.nan
    weights = counts / (counts.sum(0) - 1)
    coincidences = weights @ counts.T - np.diag(weights.sum(1))
    totals = coincidences.sum(1)
    apart = _distances(values, totals, level)
    observed = float((coincidences * apart).sum())
    expected = float((np.outer(totals, totals) * apart).sum() / (totals.sum() - 1))
    return 1.0 if expected == 0 else 1 - observed / expected


def _distances(values: Floats, totals: Floats, level: Level) -> Floats:
    """Squared differences between values, as their level of measurement sees them."""
    if level == "nominal":
        return 1 - np.eye(len(values))
    if level == "interval":
        return np.asarray(np.subtract.outer(values, values) ** 2)
    ranks = np.cumsum(totals) - totals / 2  # ordinal: how many ratings lie between the two values, half of each of theirs included
    return np.asarray(np.subtract.outer(ranks, ranks) ** 2)


def kendall_tau(a: ArrayLike, b: ArrayLike) -> float:
    """Kendall's τ-b of two rankings of the same things, given as scores: 1 for the same order, −1 for the reverse; ties counted (Kendall 1945).

    NaN where one of them ties everything, or there are fewer than two.
    """
    first, second = pair(a, b)
    upper = np.triu_indices(len(first), 1)
    signs: list[NDArray[np.float64]] = [np.sign(np.subtract.outer(x, x))[upper] for x in (first, second)]
    untied = math.sqrt(float(np.abs(signs[0]).sum()) * float(np.abs(signs[1]).sum()))
    return float((signs[0] * signs[1]).sum()) / untied if untied else math.nan


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Rank correlation of two series, equal values sharing the mean of their ranks; NaN where all of one are equal."""
    a, b = _ranks(first), _ranks(second)
    return math.nan if a.std() == 0 or b.std() == 0 else float(np.corrcoef(a, b)[0, 1])


def _ranks(values: ArrayLike) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(np.asarray(values, dtype=float), return_inverse=True, return_counts=True)
    middles: NDArray[np.float64] = np.cumsum(counts) - (counts - 1) / 2
    return middles[inverse]
