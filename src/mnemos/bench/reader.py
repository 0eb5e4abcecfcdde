"""The reader without a language model: which names it finds, how well it answers from gold evidence, how far its confidence can be trusted."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from mnemos.base.meter import Seconds, machine
from mnemos.base.stats import Interval, bootstrap_difference, bootstrap_mean, wilson
from mnemos.bench.datasets import data_folder, read_json, read_lines
from mnemos.bench.multihop import SETS as MULTIHOP
from mnemos.bench.reader_data import SETS, Case, exact, f1, load, to_develop_on
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.index.terms import heading_of
from mnemos.text.answering.reader import SURE_ENOUGH, Answer, answer
from mnemos.text.entities import entities, key_of
from mnemos.text.sentence_spans import sentence_spans
from mnemos.text.time_expressions import find_times

OURS, FIRST, LONGEST = "mnemos", "first entity", "longest sentence"
QUICK_CASES = 400
"""Questions of each data set in a quick run."""
TIMES_BASELINE = 2.0
"""What answers have to reach, in multiples of the better baseline's F1."""
ENTITY_BOUND, TURN_BOUND, PASSAGE_BOUND = 0.8, 100.0, 1000.0
PASSAGE = 1400
"""Characters of the passage that the bound of time is for."""
NOTES = (
    "Each question gets its gold evidence. The reader was developed and its weights were fitted on half of the questions, chosen by a hash of their "
    "evidence (LoCoMo: of the conversation); all numbers are of the other half. F1 and exact match as in SQuAD, best over the answers given.",
    "First entity: the first name in the evidence that the question does not hold. Longest sentence: that of the evidence. Both answer always; the "
    "reader's F1 and exact match are those of its best candidate, whether sure or not.",
    "Known names: titles of passages, and 2Wiki's subjects and objects, of two and more words, that stand word for word in another passage and not "
    "within a longer name; found where an entity has the same key. Half of the passages, by a hash: the rules were written on the others. Runs of "
    "capitals: the longest runs of words that begin with a capital.",
    "Without evidence: the evidence is that of another question of the same set; any answer is wrong.",
)
_CAPITAL_BEFORE = re.compile(r"(?:[A-Z][\w.&]*[ -]|[\w’'])$")
_CAPITAL_AFTER = re.compile(r"[\w-]|,? ?(?:[A-Z0-9]|of [A-Z])")
_CAPITALS = re.compile(r"[A-Z][\w'’.-]*(?: [A-Z][\w'’.-]*)*")


def run(benchmark: Benchmark, options: Options) -> Result:
    """Answers of the held-out half against two baselines, by data set; names found; time."""
    clock, folder, rng = Seconds(), data_folder(options.data), options.rng()
    cases = [case for case in load(folder) if not to_develop_on(case)]
    if options.quick:
        cases = [case for name in SETS for case in _sample([case for case in cases if case.dataset == name], rng)]
    options.say("answers")
    answers = [answer(case.question, case.sources, now=case.now, least=0.0) for case in cases]
    given = {OURS: [one.text for one in answers], FIRST: [first_entity(case) for case in cases], LONGEST: [longest_sentence(case) for case in cases]}
    scores = {name: [f1(text, case.answers) for text, case in zip(texts, cases, strict=True)] for name, texts in given.items()}
    matches = [exact(text, case.answers) for text, case in zip(given[OURS], cases, strict=True)]
    checks, tables = _answer_checks(cases, scores, matches, rng)
    checks += _confidence_checks(cases, answers, scores[OURS], rng)
    options.say("entities")
    checks += _entity_checks(folder, options.quick, rng)
    checks += _time_checks(folder)
    return Result.of(
        benchmark.name, benchmark.paper, benchmark.claim, checks, seconds=clock.seconds, machine=machine().as_dict(),
        details={"tables": tables, "notes": list(NOTES), "quick": options.quick, "seed": options.seed},
    )  # fmt: skip


def _sample(cases: Sequence[Case], rng: np.random.Generator) -> list[Case]:
    chosen = rng.choice(len(cases), min(QUICK_CASES, len(cases)), replace=False)
    return [cases[i] for i in sorted(chosen)]


def _answer_checks(
    cases: Sequence[Case], scores: dict[str, list[float]], matches: list[float], rng: np.random.Generator
) -> tuple[list[Check], dict[str, dict[str, dict[str, Any]]]]:
    checks: list[Check] = []
    by_set: dict[str, dict[str, Any]] = {}
    for name in SETS:
        mask = [case.dataset == name for case in cases]
        clusters = [case.id.split("/")[0] if name == "locomo" else case.id for case, flag in zip(cases, mask, strict=True) if flag]
        chosen = {which: [value for value, flag in zip(values, mask, strict=True) if flag] for which, values in scores.items()}
        best = max((FIRST, LONGEST), key=lambda which: float(np.mean(chosen[which])))
        baseline = float(np.mean(chosen[best]))
        reached: Interval = bootstrap_mean(chosen[OURS], clusters, rng, bounds=(0, 1))
        checks.append(Check.of(f"{name}: F1", reached, TIMES_BASELINE * baseline, baseline=baseline))
        checks.append(Check.of(f"{name}: F1 above the {best}", bootstrap_difference(chosen[OURS], chosen[best], clusters, rng), 0.0))
        right = [value for value, flag in zip(matches, mask, strict=True) if flag]
        by_set[name] = {"n": len(right), "exact match": float(np.mean(right)), **{f"F1, {which}": float(np.mean(chosen[which])) for which in scores}}
    by_kind: dict[str, dict[str, Any]] = {}
    for kind in sorted({f"{case.dataset} {case.kind}" for case in cases}):
        mask = [f"{case.dataset} {case.kind}" == kind for case in cases]
        values = [value for value, flag in zip(scores[OURS], mask, strict=True) if flag]
        right = [value for value, flag in zip(matches, mask, strict=True) if flag]
        by_kind[kind] = {"n": len(values), "exact match": float(np.mean(right)), "F1": float(np.mean(values))}
    return checks, {"Answers from gold evidence": by_set, "By kind of question": by_kind}


def _confidence_checks(cases: Sequence[Case], answers: Sequence[Answer], scores: Sequence[float], rng: np.random.Generator) -> list[Check]:
    """What is answered by default is right more often than what is not; and the wrong evidence is answered from less often than the right one."""
    sure = [one.confidence >= SURE_ENOUGH for one in answers]
    answered = [score for score, flag in zip(scores, sure, strict=True) if flag]
    left_out = [score for score, flag in zip(scores, sure, strict=True) if not flag]
    at = {name: [number for number, case in enumerate(cases) if case.dataset == name] for name in SETS}
    other = {number: numbers[(place + 1) % len(numbers)] for numbers in at.values() for place, number in enumerate(numbers)}
    wrong = [bool(answer(case.question, cases[other[number]].sources, now=case.now)) for number, case in enumerate(cases)]
    ids = [str(number) for number in range(len(cases))]
    answered_ids = [one for one, flag in zip(ids, sure, strict=True) if flag]
    gap = bootstrap_difference([float(flag) for flag in sure], [float(flag) for flag in wrong], ids, rng)
    rest = float(np.mean(left_out or [0.0]))
    return [
        Check.of("F1 of what is answered by default", bootstrap_mean(answered, answered_ids, rng, bounds=(0, 1)), 2 * rest, baseline=rest),
        Check.of("share answered by default", wilson(sum(sure), len(sure))),
        Check.of("share answered without evidence", wilson(sum(wrong), len(wrong))),
        Check.of("answered with evidence, more than without", gap, 0.2),
    ]


def first_entity(case: Case) -> str:
    """The first name in the evidence that the question does not hold; nothing where there is none."""
    asked = key_of(case.question)
    for source in case.sources:
        for one in entities(source.text):
            if one.kind != "quantity" and one.key not in asked:
                return one.surface
    return ""


def longest_sentence(case: Case) -> str:
    """The longest sentence of the evidence, titles aside."""
    told = [sentence.text for source in case.sources for sentence in sentence_spans(source.text.removeprefix(heading_of(source.text)))]
    return max(told, key=len, default="")


def _entity_checks(folder: Path, quick: bool, rng: np.random.Generator) -> list[Check]:
    """The share of known names, where they stand word for word, that are found."""
    ours: list[float] = []
    runs: list[float] = []
    where: list[str] = []
    for name in MULTIHOP[:1] if quick else MULTIHOP:
        passages = {p["pid"]: p for p in read_lines(folder, f"multihop/{name}_dev.corpus.jsonl.gz")}
        names = {re.sub(r"\s*\([^)]*\)$", "", p["title"]) for p in passages.values()}
        for question in read_lines(folder, f"multihop/{name}_dev.questions.jsonl.gz"):
            names |= {thing for subject, _, thing in question.get("evidences", ()) for thing in (subject, thing)}
        known = {text: key_of(text) for text in names if len(text) > 3 and text[0].isupper() and " " in text and not find_times(text)}
        by_first: dict[str, list[str]] = {}
        for text in known:
            by_first.setdefault(text.split()[0], []).append(text)
        for pid, passage in passages.items():
            if blake2b(pid.encode(), digest_size=1).digest()[0] % 2 == 0:
                continue  # the half on which the rules were written
            body = " ".join(passage["sentences"])
            title = key_of(passage["title"])
            possible = {text for word in re.findall(r"[^\s(\"“]+", body) for text in by_first.get(word, ()) if known[text] != title}
            told = sorted(text for text in possible if _stands(text, body))
            if told:
                found = {one.key for one in entities(body)}
                capitals = {key_of(match.group()) for match in _CAPITALS.finditer(body)}
                ours += [float(known[text] in found) for text in told]
                runs += [float(known[text] in capitals) for text in told]
                where += [pid] * len(told)
    reached = bootstrap_mean(ours, where, rng, bounds=(0, 1))
    return [
        Check.of("known names found", reached, ENTITY_BOUND, baseline=float(np.mean(runs))),
        Check.of("known names found, more than by runs of capitals", bootstrap_difference(ours, runs, where, rng), 0.0),
    ]


def _stands(text: str, body: str) -> bool:
    """Whether a name stands in a text by itself, not within a longer name."""
    return any(
        _CAPITAL_BEFORE.search(body, max(0, match.start() - 40), match.start()) is None and _CAPITAL_AFTER.match(body, match.end()) is None
        for match in re.finditer(re.escape(text), body)
    )


def _time_checks(folder: Path) -> list[Check]:
    """The processor's time for a turn of LoCoMo, and for 1,400 characters of MuSiQue's passages; the best of three rounds."""
    conversation = read_json(folder, "locomo/locomo_dev.json.gz")[0]["conversation"]
    turns = [turn["text"] for session in conversation.values() if isinstance(session, list) for turn in session]
    passages = [f"{p['title']}\n{' '.join(p['sentences'])}" for p in read_lines(folder, "multihop/musique_dev.corpus.jsonl.gz")][:400]
    turn = _seconds(entities, turns) / len(turns)
    passage = _seconds(entities, passages) / sum(map(len, passages)) * PASSAGE
    return [
        Check("entities of a turn, µs", turn * 1e6, TURN_BOUND, at_least=False, n=len(turns)),
        Check(f"entities of {PASSAGE:,} characters, µs", passage * 1e6, PASSAGE_BOUND, at_least=False, n=len(passages)),
    ]


def _seconds(read: Callable[[str], object], texts: Iterable[str]) -> float:
    texts = list(texts)
    spent = []
    for _ in range(3):
        start = time.process_time()
        for text in texts:
            read(text)
        spent.append(time.process_time() - start)
    return min(spent)
