"""When tokens were activated, of all heads at once: the last step, the longest gap between two, and steps that are noted by a bit and counted seldom.

The scores are those of `mnemos.base.recurrence`; `observe(ids, t)` is `activate` for tokens, whose ids are their places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mnemos.activation.layer import MemoryLayer
from mnemos.activation.parts import Part
from mnemos.activation.policy import Observes
from mnemos.activation.view import View
from mnemos.base import recurrence
from mnemos.base.errors import Invalid
from mnemos.base.recurrence import PATIENCE

LAST, GAP = "lazy.last", "lazy.gap"
"""Marks, int32: the step of the last activation (0: none was counted since the token came), and the longest gap between two."""
UNCOUNTED, FROM, STEPS, MOST = "lazy.uncounted", "lazy.from", "lazy.steps", 31
"""The mark, int32, whose bit i is the activation in the i-th of the steps that are not counted yet; notes that say which is the first of them and how
many there are, `MOST` at most. To note a bit in each step and to count seldom takes half the time of counting in each step."""
FEW = 4
"""Steps that are counted sooner one by one than at once."""
LONGEST = 1024
"""A gap counts as no longer: eight windows of 128, so that one activation by accident does not hold a token for ever."""
THRESHOLD, CALLS, CALLED = "lazy.threshold", "lazy.calls", "lazy.called"
"""Notes, where the threshold is found out: what it is [B, G, 1], activations [B, G, 1] since it was last looked at, and in how many steps."""
PUT_OFF = 1 / 3
"""A score between those of what is due, which are larger than 1 / 2, and of what never came back in two steps or more."""
LOOKED_AT, FACTORS, HIGHEST = 16, (0.25, 8.0), 0.5
"""The threshold is looked at after so many steps or more; how far it moves at a time; and the most that it becomes."""
MAX, MEAN = "max", "mean"
END, ATTENTION = "end", "attention"


def begun(lasts: Sequence[Tensor], first: int, steps: int, later: int = 0) -> None:
    """Sets, in place, when what is new was activated for the first time: the tokens of `steps` steps from `first` on when they came, the others, of a
    prompt, in the first step. The last `later` tokens, of another prompt, which no step has seen, are left out."""
    *others, tail = lasts
    tail = tail[..., : tail.shape[-1] - later]
    for last in (*others, tail):
        last.masked_fill_(last == 0, first)
    tail[..., -steps:] = torch.arange(first, first + steps, dtype=torch.int32, device=tail.device)


def counted(last: Tensor, gap: Tensor, bits: Tensor, first: int) -> None:
    """`activate` for all steps from `first` on at once, in place, by the bits [B, h, n] noted in them: for each token the way from its last
    activation to the first bit counts, and the longest run of steps without one between two bits."""
    some, lowest = bits != 0, bits & -bits
    newest = torch.frexp(bits.double()).exponent.sub_(1).clamp_min_(0)
    highest = torch.bitwise_left_shift(torch.ones_like(bits), newest)
    reached = (torch.frexp(lowest.double()).exponent + (first - 1)).sub_(last).mul_(some)
    between = ~bits & (highest - 1) & -lowest
    inner = (longest_run(between) + 1).mul_((lowest != highest) & some)
    torch.maximum(gap, torch.maximum(reached, inner), out=gap)
    torch.where(some, newest.add_(first), last, out=last)


def ones(bits: Tensor) -> Tensor:
    """How many bits of each number are set; numbers are not negative, of int32 (Warren, Hacker's Delight, section 5-1)."""
    pairs = bits - ((bits >> 1) & 0x55555555)
    fours = (pairs & 0x33333333) + ((pairs >> 2) & 0x33333333)
    return (((fours + (fours >> 4)) & 0x0F0F0F0F) * 0x01010101) >> 24


def longest_run(bits: Tensor) -> Tensor:
    """Of each number, how many set bits stand side by side at most; numbers are not negative, of int32."""
    shorter = [bits]  # what is left where a bit stays if so many from it on are set: 1, 2, 4, 8, 16
    for power in range(4):
        shorter.append(shorter[-1] & (shorter[-1] >> (1 << power)))
    length, left = torch.zeros_like(bits), torch.full_like(bits, -1)
    for power in reversed(range(5)):
        longer = left & (shorter[power] >> length)
        there = longer != 0
        length.add_(there, alpha=1 << power)
        left = torch.where(there, longer, left)
    return length


def activate(last: Tensor, gap: Tensor, attention: Tensor, threshold: float | Tensor, step: int) -> None:
    """Notes, in place, which tokens [B, h, n] were attended to above the threshold in this step. A new token's `last` has to be this step already."""
    since = (step - last).mul_(attention > threshold)
    torch.maximum(gap, since, out=gap)
    last.add_(since)


def recurrence_scores(last: Tensor, gap: Tensor, step: int, interval: bool = True, age: bool = True,
                      patience: float = PATIENCE) -> Tensor:  # fmt: skip
    """The score of each token [...] (`mnemos.base.recurrence.scores`), float32."""
    return recurrence.scores(torch, (step - last).float(), gap.float(), interval, age, patience)


def put_off(scores: Tensor, last: Tensor, gap: Tensor, step: int, ahead: int, margin: float, eager: bool = False,
            patience: float = PATIENCE) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The scores of tokens where what goes comes back in time, and which of them are expected no sooner than in `ahead` steps. Nobody misses these
    until then: they are worth less than what is due sooner and, where that is `eager`, than anything; the later, the less."""
    waits = recurrence.returns(last, gap, margin)[0] - step
    later = recurrence.is_due(torch, step - last, gap, patience) & (waits > ahead)
    return torch.where(later, (-1 if eager else PUT_OFF) - waits / 2**16, scores), later


@dataclass(frozen=True)
class Recurrence:
    """Ranks by activations. `threshold` is of attention; None: one for each head, which begins as `share` of what each stored token would get of an
    even attention and is moved until about one token a step is activated.

    `heads`: of query heads that share a key, the largest attention counts ("max", the paper's default) or the mean of all ("mean"). `prompt`: a
    prompt's tokens count as activated when it ended ("end"), or when its last `Window.query_window` queries activated them ("attention"), which are
    taken as if they were steps; what none of these did, with the first of them."""

    threshold: float | None = None
    share: float = 0.75
    heads: str = MAX
    prompt: str = END
    interval: bool = True
    age: bool = True
    longest: int = LONGEST
    patience: float = PATIENCE
    name = "lazyeviction"
    query_window = 0
    observes = Observes.DECODING
    query_aware = False

    def __post_init__(self) -> None:
        if self.heads not in (MAX, MEAN) or self.prompt not in (END, ATTENTION):
            raise Invalid(f"lazyeviction: heads is {MAX!r} or {MEAN!r}, not {self.heads!r}; prompt is {END!r} or {ATTENTION!r}, not {self.prompt!r}")

    def observe(self, layer: MemoryLayer, pieces: Sequence[Part], weights: Sequence[Tensor]) -> None:
        """Takes note of what the newest token attended to."""
        if not all(UNCOUNTED in piece.marks for piece in pieces):
            for name in (LAST, GAP, UNCOUNTED):
                for piece, mark in zip(pieces, layer.marked(name, torch.int32), strict=True):
                    piece.marks[name] = mark
        notes, steps = layer.notes, layer.notes.get(STEPS, 0)
        if not steps:
            notes[FROM] = layer.seen
        for piece, paid in zip(pieces, weights, strict=True):
            piece.marks[UNCOUNTED].add_(self.active(layer, piece, paid), alpha=1 << steps)
        notes[STEPS] = steps + 1
        if steps + 1 == MOST:
            self.count(layer)

    def active(self, layer: MemoryLayer, piece: Part, paid: Tensor) -> Tensor:
        """[B, h, n]: which tokens of a piece the newest one, which paid it [B, h, g, 1, n] attention, activates."""
        return self.of_group(paid[..., -1, :]) > self.least(layer, piece)

    def of_group(self, paid: Tensor) -> Tensor:
        """[B, h, g, …] → [B, h, …]: what counts of the attention of query heads that share a key."""
        return paid.amax(2) if self.heads == MAX else paid.mean(2)

    def begin(self, layer: MemoryLayer, new: int) -> None:
        """The newest `new` tokens, all in the tail, are of a prompt: where its last queries say when they were activated, that is noted."""
        view = layer.view()
        if self.prompt == END or not new or view.queries is None:
            return
        paid = self.of_group(view.window_attention())[..., -new:]  # [B, G, w, n]
        last, gap = (layer.marked(name, torch.int32)[-1][..., -new:] for name in (LAST, GAP))
        first = layer.seen - paid.shape[2]
        last.copy_(torch.arange(layer.seen - new, layer.seen, device=last.device).clamp_min(first))
        least = self.least(layer, layer.tail.part())
        for number, row in enumerate(paid.unbind(2)):
            activate(last, gap, row, least, first + number)

    def count(self, layer: MemoryLayer) -> None:
        """Counts the steps that were only noted."""
        if steps := layer.notes.get(STEPS, 0):
            first = layer.notes[FROM]
            lasts, gaps, noted = (layer.marked(name, torch.int32) for name in (LAST, GAP, UNCOUNTED))
            begun(lasts, first, steps, max(0, layer.seen - first - steps))
            if THRESHOLD in layer.notes:
                self._look(layer, [ones(bits).sum(-1, keepdim=True) for bits in noted], steps)
            for last, gap, bits in zip(lasts, gaps, noted, strict=True):
                if steps > FEW:
                    counted(last, gap, bits, first)
                else:
                    for number in range(steps):
                        activate(last, gap, bits & (1 << number), 0, first + number)
                bits.zero_()
            layer.notes[STEPS] = 0

    def least(self, layer: MemoryLayer, piece: Part) -> float | Tensor:
        """Attention above which a token is active, [B, h, 1] where it is found out."""
        if self.threshold is not None:
            return self.threshold
        if THRESHOLD not in layer.notes:
            layer.notes[THRESHOLD] = (self.share / layer.held_tokens()).unsqueeze(-1)
            layer.notes[CALLS], layer.notes[CALLED] = torch.zeros_like(layer.notes[THRESHOLD]), 0
        found: Tensor = layer.notes[THRESHOLD]
        return found if len(piece.heads) == found.shape[1] else found[:, list(piece.heads)]

    def _look(self, layer: MemoryLayer, calls: Sequence[Tensor], steps: int) -> None:
        """Moves the threshold where there were less than half an activation a step, or more than two."""
        notes = layer.notes
        for piece, its in zip(layer.pieces(), calls, strict=True):
            notes[CALLS][:, list(piece.heads)] += its
        notes[CALLED] += steps
        if notes[CALLED] >= LOOKED_AT:
            rate = notes[CALLS] / notes[CALLED]
            moved = (notes[THRESHOLD] * rate.clamp(*FACTORS)).clamp_max(HIGHEST)
            notes[THRESHOLD] = torch.where((rate < 0.5) | (rate > 2), moved, notes[THRESHOLD])
            notes[CALLS], notes[CALLED] = torch.zeros_like(rate), 0

    def score(self, view: View) -> Tensor:
        if LAST not in view.marks:  # nothing was generated yet: the newer, the better
            return -view.ranks.float()
        last, gap, notes = view.marks[LAST], view.marks[GAP], view.layer.notes
        if steps := notes.get(STEPS, 0):
            last, gap = last.clone(), gap.clone()
            begun([last], notes[FROM], steps, max(0, view.layer.seen - notes[FROM] - steps))
            counted(last, gap, view.marks[UNCOUNTED], notes[FROM])
        return recurrence_scores(last, gap.clamp_max(self.longest), view.layer.seen, self.interval, self.age, self.patience)
