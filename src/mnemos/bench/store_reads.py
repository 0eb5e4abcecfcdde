"""What reading costs: searches over many cubes, with filters and beside a writer; opening; whole processes from cold."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import mnemos
from mnemos.base.errors import MnemosError
from mnemos.base.meter import Latency, Seconds, disk_bytes, resident_bytes
from mnemos.base.protocols import Embedder
from mnemos.bench.result import Check

Table = dict[str, dict[str, Any]]
OURS = "mnemos"
SHARES = {"p01": 0.01, "p10": 0.10, "p50": 0.50}
"""Tags, and the share of cubes that has each."""

REPEATS = 7
OPENER = """
import sys, time, mnemos
from mnemos.bench.embedding import SeededEmbedder
embedder = SeededEmbedder()
start = time.perf_counter()
memory = mnemos.open(sys.argv[1], embedder=embedder)
space = memory.space("large")
opened = time.perf_counter()
space.search("the first search after opening", k=10)
print(opened - start, time.perf_counter() - opened)
"""


def search(folder: Path, texts: Sequence[str], questions: Sequence[str], embedder: Embedder, rng: np.random.Generator
           ) -> tuple[list[Check], Table, Table]:
    """Imports the texts, then asks all questions with their vectors given, without a filter, with filters, and beside a writer.

    Gives the checks, latencies, and what the store takes.
    """
    path = folder / "store.db"
    table: Table = {}
    before = resident_bytes()
    memory = mnemos.open(str(path), embedder=embedder)
    space = memory.space("large")
    draws = rng.random(len(texts))
    records = [{"text": text, "tags": [tag for tag, share in SHARES.items() if draw < share]} for text, draw in zip(texts, draws, strict=True)]
    with Seconds() as importing:
        space.add_many(records)
    vectors = embedder.embed(questions)

    def ask(**filters: Any) -> list[float]:
        took = []
        for question, vector in zip(questions, vectors, strict=True):
            with Seconds() as one:
                hits = space.search(question, k=10, vector=vector, **filters)
            took.append(one.seconds)
            if len(hits) != 10:
                raise MnemosError(f"search benchmark: {len(hits)} hits instead of 10 for {question!r}, filters {filters}")
        return took

    ask()  # the first round warms the file system's and SQLite's caches
    rounds = {"no filter": ask(), **{f"filter of {share:.0%}": ask(tags=[tag]) for tag, share in SHARES.items()}}
    rounds["beside a writer"] = _beside_writer(space, ask)
    held = resident_bytes() - before
    memory.close()
    for name, took in rounds.items():
        table[name] = dict(Latency.of(took).milliseconds())
    n, plain = len(texts), Latency.of(rounds["no filter"])
    filtered = [Latency.of(took) for name, took in rounds.items() if name.startswith("filter")]
    opening, first = _opening(path)
    raw = sum(len(text.encode()) for text in texts) + 4 * embedder.dimensions * n
    size = disk_bytes(folder)
    takes = {"import cubes/s": n / importing.seconds, "open s": opening, "first search ms": first * 1e3, "memory MB": held / 1e6,
             "on disk MB": size / 1e6, "text and vectors MB": raw / 1e6}
    return [
        Check(f"search over {n:,} cubes, ms, p50", plain.p50 * 1e3, 15, at_least=False, n=plain.n),
        Check(f"search over {n:,} cubes, ms, p95", plain.p95 * 1e3, 40, at_least=False, n=plain.n),
        Check("search with filters, ms, worst p50", max(one.p50 for one in filtered) * 1e3, 15, at_least=False, n=plain.n),
        Check("search with filters, ms, worst p95", max(one.p95 for one in filtered) * 1e3, 40, at_least=False, n=plain.n),
        Check(f"open {n:,} cubes, s", opening, 1.0, at_least=False, n=3),
        Check("open and answer a first search, s", opening + first, None, at_least=False, n=3),
        Check("bytes on disk ÷ text and float32 vectors", size / raw, 1.5, at_least=False, n=n),
    ], table, {OURS: takes}


def _beside_writer(space: Any, ask: Any) -> list[float]:
    stop = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            for i in range(10**9):
                if stop.is_set():
                    return
                space.add(f"note {i} that is written while others read")
        except BaseException as error:  # noqa: BLE001  raised below, by the one who waits
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        took: list[float] = ask()
    finally:
        stop.set()
        writer.join()
    if failures:
        raise failures[0]
    return took


def _opening(path: Path) -> tuple[float, float]:
    """Median seconds, in processes of their own, of opening the store with its space, and of the first search."""
    runs = [[float(x) for x in _output([sys.executable, "-c", OPENER, str(path)]).split()] for _ in range(3)]
    opened, first = np.median(np.array(runs), axis=0)
    return float(opened), float(first)


def processes(commands: Mapping[str, tuple[Sequence[str], float]]) -> tuple[list[Check], Table]:
    """Median seconds of whole processes, `{name: (command, bound)}`, interleaved, each after one run to warm the disk's cache.

    Of a command that starts with `-`, run by this Python, the time of an empty Python is taken off.
    """
    took: dict[str, list[float]] = {name: [] for name in ("empty", *commands)}
    lines = {"empty": ["-c", "pass"], **{name: list(command) for name, (command, _) in commands.items()}}
    for round_number in range(REPEATS + 1):
        for name, line in lines.items():
            full = [sys.executable, *line] if line[0].startswith("-") else line
            with Seconds() as one:
                _output(full)
            if round_number:
                took[name].append(one.seconds)
    empty = float(np.median(took["empty"]))
    checks = []
    for name, (command, bound) in commands.items():
        median = float(np.median(took[name])) - (empty if command[0].startswith("-") else 0.0)
        checks.append(Check(f"{name}, s", median, bound, at_least=False, n=REPEATS))
    return checks, {name: {"median s": float(np.median(runs)), "worst s": max(runs)} for name, runs in took.items()}


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise MnemosError(f"benchmark: {' '.join(command)[:200]} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout
