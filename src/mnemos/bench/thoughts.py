"""Thoughts (Think-in-Memory): consistency, correctness at equal tokens, the hashed index, upkeep, knowledge updates."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from mnemos.base.meter import Seconds, machine
from mnemos.bench import thoughts_hashing, thoughts_people, thoughts_stories, thoughts_updates, thoughts_upkeep
from mnemos.bench.embedding import CountingEmbedder, vector_folder
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.models.minilm import MiniLM

NOTES = (thoughts_stories.NOTE, thoughts_people.NOTE, thoughts_hashing.NOTE, thoughts_upkeep.NOTE, thoughts_updates.NOTE)


def run(benchmark: Benchmark, options: Options) -> Result:
    """The checks of the sheet in their order."""
    clock = Seconds()
    embedder = CountingEmbedder(MiniLM(), vector_folder())
    checks: list[Check] = []
    tables: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp(prefix="mnemos-bench-"))
    try:
        for found, more in (
            thoughts_stories.measure(options, embedder, folder),
            thoughts_people.measure(options, embedder, folder),
            thoughts_hashing.law(options),
            thoughts_hashing.searches(options),
            thoughts_upkeep.measure(options, embedder, folder),
            thoughts_updates.measure(options, embedder, ("plain", "thoughts"), folder),
        ):
            checks += found
            tables |= more
    finally:
        shutil.rmtree(folder)
    return Result.of(
        benchmark.name, benchmark.paper, benchmark.claim, checks, seconds=clock.seconds, machine=machine().as_dict(),
        details={"tables": tables, "notes": list(NOTES), "quick": options.quick, "seed": options.seed},
    )  # fmt: skip
