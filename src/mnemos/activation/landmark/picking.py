"""Which blocks queries bring back: the best by their landmarks, for each query by itself or for several together."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from mnemos.activation.landmark.part import Blocks
from mnemos.activation.landmark.positions import Queries
from mnemos.activation.shadow.selection import ABSENT, places

EACH, TOKEN, HEAD = "each", "token", "head"
"""Each query head for each token; all heads of a token together; each query head for all tokens that are given together."""
TOGETHER = {EACH: (), TOKEN: (1, 2), HEAD: (3,)}
"""Of scores [B, G, g, t, n], the dimensions that pick together."""
ROUNDING = 4 * torch.finfo(torch.float32).eps
"""Scores, as a share of the largest that there could be, that rounding alone may part. In the first layer all landmarks have the same key, which was
turned there and back: without it, noise would choose."""
NUMBERS_AT_ONCE = 2**22
"""Numbers of landmarks that are gathered at a time, where each query is compared with others."""


def pick(blocks: Blocks, queries: Queries, level: str, scaling: float) -> Tensor:
    """The blocks that queries bring back: [B, G, g or 1, t or 1, k], ascending, `ABSENT` where there are fewer. Of equal scores, the oldest."""
    new = queries.positions.shape[1]
    each = queries.states[:, :, :, 0].numel() * blocks.index.compared * (len(blocks.heads) if level == TOKEN else 1)
    step = max(1, NUMBERS_AT_ONCE // each) if each and level != HEAD else new
    picked = torch.cat([_picked(blocks, queries.some(slice(at, min(at + step, new))), level, scaling) for at in range(0, new, step)], 3)
    blocks.statistics.note(blocks, picked)
    return picked


def _picked(blocks: Blocks, queries: Queries, level: str, scaling: float) -> Tensor:
    over = TOGETHER[level]
    numbers = candidates(blocks, queries, over)
    scores, numbers = (blocks.scores(queries), None) if numbers is None else scores_of(blocks, queries, numbers)
    tolerance = torch.linalg.vector_norm(queries.states, dim=-1, keepdim=True) * (ROUNDING * blocks.largest + blocks.coarse)[:, :, None, None, None]
    if over:  # heads have scales of their own: what they share is how they divide their attention
        shares = (scores * scaling).softmax(-1)  # no number where nothing may be read
        scores = torch.where(scores > -torch.inf, shares, -torch.inf)
        tolerance = (tolerance * scaling).amax(over, keepdim=True)
        scores = scores.amax(over, keepdim=True)
        tolerance = tolerance * scores.amax(-1, keepdim=True).clamp_min(0)
        numbers = None if numbers is None else numbers[:, : scores.shape[1]]
    picked = best(scores, min(queries.layout.top, scores.shape[-1]), tolerance, numbers)
    return picked.expand(-1, len(blocks.heads), -1, -1, -1)


def candidates(blocks: Blocks, queries: Queries, over: tuple[int, ...]) -> Tensor | None:
    """The numbers of the blocks that the index finds for queries, [B, G, g, t, m], 1 in the place of those that pick together (`over`), which are
    compared with all that it finds for any of them; none twice but for `ABSENT`. None: all there are."""
    found = blocks.index.search(queries.here, blocks.store.count)
    if found is None or not over:
        return found
    found = found.flatten(3).unsqueeze(3) if over == TOGETHER[HEAD] else found.permute(0, 3, 1, 2, 4).flatten(2)[:, None, None]
    found = found.sort(-1).values
    again = torch.cat([torch.zeros_like(found[..., :1], dtype=torch.bool), found[..., 1:] == found[..., :-1]], -1)
    found = found.masked_fill(again, ABSENT).sort(-1).values
    return found[..., : int((found < ABSENT).sum(-1).max())]


def scores_of(blocks: Blocks, queries: Queries, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """What `Blocks.scores` says of these blocks [B, G or 1, g or 1, t or 1, m] and, behind them, of those of slots of their own: [B, G, g, t, m + n],
    and the numbers of all; no block stands twice."""
    rows, heads = queries.here.shape[:2]
    numbers = pad(numbers, (0, max(0, queries.layout.top - numbers.shape[-1])), value=ABSENT).expand(-1, heads, -1, -1, -1)
    at = numbers.clamp_max(blocks.store.count - 1)
    row, head = (torch.arange(m, device=at.device) for m in (rows, heads))
    where = row.view(-1, 1, 1, 1, 1).expand_as(at), head.view(-1, 1, 1, 1).expand_as(at), at
    keys = blocks.store.summaries_of(*(each.reshape(-1) for each in where)).view(*at.shape, -1)
    scores = torch.einsum("bghtmd,bghtd->bghtm", keys.float(), queries.here.float())
    seen = blocks.store.readable_of(*where) & (numbers < ABSENT)
    nearer = blocks.nearer(queries.layout)
    if nearer is None:
        return scores.masked_fill(~seen, -torch.inf), numbers
    places, slots, there, landmarks, readable = nearer
    first = (places if there is None else places.masked_fill(~there, ABSENT)).amin(-1, keepdim=True)  # of a row, with all that come after it
    theirs = (queries.seeing(slots) * landmarks).sum(-1).masked_fill(~(readable if there is None else readable & there), -torch.inf)
    scores = torch.cat([scores.masked_fill(~seen | (numbers >= first), -torch.inf), theirs], -1)
    return scores, torch.cat([numbers, places.expand(*numbers.shape[:-1], -1)], -1)


def best(scores: Tensor, count: int, tolerance: Tensor, numbers: Tensor | None = None) -> Tensor:
    """The places [..., count] of the largest of [..., n], ascending, `ABSENT` where all others are −∞. What is no further than `tolerance` [..., 1]
    from the last that is taken counts as equal to it, and of equals the first are taken. Where they have `numbers` [..., n], it is these that are
    given, and that say which are first."""
    top = scores.topk(min(count + 1, scores.shape[-1]), -1)
    bound = top.values[..., count - 1 : count]
    if scores.shape[-1] > count and bool((top.values[..., count:] < bound - tolerance).all()):  # no two are near each other there
        picked = top.indices[..., :count]
        return (picked if numbers is None else numbers.expand_as(scores).gather(-1, picked)).sort(-1).values
    if numbers is not None:
        numbers, order = numbers.expand_as(scores).sort(-1)
        scores = scores.gather(-1, order)
    above = scores > bound + tolerance
    level = (scores >= bound - tolerance) & (scores > -torch.inf) & ~above
    chosen = above | (level & (level.cumsum(-1) <= count - above.sum(-1, keepdim=True)))
    picked = places(chosen, count)
    return picked if numbers is None else numbers.gather(-1, picked.clamp_max(numbers.shape[-1] - 1)).masked_fill(picked == ABSENT, ABSENT)
