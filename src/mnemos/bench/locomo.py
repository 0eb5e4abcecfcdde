"""LoCoMo (Maharana et al. 2024, arXiv 2402.17753): evidence turns of very long two-person conversations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mnemos.bench.corpus import Corpus, Question, sample_corpora
from mnemos.bench.datasets import data_folder, present, read_json, read_lines
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.retrieval import OURS, Measured, measure
from mnemos.text.formats.locomo import sample_records
from mnemos.text.formats.record import Place

FILES = ("locomo/locomo_dev.json.gz", "locomo/locomo10.json.gz")
ERRORS = ("locomo/label_errors_dev.jsonl.gz", "locomo/label_errors.jsonl.gz")
CATEGORIES: Mapping[int, str] = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}
"""The one place that names the numbers in the file; other programs name some of them differently."""

ADVERSARIAL = "adversarial"
QUICK_CONVERSATIONS = 2
BOUNDS = (("recall@10", 0.75), ("recall@5", 0.68), ("recall@20", 0.81), ("all@10", 0.69))
ADVERSARIAL_BOUND = 0.69
_TURN = re.compile(r"D(\d+):(\d+)")


def run(benchmark: Benchmark, options: Options) -> Result:
    """Recall of the evidence turns, by category, with and without the questions whose labels are known to be wrong."""
    corpora = load(data_folder(options.data))
    if options.quick:
        corpora = sample_corpora(corpora, QUICK_CONVERSATIONS, options.rng(), lambda corpus: "")
    measured = measure(corpora, options)
    answerable = [question.category != ADVERSARIAL for question in measured.questions]
    adversarial = [not flag for flag in answerable]
    sound = [flag and not question.labels["label_error"] for flag, question in zip(answerable, measured.questions, strict=True)]
    checks = [_check(measured, metric, bound, answerable, "categories 1–4") for metric, bound in BOUNDS]
    checks.append(_check(measured, "recall@10", ADVERSARIAL_BOUND, adversarial, "adversarial"))
    checks += [_check(measured, metric, None, sound, "without label errors") for metric in ("recall@10", "all@10")]
    tables = {
        "Categories 1–4": measured.table(answerable),
        "Categories 1–4 without the published label errors": measured.table(sound),
        "recall@10 by category": measured.by_category("recall@10"),
    }
    notes = ["Evidence in category 5 is the turn that the question was bent away from; the right answer is that it is not there."]
    return measured.result(benchmark, checks, tables, notes, answerable)


def _check(measured: Measured, metric: str, bound: float | None, mask: list[bool], which: str) -> Check:
    interval = measured.interval(OURS, metric, mask)
    return Check.of(f"{metric}, {which}", interval, bound, baseline=measured.mean(measured.best_baseline(metric, mask), metric, mask))


def load(folder: Path) -> list[Corpus]:
    """One corpus per conversation. Questions without any evidence that exists in the conversation are left out."""
    name = (present(folder, FILES) or [FILES[0]])[0]
    known = present(folder, ERRORS)
    wrong = {(error["sample_id"], error["qa_index"]) for error in (read_lines(folder, known[0]) if known else [])}
    return [_corpus(sample, Place(str(folder / name)), wrong) for sample in read_json(folder, name)]


def _corpus(sample: dict[str, Any], place: Place, wrong: set[tuple[str, int]]) -> Corpus:
    records = [{key: value for key, value in record.items() if key != "space"} for record in sample_records(sample, place)]
    turns = {record["source"] for record in records}
    name = sample["sample_id"]
    questions = []
    for index, item in enumerate(sample["qa"]):
        evidence = evidence_ids(item.get("evidence", []), turns)
        if evidence:
            labels = {"label_error": (name, index) in wrong}
            questions.append(Question(f"{name}/{index}", item["question"], evidence, CATEGORIES[item["category"]], name, labels))
    return Corpus(name, records, questions)


def evidence_ids(strings: list[str], turns: set[str]) -> frozenset[str]:
    """The turns that evidence strings name. Some are malformed ("D8:6; D9:17", "D30:05", "D"); ids that do not exist are ignored."""
    named = {f"D{int(session)}:{int(turn)}" for string in strings for session, turn in _TURN.findall(string)}
    return frozenset(named & turns)
