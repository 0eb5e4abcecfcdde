"""`mnemos pipelines`: steps are kept, listed, run and removed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_outcome import Mnemos

STEPS = [
    {"step": "retrieve", "query": "{question}", "k": 1, "as": "hits"},
    {"step": "add", "text": "Known: {hits}", "type": "note", "derived_from": "$hits", "as": "note"},
    {"step": "archive", "cubes": "$hits", "when": "$really"},
]


@pytest.fixture
def steps(mnemos: Mnemos, lisbon: str) -> str:
    Path("steps.json").write_text(json.dumps(STEPS), encoding="utf-8")
    return "steps.json"


def test_a_pipeline_is_kept_run_and_removed(mnemos: Mnemos, lisbon: str, steps: str) -> None:
    kept = mnemos("--space", "default", "pipelines", "save", "sum up", "--file", steps)
    assert kept.out == "Kept the pipeline 'sum up'. It wants: question, really.\n"
    assert mnemos("pipelines", "list", "--json").json == {"pipelines": [{"name": "sum up", "inputs": ["question", "really"]}]}
    assert mnemos("pipelines", "list").out == "name\twants\nsum up\tquestion, really\n"
    assert mnemos("pipelines", "show", "sum up").json == STEPS
    assert mnemos("pipelines", "show", "sum up", "--json").json["space"] == "default"
    ran = mnemos("pipelines", "run", "sum up", "--input", "question=Where is it = Lisbon?", "--inputs", '{"really": false}', "--json").json
    assert [step["outcome"] for step in ran["steps"]] == ["done", "done", "skipped"]
    assert ran["gave"]["note"]["text"] == "Known: I moved to Lisbon in spring."
    assert [hit["id"] for hit in ran["gave"]["hits"]] == [lisbon]
    assert ran["gave"].keys() == {"hits", "note"}
    said = mnemos("pipelines", "run", "sum up", "-i", "question=Lisbon", "-i", "really=yes").out.splitlines()
    assert said[0] == "step\tkind\toutcome\tgave\tlog"
    assert [line.split("\t")[2] for line in said[1:]] == ["done", "done", "done"]
    assert mnemos("pipelines", "remove", "sum up").code == 0
    assert mnemos("pipelines", "run", "sum up", "--json").error["kind"] == "NotFound"
    assert mnemos("pipelines", "remove", "sum up", "--json").error["kind"] == "NotFound"


def test_steps_are_run_without_being_kept(mnemos: Mnemos) -> None:
    Path("one.json").write_text('[{"step": "add", "text": "Noted: {what}"}]', encoding="utf-8")
    assert mnemos("pipelines", "run", "--file", "one.json", "-i", "what=tea").code == 0
    assert [cube["text"] for cube in mnemos("list", "--json").json["memories"]] == ["Noted: tea"]
    assert mnemos("pipelines", "list", "--json").json == {"pipelines": []}


def test_a_step_that_fails_undoes_all(mnemos: Mnemos, lisbon: str) -> None:
    Path("bad.json").write_text('[{"step": "add", "text": "x"}, {"step": "assert", "that": 1, "where": {"value": 2}}]', encoding="utf-8")
    said = mnemos("pipelines", "run", "--file", "bad.json", "--json")
    assert (said.code, said.error["kind"]) == (1, "Conflict")
    assert "step 2 (assert)" in said.error["message"]
    assert len(mnemos("list", "--json").json["memories"]) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["run"], ["run", "x", "--file", "steps.json"], ["run", "--file", "steps.json"], ["run", "--file", "nothing.json"], ["run", "none"],
        ["run", "--file", "steps.json", "-i", "question"], ["run", "--file", "steps.json", "--inputs", "[]"], ["run", "--file", "memory.db"],
        ["save", "x", "--file", "folder"], ["save", "", "--file", "steps.json"], ["show", "none"], ["run", "--file", "object.json"],
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_in_one_line(mnemos: Mnemos, steps: str, words: list[str]) -> None:
    Path("folder").mkdir()
    Path("object.json").write_text("{}", encoding="utf-8")
    said = mnemos("pipelines", *words)
    assert (said.code, said.err.strip().count("\n")) == (1, 0)
    assert "fault of Mnemos" not in said.err
