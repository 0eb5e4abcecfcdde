"""Governed changes of memory (DMM-Gov, arXiv 2509.18868): gates on real updates, routing, canaries that notice harm, and going back."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mnemos
from mnemos.base.meter import Seconds, machine
from mnemos.base.stats import wilson
from mnemos.bench.embedding import CountingEmbedder, vector_folder
from mnemos.bench.evaluation.card import disclosed
from mnemos.bench.evaluation.trials import HARMS, Town
from mnemos.bench.evaluation.updates import labelled_updates
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.kernel.changes.admission import STANDARD_GATES, TARGET, Gate, judge
from mnemos.kernel.changes.ledger import StoreLedger
from mnemos.kernel.changes.loop import Changes, Terms
from mnemos.kernel.changes.monitors import UNSUPPORTED, Action, Arm, Watch
from mnemos.kernel.changes.routing import profile, route
from mnemos.models.minilm import MiniLM

UPDATES, QUICK_UPDATES = 200, 40
RETAINED, QUICK_RETAINED = 120, 60
RUNS, QUICK_RUNS = 1000, 200
WITHIN = 200
HARM_RATE = 0.2
NOTES = (
    "Updates are tried in a transaction that is undone: twelve facts of a town of 180 get new values; harmful ones write to the wrong person, "
    "poison other facts, set a quarter of the memories aside, or bring old values back.",
    f"A canary's harm is an event in {HARM_RATE:.0%} of its queries where 2 % are usual; detection counts the queries that met the change.",
)


def run(benchmark: Benchmark, options: Options) -> Result:
    """Gates, routing, monitors, and one whole change of a store with its rollback."""
    clock = Seconds()
    embedder = CountingEmbedder(MiniLM(), vector_folder())
    with mnemos.open(":memory:", embedder=embedder) as memory:
        town = Town(memory.space("town"), options.seed)
        gates, by_harm = _gates(town, options)
        restored, queries = _one_change(memory, town, options)
    routed, paths = _routing(options)
    found, false, delays = _monitors(options)
    checks = [*gates, routed, found, false, restored]
    tables = {"Updates at the gates": by_harm, "Routing": paths, "Queries until harm is noticed": {"canary": {**delays, "in the store": queries}}}
    gated = [asdict(gate) for gate in STANDARD_GATES]
    details = {"tables": tables, "notes": list(NOTES), "quick": options.quick, "seed": options.seed, "gates": gated}
    return Result.of(benchmark.name, benchmark.paper, benchmark.claim, checks, seconds=clock.seconds, machine=machine().as_dict(), details=details)


def _gates(town: Town, options: Options) -> tuple[list[Check], dict[str, dict[str, Any]]]:
    rng = options.rng()
    count, retained = (QUICK_UPDATES, QUICK_RETAINED) if options.quick else (UPDATES, RETAINED)
    blocked: dict[bool, list[bool]] = {True: [], False: []}
    slack: dict[bool, list[float]] = {True: [], False: []}
    by_harm: dict[str, list[bool]] = {}
    for number in range(count):
        options.say(f"update {number + 1} of {count}")
        harm = HARMS[number // 2 % len(HARMS)] if number % 2 else None
        trial = town.trial(harm, rng)
        measure = town.measuring(trial, retained)
        before = measure()
        with trial.change.trial():
            after = measure()
        verdict = judge(STANDARD_GATES, before, after, rng)
        blocked[harm is not None].append(not verdict)
        slack[harm is not None].append(verdict.slack)
        by_harm.setdefault(harm or "good", []).append(not verdict)
    stopped, hindered = wilson(sum(blocked[True]), len(blocked[True])), wilson(sum(blocked[False]), len(blocked[False]))
    area = float(np.mean(np.subtract.outer(slack[False], slack[True]) > 0))
    checks = [
        Check.of("harmful updates blocked", stopped, 0.95),
        Check.of("good updates blocked", hindered, 0.10, at_least=False),
        Check("area under the ROC curve of the gates' slack", area, n=count),
    ]
    return checks, {name: {"n": len(flags), "blocked": float(np.mean(flags))} for name, flags in by_harm.items()}


def _routing(options: Options) -> tuple[Check, dict[str, dict[str, Any]]]:
    updates = labelled_updates(options.rng())
    pairs = Counter((update.path.value, route(profile(update.records, known=update.known)).path.value) for update in updates)
    right = sum(count for (made, chosen), count in pairs.items() if made == chosen)
    paths = {made: {chosen: pairs[made, chosen] for chosen in ("external", "edit", "adapter")} for made in ("external", "edit", "adapter")}
    return Check.of("updates routed as the rule of thirds has it", wilson(right, len(updates)), 0.95), paths


def _monitors(options: Options) -> tuple[Check, Check, dict[str, Any]]:
    rng = options.rng()
    runs = QUICK_RUNS if options.quick else RUNS
    delays = [_noticed(rng.random(WITHIN) < HARM_RATE) for _ in range(runs)]
    noticed = [delay for delay in delays if delay is not None]
    false = sum(_noticed(rng.random(UNSUPPORTED.horizon) < UNSUPPORTED.usual) is not None for _ in range(runs))
    spread = {"n": runs, "median": float(np.median(noticed)), "95 % within": float(np.percentile(noticed, 95)), "harm": HARM_RATE}
    return (
        Check.of(f"harm noticed within {WITHIN} queries", wilson(len(noticed), runs), 0.95),
        Check.of(f"false alarms in {UNSUPPORTED.horizon} queries", wilson(false, runs), UNSUPPORTED.false_alarm, at_least=False),
        spread,
    )


def _noticed(events: NDArray[np.bool_]) -> int | None:
    """After how many queries the monitor asks to roll back; None where it does not."""
    watch = Watch([UNSUPPORTED])
    for number, happened in enumerate(events, 1):
        if watch.observe({UNSUPPORTED.event: bool(happened)}) is Action.ROLL_BACK:
            return number
    return None


def _one_change(memory: Any, town: Town, options: Options) -> tuple[Check, int]:
    """One change of the store through all of the loop; its canary's answers turn out to be wrong, and it is rolled back. Gives whether a reader
    then meets what was there before, and how many canary queries it took."""
    rng = options.rng()
    questions = [item.question for item in town.history.items]
    before = [town.answer(town.space, question) for question in questions]
    trial = town.trial("poison", rng)  # its gates ask for the target alone, so that only the traffic can tell
    changes = Changes(StoreLedger(memory))
    change = changes.propose("A poisoned update", [trial.change])
    changes.register(change, Terms(gates=(Gate(TARGET, "success", 0.0),), share=0.5))
    changes.admit(change, lambda: {TARGET: town.measuring(trial, 0)()[TARGET]}, disclosed(options.seed, 0.0))
    changes.start(change)
    control = trial.change.without(changes.history(change)[-1].body["restore"][trial.change.tier])
    queries = asked = 0
    truth = {item.question: item.answer for item in town.history.items}
    rest = [question for question in questions if question not in trial.target]
    while changes.stage(change).value == "canary" and asked < 20 * WITHIN:
        question = rest[int(rng.integers(len(rest)))]
        asked += 1
        arm = changes.arm(change, f"user {asked}")
        answer = town.answer(town.space if arm is Arm.CANARY else control, question)
        queries += arm is Arm.CANARY
        changes.observe(change, {"unsupported": answer != truth[question]}, arm)
    after = [town.answer(town.space, question) for question in questions]
    same = float(np.mean([a == b for a, b in zip(before, after, strict=True)]))
    return Check("answers as before, once rolled back", same, 1.0, n=len(questions)), queries
