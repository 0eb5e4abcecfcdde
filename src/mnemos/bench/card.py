"""The evaluation card of this memory (arXiv 2509.18868): five numbers, the layered suite behind them, what they rest on, and what was checked of
the instrument itself in the same run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import mnemos
from mnemos.base.errors import NotFound
from mnemos.base.meter import Seconds, machine
from mnemos.base.protocols import Embedder
from mnemos.base.stats import Interval, kendall_tau, wilson
from mnemos.bench.datasets import data_folder
from mnemos.bench.embedding import CountingEmbedder, vector_folder
from mnemos.bench.evaluation import external, real
from mnemos.bench.evaluation.attribution import attribute
from mnemos.bench.evaluation.card import Card, disclosed, minimal, overall, suite_score
from mnemos.bench.evaluation.crossover import Point, surface
from mnemos.bench.evaluation.episodic import cost
from mnemos.bench.evaluation.items import History
from mnemos.bench.evaluation.judging import Audit, RuleJudge
from mnemos.bench.evaluation.layers import NEEDED, layers
from mnemos.bench.evaluation.leakage import ACCEPTED, OVERLAP, Leakage, leakage
from mnemos.bench.evaluation.planting import Planted
from mnemos.bench.evaluation.scoring import accuracy
from mnemos.bench.evaluation.settings import Plan, Run, differences, run_settings
from mnemos.bench.evaluation.systems import AT_ONCE, LONG_CONTEXT, RETRIEVAL, SETTINGS, Bm25System, MnemosSystem, ReadingSystem
from mnemos.bench.evaluation.timeline import Shape, make_history
from mnemos.bench.evaluation.variants import twelve
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.kernel.changes.disclosure import problems
from mnemos.kernel.system import Mnemos
from mnemos.models.minilm import MiniLM

STALE, STALE_WITHIN = 0.30, 0.03
ATTRIBUTED, RANKED = 0.95, 0.8
NOTES = (
    "Synthetic histories: people, facts said, changed and contradicted amid chatter, with a planted truth, read by patterns instead of a language "
    "model, so that only the memory differs between settings. Real data: what needs no reader.",
    "LN-Acc is accuracy ÷ ln(mean context tokens); KIR is (retrieval − closed book) ÷ the context's share of the prompt; LTRS is accuracy a session "
    "or more later ÷ accuracy at once, times what a session leaves. Each metric's docstring has its exact definition.",
    "The ranking's weights were fitted on the development parts of LoCoMo and LongMemEval: what is measured on them is not on unseen data. "
    "MemDaily's answers are chosen by shared character pairs, without a language model.",
    "Timeliness, conflicts and refusals are the reader's as well as the memory's: the same reader stands behind every system.",
)


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    histories: int
    shape: tuple[int, int]
    variants: tuple[int, int, int, int]
    sizes: tuple[int, ...]
    budgets: tuple[int, ...]
    lagging: int
    resamples: int
    planted: int = 400


@dataclass(frozen=True)
class Ranked:
    """Twelve systems, each with (the five numbers as one, the whole suite as one) on every data set."""

    scores: dict[str, list[tuple[float, float]]]

    def taus(self) -> list[float]:
        """Kendall's τ between the two rankings, for each data set."""
        pairs = [list(zip(*data_set, strict=True)) for data_set in zip(*self.scores.values(), strict=True)]
        return [kendall_tau(short, whole) for short, whole in pairs]

    def table(self) -> dict[str, dict[str, float]]:
        means = {name: np.mean(values, axis=0) for name, values in self.scores.items()}
        return {name: {"card": float(short), "suite": float(whole)} for name, (short, whole) in means.items()}


QUICK = Size(6, (12, 40), (2, 4, 12, 40), (3, 10), (150, 1000), 2, 100)
FULL = Size(16, (30, 90), (6, 6, 12, 40), (4, 12, 40), (150, 500, 2000, 8000), 8, 400)


def run(benchmark: Benchmark, options: Options) -> Result:
    """The card, and the checks of the instrument."""
    clock = Seconds()
    size = QUICK if options.quick else FULL
    try:
        folder: Path | None = data_folder(options.data)
    except NotFound as missing:
        folder = None
        options.say(str(missing))
    embedder = CountingEmbedder(MiniLM(), vector_folder())
    stores = _Stores(embedder)
    try:
        return _run(benchmark, options, size, folder, stores, clock)
    finally:
        stores.close()


class _Stores:
    """Stores in memory that are closed together."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._open: list[Mnemos] = []

    def new(self, vectors: bool = True) -> Mnemos:
        self._open.append(mnemos.open(":memory:", embedder=self._embedder if vectors else "none"))
        return self._open[-1]

    def close(self) -> None:
        for memory in self._open:
            memory.close()


def _run(benchmark: Benchmark, options: Options, size: Size, folder: Path | None, stores: _Stores, clock: Seconds) -> Result:
    rng = options.rng()
    histories, noisy = _histories(options.seed, size.histories, *size.shape)
    plan = Plan(tuple(item for history in histories for item in history.items), options.seed, {"reader": "patterns"}, {"mnemos": mnemos.__version__})
    ours = MnemosSystem(memory=stores.new())
    options.say("three settings")
    runs = run_settings(ours, histories, plan, tuple(dict.fromkeys((*SETTINGS, *NEEDED))))
    options.say("layers")
    measured = layers(runs, histories, _held(ours, histories), rng, noisy=noisy, resamples=size.resamples)
    five = minimal(runs[RETRIEVAL], rng, size.resamples)
    theirs = run_settings(Bm25System(), histories, plan, [RETRIEVAL])[RETRIEVAL]
    options.say("leakage")
    sets = real.sets(folder, options) if folder is not None else []
    found = _leakage([item.question for item in plan.items], sets)
    card = Card("mnemos", five, measured, _cost(runs[RETRIEVAL], ours), {s: run.asked for s, run in runs.items()},
                disclosed(options.seed, clock.seconds, leakage=_leaked(found)))  # fmt: skip
    options.say("twelve systems")
    ranked = _proposition_b(options.seed + 1, size, stores)
    options.say("equal budgets")
    points = surface(stores.new, size.sizes, size.budgets, rng, histories=3 if options.quick else 6)
    options.say("a lagging index")
    used, lagging = _lagging(options.seed, size.lagging, stores)
    options.say("attribution")
    planted = Planted(stores.new(vectors=False), np.random.default_rng(options.seed), size.planted)
    right = [memory is fact.home for memory, fact in zip(attribute([planted.observe(f) for f in planted.facts]), planted.facts, strict=True)]
    checks = [*_card_checks(card, theirs), *_instrument_checks(card, ranked, points, used, lagging, right)]
    tables = {"The card": _minimal_table(card, minimal(theirs, rng, size.resamples)), **_tables(card, runs, ranked, points, rng)}
    notes = list(NOTES)
    if folder is not None:
        checks += _judge_checks(folder, options, tables)
        _real_tables(sets, options, stores, tables)
    else:
        notes.append("No data folder was found: neither the real sets nor the judge's audit are in this run.")
    details = {"tables": tables, "notes": notes, "quick": options.quick, "seed": options.seed, "card": card.as_json(), "rows": card.rows()}
    return Result.of(benchmark.name, benchmark.paper, benchmark.claim, checks, seconds=clock.seconds, machine=machine().as_dict(), details=details)


def _histories(seed: int, count: int, sessions: int, facts: int) -> tuple[list[History], frozenset[str]]:
    """Histories, every other of which is full of chatter, and the names of those."""
    made = [
        make_history(f"h{i}", np.random.default_rng([seed, i]), Shape(sessions=sessions, facts=facts, chatter=5.0 if i % 2 else 1.0))
        for i in range(count)
    ]
    return made, frozenset(history.name for history in made[1::2])


def _held(system: ReadingSystem, histories: Sequence[History]) -> dict[str, Any]:
    return {history.name: system.held(history.name) for history in histories}


def _cost(run: Run, system: ReadingSystem) -> dict[str, float]:
    return cost([a.seconds for a in run.answers], [a.tokens for a in run.answers], system.usage()["bytes"]).as_dict()


def _leakage(questions: Sequence[str], sets: Sequence[real.RealSet]) -> Leakage:
    """Overlap of the questions asked with the sets that the ranking's weights were fitted on."""
    corpora = [corpus for data in sets if data.name in real.FITTED_ON for corpus in data.corpora]
    texts = {str(record["text"]) for corpus in corpora for record in corpus.records}
    return leakage(questions, [*texts, *(question.text for corpus in corpora for question in corpus.questions)])


def _leaked(found: Leakage) -> dict[str, Any]:
    """The disclosure's section on leakage."""
    method = f"MinHash over shingles of 5 words, questions against what the ranking was fitted on; {len(found.pairs)} pairs"
    return {"method": method, "threshold": OVERLAP, "overlap": found.share, "accepted": ACCEPTED}


def _proposition_b(seed: int, size: Size, stores: _Stores) -> Ranked:
    """The twelve systems over data sets of their own."""
    data_sets, count, sessions, facts = size.variants
    scores: dict[str, list[tuple[float, float]]] = {}
    for number in range(data_sets):
        histories, noisy = _histories(seed + number, count, sessions, facts)
        plan = Plan(tuple(item for history in histories for item in history.items), seed)
        for name, system in twelve(stores.new, lambda: stores.new(vectors=False), histories).items():
            settings = [s for s in NEEDED if s != AT_ONCE or isinstance(system, MnemosSystem)]
            runs = run_settings(system, histories, plan, settings)
            runs.setdefault(AT_ONCE, runs[RETRIEVAL])  # who has no past answers at once what it answers later
            rng = np.random.default_rng(seed)
            suite = layers(runs, histories, _held(system, histories), rng, noisy=noisy, resamples=1)
            scores.setdefault(name, []).append((overall(minimal(runs[RETRIEVAL], rng, 1)), suite_score(suite)))
    return Ranked(scores)


def _lagging(seed: int, count: int, stores: _Stores) -> tuple[float, int]:
    """Out-of-date use where the live index lacks 30 % of the updates of facts that have all changed, and how many were asked."""
    shape = Shape(sessions=10, facts=100, updated=1.0, contradicted=0.0, unknown=0.0, chatter=0.5)
    histories = [make_history(f"lag{i}", np.random.default_rng([seed, i]), shape) for i in range(count)]
    items = [item for history in histories for item in history.items]
    chosen = np.random.default_rng(seed).permutation(len(items))[: round(STALE * len(items))]
    missing = frozenset(f"{items[i].history}/{source}" for i in chosen for source in items[i].evidence)
    run = run_settings(MnemosSystem(k=60, withheld=missing, memory=stores.new()), histories, Plan(tuple(items), seed), [RETRIEVAL])[RETRIEVAL]
    return external.out_of_date_use(run.texts, superseded=[item.superseded for item in run.items]), len(items)


def _card_checks(card: Card, baseline: Run) -> list[Check]:
    """The acceptance thresholds, with BM25's recall beside ours."""
    bm25 = external.recall_at_k([i.evidence for i in baseline.items], [a.retrieved for a in baseline.answers])
    out = []
    for check in card.checks():
        out.append(Check(**{**_fields(check), "baseline": bm25}) if check.metric == "recall@5" else check)
    return sorted(out, key=lambda check: check.metric != "recall@5")


def _fields(check: Check) -> dict[str, Any]:
    return {name: value for name, value in check.as_dict().items() if name != "holds"}


def _instrument_checks(
    card: Card, ranked: Ranked, points: Sequence[Point], used: float, lagging: int, right: Sequence[bool]
) -> list[Check]:
    taus = ranked.taus()
    large = [point for point in points if point.ratio >= 4]
    small = [point for point in points if point.ratio <= 1]
    attributed = wilson(sum(right), len(right))
    return [
        Check("different question lists over the settings", float(len(set(card.runs.values()))), 1.0, at_least=False, n=len(card.runs)),
        Check("problems of the disclosure", float(len(problems(card.disclosure))), 0.0, at_least=False),
        Check.of("planted facts attributed to the right memory", attributed, ATTRIBUTED),
        Check("out-of-date use beyond the 30 % that lag", abs(used - STALE), STALE_WITHIN, at_least=False, n=lagging),
        Check("τ of the short card with the suite, 12 systems, mean over data sets", float(np.mean(taus)), RANKED, n=len(taus)),
        Check("least gain of retrieval where a history is 4 budgets or more", min(point.gain.low for point in large), 0.0, n=len(large)),
        Check("largest loss of retrieval where a history fits", max((-point.gain.value for point in small), default=math.nan), n=len(small)),
    ]


def _judge_checks(folder: Path, options: Options, tables: dict[str, Any]) -> list[Check]:
    """The rule judge must pass its audit, and a lenient one must not."""
    try:
        audits = {name: real.judge_audit(folder, options.rng(), judge) for name, judge in (("strict", RuleJudge()), ("lenient", RuleJudge(0.3, 9)))}
    except NotFound as missing:
        options.say(str(missing))
        return []
    tables["Judges, audited on LoCoMo's answers"] = {name: _audited(found) for name, found in audits.items()}
    strict = audits["strict"].false_accepts
    return [
        Check("wrong answers that the judge may accept (upper bound)", strict.high, audits["strict"].gate, at_least=False, n=strict.n),
        Check("a lenient judge is refused", float(not audits["lenient"].passed), 1.0, n=strict.n),
    ]


def _audited(found: Audit) -> dict[str, Any]:
    rejects = found.false_rejects
    return {
        "n": found.false_accepts.n,
        "false accepts": found.false_accepts.value,
        "upper bound": found.false_accepts.high,
        "false rejects": rejects.value if rejects else None,
        "passed": "yes" if found.passed else "no",
    }


def _real_tables(sets: Sequence[real.RealSet], options: Options, stores: _Stores, tables: dict[str, Any]) -> None:
    rows = {}
    for data in sets:
        measured = real.measure(stores.new(), data, options.rng(), options.say)
        rows[data.name] = {"n": measured["MRR"].n} | {name: interval.value for name, interval in measured.items()}
    if rows:
        tables["Real data"] = rows


def _minimal_table(card: Card, baseline: dict[str, Interval]) -> dict[str, dict[str, Any]]:
    return {
        name: {"mnemos": interval.value, "low": interval.low, "high": interval.high, "bm25, same reader": baseline[name].value}
        for name, interval in card.minimal.items()
    }


def _tables(
    card: Card, runs: dict[str, Run], ranked: Ranked, points: Sequence[Point], rng: np.random.Generator
) -> dict[str, Any]:
    layered = [(f"{layer}: {name}", interval) for layer, metrics in card.layers.items() for name, interval in metrics.items()]
    return {
        "Settings": {setting: {"accuracy": accuracy(run.truths, run.texts), "n": len(run.items)} for setting, run in runs.items()},
        "Between settings": {name: {"difference": i.value, "low": i.low, "high": i.high} for name, i in differences(runs, rng).items()},
        "All layers": {name: {"value": i.value, "low": i.low, "high": i.high} for name, i in layered},
        "Cost of a turn": {"mnemos": {**card.cost, "long context tokens": float(np.mean([a.tokens for a in runs[LONG_CONTEXT].answers]))}},
        "Twelve systems": ranked.table(),
        "Equal budgets": {
            f"{p.sessions} sessions, {p.budget} tokens": {
                "history ÷ budget": p.ratio, "reading": p.reading, "retrieval": p.retrieval, "gain low": p.gain.low, "high": p.gain.high,
            }
            for p in points
        },
    }  # fmt: skip
