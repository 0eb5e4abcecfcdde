"""What finds the nearest heads: NumPy, or faiss where that is installed and asked for."""

from __future__ import annotations

import importlib.util
import sys
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid
from mnemos.index.spann.heads import Heads

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
ChosenKernel = Literal["numpy", "faiss"]
Kernel = Literal["numpy", "faiss", "auto"]
"""`auto`: faiss where it can be used, NumPy elsewhere. The kernel belongs to the process: the files of an index are the same for each."""


class HeadIndex(Protocol):
    """Vectors under small numbers, which are given again after they were removed (the least first). Errors are `Invalid`."""

    def __len__(self) -> int: ...
    def __contains__(self, number: int) -> bool: ...

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it takes."""
        ...

    def numbers(self) -> Ints:
        """All numbers, ascending."""
        ...

    def groups(self) -> Ints:
        """The group of each head, in the order of `numbers()`, for `head_index` when these are loaded again; -1 where there is none."""
        ...

    def vector(self, number: int) -> Floats: ...

    def vectors(self, numbers: Ints) -> Floats:
        """(m, d) the vectors of `numbers` (m,)."""
        ...

    def add(self, vector: Floats) -> int:
        """Take in `vector` (d,); its number."""
        ...

    def remove(self, number: int) -> None: ...

    def nearest(self, queries: Floats, k: int, *, probe: int | None = None) -> tuple[Ints, Floats]:
        """For `queries` (m, d) the numbers (m, k) of the nearest and their squared distances, by distance, then by number; -1 and inf where fewer.
        `probe`: how many heads to look at, at least; where it is all, none that is nearer is missed but for rounding."""
        ...

    def near(self, queries: Floats, k: int, *, probe: int | None = None) -> Ints:
        """As `nearest`, only the numbers (m, k), in no order."""
        ...

    def recall(self, queries: Floats, k: int = 64) -> float:
        """The share of the `k` nearest of `queries` (m, d) that `near` finds for each alone: the quality of lists is bounded by it."""
        ...

    def nearest_groups(self, queries: Floats, k: int) -> Ints:
        """(m, k) numbers that are equal where queries are near each other: those with equal ones are best answered together."""
        ...


def chosen(kernel: Kernel) -> ChosenKernel:
    """The kernel of this process. Raises `Invalid` where faiss is asked for and cannot be used."""
    if kernel not in ("numpy", "faiss", "auto"):
        raise Invalid(f"kernel: is {kernel!r}, must be numpy, faiss or auto")
    if kernel == "numpy":
        return "numpy"
    why = _why_not()
    if why and kernel == "faiss":
        raise Invalid(f"kernel faiss: {why}, or choose the kernel numpy")
    return "numpy" if why else "faiss"


def head_index(
    kernel: ChosenKernel, vectors: Floats, *, numbers: Ints | None = None, groups: Ints | None = None, seed: int = 0
) -> HeadIndex:
    """Heads of `vectors` (m, d) with `numbers` (m,) (None: 0, 1, 2, …); `groups` are what `HeadIndex.groups` gave, of either kernel."""
    if kernel == "numpy":
        known = None if groups is None or groups.min(initial=0) < 0 else groups
        return Heads(vectors, numbers=numbers, groups=known, seed=seed)
    from mnemos.index.spann.faiss_heads import FaissHeads

    return FaissHeads(vectors, numbers=numbers)


def _why_not() -> str:
    """Why faiss cannot be used in this process, and what to do; nothing where it can. It is not imported for that."""
    if "usearch" in sys.modules:
        return "usearch is loaded in this process, and the two bring runtimes for threads that do not get along; use one of them"
    if "faiss" not in sys.modules and importlib.util.find_spec("faiss") is None:
        return "it is not installed; install faiss-cpu"
    return ""
