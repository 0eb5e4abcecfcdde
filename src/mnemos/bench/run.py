"""Running a benchmark from the command line: progress on stderr, one result on stdout."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from mnemos.base.errors import Invalid
from mnemos.bench.registry import BENCHMARKS, Options, find
from mnemos.bench.result import Result, render


def list_rows() -> list[dict[str, str]]:
    """`name`, `paper` and `claim` of every benchmark."""
    return [{"name": each.name, "paper": each.paper, "claim": each.claim} for each in BENCHMARKS.values()]


def own_options(name: str, arguments: Sequence[str]) -> dict[str, str]:
    """Options of a benchmark's own, `--name VALUE` or `--name=VALUE`, by name; of one that is given again, the values with commas between.
    Raises `NotFound` for an unknown benchmark, `Invalid`, listing those that it takes, for what is none."""
    takes = find(name).takes
    there = f"{name} takes {', '.join(f'--{option}' for option in takes)}" if takes else f"{name} takes no options of its own"
    found: dict[str, list[str]] = {}
    left = list(arguments)
    while left:
        option, equals, value = left.pop(0).partition("=")
        known = option.removeprefix("--")
        if not option.startswith("--") or known not in takes:
            raise Invalid(f"no such option: {option}; {there}")
        if not equals:
            if not left or left[0].startswith("--"):
                raise Invalid(f"{option} needs a value: {takes[known]}")
            value = left.pop(0)
        found.setdefault(known, []).append(value)
    return {known: ",".join(values) for known, values in found.items()}


def run(name: str, options: Options | None = None) -> Result:
    """Runs one benchmark. Raises `NotFound` for an unknown name or absent data."""
    return find(name).run(options or Options())


def run_cli(
    name: str,
    quick: bool = False,
    json: bool = False,
    data: str | Path | None = None,
    peer: str | tuple[str, ...] = (),
    seed: int = 0,
    gate: bool = False,
    own: Mapping[str, str] | None = None,
) -> int:
    """Runs one benchmark and prints its result: a JSON object with `json`, else a table. Gives 0 when it ran, whatever it holds; with `gate`
    1 where it misses a bound.

    `peer` names one other system, several with commas between, or a tuple; `own` are the benchmark's own options. Raises as `run`.
    """
    peers = tuple(part.strip() for part in peer.split(",") if part.strip()) if isinstance(peer, str) else tuple(peer)
    watcher = Console(stderr=True)
    options = Options(quick=quick, data=Path(data) if data else None, seed=seed, peers=peers, own=own or {})
    if json:
        result = run(name, options)
        sys.stdout.write(result.as_json() + "\n")
        return int(gate and result.holds is False)
    with watcher.status(f"{name} …") as status:
        result = run(name, replace(options, say=lambda text: status.update(f"{name}: {text}")))
    Console().print(render(result))
    return int(gate and result.holds is False)
