"""Codes that are chosen along a trellis: twice as many levels for the same bits (Marcellin, Fischer, Trellis coded quantization of memoryless and
Gauss-Markov sources, 1990; the code of four states of Ungerboeck, 1982).

Of 2^(bits + 1) levels a number may have every other one, the even or the odd; which of the two, the numbers before it say, by the lowest bits of
their codes. A number gets none of its own level's neighbours, but a path through 32 numbers comes nearer to all of them together than each number
by itself with half of the levels, and no bit is added. Where a number stands in its group is all that has to be known to read it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

AT_ONCE = 1 << 16
"""Groups whose paths are followed at a time, with 8 bytes of notes for each number."""


def top(bits: int) -> int:
    """The highest level."""
    return int(2 ** (bits + 1) - 1)


def levels(codes: Tensor) -> Tensor:
    """int32 [..., n] as `codes_of` gives them → the levels, int32 [..., n]: with u the lowest bit of a code, and u′, u″ those of the two numbers
    before it (0 before the first), 4 · (code // 2) + 2 · (u xor u″) + u′."""
    lowest = codes & 1
    return ((codes >> 1) << 2) + ((lowest ^ _before(lowest, 2)) << 1) + _before(lowest, 1)


def codes_of(numbers: Tensor, bits: int) -> Tensor:
    """float32 [..., n], in steps of levels → codes, int32 [..., n], each under 2^bits, whose levels are nearest to the numbers: of all paths one with
    the least sum of squares (Viterbi, 1967)."""
    flat = numbers.reshape(-1, numbers.shape[-1])
    return torch.cat([_path(some, bits) for some in flat.split(AT_ONCE)]).reshape(numbers.shape)


def _before(lowest: Tensor, count: int) -> Tensor:
    return pad(lowest, (count, 0))[..., : lowest.shape[-1]]


def _path(numbers: Tensor, bits: int) -> Tensor:
    """[N, n] → [N, n]. A state is 2u′ + u″, and is reached in two ways, which differ in what u″ was before."""
    highest, device = 2 ** (bits - 1) - 1, numbers.device
    new, before = torch.arange(4, device=device) >> 1, torch.arange(4, device=device) & 1  # u and u′ of the number that leads to each state
    last = torch.arange(2, device=device)  # u″
    offsets = (2 * (new[:, None] ^ last) + before[:, None]).to(numbers.dtype).unsqueeze(-1)  # [states, ways, 1]
    cost = torch.full((4, len(numbers)), torch.inf, dtype=numbers.dtype, device=device)
    cost[0] = 0
    ways, uppers = [], []
    for its in numbers.T.contiguous():
        upper = ((its - offsets) / 4).round_().clamp_(0, highest)  # [states, ways, N]
        lost = (upper * 4).add_(offsets).sub_(its).square_().add_(cost.view(2, 2, -1).repeat(2, 1, 1))
        cost, way = lost.min(1)
        ways.append(way.to(torch.uint8))
        uppers.append(torch.where(way > 0, upper[:, 1], upper[:, 0]).to(torch.uint8))
    state, codes = cost.argmin(0, keepdim=True), []
    for way, upper in zip(reversed(ways), reversed(uppers), strict=True):
        codes.append(upper.gather(0, state) * 2 + (state >> 1))
        state = 2 * (state & 1) + way.gather(0, state)
    return torch.cat(codes[::-1]).T.to(torch.int32)
