"""Dynamic sparse reading, in the manner of MInference's block-sparse heads (arXiv 2407.02490, section 3.2): content decides which blocks are seen.

For each block of queries and each key-value head, the blocks of keys are seen that get most of an estimated attention: that to the means of their
keys, or, as far as the least and the largest of each component bound it (Quest, arXiv 2406.10774), the most that it can be. The first and the newest
tokens are seen in any case. Only reading is sparse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mnemos.activation.blocks import BOUNDS, MEAN
from mnemos.activation.policies import policy
from mnemos.activation.policies.ashape import ROWS
from mnemos.activation.policy import Policy
from mnemos.activation.sparse import Chosen, Sparse, band, blocks, check_window
from mnemos.base.errors import Invalid


@dataclass(frozen=True)
class TopBlocks:
    """`top` tokens, in blocks of `block`, for each `rows` queries, beside the first `sinks` and the newest `local`, counted from the first of the
    queries."""

    top: int = 1024
    block: int = 64
    rows: int = 64
    sinks: int = 64
    local: int = 256
    by: str = MEAN
    """What stands for a block of keys: their "mean", or their "bounds", twice as many products."""
    last: int = 0
    """So many of the last queries of what is read at once see all, as in Tri-shape."""

    def __post_init__(self) -> None:
        check_window("topblocks", self.sinks, self.local)
        if min(self.block, self.rows) < 1 or self.top < self.block or self.last < 0:
            raise Invalid(f"topblocks: rows={self.rows} and block={self.block} have to be 1 or more, top={self.top} at least a block, and "
                          f"last={self.last} 0 or more")  # fmt: skip
        if self.by not in (MEAN, BOUNDS):
            raise Invalid(f"topblocks: what stands for a block is {MEAN!r} or {BOUNDS!r}, not {self.by!r}")

    def choose(self, queries: Tensor, keys: Tensor, scaling: float) -> list[Chosen]:
        count, (heads, length, size) = queries.shape[1], keys.shape
        before, skipped = length - count, -(-self.sinks // self.block)
        whole = keys[:, : length // self.block * self.block].unflatten(1, (-1, self.block))
        stand = (whole.mean(2),) if self.by == MEAN else (whole.amax(2), whole.amin(2))
        each = torch.arange(self.block, device=keys.device)
        found, dense = [], max(0, count - self.last)
        for start, stop in [*blocks(0, dense, self.rows), *blocks(dense, count, ROWS)]:
            end = max(0, before + start - self.local + 1) // self.block  # the blocks before this one are not among the newest tokens
            wanted = self.top // self.block
            if end - skipped <= wanted or start >= dense:
                found.append(band(start, stop, before, 0, length, keys.device))
                continue
            some = queries[:, start:stop].reshape(heads, -1, size)
            asked = (some,) if self.by == MEAN else (some.clamp_min(0), some.clamp_max(0))
            scores = sum(torch.matmul(its, keys_of[:, skipped:end].mT).float() for its, keys_of in zip(asked, stand, strict=True))
            best = (scores * scaling).softmax(-1).sum(1).topk(wanted, -1).indices.sort(-1).values + skipped
            chosen = (best[..., None] * self.block + each).flatten(1)
            newest = torch.arange(end * self.block, before + stop, device=keys.device)
            first = torch.arange(skipped * self.block, device=keys.device)
            places = torch.cat([first.expand(heads, -1), chosen, newest.expand(heads, -1)], 1)
            asking = torch.arange(before + start, before + stop, device=keys.device)[:, None]
            seen = torch.ones(stop - start, places.shape[1], dtype=torch.bool, device=keys.device)
            seen[:, -len(newest) :] = newest <= asking
            found.append(Chosen(start, stop, places, seen, len(stand) * (stop - start) * (end - skipped)))
        return found


def make(top: int = TopBlocks.top, block: int = TopBlocks.block, rows: int = TopBlocks.rows, sinks: int = TopBlocks.sinks,
         local: int = TopBlocks.local, by: str = MEAN, last: int = 0, keep: str = "full", **options: Any) -> Policy:  # fmt: skip
    """`keep` names the policy that decides on what is kept; further options are its."""
    return Sparse(TopBlocks(top, block, rows, sinks, local, by, last), policy(keep, **options), "topblocks")
