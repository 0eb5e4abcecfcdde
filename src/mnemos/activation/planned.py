"""What a plan is for: whatever policy drops tokens, heads keep as many as the plan gives them; and their numbers are stored in as many bits.

The plan (`calibration`) is UNComp's (arXiv 2410.03090). Who ranks tokens, and who rounds numbers, does not matter to it: `planned(policy("h2o",
share=1 / 8), plan)`, `policy("kivi", bits=bits_by(plan, 3))`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mnemos.activation.calibration import Plan
from mnemos.activation.planning import SPREAD, WIDTHS, Grid, HeadGroups, bits_of, in_groups
from mnemos.activation.policy import UNIFORM, Planner, Policy, Pruning
from mnemos.base.errors import Invalid

LAYERS = ("even", "stages", "depth", "together")
MEASURED_SPREAD = 0.8
"""Where it was measured that a plan says what heads need, those of the last group keep a fifth of the mean: most need next to nothing."""


def planner_of(plan: Plan, least: int, by: str = "auto", layers: str | None = None, groups: int = 2, first: float | None = None,
               spread: float | None = None, order: str = "entropy", seed: int = 0, follow: bool = False,
               heads: Sequence[Sequence[int]] = ()) -> Planner:  # fmt: skip
    """Divides a budget as the plan says, `least` tokens for each head in any case; equally where the plan was measured to say nothing, unless
    `follow`. `by`: see `Plan.source`. `layers`, `groups`, `first`, `spread`: see `policies.uncomp.make`; `order`, `seed`: `planning.HeadGroups`.
    `heads`: those that each layer still has, where some are deleted. Raises `Invalid` for what is none of these."""
    source = plan.source(by, follow)
    measured = plan.signal is not None and not (follow and plan.source(by) is None)
    layers = layers or ("together" if measured else "even")
    if layers not in LAYERS:
        raise Invalid(f"no budget of layers is named {layers!r}; there are {', '.join(LAYERS)}")
    if source is None:
        return UNIFORM
    values = plan.values(source)
    if heads:
        values = tuple(tuple(its[head] for head in there) for its, there in zip(values, heads, strict=True))
    by_layer = {"stages": plan.layer_stage, "depth": tuple(range(len(plan.layer_stage)))}.get(layers, ())
    spread = (MEASURED_SPREAD if measured else SPREAD) if spread is None else spread
    of_heads = in_groups(values, groups, layers == "together", first)
    return HeadGroups(of_heads, by_layer, spread, least, order, seed, groups, plan.digest, layers == "together")


def planned(kind: Policy, plan: Plan, **options: Any) -> Pruning:
    """The same policy, with the same tokens for a head on average, divided as the plan says; `options` as `planner_of` takes them. Raises `Invalid`
    for a policy that drops no tokens, or divides its budget by itself."""
    if not isinstance(kind, Pruning) or kind.scorer is None:
        raise Invalid(f"the KV policy {kind.name!r} drops no tokens, so that a plan has no budgets to divide; bits of heads: bits_by(plan, …)")
    if kind.planner is not UNIFORM:
        raise Invalid(f"the KV policy {kind.name!r} divides its budget by itself: give the plan to one that keeps as many tokens of each head")
    return replace(kind, planner=planner_of(plan, kind.least, **options))


def bits_by(plan: Plan, mean: float, by: str = "auto", follow: bool = False, widths: Sequence[int] = WIDTHS, order: str = "entropy",
            seed: int = 0) -> int | Grid:  # fmt: skip
    """Bits for the numbers of each head, `mean` on average at most, as `planning.bits_of` divides them by what the plan says; the most of `widths`
    that all can have where it was measured to say nothing. How many a number of bytes affords says `rationing.affordable`. Raises `Invalid` where the
    mean is under all widths."""
    source = plan.source(by, follow)
    if source is not None:
        return bits_of(plan.values(source), mean, widths, order, seed)
    if mean < min(widths):
        raise Invalid(f"{mean:.4g} bits a number on average cannot be, with at least {min(widths)} for each: give more bytes")
    return max(width for width in widths if width <= mean)
