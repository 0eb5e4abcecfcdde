"""How often a model answers a task of the compact language exactly."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mnemos.base.errors import Invalid
from mnemos.models.reference import language, tasks


@dataclass(frozen=True)
class Score:
    """Of `asked` questions, `right` were answered word for word and `last` in the last word; `words` is the share of right words in all answers.

    `by_turn` is the share of questions answered word for word, turn by turn.
    """

    asked: int
    right: int
    last: int
    words: float
    by_turn: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        return self.right / self.asked

    @property
    def last_accuracy(self) -> float:
        """Where the last word before `<end>` is the result (chain, choose): its share of right ones."""
        return self.last / self.asked


def score(model: Any, sessions: Iterable[tasks.Session]) -> Score:
    """Score a model on sessions, one forward pass each, with the true answers of earlier turns in the history.

    An answer is right where each of its words is the most likely one after the true words before it: greedy decoding then gives exactly this answer.
    Raises `Invalid` where there is no session.
    """
    right = last = asked = words = found = 0
    turns: list[list[bool]] = []
    for session in sessions:
        ids = language.encode(session.words())
        with torch.no_grad():
            guessed = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[0].argmax(-1).tolist()
        at = len(session.context)
        for number, turn in enumerate(session.turns):
            begin = at + len(turn.question)
            at = begin + len(turn.answer)
            same = [guess == word for guess, word in zip(guessed[begin - 1 : at - 1], ids[begin:at], strict=True)]
            asked += 1
            right += all(same)
            last += same[-2]
            words += len(same)
            found += sum(same)
            if number == len(turns):
                turns.append([])
            turns[number].append(all(same))
    if not asked:
        raise Invalid("there is no session to score: give at least one")
    return Score(asked, right, last, found / words, tuple(sum(turn) / len(turn) for turn in turns))


def accuracy(model: Any, name: str, length: int, turns: int, sessions: int, seed: int = 0) -> Score:
    """The score on `sessions` held-out sessions of a task (no seed of which training uses: its seeds are 62-bit numbers)."""
    return score(model, (tasks.make(name, length, turns, f"held out {seed} {number}") for number in range(sessions)))


def perplexity(model: Any, words: Sequence[str], length: int, windows: int) -> float:
    """exp of the mean loss a word (a piece) over windows of a text, each `length` words behind `<s>`."""
    total = 0.0
    for number in range(windows):
        piece = words[number * (length - 1) : (number + 1) * (length - 1)]
        ids = torch.tensor([language.encode([language.START, *piece])], device=model.device)
        with torch.no_grad():
            total += float(model(input_ids=ids, labels=ids, use_cache=False).loss)
    return math.exp(total / windows)
