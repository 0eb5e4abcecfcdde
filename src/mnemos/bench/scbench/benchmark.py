"""`mnemos bench scbench`: generators and their solvers, what re-using a cache saves and keeps exact, the twelve tasks in both modes, the findings."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from mnemos.base.errors import ModelUnavailable
from mnemos.base.meter import Seconds, machine
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.scbench import chosen, on_generators
from mnemos.bench.scbench.curves import MASTERED, answered, by_method, mastered, score_table, system_table, transposed, turn_table
from mnemos.bench.scbench.harness import MODES

SUITE_SESSIONS, QUICK_SUITE_SESSIONS = 4, 1
FINDING_SESSIONS, QUICK_FINDING_SESSIONS = 100, 4
CLOSE_SESSIONS = 400
"""Of the findings that are near their bounds."""
FRONT_SESSIONS, QUICK_FRONT_SESSIONS = 10, 1
QUICK_FRONT_TASKS = ("kv",)
CHANGE_SESSIONS, QUICK_CHANGE_SESSIONS = 5, 2
CHANGE_TURNS, QUICK_CHANGE_TURNS = 4, 2
SPARSE, QUICK_SPARSE = (50, 50, 16384), (2, 4, 2048)
"""Sessions and ledgers that are read sparsely, and tokens of which reading is timed."""
LEDGERS, QUICK_LEDGERS = (60, 600), (4, 240)
"""Ledgers of which half is generated, and their words."""
MEMORY_SESSIONS, QUICK_MEMORY_SESSIONS = 4, 1
SEED = 1000
"""Sessions of models begin here, after those that generators are judged on."""
NOTES = (
    "Solvers see the context, the question and its options. The bag of words takes the piece of the context (a sentence, or 40 words) that shares "
    "most with the question, and of it the rarest word that the question does not have.",
    "Caches run on the compact rendering, 512 words, 4 questions; reference answers go into the history, generated tokens are rolled back, and the "
    "hash of the state is compared around each answer. Text memory runs on the text rendering, 2,000 tokens, and its reader has no model.",
    "Scores with their 95 % interval over sessions: the bootstrap's; of fewer than 5, and of equal ones, Wilson's with each session as one.",
    f"A kind of question counts where the full cache answers {MASTERED:.0%} of it; averages, the front and the findings leave others out.",
    "Bytes are those of tensors, room to spare, positions and kept queries included. At these lengths, times are mostly those of Python between "
    "kernels, not of memory that is read.",
)
CANNOT_READ = (
    "The reference model's weights are not in this package: a model of its shape with random weights stood in, so that costs are measured, and the "
    "findings about quality are not."
)


def run(benchmark: Benchmark, options: Options) -> Result:
    """Generators, exactness, re-use, suite, text memory; with the reference model the findings, too; or, with options of its own, what they ask for.
    Raises `ModelUnavailable` without torch."""
    if options.own:
        return chosen.run(benchmark, options)
    try:
        from mnemos.bench.scbench import on_models  # needs torch and transformers
        from mnemos.bench.threads import one_thread
    except ImportError as missing:
        raise ModelUnavailable(f"scbench runs caches on a model, which needs {missing.name}; install it: pip install 'mnemos[models]'") from missing
    with one_thread():  # small products one after the other: two threads wait for each other where the machine does other things, too
        return _measured(benchmark, options, on_models)


def _measured(benchmark: Benchmark, options: Options, on_models: ModuleType) -> Result:
    """Every part; `on_models` is the module of that name, which needs what may not be there."""
    clock, rng, quick = Seconds(), options.rng(), options.quick
    seed = SEED + options.seed
    checks, solvers = on_generators.measure(quick, options.seed, options.say)
    fast, speeds = on_generators.speed(options.say)
    model, reads = on_models.model()
    reuse, timed = on_models.reuse(model, seed, options.say)
    suite, results = on_models.suite(model, QUICK_SUITE_SESSIONS if quick else SUITE_SESSIONS, seed, options.say)
    remembered = on_models.memory(QUICK_MEMORY_SESSIONS if quick else MEMORY_SESSIONS, seed, options.say)
    checks += [fast, *on_models.exactness(model, seed), reuse, suite]
    tables: dict[str, dict[str, dict[str, Any]]] = {"Solvers, by kind of question (text, 4,096 tokens)": solvers, "Records of 128K tokens": speeds}
    notes = list(NOTES)
    tables["Time to the first token, 4K tokens"] = system_table(timed)
    full = [result for result in results if result.method == "full cache"]
    counted = mastered(full) if reads else None
    if reads:
        tables["Does the full cache answer it?"] = {
            kind: {"answered": value, "counts": "yes" if value >= MASTERED else "no"} for kind, value in answered(full).items()
        }  # fmt: skip
    for mode in MODES:
        its = [result for result in results if result.mode == mode]
        tables[f"Suite, {mode}: costs"] = system_table([*its, *(remembered if mode == MODES[0] else ())])
        if reads:
            tables[f"Suite, {mode}: scores"] = score_table(its, rng, counted)
    tables["Text memory, multi-turn: scores"] = score_table(remembered, rng)
    if reads:
        from mnemos.bench.scbench import shifting, sparse_reading
        from mnemos.bench.scbench.findings import FRONT_TASKS, changes, compared, findings, fronts

        counts = (QUICK_FINDING_SESSIONS, QUICK_FINDING_SESSIONS) if quick else (FINDING_SESSIONS, CLOSE_SESSIONS)
        found = findings(model, *counts, seed, rng, options.say)
        tables["Findings, KV and many-shot: scores"] = {
            f"{name}: {label}": turn_table(its, rng) for name, some in found.results.items() for label, its in by_method(some).items()
        }
        sizes, asked = (QUICK_SPARSE, sparse_reading.TASKS[:1]) if quick else (SPARSE, sparse_reading.TASKS)
        sparse, read = sparse_reading.measure(model, *sizes, seed, rng, options.say, asked)
        shifted, long = shifting.measure(*(QUICK_LEDGERS if quick else LEDGERS), seed, rng, options.say)
        tables |= read | long
        tasks = QUICK_FRONT_TASKS if quick else FRONT_TASKS
        compare = compared(model, QUICK_FRONT_SESSIONS if quick else FRONT_SESSIONS, seed, options.say, tasks)
        shown, areas = fronts(compare, rng)
        tables |= shown
        tables["Front: costs"] = transposed(system_table(compare))
        size = (QUICK_CHANGE_SESSIONS, QUICK_CHANGE_TURNS) if quick else (CHANGE_SESSIONS, CHANGE_TURNS)
        changed, apart = changes(model, *size, seed, options.say)
        tables["Facts corrected and deleted, tenants apart, KV"] = changed
        checks += [*found.checks, *sparse, *shifted, *areas, *apart]
        notes += found.notes
    else:
        notes.append(CANNOT_READ)
    return _result(benchmark, checks, clock, {"tables": tables, "notes": notes, "quick": quick, "seed": options.seed, "reference model": reads})


def _result(benchmark: Benchmark, checks: list[Check], clock: Seconds, details: dict[str, Any]) -> Result:
    return Result.of(
        benchmark.name, benchmark.paper, benchmark.claim, checks, seconds=clock.seconds, machine=machine().as_dict(), details=details
    )  # fmt: skip
