"""Whether a plan says what heads need: how much worse answers get where one head forgets all but the newest tokens, against the entropy of that head.
And how much worse where a head is not there at all: a head may need nothing that is far, and still not be one to do without.

UNComp (arXiv 2410.03090) takes it for granted; models differ, and a plan that carries no signal is not followed (`calibration.Plan.has_signal`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mnemos.activation.calibration import Plan
from mnemos.activation.deletion import Left, left
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies.window import Newest
from mnemos.activation.policy import Budget, Policy, Pruning
from mnemos.activation.view import View
from mnemos.base.errors import Invalid
from mnemos.base.stats import spearman

Prompts = Iterable[tuple[Sequence[int], Sequence[int]]]
"""Token ids of a text with its question, and of the answer that follows."""


@dataclass(frozen=True)
class OneHead:
    """All heads keep all, but one keeps no more than the budget."""

    layer: int
    head: int
    name = "one head"

    def plan(self, view: View, budget: int) -> Sequence[int]:
        return [budget if (view.layer.number, head) == (self.layer, self.head) else view.keys.shape[2] for head in range(view.heads)]


def compressed(memory: KVMemory, policy: Policy) -> KVMemory:
    """A fork of a memory that was read with everything kept (and the queries that the policy needs), as the policy would have left it."""
    fork = memory.fork()
    for layer in fork.managed:
        layer.policy, layer.settled = policy, False
    fork.settle()
    return fork


def needs(model: Any, prompts: Prompts, window: int = 32) -> NDArray[np.float64]:
    """[prompts, layers, key-value heads]: how much the mean loss of an answer grows where a head keeps the newest `window` + 1 tokens of the prompt
    alone. The last token of a prompt is read after compression."""
    found = []
    for prompt, answer in prompts:
        memory = KVMemory.of(model)
        with torch.no_grad():
            model(torch.tensor([list(prompt[:-1])], device=model.device), cache=memory, logits_to_keep=1)
        rest = [prompt[-1], *answer]
        least = _loss(model, memory.fork(), rest)
        grid = [(layer, head) for layer in range(len(memory.managed)) for head in range(memory.managed[0].tail.heads)]
        cuts = (Pruning(Newest(), Budget(window + 1), OneHead(*where), recent=window) for where in grid)
        found.append([_loss(model, compressed(memory, cut), rest) - least for cut in cuts])
    each: NDArray[np.float64] = np.asarray(found).reshape(len(found), len(memory.managed), -1)
    return each


@dataclass(frozen=True)
class Thinner(Policy):
    """Keeps everything, of the heads that are left."""

    lefts: tuple[Left, ...]
    name = "thinner"

    def left(self, number: int) -> Left:
        return self.lefts[number]


def costs(model: Any, plan: Plan, prompts: Prompts) -> NDArray[np.float64]:
    """[prompts, layers, key-value heads]: how much the mean loss of an answer grows where a head is deleted (`deletion`), alone; the plan says which
    stands in for it. Reads each prompt once for each head. Raises `Invalid` where the plan does not say which heads attend alike."""
    if not plan.alike:
        raise Invalid("the plan does not say which heads attend alike, so that none could stand in for those deleted: calibrate again")
    widths = [len(its) for its in plan.head_entropy]
    whole = tuple(left(alike, width, ()) for alike, width in zip(plan.alike, widths, strict=True))
    found = []
    for prompt, answer in prompts:
        least = _loss(model, KVMemory.of(model), [*prompt, *answer], len(answer))
        grown = []
        for layer, width in enumerate(widths):
            for head in range(width):
                lefts = (*whole[:layer], left(plan.alike[layer], width, (head,)), *whole[layer + 1 :])
                grown.append(_loss(model, KVMemory.of(model, Thinner(lefts)), [*prompt, *answer], len(answer)) - least)
        found.append(grown)
    each: NDArray[np.float64] = np.asarray(found).reshape(len(found), len(widths), -1)
    return each


def with_cost(plan: Plan, grown: NDArray[np.float64]) -> Plan:
    """The plan with what was measured of costs (`costs`): their mean over the prompts."""
    return replace(plan, head_cost=tuple(tuple(its) for its in grown.mean(0).tolist()))


def _loss(model: Any, memory: KVMemory, rest: Sequence[int], last: int = 0) -> float:
    """The mean loss of all tokens but the first, or of the `last` ones."""
    with torch.no_grad():
        logits = model(torch.tensor([rest[:-1]], device=model.device), cache=memory, logits_to_keep=last).logits[0].float().cpu()
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(rest[1:][-last:])))


def with_need(plan: Plan, grown: NDArray[np.float64]) -> Plan:
    """The plan with what was measured of needs (`needs`): their mean over the prompts, its rank correlation with entropy over all heads, and, for two
    prompts or more, the rank correlation of what every other prompt says and what the others say."""
    need = grown.mean(0)
    steadiness = spearman(grown[::2].mean(0).ravel(), grown[1::2].mean(0).ravel()) if len(grown) > 1 else math.nan
    return replace(
        plan.with_signal(spearman(np.ravel(plan.head_entropy), need.ravel())),
        head_need=tuple(tuple(its) for its in need.tolist()),
        steadiness=None if math.isnan(steadiness) else steadiness,
    )
