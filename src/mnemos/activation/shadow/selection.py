"""Picking chunks: the best k of a row, ties to the oldest, in the order in which they stand, so that the same scores give the same bits."""

from __future__ import annotations

import torch
from torch import Tensor

ABSENT = 2**31 - 1
"""Stands for a chunk where there is none; larger than any."""


def best(scores: Tensor, counts: Tensor) -> Tensor:
    """Scores [..., n], −∞ for what cannot be picked, and how many to pick [...] → True for those, [..., n]. Of equal scores, the first."""
    most = min(int(counts.max()), scores.shape[-1])
    if most <= 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    last = (counts.clamp(1, most) - 1).unsqueeze(-1)
    bound = scores.topk(most, -1).values.gather(-1, last.expand(*scores.shape[:-1], 1))
    above, level = scores > bound, scores == bound
    room = counts.unsqueeze(-1) - above.sum(-1, keepdim=True)
    return (above | (level & (level.cumsum(-1) <= room))) & (scores > -torch.inf) & (counts > 0).unsqueeze(-1)


def best_places(scores: Tensor, counts: Tensor) -> Tensor:
    """What `places` gives of what is `best`, in fewer steps where no two scores are equal at the bound."""
    most = min(int(counts.max()), scores.shape[-1])
    top = scores.topk(most, -1, sorted=False)
    bound = top.values.amin(-1, keepdim=True)
    if most == int(counts.min()) and bool((((scores >= bound).sum(-1, keepdim=True) == most) & (bound > -torch.inf)).all()):
        return top.indices.sort(-1).values
    return places(best(scores, counts), most)


def places(mask: Tensor, most: int) -> Tensor:
    """True in [..., n] → the places [..., most], ascending, `ABSENT` where there are fewer than `most`."""
    n = mask.shape[-1]
    slots = torch.where(mask, mask.cumsum(-1) - 1, most).clamp_max(most)
    out = mask.new_full((*mask.shape[:-1], most + 1), ABSENT, dtype=torch.long)
    out.scatter_(-1, slots, torch.arange(n, device=mask.device).expand_as(slots))
    return out[..., :most].contiguous()
