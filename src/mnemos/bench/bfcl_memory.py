"""BFCL v4 memory scenarios: short questions about what one user said over several sessions, with the sentence that answers them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from mnemos.bench.corpus import Corpus, Question
from mnemos.bench.datasets import data_folder, read_lines
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.retrieval import OURS, measure

CONVERSATIONS, QUESTIONS = "bfcl-memory/conversations_dev.jsonl.gz", "bfcl-memory/questions_dev.jsonl.gz"
BOUND = 0.97
_WORD = re.compile(r"[^\W_]+")
_ELLIPSIS = re.compile(r"\.{2,}|…")


def run(benchmark: Benchmark, options: Options) -> Result:
    """Share of the questions whose message is among the first ten hits. The set is small: quick and full are the same."""
    corpora, lost = load(data_folder(options.data))
    measured = measure(corpora, options)
    everything = [True] * len(measured.questions)
    best = measured.best_baseline("recall@10", everything)
    checks = [
        Check.of("recall@10", measured.interval(OURS, "recall@10", everything), BOUND, baseline=measured.mean(best, "recall@10", everything)),
        Check.of("recall@5", measured.interval(OURS, "recall@5", everything)),
    ]
    tables = {"All": measured.table(everything), "recall@10 by scenario": measured.by_category("recall@10")}
    notes = ["Clusters are the four scenarios: too few for a good interval."]
    if lost:
        notes.append(f"{lost} questions are left out because their quotation is in no message.")
    return measured.result(benchmark, checks, tables, notes)


def load(folder: Path) -> tuple[list[Corpus], int]:
    """One corpus per scenario, and the number of questions whose quotation could not be placed."""
    messages: dict[str, list[dict[str, Any]]] = {}
    for session, conversation in enumerate(read_lines(folder, CONVERSATIONS)):
        records = messages.setdefault(conversation["scenario"], [])
        for index, text in enumerate(conversation["messages"]):
            record = {"text": text, "type": "turn", "source": f"{session}:{index}", "author": "user", "metadata": {"session": session}}
            records.append(record)
    questions: dict[str, list[Question]] = {scenario: [] for scenario in messages}
    lost = 0
    for item in read_lines(folder, QUESTIONS):
        scenario = item["scenario"]
        evidence = holders(item["source"], messages[scenario])
        lost += not evidence
        if evidence:
            questions[scenario].append(Question(item["id"], item["question"], evidence, scenario, scenario))
    return [Corpus(scenario, records, questions[scenario]) for scenario, records in messages.items()], lost


def holders(quotation: str, records: Sequence[dict[str, Any]]) -> frozenset[str]:
    """The one message that holds the most of a quotation, part by part between its ellipses, compared by words; none below a half.

    Quotations are cut at both ends and sometimes slightly reworded, so the measure is the share of their word pairs.
    """
    parts = [_WORD.findall(part.lower()) for part in _ELLIPSIS.split(quotation)]
    pairs = {pair for part in parts for pair in pairwise(part)}
    if not pairs:
        return frozenset()
    shares = [len(pairs & _pairs(record["text"])) / len(pairs) for record in records]
    best = max(range(len(records)), key=shares.__getitem__)
    return frozenset({records[best]["source"]}) if shares[best] >= 0.5 else frozenset()


def _pairs(text: str) -> set[tuple[str, str]]:
    words = _WORD.findall(text.lower())
    return set(pairwise(words))
