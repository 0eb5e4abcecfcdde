"""Whether a plan says what heads need: how much worse answers get where one head forgets all but the newest tokens, against the entropy of that head.

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
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies.window import Newest
from mnemos.activation.policy import Budget, Policy, Pruning
from mnemos.activation.view import View
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
            model(torch.tensor([list(prompt[:-1])]), cache=memory, logits_to_keep=1)
        rest = [prompt[-1], *answer]
        least = _loss(model, memory.fork(), rest)
        grid = [(layer, head) for layer in range(len(memory.managed)) for head in range(memory.managed[0].tail.heads)]
        cuts = (Pruning(Newest(), Budget(window + 1), OneHead(*where), recent=window) for where in grid)
        found.append([_loss(model, compressed(memory, cut), rest) - least for cut in cuts])
    each: NDArray[np.float64] = np.asarray(found).reshape(len(found), len(memory.managed), -1)
    return each


def _loss(model: Any, memory: KVMemory, rest: Sequence[int]) -> float:
    with torch.no_grad():
        logits = model(torch.tensor([rest[:-1]]), cache=memory).logits[0].float()
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(rest[1:])))


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
