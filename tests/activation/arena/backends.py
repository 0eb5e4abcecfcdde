"""The backends that the conformance tests run on, each made anew, and rows behind an arena's addresses."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

import numpy as np
import pytest

from activation.arena.fake_driver import FakeDriver
from mnemos.activation.arena.arena import Arena
from mnemos.activation.arena.backend import Backend
from mnemos.activation.arena.cpu import CpuBackend
from mnemos.activation.arena.cuda import CudaBackend
from mnemos.activation.arena.fake import FakeBackend
from mnemos.activation.arena.plain import PlainBackend

ON_LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="this is how Linux does it")
MAKERS: dict[str, Callable[[], Backend]] = {
    "cpu": CpuBackend,
    "cpu touched": lambda: CpuBackend(populate=False),
    "plain": PlainBackend,
    "cuda": lambda: CudaBackend(library=FakeDriver()),
    "cuda with a stream": lambda: CudaBackend(stream=7, library=FakeDriver()),
    "fake": FakeBackend,
    "fake that cannot share": lambda: FakeBackend(shares=False),
}
NAMES = [pytest.param(name, marks=ON_LINUX) if name.startswith(("cpu", "cuda")) else name for name in MAKERS]
WITH_MEMORY = [name for name, known in zip(NAMES, MAKERS, strict=True) if not known.startswith("fake")]


def rows(arena: Arena, layer: int, plane: int, slot: int) -> np.ndarray:
    """A slot's rows (max_ctx, kv_heads, head_dim) of a float32 layout, by address alone."""
    offset, shape, strides = arena.layout.view(layer, plane)
    flat = np.frombuffer((ctypes.c_ubyte * (arena.layout.nbytes - offset)).from_address(arena.span.base + offset), dtype=np.float32)
    return np.lib.stride_tricks.as_strided(flat, shape, [stride * 4 for stride in strides])[slot]
