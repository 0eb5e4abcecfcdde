"""`mnemos jobs`: what waits is listed, run, paused, tried again, cancelled and removed."""

from __future__ import annotations

from typing import Any

import pytest
from cli_outcome import Mnemos

import mnemos as library
from mnemos.errors import Invalid
from mnemos.kernel.work.background import KINDS
from mnemos.kernel.work.running import Kind


def ask(kind: str, **how: Any) -> int:
    with library.open("memory.db", embedder="none") as mem:
        return int(mem.jobs.enqueue(kind, **how).id)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, mnemos: Mnemos) -> None:
    """A kind of job that always fails, once for good."""

    def fail(mem: Any, job: Any) -> None:
        raise Invalid("will not do")

    monkeypatch.setitem(KINDS, "failing", Kind(fail, attempts=1))
    assert mnemos("init").code == 0


def test_jobs_are_listed_and_run(mnemos: Mnemos, lisbon: str) -> None:
    number = ask("compact", priority=2)
    ask("expire", every=60)
    listed = mnemos("jobs", "list", "--json").json
    assert [(job["kind"], job["state"]) for job in listed["jobs"]] == [("compact", "waiting"), ("expire", "waiting")]
    assert listed["counts"]["waiting"] == 2
    assert mnemos("jobs", "list", "--state", "done", "--json").json["jobs"] == []
    assert [job["id"] for job in mnemos("jobs", "list", "--kind", "compact", "--json").json["jobs"]] == [number]
    ran = mnemos("jobs", "run", "--json").json
    assert [(job["kind"], job["state"]) for job in ran["ran"]] == [("compact", "done"), ("expire", "waiting")]
    head, *lines = mnemos("jobs", "list").out.splitlines()
    assert head.split("\t")[:4] == ["number", "kind", "key", "state"]
    assert [line.split("\t")[3] for line in lines] == ["done", "waiting"]
    assert "Ran 0 jobs. In the store: 1 waiting, 1 done." in mnemos("jobs", "run").out


def test_jobs_are_paused_and_resumed(mnemos: Mnemos, lisbon: str) -> None:
    ask("compact")
    assert mnemos("jobs", "pause", "compact", "--json").json == {"paused": ["compact"]}
    assert "Paused: compact; go on with" in mnemos("jobs", "list").out
    assert mnemos("jobs", "run", "--json").json["ran"] == []
    assert mnemos("jobs", "resume").out == "Paused: none.\n"
    assert len(mnemos("jobs", "run", "--json").json["ran"]) == 1
    assert mnemos("jobs", "pause", "nonsense", "--json").error["kind"] == "NotFound"


def test_dead_jobs_are_shown_retried_and_removed(mnemos: Mnemos, failing: None) -> None:
    number = str(ask("failing", key="k"))
    assert "dead: failing k (Invalid: will not do)" in mnemos("jobs", "run").out
    assert mnemos("jobs", "list", "--state", "dead", "--json").json["jobs"][0]["error"] == "Invalid: will not do"
    assert mnemos("jobs", "retry", number, "--json").json["state"] == "waiting"
    assert mnemos("jobs", "cancel", number).out == f"Cancelled: job {number}, failing k.\n"
    assert mnemos("jobs", "drop", number).code == 0
    assert mnemos("jobs", "list", "--json").json["jobs"] == []
    assert mnemos("jobs", "drop", number, "--json").error["kind"] == "NotFound"


def test_there_must_be_a_store(mnemos: Mnemos) -> None:
    assert mnemos("jobs", "list", "--json").error["kind"] == "NotFound"
