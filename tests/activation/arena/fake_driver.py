"""A CUDA driver library without a GPU: the same entry points by the C calling convention, the documented rules checked, and every call recorded.

Device memory is a memory file, so that pages really are in one place or several, and copies and fills really happen.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any

from mnemos.activation.arena.cuda_driver import SIGNATURES
from mnemos.activation.arena.libc import Libc

INVALID_VALUE, OUT_OF_MEMORY, NOT_INITIALIZED, NO_DEVICE, INVALID_CONTEXT = 1, 2, 3, 100, 201
NAMES = {1: b"CUDA_ERROR_INVALID_VALUE", 2: b"CUDA_ERROR_OUT_OF_MEMORY", 3: b"CUDA_ERROR_NOT_INITIALIZED", 100: b"CUDA_ERROR_NO_DEVICE",
         201: b"CUDA_ERROR_INVALID_CONTEXT", 700: b"CUDA_ERROR_ILLEGAL_ADDRESS"}
CONTEXT = 0xC0


class FakeDriver:
    """`calls` are the names and arguments in order, without pushing and popping contexts; `fail[name] = (n, code)` lets the n-th call fail."""

    def __init__(self, granularity: int = 4096, total: int = 1 << 32, devices: int = 1, manages: bool = True) -> None:
        self.granularity, self.total, self.devices, self.manages = granularity, total, devices, manages
        self.calls: list[tuple[Any, ...]] = []
        self.fail: dict[str, tuple[int, int]] = {}
        self.counts: dict[str, int] = {}
        self.reserved: dict[int, int] = {}
        self.handles: dict[int, tuple[int, int]] = {}
        self.mapped: dict[int, tuple[int, int]] = {}
        self.accessible: set[int] = set()
        self.events: set[int] = set()
        self.retained = 0
        self._libc = Libc()
        self._file = os.memfd_create("fake-device")
        self._end = 0
        self._next = 0x1000
        self._started = False
        self._stack = threading.local()
        for name, arguments in SIGNATURES.items():
            setattr(self, name, ctypes.CFUNCTYPE(ctypes.c_int, *arguments)(self._entry(name)))

    def __del__(self) -> None:
        os.close(self._file)

    def _entry(self, name: str) -> Any:
        method = getattr(self, f"_{name}")

        def entry(*arguments: Any) -> int:
            self.counts[name] = self.counts.get(name, 0) + 1
            if name in self.fail and self.fail[name][0] == self.counts[name]:
                return self.fail[name][1]
            if name != "cuInit" and not self._started and name != "cuGetErrorName":
                return NOT_INITIALIZED
            status = method(*arguments)
            if not name.startswith("cuCtxP"):
                shown = tuple(argument for argument in arguments if isinstance(argument, int) or argument is None)
                self.calls.append((name, *shown))
            return int(status or 0)

        return entry

    def _context(self) -> list[int]:
        if not hasattr(self._stack, "contexts"):
            self._stack.contexts = []
        contexts: list[int] = self._stack.contexts
        return contexts

    def _cuInit(self, flags: int) -> int:
        self._started = flags == 0 and self.devices > 0
        return 0 if self._started else NO_DEVICE

    def _cuGetErrorName(self, status: int, name: Any) -> int:
        name[0] = NAMES.get(status)
        return 0 if status in NAMES else INVALID_VALUE

    def _cuDeviceGet(self, device: Any, ordinal: int) -> int:
        device[0] = ordinal
        return 0 if ordinal < self.devices else 101

    def _cuDeviceGetAttribute(self, value: Any, attribute: int, device: int) -> int:
        value[0] = int(self.manages and attribute == 102)
        return 0

    def _cuDevicePrimaryCtxRetain(self, context: Any, device: int) -> int:
        context[0] = CONTEXT
        self.retained += 1
        return 0

    def _cuDevicePrimaryCtxRelease_v2(self, device: int) -> int:
        self.retained -= 1
        return 0

    def _cuCtxPushCurrent_v2(self, context: int) -> int:
        self._context().append(context)
        return 0 if context == CONTEXT else INVALID_CONTEXT

    def _cuCtxPopCurrent_v2(self, context: Any) -> int:
        context[0] = self._context().pop()
        return 0

    def _cuCtxSynchronize(self) -> int:
        return 0 if self._context() else INVALID_CONTEXT

    def _cuMemGetInfo_v2(self, free: Any, total: Any) -> int:
        free[0], total[0] = self.total - self._used(), self.total
        return 0 if self._context() else INVALID_CONTEXT

    def _used(self) -> int:
        return sum(size for _, size in self.handles.values())

    def _prop(self, prop: Any) -> bool:
        told = prop[0]
        return bool(told.type == 1 and told.location.type == 1 and 0 <= told.location.id < self.devices and not told.win32_handle_meta_data)

    def _cuMemGetAllocationGranularity(self, granularity: Any, prop: Any, option: int) -> int:
        granularity[0] = self.granularity
        return 0 if self._prop(prop) and option == 0 else INVALID_VALUE

    def _cuMemAddressReserve(self, address: Any, size: int, alignment: int, hint: int, flags: int) -> int:
        if size % self.granularity or alignment & (alignment - 1) or flags:
            return INVALID_VALUE
        found = self._libc.reserve(size + alignment)
        base = -(-found // alignment) * alignment
        for start, stop in ((found, base), (base + size, found + size + alignment)):
            if stop > start:
                self._libc.unmap(start, stop - start)
        address[0] = base
        self.reserved[base] = size
        return 0

    def _cuMemAddressFree(self, address: int, size: int) -> int:
        if self.reserved.get(address) != size or any(address <= place < address + size for place in self.mapped):
            return INVALID_VALUE
        del self.reserved[address]
        self._libc.unmap(address, size)
        return 0

    def _cuMemCreate(self, handle: Any, size: int, prop: Any, flags: int) -> int:
        if size % self.granularity or not size or flags or not self._prop(prop):
            return INVALID_VALUE
        if self._used() + size > self.total:
            return OUT_OF_MEMORY
        self._next += 1
        os.ftruncate(self._file, self._end + size)
        self.handles[self._next] = self._end, size
        self._end += size
        handle[0] = self._next
        return 0

    def _cuMemRelease(self, handle: int) -> int:
        return 0 if self.handles.pop(handle, None) else INVALID_VALUE

    def _cuMemMap(self, address: int, size: int, offset: int, handle: int, flags: int) -> int:
        if handle not in self.handles or self.handles[handle][1] != size or offset or flags or address % self.granularity:
            return INVALID_VALUE
        if not any(base <= address and address + size <= base + length for base, length in self.reserved.items()):
            return INVALID_VALUE
        if any(place < address + size and address < place + length for place, (_, length) in self.mapped.items()):
            return INVALID_VALUE
        self._libc.share(address, size, self._file, self.handles[handle][0])
        self.mapped[address] = handle, size
        return 0

    def _cuMemSetAccess(self, address: int, size: int, access: Any, count: int) -> int:
        place = address
        while place < address + size:
            if place not in self.mapped:
                return INVALID_VALUE
            self.accessible.add(place)
            place += self.mapped[place][1]
        told = access[0]
        return 0 if place == address + size and count == 1 and told.flags == 3 and told.location.type == 1 else INVALID_VALUE

    def _cuMemUnmap(self, address: int, size: int) -> int:
        if self.mapped.get(address, (0, 0))[1] != size:
            return INVALID_VALUE
        del self.mapped[address]
        self.accessible.discard(address)
        self._libc.empty(address, size)
        return 0

    def _readable(self, address: int, size: int) -> bool:
        places = {place for place in self.accessible if place < address + size and address < place + self.mapped[place][1]}
        covered = sum(min(address + size, place + self.mapped[place][1]) - max(address, place) for place in places)
        return covered == size and bool(self._context())

    def _cuMemcpyDtoDAsync_v2(self, target: int, source: int, size: int, stream: int | None) -> int:
        if not self._readable(target, size) or not self._readable(source, size):
            return 700
        ctypes.memmove(target, source, size)
        return 0

    def _cuMemsetD8Async(self, address: int, value: int, size: int, stream: int | None) -> int:
        if not self._readable(address, size):
            return 700
        ctypes.memset(address, value, size)
        return 0

    def _cuEventCreate(self, event: Any, flags: int) -> int:
        self._next += 1
        self.events.add(self._next)
        event[0] = self._next
        return 0 if self._context() else INVALID_CONTEXT

    def _cuEventRecord(self, event: int, stream: int | None) -> int:
        return 0 if event in self.events else INVALID_VALUE

    def _cuEventSynchronize(self, event: int) -> int:
        return 0 if event in self.events else INVALID_VALUE

    def _cuEventDestroy_v2(self, event: int) -> int:
        self.events.discard(event)
        return 0
