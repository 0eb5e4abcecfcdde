"""Generated data as embeddings are: clusters of very unequal size, of few dimensions, laid into many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mixture(n: int, dimensions: int = 384, *, intrinsic: int = 16, within: float = 0.5, noise: float = 0.02, seed: int = 0) -> NDArray[np.float32]:
    """`n` unit vectors (n, dimensions) around √n centres of standard normal components in `intrinsic` dimensions. Clusters are as large as the
    first power law has it, and `within` times 0.5 to 1.5 wide. `noise` is added in all dimensions."""
    rng = np.random.default_rng(seed)
    clusters = max(int(np.sqrt(n)), 2)
    shares = 1 / np.arange(1, clusters + 1)
    basis = np.linalg.qr(rng.standard_normal((dimensions, intrinsic)))[0].T
    centres = rng.standard_normal((clusters, intrinsic))
    widths = within * rng.uniform(0.5, 1.5, (clusters, 1))
    labels = rng.choice(clusters, n, p=shares / shares.sum())
    inside = (centres[labels] + widths[labels] * rng.standard_normal((n, intrinsic))).astype(np.float32)
    vectors = inside @ basis.astype(np.float32)
    vectors += noise * rng.standard_normal((n, dimensions), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors
