"""What an arena's memory costs: reservations, live sequences, freed pages, shared prefixes. Measured by the system, not by counting."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mnemos.activation.arena.arena import Arena
from mnemos.activation.arena.backend import MIB
from mnemos.activation.arena.cpu import CpuBackend
from mnemos.activation.arena.layout import Layout
from mnemos.base.meter import resident_bytes
from mnemos.bench.result import Check

GIB = 1024 * MIB
SHORTEST, LONGEST, MAX_CTX, SEQUENCES = 16, 4096, 8192, 64
PREFIX, SLOTS = 1000, 16


def measure(rng: np.random.Generator, quick: bool, say: Callable[[str], None]) -> tuple[list[Check], dict[str, Any]]:
    """Checks, and tables of bytes."""
    say("reservations")
    checks = _reservations(50 if quick else 200)
    say("waste")
    found, tables = _waste(rng)
    say("prefixes")
    return [*checks, *found, _prefix(rng)], tables


def log_uniform(rng: np.random.Generator, count: int) -> list[int]:
    """Lengths of sequences in tokens."""
    return [round(float(length)) for length in np.exp(rng.uniform(np.log(SHORTEST), np.log(LONGEST), count))]


def _reservations(rounds: int) -> list[Check]:
    layout = Layout(32, 8, 128, "float16", 64, 8192)
    with Arena(layout):  # what the first one loads
        pass
    gc.collect()
    before, took = resident_bytes(), []
    for _ in range(rounds):
        start = time.perf_counter()
        arena = Arena(layout)
        took.append(time.perf_counter() - start)
        arena.cleanup()
    arena = Arena(layout)
    grown = resident_bytes() - before
    arena.cleanup()
    before = resident_bytes()
    wide = Arena(Layout(32, 8, 128, "float16", 256, 8192))
    wide_grown = resident_bytes() - before
    sizes = layout.nbytes, wide.layout.nbytes
    wide.cleanup()
    return [
        Check(f"{sizes[0] // GIB} GiB of address space, whole arena: ms", float(np.median(took)) * 1e3, 1.0, at_least=False, n=rounds),
        Check(f"{sizes[0] // GIB} GiB reserved: resident growth, MiB", grown / MIB, 0.5, at_least=False),
        Check(f"{sizes[1] // GIB} GiB reserved: resident growth, MiB", wide_grown / MIB, 16.0, at_least=False),
    ]


def _waste(rng: np.random.Generator) -> tuple[list[Check], dict[str, Any]]:
    layout = Layout(2, 8, 64, "float16", SEQUENCES, MAX_CTX)
    backend = CpuBackend()
    lens = log_uniform(rng, SEQUENCES)
    live = sum(lens) * layout.token_bytes
    page_groups = SEQUENCES * layout.block_bytes
    static = SEQUENCES * MAX_CTX * layout.token_bytes
    with Arena(layout, backend) as arena:
        gc.collect()
        before = resident_bytes()
        slots = arena.alloc_slots(SEQUENCES, LONGEST)
        arena.step(dict(zip(slots, lens, strict=True))).check()
        for slot, tokens in zip(slots, lens, strict=True):
            for tensor in range(layout.tensors):
                ctypes.memset(arena.span.base + layout.page_offset(tensor, slot, 0), 1, tokens * layout.row_bytes)
        resident, process = backend.resident_bytes(), resident_bytes() - before
        for slot in slots:
            arena.free_slot(slot)
        arena.step({}, eager_reclaim=True)
        left, process_left = backend.resident_bytes(), resident_bytes() - before
    sizes = {
        "live": live, "arena, process": process, "arena, mincore": resident, "freed, process": process_left, "freed, mincore": left, "static": static,
    }  # fmt: skip
    return [
        Check("waste ÷ one page group of each tensor, by sequence", (resident - live) / page_groups, 1.0, at_least=False, n=SEQUENCES),
        Check("process ÷ (live + a page group a tensor and sequence)", process / (live + page_groups), 1.05, at_least=False, n=SEQUENCES),
        Check("process ÷ static (batch, max_ctx)", process / static, 0.15, at_least=False, baseline=1.0, n=SEQUENCES),
        Check("memory that freed pages return, share", 1 - process_left / process, 0.99, n=SEQUENCES),
    ], {"64 sequences of 16 to 4,096 tokens, room for 8,192": {name: {"MiB": size / MIB} for name, size in sizes.items()}}


def _prefix(rng: np.random.Generator) -> Check:
    layout = Layout(2, 8, 64, "float32", SLOTS, 2048)
    backend = CpuBackend()
    tails = [int(tail) for tail in rng.integers(100, 300, SLOTS)]
    with Arena(layout, backend) as arena:
        gc.collect()
        before = _proportional_bytes()
        slots = list(arena.alloc_slots(SLOTS, PREFIX + 300))
        arena.step({slots[0]: PREFIX}).check()
        arena.map_common(slots[0], slots[1:], *divmod(PREFIX, layout.tokens_per_page)).check()
        arena.step({slot: PREFIX + tail for slot, tail in zip(slots, tails, strict=True)}).check()
        resident = max(_proportional_bytes() - before, backend.resident_bytes())
    needed = (PREFIX + sum(tails)) * layout.token_bytes
    return Check(
        f"{PREFIX} tokens shared by {SLOTS} slots: resident ÷ (one prefix + tails)", resident / needed, 1.15, at_least=False,
        baseline=(SLOTS * PREFIX + sum(tails)) * layout.token_bytes / needed, n=SLOTS,
    )  # fmt: skip


def _proportional_bytes() -> int:
    """Memory of this process, of a page that is mapped often each mapping's share."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
