"""A benchmark that is measured part by part, each with checks and tables of its own. A long one is run a part at a time: MNEMOS_BENCH_PARTS names
those that are wanted, with commas between; progress names them all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mnemos.base.errors import Invalid
from mnemos.base.meter import Seconds, machine
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result

VARIABLE = "MNEMOS_BENCH_PARTS"

Measured = tuple[list[Check], Mapping[str, Any]]
Part = Callable[[Options], Measured]


def in_parts(benchmark: Benchmark, options: Options, parts: Sequence[Part], notes: Sequence[str]) -> Result:
    """The result of all parts, in their order, or of those that the environment names; progress names each by its function. Raises `Invalid` for a
    name that no part has."""
    clock = Seconds()
    checks: list[Check] = []
    tables: dict[str, Any] = {}
    wanted = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    names = [_name(part) for part in parts]
    if strange := sorted(set(wanted) - set(names)):
        raise Invalid(f"{VARIABLE}: {benchmark.name} has no part {', '.join(strange)}; it has {', '.join(names)}")
    if wanted:
        notes = [*notes, f"Only the parts {', '.join(name for name in names if name in wanted)}."]
    for part in parts:
        if wanted and _name(part) not in wanted:
            continue
        options.say(_name(part))
        found, shown = part(options)
        checks += found
        tables |= shown
    details = {"tables": tables, "quick": options.quick, "seed": options.seed, "notes": notes}
    return Result.of(benchmark.name, benchmark.paper, benchmark.claim, checks, seconds=clock.seconds, machine=machine().as_dict(), details=details)


def _name(part: Part) -> str:
    return str(getattr(part, "__name__", "")).strip("_")
