"""The key of a sealed store on the command line: made, given by option or environment, changed, renewed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cli_outcome import Mnemos

pytest.importorskip("cryptography", reason="sealed stores need the package cryptography")


@pytest.fixture
def key(mnemos: Mnemos, tmp_path: Path) -> str:
    """A file with a key."""
    assert mnemos("new-key", "key").code == 0
    return str(tmp_path / "key")


def readable(folder: Path) -> bool:
    return any(b"Lisbon in spring" in file.read_bytes() for file in folder.iterdir())


def test_a_new_key_is_the_owners_alone_and_overwrites_nothing(mnemos: Mnemos, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        assert mnemos("new-key", "key", "--json").json["file"] == "key"
    finally:
        os.umask(before)
    written = (tmp_path / "key").read_text()
    assert len(bytes.fromhex(written.strip())) == 32
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    again = mnemos("new-key", "key", "--json")
    assert (again.code, again.error["kind"]) == (1, "Conflict")
    assert (tmp_path / "key").read_text() == written
    mnemos("new-key", "other")
    assert (tmp_path / "other").read_text() != written


def test_every_command_takes_the_key_before_or_after_its_name(mnemos: Mnemos, key: str, tmp_path: Path) -> None:
    added = mnemos("add", "I moved to Lisbon in spring.", "--author", "Alice", "--key-file", key, "--json").json
    assert not readable(tmp_path)
    for arguments in (["--key-file", key, "search", "Lisbon"], ["search", "Lisbon", "--key-file", key]):
        assert mnemos(*arguments, "--json").json["hits"][0]["cube"]["id"] == added["id"]
    for command in (["list"], ["show", added["id"]], ["history", added["id"]], ["spaces"], ["verify"], ["export", "out.jsonl"], ["doctor"]):
        assert mnemos(*command, "--key-file", key).code == 0, command
    assert b"Lisbon in spring" in (tmp_path / "out.jsonl").read_bytes(), "an export is readable"


def test_the_key_may_stand_in_the_environment(mnemos: Mnemos, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNEMOS_KEY", (tmp_path / "key").read_text().strip())
    assert mnemos("add", "I moved to Lisbon in spring.").code == 0
    assert not readable(tmp_path)
    monkeypatch.delenv("MNEMOS_KEY")
    assert mnemos("list").code == 1
    monkeypatch.setenv("MNEMOS_KEY_FILE", key)
    assert mnemos("list", "--json").json["memories"][0]["text"] == "I moved to Lisbon in spring."
    monkeypatch.setenv("MNEMOS_KEY", "another one")
    assert mnemos("list", "--json").error["kind"] == "WrongKey"


def test_a_wrong_key_or_none_is_one_clear_line(mnemos: Mnemos, key: str, tmp_path: Path) -> None:
    mnemos("add", "I moved to Lisbon in spring.", "--key-file", key)
    none = mnemos("list", "--json")
    assert (none.code, none.error["kind"]) == (1, "WrongKey")
    assert "--key-file" in none.error["message"]
    (tmp_path / "wrong").write_text("00" * 32)
    assert mnemos("list", "--key-file", "wrong", "--json").error["kind"] == "WrongKey"
    assert mnemos("list", "--key-file", "absent", "--json").error["kind"] == "NotFound"
    assert mnemos("add", "x", "--store", "plain.db").code == 0
    assert mnemos("list", "--store", "plain.db", "--key-file", key, "--json").error["kind"] == "Conflict"


def test_a_readable_store_is_sealed(mnemos: Mnemos, lisbon: str, key: str, tmp_path: Path) -> None:
    assert readable(tmp_path)
    assert mnemos("seal", "--yes", "--json").error["kind"] == "Invalid"
    assert readable(tmp_path)
    assert mnemos("seal", "--yes", "--key-file", key, "--json").json == {"store": "memory.db", "sealed": True}
    assert not readable(tmp_path)
    assert mnemos("show", lisbon, "--key-file", key, "--json").json["author"] == "Alice"
    assert mnemos("seal", "--yes", "--key-file", key).code == 1
    assert mnemos("seal", "--yes", "--key-file", key, "--store", "absent.db", "--json").error["kind"] == "NotFound"


def test_keys_are_renewed_and_the_master_key_is_changed(mnemos: Mnemos, key: str, tmp_path: Path) -> None:
    mnemos("add", "I moved to Lisbon in spring.", "--key-file", key)
    mnemos("add", "Another.", "--space", "other", "--key-file", key)
    assert mnemos("rotate-keys", "--only", "other", "--key-file", key, "--json").json["versions"] == 1
    assert mnemos("rotate-keys", "--key-file", key, "--json").json["versions"] == 2
    assert mnemos("rotate-keys", "--resume", "--key-file", key, "--json").json["versions"] == 0
    mnemos("new-key", "next")
    for wrong in (["--only", "other"], ["--resume"]):
        assert mnemos("rotate-keys", "--new-key-file", "next", *wrong, "--key-file", key).code == 1
    assert mnemos("rotate-keys", "--resume", "--only", "other", "--key-file", key).code == 1
    assert mnemos("rotate-keys", "--only", "none", "--key-file", key, "--json").error["kind"] == "NotFound"
    assert mnemos("rotate-keys", "--new-key-file", "next", "--key-file", key).code == 0
    assert mnemos("list", "--key-file", key, "--json").error["kind"] == "WrongKey"
    assert mnemos("verify", "--key-file", "next").code == 0
    assert mnemos("rotate-keys", "--store", "none.db", "--key-file", key).code == 1


def test_a_certificate_of_a_sealed_store_is_checked(mnemos: Mnemos, key: str) -> None:
    added = mnemos("add", "I moved to Lisbon in spring.", "--key-file", key, "--json").json
    assert mnemos("forget", added["id"], "--yes", "--certificate", "paper.json", "--key-file", key).code == 0
    assert mnemos("verify", "--certificate", "paper.json", "--key-file", key).code == 0
    assert mnemos("verify", "--certificate", "paper.json").code == 1
