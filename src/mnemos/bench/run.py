"""Running a benchmark from the command line: progress on stderr, one result on stdout."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from mnemos.bench.registry import BENCHMARKS, Options, find
from mnemos.bench.result import Result, render


def list_rows() -> list[dict[str, str]]:
    """`name`, `paper` and `claim` of every benchmark."""
    return [{"name": each.name, "paper": each.paper, "claim": each.claim} for each in BENCHMARKS.values()]


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
) -> int:
    """Runs one benchmark and prints its result: a JSON object with `json`, else a table. Gives 0 when it ran, whatever it holds; with `gate`
    1 where it misses a bound.

    `peer` names one other system, several with commas between, or a tuple. Raises as `run`.
    """
    peers = tuple(part.strip() for part in peer.split(",") if part.strip()) if isinstance(peer, str) else tuple(peer)
    watcher = Console(stderr=True)
    options = Options(quick=quick, data=Path(data) if data else None, seed=seed, peers=peers)
    if json:
        result = run(name, options)
        sys.stdout.write(result.as_json() + "\n")
        return int(gate and result.holds is False)
    with watcher.status(f"{name} …") as status:
        result = run(name, Options(quick, options.data, seed, peers, say=lambda text: status.update(f"{name}: {text}")))
    Console().print(render(result))
    return int(gate and result.holds is False)
