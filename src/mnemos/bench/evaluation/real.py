"""The card's numbers that need no reader, on real data: LoCoMo, LongMemEval and MemDaily, as far as they are at hand."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mnemos.base.errors import NotFound
from mnemos.base.stats import Interval, aurc, bootstrap_mean, bootstrap_statistic
from mnemos.bench import locomo, longmemeval
from mnemos.bench.corpus import Corpus, Question, sample_questions
from mnemos.bench.datasets import present, read_json, read_lines
from mnemos.bench.evaluation import contextual, external
from mnemos.bench.evaluation.judging import Audit, Judge, RuleJudge, audit, blurred, wrong_answers
from mnemos.bench.metrics import all_hit, unique
from mnemos.bench.registry import Options
from mnemos.kernel.system import Mnemos

K = 10
MEMDAILY = "memdaily/memdaily_dev.jsonl.gz"
UPDATED = "knowledge-update"
FITTED_ON = ("LoCoMo", "LongMemEval")
"""The sets whose development parts the ranking's weights were fitted on: their numbers are not those of unseen data."""
_DAY = re.compile(r"(\d{4})年(\d{2})月(\d{2})日\D*(\d{2}):(\d{2})")


@dataclass(frozen=True)
class RealSet:
    """One data set: its histories, and which of its questions are asked."""

    name: str
    corpora: Sequence[Corpus]


def sets(folder: Path, options: Options) -> list[RealSet]:
    """The sets that are at hand: whole, or, for a quick run, one LoCoMo conversation, short LongMemEval histories and 50 MemDaily streams."""
    out = []
    for name, load in (("LoCoMo", _locomo), ("LongMemEval", longmemeval.load), ("MemDaily", memdaily)):
        try:
            out.append(RealSet(name, load(folder, options)))
        except NotFound as missing:
            options.say(str(missing))
    return out


def _locomo(folder: Path, options: Options) -> list[Corpus]:
    corpora = locomo.load(folder)
    if not options.quick:
        return corpora
    return sample_questions(corpora[:1], 20, options.rng())


def memdaily(folder: Path, options: Options) -> list[Corpus]:
    """One corpus per trajectory; the choices and the right letter are labels. Ten questions of the set are error marks, and are left out."""
    rows = [row for row in read_lines(folder, MEMDAILY) if isinstance(row["question_list"][0]["choices"], dict)]
    if options.quick:
        rows = [rows[i] for i in sorted(options.rng().choice(len(rows), 50, replace=False))]
    corpora = []
    for number, row in enumerate(rows):
        name = f"memdaily {number}"
        records = [
            {"text": m["message"], "source": str(m["mid"]), "event_at": _time(m["time"]), "place": m["place"], "type": "turn"}
            for m in row["message_list"]
        ]
        asked = row["question_list"][0]
        evidence = frozenset(map(str, asked["target_step_id"]))
        labels = {"choices": asked["choices"], "letter": asked["ground_truth"]}
        corpora.append(Corpus(name, records, [Question(name, asked["question"], evidence, row["type"][:2], name, labels)]))
    return corpora


def _time(text: str) -> str | None:
    found = _DAY.search(text)
    return f"{found[1]}-{found[2]}-{found[3]}T{found[4]}:{found[5]}:00" if found else None


def choice(choices: Mapping[str, str], texts: Sequence[str]) -> str:
    """The letter of the choice whose character pairs stand most often in the texts, the better ranked ones counting more. No language model."""
    weights = [1 / (rank + 1) for rank in range(len(texts))]

    def weight(value: str) -> float:
        pairs = {value[i : i + 2] for i in range(max(1, len(value) - 1))}
        return sum(w * sum(pair in text for pair in pairs) / len(pairs) for w, text in zip(weights, texts, strict=True))

    return max(sorted(choices), key=lambda letter: weight(choices[letter]))


def measure(memory: Mnemos, data: RealSet, rng: np.random.Generator, say: Callable[[str], None]) -> dict[str, Interval]:
    """Recall@5, MRR, position robustness, the area under risk–coverage of the search's own confidence, and what only some sets have: whether
    the newest evidence comes first (updates), and multiple-choice accuracy (choices)."""
    questions: list[Question] = []
    rankings: list[list[str]] = []
    scores: list[float] = []
    chosen: list[float] = []
    positions: list[float] = []
    order: list[float] = []
    for number, corpus in enumerate(data.corpora):
        say(f"{data.name} {number + 1} of {len(data.corpora)}")
        space = memory.space(f"{data.name}/{corpus.name}")
        space.add_many(list(corpus.records))
        place = {str(record["source"]): i for i, record in enumerate(corpus.records)}
        for question in corpus.questions:
            hits = space.search(question.text, k=K)
            ranking = unique(hit.cube.source for hit in hits)
            questions.append(question)
            rankings.append(ranking)
            scores.append(hits[0].score if hits else -math.inf)
            positions.append(float(np.mean([place[s] for s in question.evidence])) / max(1, len(place) - 1))
            if "choices" in question.labels:
                chosen.append(float(choice(question.labels["choices"], [h.cube.text for h in hits]) == question.labels["letter"]))
            found = [source for source in ranking if source in question.evidence]
            newest = max(question.evidence, key=place.__getitem__)
            order.append(float(bool(found) and found[0] == newest) if question.category == UPDATED and len(question.evidence) > 1 else math.nan)
    clusters = [question.cluster for question in questions]
    evidence = [sorted(question.evidence) for question in questions]
    held = [all_hit(ranking, question.evidence, K) for ranking, question in zip(rankings, questions, strict=True)]

    def over(metric: Callable[..., float], *columns: Sequence[Any]) -> Interval:
        return bootstrap_statistic(lambda rows: metric(*([c[i] for i in rows] for c in columns)), clusters, rng, resamples=200)

    out = {
        "recall@5": over(external.recall_at_k, evidence, rankings),
        "MRR": over(external.mrr, evidence, rankings),
        "position robustness": over(lambda t, p, at: contextual.position_robustness(t, p, position=at), [1.0] * len(held), held, positions),
        "AURC, all evidence@10": over(aurc, held, scores),
    }
    updates = [i for i, value in enumerate(order) if not math.isnan(value)]
    if updates:
        out["newest evidence first"] = bootstrap_mean([order[i] for i in updates], [clusters[i] for i in updates], rng, bounds=(0, 1))
    if chosen:
        out["multiple choice"] = bootstrap_mean(chosen, clusters, rng, bounds=(0, 1))
    return out


def judge_audit(folder: Path, rng: np.random.Generator, judge: Judge) -> Audit:
    """Audit a judge on LoCoMo's gold answers: each question with the answer to another question of its conversation and category, and with
    its own answer blurred in one place. Rewordings of the gold answers must be accepted. Raises `NotFound`."""
    questions: list[str] = []
    gold: list[str] = []
    groups: list[tuple[str, int]] = []
    for sample in read_json(folder, (present(folder, locomo.FILES) or [locomo.FILES[0]])[0]):
        for item in sample["qa"]:
            if "answer" in item and str(item["answer"]).strip():
                questions.append(item["question"])
                gold.append(str(item["answer"]))
                groups.append((sample["sample_id"], item["category"]))
    strict = RuleJudge()
    others = wrong_answers(questions, gold, groups, rng, lambda a, b: strict.accepts(["?"], [a], [b])[0] or strict.accepts(["?"], [b], [a])[0])
    close = [blurred(answer, rng) for answer in gold]
    probes = [(q, g, w) for wrong in (others, close) for q, g, w in zip(questions, gold, wrong, strict=True) if w is not None]
    asked, right, wrong_ = (list(column) for column in zip(*probes, strict=True))
    return audit(judge, asked, right, wrong_, right=[f"As far as I remember, it was {answer}." for answer in right])
