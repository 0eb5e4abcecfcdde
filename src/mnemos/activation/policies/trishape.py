"""Tri-shape (SCBench, arXiv 2412.10319, section 3): A-shape, but that the last tokens of what is read at once, the question's, see everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mnemos.activation.policies import policy
from mnemos.activation.policies.ashape import ROWS, AShape
from mnemos.activation.policy import Policy
from mnemos.activation.sparse import Chosen, Sparse, band, blocks
from mnemos.base.errors import Invalid


@dataclass(frozen=True)
class TriShape(AShape):
    """The last `last` queries of what is read at once see all. Read in chunks, so do the last ones of each."""

    last: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.last < 1:
            raise Invalid(f"trishape: last={self.last} has to be 1 or more; without queries that see all, it is policy('ashape')")

    def choose(self, queries: Tensor, keys: Tensor, scaling: float) -> list[Chosen]:
        count, length = queries.shape[1], keys.shape[1]
        first, before = max(0, count - self.last), length - count
        sparse = [band(start, stop, before, self.sinks, self.local, keys.device) for start, stop in blocks(0, first, ROWS)]
        return [*sparse, *(band(start, stop, before, 0, length, keys.device) for start, stop in blocks(first, count, ROWS))]


def make(sinks: int = AShape.sinks, local: int = AShape.local, last: int = TriShape.last, keep: str = "full", **options: Any) -> Policy:
    """`keep` names the policy that decides on what is kept; further options are its."""
    return Sparse(TriShape(sinks, local, last), policy(keep, **options), "trishape")
