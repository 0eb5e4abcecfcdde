"""Summaries without a language model: what they keep of the facts that people noted, at an equal budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.base.meter import Seconds, machine
from mnemos.base.stats import Interval, bootstrap_difference, bootstrap_mean
from mnemos.bench.datasets import data_folder, read_lines
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.index.terms import query_terms
from mnemos.text.summary import Passage, sentences, summarise
from mnemos.text.tokens import count_tokens

MSC_BUDGETS, QMSUM_BUDGET = (100, 200, 400), 300
TOLD = 0.6
"""The share of a fact's telling words from which a summary is taken to tell it."""
RANDOM_DRAWS = 5
QUICK_DIALOGUES, QUICK_MEETINGS = 40, 8
OURS, LEAD, RANDOM, LONGEST = "mnemos", "lead", "random", "longest"
NOTES = (
    "MSC: four sessions of a dialogue, summarised together; a fact is what a human annotator wrote for a turn, and it is told where 60 % of its "
    "telling words (stems, without function words) are in the summary. QMSum: recall of the telling words of the reference summary of a meeting.",
    "Lead: the sentences in their order until the budget is spent. Random: sentences drawn at random, the mean of five draws. Longest: the longest "
    "sentences that fit. All are at most the budget by the same counter.",
    "Parameters were chosen on the dialogues with an even number; the numbers are those of the odd ones, and of QMSum, which was not looked at.",
)

Fill = Callable[[Sequence[Passage], int], str]


@dataclass(frozen=True, slots=True)
class Choice:
    """A way to fill a budget, and how often it is tried: more than once where it draws."""

    fill: Fill
    draws: int = 1


@dataclass(frozen=True, slots=True)
class Case:
    """What is summarised, and what people noted of it: facts, each by its telling words."""

    name: str
    passages: list[Passage]
    facts: list[frozenset[int]]


def run(benchmark: Benchmark, options: Options) -> Result:
    """Coverage of noted facts on MSC at three budgets, and of reference summaries on QMSum, against lead, random and longest sentences."""
    clock, folder, rng = Seconds(), data_folder(options.data), options.rng()
    dialogues, meetings = list(msc(folder))[1::2], list(qmsum(folder))
    if options.quick:
        dialogues, meetings = dialogues[:QUICK_DIALOGUES], meetings[:QUICK_MEETINGS]
    checks: list[Check] = []
    tables: dict[str, dict[str, dict[str, Any]]] = {"MSC: share of facts told": {}, "QMSum: recall of the reference's words": {}}
    for budget in MSC_BUDGETS:
        options.say(f"MSC, {budget} tokens")
        scores = {name: [facts_told(case, choice, budget) for case in dialogues] for name, choice in choices(rng).items()}
        _add(tables["MSC: share of facts told"], scores, f"{budget} tokens")
        if budget == MSC_BUDGETS[1]:
            checks += _checks(f"MSC facts told in {budget} tokens", scores, [case.name for case in dialogues], rng)
    options.say("QMSum")
    scores = {name: [words_recalled(case, choice, QMSUM_BUDGET) for case in meetings] for name, choice in choices(rng).items()}
    _add(tables["QMSum: recall of the reference's words"], scores, f"{QMSUM_BUDGET} tokens")
    checks += _checks(f"QMSum recall in {QMSUM_BUDGET} tokens", scores, [case.name for case in meetings], rng)
    return Result.of(
        benchmark.name, benchmark.paper, benchmark.claim, checks, seconds=clock.seconds, machine=machine().as_dict(),
        details={"tables": tables, "notes": list(NOTES), "quick": options.quick, "seed": options.seed},
    )  # fmt: skip


def _add(table: dict[str, dict[str, Any]], scores: dict[str, list[float]], column: str) -> None:
    for name, values in scores.items():
        table.setdefault(name, {})[column] = float(np.mean(values))


def _checks(what: str, scores: dict[str, list[float]], clusters: Sequence[str], rng: np.random.Generator) -> list[Check]:
    best = max((name for name in scores if name != OURS), key=lambda name: float(np.mean(scores[name])))
    baseline = float(np.mean(scores[best]))
    mean: Interval = bootstrap_mean(scores[OURS], clusters, rng, bounds=(0, 1))
    gain = bootstrap_difference(scores[OURS], scores[best], clusters, rng)
    return [Check.of(what, mean, baseline, baseline=baseline), Check.of(f"{what}, gain over {best}", gain, 0.0)]


def choices(rng: np.random.Generator) -> dict[str, Choice]:
    """Ways to fill a budget, the product's first."""
    return {
        OURS: Choice(lambda passages, budget: summarise(passages, budget=budget).text),
        LEAD: Choice(lambda passages, budget: _filled(told := _all(passages), np.arange(len(told)), budget)),
        RANDOM: Choice(lambda passages, budget: _filled(told := _all(passages), rng.permutation(len(told)), budget), RANDOM_DRAWS),
        LONGEST: Choice(lambda passages, budget: _filled(told := _all(passages), np.argsort([-len(text) for text in told], kind="stable"), budget)),
    }


def _all(passages: Sequence[Passage]) -> list[str]:
    return [text for passage in passages for text in sentences(passage.text)]


def _filled(told: Sequence[str], order: NDArray[np.int64], budget: int) -> str:
    """Sentences taken in `order` while they fit, as they stand."""
    chosen: list[int] = []
    left = budget
    for i in order.tolist():
        cost = count_tokens(told[i]) + 1
        if cost <= left:
            chosen.append(i)
            left -= cost
    return "\n".join(told[i] for i in sorted(chosen))


def facts_told(case: Case, choice: Choice, budget: int) -> float:
    """The share of a case's facts that a summary tells."""
    return float(np.mean([[len(fact & words) >= TOLD * len(fact) for fact in case.facts] for words in _said(case, choice, budget)]))


def words_recalled(case: Case, choice: Choice, budget: int) -> float:
    """The share of the telling words of a reference summary (the one fact of the case) that a summary holds."""
    return float(np.mean([len(case.facts[0] & words) / len(case.facts[0]) for words in _said(case, choice, budget)]))


def _said(case: Case, choice: Choice, budget: int) -> list[set[int]]:
    """The telling words of each summary."""
    return [set(query_terms(choice.fill(case.passages, budget)).hashes.tolist()) for _ in range(choice.draws)]


def msc(folder: Path) -> Iterator[Case]:
    """Dialogues with the facts that were noted."""
    for dialogue in read_lines(folder, "msc/msc_dev.jsonl.gz"):
        turns = [turn for session in dialogue["sessions"] for turn in session["turns"]]
        facts = [frozenset(query_terms(text).hashes.tolist()) for turn in turns for text in sentences(turn.get("fact", ""))]
        yield Case(str(dialogue["id"]), [Passage(turn["text"], turn["speaker"]) for turn in turns], [fact for fact in facts if fact])


def qmsum(folder: Path) -> Iterator[Case]:
    """Meetings with a reference summary of the whole."""
    for meeting in read_lines(folder, "qmsum/qmsum_dev.jsonl.gz"):
        passages = [Passage(turn["content"], turn["speaker"]) for turn in meeting["meeting_transcripts"] if turn["content"].strip()]
        if meeting["general_query_list"]:
            reference = frozenset(query_terms(meeting["general_query_list"][0]["answer"]).hashes.tolist())
            yield Case(meeting["meeting_id"], passages, [reference])
