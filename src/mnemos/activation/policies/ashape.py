"""A-shape (SCBench, arXiv 2412.10319, after StreamingLLM, arXiv 2309.17453): of a prompt, each token sees the first few and the newest ones.

Only reading is sparse; all is kept, and what is generated sees all. A question's tokens do not see what it asks about, either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mnemos.activation.policies import policy
from mnemos.activation.policy import Policy
from mnemos.activation.sparse import Chosen, Sparse, band, blocks, check_window

ROWS = 128
"""Queries that are computed together."""


@dataclass(frozen=True)
class AShape:
    """The first `sinks` tokens and the newest `local`, itself included. Defaults are the paper's."""

    sinks: int = 128
    local: int = 3968

    def __post_init__(self) -> None:
        check_window("ashape", self.sinks, self.local)

    def choose(self, queries: Tensor, keys: Tensor, scaling: float) -> list[Chosen]:
        count, before = queries.shape[1], keys.shape[1] - queries.shape[1]
        return [band(start, stop, before, self.sinks, self.local, keys.device) for start, stop in blocks(0, count, ROWS)]


def make(sinks: int = AShape.sinks, local: int = AShape.local, keep: str = "full", **options: Any) -> Policy:
    """`keep` names the policy that decides on what is kept; further options are its."""
    return Sparse(AShape(sinks, local), policy(keep, **options), "ashape")
