"""A small network that chooses one of some actions, its logarithms of probabilities, their gradients, and Adam; in NumPy alone, so that a policy
can be used and trained without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Actions = NDArray[np.int64]


SHAPES = ("w1", "b1", "w2", "b2", "w3")
"""The weights: (d, h), (h,), (h, a), (a,), (d, a)."""


class Network:
    """Features (n, d) → logits (n, a): a straight way, and one through h units of tanh. What one feature says for itself is learnt on the first in
    few updates, and what only several say together on the second."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self.weights: dict[str, Array] = {name: np.asarray(weights[name], dtype=np.float64) for name in SHAPES}

    @classmethod
    def drawn(cls, rng: np.random.Generator, inputs: int, hidden: int, actions: int, bias: Array | None = None) -> Network:
        """A network that has learnt nothing: its choice hangs on `bias` (a,), logits, and hardly on the features."""
        return cls({
            "w1": rng.standard_normal((inputs, hidden)) / np.sqrt(inputs),
            "b1": np.zeros(hidden),
            "w2": 0.1 * rng.standard_normal((hidden, actions)) / np.sqrt(hidden),
            "b2": np.zeros(actions) if bias is None else bias,
            "w3": np.zeros((inputs, actions)),
        })  # fmt: skip

    @property
    def size(self) -> int:
        """How many parameters there are."""
        return sum(array.size for array in self.weights.values())

    def copy(self) -> Network:
        return Network({name: array.copy() for name, array in self.weights.items()})

    def logs(self, features: NDArray[np.floating]) -> Array:
        """(n, a) logarithms of the probabilities of each action."""
        return _log_softmax(self._logits(features)[1])

    def gradient(self, features: NDArray[np.floating], actions: Actions, coefficients: Array, entropy: float = 0.0) -> dict[str, Array]:
        """Of Σ coefficients · log p(action) − entropy · Σ entropy of the choice, with respect to each weight. `coefficients` (n,)."""
        x = np.asarray(features, dtype=np.float64)
        h, logits = self._logits(x)
        logs = _log_softmax(logits)
        p = np.exp(logs)
        out = -coefficients[:, None] * p
        out[np.arange(len(x)), actions] += coefficients
        if entropy:
            spread = -(p * logs).sum(axis=1, keepdims=True)
            out += entropy * p * (logs + spread)
        inner = (out @ self.weights["w2"].T) * (1.0 - h**2)
        return {"w1": x.T @ inner, "b1": inner.sum(axis=0), "w2": h.T @ out, "b2": out.sum(axis=0), "w3": x.T @ out}

    def _logits(self, features: NDArray[np.floating]) -> tuple[Array, Array]:
        w = self.weights
        x = np.asarray(features, dtype=np.float64)
        h = np.tanh(x @ w["w1"] + w["b1"])
        return h, h @ w["w2"] + x @ w["w3"] + w["b2"]


class Adam:
    """Kingma and Ba, Adam, arXiv 1412.6980, algorithm 1, with gradients cut to a length."""

    def __init__(self, rate: float = 1e-2, longest: float = 1.0) -> None:
        self.rate, self.longest = rate, longest
        self._first: dict[str, Array] = {}
        self._second: dict[str, Array] = {}
        self._steps = 0

    def step(self, weights: dict[str, Array], gradient: Mapping[str, Array]) -> None:
        """Go down the gradient; a gradient of nought changes nothing, whatever went before."""
        length = float(np.sqrt(sum((part**2).sum() for part in gradient.values())))
        if length == 0.0:
            return
        shrunk = min(1.0, self.longest / length)
        self._steps += 1
        for name, part in gradient.items():
            part = part * shrunk
            first = self._first[name] = 0.9 * self._first.get(name, 0.0) + 0.1 * part
            second = self._second[name] = 0.999 * self._second.get(name, 0.0) + 0.001 * part**2
            scaled = first / (1 - 0.9**self._steps)
            weights[name] = weights[name] - self.rate * scaled / (np.sqrt(second / (1 - 0.999**self._steps)) + 1e-8)


def _log_softmax(logits: Array) -> Array:
    top = logits - logits.max(axis=1, keepdims=True)
    logs: Array = top - np.log(np.exp(top).sum(axis=1, keepdims=True))
    return logs
