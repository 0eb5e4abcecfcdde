"""MuSiQue, HotpotQA and 2WikiMultihopQA: supporting passages over a pooled corpus, each set in a space of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mnemos.bench.corpus import Corpus, Question, Record, sample_questions
from mnemos.bench.datasets import data_folder, read_lines
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Result
from mnemos.bench.retrieval import measure

SETS = ("musique", "hotpotqa", "2wikimultihopqa")
DISTRACTORS = "multihop/2wiki_distractors.corpus.jsonl.gz"
QUICK_PER_TYPE = 10


def run(benchmark: Benchmark, options: Options) -> Result:
    """Recall of supporting passages against reciprocal-rank fusion on the same texts and vectors."""
    corpora = load(data_folder(options.data), distractors=not options.quick)
    if options.quick:
        corpora = [candidates_only(corpus) for corpus in sample_questions(corpora, QUICK_PER_TYPE, options.rng())]
    measured = measure(corpora, options)
    tables = {corpus.name: measured.table([question.labels["set"] == corpus.name for question in measured.questions]) for corpus in corpora}
    notes = ["A question is its own cluster. 2Wiki has 6,119 further passages as distractors in the full run."]
    if options.quick:
        notes.append("Quick: the corpora hold the candidates of the sampled questions only, and no distractors.")
    return measured.against_fusion(benchmark, tables, notes)


def load(folder: Path, distractors: bool = True) -> list[Corpus]:
    """One corpus per set."""
    return [_corpus(folder, name, distractors) for name in SETS]


def _corpus(folder: Path, name: str, distractors: bool) -> Corpus:
    passages = read_lines(folder, f"multihop/{name}_dev.corpus.jsonl.gz")
    if name.startswith("2wiki") and distractors:
        known = {passage["pid"] for passage in passages}
        passages += [passage for passage in read_lines(folder, DISTRACTORS) if passage["pid"] not in known]
    questions = [
        Question(item["id"], item["question"], frozenset(item["supporting"]), f"{name} {item['type']}", item["id"],
                 {"set": name, "candidates": item["candidates"], "answer": item["answer"]})
        for item in read_lines(folder, f"multihop/{name}_dev.questions.jsonl.gz")
    ]
    return Corpus(name, [passage_record(p["pid"], p["title"], " ".join(p["sentences"])) for p in passages], questions)


def passage_record(source: str, title: str, text: str) -> dict[str, Any]:
    """A passage as a document whose first line is its title, so that every system sees the title."""
    return {"text": f"{title}\n{text}", "type": "document", "source": source, "metadata": {"title": title}}


def candidates_only(corpus: Corpus) -> Corpus:
    """The corpus with the passages that its questions' authors gave as candidates, and no other."""
    kept = {candidate for question in corpus.questions for candidate in question.labels["candidates"]}
    records: Sequence[Record] = [record for record in corpus.records if record["source"] in kept]
    return replace(corpus, records=records)
