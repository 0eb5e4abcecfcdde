"""`mnemos bench convomem`: generated histories of 1 to 300 conversations, the eight checks on them, and the crossover report."""

from __future__ import annotations

from typing import Any

import numpy as np

from mnemos.base.meter import Seconds, machine
from mnemos.bench.convomem import checks, real_abstention
from mnemos.bench.convomem.measuring import FIXED, POLICY, TOP_5, WHOLE, conversation_tokens, trials
from mnemos.bench.convomem.personas import Persona, Settings
from mnemos.bench.convomem.rows import crossover_report, curve, rows_of
from mnemos.bench.convomem.schema import CATEGORIES, SIZES
from mnemos.bench.datasets import data_folder
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.text.reading_costs import Prices, ReadingCosts

SHORT = (16, 24)
"""Messages of a conversation where many histories are read: about 420 tokens, as in the paper's six-evidence files (63,000 for 150)."""
HISTORIES, QUICK_HISTORIES = 44, 20
"""Personas: of each category six items each, so that a cell of one size holds 264, more than the 246 that five points need."""
QUICK_SIZES = (6, 30, 150)
GATED_AT = 150
SATURATED = 2_000
"""Tokens of the rival's prompt, whatever the question needs (section 5)."""
WRITTEN = 0.1
"""Tokens that a memory written by a model keeps of those it reads, about."""


def run(benchmark: Benchmark, options: Options) -> Result:
    """Labels, crossover, router, cut, abstention, statistics, invariants, speed; accuracy and cost by size; where the curves cross."""
    clock = Seconds()
    rng = options.rng()
    prices = Prices()
    sizes = QUICK_SIZES if options.quick else SIZES
    histories = QUICK_HISTORIES if options.quick else HISTORIES
    settings = Settings(options.seed, *SHORT, fillers=max(sizes))
    found = list(trials(settings, range(histories), sizes, options.say))
    rows = rows_of(found, prices, rng)
    tokens = float(np.mean([conversation_tokens(Persona(number, settings)) for number in range(3)]))
    crossings, n_star = _model(prices, tokens)
    cut_checks, cuts = checks.cut(settings, range(6 if options.quick else 20), (30, 150) if options.quick else (10, 30, 100, 300), options.say)
    paraphrased = Settings(options.seed, *SHORT, fillers=150, otherwise=True)
    slice_checks, slice_table = _paraphrases(paraphrased, range(2 if options.quick else 10), (30, 150), prices, rng, options)
    done = [
        *checks.router(found, prices, rng),
        *checks.budgets(settings, range(2), (10, 100) if options.quick else (6, 30, 100, 300)),
        *checks.crossover(found, n_star, rng),
        *cut_checks,
        *checks.abstention(found, GATED_AT, rng),
        *checks.labels(settings, checks.NEEDED, options.say),
        *checks.statistics(found),
        *checks.invariants(settings, range(2 if options.quick else 10)),
        *checks.speed(settings, 1_000 if options.quick else 10_000, options.say),
        *slice_checks,
    ]
    real: dict[str, Any] = {}
    if not options.quick:
        real_checks, real = real_abstention.measure(data_folder(options.data), rng, options.say)
        done += real_checks
    tables: dict[str, Any] = {
        "Accuracy by conversations, all categories, before the gate": _by_size(rows, "accuracy"),
        "Dollars a thousand questions": _by_size(rows, "cost", 1000),
        f"Accuracy by category at {max(sizes)}": _by_category(rows, max(sizes)),
        "Crossover, measured: from how many conversations (and tokens) reading everything is dearer, and answers fewer": crossover_report(
            rows, WHOLE, [method for method in (*FIXED, POLICY) if method != WHOLE]
        ),
        "Crossover by the cost model, conversations (tokens)": crossings,
        "Rules of the cut": cuts,
        "Evidence in other words than the question's": slice_table,
        "LongMemEval, answered without a model, by gate": real,
    }
    notes = [
        "The reader's errors grow with its prompt as the paper's long context's did (5 % after one conversation, 18 % after 150), its helper's as "
        "those of a lite model; a question is as hard to every method. What is measured is what each method puts before that reader.",
        f"Conversations have {tokens:.0f} tokens on average; the search is Mnemos's by words, without an embedder.",
        "To abstain is right whatever was read: an unanswerable item is valid only where the exact reader quotes all that speaks of its topic.",
    ]
    details = {"tables": tables, "notes": notes, "rows": [row.as_dict() for row in rows], "quick": options.quick, "seed": options.seed}
    return Result.of(benchmark.name, benchmark.paper, benchmark.claim, done, seconds=clock.seconds, machine=machine().as_dict(), details=details)


def _by_size(rows: Any, field: str, times: float = 1) -> dict[str, dict[str, Any]]:
    return {method: {str(size): times * getattr(row, field) for size, row in curve(rows, method).items()} for method in (*FIXED, POLICY)}


def _by_category(rows: Any, size: int) -> dict[str, dict[str, Any]]:
    return {
        method: {category.replace("_", " "): curve(rows, method, category)[size].accuracy for category in CATEGORIES} for method in (*FIXED, POLICY)
    }


def _model(prices: Prices, tokens: float) -> tuple[dict[str, dict[str, Any]], float]:
    """Where reading all gets dearer than a search, by what the search finds, what the memory costs to write, and what a cache holds."""
    written = Prices(remember=prices.read + WRITTEN * prices.write)
    table: dict[str, dict[str, Any]] = {}
    kinds = (("five hits, words indexed", prices, 120), ("40 hits, words indexed", prices, 920), ("2,000 tokens, a model writes", written, SATURATED))
    for name, asked, read in kinds:
        row: dict[str, Any] = {}
        for cached in (0.0, 0.9):
            n = ReadingCosts(asked, cached).crossover(read, tokens)
            row[f"{cached:.0%} cached"], row[f"tokens, {cached:.0%}"] = n, n * tokens
        table[name] = row
    return table, float(table["2,000 tokens, a model writes"]["0% cached"])


def _paraphrases(
    settings: Settings, personas: range, sizes: tuple[int, ...], prices: Prices, rng: np.random.Generator, options: Options
) -> tuple[list[Check], dict[str, dict[str, Any]]]:
    """Accuracy on the slice that does not flatter a search by words; no bound, since the sheet has none."""
    found = list(trials(settings, personas, sizes, options.say))
    rows = rows_of(found, prices, rng)
    table = {method: {f"{size}": row.accuracy for size, row in curve(rows, method).items()} for method in (WHOLE, TOP_5, POLICY)}
    answerable = [trial for trial in found if trial.category != "abstention" and trial.method == WHOLE]
    lost = float(np.mean([trial.right - trial.right_gated for trial in answerable]))
    policy = curve(rows, POLICY)[max(sizes)]
    return [
        Check(f"policy on paraphrased evidence at {max(sizes)}", policy.accuracy, None, baseline=curve(rows, WHOLE)[max(sizes)].accuracy,
              interval=(policy.low, policy.high), n=policy.n),
        Check("paraphrased answerable questions lost to the gate", lost, None, n=len(answerable)),
    ], table  # fmt: skip
