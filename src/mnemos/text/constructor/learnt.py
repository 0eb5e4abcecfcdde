"""The learnt policy: a small network chooses what to do with each statement of a chunk. It was trained by `mnemos.bench.constructor_training`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from mnemos.base.errors import Corrupt
from mnemos.text.constructor.acting import Action, decide_each
from mnemos.text.constructor.candidates import Candidate
from mnemos.text.constructor.features import NAMES, SIZE, Floats, describe
from mnemos.text.constructor.grpo import Array, Flags
from mnemos.text.constructor.matching import Comparer, Match, Standing
from mnemos.text.constructor.memory import Memory
from mnemos.text.constructor.network import Adam, Network
from mnemos.text.constructor.operations import Operation
from mnemos.text.constructor.policy import Chunk, View

HIDDEN = 48
PRIOR = np.array([0.5, 1.0, 1.0, 0.0, -1.0, -0.5, 0.0, 0.0])
"""Logits of the actions before anything is learnt: like somebody who knows the tools and not the task, as a language model does. That an update or a
deletion needs an item is part of the tools: see `untrained`."""
_NEEDS_ITEM = 2.0
WEIGHTS = "learnt.json"
_ANEW = "train them anew with `python -m mnemos.bench.constructor_training`"


class LearntPolicy:
    """What it decides depends on nothing but its weights, the view and the chunk."""

    name = "learnt"
    by = "learnt"

    def __init__(self, network: Network | None = None, compared: Comparer | None = None) -> None:
        self.network = shipped() if network is None else network
        self.compared = compared

    def decide(self, view: View, chunk: Chunk) -> list[Operation]:
        return decide_each(view.memory, chunk.candidates, self._choose, self.compared)

    def _choose(self, memory: Memory, candidate: Candidate, found: Match) -> int:
        return int(np.argmax(self.network.logs(describe(memory, candidate, found)[None])))


def untrained(rng: np.random.Generator) -> Network:
    """A network as training begins with it."""
    network = Network.drawn(rng, SIZE, HIDDEN, len(Action), PRIOR)
    for standing in Standing:
        row = network.weights["w3"][NAMES.index(f"standing: {standing.name.lower()}")]
        if standing is Standing.NEW:
            row[[Action.UPDATE, Action.DELETE]] = -_NEEDS_ITEM, -_NEEDS_ITEM / 2
        else:
            row[Action.UPDATE] = _NEEDS_ITEM
    return network


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen at one step: features (c, SIZE) of its statements, and their actions (c,)."""

    features: Floats
    actions: NDArray[np.int64]


class Learner:
    """A network as GRPO trains it."""

    def __init__(self, network: Network, rate: float = 1e-2, entropy: float = 0.0) -> None:
        self.network, self.entropy = network, entropy
        self._adam = Adam(rate)

    def set_progress(self, share: float, rate: float, entropy: float) -> None:
        """Where training stands, 0..1: the rate falls to a tenth, the entropy's weight to nought."""
        self._adam.rate, self.entropy = rate * (1.0 - 0.9 * share), entropy * (1.0 - share)

    def logs(self, samples: Sequence[Choice]) -> tuple[Array, Flags]:
        mask = _mask(samples)
        out = np.zeros(mask.shape)
        if mask.any():
            features, actions = _flat(samples)
            out[mask] = self.network.logs(features)[np.arange(len(actions)), actions]
        return out, mask

    def descend(self, samples: Sequence[Choice], gradient: Array) -> None:
        features, actions = _flat(samples)
        if len(actions):
            weight = self.entropy / len(actions)
            self._adam.step(self.network.weights, self.network.gradient(features, actions, gradient[_mask(samples)], weight))


def _mask(samples: Sequence[Choice]) -> Flags:
    counts = np.array([len(sample.actions) for sample in samples])
    return np.asarray(np.arange(max(counts.max(initial=0), 1)) < counts[:, None])


def _flat(samples: Sequence[Choice]) -> tuple[Floats, NDArray[np.int64]]:
    return np.concatenate([sample.features for sample in samples]), np.concatenate([sample.actions for sample in samples])


# ---- the file -------------------------------------------------------------------------------------------------------


def as_file(network: Network, card: Mapping[str, Any]) -> bytes:
    """Weights and card as one JSON object."""
    weights = {name: [[round(float(x), 5) for x in row] for row in np.atleast_2d(array)] for name, array in network.weights.items()}
    return orjson.dumps({"card": card, "features": NAMES, "actions": [action.name for action in Action], "weights": weights})


def from_file(data: bytes) -> Network:
    """The network of a file. Raises `Corrupt` where it is none, or of other features or actions."""
    try:
        told = orjson.loads(data)
        arrays = {name: np.array(rows, dtype=np.float64) for name, rows in told["weights"].items()}
        same = tuple(told["features"]) == NAMES and told["actions"] == [action.name for action in Action]
        network = Network({"w1": arrays["w1"], "b1": arrays["b1"][0], "w2": arrays["w2"], "b2": arrays["b2"][0], "w3": arrays["w3"]})
        fits = network.weights["w1"].shape[0] == SIZE and network.weights["w2"].shape[1] == len(Action)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise Corrupt(f"the weights of the learnt policy cannot be read ({error}); {_ANEW}") from None
    if not same or not fits:
        raise Corrupt(f"the weights of the learnt policy are of other features or actions; {_ANEW}")
    return network


@lru_cache(maxsize=1)
def shipped() -> Network:
    """The network that comes with Mnemos."""
    return from_file(resources.files(__package__).joinpath(WEIGHTS).read_bytes())


def card() -> dict[str, Any]:
    """What the shipped network was trained on, how, and how well it does."""
    told: dict[str, Any] = orjson.loads(resources.files(__package__).joinpath(WEIGHTS).read_bytes())["card"]
    return told
