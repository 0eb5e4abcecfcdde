"""UNComp (arXiv 2410.03090): heads that carry more keep more, and later layers read less.

Tokens are ranked as SnapKV ranks them; how many a head keeps follows from the truncated matrix entropy of its queries: a plan made once for the model
(`calibration`), or, without one, the prompt's own queries. While generating, the newest queries go on deciding, so that memory stays constant. With
`floor`, `stages.prefill` reads a prompt with fewer tokens in later layers.

A plan of which it was measured that it has no signal is not followed: budgets are equal then, and `describe` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mnemos.activation.calibration import Plan
from mnemos.activation.layer import MemoryLayer
from mnemos.activation.planning import SPREAD, HeadGroups
from mnemos.activation.policies.snapkv import Window
from mnemos.activation.policy import UNIFORM, Budget, Planner, Policy, Pruning
from mnemos.activation.stages import Stages
from mnemos.activation.view import View
from mnemos.base.errors import Invalid

LAYERS = ("even", "stages", "depth")


@dataclass(frozen=True)
class Newest(Window):
    """The newest queries' attention, also where the layer keeps more of them, from which the prompt's entropy is known."""

    def score(self, view: View) -> Tensor:
        return super().score(view.of_newest(self.query_window))


@dataclass(frozen=True)
class Uncomp(Pruning):
    """`Pruning`, with what the prompt's reading needs; `signal` is what is known of the plan's."""

    stages: Stages | None = None
    signal: float | None = None

    @property
    def name(self) -> str:  # type: ignore[override]
        return "+".join(["uncomp", *(codec.name for codec in self.codecs)])

    @property
    def query_window(self) -> int:  # type: ignore[override]
        return max(super().query_window, self.stages.window if self.stages else 0)

    @property
    def prompt_window(self) -> int:
        online = isinstance(self.planner, HeadGroups) and self.planner.groups is None
        return 1 << 30 if online else self.query_window

    def settle(self, layer: MemoryLayer) -> None:
        if isinstance(self.planner, HeadGroups):
            self.planner.numbers(layer.view())  # also where nothing has to go yet: only now are all queries of the prompt known
        super().settle(layer)

    def describe(self) -> dict[str, Any]:
        said = {**super().describe(), "signal": self.signal, "even": self.planner is UNIFORM}
        if self.stages is not None:
            said["lossy"] = {"stage gather": [*self.stages.numbers], "longest": self.stages.longest, "floor": self.stages.floor}
        return said


def make(tokens: int | None = None, share: float | None = None, plan: Plan | None = None, groups: int = 2, window: int = 32, kernel: int = 5,
         spread: float = SPREAD, layers: str = "even", order: str = "entropy", seed: int = 0, every: int = 1, floor: int | None = None,
         longest: int | None = None, stages: Sequence[int] | None = None, follow: bool = False) -> Policy:  # fmt: skip
    """Keeps `tokens` of each head on average, or a `share` of those seen, `window` newest among them.

    Without a `plan` the prompt's own queries decide. `layers`: the budget of a layer follows its stage, or its depth alone, or nothing. `floor`:
    prompts are read in the plan's stages, or in those given, down to so many tokens (`stages.prefill`). `follow`: also a plan without signal.
    `order`: see `planning.HeadGroups`. Raises `Invalid` where a plan is needed and none is given.
    """
    if layers not in LAYERS:
        raise Invalid(f"no budget of layers is named {layers!r}; there are {', '.join(LAYERS)}")
    if plan is None and (layers != "even" or (floor is not None and stages is None)):
        raise Invalid("stages of layers, and depth, need to know the model: give the plan= of a calibration, or stages=")
    budget = Budget(tokens, share)
    reading = None
    if floor is not None:
        numbers = tuple(plan.layer_stage if stages is None else stages)  # type: ignore[union-attr]
        reading = Stages(numbers, longest, floor, min(8, window))
    planner: Planner = UNIFORM
    if plan is None or plan.has_signal or follow:
        by_layer: tuple[int, ...] = ()
        if plan is not None and layers != "even":
            by_layer = plan.layer_stage if layers == "stages" else tuple(range(len(plan.layer_stage)))
        of_heads = None if plan is None else plan.in_groups(groups).head_group
        planner = HeadGroups(of_heads, by_layer, spread, window + 1, order, seed, groups, "" if plan is None else plan.digest)
    signal = None if plan is None else plan.signal
    return Uncomp(Newest(window, kernel), budget, planner, recent=window, every=every, stages=reading, signal=signal)
