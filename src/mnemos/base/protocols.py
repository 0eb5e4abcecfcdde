"""Small protocols that several floors share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Progress = Callable[[int, int], None]
"""Called with (done, total) while long work goes on."""


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into unit vectors. One protocol, several drivers (`mnemos.models`)."""

    @property
    def fingerprint(self) -> str:
        """Names the model, its weights and its precision: vectors of one fingerprint, and only those, are comparable."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of each vector."""
        ...

    def embed(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        """Unit vectors, float32, shape (len(texts), dimensions), in the order of `texts`. Raises `ModelUnavailable`."""
        ...
