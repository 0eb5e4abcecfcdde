"""Admission gates: what a change does to three slices of questions, against thresholds that were fixed before it was measured (S4).

Target: what the change is for. Neighbourhood: what lies close and must not move. Retention: everything else, which must not get worse.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from mnemos.base.errors import Invalid
from mnemos.base.stats import Interval, bootstrap_mean

TARGET, NEIGHBOURHOOD, RETENTION = "target", "neighbourhood", "retention"
Metric = Literal["success", "gain", "unchanged", "drawdown"]
METRICS: tuple[Metric, ...] = ("success", "gain", "unchanged", "drawdown")


@dataclass(frozen=True, slots=True)
class Observed:
    """One question of a slice, asked: whether the answer was right, the answer itself (any value that can be compared), and the group of
    questions, such as a history, that it is not independent of."""

    item: str
    right: bool
    answer: Hashable = None
    group: Hashable = None


Slices = Mapping[str, Sequence[Observed]]
"""Slice name → its questions, as they were answered."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One bound on one slice. Metrics: `success` is the share right after the change, `gain` that minus the share before, `unchanged` the share
    of questions answered as before, `drawdown` the share right before minus that after.

    `by` says what must keep the bound: the estimate, or the end of its interval that lies towards it. A slice with fewer than `fewest`
    questions keeps no bound.
    """

    slice: str
    metric: Metric
    bound: float
    by: Literal["estimate", "interval"] = "estimate"
    fewest: int = 10

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise Invalid(f"gate: there is no metric {self.metric!r}; there are {', '.join(METRICS)}")

    @property
    def at_least(self) -> bool:
        """Whether more is better."""
        return self.metric != "drawdown"


STANDARD_GATES = (Gate(TARGET, "success", 0.90), Gate(NEIGHBOURHOOD, "unchanged", 0.95), Gate(RETENTION, "drawdown", 0.02))
"""The survey's thresholds for an edit: success ≈ 0.90, locality ≈ 0.95, drawdown at most 0.02."""


@dataclass(frozen=True, slots=True)
class Finding:
    """How a gate came out. `slack` is how far the measured value lies on the right side of the bound; negative on the wrong one."""

    gate: Gate
    measured: Interval | None
    holds: bool
    slack: float
    code: str

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self.gate), "measured": asdict(self.measured) if self.measured else None, "holds": self.holds, "code": self.code}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gates say together. True where the change may go on."""

    findings: tuple[Finding, ...]
    problems: tuple[str, ...] = ()
    """What was missing for a verdict at all, such as fields of the card."""

    def __bool__(self) -> bool:
        return not self.problems and all(finding.holds for finding in self.findings)

    @property
    def codes(self) -> tuple[str, ...]:
        """Machine-readable reasons."""
        return (*self.problems, *(finding.code for finding in self.findings))

    @property
    def slack(self) -> float:
        """The least slack of any gate: how close the verdict was."""
        return min((finding.slack for finding in self.findings), default=0.0)


def judge(gates: Sequence[Gate], before: Slices, after: Slices, rng: np.random.Generator) -> Verdict:
    """The gates over slices measured before and after the change. Raises `Invalid` where the two were not asked the same questions."""
    return Verdict(tuple(_finding(gate, before.get(gate.slice, ()), after.get(gate.slice, ()), rng) for gate in gates))


def _finding(gate: Gate, before: Sequence[Observed], after: Sequence[Observed], rng: np.random.Generator) -> Finding:
    if [seen.item for seen in before] != [seen.item for seen in after]:
        raise Invalid(f"slice {gate.slice!r}: before and after the change different questions were asked; ask the same ones in the same order")
    name = f"{gate.slice}.{gate.metric}"
    if len(after) < gate.fewest:
        return Finding(gate, None, False, -1.0, f"{name}:too-few:{len(after)}<{gate.fewest}")
    was, now = (np.array([seen.right for seen in slice_], dtype=np.float64) for slice_ in (before, after))
    if gate.metric == "success":
        values, bounds = now, (0.0, 1.0)
    elif gate.metric == "unchanged":
        values, bounds = np.array([float(a.answer == b.answer) for a, b in zip(before, after, strict=True)]), (0.0, 1.0)
    else:
        values, bounds = (now - was if gate.metric == "gain" else was - now), (-1.0, 1.0)
    groups = [seen.item if seen.group is None else seen.group for seen in after]
    measured = bootstrap_mean(values, groups, rng, bounds=bounds)
    value = measured.value
    if gate.by == "interval":
        value = measured.low if gate.at_least else measured.high
    slack = value - gate.bound if gate.at_least else gate.bound - value
    holds = bool(slack >= -1e-12)
    return Finding(gate, measured, holds, float(slack), f"{name}:{'kept' if holds else 'missed'}")
