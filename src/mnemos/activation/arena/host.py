"""What backends whose pages are this process's own memory have in common."""

from __future__ import annotations

import ctypes


class HostMemory:
    """Pages that the processor reads and writes at their address, in calls that return when they are done."""

    def copy(self, target: int, source: int, nbytes: int) -> None:
        ctypes.memmove(target, source, nbytes)

    def zero(self, address: int, nbytes: int) -> None:
        ctypes.memset(address, 0, nbytes)

    def fence(self) -> object:
        return None

    def wait(self, fence: object) -> None:
        """There is nothing to wait for: callers unmap after the calls that read."""
