"""Small models that learn one probability online, by stochastic gradient descent on the log loss: logistic regression, and two layers."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid

Rows = NDArray[np.float32]
_STEP = 32  # rows that one gradient step takes together
_MOST = 30.0  # beyond which a probability is 0 or 1
_LEAK = np.float32(0.02)


class Learner(Protocol):
    """Learns the probability that a row's label is 1."""

    def predict(self, rows: Rows) -> Rows:
        """Probabilities, shape (rows,)."""

    def learn(self, rows: Rows, labels: Rows) -> None:
        """One pass over rows in their order, `labels` of shape (rows,), 0 or 1."""

    def parameters(self) -> dict[str, Rows]:
        """What it has learnt, by name; writing into these arrays changes it."""


class Logistic:
    """Logistic regression. `rate`: of learning; 0.05 in the sheet of the method."""

    def __init__(self, width: int, rate: float = 0.05) -> None:
        if width < 1 or rate <= 0:
            raise Invalid(f"logistic regression: width {width} and rate {rate} have to be above 0")
        self.rate = rate
        self.weights = np.zeros(width, dtype=np.float32)

    def predict(self, rows: Rows) -> Rows:
        return _sigmoid(rows @ self.weights)

    def learn(self, rows: Rows, labels: Rows) -> None:
        for start in range(0, len(rows), _STEP):
            some = rows[start : start + _STEP]
            self.weights -= self.rate * ((self.predict(some) - labels[start : start + _STEP]) @ some)

    def parameters(self) -> dict[str, Rows]:
        return {"weights": self.weights}


class TwoLayers:
    """A hidden layer of leaky rectifiers before the logistic one. `rng` draws the first weights."""

    def __init__(self, width: int, rng: np.random.Generator, hidden: int = 8, rate: float = 0.05) -> None:
        if width < 1 or hidden < 1 or rate <= 0:
            raise Invalid(f"two layers: width {width}, hidden {hidden} and rate {rate} have to be above 0")
        self.rate = rate
        self.inner = rng.uniform(-0.3, 0.3, (width, hidden)).astype(np.float32)
        self.outer = rng.uniform(-0.3, 0.3, hidden).astype(np.float32)

    def predict(self, rows: Rows) -> Rows:
        return _sigmoid(_rectified(rows @ self.inner) @ self.outer)

    def learn(self, rows: Rows, labels: Rows) -> None:
        for start in range(0, len(rows), _STEP):
            some = rows[start : start + _STEP]
            before = some @ self.inner
            hidden = _rectified(before)
            wrong = _sigmoid(hidden @ self.outer) - labels[start : start + _STEP]
            back = wrong[:, None] * self.outer * np.where(before > 0, np.float32(1), _LEAK)
            self.outer -= self.rate * (wrong @ hidden)
            self.inner -= self.rate * (some.T @ back)

    def parameters(self) -> dict[str, Rows]:
        return {"inner": self.inner, "outer": self.outer}


def _rectified(values: Rows) -> Rows:
    result: Rows = np.maximum(values, _LEAK * values)
    return result


def _sigmoid(logits: Rows) -> Rows:
    result: Rows = np.float32(1) / (np.float32(1) + np.exp(-np.clip(logits, -_MOST, _MOST)))
    return result
