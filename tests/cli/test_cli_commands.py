"""Each command does what it says, and its JSON has the shape that programs hold on to."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from cli_outcome import Mnemos

from mnemos.cli.importing import CHUNK, CHUNK_CHARACTERS, portions


def test_init_makes_a_store_once(mnemos: Mnemos) -> None:
    assert mnemos("init", "--json").json["created"] is True
    again = mnemos("init", "--json")
    assert (again.code, again.json["created"], again.json["space"]) == (0, False, "default")


def test_add_keeps_every_field(mnemos: Mnemos) -> None:
    added = mnemos(
        "add", "The office is on floor 4.", "--type", "fact", "--author", "Bo", "--source", "mail", "--tag", "work", "--tag", "place",
        "--event-at", "2025-01-02T03:04:05+00:00", "--valid-from", "2025-01-01", "--metadata", '{"floor": 4}', "--json",
    ).json  # fmt: skip
    shown = mnemos("show", added["id"], "--json").json
    assert shown["text"] == "The office is on floor 4."
    assert (shown["type"], shown["author"], shown["source"], shown["tags"]) == ("fact", "Bo", "mail", ["work", "place"])
    assert shown["event_at"] == "2025-01-02T03:04:05+00:00"
    assert shown["valid_from"].startswith("2025-01-01")
    assert shown["metadata"] == {"floor": 4}


def test_add_reads_standard_input(mnemos: Mnemos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("Zoë paid 4 €.\n".encode())))
    assert mnemos("add", "-", "--json").json["text"] == "Zoë paid 4 €.\n"


def test_search_gives_hits_with_signals(mnemos: Mnemos, lisbon: str) -> None:
    mnemos("add", "The kettle is broken.", "--author", "Bo")
    found = mnemos("search", "Where did Alice move?", "-k", "2", "--explain", "--json").json
    assert found["hits"][0]["cube"]["id"] == lisbon
    assert len(found["hits"]) == 2
    assert set(found["hits"][0]) == {"cube", "score", "signals", "exact"}
    assert found["hits"][0]["signals"]
    assert mnemos("search", "Alice", "--author", "Bo", "--json").json["hits"][0]["cube"]["author"] == "Bo"
    assert mnemos("search", "Alice", "--since", "2026-01-01", "--until", "2026-02-01", "--json").json["hits"] == []


def test_search_in_a_pipe_is_tab_separated(mnemos: Mnemos, lisbon: str) -> None:
    head, line = mnemos("search", "Lisbon").out.splitlines()
    assert head.split("\t") == ["rank", "score", "id", "when", "author", "source", "text"]
    assert line.split("\t")[2:] == [lisbon, "2025-03-02 00:00", "Alice", "D3:7", "I moved to Lisbon in spring."]


def test_context_prints_numbered_sources(mnemos: Mnemos, lisbon: str) -> None:
    assert mnemos("context", "Alice").out.strip() == "[1] 2025-03-02 00:00, Alice: I moved to Lisbon in spring."
    found = mnemos("context", "Alice", "--budget", "50", "--json").json
    assert found["tokens"] <= 50
    assert found["hits"][0]["cube"]["id"] == lisbon


def test_a_memory_lives_through_change_and_back(mnemos: Mnemos, lisbon: str) -> None:
    assert mnemos("update", lisbon, "I moved to Porto.", "--json").json["version"] == 2
    assert mnemos("show", lisbon).out == "I moved to Porto.\n"
    assert mnemos("show", lisbon, "--version", "1").out == "I moved to Lisbon in spring.\n"
    versions = mnemos("history", lisbon, "--json").json["versions"]
    assert [v["text"] for v in versions] == ["I moved to Lisbon in spring.", "I moved to Porto."]
    position = str(versions[0]["position"])
    assert mnemos("show", lisbon, "--as-of", position, "--json").json["version"] == 1
    assert mnemos("search", "moved", "--as-of", position, "--json").json["hits"][0]["cube"]["version"] == 1
    back = mnemos("rollback", lisbon, "1", "--json").json
    assert (back["version"], back["text"], back["author"]) == (3, "I moved to Lisbon in spring.", "Alice")


def test_update_changes_only_what_is_given(mnemos: Mnemos, lisbon: str) -> None:
    changed = mnemos("update", lisbon, "--tag", "home", "--if-version", "1", "--json").json
    assert (changed["text"], changed["author"], changed["tags"]) == ("I moved to Lisbon in spring.", "Alice", ["home"])
    assert mnemos("update", lisbon, "x", "--if-version", "1", "--json").error["kind"] == "Conflict"


def test_frozen_means_no_change(mnemos: Mnemos, lisbon: str) -> None:
    assert mnemos("freeze", lisbon, "--json").json["frozen"] is True
    refused = mnemos("update", lisbon, "x", "--json")
    assert (refused.code, refused.error["kind"]) == (1, "Frozen")
    assert mnemos("unfreeze", lisbon, "--json").json["frozen"] is False
    assert mnemos("update", lisbon, "x").code == 0


def test_list_filters_and_pages(mnemos: Mnemos) -> None:
    ids = [mnemos("add", f"note {n}", "--tag", "odd" if n % 2 else "even", "--json").json["id"] for n in range(5)]
    first = mnemos("list", "-n", "3", "--json").json
    rest = mnemos("list", "-n", "3", "--cursor", first["cursor"], "--json").json
    assert [m["id"] for m in first["memories"] + rest["memories"]] == ids
    assert rest["cursor"] is None
    assert [m["text"] for m in mnemos("list", "--tag", "odd", "--json").json["memories"]] == ["note 1", "note 3"]
    assert len(mnemos("list").out.splitlines()) == 6


def test_spaces_are_apart(mnemos: Mnemos, lisbon: str) -> None:
    mnemos("--space", "work", "add", "The printer jams.")
    rows = mnemos("spaces", "--json").json["spaces"]
    assert [(row["name"], row["memories"]) for row in rows] == [("default", 1), ("work", 1)]
    assert [h["cube"]["text"] for h in mnemos("search", "Lisbon", "--space", "work", "--json").json["hits"]] == ["The printer jams."]
    assert mnemos("show", lisbon, "--space", "work").code == 1


def test_strategies_and_benchmarks_are_listed(mnemos: Mnemos) -> None:
    strategies = mnemos("strategies", "--json").json["strategies"]
    assert any(s["name"] == "auto" and s["about"] for s in strategies)
    rows = mnemos("bench", "--list", "--json").json["benchmarks"]
    assert all(set(row) == {"name", "paper", "claim"} for row in rows)
    assert "locomo" in {row["name"] for row in rows}


def test_forget_certifies_and_the_certificate_is_checked(mnemos: Mnemos, lisbon: str) -> None:
    mnemos("add", "The kettle is broken.")
    done = mnemos("forget", lisbon, "--yes", "--certificate", "paper.json", "--reason", "asked", "--json")
    assert done.json == json.loads(Path("paper.json").read_text())
    assert done.json["cubes"][0]["id"] == lisbon
    assert mnemos("verify", "--certificate", "paper.json").code == 0
    assert mnemos("show", lisbon).code == 1
    assert all(b"Lisbon" not in file.read_bytes() for file in Path().glob("memory.db*"))
    paper = json.loads(Path("paper.json").read_text())
    paper["cubes"][0]["digests"][0] = "0" * 64
    Path("forged.json").write_text(json.dumps(paper))
    forged = mnemos("verify", "--certificate", "forged.json", "--json")
    assert (forged.code, forged.json["ok"]) == (1, False)


def test_forget_by_condition(mnemos: Mnemos, lisbon: str) -> None:
    kept = mnemos("add", "The kettle is broken.", "--author", "Bo", "--json").json["id"]
    assert len(mnemos("forget", "--author", "Alice", "--yes", "--json").json["cubes"]) == 1
    assert [m["id"] for m in mnemos("list", "--json").json["memories"]] == [kept]


def test_forget_asks_first(mnemos: Mnemos, lisbon: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert mnemos("forget", lisbon).code == 1
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    nobody = mnemos("forget", lisbon)
    assert nobody.code == 1
    assert "--yes" in nobody.err
    assert mnemos("show", lisbon).code == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert mnemos("forget", lisbon).code == 0
    assert mnemos("show", lisbon).code == 1


def test_a_certificate_that_cannot_be_saved_stops_the_forgetting(mnemos: Mnemos, lisbon: str) -> None:
    Path("taken.json").write_text("{}")
    assert mnemos("forget", lisbon, "--yes", "--certificate", "taken.json").code == 1
    assert mnemos("forget", lisbon, "--yes", "--certificate", "no/such/folder.json").code == 1
    assert mnemos("forget", lisbon, "--yes", "--certificate", "c.json", "--reason", "moved to Lisbon").code == 1
    assert not Path("c.json").exists()
    assert Path("taken.json").read_text() == "{}"
    assert mnemos("show", lisbon).code == 0


def test_import_counts_and_keeps(mnemos: Mnemos) -> None:
    lines = [{"text": f"turn {n}", "author": "Ann", "event_at": "2025-01-01", "place_of_work": "mill"} for n in range(700)]
    Path("chat.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = mnemos("import", "chat.jsonl", "--json").json
    assert (done["imported"], done["format"], done["spaces"]) == (700, "jsonl", {"default": 700})
    page = mnemos("list", "-n", "1000", "--json").json["memories"]
    assert [m["text"] for m in page] == [line["text"] for line in lines]
    assert page[0]["metadata"] == {"place_of_work": "mill"}


def test_import_uses_the_spaces_that_a_file_names(mnemos: Mnemos) -> None:
    lines = [{"text": "a", "space": "one"}, {"text": "b", "space": "two"}, {"text": "c", "space": "one"}, {"text": "d"}]
    Path("m.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert mnemos("import", "m.jsonl", "--json").json["spaces"] == {"one": 2, "two": 1, "default": 1}


def test_a_faulty_file_stores_nothing(mnemos: Mnemos) -> None:
    Path("bad.jsonl").write_text("\n".join(['{"text": "fine"}'] * 600 + ['{"no": 1}']))
    refused = mnemos("import", "bad.jsonl", "--json")
    assert refused.code == 1
    assert "601" in refused.error["message"]
    assert not Path("memory.db").exists()


def test_export_and_import_give_an_equal_store(mnemos: Mnemos, lisbon: str) -> None:
    mnemos("update", lisbon, "I moved to Porto.")
    mnemos("add", "The printer jams.", "--space", "work")
    assert mnemos("export", "all.jsonl", "--json").json["file"] == "all.jsonl"
    assert mnemos("-s", "copy.db", "import", "all.jsonl").code == 0
    assert mnemos("-s", "copy.db", "export").out.splitlines()[1:-1] == mnemos("export").out.splitlines()[1:-1]
    assert [v["text"] for v in mnemos("-s", "copy.db", "history", lisbon, "--json").json["versions"]] == [
        "I moved to Lisbon in spring.", "I moved to Porto.",
    ]  # fmt: skip
    assert mnemos("export", "work.jsonl", "--space", "work").code == 0
    assert "Porto" not in Path("work.jsonl").read_text()


def test_verify_and_doctor_find_a_flipped_bit(mnemos: Mnemos, lisbon: str) -> None:
    assert mnemos("verify", "--json").json["ok"] is True
    checks = mnemos("doctor", "--json").json
    assert checks["ok"] is True
    assert {"Mnemos", "SQLite", "embedder", "store", "vectors", "verify"} <= {check["name"] for check in checks["checks"]}
    store = Path("memory.db")
    data = bytearray(store.read_bytes())
    data[data.index(b"Lisbon")] ^= 1
    store.write_bytes(data)
    broken = mnemos("verify", "--json")
    assert broken.code == 1
    examined = mnemos("doctor", "--json")
    assert (examined.code, examined.json["ok"]) == (1, False)


def test_the_store_keeps_its_embedder(mnemos: Mnemos, lisbon: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def vectors() -> str:
        return next(str(check["detail"]) for check in mnemos("doctor", "--json").json["checks"] if check["name"] == "vectors")

    assert "hashed" in vectors()
    monkeypatch.delenv("MNEMOS_EMBEDDER")
    assert mnemos("search", "Lisbon", "--json").json["hits"][0]["cube"]["id"] == lisbon
    assert vectors().startswith("1 by hashed:256")
    assert mnemos("--embedder", "hashed:512", "search", "Lisbon").code == 0
    assert vectors().startswith("1 by hashed:512")
    mnemos("add", "The kettle is broken.")
    assert vectors().startswith("2 by hashed:512")


def test_environment_names_store_and_space(mnemos: Mnemos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNEMOS_STORE", "other.db")
    monkeypatch.setenv("MNEMOS_SPACE", "ann")
    assert mnemos("add", "hello there", "--json").json["space"] == "ann"
    assert Path("other.db").exists()
    assert not Path("memory.db").exists()
    assert mnemos("add", "hello again", "--space", "bo", "--json").json["space"] == "bo"


def test_an_export_goes_into_the_spaces_that_it_names(mnemos: Mnemos, lisbon: str) -> None:
    mnemos("export", "all.jsonl")
    for option in (["--space", "elsewhere"], ["--skip", "1"]):
        refused = mnemos("-s", "copy.db", "import", "all.jsonl", *option, "--json")
        assert (refused.code, refused.error["kind"]) == (1, "Invalid")
    assert mnemos("-s", "copy.db", "import", "all.jsonl").code == 0


def test_an_import_goes_on_where_it_stopped(mnemos: Mnemos) -> None:
    Path("three.jsonl").write_text("".join(f'{{"text": "memory {n}"}}\n' for n in range(3)))
    assert mnemos("import", "three.jsonl", "--skip", "2", "--json").json["imported"] == 1
    assert [cube["text"] for cube in mnemos("list", "--json").json["memories"]] == ["memory 2"]
    assert mnemos("import", "three.jsonl", "--skip", "3").code == 1


def test_portions_keep_order_and_spaces_and_stay_small() -> None:
    long = "x" * (CHUNK_CHARACTERS // 2 + 1)
    records = [{"text": f"{n}"} for n in range(CHUNK + 1)] + [{"text": long}] * 3 + [{"text": "y", "space": "other"}, {"text": "z"}]
    found = list(portions(records, "default"))
    assert [(name, len(portion)) for name, portion in found] == [("default", CHUNK), ("default", 3), ("default", 1), ("other", 1), ("default", 1)]
    assert [record["text"] for _, portion in found for record in portion] == [record["text"] for record in records]
    assert not any("space" in record for _, portion in found for record in portion)


def test_forgetting_by_a_condition_that_nothing_fits_says_so(mnemos: Mnemos, lisbon: str) -> None:
    said = mnemos("forget", "--tag", "none")
    assert (said.code, said.out) == (0, "Nothing in space 'default' fits these conditions, and nothing was forgotten.\n")
    assert mnemos("forget", "--tag", "none", "--json").json["cubes"] == []


def test_the_command_that_checks_a_certificate_can_be_typed_as_it_is_said(mnemos: Mnemos) -> None:
    mnemos("-s", "other.db", "add", "To be gone.")
    said = mnemos("-s", "other.db", "forget", "--type", "fact", "--yes", "--certificate", "c.json").out
    command = said.rpartition("check it with: mnemos ")[2].split()
    assert mnemos(*command).code == 0
    assert command[:2] == ["-s", "other.db"]


def test_doctor_names_the_embedder_that_is_missing(mnemos: Mnemos, lisbon: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MNEMOS_EMBEDDER")
    monkeypatch.setattr("mnemos.models.catalog.from_fingerprint", lambda name: None)
    checks = {check["name"]: check for check in mnemos("doctor", "--json").json["checks"]}
    assert checks["embedder"]["state"] == "warn"
    assert "hashed:256" in checks["embedder"]["detail"]
    assert "--reembed" in checks["embedder"]["do"]


def test_a_store_too_damaged_to_open_is_looked_at_page_by_page(mnemos: Mnemos, lisbon: str) -> None:
    connection = sqlite3.connect("memory.db")
    page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'store'").fetchone()[0]
    connection.close()
    data = bytearray(Path("memory.db").read_bytes())
    data[page * 8192 - 100] ^= 1
    Path("memory.db").write_bytes(data)
    assert mnemos("list", "--json").error["kind"] == "Corrupt"
    place = f"page {page} (byte {(page - 1) * 8192})"
    found = mnemos("verify", "--json")
    assert (found.code, [finding["place"] for finding in found.json["findings"]]) == (1, [place])
    said = mnemos("verify")
    assert "1 thing is wrong" in said.out
    assert place in mnemos("doctor").out


@pytest.mark.parametrize("width", [80, 120])
def test_every_benchmark_is_named_in_full_at_a_terminal(mnemos: Mnemos, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    names = [row["name"] for row in mnemos("bench", "--json").json["benchmarks"]]
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    text = re.sub("\x1b[^m]*m", "", mnemos("bench").out)
    assert re.findall(r"(?m)^ ([a-z][a-z-]*)  ", text) == ["name", *names]
    assert all(len(line) <= width for line in text.splitlines())


@pytest.mark.parametrize(
    ("words", "expected"), [("mnemos se", "search"), ("mnemos import --format cha", "chatgpt"), ("mnemos bench long", "longmemeval")]
)
def test_the_shell_completes(words: str, expected: str) -> None:
    environment = {**os.environ, "_MNEMOS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run([shutil.which("mnemos", path=Path(sys.executable).parent) or "mnemos"], env=environment, capture_output=True, text=True)
    assert expected in done.stdout.split()
