"""Lives, lineage, rules and forgetting again on the command line."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from cli_outcome import Mnemos
from rich.console import Console

import mnemos as library
from mnemos.cli.explaining import explained

NOWHERE = "01890a5d-ac96-774b-bcce-b302099a8057"


def add(mnemos: Mnemos, *arguments: str) -> str:
    return str(mnemos("add", *arguments, "--json").json["id"])


# ---- lives -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("away", "state", "back"), [("archive", "archived", "restore"), ("quarantine", "quarantined", "release")])
def test_a_memory_goes_away_and_comes_back(mnemos: Mnemos, lisbon: str, away: str, state: str, back: str) -> None:
    assert mnemos(away, lisbon, "--reason", "not now", "--json").json["state"] == state
    assert mnemos("search", "Lisbon", "--json").json["hits"] == []
    assert mnemos("list", "--json").json["memories"] == []
    for states in (state, f"merged,{state}", "all"):
        assert [cube["id"] for cube in mnemos("list", "--states", states, "--json").json["memories"]] == [lisbon]
    assert mnemos("list", "--state", "merged", "--json").json["memories"] == []
    assert state in mnemos("list", "--states", "all").out
    assert mnemos("explain", lisbon, "--json").json["events"][-1]["reason"] == "not now"
    assert mnemos(back, lisbon).out == f"{lisbon}\n"
    assert len(mnemos("search", "Lisbon", "--json").json["hits"]) == 1
    refused = mnemos("release", lisbon, "--json")
    assert (refused.code, refused.error["kind"]) == (1, "Conflict")
    assert mnemos("list", "--states", "asleep", "--json").error["kind"] == "Invalid"


def test_several_become_one_and_the_newer_holds(mnemos: Mnemos) -> None:
    one, two = add(mnemos, "Alice lives in Porto. She has a cat."), add(mnemos, "Alice lives in Porto. She works at the harbour.")
    merged = mnemos("merge", one, two, "--tag", "home", "--json").json
    assert merged["text"] == "Alice lives in Porto. She works at the harbour. She has a cat."
    assert merged["tags"] == ["home"]
    assert {cube["id"] for cube in mnemos("list", "--states", "merged", "--json").json["memories"]} == {one, two}
    three = add(mnemos, "Alice lives in Faro.")
    assert mnemos("supersede", three, merged["id"], "--reason", "she moved", "--json").json["id"] == three
    assert [hit["cube"]["id"] for hit in mnemos("search", "Alice", "--json").json["hits"]] == [three]
    assert [cube["id"] for cube in mnemos("history", three, "--json").json["versions"]] == [merged["id"], three]
    head, first, *_ = mnemos("history", three).out.splitlines()
    assert (head.split("\t")[0], first.split("\t")[0]) == ("memory", merged["id"])
    assert mnemos("merge", one, "--json").error["kind"] == "Invalid"
    assert mnemos("supersede", merged["id"], three, "--json").error["kind"] == "Conflict"


def test_what_was_made_from_what_has_changed_is_stale(mnemos: Mnemos, lisbon: str) -> None:
    note = add(mnemos, "Alice lives in Lisbon.", "--derived-from", lisbon, "--sensitivity", "personal", "--priority", "2")
    assert mnemos("list", "--stale", "--json").json["memories"] == []
    mnemos("update", lisbon, "I moved to Porto.")
    assert [cube["id"] for cube in mnemos("list", "--stale", "--json").json["memories"]] == [note]
    assert [cube["id"] for cube in mnemos("list", "--no-stale", "--json").json["memories"]] == [lisbon]
    assert [hit["cube"]["stale"] for hit in mnemos("search", "Alice", "--stale", "--json").json["hits"]] == [True]
    assert note not in mnemos("context", "Alice", "--no-stale", "--json").out
    assert "generated stale" in mnemos("list").out
    assert "(changed since)" in mnemos("explain", note).out
    fresh = mnemos("update", note, "Alice lives in Porto.", "--derived-from", lisbon, "--json").json
    assert (fresh["stale"], fresh["sensitivity"], fresh["priority"]) == (False, "personal", 2.0)


def test_tending_says_what_it_did(mnemos: Mnemos, lisbon: str) -> None:
    quiet = '{"merge_duplicates": false, "settle_contradictions": false}'
    assert mnemos("tend", "--policy", quiet).out == "Nothing had to change.\n"
    mnemos("search", "Lisbon")
    assert mnemos("tend", "--policy", quiet).out == "Memories: 1 came to life.\n"
    add(mnemos, "elsewhere", "--space", "other")
    cold = '{"archive_after_days": 0, "heat_floor": 1000, "merge_duplicates": false, "settle_contradictions": false}'
    assert mnemos("tend", "--space", "other", "--policy", cold, "--json").json["archived"] == 1
    assert mnemos("show", lisbon, "--json").json["state"] == "activated"
    for wrong in ("{", '{"cats": 1}', "[]"):
        assert mnemos("tend", "--policy", wrong, "--json").error["kind"] == "Invalid"
    assert mnemos("tend", "--space", "nosuch", "--json").error["kind"] == "NotFound"


# ---- explaining ------------------------------------------------------------------------------------------------------


def shown(id: str, width: int = 100, space: str = "default") -> str:
    """What `explain` shows a person."""
    out = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with library.open("memory.db", embedder="none") as mem:
        out.print(explained(mem.existing_space(space).explain(id)))
    return str(out.file.getvalue())  # type: ignore[attr-defined]


def test_an_explanation_says_in_words_what_is_out_of_the_ordinary(mnemos: Mnemos, lisbon: str) -> None:
    note = add(mnemos, "Alice lives in Lisbon.", "--derived-from", lisbon)
    plan = add(mnemos, "Write to Alice in Lisbon.", "--derived-from", note, "--space", "plans")
    plain = shown(note)
    for word in ("stale", "frozen", "quarantined", "archived"):
        assert word not in plain
    mnemos("update", lisbon, "I moved to Porto.")
    mnemos("freeze", lisbon)
    mnemos("quarantine", note, "--reason", "looks odd")
    told = " ".join(shown(note).split())
    assert "quarantined: set aside as possibly harmful, until `mnemos release`" in told
    assert "stale: something that it was made from has changed since" in told
    assert "made from I moved to Porto." in told
    assert "frozen · version 1, changed since" in told
    assert "made into Write to Alice in Lisbon." in told
    assert f"space plans · {plan}" in told
    assert "set aside “looks odd”" in told
    assert f"went stale by a change of {lisbon}" in told
    assert "nothing was made of it" in shown(plan, space="plans")
    assert "made from nothing else that is known" in shown(lisbon)


def test_an_explanation_leaves_out_the_parts_and_steers_no_terminal(mnemos: Mnemos) -> None:
    long = add(mnemos, "The harbour office opens at nine. " * 120)
    assert "searched by its" in shown(long)
    assert len(shown(long).splitlines()) < 25
    evil = add(mnemos, "red \x1b[31m text", "--author", "\x1b[2J")
    note = add(mnemos, "a note", "--derived-from", evil)
    for said in (shown(note, 60), shown(evil, 30), mnemos("explain", note).out):
        assert "\x1b[31m" not in said
        assert "\x1b[2J" not in said
    mnemos("archive", note, "--reason", "[/bold] [red]why[/red] \x1b[2J")
    assert "[/bold] [red]why[/red]" in shown(note)
    mnemos("space", "--acl", '{"read": ["[/x]"]}')
    assert "[/x]" in mnemos("space").out


def test_a_long_chain_is_drawn_at_any_width(mnemos: Mnemos, lisbon: str) -> None:
    with library.open("memory.db", embedder="none") as mem:
        space, last = mem.space("default"), lisbon
        for number in range(110):
            last = space.add(f"link {number}", derived_from=[last]).id
    for width in (20, 80, 500):
        told = " ".join(shown(last, width).split())
        assert ("link 108" in told) is (width > 20)
        assert "what has happened to it" in told


# ---- rules -----------------------------------------------------------------------------------------------------------


def test_settings_of_a_space_are_shown_and_changed(mnemos: Mnemos, lisbon: str) -> None:
    assert mnemos("space", "--json").json["holds"] == {"cubes": 1, "bytes": 28}
    changed = mnemos("space", "--acl", '{"read": ["bob"]}', "--quota", '{"cubes": 2}', "--lifecycle", '{"archive_after_days": 90}', "--read-only",
                     "--licences", '{"bob": {"reads": 3, "until": "2030-01-01"}}', "--json").json  # fmt: skip
    assert (changed["acl"], changed["quota"], changed["read_only"]) == ({"read": ["bob"]}, {"cubes": 2}, True)
    assert changed["lifecycle"]["archive_after_days"] == 90
    assert changed["licences"] == {"bob": {"reads": 3, "until": "2030-01-01T00:00:00+00:00"}}
    refused = mnemos("add", "one more", "--json")
    assert refused.error["kind"] == "PermissionDenied"
    assert "mnemos space --writable" in refused.error["message"]
    assert mnemos("space", "--writable", "--json").json["read_only"] is False
    rows = dict(line.split("\t") for line in mnemos("space", "default").out.splitlines())
    assert (rows["acl"], rows["owner"], rows["holds"]) == ("read: bob", "whoever owns the file", "1 memory, 28 B of text")
    mnemos("add", "one more")
    assert mnemos("add", "one too many", "--json").error["kind"] == "QuotaExceeded"
    assert mnemos("space", "--quota", "{}", "--json").json["quota"] == {}
    for wrong in (("--acl", "x"), ("--acl", '{"fly": []}'), ("--quota", '{"cats": 1}'), ("--clearance", '{"bob": "cosmic"}')):
        assert mnemos("space", *wrong, "--json").error["kind"] == "Invalid"
    assert mnemos("space", "nosuch", "--quota", '{"cubes": 1}', "--json").error["kind"] == "NotFound"
    assert [row["name"] for row in mnemos("spaces", "--json").json["spaces"]] == ["default"]


def test_rules_of_a_memory(mnemos: Mnemos, lisbon: str) -> None:
    assert mnemos("acl", lisbon, "--json").json == {"id": lisbon, "acl": {}}
    given = {"read": ["bob", "role:editors"], "write": []}
    assert mnemos("acl", lisbon, json.dumps(given), "--json").json["acl"] == given
    assert mnemos("acl", lisbon).out.splitlines() == ["verb\twho", "read\tbob, role:editors", "write\tnobody"]
    assert mnemos("acl", lisbon, "{}", "--json").json["acl"] == {}
    assert mnemos("acl", lisbon, '{"fly": []}', "--json").error["kind"] == "Invalid"
    assert mnemos("acl", NOWHERE, "--json").error["kind"] == "NotFound"


def test_roles_are_given_and_taken(mnemos: Mnemos, lisbon: str) -> None:
    assert mnemos("roles", "--json").json == {"roles": []}
    assert mnemos("roles", "editors", "carol", "bob", "--json").json == {"roles": [{"role": "editors", "members": ["bob", "carol"]}]}
    mnemos("roles", "staff", "dave")
    assert mnemos("roles").out.splitlines() == ["role\tmembers", "editors\tbob, carol", "staff\tdave"]
    assert [row["role"] for row in mnemos("roles", "staff", "--json").json["roles"]] == ["staff"]
    assert [row["role"] for row in mnemos("roles", "staff", "--remove", "--json").json["roles"]] == ["editors"]
    for arguments, kind in ((("staff", "--remove"), "NotFound"), (("staff",), "NotFound"), (("--remove",), "Invalid"),
                            (("editors", "bob", "--remove"), "Invalid"), (("editors", "role:staff"), "Invalid")):  # fmt: skip
        assert mnemos("roles", *arguments, "--json").error["kind"] == kind


# ---- forgetting again ------------------------------------------------------------------------------------------------


def test_an_older_backup_is_caught_up_by_certificates(mnemos: Mnemos, lisbon: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = add(mnemos, "The code of the safe is 4711.")
    add(mnemos, "The tram is yellow.")
    os.mkdir("backup")
    shutil.copy("memory.db", "backup/memory.db")
    for number, id in enumerate((lisbon, other)):
        assert mnemos("forget", id, "--yes", "--certificate", f"{number}.json").code == 0
    assert mnemos("forget", "--again", "0.json", "1.json", "--yes").out == "Nothing of it is in this store.\n"
    assert mnemos("forget", "--again", "0.json", "--yes", "--certificate", "none.json", "--json").json == {"certificate": None}
    assert not Path("none.json").exists()
    backup = ("-s", "backup/memory.db")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    refused = mnemos(*backup, "forget", "--again", "0.json", "1.json")
    assert (refused.code, "2 memories that were forgotten before are in this store" in refused.err) == (1, True)
    assert len(mnemos(*backup, "list", "--json").json["memories"]) == 3
    again = mnemos(*backup, "forget", "--again", "0.json", "1.json", "--yes", "--certificate", "again.json", "--json").json["certificate"]
    assert {cube["id"] for cube in again["cubes"]} == {lisbon, other}
    assert mnemos(*backup, "verify", "--certificate", "again.json").code == 0
    assert [cube["text"] for cube in mnemos(*backup, "list", "--json").json["memories"]] == ["The tram is yellow."]
    assert b"4711" not in Path("backup/memory.db").read_bytes()
    Path("noise").write_bytes(b"\x00")
    for arguments, kind in (((), "Invalid"), (("missing.json",), "NotFound"), (("noise",), "Invalid"), (("0.json", "--reason", "x"), "Invalid"),
                            (("0.json", "--author", "x"), "Invalid")):  # fmt: skip
        assert mnemos("forget", "--again", *arguments, "--yes", "--json").error["kind"] == kind


def test_every_new_listing_takes_json(mnemos: Mnemos, lisbon: str) -> None:
    listings: tuple[tuple[str, ...], ...] = (("roles",), ("space",), ("acl", lisbon), ("explain", lisbon), ("tend",), ("list", "--states", "all"))
    for arguments in listings:
        found: Any = mnemos(*arguments, "--json").json
        assert isinstance(found, dict)


def test_a_list_at_a_terminal_says_what_is_out_of_the_ordinary_before_the_text(mnemos: Mnemos, lisbon: str, monkeypatch: pytest.MonkeyPatch) -> None:
    note = add(mnemos, "Alice lives in Lisbon.", "--derived-from", lisbon)
    mnemos("update", lisbon, "I moved to Porto.")
    mnemos("freeze", note)
    out = Console(file=io.StringIO(), width=140, force_terminal=True, color_system=None)
    monkeypatch.setattr("mnemos.cli.session.Console", lambda **_: out)
    assert mnemos("list").code == 0
    shown = out.file.getvalue()  # type: ignore[attr-defined]
    assert "frozen stale Alice lives in Lisbon." in shown
    assert "generated" not in shown
