"""LongMemEval (Wu et al. 2025, arXiv 2410.10813): evidence turns in a user's chats with an assistant, and contexts that hold them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from mnemos.base.stats import Interval, wilson
from mnemos.bench.corpus import Corpus, Question, sample_questions
from mnemos.bench.datasets import data_folder, file_of, read_lines
from mnemos.bench.evidence import Held, held
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.retrieval import OURS, RRF, Measured, measure
from mnemos.text.formats.longmemeval import question_records, session_date, session_order
from mnemos.text.formats.record import Place

FULL, ORACLE = "longmemeval/s_dev.jsonl.gz", "longmemeval/oracle_dev.jsonl.gz"
BUDGET_TOKENS = 2000
RATIO_BOUND, CONTEXT_BOUND = 1.1, 0.85
SESSIONS = 48
"""Sessions of an assembled history; those of the published ones are 40 to 57."""

QUICK_SESSIONS, QUICK_POOL, QUICK_PER_TYPE = 10, 14, 4
PUBLISHED, ASSEMBLED = "published", "assembled"
NOTES = (
    "Published: the histories of the S form. Assembled: for further questions of the oracle form, their evidence sessions among filler "
    "sessions of the S form, evenly spread in time before the question; made here, because few S histories are at hand.",
    "A context holds an evidence turn when the turn is among its hits and the context's text contains either the whole turn or one of "
    "its answer-bearing sentences: those with the answer in them, or, where none has it word for word, the one that shares most words "
    "with question and answer. Strict: the whole turn.",
    "Questions without a labelled turn (abstention) are left out.",
)


def run(benchmark: Benchmark, options: Options) -> Result:
    """Recall of evidence turns beside the baselines, and the share of contexts of 2,000 tokens that hold all the evidence."""
    folder = data_folder(options.data)
    corpora = load(folder, options)
    contexts: dict[str, list[Held]] = {}

    def probe(space: Any, question: Question) -> None:
        context = space.context(question.text, budget_tokens=BUDGET_TOKENS)
        sources = {hit.cube.source for hit in context.hits}
        turns: dict[str, str] = question.labels["turns"]
        contexts[question.id] = [held(text, source in sources, context.text, question.text, question.labels["answer"])
                                 for source, text in turns.items()]

    measured = measure(corpora, options, probe=probe)
    everything = [True] * len(measured.questions)
    published = [question.labels["form"] == PUBLISHED for question in measured.questions]
    ratio = measured.ratio(OURS, RRF, "recall@10", everything)
    checks = [
        Check.of("recall@10 ÷ reciprocal-rank fusion", ratio, RATIO_BOUND, baseline=1.0),
        Check.of(f"contexts of {BUDGET_TOKENS} tokens with all evidence", _share(measured, contexts, everything), CONTEXT_BOUND),
        Check.of("the same, whole turns", _share(measured, contexts, everything, strict=True)),
        Check.of("recall@10", measured.interval(OURS, "recall@10", everything), baseline=measured.mean(RRF, "recall@10", everything)),
    ]
    tables = {"All histories": measured.table(everything)}
    if any(published):
        checks += [
            Check.of("recall@10 ÷ reciprocal-rank fusion, published", measured.ratio(OURS, RRF, "recall@10", published), RATIO_BOUND),
            Check.of("contexts with all evidence, published", _share(measured, contexts, published), CONTEXT_BOUND),
        ]
        tables["Published histories"] = measured.table(published)
    tables["recall@10 by question type"] = measured.by_category("recall@10")
    tables["Contexts with all evidence, by question type"] = _by_type(measured, contexts)
    return measured.result(benchmark, checks, tables, NOTES)


def _share(measured: Measured, contexts: dict[str, list[Held]], mask: Sequence[bool], strict: bool = False) -> Interval:
    chosen = [contexts[question.id] for question, flag in zip(measured.questions, mask, strict=True) if flag]
    whole = sum(all(part.whole if strict else part.answer for part in parts) for parts in chosen)
    return wilson(whole, len(chosen))


def _by_type(measured: Measured, contexts: dict[str, list[Held]]) -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = {}
    for kind in sorted({question.category for question in measured.questions}):
        mask = [question.category == kind for question in measured.questions]
        strict = _share(measured, contexts, mask, strict=True)
        table[kind] = {"n": strict.n, "all evidence": _share(measured, contexts, mask).value, "whole turns": strict.value}
    return table


def load(folder: Path, options: Options) -> list[Corpus]:
    """Quick: short assembled histories of a sample of questions. Full: the published ones, and assembled ones for the other questions."""
    rng = options.rng()
    published, oracle = read_lines(folder, FULL), read_lines(folder, ORACLE)
    place = Place(str(file_of(folder, FULL)))
    full = [_corpus(question, place, PUBLISHED) for question in published]
    taken = {question["question_id"] for question in published}
    rest = [question for question in oracle if question["question_id"] not in taken]
    fillers = list(filler_sessions([*published, *oracle]))
    if options.quick:
        fillers = [fillers[i] for i in rng.choice(len(fillers), QUICK_POOL, replace=False)]
        pool = [question for question in oracle if _corpus(question, place, ASSEMBLED).questions]
        chosen = {q.id for c in sample_questions([_corpus(x, place, ASSEMBLED) for x in pool], QUICK_PER_TYPE, rng) for q in c.questions}
        histories = [assembled_history(question, fillers, QUICK_SESSIONS, rng) for question in pool if question["question_id"] in chosen]
        return [_corpus(history, place, ASSEMBLED) for history in histories]
    made = [_corpus(assembled_history(question, fillers, SESSIONS, rng), place, ASSEMBLED) for question in rest]
    return [corpus for corpus in full + made if corpus.questions]


def _corpus(question: dict[str, Any], place: Place, form: str) -> Corpus:
    records = [{key: value for key, value in record.items() if key != "space"} for record in question_records(question, place)]
    evidence = evidence_sources(question, place)
    texts = {record["source"]: record["text"] for record in records if record["source"] in evidence}
    labels = {"form": form, "answer": str(question["answer"]), "turns": texts}
    asked = Question(question["question_id"], question["question"], frozenset(texts), question["question_type"],
                     question["question_id"].removesuffix("_abs"), labels)
    return Corpus(question["question_id"], records, [asked] if texts and not question["question_id"].endswith("_abs") else [])


def evidence_sources(question: dict[str, Any], place: Place) -> set[str]:
    """Sources, as the reader keys them, of the turns labelled `has_answer`."""
    sessions = question["haystack_sessions"]
    return {
        f"s{number}:{position + 1}"
        for number, (index, _) in enumerate(session_order(question, place), 1)
        for position, turn in enumerate(sessions[index])
        if turn.get("has_answer")
    }


def filler_sessions(questions: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Sessions of the published histories that are evidence of no question at all, each once."""
    everything = list(questions)
    evidence = {session for question in everything for session in question["answer_session_ids"]}
    seen: set[str] = set()
    for question in everything:
        for name, session in zip(question["haystack_session_ids"], question["haystack_sessions"], strict=True):
            if name not in evidence and name not in seen and session and not any(turn.get("has_answer") for turn in session):
                seen.add(name)
                yield session


def assembled_history(question: dict[str, Any], fillers: Sequence[list[dict[str, Any]]], sessions: int, rng: np.random.Generator) -> dict[str, Any]:
    """The question with its evidence sessions among filler sessions, whose dates are spread evenly up to the question's."""
    place = Place(question["question_id"])
    wanted = max(0, min(sessions - len(question["haystack_sessions"]), len(fillers)))
    chosen = [fillers[i] for i in rng.choice(len(fillers), wanted, replace=False)]
    moments = [session_date(date, place) for date in question["haystack_dates"]]
    end = max(session_date(question["question_date"], place), *moments)
    start = min(moments)
    dates = [_written(start + (end - start) * ((i + 0.5) / wanted)) for i in range(wanted)]
    return {
        **question,
        "haystack_sessions": [*question["haystack_sessions"], *chosen],
        "haystack_dates": [*question["haystack_dates"], *dates],
    }


def _written(moment: datetime) -> str:
    return moment.strftime("%Y/%m/%d (%a) %H:%M")
