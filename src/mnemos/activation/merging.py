"""Attention over several parts of unlike form and length, as exact as over one: each part's softmax is put in proportion by its log-sum-exp."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mnemos.activation.parts import Part

Weights = list[Tensor]
"""For each part, [B, h, g, t, n] float32: the share of attention that each of its tokens got."""


def attend(queries: Tensor, parts: Sequence[Part], masks: Sequence[Tensor | None], scaling: float,
           softcap: float | None = None) -> tuple[Tensor, Weights]:  # fmt: skip
    """Queries [B, G, g, t, d] over all parts together: output [B, G, g, t, d], and the weights by part. `masks` [B, 1 or h, t, n] are True where a
    token may be seen; where None, and at positions of −1, as the positions say. Exact for any split into parts (float32 inside)."""
    every = tuple(range(queries.shape[1]))
    logits = []
    for part, mask in zip(parts, masks, strict=True):
        scores = part.logits(queries if part.heads == every else queries[:, list(part.heads)]).float() * scaling
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        hidden = (part.positions < 0)[:, :, None, None, :]
        logits.append(scores.masked_fill(hidden if mask is None else hidden | ~mask.unsqueeze(2), -torch.inf))
    if all(part.heads == every for part in parts):
        shares = torch.cat(logits, -1).softmax(-1).nan_to_num(0.0)  # a query that sees nothing, in a padded place, gets nothing
        weights = list(shares.split([scores.shape[-1] for scores in logits], -1))
        mixed = [part.mix(share) for part, share in zip(parts, weights, strict=True)]
        return torch.stack(mixed).sum(0) if len(mixed) > 1 else mixed[0], weights
    return _by_sums(queries, parts, logits)


def _by_sums(queries: Tensor, parts: Sequence[Part], logits: Sequence[Tensor]) -> tuple[Tensor, Weights]:
    """The same where parts are of unlike heads."""
    base = queries.new_full(queries.shape[:-1], -torch.inf, dtype=torch.float32)
    sums = []
    for part, scores in zip(parts, logits, strict=True):
        each = base.clone()
        each[:, list(part.heads)] = scores.logsumexp(-1)
        sums.append(each)
    total = torch.stack(sums).logsumexp(0)
    total = torch.where(torch.isfinite(total), total, 0.0)  # a query that sees nothing, in a padded place, gets nothing
    weights = [torch.exp(scores - total[:, list(part.heads)].unsqueeze(-1)) for part, scores in zip(parts, logits, strict=True)]
    mixed = [part.mix(share) for part, share in zip(parts, weights, strict=True)]
    output = mixed[0].new_zeros(*queries.shape[:-1], mixed[0].shape[-1])
    for part, its in zip(parts, mixed, strict=True):
        output[:, list(part.heads)] += its
    return output, weights
