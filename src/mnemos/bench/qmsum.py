"""QMSum (Zhong et al. 2021, arXiv 2104.05938): the turns of real meetings that a query's answer rests on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mnemos.bench.corpus import Corpus, Question, sample_corpora
from mnemos.bench.datasets import data_folder, read_lines
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Result
from mnemos.bench.retrieval import measure

FILE = "qmsum/qmsum_dev.jsonl.gz"
QUICK_MEETINGS = 6


def run(benchmark: Benchmark, options: Options) -> Result:
    """Recall of the turns inside a query's spans, against reciprocal-rank fusion on the same texts and vectors."""
    corpora = load(data_folder(options.data))
    if options.quick:
        corpora = sample_corpora(corpora, QUICK_MEETINGS, options.rng(), lambda corpus: corpus.questions[0].category)
    notes = ["Spans are generous (a whole discussion, often more than 20 turns), so recall@k stays far below 1 for every system."]
    return measure(corpora, options).against_fusion(benchmark, {}, notes)


def load(folder: Path) -> list[Corpus]:
    """One corpus per meeting with specific queries. Turns that say nothing are left out of corpus and evidence."""
    corpora = [_corpus(meeting) for meeting in read_lines(folder, FILE)]
    return [corpus for corpus in corpora if corpus.questions]


def _corpus(meeting: dict[str, Any]) -> Corpus:
    name = meeting["meeting_id"]
    records = [
        {"text": turn["content"], "type": "turn", "source": str(index), "author": turn["speaker"]}
        for index, turn in enumerate(meeting["meeting_transcripts"])
        if turn["content"].strip()
    ]
    spoken = {record["source"] for record in records}
    questions = []
    for number, query in enumerate(meeting["specific_query_list"]):
        evidence = frozenset(str(i) for first, last in query["relevant_text_span"] for i in range(int(first), int(last) + 1)) & spoken
        if evidence:
            questions.append(Question(f"{name}/{number}", query["query"], evidence, meeting["domain"], name))
    return Corpus(name, records, questions)
