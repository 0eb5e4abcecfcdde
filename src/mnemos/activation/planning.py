"""Who keeps how much: budgets of heads by groups, of layers by stages, in whole tokens whose sum is exact.

A group, or stage, of number 0 keeps the most. Which head or layer is in which comes from a calibration (`calibration.Plan`), from the prompt's own
queries, or, to compare with, from the reverse of those, from chance, or from depth alone. Heads that keep nothing at all are chosen here, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mnemos.activation.entropy import matrix_entropy
from mnemos.activation.view import View
from mnemos.base.errors import Invalid

Grid = tuple[tuple[int, ...], ...]
"""[layers][key-value heads]."""
ORDERS = ("entropy", "reversed", "random")
SPREAD = 1 / 3
"""The first group keeps so much more than the mean, the last so much less: 512 and 256 at a mean of 384 in the paper."""
DROP = 0.15
"""A layer begins a stage where entropy falls from the one before by more than this share of the whole fall."""
RULE = "half"
"""How many eigenvalues count (`entropy.matrix_entropy`), where nothing else is asked for."""
WIDTHS = (2, 3, 4, 8)
"""Bits in which numbers of a head may be stored."""
GROUPS = "uncomp.groups"
"""The note of a layer that says in which group each head is, where the prompt's own queries decided it."""


def grouped(entropies: Sequence[float], groups: int, first: float | None = None) -> tuple[int, ...]:
    """For each head the number of its group, as many heads in each as can be: group 0 has those of the highest entropy; equal ones go by their order.
    `first`: the share of heads that are in group 0. Raises `Invalid` for fewer than 1 group, and for a share that is not in (0, 1); no more are made
    than there are heads."""
    if groups < 1:
        raise Invalid(f"heads cannot be divided into {groups} groups; give at least 1")
    if first is not None and not 0 < first < 1:
        raise Invalid(f"the share of heads in the first group is in (0, 1), not {first}")
    order = np.asarray(sorted(range(len(entropies)), key=lambda head: -entropies[head]))
    numbers, count = [0] * len(order), min(groups, len(order))
    if first is None or count == 1:
        divided = np.array_split(order, count)
    else:
        size = min(max(1, round(first * len(order))), len(order) - count + 1)
        divided = [order[:size], *np.array_split(order[size:], count - 1)]
    for number, some in enumerate(divided):
        for head in some.tolist():
            numbers[head] = number
    return tuple(numbers)


def in_groups(values: Sequence[Sequence[float]], groups: int, together: bool = False, first: float | None = None) -> Grid:
    """[layers][heads] → the group of each head, by `grouped` in each layer, or, `together`, over all of them."""
    if not together:
        return tuple(grouped(its, groups, first) for its in values)
    flat = iter(grouped([value for its in values for value in its], groups, first))
    return tuple(tuple(next(flat) for _ in its) for its in values)


def weakest(values: Sequence[Sequence[float]], count: int, order: str = "entropy", seed: int = 0) -> Grid:
    """[layers][heads] → [layers][count]: the heads of each layer that carry least, the later of equal ones; `order` as in `HeadGroups`. Raises
    `Invalid` where a layer would be left without one."""
    if not 0 <= count < min(len(its) for its in values):
        raise Invalid(f"{count} heads of each layer cannot be deleted: layers have {min(len(its) for its in values)}, and at least one stays")
    found = []
    for layer, its in enumerate(values):
        ranked = _ordered(sorted(range(len(its)), key=lambda head: (its[head], -head)), order, [seed, layer])
        found.append(tuple(sorted(ranked[:count])))
    return tuple(found)


def _ordered(numbers: Sequence[int], order: str, seed: Sequence[int]) -> Sequence[int]:
    """Numbers as they are, or back to front, or shuffled."""
    if order == "reversed":
        return numbers[::-1]
    if order == "random":
        shuffled: list[int] = np.random.default_rng(seed).permutation(np.asarray(numbers)).tolist()
        return shuffled
    return numbers


def stages_of(entropies: Sequence[float], drop: float = DROP) -> tuple[int, ...]:
    """For each layer the number of its stage: a new one begins where truncated entropy falls by more than `drop` of the whole fall from the first
    layer to the last. One stage where it does not fall."""
    fall = entropies[0] - entropies[-1]
    numbers, stage = [0], 0
    for before, its in pairwise(entropies):
        stage += fall > 0 and before - its > drop * fall
        numbers.append(stage)
    return tuple(numbers)


def spaced(numbers: Sequence[int], mean: int, spread: float = SPREAD, least: int = 0) -> list[int]:
    """For each of several heads, or layers, by the number of its group, how many tokens it keeps: `mean` on average, exactly; 1 − `spread` of it in
    the last group, and more in even steps up to the first (1 + `spread` where groups are of one size), but at least `least`, for which the spread
    shrinks. What whole numbers leave over goes, a token each, to the first heads of the first groups. Raises `Invalid` where the mean is under
    `least`."""
    if mean < least:
        raise Invalid(f"{mean} tokens a head on average, with at least {least} for each, cannot be")
    last, total = max(numbers), mean * len(numbers)
    if not last:
        return [mean] * len(numbers)
    tilt = np.asarray([1 - 2 * number / last for number in numbers])
    tilt -= tilt.mean()  # groups of unlike size: the mean stays
    tilt /= -tilt.min()
    spread = min(spread, (mean - least) / mean)
    counts = np.floor(mean * (1 + spread * tilt) + 1e-9).astype(int)
    over = total - int(counts.sum())
    for head in sorted(range(len(numbers)), key=lambda head: numbers[head])[:over]:
        counts[head] += 1
    found: list[int] = counts.tolist()
    return found


def bits_of(values: Sequence[Sequence[float]], mean: float, widths: Sequence[int] = WIDTHS, order: str = "entropy", seed: int = 0) -> Grid:
    """[layers][heads] → [layers][heads]: the bits in which each head's numbers are stored, `mean` on average at most, by what a head loses: of all
    ways to divide them, one for which the sum of value · 4^−bits is least, since the square of a rounding error falls fourfold with each bit. Values
    under 0 count as 0. `order` as in `HeadGroups`: the same bits for other heads. Raises `Invalid` where the mean is under the least width."""
    if mean < min(widths):
        raise Invalid(f"{mean:.4g} bits a number on average cannot be, with at least {min(widths)} for each: give more bytes")
    weights = np.clip(np.asarray([value for its in values for value in its], dtype=np.float64), 0, None)
    total = int(min(mean, max(widths)) * len(weights) + 1e-9)
    least, taken = np.full(total + 1, np.inf), np.zeros((len(weights), total + 1), dtype=np.int64)  # by how many bits were given so far
    least[0] = 0
    for head, weight in enumerate(weights):
        before, least = least, np.full(total + 1, np.inf)
        for width in sorted(widths):
            lost = before[: total + 1 - width] + weight * 4.0**-width
            better = lost < least[width:]
            least[width:][better], taken[head, width:][better] = lost[better], width
    at, bits = int(least.argmin()), []
    for its in taken[::-1]:
        bits.append(int(its[at]))
        at -= bits[-1]
    bits.reverse()
    ranked = sorted(range(len(bits)), key=lambda head: (-weights[head], head))
    given = _ordered([bits[head] for head in ranked], order, [seed])
    of_head = dict(zip(ranked, given, strict=True))
    places = iter(range(len(bits)))
    return tuple(tuple(of_head[next(places)] for _ in its) for its in values)


@dataclass(frozen=True)
class HeadGroups:
    """Divides a budget among heads by their groups, and among layers by `layers`: their stages, or nothing where it is empty.

    `groups` [layers][heads]; None: `online` groups by the entropy of the prompt's own queries, the mean over the rows of a batch, once for a
    sequence. `together`: groups are of the heads of all layers, over which the sum is exact then, so that layers may keep unequally much. `order`
    "reversed" turns groups and stages around, "random" shuffles them by `seed`: to compare with. `origin` is the digest of the calibration that all
    came from, "" where none did.
    """

    groups: Grid | None
    layers: tuple[int, ...] = ()
    spread: float = SPREAD
    least: int = 0
    order: str = "entropy"
    seed: int = 0
    online: int = 2
    origin: str = ""
    together: bool = False
    name = "groups"

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise Invalid(f"no order of heads is named {self.order!r}; there are {', '.join(ORDERS)}")
        if not 0 <= self.spread < 1:
            raise Invalid(f"a spread is in [0, 1), not {self.spread}")

    def plan_of(self, layer: int, numbers: Sequence[int], budget: int) -> list[int]:
        """Tokens that each head of a layer keeps, its heads being in these groups."""
        if self.together and self.groups is not None:
            start = sum(len(its) for its in self.groups[:layer])
            every = self._ordered([number for its in self.groups for number in its], len(self.groups))
            return spaced(every, budget, self.spread, self.least)[start : start + len(numbers)]
        if self.layers:
            if layer >= len(self.layers):
                raise Invalid(f"the plan is of {len(self.layers)} layers, and this is layer {layer}: calibrate for this model")
            budget = spaced(self._ordered(self.layers, len(self.layers)), budget, self.spread, self.least)[layer]
        return spaced(self._ordered(numbers, layer), budget, self.spread, self.least)

    def plan(self, view: View, budget: int) -> Sequence[int]:
        layer = view.layer.number
        return self.plan_of(layer, self.numbers(view), max(budget, self.least))

    def numbers(self, view: View) -> Sequence[int]:
        """The group of each head of the layer; noted, where the prompt decides."""
        layer = view.layer.number
        if self.groups is not None:
            if layer >= len(self.groups) or len(self.groups[layer]) != view.heads:
                shape = f"{len(self.groups)} layers of {len(self.groups[0])} key-value heads"
                raise Invalid(f"the plan is of {shape}, and layer {layer} of the model has {view.heads}: calibrate for this model")
            return self.groups[layer]
        notes = view.layer.notes
        if GROUPS not in notes:
            notes[GROUPS] = list(grouped(query_entropies(view), self.online))
        known: list[int] = notes[GROUPS]
        return known

    def _ordered(self, numbers: Sequence[int], salt: int) -> Sequence[int]:
        if self.order == "reversed":
            return [max(numbers) - number for number in numbers]
        return _ordered(numbers, self.order, [self.seed, salt])


def query_entropies(view: View, rule: str = RULE) -> list[float]:
    """Truncated entropy for each of G key-value heads: of the queries that the layer keeps, as they were before the model turned them by position
    where the layer knows how it did. The mean over the query heads that share a key-value head, and over the rows of a batch, each of which counts
    where it has queries; 0 where it has fewer than two."""
    if view.queries is None or view.query_positions is None:
        raise RuntimeError("the policy keeps no queries: its query_window is 0")
    states = view.layer.rotation().unrotate(view.queries, view.query_positions.clamp_min(0).unsqueeze(1))
    found = np.zeros(states.shape[:2])
    for row, positions in enumerate(view.query_positions):
        its = states[row][:, positions >= 0]
        if its.shape[1] > 1:
            found[row] = matrix_entropy(its, rule)
    means: list[float] = found.mean(0).reshape(view.heads, -1).mean(1).tolist()
    return means
