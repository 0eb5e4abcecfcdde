"""What the arena does to this system: reserved memory costs nothing, freed pages return, limits are told, children of a fork get nothing."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from activation.arena.backends import MAKERS, ON_LINUX, WITH_MEMORY, rows
from mnemos.activation.arena.arena import Arena
from mnemos.activation.arena.backend import MIB, BackendFailed
from mnemos.activation.arena.cpu import CpuBackend, cpu_backend
from mnemos.activation.arena.fake import FakeBackend
from mnemos.activation.arena.layout import Layout
from mnemos.activation.arena.limits import NoAddressSpace, available_memory, check_reservation
from mnemos.activation.arena.plain import PlainBackend
from mnemos.activation.arena.tensors import init, tensor
from mnemos.base.errors import Invalid
from mnemos.base.meter import resident_bytes

LAYOUT = Layout(layers=2, kv_heads=4, head_dim=64, max_batch=4, max_ctx=4096)


@ON_LINUX
def test_reserving_takes_address_space_and_no_memory() -> None:
    layout = Layout(32, 8, 128, "float16", 64, 8192)
    assert layout.nbytes == 64 << 30
    before = resident_bytes()
    with Arena(layout) as arena:
        views = [tensor(arena, layer, 0) for layer in range(32)]
        assert views[31].shape == (64, 8192, 8, 128)
        assert resident_bytes() - before < 2 * MIB
        assert arena.backend.resident_bytes() == 0


@ON_LINUX
@pytest.mark.parametrize("huge", [False, True])
def test_pages_come_with_the_step_and_return_when_they_are_taken_back(huge: bool) -> None:
    backend = CpuBackend(huge)
    layout = Layout(layers=2, kv_heads=4, head_dim=64, max_batch=4, max_ctx=8192, page=2 * MIB)
    with Arena(layout, backend) as arena:
        slot = arena.alloc_slot(8192)
        before = resident_bytes()
        arena.step({slot: 8192}).check()
        assert backend.resident_bytes() == 4 * 8 * MIB
        assert 30 * MIB < resident_bytes() - before < 34 * MIB
        rows(arena, 0, 0, slot)[:] = 3
        arena.step({slot: 2000}, eager_reclaim=True).check()
        assert backend.resident_bytes() == 4 * 2 * MIB
        assert resident_bytes() - before < 10 * MIB
        assert (rows(arena, 0, 0, slot)[:2000] == 3).all()  # neighbours are untouched
        arena.free_slot(slot)
        arena.step({}, eager_reclaim=True)
        assert backend.resident_bytes() == 0
        assert resident_bytes() - before < 2 * MIB


@ON_LINUX
def test_shared_pages_return_when_the_last_slot_lets_go() -> None:
    backend = CpuBackend()
    with Arena(LAYOUT, backend) as arena:
        slots = list(arena.alloc_slots(4, 4096))
        arena.step({slots[0]: 4096}).check()
        alone = backend.resident_bytes()
        arena.map_common(slots[0], slots[1:], 64).check()
        assert backend.resident_bytes() == alone
        for slot in slots[:-1]:
            arena.free_slot(slot)
        assert backend.resident_bytes() == alone
        arena.free_slot(slots[-1])
        arena.step({}, eager_reclaim=True)
        assert backend.resident_bytes() == 0


@pytest.mark.parametrize("name", WITH_MEMORY)
def test_address_space_lives_as_long_as_a_view(name: str) -> None:
    backend = MAKERS[name]()
    arena = Arena(LAYOUT, backend)
    if arena.capabilities.device != "cpu":
        pytest.skip("torch looks at a GPU's memory only with a GPU")
    slot = arena.alloc_slot(10)
    arena.step({slot: 10}).check()
    view = tensor(arena, 1, 1)
    view[slot, :10] = 2
    arena.cleanup()
    del arena
    gc.collect()
    assert view[slot, :10].unique().tolist() in ([0.0], [2.0])  # no crash; where pages return, zero
    if backend.capabilities().releases:
        assert not view[slot, :10].any()
    del view
    gc.collect()
    assert not backend._reserved  # type: ignore[attr-defined]


def test_an_arena_that_is_dropped_gives_everything_back() -> None:
    backend = FakeBackend()
    arena = Arena(LAYOUT, backend)
    arena.step({arena.alloc_slot(100): 100}).check()
    del arena
    gc.collect()
    assert (backend.resident_bytes(), backend.available_bytes()) == (0, backend.limit)
    assert backend.calls["free"] == 1


def test_init_gives_views_of_all_layers() -> None:
    arena, views = init(2, 4, 16, torch.bfloat16, max_batch=3, max_ctx=100, page=4096, megacache=True)
    with arena:
        slot = arena.alloc_slot(50)
        arena.step({slot: 50}).check()
        for layer, (keys, values) in enumerate(views):
            assert keys.shape == values.shape == (3, 100, 4, 16)
            keys[slot, :50], values[slot, :50] = layer, layer + 10
        assert [(keys[slot, :50].unique().item(), values[slot, :50].unique().item()) for keys, values in views] == [(0, 10), (1, 11)]


def test_counting_has_no_memory_to_look_at() -> None:
    with Arena(LAYOUT, FakeBackend()) as arena, pytest.raises(Invalid, match="no memory to look at"):
        tensor(arena, 0, 0)


def test_a_type_that_no_layout_knows_is_refused() -> None:
    with pytest.raises(Invalid, match=r"not torch\.complex64"):
        init(1, 1, 8, torch.complex64)


def test_a_page_that_the_backend_cannot_map_is_refused() -> None:
    with pytest.raises(Invalid, match="no multiple of the 65,536 that fake can map"):
        Arena(Layout(1, 1, 8, page=4096), FakeBackend(granularity=65536))


def _run(code: str) -> str:
    """What a process of its own prints."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@ON_LINUX
def test_a_limit_of_address_space_is_told_and_fewer_slots_fit_it() -> None:
    told = _run(
        """
        import resource
        from mnemos.activation.arena.arena import Arena
        from mnemos.activation.arena.layout import Layout
        from mnemos.activation.arena.limits import NoAddressSpace
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        layout = Layout(8, 8, 64, max_batch=64, max_ctx=8192)
        try:
            Arena(layout, budget=1 << 24)
        except NoAddressSpace as error:
            print(error, error.left < 4 << 30)
        arena = Arena(layout, budget=1 << 24, shrink=True)
        print(0 < arena.layout.max_batch < 16)
        arena.step({arena.alloc_slot(9): 9}).check()
        """
    )
    assert "17,179,934,720 bytes of address space are wanted" in told
    assert "(ulimit -v); raise it, or lower max_batch or max_ctx True\nTrue" in told


def test_strict_overcommit_is_told(tmp_path: Path) -> None:
    (tmp_path / "sys/vm").mkdir(parents=True)
    (tmp_path / "sys/vm/overcommit_memory").write_text("2\n")
    (tmp_path / "meminfo").write_text("MemAvailable: 5000 kB\nCommitLimit: 3000 kB\nCommitted_AS: 1000 kB\n")
    check_reservation(2000 * 1024, tmp_path)
    with pytest.raises(NoAddressSpace, match=r"2,048,000 can be had: reservations count as memory here .* set it to 0 or 1") as caught:
        check_reservation(2000 * 1024 + 1, tmp_path)
    assert caught.value.left == 2000 * 1024
    (tmp_path / "sys/vm/overcommit_memory").write_text("0\n")
    check_reservation(1 << 50, tmp_path)


def test_available_memory_is_the_control_groups_where_it_has_less(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 5000 kB\n")
    assert available_memory(tmp_path, tmp_path) == 5000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert available_memory(tmp_path, tmp_path) == 5000 * 1024
    (tmp_path / "memory.max").write_text("3000000\n")
    assert available_memory(tmp_path, tmp_path) == 2_999_000
    assert available_memory(tmp_path / "none", tmp_path / "none") > 0


@ON_LINUX
def test_a_child_of_a_fork_gets_no_memory_and_a_clear_error() -> None:
    told = _run(
        """
        import os, time
        from pathlib import Path
        from mnemos.activation.arena.arena import Arena
        from mnemos.activation.arena.layout import Layout
        from mnemos.base.errors import Invalid
        arena = Arena(Layout(2, 4, 64, max_batch=4, max_ctx=4096))
        slots = list(arena.alloc_slots(2, 4000))
        arena.step({slots[0]: 4000}).check()
        arena.map_common(slots[0], [slots[1]], 20).check()
        base, size = arena.span.base, arena.span.nbytes
        print(arena.backend.resident_bytes(), flush=True)
        child = os.fork()
        if child == 0:
            for line in Path("/proc/self/maps").read_text().splitlines():
                start, stop = (int(part, 16) for part in line.split()[0].split("-"))
                assert stop <= base or start >= base + size, line
            try:
                arena.alloc_slot(1)
            except Invalid as error:
                print(error, flush=True)
            del arena
            os._exit(0)
        print(os.waitpid(child, 0)[1], arena.backend.resident_bytes(), arena.alloc_slot(1))
        """
    )
    first, error, last = told.splitlines()
    assert error == "an arena cannot be used in a child of the process that made it: make one after the fork"
    assert last == f"0 {first} 2"


@ON_LINUX
def test_the_kernels_refusals_are_raised_and_leave_pages_as_they_were() -> None:
    backend = CpuBackend()
    base = backend.reserve(1 << 20, 4096)
    handles = backend.create(4096, 4)
    backend.map(base, 4096, handles[:2])
    with pytest.raises(BackendFailed, match=r"mmap of 4,096 bytes: Invalid argument"):
        backend.map(base + 100, 4096, [handles[0]])  # a shared page at an address that is none
    with pytest.raises(BackendFailed, match=r"madvise\(23\)"):
        backend.map(base + 8292, 4096, [handles[2]])
    with pytest.raises(Invalid, match="are mapped already"):
        backend.map(base + 4096, 4096, [handles[3]])
    with pytest.raises(Invalid, match="are not all mapped"):
        backend.unmap(base, 4096, 3)
    with pytest.raises(Invalid, match="cannot be given back"):
        backend.release(handles)
    ctypes.memset(base, 7, 4096)
    backend.map(base + 8192, 4096, [handles[0]])
    assert ctypes.string_at(base + 8192, 4096) == b"\7" * 4096
    backend.unmap(base, 4096, 1)
    backend.unmap(base + 8192, 4096, 1, keep=True)
    assert backend.resident_bytes() == 2 * 4096
    backend.map(base + 40960, 4096, [handles[0]])
    assert ctypes.string_at(base + 40960, 4096) == b"\7" * 4096
    backend.unmap(base + 40960, 4096, 1)
    backend.unmap(base + 4096, 4096, 1)
    assert backend.resident_bytes() == 0
    backend.map(base, 4096, [handles[0]])
    assert ctypes.string_at(base, 4096) == b"\0" * 4096
    backend.unmap(base, 4096, 1)
    backend.release(handles)
    backend.free(base)


@ON_LINUX
def test_pages_committed_by_touching_are_resident_too() -> None:
    backend = CpuBackend(populate=False)
    assert "touching" in backend.capabilities().notes[0]
    with Arena(LAYOUT, backend) as arena:
        arena.step({arena.alloc_slot(4096): 4096}).check()
        assert backend.resident_bytes() == LAYOUT.block_bytes * LAYOUT.blocks_per_slot


def test_elsewhere_the_backend_is_plain_and_says_what_is_weaker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    backend = cpu_backend()
    assert isinstance(backend, PlainBackend)
    told = backend.capabilities()
    assert (told.releases, told.shares, told.zeroed, told.fork_safe, len(told.notes)) == (False, False, False, False, 3)


def test_the_arena_alone_does_without_torch() -> None:
    told = _run(
        """
        import sys
        from mnemos.activation.arena.arena import Arena
        from mnemos.activation.arena.cuda import CudaBackend
        from mnemos.activation.arena.fake import FakeBackend
        print(sorted({"torch", "transformers"} & set(sys.modules)))
        """
    )
    assert told == "[]\n"
