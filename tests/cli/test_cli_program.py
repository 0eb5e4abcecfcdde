"""Programs on the command line."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from cli_outcome import Mnemos

from chat_server import ChatServer, completion

SPEC = "# Shop\n\nIt sells books.\n\n## Cart\n- Put things in.\n- Take things out.\n\n## Pay\n1. By card.\n2. By cash.\n"


@pytest.fixture
def spec(mnemos: Mnemos) -> str:
    Path("spec.md").write_text(SPEC)
    return "spec.md"


def test_a_task_becomes_files(mnemos: Mnemos, spec: str) -> None:
    made = mnemos("program", "run", spec, "--out", "out", "--window", "3000", "--checks", "markdown,links")
    assert made.code == 0
    assert made.out.startswith("3 of 3 instructions done in 12 calls, ")
    assert made.out.rstrip().endswith("4 files in out.")
    assert sorted(path.name for path in Path("out/sections").iterdir()) == ["0001-shop.md", "0002-cart.md", "0003-pay.md"]
    assert Path("out/sections/0003-pay.md").read_text() == "# Pay\n\n- [ ] By card.\n- [ ] By cash.\n"
    (program,) = mnemos("program", "list", "--json").json["programs"]
    assert (program["task"], program["ended"], program["files"]) == (SPEC, "done", 4)
    head, line = mnemos("program", "list").out.splitlines()
    assert head.split("\t") == ["program", "status", "instructions", "files", "task"]
    assert line.split("\t")[:4] == [program["id"], "done", "3/3", "4"]
    shown = mnemos("program", "show", program["id"])
    assert [row.split("\t")[1] for row in shown.out.splitlines()[1:4]] == ["done"] * 3
    assert shown.out.endswith("done. 4 files.\n")
    assert mnemos("program", "show", program["id"], "--json").json["instructions"][1]["calls"] == 4
    assert mnemos("program", "export", program["id"], "out.zip").out == "Wrote 4 files to out.zip.\n"
    with zipfile.ZipFile("out.zip") as archive:
        assert len(archive.namelist()) == 4
    assert mnemos("search", "books", "--json").json["hits"] == []


def test_an_interrupted_program_is_resumed(mnemos: Mnemos, spec: str) -> None:
    first = mnemos("program", "run", spec, "--calls", "5", "--checks", "markdown", "--out", "out", "--json").json
    assert (first["ended"], first["cost"]["calls"]) == ("calls", 5)
    assert not Path("out").exists()
    told = mnemos("program", "resume", first["id"], "--calls", "1").out
    assert f"Go on with: mnemos program resume {first['id']}" in told
    assert mnemos("program", "resume", first["id"], "--out", "out", "--json").json["out"] == "out"
    assert Path("out/index.md").read_text().count("](sections/") == 3


def test_what_cannot_be_run(mnemos: Mnemos, spec: str, lisbon: str) -> None:
    Path("taken").mkdir()
    Path("noise.md").write_bytes(b"\xff\xfe")
    Path("empty.md").write_text(" \n")
    for arguments, kind, words in (
        (("run", "none.md"), "NotFound", "none.md: there is no such file"),
        (("run", "noise.md"), "Invalid", "no text in UTF-8"),
        (("run", "empty.md"), "Invalid", "task: is empty"),
        (("run", spec, "--out", "taken"), "Invalid", "taken: exists already"),
        (("run", spec, "--checks", "taste"), "NotFound", "no evaluator 'taste'"),
        (("run", spec, "--window", "300"), "Invalid", "make the window larger"),
        (("resume", lisbon), "NotFound", "is a fact, and no program"),
        (("show", "nonsense"), "Invalid", "no cube id"),
    ):
        refused = mnemos("program", *arguments, "--json")
        assert refused.code == 1
        assert refused.error["kind"] == kind
        assert words in refused.error["message"]
    assert mnemos("program", "list", "--json").json["programs"] == []


def test_a_chat_model_does_the_work(mnemos: Mnemos, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def called(name: str, arguments: str) -> object:
        return completion(None, "tool_calls", tool_calls=[{"id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}])

    script = [
        called("plan", '{"steps": ["It sells books. Put things in. Take things out. By card. By cash."]}'),
        called("plan", '{"steps": ["It sells books. Put things in. Take things out. By card. By cash."]}'),
        called("write_files", '{"files": [{"path": "shop.py", "contents": "BOOKS = []\\n"}]}'),
        called("step_complete", "{}"),
        completion("The shop stands."),
    ]
    with ChatServer(*[lambda body, answer=answer: answer for answer in script]) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        made = mnemos("program", "run", spec, "--model", "tiny", "--checks", "python", "--out", "out", "--window", "4000")
        assert made.code == 0, made.err
        bodies = [body for _, body in server.requests]
    assert Path("out/shop.py").read_text() == "BOOKS = []\n"
    assert len(bodies) == 5
    assert bodies[0]["tool_choice"] == {"type": "function", "function": {"name": "plan"}}
    assert [message["role"] for message in bodies[3]["messages"]] == ["system", "user", "assistant", "tool", "user"]


def test_a_program_that_fails_says_so(mnemos: Mnemos, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with ChatServer(reply=lambda messages: "I would rather not. " * 200) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        failed = mnemos("program", "run", spec, "--model", "tiny", "--checks", "python", "--window", "3000")
        temperatures = [body["temperature"] for _, body in server.requests]
    assert failed.code == 1
    assert temperatures[0] == 0.0
    assert max(temperatures) == 1.0  # a model that repeats itself is asked at a higher temperature
    assert "was begun anew 30 times" in failed.err
    assert "mnemos program resume" in failed.err
