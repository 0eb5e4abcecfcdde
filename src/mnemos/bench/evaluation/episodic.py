"""The procedural-episodic layer, E-MARS+: writing, replay, inhibition, long horizons and cost over sessions (arXiv 2509.18868, section on
procedural-episodic memory). P1 to P5 are the survey's panels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mnemos.base.stats import aurc, fit_decay, kendall_tau, percentiles, slope
from mnemos.base.stats.curves import Decay
from mnemos.bench.evaluation.scoring import Answers, aligned, f1, flags, given, mean, right, share

Items = Sequence[Sequence[Any]]
"""For each item the things that were found, or should have been."""


# -- P1: writing and anchoring --
def event_f1(y_true: Items, y_pred: Items) -> float:
    """Mean F1 of the set of events written for a session against those that happened; 1 for a session without any on both sides."""
    aligned(y_true, y_pred)
    return mean([f1(frozenset(true), frozenset(said)) for true, said in zip(y_true, y_pred, strict=True)])


def procedure_f1(y_true: Items, y_pred: Items) -> float:
    """Mean F1 of the adjacent pairs of steps of a procedure, begin and end counted: what is done after what."""
    return event_f1([_pairs(steps) for steps in y_true], [_pairs(steps) for steps in y_pred])


def _pairs(steps: Sequence[Any]) -> list[tuple[Any, Any]]:
    return list(zip([None, *steps], [*steps, None], strict=True)) if len(steps) else []


def temporal_anchoring_error(y_true: Sequence[float], y_pred: Sequence[float | None]) -> float:
    """TAE: mean |t̂ − t| in the unit of the times, over events that were given a time. NaN where none was."""
    aligned(y_true, y_pred)
    return mean([abs(said - true) for true, said in zip(y_true, y_pred, strict=True) if said is not None])


# -- P2: replay and attribution --
def replay_faithfulness(y_true: Items, y_pred: Items) -> float:
    """RSF: share of all replayed pieces that come from the sessions that an item is about. NaN where nothing was replayed."""
    aligned(y_true, y_pred)
    return share(flags(piece in set(true) for true, said in zip(y_true, y_pred, strict=True) for piece in said))


def attribution_at_k(y_true: Items, y_pred: Items, k: int = 5) -> float:
    """ASR@k: share of items with a true source among the first `k` sources named. Items without a source do not count."""
    aligned(y_true, y_pred)
    pairs = [(set(true), list(said)[:k]) for true, said in zip(y_true, y_pred, strict=True) if len(true)]
    return share(flags(not true.isdisjoint(said) for true, said in pairs))


def step_order(y_true: Items, y_pred: Items) -> float:
    """Mean Kendall τ of the order of the steps that truth and replay share; items that share fewer than two do not count."""
    aligned(y_true, y_pred)
    taus = []
    for true, said in zip(y_true, y_pred, strict=True):
        place = {step: i for i, step in reversed(list(enumerate(said)))}
        shared = [step for step in dict.fromkeys(true) if step in place]
        taus.append(kendall_tau(range(len(shared)), [place[step] for step in shared]) if len(shared) > 1 else math.nan)
    return mean(taus)


def tool_attribution(y_true: Answers, y_pred: Answers) -> float:
    """Share of tool results that are ascribed to the tool that gave them."""
    return share(right(y_true, y_pred))


# -- P3: inhibition, freshness, conflict --
def abstention(y_true: Answers, y_pred: Answers) -> float:
    """Share of refusals among the items that have no answer."""
    aligned(y_true, y_pred)
    return share(~given(y_pred), ~given(y_true))


def over_refusal(y_true: Answers, y_pred: Answers) -> float:
    """Share of refusals among the items that have an answer: the other error, without which always refusing would look best."""
    aligned(y_true, y_pred)
    return share(~given(y_pred), given(y_true))


def freshness_hit(y_true: Answers, y_pred: Answers, *, updated: Sequence[bool]) -> float:
    """Share of items about updated facts that are answered with the value that holds now."""
    aligned(y_true, updated)
    return share(right(y_true, y_pred), flags(updated))


def conflict_correct(y_true: Answers, y_pred: Answers, *, conflict: Sequence[bool]) -> float:
    """CCR: accuracy over the items whose sources contradict each other."""
    aligned(y_true, conflict)
    return share(right(y_true, y_pred), flags(conflict))


def refusal_aurc(y_true: Answers, y_pred: Answers, *, confidence: Sequence[float]) -> float:
    """AURC: mean risk over all coverages, items ordered by confidence, refusals last; NaN without items.

    A refusal is wrong where there is an answer, so that always refusing scores 1 on answerable items.
    """
    aligned(y_true, y_pred, confidence)
    if not len(y_true):
        return math.nan
    trust = [float(c) if a is not None else -math.inf for a, c in zip(y_pred, confidence, strict=True)]
    return aurc(right(y_true, y_pred).astype(float), trust)


# -- P4: the long horizon --
def horizon_slope(y_true: Answers, y_pred: Answers, *, elapsed: Sequence[float]) -> float:
    """Slope of accuracy over elapsed sessions, per session: negative where old things fade. NaN with one elapsed time only."""
    aligned(y_true, elapsed)
    return slope(elapsed, right(y_true, y_pred).astype(float)) if len(elapsed) else math.nan


def retention(y_true: Answers, y_pred: Answers, *, elapsed: Sequence[float]) -> Decay:
    """The exponential fitted to accuracy over elapsed sessions; its `half_life` is h½ = ln 2 / λ, in sessions."""
    aligned(y_true, elapsed)
    return fit_decay(elapsed, right(y_true, y_pred).astype(float)) if len(elapsed) else Decay(math.nan, math.nan)


def spurious_replay(y_pred: Items, *, wanted: Sequence[bool]) -> float:
    """Share of items that want no replay (their answer needs no earlier session) for which something was replayed."""
    aligned(y_pred, wanted)
    return share(flags(len(pieces) for pieces in y_pred), ~flags(wanted))


def noise_robust_accuracy(y_true: Answers, y_pred: Answers, *, noisy: Sequence[bool]) -> float:
    """Accuracy over the items that were asked amid noise sessions."""
    aligned(y_true, noisy)
    return share(right(y_true, y_pred), flags(noisy))


# -- P5: cost --
@dataclass(frozen=True)
class Cost:
    """What answering cost. Latency in seconds per turn; tokens of context read per turn; footprint in bytes; throughput in turns per second
    of latency, one after the other."""

    latency_p50: float
    latency_p95: float
    tokens_per_turn: float
    footprint: float
    throughput: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def cost(latency: Sequence[float], tokens: Sequence[float], footprint: float) -> Cost:
    """The cost of the turns whose latencies (s) and tokens are given; NaN where there are none."""
    aligned(latency, tokens)
    if not len(latency):
        return Cost(math.nan, math.nan, math.nan, footprint, math.nan)
    p50, p95 = percentiles(latency, 50, 95)
    total = float(np.sum(latency))
    return Cost(p50, p95, float(np.mean(tokens)), footprint, len(latency) / total if total else math.inf)


def cost_at_accuracy(y_true: Answers, y_pred: Answers, *, budget: Sequence[float], target: float) -> float:
    """The smallest budget at which accuracy reaches `target`, each item answered at the budget named beside it; infinite where none does."""
    aligned(y_true, budget)
    hits, spent = right(y_true, y_pred), np.asarray(budget, dtype=np.float64)
    enough = [float(b) for b in np.unique(spent) if share(hits, spent == b) >= target]
    return min(enough, default=math.inf)
