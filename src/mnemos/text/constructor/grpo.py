"""Group-relative policy optimisation: advantages of a group, the clipped objective and its gradient, and one update; for any model that can tell
the logarithms of its choices' probabilities.

Source: Shao et al., DeepSeekMath, arXiv 2402.03300, section 4.1, as Mem-α, arXiv 2509.25911, section 3.3, uses it: every (rollout, chunk) is a
sample, all samples of one instance are the group, there is no value network, and no KL term unless one is asked for. Because the gradient with
respect to the logarithms is given, the same loop drives a network in NumPy (`network`) and a language model in PyTorch (`language_model`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
EPSILON = 1e-6
FLAT = 1e-12
"""Standard deviation below which all rewards of a group are the same: then nothing can be told from them."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """How policies are updated. Defaults are the paper's where it gives any."""

    clip: float = 0.2
    """How far the ratio of probabilities may go from 1 before it counts no more."""
    kl: float = 0.0
    """Weight of the divergence from the reference policy (the k3 estimator of low variance); the paper's script has 0.001, its text none."""
    passes: int = 1
    """Updates from the same samples."""


DEFAULTS = Parameters()


def advantages(rewards: Sequence[float] | Array, parts: Sequence[int] | None = None) -> Array:
    """(n,) rewards of one group less their mean, in their standard deviations (+ 1e-6). All nought where the rewards are all the same. With `parts`,
    which part of the group each belongs to, less the mean of their part."""
    values = np.asarray(rewards, dtype=np.float64)
    if not len(values):
        return values
    at = np.zeros(len(values), dtype=np.int64) if parts is None else np.unique(parts, return_inverse=True)[1]
    centred = values - (np.bincount(at, weights=values) / np.bincount(at))[at]
    deviation = float(centred.std())
    if deviation < FLAT:
        return np.zeros(len(values))
    return np.asarray(centred / (deviation + EPSILON))


class Objective(NamedTuple):
    """`loss`: mean over the samples of the mean over their choices. `gradient` (n, t): of the loss with respect to the present logarithms."""

    loss: float
    gradient: Array


def objective(
    now: Array, before: Array, advantage: Array, mask: Flags, parameters: Parameters = DEFAULTS, reference: Array | None = None
) -> Objective:
    """The clipped objective, to be made small. `now`, `before`, `reference` (n, t): logarithms of the probabilities of each choice, under the
    present policy, the one that chose, and the one not to go far from. `mask` (n, t): False for padding, which has no weight. `advantage` (n,).
    A sample without any choice has no weight."""
    counts = mask.sum(axis=1)
    alive = counts > 0
    weight = np.where(mask, 1.0 / np.maximum(counts, 1)[:, None], 0.0) / max(int(alive.sum()), 1)
    ratio = np.exp(np.where(mask, now - before, 0.0))
    free, held = ratio * advantage[:, None], np.clip(ratio, 1 - parameters.clip, 1 + parameters.clip) * advantage[:, None]
    loss = -np.minimum(free, held)
    gradient = np.where(free <= held, -free, 0.0)
    if parameters.kl and reference is not None:
        apart = np.where(mask, reference - now, 0.0)
        loss = loss + parameters.kl * (np.exp(apart) - apart - 1.0)
        gradient = gradient + parameters.kl * (1.0 - np.exp(apart))
    return Objective(float((loss * weight).sum()), gradient * weight)


Choice_contra = TypeVar("Choice_contra", contravariant=True)
Choice = TypeVar("Choice")


class Trainable(Protocol[Choice_contra]):
    """A model that GRPO can train."""

    def logs(self, samples: Sequence[Choice_contra]) -> tuple[Array, Flags]:
        """(n, t) logarithms of the probabilities of the choices of each sample, and which of them are no padding."""
        ...

    def descend(self, samples: Sequence[Choice_contra], gradient: Array) -> None:
        """Change the model against a gradient (n, t) with respect to `logs(samples)`."""
        ...


@dataclass(frozen=True, slots=True)
class Sample(Generic[Choice]):
    """What was chosen at one step of one rollout, and what came of it."""

    choice: Choice
    reward: float
    group: int
    """Samples of one instance are a group."""
    part: int = 0
    """Of the group: rewards are compared within it. The paper's groups have one part."""


def update(
    model: Trainable[Choice], samples: Sequence[Sample[Choice]], parameters: Parameters = DEFAULTS, reference: Trainable[Choice] | None = None
) -> float:
    """One update from some samples; gives the loss of the first pass. Groups whose rewards are all the same are left out, and nothing happens where
    none is left."""
    groups: dict[int, list[Sample[Choice]]] = {}
    for sample in samples:
        groups.setdefault(sample.group, []).append(sample)
    choices: list[Choice] = []
    parts: list[Array] = []
    for group in groups.values():
        found = advantages([sample.reward for sample in group], [sample.part for sample in group])
        if found.any():
            choices += [sample.choice for sample in group]
            parts.append(found)
    if not choices:
        return 0.0
    advantage = np.concatenate(parts)
    before, mask = model.logs(choices)
    anchor = reference.logs(choices)[0] if reference is not None and parameters.kl else None
    first = 0.0
    for number in range(parameters.passes):
        now = before if number == 0 else model.logs(choices)[0]
        loss, gradient = objective(now, before, advantage, mask, parameters, anchor)
        first = loss if number == 0 else first
        model.descend(choices, gradient)
    return first
