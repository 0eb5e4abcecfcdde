"""The evaluation card: five numbers that rank memories like the whole suite, the suite behind them, and what must be said beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from mnemos.base.errors import Invalid
from mnemos.base.meter import machine
from mnemos.base.stats import Interval
from mnemos.bench.evaluation import contextual, episodic, external, scoring
from mnemos.bench.evaluation.layers import Layers, Table
from mnemos.bench.evaluation.leakage import ACCEPTED, OVERLAP
from mnemos.bench.evaluation.settings import Run
from mnemos.bench.result import Check
from mnemos.kernel.changes.disclosure import problems

MINIMAL = ("correctness", "faithfulness", "positional robustness", "timeliness", "refusal")

GATES: Mapping[tuple[str, str], tuple[float, bool]] = {
    ("external", "citation coverage"): (0.85, True),
    ("external", "unsupported claims (UCR)"): (0.05, False),
    ("external", "recall@5"): (0.85, True),
    ("episodic: inhibition", "freshness hit"): (0.80, True),
    ("external", "conflict handled@5"): (0.80, True),
}
"""The survey's acceptance thresholds for answering from external memory: (layer, metric) → (bound, whether at least)."""


def minimal(run: Run, rng: np.random.Generator, resamples: int = 400) -> dict[str, Interval]:
    """The five numbers of one run with live retrieval, each 0 to 1 and the more the better.

    Correctness: accuracy. Faithfulness: share of grounded sentences. Positional robustness: lowest accuracy over positions of the evidence by
    the highest. Timeliness: share of updated facts answered as they are now. Refusal: 1 − AURC.
    """
    table = Table(run)
    placed = Table(Run("", "", "", *_placed(run)))
    position = [item.position for item in placed.items]
    updated = [item.kind == "updated" for item in run.items]

    def refusal(t: Any, p: Any, *, confidence: Any) -> float:
        return 1 - episodic.refusal_aurc(t, p, confidence=confidence)

    return {
        "correctness": table.measure(scoring.accuracy, rng, resamples),
        "faithfulness": table.columns(external.fgs, rng, resamples, [answer.claims for answer in run.answers]),
        "positional robustness": placed.measure(contextual.position_robustness, rng, resamples, position=position),
        "timeliness": table.measure(episodic.freshness_hit, rng, resamples, updated=updated),
        "refusal": table.measure(refusal, rng, resamples, confidence=[answer.confidence for answer in run.answers]),
    }


def _placed(run: Run) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    kept = [i for i, item in enumerate(run.items) if not math.isnan(item.position)]
    return tuple(run.items[i] for i in kept), tuple(run.answers[i] for i in kept)


@dataclass(frozen=True)
class Card:
    """One system's card. `runs` has the digest of what was asked under each setting; the disclosure is complete, or there is no card."""

    system: str
    minimal: Mapping[str, Interval]
    layers: Layers
    cost: Mapping[str, float]
    runs: Mapping[str, str]
    disclosure: Mapping[str, Any]
    gates: Mapping[tuple[str, str], tuple[float, bool]] = field(default_factory=lambda: GATES)

    def __post_init__(self) -> None:
        missing = problems(self.disclosure)
        if missing:
            raise Invalid(f"card: the disclosure is not complete ({'; '.join(missing)}); a number without it cannot be repeated")
        if len(set(self.runs.values())) > 1:
            raise Invalid("card: the settings were not asked the same items in the same order; run them from one plan")

    def checks(self) -> list[Check]:
        """The acceptance thresholds, kept or missed."""
        out = []
        for (layer, metric), (bound, at_least) in self.gates.items():
            out.append(Check.of(metric, self.layers[layer][metric], bound, at_least=at_least))
        return out

    def rows(self) -> list[dict[str, Any]]:
        """One flat row per number, for a data frame."""
        numbers = [("minimal", name, interval) for name, interval in self.minimal.items()]
        numbers += [(layer, name, interval) for layer, metrics in self.layers.items() for name, interval in metrics.items()]
        return [{"system": self.system, "layer": layer, "metric": name, **asdict(interval)} for layer, name, interval in numbers]

    def as_json(self) -> dict[str, Any]:
        """Plain values; as JSON it is YAML too."""
        return {
            "format": "mnemos-card-1",
            "system": self.system,
            "minimal": {name: asdict(interval) for name, interval in self.minimal.items()},
            "layers": {layer: {name: asdict(i) for name, i in metrics.items()} for layer, metrics in self.layers.items()},
            "cost": dict(self.cost),
            "runs": dict(self.runs),
            "gates": [check.as_dict() for check in self.checks()],
            "disclosure": dict(self.disclosure),
        }


def disclosed(seed: int, seconds: float, **sections: Mapping[str, Any]) -> dict[str, Any]:
    """The disclosure of a run on synthetic histories, here and today; `sections` replace whole sections of it."""
    now, ran = datetime.now(UTC).date().isoformat(), machine()
    return {
        "time": {"snapshot": now, "index": now, "weights": None},
        "freshness": {"rules": "of what is retrieved, the user's own latest statement holds; an index is at the log's position at each search"},
        "leakage": {"method": "facts made up for the run", "threshold": OVERLAP, "overlap": 0.0, "accepted": ACCEPTED},
        "model": {"name": "pattern reader", "parameters": None, "decoding": {"deterministic": True}},
        "retrieval": {"method": "mnemos auto: words, meaning, neighbours, speaker, time", "k": 10, "rerank": "by mnemos.bench.fitting"},
        "memory": {"mode": "online", "replay_budget": 2, "refusal_threshold": 0.0},
        "hardware": {"cpu": ran.cpu or "unknown", "cores": ran.cores, "memory_bytes": ran.memory},
        "cost": {"seconds": seconds},
        "seeds": {"values": [seed]},
        "limits": {"text": "synthetic histories in English, read by patterns; no language model, no tools"},
        **sections,
    }


def assert_gates(card: Card) -> None:
    """For a test: raise `AssertionError`, naming every acceptance threshold that a card misses."""
    missed = [check for check in card.checks() if not check.holds]
    if missed:
        said = "; ".join(f"{c.metric} is {c.measured:.3f}, bound {'≥' if c.at_least else '≤'} {c.threshold}" for c in missed)
        raise AssertionError(f"{card.system} misses {len(missed)} of {len(card.gates)} gates: {said}")


def overall(minimal: Mapping[str, Interval]) -> float:
    """The five numbers as one: their mean, a number that is not defined counting as nothing."""
    return float(np.mean([0.0 if math.isnan(interval.value) else interval.value for interval in minimal.values()]))


_LESS_IS_BETTER = frozenset(
    {
        "unsupported claims (UCR)",
        "out-of-date use",
        "over-refusal",
        "AURC",
        "mid drop",
        "robustness loss",
        "spurious replay",
        "anchoring error (days)",
    }
)
_UNSCALED = frozenset({"LN-Acc", "KIR", "LTRS", "slope per session", "decay rate λ", "prior ÷ oracle (PPR)", "refusal at stale"})
"""Metrics that are no share, or whose better side depends on the case: they are reported, and no part of the score."""


def suite_score(layers: Layers) -> float:
    """The full suite as one number: the mean over layers of the mean of their metrics, each turned so that more is better, within 0 and 1."""
    scores = []
    for metrics in layers.values():
        turned = [
            1 - min(1.0, max(0.0, interval.value)) if name in _LESS_IS_BETTER else min(1.0, max(0.0, interval.value))
            for name, interval in metrics.items()
            if name not in _UNSCALED and not math.isnan(interval.value)
        ]
        scores.append(float(np.mean(turned)) if turned else 0.0)
    return float(np.mean(scores))
