"""`mnemos bench strategies`: the foundation, each strategy, and auto, on every set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mnemos.base.meter import Seconds, machine
from mnemos.bench.datasets import data_folder
from mnemos.bench.embedding import CountingEmbedder, vector_folder
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.strategies.comparing import Trial, compare
from mnemos.bench.strategies.sets import load
from mnemos.models.minilm import MiniLM
from mnemos.text.registry import STRATEGIES

MULTI_HOP = ("musique", "2wikimultihopqa")
GAIN = 0.08
"""Of all-evidence recall@10, that the best of the relational strategies has to have over the foundation."""
WORSE = 0.01
"""By how much auto may fall short of the best single strategy on any set."""
READ_MS = 50.0
QUICK_SETS = ("musique", "2wikimultihopqa", "msc")


def run(benchmark: Benchmark, options: Options) -> Result:
    """Evidence found, handed to a prompt, and what it cost; strategies are compared on the same texts and vectors."""
    clock = Seconds()
    embedder = CountingEmbedder(MiniLM(), vector_folder())
    trials: dict[str, dict[str, Trial]] = {}
    for name, corpora in load(data_folder(options.data), options, QUICK_SETS if options.quick else None).items():
        options.say(name)
        trials[name] = compare(corpora, _strategies(), embedder, options)
    tables = {name: {strategy: trial.row() for strategy, trial in found.items()} for name, found in trials.items()}
    notes = [*NOTES, *([QUICK] if options.quick else [])]
    details = {"tables": tables, "quick": options.quick, "seed": options.seed, "notes": notes}
    return Result.of(benchmark.name, benchmark.paper, benchmark.claim, _checks(trials, options), seconds=clock.seconds,
                     machine=machine().as_dict(), details=details)  # fmt: skip


NOTES = (
    "Times are without embedding. `answer`: the context holds the short answer word for word. MSC asks by the annotator's note of a fact, which is "
    "no question. Contexts have at most 1,000 tokens.",
)

QUICK = "Quick: a few questions over their own candidate passages, where the foundation misses little: only some gain is asked for."


def _strategies() -> list[str]:
    """The foundation first, auto last."""
    return ["plain", *(name for name in STRATEGIES if name not in ("plain", "auto")), "auto"]


def _checks(trials: Mapping[str, Mapping[str, Trial]], options: Options) -> list[Check]:
    checks: list[Check] = []
    for name in MULTI_HOP:
        found = trials[name]
        best = max((strategy for strategy in found if strategy not in ("plain", "auto")), key=lambda s: found[s].mean("all@10"))
        gain = found[best].gain(found["plain"], "all@10", options)
        bound = 0.0 if options.quick else GAIN
        checks.append(Check.of(f"all-evidence recall@10, {best} − plain, {name}", gain, bound, baseline=found["plain"].mean("all@10")))
    for name, found in trials.items():
        singles: dict[str, Any] = {strategy: trial.mean("recall@10") for strategy, trial in found.items() if strategy != "auto"}
        best = max(singles, key=lambda strategy: singles[strategy])
        gain = found["auto"].gain(found[best], "recall@10", options)
        worse = None if options.quick else -WORSE  # a few questions tell nothing of a point
        checks.append(Check.of(f"recall@10, auto − best single ({best}), {name}", gain, worse, baseline=singles[best]))
    slowest = max(trial.row()["read ms p95"] for found in trials.values() for trial in found.values())
    checks.append(Check("slowest read, ms, p95", slowest, READ_MS, at_least=False))
    return checks
