"""Pages of a GPU's memory, by the driver's virtual memory management: no driver, kernel or framework is changed (vAttention, section 5.2)."""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mnemos.activation.arena.backend import Capabilities
from mnemos.activation.arena.cuda_driver import (
    MANAGES_VIRTUAL_MEMORY,
    MINIMUM,
    NO_TIMING,
    ON_DEVICE,
    PINNED,
    READ_WRITE,
    AccessDesc,
    AllocationProp,
    Driver,
    Location,
)
from mnemos.activation.arena.undo import Undo
from mnemos.base.errors import Invalid, StoreUnavailable


class CudaBackend:
    """Handles are the driver's allocations, made by `create` and kept until `release`: mapping only moves them. A page of less than the granularity
    (2 MiB on today's drivers) is refused; a mega-cache gives the same effect as smaller pages.

    `stream` is the stream that reads and writes the rows (`torch.cuda.current_stream().cuda_stream`): pages are unmapped when what it was given
    before is done. Without one every unmapping waits for the whole device. Raises `StoreUnavailable` where there is no driver, or no GPU that can.
    """

    def __init__(self, device: int = 0, stream: int | None = None, library: Any = None) -> None:
        self.name = f"cuda:{device}"
        self._driver = Driver(library)
        self._stream = stream
        self._driver("cuInit", 0)
        number, able = ctypes.c_int(), ctypes.c_int()
        self._driver("cuDeviceGet", ctypes.byref(number), device)
        self._driver("cuDeviceGetAttribute", ctypes.byref(able), MANAGES_VIRTUAL_MEMORY, number)
        if not able.value:
            raise StoreUnavailable(f"GPU {device} does not manage virtual memory; use the CPU backend")
        self._context = ctypes.c_void_p()
        self._driver("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), number)
        weakref.finalize(self, self._driver, "cuDevicePrimaryCtxRelease_v2", number).atexit = False
        self._location = Location(ON_DEVICE, device)
        self._prop = AllocationProp(type=PINNED, location=self._location)
        granularity = ctypes.c_size_t()
        self._driver("cuMemGetAllocationGranularity", ctypes.byref(granularity), ctypes.byref(self._prop), MINIMUM)
        self.granularity = granularity.value
        self._lock = threading.RLock()  # a finalizer may give address space back while this thread is inside a call
        self._reserved: dict[int, int] = {}
        self._sizes: dict[int, int] = {}
        self._at: dict[int, int] = {}
        self._mapped: Counter[int] = Counter()

    def capabilities(self) -> Capabilities:
        return Capabilities(self.name, releases=False, zeroed=False, notes=("the pool's memory is the arena's until `cleanup`",))

    def available_bytes(self) -> int:
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        with self._current():
            self._driver("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def reserve(self, nbytes: int, alignment: int) -> int:
        base = ctypes.c_uint64()
        size = -(-nbytes // self.granularity) * self.granularity
        with self._current():
            self._driver("cuMemAddressReserve", ctypes.byref(base), size, max(alignment, self.granularity), 0, 0)
        with self._lock:
            self._reserved[base.value] = size
        return base.value

    def free(self, base: int) -> None:
        with self._lock:
            size = self._reserved.pop(base)
        with self._current():
            self._driver("cuMemAddressFree", base, size)

    def create(self, nbytes: int, count: int) -> Sequence[int]:
        if nbytes % self.granularity:
            raise Invalid(f"a page of {nbytes:,} bytes is no multiple of the {self.granularity:,} that the driver can map")
        handles: list[int] = []
        with self._current(), Undo() as undo:
            for _ in range(count):
                handle = ctypes.c_uint64()
                self._driver("cuMemCreate", ctypes.byref(handle), nbytes, ctypes.byref(self._prop), 0)
                handles.append(handle.value)
                undo(lambda handle=handle: self._driver("cuMemRelease", handle))  # type: ignore[misc]
        with self._lock:
            self._sizes.update(dict.fromkeys(handles, nbytes))
        return handles

    def release(self, handles: Sequence[int]) -> None:
        with self._lock:
            if any(self._mapped[handle] for handle in handles):
                raise Invalid("pages that are mapped cannot be released")
            with self._current():
                for handle in handles:
                    self._driver("cuMemRelease", handle)
                    del self._sizes[handle]

    def map(self, address: int, nbytes: int, handles: Sequence[int]) -> None:
        with self._lock, self._current():
            self._map(address, nbytes, handles)
            for place, handle in zip(range(address, address + nbytes * len(handles), nbytes), handles, strict=True):
                self._at[place] = handle
                self._mapped[handle] += 1

    def unmap(self, address: int, nbytes: int, count: int, keep: bool = False) -> None:
        """What is in the pages stays there in any case."""
        with self._lock, self._current():
            places = range(address, address + nbytes * count, nbytes)
            if any(place not in self._at for place in places):
                raise Invalid(f"from {address:#x} on {count} pages are not all mapped")
            with Undo() as undo:
                for place in places:
                    self._driver("cuMemUnmap", place, nbytes)
                    undo(lambda place=place: self._map(place, nbytes, [self._at[place]]))  # type: ignore[misc]
            for place in places:
                self._mapped[self._at.pop(place)] -= 1

    def discard(self, handles: Sequence[int]) -> None:
        """The memory stays in the pool."""

    def copy(self, target: int, source: int, nbytes: int) -> None:
        with self._current(), self._in_order():
            self._driver("cuMemcpyDtoDAsync_v2", target, source, nbytes, self._stream)

    def zero(self, address: int, nbytes: int) -> None:
        with self._current(), self._in_order():
            self._driver("cuMemsetD8Async", address, 0, nbytes, self._stream)

    def fence(self) -> object:
        if self._stream is None:
            return _Everything()
        with self._current():
            event = ctypes.c_void_p()
            self._driver("cuEventCreate", ctypes.byref(event), NO_TIMING)
            fence = _Event(self, event)
            self._driver("cuEventRecord", event, self._stream)
        return fence

    def wait(self, fence: object) -> None:
        if fence is None:
            return
        with self._current():
            if isinstance(fence, _Event):
                self._driver("cuEventSynchronize", fence.event)
            else:
                self._driver("cuCtxSynchronize")

    def resident_bytes(self) -> int:
        """Of all handles, mapped or not."""
        with self._lock:
            return sum(self._sizes.values())

    def _map(self, address: int, nbytes: int, handles: Sequence[int]) -> None:
        access = AccessDesc(self._location, READ_WRITE)
        with Undo() as undo:
            for place, handle in zip(range(address, address + nbytes * len(handles), nbytes), handles, strict=True):
                self._driver("cuMemMap", place, nbytes, 0, handle, 0)
                undo(lambda place=place: self._driver("cuMemUnmap", place, nbytes))  # type: ignore[misc]
            self._driver("cuMemSetAccess", address, nbytes * len(handles), ctypes.byref(access), 1)

    @contextmanager
    def _current(self) -> Iterator[None]:
        """The device's primary context, which torch uses too, in this thread for a while: the thread's own comes back afterwards."""
        self._driver("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            self._driver("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    @contextmanager
    def _in_order(self) -> Iterator[None]:
        """Where the stream is not known, what comes before is done before, and this before what comes after."""
        if self._stream is None:
            self._driver("cuCtxSynchronize")
        yield
        if self._stream is None:
            self._driver("cuCtxSynchronize")

    def destroy(self, event: ctypes.c_void_p) -> None:
        """For fences, when they are not needed any more."""
        with self._current():
            self._driver("cuEventDestroy_v2", event)


class _Everything:
    """A mark behind all work of the device."""


class _Event:
    """A mark behind the stream's work up to now."""

    def __init__(self, backend: CudaBackend, event: ctypes.c_void_p) -> None:
        self.event = event
        weakref.finalize(self, backend.destroy, event).atexit = False
