"""Matrix entropy (`mnemos.base.entropy`) of torch tensors, on whatever device, and of NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mnemos.base import entropy
from mnemos.base.entropy import RULES, Spectrum, chord, fixed, truncated

__all__ = ["RULES", "Spectrum", "chord", "fixed", "matrix_entropy", "spectrum", "truncated"]


def spectrum(vectors: Any, shrinkage: float = 0.0) -> Spectrum:
    """As `entropy.spectrum`."""
    return entropy.spectrum(*_own(vectors, shrinkage))


def matrix_entropy(vectors: Any, rule: str = "fixed", shrinkage: float = 0.0, normalised: bool = False) -> NDArray[np.float64]:
    """As `entropy.matrix_entropy`."""
    its, shrinkage, library = _own(vectors, shrinkage)
    return entropy.matrix_entropy(its, rule, shrinkage, normalised, library)


def _own(vectors: Any, shrinkage: float) -> tuple[Any, float, Any]:
    """With the library that computes with such arrays."""
    return (vectors, shrinkage, np) if isinstance(vectors, np.ndarray) else (vectors.detach(), shrinkage, torch)
