"""The arena: what its memory costs beside live bytes, what growth and decoding cost beside other layouts, and how many calls reclamation makes."""

from __future__ import annotations

from mnemos.base.meter import Seconds, machine
from mnemos.bench import arena_calls, arena_kv, arena_memory, arena_speed
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Result
from mnemos.bench.threads import one_thread

NOTES = (
    "One thread of torch, which maps its pages itself; its processor time. Arms take turns token by token, and a ratio is the median of the ratios "
    "of short runs side by side, so that what else the machine does falls on all of them.",
    "Waiting for pages: mapping in the caller's thread, and waiting for the worker that maps ahead, which needs a core that is free. On a busy "
    "machine it comes late; the caller's processor time stands beside it.",
    "Resident memory is the process's growth (RSS), for shared pages its proportional share (PSS); pages that return are told by mincore and the "
    "memory file's blocks as well.",
    "Calls of commit and un-commit are pages mapped and unmapped on the counting backend: a GPU's driver is called once for each.",
    "What growth writes counts what concatenations, copies and clones put out; its peak is that of the process's resident memory (VmHWM).",
    "The GPU's checks of the sheet are not part of this run.",
)


def run(benchmark: Benchmark, options: Options) -> Result:
    """Every part in turn. Raises `BackendFailed` where the system has not what the arena needs."""
    clock = Seconds()
    with one_thread():
        parts = [
            arena_memory.measure(options.rng(), options.quick, options.say),
            arena_speed.measure(options.quick, options.say),
            arena_kv.measure(options.quick, options.say),
            arena_calls.measure(options.seed, options.quick, options.say),
        ]
    checks = [check for found, _ in parts for check in found]
    tables = {title: rows for _, some in parts for title, rows in some.items()}
    details = {"tables": tables, "quick": options.quick, "seed": options.seed, "notes": list(NOTES)}
    return Result.of(benchmark.name, benchmark.paper, benchmark.claim, checks, seconds=clock.seconds, machine=machine().as_dict(), details=details)
