"""The store's costs: durable writes, bulk import, search at size, opening, churn, recovery, and cold processes."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mnemos
from mnemos.base.meter import Seconds, machine
from mnemos.bench import store_reads, store_writes
from mnemos.bench.datasets import data_folder
from mnemos.bench.embedding import SeededEmbedder
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.store_texts import questions, recombined, sentences
from mnemos.models.hashed import HashedEmbedder
from mnemos.models.minilm import MiniLM

NOTES = (
    "Search: random unit vectors of 384 dimensions stand for a model's, and the query's vector is given, so its embedding is not timed. "
    "Texts are sentences of novels and speeches, recombined.",
    "`import mnemos`: less the time of an empty Python. Other processes: whole.",
)


@dataclass(frozen=True)
class Sizes:
    """How much of everything: cubes for the search, questions, cubes of bulk import by embedder, churned and live cubes, kills."""

    cubes: int = 100_000
    questions: int = 300
    rounds: int = 15
    bulk: int = 30_000
    bulk_model: int = 1000
    churned: int = 100_000
    live: int = 5000
    batch: int = 500
    kills: int = 5
    writes: int = 300


QUICK = Sizes(cubes=10_000, questions=100, rounds=5, bulk=10_000, bulk_model=200, churned=5000, live=500, batch=100, kills=2, writes=100)


def run(benchmark: Benchmark, options: Options) -> Result:
    """Each part in a store of its own, one after the other."""
    clock, rng = Seconds(), options.rng()
    sizes = QUICK if options.quick else Sizes()
    pool = sentences(data_folder(options.data))
    hashed, seeded = HashedEmbedder(), SeededEmbedder()
    checks: list[Check] = []
    tables: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="mnemos-bench-") as home:

        def folder(name: str) -> Path:
            options.say(name)
            path = Path(home, name)
            path.mkdir()
            return path

        def keep(title: str, outcome: tuple[list[Check], dict[str, Any]]) -> None:
            checks.extend(outcome[0])
            tables[title] = outcome[1]

        single = recombined(pool, 5000 + 20 * sizes.rounds, rng)
        keep("Durable writes", store_writes.durable(folder("durable writes"), single, hashed, sizes.rounds))
        many = recombined(pool, max(sizes.cubes, sizes.churned, sizes.bulk) + sizes.bulk_model, rng)
        of_model = many[-sizes.bulk_model :]
        keep("Bulk import", store_writes.bulk(folder("bulk import"), many[: sizes.bulk], hashed, MiniLM(), of_model))
        asked = questions(pool, sizes.questions, rng)
        large = folder("search")
        found, latencies, takes = store_reads.search(large, many[: sizes.cubes], asked, seeded, rng)
        keep(f"Search over {sizes.cubes:,} cubes", (found, latencies))
        keep(f"A store of {sizes.cubes:,} cubes", ([], takes))
        keep("Processes", store_reads.processes(_commands(folder("processes"))))
        keep("Recovery", store_writes.recovery(folder("recovery"), sizes.kills, sizes.writes, hashed))
        keep("Churn", store_writes.churn(folder("churn"), many[: sizes.churned], seeded, sizes.live, sizes.batch))
    details = {"tables": tables, "quick": options.quick, "seed": options.seed, "notes": list(NOTES)}
    return Result.of(benchmark.name, benchmark.paper, benchmark.claim, checks,
                     seconds=clock.seconds, machine=machine().as_dict(), details=details)


def _commands(folder: Path) -> dict[str, tuple[list[str], float]]:
    path = folder / "memory.db"
    with mnemos.open(str(path)) as memory:
        memory.space("default").add("I moved to Lisbon in May.")
    program = str(Path(sys.executable).parent / "mnemos")
    return {
        "import mnemos": (["-c", "import mnemos"], 0.15),
        "mnemos --help": ([program, "--help"], 0.4),
        "mnemos search": ([program, "search", "Where do I live?", "--store", str(path)], 1.0),
    }
