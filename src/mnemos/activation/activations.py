"""When tokens were activated, of all heads at once: the last step, the longest gap between two, and steps that are noted by a bit and counted seldom.

The scores are those of `mnemos.base.recurrence`; `observe(ids, t)` is `activate` for tokens, whose ids are their places.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mnemos.base import recurrence


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
                      patience: float = recurrence.PATIENCE) -> Tensor:  # fmt: skip
    """The score of each token [...] (`mnemos.base.recurrence.scores`), float32."""
    return recurrence.scores(torch, (step - last).float(), gap.float(), interval, age, patience)  # type: ignore[no-any-return]
