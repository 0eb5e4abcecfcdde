"""Layers without some of their heads (UNComp, arXiv 2410.03090): a head that is deleted holds no keys and values and attends to nothing.

The model still waits for what it would have given, and gets what another gives: of the heads that are left, the one whose attention was most like
its own on texts that the model was calibrated with. Key-value heads are deleted, with all the query heads that share them. No weights change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mnemos.base.errors import Invalid


@dataclass(frozen=True)
class Left:
    """What is left of a layer. `heads`: its key-value heads, ascending; `queries`: the query heads that share them; `givers` [H]: for each query head
    that the model has, the place among `queries` of the one whose output it gets, which is its own where it is left."""

    heads: tuple[int, ...]
    queries: tuple[int, ...]
    givers: tuple[int, ...]

    def of_queries(self, states: Tensor) -> Tensor:
        """[B, H, t, d] → those of the query heads that are left. Raises `Invalid` where the model has another number of heads."""
        return _some(states, self.queries, len(self.givers), "query")

    def of_heads(self, states: Tensor) -> Tensor:
        """[B, G, t, d] → those of the key-value heads that are left. Raises `Invalid` where the model has another number of heads."""
        return _some(states, self.heads, len(self.givers) * len(self.heads) // len(self.queries), "key-value")

    def whole(self, output: Tensor) -> Tensor:
        """[B, t, heads left, d] → [B, t, H, d]: each of the model's heads in its place."""
        return output[:, :, list(self.givers)]


def _some(states: Tensor, heads: Sequence[int], expected: int, kind: str) -> Tensor:
    if states.shape[1] != expected:
        raise Invalid(f"heads are deleted from layers of {expected} {kind} heads, and this one has {states.shape[1]}: calibrate for this model")
    return states[:, list(heads)]


def left(alike: Sequence[Sequence[int]], heads: int, deleted: Collection[int]) -> Left:
    """A layer of `heads` key-value heads without those in `deleted`. `alike` [H]: for each query head the others, the most like it first. Raises
    `Invalid` where no head would be left."""
    kept = tuple(head for head in range(heads) if head not in deleted)
    if not kept:
        raise Invalid(f"a layer of {heads} key-value heads cannot lose all of them: delete at most {heads - 1}")
    shared = len(alike) // heads
    queries = [query for query in range(len(alike)) if query // shared in kept]
    place = {query: at for at, query in enumerate(queries)}
    givers = [place[next(other for other in (query, *alike[query]) if other in place)] for query in range(len(alike))]
    return Left(kept, tuple(queries), tuple(givers))


def likeness(attention: Iterable[Tensor]) -> Tensor:
    """Of what heads attend to, [H, t, n] for some queries after others: [H, H], cosines over all of it; 0 for a head that attends to nothing."""
    products = torch.stack([flat @ flat.T for flat in (some.flatten(1).double() for some in attention)]).sum(0)
    lengths = products.diagonal().sqrt().clamp_min(1e-300)
    return products / lengths / lengths[:, None]


def most_alike(cosines: Tensor) -> tuple[tuple[int, ...], ...]:
    """[H, H] → for each head the others, the most like it first; equal ones in their order."""
    order = cosines.argsort(dim=1, descending=True, stable=True).tolist()
    return tuple(tuple(other for other in its if other != head) for head, its in enumerate(order))
