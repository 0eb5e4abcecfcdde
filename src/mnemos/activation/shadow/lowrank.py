"""Keys as coefficients in few directions: ShadowKV, section 3.1, by an eigendecomposition of the Gram matrix in place of an SVD.

A sequence's keys before rotation, heads side by side, K [n, D], lie near a subspace of r directions V [D, r]. K ≈ (K V) Vᵀ is the best
approximation of rank r if V are the leading eigenvectors of KᵀK; that matrix is summed over blocks of tokens, in float64, for float16 would lose its
small values.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def gram(blocks: Iterable[Tensor]) -> Tensor:
    """Keys [B, n, D], in blocks of tokens → KᵀK [B, D, D] float64 (float32 on devices that have no float64)."""
    total: Tensor | None = None
    for block in blocks:
        states = block.to(torch.float32 if block.device.type == "mps" else torch.float64)
        product = states.transpose(1, 2) @ states
        total = product if total is None else total + product
    if total is None:
        raise ValueError("no keys to sum over")
    return total


def leading(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Symmetric [B, D, D] → its `rank` largest eigenvalues [B, r], and eigenvectors [B, D, r]."""
    values, vectors = torch.linalg.eigh(matrix)
    return values[:, -rank:].flip(-1), vectors[:, :, -rank:].flip(-1)


def enlargement(strays: Tensor, allowed: Tensor, most: int) -> Tensor:
    """Directions [B, D, e] to add to a basis, the fewest that bring down what it leaves out. `strays` [B, D, D]: the Gram matrix of the residuals, so
    that its eigenvectors stand at right angles to the basis; `allowed` [B]: the sum of squares that may stay outside; e ≤ `most`, zeros where a row
    needs fewer."""
    values, vectors = leading(strays, most)
    outside = strays.diagonal(dim1=1, dim2=2).sum(-1, keepdim=True) - values.cumsum(-1)
    before = torch.cat([strays.diagonal(dim1=1, dim2=2).sum(-1, keepdim=True), outside[:, :-1]], -1)
    needed = before > allowed[:, None]
    width = int(needed.sum(-1).max())
    return (vectors * needed[:, None, :])[:, :, :width]
