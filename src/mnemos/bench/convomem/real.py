"""LoCoMo and LongMemEval as test cases of the same shape, so that every answerer can be asked of real conversations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mnemos.bench.convomem.schema import Conversation, EvidenceItem, Message, TestCase
from mnemos.bench.datasets import file_of, present, read_json, read_lines
from mnemos.bench.locomo import CATEGORIES, FILES, evidence_ids
from mnemos.bench.longmemeval import FULL, ORACLE
from mnemos.text.formats.locomo import sample_records
from mnemos.text.formats.longmemeval import session_order
from mnemos.text.formats.record import Place

ABSTENTION = "abstention"
UNANSWERABLE = ("adversarial", ABSTENTION)
"""Categories whose right answer is that it was never said."""


def locomo_cases(folder: Path) -> Iterator[TestCase]:
    """A case for each question whose evidence is named, over all sessions of its conversation; `labels` name its sample.

    The category is the data's own: 1 is multi-hop, 2 temporal, 3 open-domain, 4 single-hop, 5 adversarial (`mnemos.bench.locomo.CATEGORIES`);
    the paper's adapter names 1 and 4 otherwise. Raises `NotFound`, `Corrupt`.
    """
    name = (present(folder, FILES) or [FILES[0]])[0]
    for sample in read_json(folder, name):
        yield from _locomo(sample, Place(str(folder / name)))


def _locomo(sample: Mapping[str, Any], place: Place) -> Iterator[TestCase]:
    sessions: dict[str, list[tuple[str, Message]]] = {}
    for record in sample_records(dict(sample), place):
        sessions.setdefault(record["source"].split(":")[0], []).append((record["source"], Message(record["author"], record["text"])))
    conversations = {key: Conversation(tuple(message for _, message in turns), f"{sample['sample_id']}/{key}") for key, turns in sessions.items()}
    said = {source: message for turns in sessions.values() for source, message in turns}
    history = tuple(conversations.values())
    for item in sample["qa"]:
        evidence = sorted(evidence_ids(item.get("evidence", []), set(said)))
        if evidence:
            holding = dict.fromkeys(source.split(":")[0] for source in evidence)
            answer = str(item.get("answer", "You never told me."))
            made = EvidenceItem(item["question"], answer, tuple(said[source] for source in evidence),
                                tuple(conversations[key] for key in holding), CATEGORIES[item["category"]], None, sample["sample_id"])  # fmt: skip
            yield TestCase((made,), history, len(history), {"sample": sample["sample_id"]})


def longmemeval_cases(folder: Path, full: bool = False) -> Iterator[TestCase]:
    """A case for each question: its evidence sessions alone, or with `full` the published histories. Sessions are in order of time.

    The category is the question's type, or "abstention". Raises `NotFound`, `Corrupt`.
    """
    name = FULL if full else ORACLE
    place = Place(str(file_of(folder, name)))
    for question in read_lines(folder, name):
        conversations, evidence, holding = [], [], []
        for index, _ in session_order(question, place):
            turns = question["haystack_sessions"][index]
            conversation = Conversation(tuple(Message(turn["role"], turn["content"]) for turn in turns), question["haystack_session_ids"][index])
            conversations.append(conversation)
            told = [message for message, turn in zip(conversation.messages, turns, strict=True) if turn.get("has_answer")]
            evidence += told
            holding += [conversation] if told else []
        category = ABSTENTION if question["question_id"].endswith("_abs") else question["question_type"]
        made = EvidenceItem(question["question"], str(question["answer"]), tuple(evidence), tuple(holding), category, None, question["question_id"])
        yield TestCase((made,), tuple(conversations), len(conversations), {"type": question["question_type"], "asked": question["question_date"]})
