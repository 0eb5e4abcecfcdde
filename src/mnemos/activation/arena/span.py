"""A reservation that lives as long as anything looks at it."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable

from mnemos.activation.arena.backend import Backend


class Span:
    """Address space of a backend, given back when this object and all buffers over it are gone, and not by a child of a fork."""

    def __init__(self, backend: Backend, nbytes: int, alignment: int) -> None:
        self.nbytes = nbytes
        self.base = backend.reserve(nbytes, alignment)
        self._first: list[Callable[[], None]] = []
        end = weakref.finalize(self, _give_back, backend, self.base, os.getpid(), self._first)
        end.atexit = False  # the process's end gives everything back, and views may outlive this

    def before(self, close: Callable[[], None]) -> None:
        """What is called, and does not hold this, before the address space is given back: in a ring of garbage that happens before anything of its
        owner's is called, and pages have to be taken out first. A second call of it does nothing."""
        self._first.append(close)

    def buffer(self) -> ctypes.Array[ctypes.c_ubyte]:
        """All bytes, for `numpy.frombuffer` or `torch.frombuffer`; whatever is made of it keeps the reservation."""
        buffer = (ctypes.c_ubyte * self.nbytes).from_address(self.base)
        buffer._span = self  # type: ignore[attr-defined]
        return buffer


def _give_back(backend: Backend, base: int, process: int, first: list[Callable[[], None]]) -> None:
    if os.getpid() == process:
        for close in first:
            close()
        backend.free(base)
