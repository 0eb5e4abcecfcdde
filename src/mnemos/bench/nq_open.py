"""Natural Questions, open form, one gold passage each (as cut by Liu et al. 2023, arXiv 2307.03172)."""

from __future__ import annotations

from pathlib import Path

from mnemos.bench.corpus import Corpus, Question
from mnemos.bench.datasets import data_folder, read_lines
from mnemos.bench.multihop import passage_record
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Result
from mnemos.bench.retrieval import measure

FILE = "nq-open/nq_open_dev.jsonl.gz"
QUICK_QUESTIONS = 400


def run(benchmark: Benchmark, options: Options) -> Result:
    """Recall of the gold passage among all passages, against reciprocal-rank fusion on the same texts and vectors."""
    corpus = load(data_folder(options.data))
    notes = ["Questions that share a gold passage form a cluster. Other passages may answer a question, too; they count as misses."]
    if options.quick:
        chosen = sorted(options.rng().choice(len(corpus.questions), min(QUICK_QUESTIONS, len(corpus.questions)), replace=False))
        questions = [corpus.questions[i] for i in chosen]
        gold = {source for question in questions for source in question.evidence}
        corpus = Corpus(corpus.name, [record for record in corpus.records if record["source"] in gold], questions)
        notes.append("Quick: the pool holds the gold passages of the sampled questions only.")
    return measure([corpus], options).against_fusion(benchmark, {}, notes)


def load(folder: Path) -> Corpus:
    """One pool; a passage that several questions share is in it once."""
    sources: dict[tuple[str, str], str] = {}
    questions = []
    for item in read_lines(folder, FILE):
        source = sources.setdefault((item["title"], item["passage"]), f"passage-{len(sources)}")
        questions.append(Question(item["id"], item["question"], frozenset({source}), "open", source))
    return Corpus("nq-open", [passage_record(source, title, text) for (title, text), source in sources.items()], questions)
