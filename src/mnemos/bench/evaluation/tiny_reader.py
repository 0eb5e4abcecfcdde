"""A tiny reader with weights and a context, trained on the spot in NumPy: enough of a language model to plant facts in either place.

A question meets two parts: a perceptron that answers from weights alone, and one head of attention that copies a value from the prompt (the
pointer–generator mixture of See et al. 2017, Get To The Point). Training on prompts whose evidence mostly lies near their ends leaves the
preference for positions that larger models have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WIDTH = 64
HIDDEN = 64
SLOTS = 8
"""Pieces that a prompt holds."""
_ENDS = np.array([0.3, 0.1, 0.06, 0.04, 0.04, 0.06, 0.1, 0.3])
"""How often evidence lies in each slot while training."""


@dataclass(frozen=True)
class Read:
    """What the reader made of one question: the answer (a value's number), its probability, the probability of each value, shape (values,), and
    the slot that it copied from, None where the weights answered."""

    value: int
    confidence: float
    chances: Floats
    slot: int | None


class TinyReader:
    """The model and its training. Questions and pieces are vectors of `WIDTH`, values are numbers below `values`."""

    def __init__(self, values: int, rng: np.random.Generator) -> None:
        self.values = values
        self._rng = rng
        self.weights: dict[str, Floats] = {
            "into": rng.normal(0, 1 / np.sqrt(WIDTH), (WIDTH, HIDDEN)),
            "bias": np.zeros(HIDDEN),
            "out": rng.normal(0, 1 / np.sqrt(HIDDEN), (HIDDEN, values)),
            "match": np.eye(WIDTH),
            "place": np.zeros(SLOTS),
            "alone": np.zeros(1),
        }

    def read(self, question: Floats, pieces: Floats, held: Sequence[int]) -> Read:
        """Answer `question` (WIDTH,) with `pieces` (n ≤ 8, WIDTH) in the prompt, in order, which state the values `held`. Fewer pieces than
        slots stand at the end, where a prompt's last words are."""
        keys, stated = np.zeros((1, SLOTS, WIDTH)), np.full((1, SLOTS), -1)
        first = SLOTS - len(held)
        if len(held):
            keys[0, first:], stated[0, first:] = pieces, held
        chances, attention, _, _ = self._forward(question[None], keys, stated)
        value, slot = int(chances[0].argmax()), int(attention[0].argmax())
        copied = slot < SLOTS and stated[0, slot] == value
        return Read(value, float(chances[0, value]), chances[0], slot - first if copied else None)

    def train(self, questions: Floats, answers: Ints, wordings: Floats, *, steps: int = 1200, batch: int = 32) -> list[float]:
        """Learn `answers` (n,) to `questions` (n, WIDTH) by weight, and, from made-up facts, to read any prompt. Gives the loss of each step.

        `wordings` (w, WIDTH) are added to a question as its wording. Made-up facts are new in every step, so that no weight can know them. Adam,
        learning rate 0.01, falling to zero.
        """
        moments = {name: (np.zeros_like(w), np.zeros_like(w)) for name, w in self.weights.items()}
        losses = []
        for step in range(steps):
            asked, keys, stated, wanted = self._batch(questions, answers, wordings, batch)
            loss, gradients = self._gradients(asked, keys, stated, wanted)
            losses.append(loss)
            rate = 0.01 * (1 - step / steps)
            for name, gradient in gradients.items():
                first, second = moments[name]
                first += 0.1 * (gradient - first)
                second += 0.001 * (gradient**2 - second)
                corrected = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
                self.weights[name] = self.weights[name] - rate * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
        return losses

    def _batch(self, questions: Floats, answers: Ints, wordings: Floats, batch: int) -> tuple[Floats, Floats, Ints, Ints]:
        """Half are asked by weight, amid a prompt about other things or none; half by prompt."""
        rng, half = self._rng, batch // 2
        known = rng.integers(0, len(questions), half)
        told = unit_vectors(rng, batch * SLOTS).reshape(batch, SLOTS, WIDTH)
        stated = rng.integers(0, self.values, (batch, SLOTS))
        slot = rng.choice(SLOTS, batch - half, p=_ENDS)
        rows = np.arange(half, batch)
        asked = np.concatenate([questions[known], told[rows, slot]]) + wordings[rng.integers(0, len(wordings), batch)]
        wanted = np.concatenate([answers[known], stated[rows, slot]])
        keys = told + wordings[rng.integers(0, len(wordings), (batch, SLOTS))]
        stated[:half][rng.random(half) < 0.5] = -1
        return asked, keys, stated, wanted

    def _forward(self, asked: Floats, keys: Floats, stated: Ints) -> tuple[Floats, Floats, Floats, Floats]:
        """(chances (n, values), attention (n, SLOTS + 1) with the weights' own share last, chances by weight, hidden)."""
        w = self.weights
        hidden = np.maximum(asked @ w["into"] + w["bias"], 0)
        by_weight = _softmax(hidden @ w["out"])
        scores = (keys * (asked @ w["match"])[:, None, :]).sum(2) + w["place"]
        scores = np.where(stated < 0, -1e9, scores)
        attention = _softmax(np.concatenate([scores, np.broadcast_to(w["alone"], (len(asked), 1))], axis=1))
        chances = attention[:, -1:] * by_weight
        rows, slots = np.nonzero(stated >= 0)
        np.add.at(chances, (rows, stated[rows, slots]), attention[rows, slots])
        return chances, attention, by_weight, hidden

    def _gradients(self, asked: Floats, keys: Floats, stated: Ints, wanted: Ints) -> tuple[float, dict[str, Floats]]:
        """Mean negative log likelihood, and its derivative by every weight."""
        w, n = self.weights, len(asked)
        rows = np.arange(n)
        chances, attention, by_weight, hidden = self._forward(asked, keys, stated)
        likely = np.maximum(chances[rows, wanted], 1e-12)
        own = by_weight[rows, wanted]
        by_attention = np.concatenate([stated == wanted[:, None], own[:, None]], axis=1) / -likely[:, None]
        by_score = attention * (by_attention - (attention * by_attention).sum(1, keepdims=True)) / n
        by_logit = by_weight * (attention[:, -1] * own / likely / n)[:, None]
        by_logit[rows, wanted] -= attention[:, -1] * own / likely / n
        by_hidden = (by_logit @ w["out"].T) * (hidden > 0)
        gradients = {
            "out": hidden.T @ by_logit,
            "into": asked.T @ by_hidden,
            "bias": by_hidden.sum(0),
            "match": asked.T @ (by_score[:, :-1, None] * keys).sum(1),
            "place": by_score[:, :-1].sum(0),
            "alone": by_score[:, -1:].sum(0),
        }
        return float(-np.log(likely).mean()), gradients


def _softmax(scores: Floats) -> Floats:
    shifted = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True))


def unit_vectors(rng: np.random.Generator, n: int) -> Floats:
    """Random unit vectors, shape (n, WIDTH)."""
    vectors = rng.normal(size=(n, WIDTH))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
