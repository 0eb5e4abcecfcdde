"""Benchmarks: each measures one claim beside its baselines, in one run, on one machine, with intervals.

`run_cli` runs one by name and prints its result; `list_rows` names them all. Modules load when their benchmark runs.
"""

from mnemos.bench.run import list_rows, run, run_cli

__all__ = ["list_rows", "run", "run_cli"]
