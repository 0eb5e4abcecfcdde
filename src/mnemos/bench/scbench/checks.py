"""The findings of the paper as checks of results: what a run of methods has to show, whatever model it ran on.

Results are of one mode and of the tasks that a check names; shares of the cache are those of tokens kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mnemos.base.errors import Invalid
from mnemos.base.stats import Interval, bootstrap_difference, bootstrap_ratio
from mnemos.bench.result import Check
from mnemos.bench.scbench.curves import drop, mean, rows_of
from mnemos.bench.scbench.harness import SessionResult

Results = Sequence[SessionResult]

NOISE = 0.02
"""What a curve may rise where it should fall, and still be called monotone."""
KNEE = 0.9
"""The share of the full cache's score below which a budget is past the knee."""


def turns_matter(full: Results, window: Results, snapkv: Results, rng: np.random.Generator) -> list[Check]:
    """1. Methods with less than linear memory fall after the first turn, or are low from the beginning; the full cache does not change.

    `snapkv` knew the first question; `window` and `snapkv` keep 1/8. Multi-turn.
    """
    first = mean([row for row in rows_of(window) if row.turn == 0], rng)
    whole = mean([row for row in rows_of(full) if row.turn == 0], rng)
    fell = drop(window, rng)
    low = whole.value - first.value
    return [
        Check.of("SnapKV 1/8, question known: turn 1 − later turns", drop(snapkv, rng), 0.20),
        Check("window 1/8: the fall after turn 1, or what it lacks from the beginning", max(fell.value, low), 0.20, n=fell.n),
        Check("full cache: turn 1 − later turns, either way", abs(drop(full, rng).value), 0.02, at_least=False, n=len(full)),
    ]


def loading_holds(loading: Results, rng: np.random.Generator) -> list[Check]:
    """2. Linear memory of which a part is loaded for each query, at the same attended budget, does not fall. Multi-turn."""
    return [Check.of("selective loading: turn 1 − later turns", drop(loading, rng), 0.03, at_least=False)]


def knowing_helps(aware: Results, agnostic: Results, rng: np.random.Generator) -> list[Check]:
    """6. Compression that knows the question is at least 15 points above the same that does not, on KV. Same sessions; multi-request."""
    gain = bootstrap_difference(*_paired(aware, agnostic), rng)
    return [Check.of("SnapKV 1/8: question known − not known, KV", gain, 0.15)]


def budgets(curve: Mapping[float, Results], two_bits: Results, rng: np.random.Generator) -> tuple[list[Check], float | None]:
    """5. Scores over shares of the cache fall monotonely but for noise, and two-bit quantisation keeps 95 % of the full cache's KV score.

    `curve` is by share, 1 among them. Gives the checks, and the knee: the largest share whose score is below 0.9 of the full one's; None where none
    is. Raises `Invalid` without the full cache.
    """
    if 1 not in curve:
        raise Invalid("scbench: the curve over budgets needs the full cache, share 1")
    shares = sorted(curve, reverse=True)
    scores = [mean(rows_of(curve[share]), rng).value for share in shares]
    rise = max((after - before for before, after in itertools.pairwise(scores)), default=0.0)
    full = scores[shares.index(1)]
    knee = next((share for share, score in zip(shares, scores, strict=True) if score < KNEE * full), None)
    return [
        Check("largest rise of the score when the budget falls", max(0.0, rise), NOISE, at_least=False, n=len(shares)),
        Check.of("two bits ÷ full cache, KV", _ratio(two_bits, curve[1], rng), 0.95, baseline=full),
    ], knee


def global_tasks_tolerate(window_many_shot: Results, full_many_shot: Results, window_kv: Results, window_150: Results, full_150: Results,
                          rng: np.random.Generator) -> list[Check]:  # fmt: skip
    """7. A window keeps 80 % of the many-shot score where its KV falls below 40 %; and of contexts of 150 examples, as the paper's has, too."""
    whole = mean(rows_of(full_many_shot), rng).value
    return [
        Check.of("window ÷ full cache, many-shot", _ratio(window_many_shot, full_many_shot, rng), 0.80, baseline=whole),
        Check.of("window ÷ full cache, many-shot of 150 examples", _ratio(window_150, full_150, rng), 0.80),
        Check.of("window, KV", mean(rows_of(window_kv), rng), 0.40, at_least=False),
    ]


def reuse_pays(reused: Results, ratio: float = 0.3) -> list[Check]:
    """Cache re-use: median time to the first token of later turns ÷ that of reading the context and the first question anew. Multi-turn."""
    again = [session.prefill_seconds + row.first_seconds for session in reused for row in session.rows[:1] if row.first_seconds is not None]
    later = [row.first_seconds for row in rows_of(reused) if row.turn and row.first_seconds is not None]
    if not again or not later:
        raise Invalid("scbench: no times to the first token; give sessions of two or more turns by a method that tells them")
    return [Check("time to first token, later turns ÷ recompute", float(np.median(later) / np.median(again)), ratio, at_least=False, n=len(later))]


def not_counted(checks: Sequence[Check], task: str, full: float) -> list[Check]:
    """The same measurements without bounds: where the full cache does not answer a task, losing it says nothing about a method."""
    why = f"does not count: the full cache answers {full:.2f} of {task}"
    return [replace(check, metric=f"{check.metric} ({why})", threshold=None) for check in checks]


def _paired(ours: Results, theirs: Results) -> tuple[list[float], list[float], list[str]]:
    """Scores of the turns that both have, and the session of each. Raises `Invalid` where they have none in common."""
    first, second = ({(row.session, row.turn): row.score for row in rows_of(results)} for results in (ours, theirs))
    both = sorted(set(first) & set(second))
    if not both:
        raise Invalid("scbench: the two methods have no turn in common; run both on the same sessions")
    return [first[key] for key in both], [second[key] for key in both], [key[0] for key in both]


def _ratio(ours: Results, theirs: Results, rng: np.random.Generator) -> Interval:
    """The mean score of `ours` ÷ that of `theirs`, turn by turn; no number where `theirs` is 0."""
    first, second, sessions = _paired(ours, theirs)
    if not any(second):
        return Interval(float("nan"), float("nan"), float("nan"), len(first), len(set(sessions)))
    return bootstrap_ratio(first, second, sessions, rng)
