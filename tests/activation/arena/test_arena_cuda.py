"""The CUDA backend against a driver library that records and checks every call: the documented sequence, errors, and no driver at all."""

from __future__ import annotations

import ctypes
import gc
import threading

import pytest

from activation.arena.backends import ON_LINUX, rows
from activation.arena.fake_driver import FakeDriver
from mnemos.activation.arena import cuda_driver
from mnemos.activation.arena.arena import Arena
from mnemos.activation.arena.backend import MIB, BackendFailed, NoMemory
from mnemos.activation.arena.core import Ahead
from mnemos.activation.arena.cuda import CudaBackend
from mnemos.activation.arena.layout import Layout
from mnemos.activation.arena.tensors import CudaBytes
from mnemos.base.errors import Invalid, StoreUnavailable

pytestmark = ON_LINUX

LAYOUT = Layout(layers=4, kv_heads=8, head_dim=128, dtype="float16", max_batch=2, max_ctx=2048, page=2 * MIB, megacache=True)
"""Two tensors, 256 tokens to a page, eight pages to a slot."""
STILL = Ahead(premap=False, blocks=0)


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver(granularity=2 * MIB, total=64 * MIB)


def _names(driver: FakeDriver) -> list[str]:
    return [name for name, *_ in driver.calls]


def test_the_structures_are_laid_out_as_in_the_driver() -> None:
    assert ctypes.sizeof(cuda_driver.Location) == 8
    assert ctypes.sizeof(cuda_driver.AllocationProp) == 32
    assert ctypes.sizeof(cuda_driver.AccessDesc) == 12
    offsets = {name: getattr(cuda_driver.AllocationProp, name).offset for name, _ in cuda_driver.AllocationProp._fields_}
    assert offsets == {"type": 0, "requested_handle_types": 4, "location": 8, "win32_handle_meta_data": 16, "alloc_flags": 24}


def test_the_sequence_is_the_documented_one(driver: FakeDriver) -> None:
    backend = CudaBackend(stream=0x57, library=driver)
    assert (backend.granularity, backend.name) == (2 * MIB, "cuda:0")
    arena = Arena(LAYOUT, backend, budget=8 * MIB, ahead=STILL)
    base = arena.span.base
    assert _names(driver) == [
        "cuInit", "cuDeviceGet", "cuDeviceGetAttribute", "cuDevicePrimaryCtxRetain", "cuMemGetAllocationGranularity",
        "cuMemAddressReserve", *["cuMemCreate"] * 4,
    ]  # fmt: skip
    assert driver.calls[5] == ("cuMemAddressReserve", LAYOUT.nbytes, 2 * MIB, 0, 0)
    assert all(call == ("cuMemCreate", 2 * MIB, 0) for call in driver.calls[6:])

    handles = sorted(driver.handles)
    driver.calls.clear()
    slot = arena.alloc_slot(300)
    arena.step({slot: 300}).check()
    second = base + LAYOUT.tensor_bytes
    assert driver.calls == [
        ("cuMemMap", base, 2 * MIB, 0, handles[0], 0), ("cuMemMap", base + 2 * MIB, 2 * MIB, 0, handles[2], 0),
        ("cuMemSetAccess", base, 4 * MIB, 1),
        ("cuMemMap", second, 2 * MIB, 0, handles[1], 0), ("cuMemMap", second + 2 * MIB, 2 * MIB, 0, handles[3], 0),
        ("cuMemSetAccess", second, 4 * MIB, 1),
    ]  # fmt: skip
    assert set(driver.accessible) == set(driver.mapped)

    driver.calls.clear()
    arena.step({slot: 256}, eager_reclaim=True).check()  # the stream may still read the second page: wait, then unmap
    waited = ["cuEventCreate", "cuEventRecord", "cuEventSynchronize", "cuEventDestroy_v2"]
    assert _names(driver) == [*waited, "cuMemUnmap", "cuMemUnmap", "cuEventCreate", "cuEventRecord"]
    assert [call[1] for call in driver.calls if call[0] == "cuMemUnmap"] == [base + 2 * MIB, second + 2 * MIB]

    driver.calls.clear()
    arena.free_slot(slot)
    arena.cleanup()
    del arena
    gc.collect()
    assert [name for name in _names(driver) if name.startswith("cuMem")] == [*["cuMemUnmap"] * 2, *["cuMemRelease"] * 4, "cuMemAddressFree"]
    assert _names(driver).index("cuEventSynchronize") < _names(driver).index("cuMemUnmap")
    assert not driver.mapped
    assert not driver.handles
    assert not driver.reserved
    del backend
    gc.collect()
    assert driver.retained == 0
    assert not driver.events


def test_mapping_only_moves_handles(driver: FakeDriver) -> None:
    """Create and release are off the critical path."""
    with Arena(LAYOUT, CudaBackend(library=driver), budget=32 * MIB) as arena:
        driver.calls.clear()
        for _ in range(5):
            slot = arena.alloc_slot(2000)
            arena.step({slot: 2000}).check()
            arena.free_slot(slot)
            arena.step({}, eager_reclaim=True).check()
        assert not {"cuMemCreate", "cuMemRelease", "cuMemAddressReserve"} & set(_names(driver))


def test_without_a_stream_unmapping_waits_for_the_device(driver: FakeDriver) -> None:
    with Arena(LAYOUT, CudaBackend(library=driver), budget=32 * MIB) as arena:
        slot = arena.alloc_slot(2000)
        arena.step({slot: 2000}).check()
        arena.free_slot(slot)
        driver.calls.clear()
        arena.step({}, eager_reclaim=True).check()
        assert _names(driver)[0] == "cuCtxSynchronize"
        assert "cuMemUnmap" in _names(driver)


def test_sharing_maps_one_handle_twice_and_copies_the_tail(driver: FakeDriver) -> None:
    with Arena(LAYOUT, CudaBackend(stream=9, library=driver), budget=32 * MIB) as arena:
        first, second = arena.alloc_slots(2, 600)
        arena.step({first: 600}).check()
        driver.calls.clear()
        arena.map_common(first, [second], 2, 88).check()
        mapped = [call for call in driver.calls if call[0] == "cuMemMap"]
        assert len(mapped) == 2 * 3
        handles = [handle for handle, _ in driver.mapped.values()]
        assert len(handles) - len(set(handles)) == 4
        copies = [call for call in driver.calls if call[0] == "cuMemcpyDtoDAsync_v2"]
        assert [(call[3], call[4]) for call in copies] == [(88 * LAYOUT.row_bytes, 9)] * 2


def test_pages_of_another_namespace_are_filled_with_zero(driver: FakeDriver) -> None:
    layout = Layout(1, 2, 64, max_batch=2, max_ctx=4096, page=2 * MIB)
    with Arena(layout, CudaBackend(library=driver), budget=8 * MIB) as arena:
        slot = arena.alloc_slot(10, "a")
        arena.step({slot: 10}).check()
        rows(arena, 0, 0, slot)[:10] = 5
        arena.free_slot(slot)
        arena.step({}, eager_reclaim=True).check()
        slot = arena.alloc_slot(10, "b")
        driver.calls.clear()
        arena.step({slot: 10}).check()
        assert [call for call in driver.calls if call[0] == "cuMemsetD8Async"]
        assert not rows(arena, 0, 0, slot)[:10].any()


@pytest.mark.parametrize("name", ["cuMemMap", "cuMemSetAccess"])
def test_an_error_of_the_driver_is_named_and_taken_back(name: str, driver: FakeDriver) -> None:
    with Arena(LAYOUT, CudaBackend(library=driver), budget=32 * MIB) as arena:
        slot = arena.alloc_slot(600)
        driver.fail[name] = (2, 1)
        with pytest.raises(BackendFailed, match=rf"{name}: CUDA_ERROR_INVALID_VALUE \(1\)"):
            arena.step({slot: 600})
        assert not driver.mapped
        assert (arena.lens[slot], arena.blocks(slot)) == (0, ())
        arena.step({slot: 600}).check()


def test_memory_that_is_out_is_told_and_nothing_is_kept(driver: FakeDriver) -> None:
    backend = CudaBackend(library=driver)
    assert backend.available_bytes() == 64 * MIB
    with pytest.raises(NoMemory, match="cuMemCreate: the GPU has no memory left"):
        backend.create(2 * MIB, 33)
    assert not driver.handles
    with Arena(Layout(4, 8, 128, "float16", 1, 2048, 2 * MIB, megacache=True), backend) as arena:
        assert arena.pool_blocks == 8  # what all slots can use
    with Arena(Layout(4, 8, 128, "float16", 64, 2048, 2 * MIB, megacache=True), backend) as arena:
        assert arena.pool_blocks == 14  # of blocks of 4 MiB, in 0.9 of what is free
        assert backend.resident_bytes() == 56 * MIB


def test_pages_finer_than_the_driver_maps_are_refused(driver: FakeDriver) -> None:
    with pytest.raises(Invalid, match="65,536 bytes is no multiple of the 2,097,152 that cuda:0 can map"):
        Arena(Layout(1, 8, 128, "float16", page=65536), CudaBackend(library=driver))


def test_no_driver_no_gpu_and_old_drivers_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> object:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    with pytest.raises(StoreUnavailable, match=r"there is no CUDA driver on this machine \(.*cannot open.*\); the CPU backend needs none"):
        CudaBackend()
    monkeypatch.undo()
    with pytest.raises(BackendFailed, match=r"cuInit: CUDA_ERROR_NO_DEVICE \(100\)"):
        CudaBackend(library=FakeDriver(devices=0))
    with pytest.raises(BackendFailed, match=r"cuDeviceGet: an unknown error \(101\)"):
        CudaBackend(device=3, library=FakeDriver())
    with pytest.raises(StoreUnavailable, match="GPU 0 does not manage virtual memory"):
        CudaBackend(library=FakeDriver(manages=False))
    old = FakeDriver()
    del old.cuMemMap, old.cuMemCreate  # type: ignore[attr-defined]
    with pytest.raises(StoreUnavailable, match=r"has no cuMemCreate, cuMemMap: it is older than CUDA 10\.2"):
        CudaBackend(library=old)


def test_torch_gets_the_reservation_as_bytes_and_keeps_it(driver: FakeDriver) -> None:
    arena = Arena(LAYOUT, CudaBackend(library=driver), budget=4 * MIB)
    told = CudaBytes(arena.span)
    shown = told.__cuda_array_interface__
    assert shown == {"shape": (LAYOUT.nbytes,), "typestr": "|u1", "data": (arena.span.base, False), "version": 3, "strides": None, "stream": None}
    arena.cleanup()
    del arena
    gc.collect()
    assert driver.reserved
    del told
    gc.collect()
    assert not driver.reserved


def test_the_threads_own_context_comes_back(driver: FakeDriver) -> None:
    """Another library's current context is as it was after every call, also in the worker."""
    with Arena(LAYOUT, CudaBackend(library=driver), budget=32 * MIB) as arena:
        slot = arena.alloc_slot(256)
        driver._context().append(0xABC)
        arena.step_async({slot: 256}).check()
        arena.join()
        assert driver._context() == [0xABC]
        assert len(arena.blocks(slot)) == 2
        left: list[int] = []
        thread = threading.Thread(target=lambda: left.append(arena.num_free_blocks() and len(driver._context())))
        thread.start()
        thread.join()
        assert left == [0]
