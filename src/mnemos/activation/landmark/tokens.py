"""Where landmarks stand among tokens: put in after every block, left out of what anybody reads, and never sampled.

A *grid* is where a sequence's blocks begin. It begins with the sequence, not with a turn: of a conversation, each piece continues the last block of
the pieces before it, so that what was cached of them stays right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor

from mnemos.base.errors import Invalid

SILENT = "landmark_silent"
"""What the configuration says of a model whose landmarks have not learnt to say what comes next: the word before one says it."""


@dataclass
class Grid:
    """The landmarks of one sequence that grows: after every `block` tokens one of id `token`; `filled` tokens stand in the last block by now."""

    block: int
    token: int
    filled: int = 0

    def __post_init__(self) -> None:
        if self.block < 1 or not 0 <= self.filled <= self.block:
            raise Invalid(f"a grid of {self.block} tokens a block, {self.filled} of them filled: a block has at least one, and no more than that")

    @property
    def due(self) -> bool:
        """Whether the last block is full, so that a landmark comes next."""
        return self.filled == self.block

    def insert(self, ids: Iterable[int]) -> list[int]:
        """The ids of the next tokens with landmarks among them, each as soon as its block is full. Raises `Invalid` where a landmark is among
        `ids`."""
        out: list[int] = []
        for one in ids:
            if one == self.token:
                raise Invalid(f"id {one} is the landmark, which no text has: strip it, or take another id for the landmark")
            if self.due:  # of a grid that was made so
                out.append(self.token)
                self.filled = 0
            out.append(one)
            self.filled += 1
            if self.due:
                out.append(self.token)
                self.filled = 0
        return out

    def follow(self, ids: Iterable[int]) -> None:
        """Take note of tokens that already hold their landmarks. Raises `Invalid` where one is missing or stands elsewhere."""
        for one in ids:
            if (one == self.token) != self.due:
                raise Invalid(f"after {self.filled} tokens of a block of {self.block} comes {'no ' if self.due else 'a '}landmark: another grid")
            self.filled = 0 if one == self.token else self.filled + 1

    def fork(self) -> Grid:
        """One that goes on by itself from here."""
        return Grid(self.block, self.token, self.filled)


def insert(ids: Iterable[int], block: int, token: int) -> list[int]:
    """A whole sequence with its landmarks."""
    return Grid(block, token).insert(ids)


def strip(ids: Iterable[int], token: int) -> list[int]:
    """What anybody reads of a sequence: all but its landmarks."""
    return [one for one in ids if one != token]


def length_with(tokens: int, block: int, filled: int = 0) -> int:
    """How long so many more tokens are with their landmarks, behind `filled` ones of a block. What `max_new_tokens` has to be for them."""
    return tokens + (filled + tokens) // block


def place_of(token: int, block: int) -> int:
    """Where the token of this number stands in the sequence with landmarks; both from 0."""
    return token + token // block


@dataclass(frozen=True)
class Rows:
    """Sequences side by side: `ids`, `attention_mask` (1: no padding) and `landmarks` (bool), all (rows, length), as the model takes them by these
    names; padding stands before."""

    ids: Tensor
    attention_mask: Tensor
    landmarks: Tensor

    def inputs(self) -> dict[str, Tensor]:
        """What to call the model with; positions begin with each row's first token."""
        positions = (self.attention_mask.cumsum(1) - 1).clamp_min(0)
        return {"input_ids": self.ids, "attention_mask": self.attention_mask, "landmarks": self.landmarks, "position_ids": positions}


def batch(sequences: Sequence[Sequence[int]], block: int, token: int, pad: int, device: Any = None) -> Rows:
    """Sequences without landmarks as rows, each with a grid of its own. Raises `Invalid` for no sequence, or an empty one."""
    rows = [insert(sequence, block, token) for sequence in sequences]
    if not rows or not all(rows):
        raise Invalid("there is no token to read: give at least one sequence, each with at least one token")
    longest = max(map(len, rows))
    ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device)
    return Rows(ids, mask, (ids == token) & (mask == 1))


def in_training(ids: Tensor, block: int, token: int, weights: Tensor | None = None, positions: Tensor | None = None) -> tuple[Tensor, ...]:
    """Whole rows (rows, length), padding at the end, with the landmarks of the regular grid: ids, and weights and positions where they are given.

    Landmarks weigh 0, and stand one place behind the token before them; every landmark moves what follows by a place.
    """
    length = ids.shape[1]
    places = torch.arange(length, device=ids.device)
    places = places + places // block
    longer = length_with(length, block)
    out = [ids.new_full((len(ids), longer), token)]
    out[0][:, places] = ids
    if weights is not None:
        out.append(weights.new_zeros(len(ids), longer))
        out[-1][:, places] = weights
    if positions is not None:
        moved = positions + torch.arange(length, device=ids.device) // block
        out.append(moved.new_zeros(len(ids), longer))
        out[-1][:, places] = moved
        marks = torch.arange(block, longer, block + 1, device=ids.device)
        out[-1][:, marks] = out[-1][:, marks - 1] + 1
    return tuple(out)


class LandmarkProcessor(LogitsProcessor):
    """For `generate`: a landmark where a row's block is full, and nowhere else. Strip what comes out (`strip`)."""

    def __init__(self, block: int, token: int, pad: int | None = None) -> None:
        self.block, self.token, self.pad = block, token, pad

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """`scores` (rows, words) with all but the landmark, or the landmark, at −inf."""
        marked = input_ids == self.token
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        last = torch.where(marked, places, -1).amax(1)
        begun = torch.zeros_like(last) if self.pad is None else (input_ids == self.pad).int().cumprod(1).sum(1)  # padding stands before
        due = places[-1] - torch.maximum(last, begun - 1) == self.block
        out = scores.clone()
        out[:, self.token] = -torch.inf
        out[due] = -torch.inf
        out[due, self.token] = 0.0
        return out
