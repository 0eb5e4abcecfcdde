"""UNComp (arXiv 2410.03090): heads that carry more keep more, and later layers read less.

Tokens are ranked as SnapKV ranks them; how many a head keeps follows from the truncated matrix entropy of its queries, or from what it was measured
to need: a plan made once for the model (`calibration`, `signal`), or, without one, the entropy of the prompt's own queries. While generating, the
newest queries go on deciding, so that memory stays constant. With `floor`, `stages.prefill` reads a prompt with fewer tokens in later layers; with
`delete`, some heads of each layer are not there at all (`deletion`).

A plan of which it was measured that it says nothing is not followed: budgets are equal then, and `describe` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mnemos.activation.calibration import Plan
from mnemos.activation.deletion import Left, left
from mnemos.activation.layer import MemoryLayer
from mnemos.activation.planned import LAYERS, planner_of
from mnemos.activation.planning import SPREAD, HeadGroups, weakest
from mnemos.activation.policies.snapkv import Window
from mnemos.activation.policy import UNIFORM, Budget, Planner, Policy, Pruning
from mnemos.activation.stages import Stages
from mnemos.activation.view import View
from mnemos.base.errors import Invalid

WIDEST = 63
"""Tokens over which scores are averaged at most: wider, what stands around a passage costs it its place."""


@dataclass(frozen=True)
class Newest(Window):
    """The newest queries' attention, also where the layer keeps more of them, from which the prompt's entropy is known. Averaged over `kernel`
    tokens, or, where that is more, over the share `pool` of what a head keeps beside the window by its `planner` and `budget`, but at most over
    `WIDEST`: a head that keeps more keeps longer passages."""

    pool: float = 0.0
    planner: Planner = UNIFORM
    budget: Budget | None = None

    def score(self, view: View) -> Tensor:
        own = view.of_newest(self.query_window)
        if not self.pool or self.budget is None:
            return super().score(own)
        counts = torch.tensor([list(self.planner.plan(view, its)) for its in self.budget.of_rows(view).tolist()], device=view.keys.device)
        kernels = (((counts - self.query_window) * self.pool).long() // 2 * 2 + 1).clamp_max(WIDEST).clamp_min(self.kernel)
        scores = own.window_attention().sum(3).mean(2)
        pooled = scores
        for kernel in set(kernels.flatten().tolist()):
            pooled = torch.where((kernels == kernel)[..., None], view.smoothed(scores, kernel), pooled)
        return pooled


@dataclass(frozen=True)
class Uncomp(Pruning):
    """`Pruning`, with what the prompt's reading needs. `by`: what heads are told apart by, None where budgets are equal; `signal`: what is known of
    the plan's; `lefts` [layers]: what is left of their heads, () where none is deleted."""

    stages: Stages | None = None
    by: str | None = None
    signal: float | None = None
    lefts: tuple[Left, ...] = ()

    @property
    def name(self) -> str:  # type: ignore[override]
        return "+".join(["uncomp", *(codec.name for codec in self.codecs)])

    @property
    def query_window(self) -> int:  # type: ignore[override]
        return max(super().query_window, self.stages.window if self.stages else 0)

    @property
    def prompt_window(self) -> int:
        return 1 << 30 if self.unrotates else self.query_window

    @property
    def unrotates(self) -> bool:  # type: ignore[override]
        return isinstance(self.planner, HeadGroups) and self.planner.groups is None  # the prompt's own queries decide

    def left(self, number: int) -> Left | None:
        if not self.lefts:
            return None
        if number >= len(self.lefts):
            raise Invalid(f"heads are deleted from {len(self.lefts)} layers, and this is layer {number}: calibrate for this model")
        return self.lefts[number]

    def settle(self, layer: MemoryLayer) -> None:
        if isinstance(self.planner, HeadGroups):
            self.planner.numbers(layer.view())  # also where nothing has to go yet: only now are all queries of the prompt known
        super().settle(layer)

    def describe(self) -> dict[str, Any]:
        said = {**super().describe(), "by": self.by, "signal": self.signal, "even": self.planner is UNIFORM}
        if self.stages is not None:
            said["lossy"] = {"stage gather": [*self.stages.numbers], "longest": self.stages.longest, "floor": self.stages.floor}
        if self.lefts:
            said["heads"] = [{"left": [*its.heads], "givers": [*its.givers]} for its in self.lefts]
        return said


def make(tokens: int | None = None, share: float | None = None, plan: Plan | None = None, groups: int = 2, first: float | None = None,
         window: int = 32, kernel: int = 5, pool: float = 0.0, spread: float | None = None, layers: str | None = None, by: str = "auto",
         delete: int = 0, order: str = "entropy", seed: int = 0, every: int = 1, floor: int | None = None, longest: int | None = None,
         stages: Sequence[int] | None = None, follow: bool = False) -> Policy:  # fmt: skip
    """Keeps `tokens` of each head on average, or a `share` of those seen, `window` newest among them. Scores of tokens are averaged over
    `kernel` neighbours, or over the share `pool` of what a head keeps beside the window, where that is more: for answers that quote passages.

    Without a `plan` the prompt's own queries decide. `by`: what heads are told apart by, see `Plan.source`. `layers`: the budget of a layer follows
    its stage ("stages"), its depth alone ("depth"), nothing ("even"), or the groups of its heads, which are then made of the heads of all layers
    ("together"); `first`: the share of heads in the first group, None: as many as in each; `spread`: see `planning.spaced`. Where it was measured
    that the plan says what heads need, over all of them, None is "together" and `MEASURED_SPREAD`; else "even" and a third. `delete`: so many
    key-value heads of each layer hold nothing, and get what those most like them give: those that cost least, where that was measured and `by` is
    "auto", or have the least entropy. `floor`: prompts are read in the plan's stages, or in those given, down to so many tokens (`stages.prefill`).
    `follow`: also a plan without signal. `order`: see `planning.HeadGroups`. Raises `Invalid` where a plan is needed and none is given, or it does
    not say which heads to delete.
    """
    source = "entropy" if plan is None and by == "auto" else None if plan is None else plan.source(by, follow)
    if plan is None and by != "auto":
        raise Invalid(f"without a plan the prompt's own entropy decides: give the plan= of a calibration to go by {by!r}")
    if layers is not None and layers not in LAYERS:
        raise Invalid(f"no budget of layers is named {layers!r}; there are {', '.join(LAYERS)}")
    if plan is None and (layers not in (None, "even") or first is not None or delete or (floor is not None and stages is None)):
        raise Invalid("stages of layers, depth, groups over all layers or of unlike size and deletion need to know the model: give the plan= of a "
                      "calibration (for stages, stages= will do)")  # fmt: skip
    lefts = () if plan is None or not delete else _lefts(plan, by, delete, order, seed, follow)
    reading = None
    if floor is not None:
        numbers = tuple(plan.layer_stage if stages is None else stages)  # type: ignore[union-attr]
        reading = Stages(numbers, longest, floor, min(8, window))
    planner: Planner
    if plan is None:
        planner = HeadGroups(None, (), SPREAD if spread is None else spread, window + 1, order, seed, groups)
    else:
        planner = planner_of(plan, window + 1, by, layers, groups, first, spread, order, seed, follow, [its.heads for its in lefts])
    signal = None if plan is None else plan.signal
    if not 0 <= pool <= 1:
        raise Invalid(f"pool is the share of a head's tokens that scores are averaged over, in [0, 1], not {pool}")
    budget = Budget(tokens, share)
    scorer = Newest(window, kernel, pool, planner, budget)
    return Uncomp(scorer, budget, planner, recent=window, every=every, stages=reading, by=source, signal=signal, lefts=lefts)


def _lefts(plan: Plan, by: str, count: int, order: str, seed: int, follow: bool) -> tuple[Left, ...]:
    """What is left of each layer without `count` of its heads."""
    if not plan.alike:
        raise Invalid("the plan does not say which heads attend alike, so that none could stand in for those deleted: calibrate again")
    values = plan.head_cost
    if not values or by != "auto":
        if plan.source("entropy", follow) is None:
            raise Invalid("which heads could be deleted is not known: it was measured that entropy does not tell what heads need; measure what each "
                          "costs, plan = with_cost(plan, costs(model, plan, prompts)), of mnemos.activation.signal, or give follow=True")  # fmt: skip
        values = plan.head_entropy
    gone = weakest(values, count, order, seed)
    return tuple(left(alike, len(its), heads) for alike, its, heads in zip(plan.alike, values, gone, strict=True))
