"""A benchmark that is measured part by part, each with checks and tables of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mnemos.base.meter import Seconds, machine
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result

Measured = tuple[list[Check], Mapping[str, Any]]
Part = Callable[[Options], Measured]


def in_parts(benchmark: Benchmark, options: Options, parts: Sequence[Part], notes: Sequence[str]) -> Result:
    """The result of all parts, in their order; progress names each by its function."""
    clock = Seconds()
    checks: list[Check] = []
    tables: dict[str, Any] = {}
    for part in parts:
        options.say(getattr(part, "__name__", "").strip("_"))
        found, shown = part(options)
        checks += found
        tables |= shown
    details = {"tables": tables, "quick": options.quick, "seed": options.seed, "notes": notes}
    return Result.of(benchmark.name, benchmark.paper, benchmark.claim, checks, seconds=clock.seconds, machine=machine().as_dict(), details=details)
