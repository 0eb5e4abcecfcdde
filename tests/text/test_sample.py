"""The shipped conversation is whole, in order, varied, and its questions point at what they say."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import datetime, timedelta
from importlib.resources import files
from itertools import pairwise
from typing import Any

import pytest

from mnemos.text.formats import detect, read
from mnemos.text.formats.python_reference import python_reference_documents

SAMPLE = files("mnemos.cli") / "sample"
KINDS = {"single-fact", "multi-evidence", "temporal", "knowledge-update", "preference", "assistant-said", "implicit", "unanswerable"}


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SAMPLE / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def turns() -> list[dict[str, Any]]:
    return _lines("conversation.jsonl")


@pytest.fixture(scope="module")
def questions() -> list[dict[str, Any]]:
    return _lines("questions.jsonl")


def test_it_is_a_year_of_three_voices_in_order(turns):
    assert len(turns) >= 420
    sessions = [turn["session"] for turn in turns]
    assert sessions == sorted(sessions)
    assert set(sessions) == set(range(1, max(sessions) + 1))
    assert max(sessions) >= 20
    times = [datetime.fromisoformat(turn["event_at"]) for turn in turns]
    assert all(before < after for before, after in pairwise(times))
    assert all(moment.utcoffset() == timedelta(0) for moment in times)
    assert timedelta(days=330) <= times[-1] - times[0] <= timedelta(days=380)
    voices = Counter(turn["author"] for turn in turns)
    assert voices.keys() == {"Nuala", "Davit", "Wren"}
    assert min(voices.values()) >= 80


def test_sources_number_the_turns_of_each_session(turns):
    counts: Counter[int] = Counter()
    for turn in turns:
        counts[turn["session"]] += 1
        assert turn["source"] == f"S{turn['session']}:{counts[turn['session']]}"
    assert min(counts.values()) >= 12


def test_nothing_is_said_twice_and_no_two_sessions_begin_alike(turns):
    long = [turn["text"] for turn in turns if len(turn["text"]) > 40]
    assert len(long) == len(set(long))
    first = [turn["text"] for turn in turns if turn["source"].endswith(":1")]
    assert len({tuple(re.findall(r"\w+", text.lower())[:3]) for text in first}) == len(first)
    assert max(Counter(re.findall(r"\w+", text.lower())[0] for text in first).values()) <= 2
    runs = Counter(run for text in long for run in _runs(text, 12))
    assert [run for run, count in runs.items() if count > 1] == []


def _runs(text: str, length: int) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[start : start + length]) for start in range(len(words) - length + 1)}


def test_questions_of_every_kind_point_at_turns_that_exist(turns, questions):
    order = {turn["source"]: number for number, turn in enumerate(turns)}
    assert len(questions) >= 40
    assert len({question["id"] for question in questions}) == len({question["question"] for question in questions}) == len(questions)
    kinds = Counter(question["kind"] for question in questions)
    assert kinds.keys() == KINDS
    assert min(kinds.values()) >= 3
    for question in questions:
        evidence = question["evidence"]
        assert all(source in order for source in evidence), question
        assert evidence == sorted(set(evidence), key=order.__getitem__), question
        answerable = question["kind"] != "unanswerable"
        assert bool(evidence) == answerable == (question["answer"] is not None), question
        if question["kind"] == "multi-evidence":
            assert len(evidence) >= 2
        if question["kind"] == "knowledge-update":
            assert question["superseded"]
            assert max(order[source] for source in question["superseded"]) < order[evidence[-1]]


def test_the_words_of_a_single_fact_stand_in_its_evidence(turns, questions):
    text = {turn["source"]: turn["text"].lower() for turn in turns}
    for question in questions:
        if question["kind"] == "single-fact":
            evidence = " ".join(text[source] for source in question["evidence"])
            assert all(word in evidence for word in re.findall(r"[\w£,]+", question["answer"].lower())), question


def test_what_cannot_be_answered_is_not_said(turns, questions):
    everything = " ".join(turn["text"] for turn in turns).lower()
    for question in questions:
        if question["kind"] == "unanswerable":
            assert question["absent"]
            assert not [word for word in question["absent"] if word.lower() in everything], question
        else:
            assert "absent" not in question


def test_the_sample_reads_as_json_lines(turns):
    path = str(SAMPLE / "conversation.jsonl")
    assert detect(path) == "jsonl"
    records = list(read(path))
    assert [record["text"] for record in records] == [turn["text"] for turn in turns]
    assert records[0] == {
        "text": turns[0]["text"], "type": "turn", "author": "Nuala", "source": "S1:1", "metadata": {"session": 1},
        "event_at": datetime.fromisoformat(turns[0]["event_at"]),
    }


def test_the_python_reference_is_a_collection_of_documents():
    documents = list(python_reference_documents())
    assert len(documents) >= 60
    assert len({document["source"] for document in documents}) == len(documents)
    by_topic = {document["metadata"]["topic"]: document for document in documents}
    assert by_topic["for"]["metadata"]["title"] == "The for statement"
    assert by_topic["for"]["type"] == "document"
    assert "is used to iterate over the elements of a sequence" in by_topic["for"]["text"]
