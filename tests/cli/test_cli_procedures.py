"""`mnemos procedures`: runs are learnt from, guidance is given and credited, and pools are carried from space to space."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_outcome import Mnemos


def line(reward: float, *calls: tuple[str, str]) -> str:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Refund order W12 for 20 dollars"}]
    for tool, result in calls:
        messages += [{"role": "assistant", "content": "", "function_call": {"name": tool, "arguments": {}}}]
        messages += [{"role": "function", "name": tool, "content": result}]
    return json.dumps({"messages": messages, "reward": reward})


@pytest.fixture
def learnt(mnemos: Mnemos) -> dict[str, Any]:
    runs = [line(0, ("refund", "Error: not authenticated")), "", line(1, ("authenticate", "ok"), ("refund", "done"))]
    Path("runs.jsonl").write_text("\n".join(runs))
    said: dict[str, Any] = mnemos("procedures", "learn", "runs.jsonl", "--json").json
    return said


def test_runs_are_learnt_from_and_listed(mnemos: Mnemos, learnt: dict[str, Any]) -> None:
    assert len(learnt["added"]) == 2
    assert "2 runs: 0 new, 0 revised, 2 found again, 0 not kept" in mnemos("procedures", "learn", "runs.jsonl").out
    listed = mnemos("procedures", "list", "--json").json["procedures"]
    assert [(one["id"], one["category"]) for one in listed] == list(zip(learnt["added"], ["success", "failure"], strict=True))
    assert mnemos("procedures", "list").out.splitlines()[0].split("\t") == ["id", "from", "used", "succeeded", "when to use", "what to do"]


def test_guidance_is_given_and_credited_once(mnemos: Mnemos, learnt: dict[str, Any]) -> None:
    given = mnemos("procedures", "guide", "Refund order X9 for 7 dollars", "--tools", "refund, authenticate", "--json").json
    assert mnemos("procedures", "report", given["run"], "1").out == "Counted.\n"
    assert mnemos("procedures", "report", given["run"], "1", "--json").error["kind"] == "NotFound"
    listed = mnemos("procedures", "list", "--json").json["procedures"]
    assert sum(one["counts"]["u"] for one in listed) == len(given["procedures"])
    assert "Report how it ended: mnemos procedures report" in mnemos("procedures", "guide", "Refund order X9").out
    assert mnemos("procedures", "report", given["run"], "7", "--json").error["kind"] == "Invalid"


def test_pools_are_carried_and_pruned(mnemos: Mnemos, learnt: dict[str, Any]) -> None:
    assert mnemos("procedures", "export", "pool.jsonl", "--json").json["procedures"] == 2
    assert "2 procedures taken in." in mnemos("--space", "other", "procedures", "load", "pool.jsonl").out
    assert len(mnemos("--space", "other", "procedures", "list", "--json").json["procedures"]) == 2
    for rule in ([], ["--absolute"], ["--forget"]):
        assert mnemos("procedures", "prune", *rule, "--json").json == {"pruned": []}


@pytest.mark.parametrize(
    ("text", "said"), [("{", "line 1"), ('{"reward": 1}', "messages"), ('{"messages": [], "reward": 1}', "task"), ("7", "object")]
)
def test_a_file_that_is_wrong_teaches_nothing(mnemos: Mnemos, text: str, said: str) -> None:
    mnemos("init")
    Path("bad.jsonl").write_text(text)
    error = mnemos("procedures", "learn", "bad.jsonl", "--json").error
    assert error["kind"] == "Invalid"
    assert said in error["message"]
    assert mnemos("procedures", "learn", "none.jsonl", "--json").error["kind"] == "NotFound"
    assert mnemos("procedures", "list", "--json").json == {"procedures": []}
