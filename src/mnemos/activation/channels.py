"""Which channels of keys and values are worth storing (ThinK, arXiv 2407.21018): what scores them, and how many of the best each head keeps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def channel_scores(queries: Tensor, keys: Tensor, seen: Tensor, there: Tensor) -> Tensor:
    """[B, G, d] float32: mean of squares of queries [B, H, w, d], over those that are `seen` [B, w] and over the heads that share a key, times the
    mean of squares of keys [B, G, n, d], over those that are `there` [B, G, n]. Ranks as the product of norms does (section 3.2)."""
    rows, heads = queries.shape[0], keys.shape[1]
    squares = queries.float().square() * seen[:, None, :, None]
    asked = (squares.sum(2) / seen.sum(-1).clamp_min(1)[:, None, None]).reshape(rows, heads, -1, queries.shape[-1]).mean(2)
    kept = (keys.float().square() * there.unsqueeze(-1)).sum(2) / there.sum(-1).clamp_min(1).unsqueeze(-1)
    return asked * kept


def value_scores(attention: Tensor, values: Tensor, norms: Tensor) -> Tensor:
    """[B, h, d] float32: the square of a channel's size in values [B, h, n, d] by attention [B, h, g, n] times that of what the output projection
    makes of it (`norms` [h, g, d]), summed over the query heads that share it."""
    sizes = torch.einsum("bhgn,bhnd->bhgd", attention, values.float().square())
    return (sizes * norms.square()).sum(2)


def best(scores: Tensor, share: float, pairs: bool = False, adaptive: bool = False) -> Tensor:
    """[B, h, d] bool: the best of each head without `share` of them, as many of each head in all rows. `pairs`: j and j + d / 2 go together;
    `adaptive`: as many on average, so that all heads together keep the most of their scores, each head's in proportion to its sum."""
    heads, width = scores.shape[1:]
    count = width - int(share * width)
    counts = [max(2, count // 2 * 2) if pairs else count] * heads
    if adaptive:
        shares = (scores / scores.sum(-1, keepdim=True).clamp_min(1e-30)).sort(-1, descending=True).values.mean(0)
        first = shares.flatten().topk(count * heads).indices // width
        counts = [max(1, int((first == head).sum())) for head in range(heads)]
    return best_of(scores, counts, pairs)


def best_of(scores: Tensor, counts: Sequence[int], pairs: bool = False) -> Tensor:
    """[B, h, d] bool: so many of the best of each head."""
    if pairs:
        both = scores.unflatten(-1, (2, -1)).sum(-2)
        return best_of(both, [count // 2 for count in counts]).repeat(1, 1, 2)
    ranks = scores.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    return ranks < torch.tensor(counts, device=scores.device)[None, :, None]


def retained(scores: Tensor, chosen: Tensor) -> Tensor:
    """[B, h]: the share of a head's scores that its chosen channels have; 1 where there is none to lose."""
    whole = scores.sum(-1)
    return torch.where(whole > 0, (scores * chosen).sum(-1) / whole.clamp_min(1e-30), 1.0)
