"""Which blocks queries bring back: the best by their landmarks, for each query by itself or for several together."""

from __future__ import annotations

import torch
from torch import Tensor

from mnemos.activation.landmark.part import Blocks
from mnemos.activation.landmark.positions import Queries
from mnemos.activation.shadow.selection import places

EACH, TOKEN, HEAD = "each", "token", "head"
"""Each query head for each token; all heads of a token together; each query head for all tokens that are given together."""
ROUNDING = 4 * torch.finfo(torch.float32).eps
"""Scores, as a share of the largest that there could be, that rounding alone may part. In the first layer all landmarks have the same key, which was
turned there and back: without it, noise would choose."""


def pick(blocks: Blocks, queries: Queries, level: str, scaling: float) -> Tensor:
    """The blocks that queries bring back: [B, G, g or 1, t or 1, k], ascending, `ABSENT` where there are fewer. Of equal scores, the oldest."""
    scores = blocks.scores(queries)
    tolerance = torch.linalg.vector_norm(queries.states, dim=-1, keepdim=True) * (ROUNDING * blocks.largest + blocks.coarse)[:, :, None, None, None]
    if level != EACH:  # heads have scales of their own: what they share is how they divide their attention
        shares = (scores * scaling).softmax(-1)  # no number where nothing may be read
        scores = torch.where(scores > -torch.inf, shares, -torch.inf)
        over = (3,) if level == HEAD else (1, 2)
        tolerance = (tolerance * scaling).amax(over, keepdim=True)
        scores = scores.amax(over, keepdim=True)
        tolerance = tolerance * scores.amax(-1, keepdim=True).clamp_min(0)
    picked = best(scores, min(queries.layout.top, scores.shape[-1]), tolerance).expand(-1, len(blocks.heads), -1, -1, -1)
    blocks.statistics.note(blocks, picked)
    return picked


def best(scores: Tensor, count: int, tolerance: Tensor) -> Tensor:
    """The places [..., count] of the largest of [..., n], ascending, `ABSENT` where all others are −∞. What is no further than `tolerance` [..., 1]
    from the last that is taken counts as equal to it, and of equals the first are taken."""
    top = scores.topk(min(count + 1, scores.shape[-1]), -1)
    bound = top.values[..., count - 1 : count]
    if scores.shape[-1] > count and bool((top.values[..., count:] < bound - tolerance).all()):  # no two are near each other there
        return top.indices[..., :count].sort(-1).values
    above = scores > bound + tolerance
    level = (scores >= bound - tolerance) & (scores > -torch.inf) & ~above
    chosen = above | (level & (level.cumsum(-1) <= count - above.sum(-1, keepdim=True)))
    return places(chosen, count)
