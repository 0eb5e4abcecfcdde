"""What is trained on at which step: lengths grow when recall at shorter ones is there; the learning rate warms up, stays, and falls at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mnemos.models.reference.training.drills import NAMES, SUFFIX, SUMS

TEXT = "text"
REPEAT = "repeat"
"""Two kinds of rows beside the tasks: plain English, and a row of random symbols that says itself again (Olsson et al. 2022: induction)."""


@dataclass(frozen=True)
class Stage:
    """From a step on: one of `lengths` a step, drawn by its weight; `tokens` a step; rows drawn by `mixture`."""

    first_step: int
    lengths: Mapping[int, float]
    tokens: int
    mixture: Mapping[str, float]


@dataclass(frozen=True)
class Plan:
    """A whole training. `rate` is the peak learning rate; it falls linearly to 0 over the last `cooldown` of `steps` steps."""

    stages: tuple[Stage, ...]
    steps: int
    cooldown: int
    warmup: int = 60
    rate: float = 3e-3
    seed: int = 6
    text_weight: float = 0.1
    longest: int = field(default=2048)

    def stage(self, step: int) -> Stage:
        return max((stage for stage in self.stages if stage.first_step <= step), key=lambda stage: stage.first_step)

    def rate_at(self, step: int) -> float:
        """The learning rate of a step (from 0)."""
        rising = min(1.0, (step + 1) / self.warmup)
        falling = min(1.0, max(0.0, (self.steps - step) / max(1, self.cooldown)))
        return self.rate * rising * falling


_FIRST = {REPEAT: 3, "copy": 2, "kv": 2, "needle": 1}
_RECALL = {REPEAT: 4, "kv": 4, "copy": 2, "needle": 1, "chain": 1, "rule": 1, "world": 1, "code": 1, "run": 1, "span": 1, "list": 0.5, TEXT: 0.3}
_ALL = {"kv": 3, "copy": 1, "needle": 1, "chain": 1.5, "rule": 1, "world": 1.5, "code": 1.5, "run": 2.5, "span": 2, "list": 1.5, TEXT: 0.7}
_HARD = {"kv": 1.5, "copy": 1, "needle": 0.7, "chain": 3, "rule": 0.8, "world": 1.5, "code": 1, "run": 2.5, "span": 2, "list": 1.2, TEXT: 0.7}
_DRILLED = {"kv": 1, "copy": 0.8, "needle": 0.4, "chain": 2, "rule": 0.6, "world": 1.2, "code": 2, "run": 2, "span": 2, "list": 1, TEXT: 0.7}
_DRILLED |= {SUMS: 1, NAMES: 1.5, SUFFIX: 1.5}
_LAST = {"kv": 2, "copy": 2, "needle": 0.6, "chain": 2, "rule": 0.8, "world": 2, "code": 1.5, "run": 1.5, "span": 2, "list": 1, TEXT: 0.7}
_LAST |= {SUMS: 0.2, NAMES: 2, SUFFIX: 0.3}

PLAN = Plan(
    stages=(
        Stage(0, {64: 1, 128: 1}, 4096, _FIRST),
        Stage(300, {64: 1, 128: 1}, 4096, _RECALL),
        Stage(520, {64: 1, 128: 2}, 4096, _ALL),
        Stage(800, {128: 2, 256: 1}, 4096, _HARD),
        Stage(1100, {128: 1, 256: 1, 512: 1}, 6144, _HARD),
        Stage(1600, {256: 1, 512: 1, 1024: 1}, 8192, _HARD),
        Stage(2100, {256: 1, 512: 1, 1024: 1, 2048: 1}, 8192, _HARD),
        Stage(3098, {128: 2, 256: 2, 512: 1, 1024: 0.7, 2048: 0.5}, 6144, _DRILLED),
        Stage(4280, {64: 1, 128: 2, 256: 1.5, 512: 0.7, 1024: 0.5, 2048: 0.4}, 6144, _DRILLED),
        Stage(4936, {128: 0.7, 256: 1, 512: 1, 1024: 1, 2048: 1}, 8192, _LAST),
    ),
    steps=5586,
    cooldown=650,
)
"""The training that made the checkpoint."""
