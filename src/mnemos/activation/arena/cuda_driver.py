"""The calls of NVIDIA's driver library that the arena makes, by ctypes, with their errors by name.

From the CUDA driver API reference, "Virtual Memory Management", "Event Management", "Primary Context Management".
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from mnemos.activation.arena.backend import BackendFailed, NoMemory
from mnemos.base.errors import StoreUnavailable

PINNED, ON_DEVICE, READ_WRITE, MINIMUM, NO_TIMING = 1, 1, 3, 0, 2
"""CU_MEM_ALLOCATION_TYPE_PINNED, CU_MEM_LOCATION_TYPE_DEVICE, CU_MEM_ACCESS_FLAGS_PROT_READWRITE, CU_MEM_ALLOC_GRANULARITY_MINIMUM,
CU_EVENT_DISABLE_TIMING."""
MANAGES_VIRTUAL_MEMORY = 102
"""CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED."""
OUT_OF_MEMORY = 2


class Location(ctypes.Structure):
    """CUmemLocation."""

    _fields_ = (("type", ctypes.c_int), ("id", ctypes.c_int))


class _AllocFlags(ctypes.Structure):
    _fields_ = (
        ("compression_type", ctypes.c_ubyte),
        ("gpu_direct_rdma_capable", ctypes.c_ubyte),
        ("usage", ctypes.c_ushort),
        ("reserved", ctypes.c_ubyte * 4),
    )


class AllocationProp(ctypes.Structure):
    """CUmemAllocationProp."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("requested_handle_types", ctypes.c_int),
        ("location", Location),
        ("win32_handle_meta_data", ctypes.c_void_p),
        ("alloc_flags", _AllocFlags),
    )


class AccessDesc(ctypes.Structure):
    """CUmemAccessDesc."""

    _fields_ = (("location", Location), ("flags", ctypes.c_int))


_int, _size, _u64, _pointer = ctypes.c_int, ctypes.c_size_t, ctypes.c_uint64, ctypes.c_void_p
_device_pointer, _handle = ctypes.c_uint64, ctypes.c_uint64
SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (ctypes.c_uint,),
    "cuGetErrorName": (_int, ctypes.POINTER(ctypes.c_char_p)),
    "cuDeviceGet": (ctypes.POINTER(_int), _int),
    "cuDeviceGetAttribute": (ctypes.POINTER(_int), _int, _int),
    "cuDevicePrimaryCtxRetain": (ctypes.POINTER(_pointer), _int),
    "cuDevicePrimaryCtxRelease_v2": (_int,),
    "cuCtxPushCurrent_v2": (_pointer,),
    "cuCtxPopCurrent_v2": (ctypes.POINTER(_pointer),),
    "cuCtxSynchronize": (),
    "cuMemGetInfo_v2": (ctypes.POINTER(_size), ctypes.POINTER(_size)),
    "cuMemGetAllocationGranularity": (ctypes.POINTER(_size), ctypes.POINTER(AllocationProp), _int),
    "cuMemAddressReserve": (ctypes.POINTER(_device_pointer), _size, _size, _device_pointer, _u64),
    "cuMemAddressFree": (_device_pointer, _size),
    "cuMemCreate": (ctypes.POINTER(_handle), _size, ctypes.POINTER(AllocationProp), _u64),
    "cuMemRelease": (_handle,),
    "cuMemMap": (_device_pointer, _size, _size, _handle, _u64),
    "cuMemSetAccess": (_device_pointer, _size, ctypes.POINTER(AccessDesc), _size),
    "cuMemUnmap": (_device_pointer, _size),
    "cuMemcpyDtoDAsync_v2": (_device_pointer, _device_pointer, _size, _pointer),
    "cuMemsetD8Async": (_device_pointer, ctypes.c_ubyte, _size, _pointer),
    "cuEventCreate": (ctypes.POINTER(_pointer), ctypes.c_uint),
    "cuEventRecord": (_pointer, _pointer),
    "cuEventSynchronize": (_pointer,),
    "cuEventDestroy_v2": (_pointer,),
}
"""Types of the arguments by entry point; each gives a CUresult."""


class Driver:
    """`driver("cuMemUnmap", address, nbytes)`: the call, checked. Raises `NoMemory` for CUDA_ERROR_OUT_OF_MEMORY, `BackendFailed` for other errors.

    `library` is the driver's, loaded, or something with the same entry points. Raises `StoreUnavailable` where there is no driver, or one from before
    virtual memory management (CUDA 10.2).
    """

    def __init__(self, library: Any = None) -> None:
        self._library = library if library is not None else _load()
        missing = [name for name in SIGNATURES if not hasattr(self._library, name)]
        if missing:
            raise StoreUnavailable(f"the CUDA driver has no {', '.join(missing)}: it is older than CUDA 10.2; update it, or use the CPU backend")
        for name, arguments in SIGNATURES.items():
            entry = getattr(self._library, name)
            entry.argtypes, entry.restype = list(arguments), _int

    def __call__(self, name: str, *arguments: object) -> None:
        status = getattr(self._library, name)(*arguments)
        if status == OUT_OF_MEMORY:
            raise NoMemory(f"{name}: the GPU has no memory left")
        if status:
            raise BackendFailed(f"{name}: {self._name(status)} ({status})")

    def _name(self, status: int) -> str:
        told = ctypes.c_char_p()
        self._library.cuGetErrorName(status, ctypes.byref(told))
        return told.value.decode() if told.value else "an unknown error"


def _load() -> Any:
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise StoreUnavailable(f"there is no CUDA driver on this machine ({error}); the CPU backend needs none") from error
