"""What is still known through a cache: questions asked one by one of what was read, and how many are answered."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mnemos.activation.beacon.beacons import Beacons
from mnemos.activation.beacon.windows import Windows
from mnemos.models.local.context import Settling


@dataclass(frozen=True)
class Asked:
    """Tokens of a text, and questions on it: the tokens of each, and those of its answer."""

    text: Sequence[int]
    questions: Sequence[tuple[Sequence[int], Sequence[int]]]


@dataclass(frozen=True)
class Score:
    """Of questions asked one by one of a memory, how many were answered word for word; of words, how many were right; and the loss of each word."""

    right: tuple[bool, ...]
    words: float
    losses: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        return sum(self.right) / len(self.right)

    @property
    def perplexity(self) -> float:
        return math.exp(sum(self.losses) / len(self.losses))

    def described(self) -> dict[str, float]:
        """As a card has it."""
        return {"exact": round(self.accuracy, 3), "words": round(self.words, 3), "perplexity": round(self.perplexity, 3), "n": len(self.right)}


def score(model: Any, memory: Callable[[], Any], asked: Iterable[Asked], fork: Callable[[Any], Any]) -> Score:
    """Each text is read into a new memory, and each of its questions asked of a `fork` of that, as if it were the first. An answer is right where
    each of its tokens is the likeliest after the true ones before it."""
    right, hits, losses = [], [], []
    for one in asked:
        with torch.no_grad():
            context = memory()
            model.base_model(input_ids=torch.tensor([list(one.text)]), cache=context, use_cache=True)
            if isinstance(context, Settling):
                context.settle()
            for question, answer in one.questions:
                logits = model(torch.tensor([[*question, *answer]]), cache=fork(context)).logits[0].float()
                expected, wanted = logits[len(question) - 1 : -1], torch.tensor(list(answer))
                losses += torch.nn.functional.cross_entropy(expected, wanted, reduction="none").tolist()
                same = (expected.argmax(-1) == wanted).tolist()
                hits += same
                right.append(all(same))
    return Score(tuple(right), sum(hits) / len(hits), tuple(losses))


def compressed(beacons: Beacons, windows: Windows, asked: Iterable[Asked]) -> Score:
    """The score through a compressed memory."""
    return score(beacons.model, lambda: beacons.memory(windows), asked, lambda memory: memory.fork())
