"""Archives, sync, checkpoints and reports from the command line."""

from __future__ import annotations

import csv
import io
import json
import stat
from pathlib import Path

import pytest
from cli_outcome import Mnemos


@pytest.fixture
def key(mnemos: Mnemos, tmp_path: Path) -> Path:
    made = mnemos("signing-key", "signing.key", "--json").json
    assert stat.S_IMODE(Path(made["file"]).stat().st_mode) == 0o600
    return Path("signing.key")


@pytest.mark.parametrize("file", ["all.zip", "all.mip", "all"])
def test_an_archive_goes_out_and_comes_in(mnemos: Mnemos, lisbon: str, key: Path, file: str) -> None:
    folder = ["--folder"] if file == "all" else []
    written = mnemos("export", file, *folder, "--sign", str(key), "--json").json
    assert (written["cubes"], written["versions"], written["redacted"]) == (1, 1, None)
    assert mnemos("verify", "--archive", file, "--public-key", "signing.key.pub").code == 0
    assert mnemos("verify", "--archive", file, "--json").json == {"ok": True, "reasons": []}
    taken = mnemos("-s", "other.db", "import", file, "--public-key", "signing.key.pub", "--json").json
    assert (taken["format"], taken["imported"]) == ("archive", 2)
    assert mnemos("-s", "other.db", "import", file, "--json").json["imported"] == 0
    assert mnemos("-s", "other.db", "show", lisbon, "--json").json["text"] == "I moved to Lisbon in spring."
    assert "the same" in mnemos("diff", "other.db").out
    assert mnemos("diff", file, "--json").json["same"] is True


def test_what_does_not_verify_is_refused(mnemos: Mnemos, lisbon: str, key: Path) -> None:
    mnemos("export", "all.zip")
    assert "not signed" in mnemos("verify", "--archive", "all.zip", "--public-key", "signing.key.pub").out
    data = Path("all.zip").read_bytes().replace(b"Lisbon", b"London")
    Path("all.zip").write_bytes(data)
    said = mnemos("verify", "--archive", "all.zip")
    assert (said.code, "SHA-256" in said.out) == (1, True)
    said = mnemos("-s", "other.db", "import", "all.zip")
    assert said.code == 1
    assert not mnemos("-s", "other.db", "spaces", "--json").json["spaces"]


def test_redacted_archives(mnemos: Mnemos, lisbon: str) -> None:
    mnemos("add", "Write to bob@example.com or call Alice on +44 20 7946 0958.")
    Path("names.txt").write_text("Alice\n", encoding="utf-8")
    some = mnemos("export", "some", "--folder", "--redact", "email", "--json").json
    assert some["redacted"] == {"email": 1}
    everything = mnemos("export", "all", "--folder", "--redact", "all", "--names", "names.txt", "--json").json
    assert set(everything["redacted"]) == {"email", "name", "phone"}
    text = Path("all/cubes.jsonl").read_text(encoding="utf-8")
    assert "[email]" in text
    assert "bob@" not in text
    assert "Alice" not in text
    assert "2 strings" not in mnemos("export", "third", "--folder", "--redact", "email").out


def test_sync_and_diff(mnemos: Mnemos, lisbon: str) -> None:
    assert "Took over 1 version" in mnemos("-s", "other.db", "sync", "memory.db").out
    mnemos("update", lisbon, "I moved to Porto.")
    found = mnemos("diff", "other.db", "--json")
    assert (found.code, found.json["versions"]) == (1, {lisbon: [1, 2, 1]})
    assert lisbon in mnemos("diff", "other.db").out
    mnemos("-s", "other.db", "update", lisbon, "I moved to Faro.")
    said = mnemos("-s", "other.db", "sync", "memory.db")
    assert (said.code, "another version 2" in said.out) == (1, True)
    assert mnemos("-s", "other.db", "show", lisbon, "--json").json["text"] == "I moved to Faro."
    assert mnemos("sync", "nothing.db").code == 1


def test_checkpoints(mnemos: Mnemos, lisbon: str, key: Path) -> None:
    assert "Checkpoint 1" in mnemos("checkpoint", "--sign", str(key)).out
    mnemos("add", "Another.")
    assert mnemos("checkpoint", "--sign", str(key), "--json").json["document"]["number"] == 2
    assert "all 2" in mnemos("verify", "--checkpoints", "--public-key", "signing.key.pub").out
    file = Path("memory.db-checkpoints")
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[1:]))
    said = mnemos("verify", "--checkpoints", "--public-key", "signing.key.pub", "--json")
    assert (said.code, said.json["ok"]) == (1, False)


def test_certificates_are_signed(mnemos: Mnemos, lisbon: str, key: Path) -> None:
    assert mnemos("forget", lisbon, "--certificate", "paper.json", "--sign", "no such key", "--yes").code == 1
    assert mnemos("show", lisbon).code == 0
    assert mnemos("forget", lisbon, "--sign", str(key), "--yes").code == 1
    assert mnemos("forget", lisbon, "--certificate", "paper.json", "--sign", str(key), "--yes").code == 0
    assert mnemos("verify", "--certificate", "paper.json", "--public-key", "signing.key.pub").code == 0
    assert mnemos("verify", "--certificate", "paper.json").code == 0
    mnemos("signing-key", "other.key")
    assert "signed with key" in mnemos("verify", "--certificate", "paper.json", "--public-key", "other.key.pub").out
    assert mnemos("forget", "--again", "paper.json", "--yes").code == 0


def test_reports(mnemos: Mnemos, lisbon: str) -> None:
    mnemos("space", "default", "--acl", '{"read": ["bob"]}')
    rows = mnemos("audit", "--json").json["rows"]
    assert [row["kind"] for row in rows] == ["space", "add", "permission"]
    assert [row["kind"] for row in mnemos("audit", "--kind", "add", "--json").json["rows"]] == ["add"]
    assert [row["kind"] for row in mnemos("audit", "--id", lisbon, "--json").json["rows"]] == ["add"]
    (change,) = mnemos("audit", "--permissions", "--json").json["rows"]
    assert (change["what"], change["added"]) == ("acl.read", ["bob"])
    assert len(list(csv.DictReader(io.StringIO(mnemos("audit", "--csv").out)))) == 3
    assert "remembered" in mnemos("audit").out
    assert "acl.read" in mnemos("audit", "--permissions").out
    assert "Lisbon" not in json.dumps(rows)


@pytest.mark.parametrize(
    "words",
    [
        ["export", "all.jsonl", "--redact", "email"],
        ["export", "x.zip", "--folder"],
        ["export", "x.zip", "--redact", "colour"],
        ["export", "x.zip", "--names", "names.txt"],
        ["export", "x.zip", "--redact", "all", "--names", "no such file"],
        ["export", "x.zip", "--sign", "no such key"],
        ["verify", "--archive", "nothing.zip"],
        ["verify", "--archive", "nothing.zip", "--checkpoints"],
        ["verify", "--public-key", "signing.key.pub"],
        ["verify", "--checkpoints"],
        ["import", "memory.db", "--public-key", "signing.key.pub"],
        ["checkpoint", "--sign", "no such key"],
        ["audit", "--permissions", "--kind", "add"],
        ["audit", "--csv", "--json"],
        ["audit", "--kind", "read"],
        ["diff", "nothing.db"],
        ["signing-key", "signing.key"],
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(mnemos: Mnemos, lisbon: str, key: Path, words: list[str]) -> None:
    said = mnemos(*words)
    assert said.code == 1
    assert said.err.strip().count("\n") == 0
    assert "fault of Mnemos" not in said.err
