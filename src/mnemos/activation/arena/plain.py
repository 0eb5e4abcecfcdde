"""Memory of a system that is not Linux, by the standard library alone: reserved, touched as it is used, and not reliably given back."""

from __future__ import annotations

import ctypes
import mmap
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

from mnemos.activation.arena.backend import Capabilities, NoMemory
from mnemos.activation.arena.host import HostMemory
from mnemos.activation.arena.limits import available_memory, check_reservation
from mnemos.base.errors import Invalid


class PlainBackend(HostMemory):
    """One lazily touched mapping for each reservation. Pages cannot be shared or moved, and what was in them may be there when they are mapped anew.

    A system that takes the hint (macOS) may take unmapped pages back when memory is short.
    """

    def __init__(self) -> None:
        self.name = "plain"
        self.granularity = mmap.PAGESIZE
        self._lock = threading.RLock()  # a finalizer may give address space back while this thread is inside a call
        self._reserved: dict[int, tuple[mmap.mmap, int]] = {}
        self._next = 0
        self._at: dict[int, int] = {}
        self._mapped: dict[int, int] = {}
        """Handle → bytes."""

    def capabilities(self) -> Capabilities:
        notes = ("memory of unmapped pages may stay with the process", "prefixes are copied, not shared", "children of a fork get copies")
        return Capabilities("cpu", releases=False, shares=False, zeroed=False, fork_safe=False, notes=notes)

    def available_bytes(self) -> int:
        return available_memory()

    def reserve(self, nbytes: int, alignment: int) -> int:
        check_reservation(nbytes + alignment)
        try:
            if sys.platform == "win32":
                mapping = mmap.mmap(-1, nbytes + alignment)
            else:
                mapping = mmap.mmap(-1, nbytes + alignment, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON)
        except (OSError, ValueError, OverflowError) as error:
            raise NoMemory(f"{nbytes:,} bytes of address space cannot be had: {error}") from error
        start = ctypes.addressof(ctypes.c_ubyte.from_buffer(mapping))
        base = -(-start // alignment) * alignment
        with self._lock:
            self._reserved[base] = mapping, nbytes
        return base

    def free(self, base: int) -> None:
        with self._lock:
            mapping, _ = self._reserved.pop(base)
        mapping.close()

    def create(self, nbytes: int, count: int) -> Sequence[int]:
        if nbytes % self.granularity:
            raise Invalid(f"a page of {nbytes:,} bytes is no multiple of {self.granularity:,}")
        with self._lock:
            first, self._next = self._next, self._next + count
        return range(first, first + count)

    def release(self, handles: Sequence[int]) -> None:
        if any(handle in self._mapped for handle in handles):
            raise Invalid("pages that are mapped cannot be released")

    def map(self, address: int, nbytes: int, handles: Sequence[int]) -> None:
        with self._lock:
            places = range(address, address + nbytes * len(handles), nbytes)
            if any(place in self._at for place in places) or any(handle in self._mapped for handle in handles):
                raise Invalid(f"at {address:#x} pages are mapped already, or one of them is mapped elsewhere, and this backend does not share")
            self._at.update(zip(places, handles, strict=True))
            self._mapped.update(dict.fromkeys(handles, nbytes))

    def unmap(self, address: int, nbytes: int, count: int, keep: bool = False) -> None:
        if keep:
            raise Invalid("this backend cannot move pages")
        with self._lock:
            places = range(address, address + nbytes * count, nbytes)
            if any(place not in self._at for place in places):
                raise Invalid(f"from {address:#x} on {count} pages are not all mapped")
            self._hint(address, nbytes * count)
            for place in places:
                del self._mapped[self._at.pop(place)]

    def discard(self, handles: Sequence[int]) -> None:
        """Nothing is kept here."""

    def resident_bytes(self) -> int:
        """Bytes of the pages that are mapped. What unmapped pages still hold nobody tells."""
        with self._lock:
            return sum(self._mapped.values())

    def _hint(self, address: int, nbytes: int) -> None:
        if not hasattr(mmap, "MADV_FREE"):
            return
        for base, (mapping, size) in list(self._reserved.items()):
            if base <= address < base + size:
                start = ctypes.addressof(ctypes.c_ubyte.from_buffer(mapping))
                with suppress(OSError, ValueError):  # a hint; `capabilities` promise nothing
                    mapping.madvise(mmap.MADV_FREE, address - start, nbytes)
