"""What a run gives: trials, rows of one cell each with intervals that respect histories, and where the curves of two methods cross."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mnemos.base.errors import Invalid
from mnemos.base.stats import Interval, bootstrap_difference, bootstrap_mean, percentiles, sample_size
from mnemos.bench.convomem.answerers import Usage
from mnemos.text.reading_costs import Prices

FEWEST_HISTORIES = 20
FEWEST_TRIALS = sample_size(0.8, 0.05)
"""246: independent items with which a share of 0.8 is known to within five points."""


def group_of(evidence: int) -> str:
    """Numbers of evidence messages, as rows put them together."""
    return "1" if evidence <= 1 else "2" if evidence == 2 else "3–6"


@dataclass(frozen=True, slots=True)
class Trial:
    """One item, asked of one method in a history of one size."""

    item: str
    history: str
    """What is not independent of each other: the persona."""
    category: str
    evidence: int
    size: int
    method: str
    right: bool
    right_gated: bool
    """Judged after the refusal gate."""
    claimed: bool
    claimed_gated: bool
    """Whether it claims to know, before and after the gate."""
    usage: Usage
    seconds: float
    history_tokens: int
    policy: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One cell: category, evidence, size, method; shares with their interval, tokens and dollars a question, local seconds."""

    category: str
    evidence: str
    context_size: int
    method: str
    accuracy: float
    low: float
    high: float
    n: int
    histories: int
    weak: bool
    """Too few histories or items to be compared."""
    input_tokens: float
    output_tokens: float
    cached_tokens: float
    history_tokens: float
    cost: float
    p50: float
    p90: float
    p99: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def cost_of(usage: Usage, prices: Prices, cached_share: float = 0.0) -> float:
    """Dollars of one question; `cached_share` of what could be in a prompt cache is paid as such. The helper's prompts are not cached."""
    cacheable = min(usage.cached, usage.reader_in) * cached_share
    read = (usage.reader_in - cacheable) * prices.read + cacheable * prices.cached + usage.reader_out * prices.write
    return (read + usage.helper_in * prices.helper_read + usage.helper_out * prices.helper_write) / 1e6


def rows_of(trials: Iterable[Trial], prices: Prices, rng: np.random.Generator, gated: bool = False) -> list[Row]:
    """One row for each cell, in the order of categories, evidence, sizes and methods; and one of all categories for each size and method."""
    cells: dict[tuple[str, str, int, str], list[Trial]] = {}
    for trial in trials:
        for category, group in itertools.product((trial.category, "all"), (group_of(trial.evidence), "all")):
            cells.setdefault((category, group, trial.size, trial.method), []).append(trial)
    return [_row(*cell, members, prices, rng, gated) for cell, members in cells.items()]


def _row(
    category: str, group: str, size: int, method: str, trials: Sequence[Trial], prices: Prices, rng: np.random.Generator, gated: bool
) -> Row:
    share = accuracy(trials, rng, gated)
    p50, p90, p99 = percentiles([trial.seconds for trial in trials], 50, 90, 99)

    def mean(values: Iterator[float]) -> float:
        return float(np.mean(list(values)))

    return Row(
        category, group, size, method, share.value, share.low, share.high, share.n, share.clusters, is_weak(share.n, share.clusters),
        mean(trial.usage.read for trial in trials), mean(trial.usage.reader_out + trial.usage.helper_out for trial in trials),
        mean(trial.usage.cached for trial in trials), mean(trial.history_tokens for trial in trials),
        mean(cost_of(trial.usage, prices) for trial in trials), p50, p90, p99,
    )  # fmt: skip


def accuracy(trials: Sequence[Trial], rng: np.random.Generator, gated: bool = False, resamples: int = 1000) -> Interval:
    """Share answered rightly, its interval clustered by history."""
    values = [float(trial.right_gated if gated else trial.right) for trial in trials]
    return bootstrap_mean(values, [trial.history for trial in trials], rng, bounds=(0, 1), resamples=resamples)


def is_weak(n: int, histories: int) -> bool:
    return histories < FEWEST_HISTORIES or n < FEWEST_TRIALS


def difference(ours: Sequence[Trial], theirs: Sequence[Trial], rng: np.random.Generator, gated: bool = False) -> Interval:
    """Paired difference in accuracy of two methods on the same items and sizes, clustered by history.

    Raises `Invalid` where the trials do not pair up, or the cell is too weak to be compared.
    """
    first, second = ({(trial.item, trial.size): trial for trial in trials} for trials in (ours, theirs))
    if set(first) != set(second) or not first:
        raise Invalid("ConvoMem: two methods are compared on the same items and sizes")
    histories = [first[key].history for key in first]
    if is_weak(len(first), len(set(histories))):
        raise Invalid(
            f"ConvoMem: a cell of {len(first)} trials over {len(set(histories))} histories is too weak to be compared; "
            f"it takes {FEWEST_TRIALS} and {FEWEST_HISTORIES}"
        )
    a, b = ([float(side[key].right_gated if gated else side[key].right) for key in first] for side in (first, second))
    return bootstrap_difference(a, b, histories, rng, resamples=1000)


@dataclass(frozen=True, slots=True)
class Crossover:
    """Where the curve of reading everything crosses another method's; NaN where it does not within the sizes measured."""

    conversations: float
    tokens: float


def crossing(sizes: Sequence[float], tokens: Sequence[float], ours: Sequence[float], theirs: Sequence[float]) -> Crossover:
    """The first size where `ours` goes from below or at `theirs` to above it, interpolated linearly; the first size where it starts above."""
    gaps = [a - b for a, b in zip(ours, theirs, strict=True)]
    if gaps and gaps[0] > 0:
        return Crossover(sizes[0], tokens[0])
    for i, (before, after) in enumerate(itertools.pairwise(gaps)):
        if before <= 0 < after:
            part = -before / (after - before)
            return Crossover(sizes[i] + part * (sizes[i + 1] - sizes[i]), tokens[i] + part * (tokens[i + 1] - tokens[i]))
    return Crossover(math.nan, math.nan)


def curve(rows: Iterable[Row], method: str, category: str = "all", evidence: str = "all") -> dict[int, Row]:
    """A method's rows by size."""
    found = [row for row in rows if (row.method, row.category, row.evidence) == (method, category, evidence)]
    return {row.context_size: row for row in sorted(found, key=lambda row: row.context_size)}


def crossover_report(rows: Sequence[Row], whole: str, others: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """For each other method, from which size on reading everything is dearer, and from which it answers fewer, in conversations and tokens."""
    ours = curve(rows, whole)
    report: dict[str, Mapping[str, Any]] = {}
    for method in others:
        theirs = curve(rows, method)
        sizes = [size for size in ours if size in theirs]
        tokens = [ours[size].history_tokens for size in sizes]
        dearer = crossing(sizes, tokens, [ours[size].cost for size in sizes], [theirs[size].cost for size in sizes])
        strong = [size for size in sizes if not (ours[size].weak or theirs[size].weak)]
        worse = crossing(strong, [ours[size].history_tokens for size in strong],
                         [-ours[size].accuracy for size in strong], [-theirs[size].accuracy for size in strong])  # fmt: skip
        report[method] = {"dearer from": dearer.conversations, "in tokens": dearer.tokens,
                          "fewer right from": worse.conversations, "in tokens, fewer right": worse.tokens}  # fmt: skip
    return report
