"""Questions with short answers and their gold evidence, as the reader gets them: passages, turns of two people, turns with an assistant."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

from mnemos.bench.datasets import read_json, read_lines
from mnemos.bench.locomo import evidence_ids
from mnemos.bench.multihop import SETS as MULTIHOP
from mnemos.text.answering.candidates import Source
from mnemos.text.formats.longmemeval import session_date
from mnemos.text.formats.record import Place

SETS = ("nq-open", *MULTIHOP, "locomo", "longmemeval")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_LOCOMO = {1: "multi-hop", 2: "temporal", 4: "single-hop"}
_SESSION_DATE = "%I:%M %p on %d %B, %Y"


@dataclass(frozen=True)
class Case:
    """A question, its gold evidence, and the answers that count as right."""

    id: str
    dataset: str
    kind: str
    question: str
    answers: tuple[str, ...]
    sources: list[Source] = field(default_factory=list)
    now: int | None = None
    """When it is asked, microseconds since 1970."""


def load(folder: Path) -> list[Case]:
    """The questions of all sets with an answer and evidence that exist: 1,300 of Natural Questions, 282 multi-hop, LoCoMo's categories 1, 2 and 4,
    and of LongMemEval those whose answer is a fact (no preferences, no abstention)."""
    return [*_nq(folder), *_multihop(folder), *_locomo(folder), *_longmemeval(folder)]


def to_develop_on(case: Case) -> bool:
    """Whether the case is of the half that the reader was developed on: by the hash of its evidence, so that questions on one text stay together;
    of LoCoMo, by conversation."""
    group = case.id.split("/")[0] if case.dataset == "locomo" else min((source.text for source in case.sources), default=case.id)
    return blake2b(group.encode(), digest_size=1).digest()[0] % 2 == 0


def normal(text: str) -> str:
    """A text as answers are compared (Rajpurkar et al., SQuAD, 2016): lower case, without articles, punctuation and surplus blanks."""
    plain = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def exact(given: str, answers: Sequence[str]) -> float:
    """1 where `given` is one of the answers, normalised."""
    return float(any(normal(given) == normal(answer) for answer in answers))


def f1(given: str, answers: Sequence[str]) -> float:
    """The best token F1 over the answers, normalised."""
    ours = Counter(normal(given).split())
    best = 0.0
    for answer in answers:
        theirs = Counter(normal(answer).split())
        shared = sum((ours & theirs).values())
        if shared:
            best = max(best, 2 * shared / (ours.total() + theirs.total()))
    return best


def _nq(folder: Path) -> Iterator[Case]:
    for item in read_lines(folder, "nq-open/nq_open_dev.jsonl.gz"):
        yield Case(item["id"], "nq-open", "open", item["question"], tuple(item["answers"]), [Source("0", f"{item['title']}\n{item['passage']}")])


def _multihop(folder: Path) -> Iterator[Case]:
    for name in MULTIHOP:
        texts = {p["pid"]: f"{p['title']}\n{' '.join(p['sentences'])}" for p in read_lines(folder, f"multihop/{name}_dev.corpus.jsonl.gz")}
        for item in read_lines(folder, f"multihop/{name}_dev.questions.jsonl.gz"):
            answers = (item["answer"], *item["answer_aliases"])
            yield Case(item["id"], name, item["type"], item["question"], answers, [Source(pid, texts[pid]) for pid in item["supporting"]])


def _locomo(folder: Path) -> Iterator[Case]:
    for sample in read_json(folder, "locomo/locomo_dev.json.gz"):
        turns: dict[str, Source] = {}
        conversation: dict[str, Any] = sample["conversation"]
        for key, session in conversation.items():
            if isinstance(session, list):
                said = datetime.strptime(conversation[f"{key}_date_time"], _SESSION_DATE).replace(tzinfo=UTC)
                for turn in session:
                    text = turn["text"] + (f" [{turn['blip_caption']}]" if turn.get("blip_caption") else "")
                    turns[turn["dia_id"]] = Source(turn["dia_id"], text, turn["speaker"], int(said.timestamp()) * 1_000_000)
        for index, item in enumerate(sample["qa"]):
            evidence = sorted(evidence_ids(item.get("evidence", []), set(turns)))
            if item["category"] in _LOCOMO and evidence:
                yield Case(f"{sample['sample_id']}/{index}", "locomo", _LOCOMO[item["category"]], item["question"], (str(item["answer"]),),
                           [turns[one] for one in evidence])


def _longmemeval(folder: Path) -> Iterator[Case]:
    place = Place(str(folder / "longmemeval/oracle_dev.jsonl.gz"))
    for item in read_lines(folder, "longmemeval/oracle_dev.jsonl.gz"):
        if item["question_id"].endswith("_abs") or item["question_type"] == "single-session-preference":
            continue
        sources = []
        for number, (date, session) in enumerate(zip(item["haystack_dates"], item["haystack_sessions"], strict=True)):
            said = int(session_date(date, place).timestamp()) * 1_000_000
            sources += [Source(f"{number}:{at}", turn["content"], turn["role"], said) for at, turn in enumerate(session) if turn.get("has_answer")]
        if sources:
            now = int(session_date(item["question_date"], place).timestamp()) * 1_000_000
            yield Case(item["question_id"], "longmemeval", item["question_type"], item["question"], (str(item["answer"]),), sources, now)
