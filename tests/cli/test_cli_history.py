"""Snapshots, going back, and what-if branches on the command line."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from cli_outcome import Mnemos


def texts(mnemos: Mnemos, *options: str) -> list[str]:
    return sorted(cube["text"] for cube in mnemos("list", "--json", *options).json["memories"])


def test_a_snapshot_is_taken_looked_at_gone_back_to_and_dropped(mnemos: Mnemos, lisbon: str) -> None:
    taken = mnemos("snapshots", "take", "before", "--json").json
    assert (taken["name"], taken["space"], taken["by"]) == ("before", "default", None)
    mnemos("update", lisbon, "I moved to Porto.")
    new = mnemos("add", "I have a cat.", "--json").json["id"]
    assert texts(mnemos, "--as-of", str(taken["position"])) == ["I moved to Lisbon in spring."]
    assert mnemos("snapshots", "take", "empty", "--at", "1").out == "Snapshot 'empty' of space 'default': log position 1.\n"
    assert [one["name"] for one in mnemos("snapshots", "list", "--json").json["snapshots"]] == ["empty", "before"]
    assert mnemos("snapshots", "list").out.splitlines()[2].split("\t")[:2] == ["before", str(taken["position"])]
    assert mnemos("snapshots", "take", "before", "--json").error["kind"] == "Conflict"
    said = mnemos("rewind", "before")
    assert said.out == f"Back at log position {taken['position']}. Memories: 1 say again what they said, 1 went to the archive.\n"
    assert texts(mnemos) == ["I moved to Lisbon in spring."]
    assert texts(mnemos, "--states", "archived") == ["I have a cat."]
    assert mnemos("rewind", "before", "--json").json["reverted"] == []
    assert "Nothing had to change." in mnemos("rewind", "before").out
    done = mnemos("rewind", str(taken["position"] + 3), new, "--json").json
    assert (done["moved"], done["reverted"]) == ([new], [])
    assert mnemos("snapshots", "drop", "before").code == 0
    assert mnemos("rewind", "before", "--json").error["kind"] == "NotFound"
    assert mnemos("snapshots", "drop", "before", "--json").error["kind"] == "NotFound"


def test_a_branch_is_opened_compared_merged_and_dropped(mnemos: Mnemos, lisbon: str) -> None:
    opened = mnemos("branches", "open", "what if", "--json").json
    assert (opened["name"], opened["of"]) == ("what if", "default")
    assert mnemos("branches", "list", "--json").json["branches"] == [opened]
    assert mnemos("branches", "list").out.splitlines()[1].split("\t")[:2] == ["what if", "default"]
    assert mnemos("branches", "diff", "what if").out == "'what if' changed nothing.\n"
    (copy,) = mnemos("list", "--space", "what if", "--json").json["memories"]
    mnemos("update", copy["id"], "I moved to Porto.", "--space", "what if")
    mnemos("add", "I have a cat.", "--space", "what if")
    assert texts(mnemos) == ["I moved to Lisbon in spring."]
    found = mnemos("branches", "diff", "what if", "--json").json
    assert sorted((change["kind"], change["fields"]) for change in found["changes"]) == [("added", []), ("changed", ["text"])]
    assert f"changed\t{lisbon}\ttext\t\tI moved to Porto." in mnemos("branches", "diff", "what if").out
    mnemos("update", lisbon, "I moved to Faro.")
    refused = mnemos("branches", "merge", "what if", "--json")
    assert (refused.code, refused.error["kind"]) == (1, "Conflict")
    assert mnemos("branches", "merge", "what if", "--on-conflict", "guess", "--json").error["kind"] == "Invalid"
    assert mnemos("branches", "merge", "what if", "--on-conflict", "theirs").out == "Merged what if: 1 added, 1 changed.\n"
    assert texts(mnemos) == ["I have a cat.", "I moved to Porto."]
    assert mnemos("search", "Porto", "-k", "1", "--json").json["hits"][0]["cube"]["id"] == lisbon
    assert mnemos("branches", "merge", "what if").out == "Nothing had to change.\n"
    assert mnemos("branches", "drop", "what if", "--certificate", "paper.json", "--yes").code == 0
    assert len(json.loads(Path("paper.json").read_text(encoding="utf-8"))["cubes"]) == 2
    assert mnemos("verify", "--certificate", "paper.json").code == 0
    assert mnemos("branches", "list", "--json").json["branches"] == []
    assert texts(mnemos) == ["I have a cat.", "I moved to Porto."]
    assert mnemos("verify").code == 0


def test_a_branch_is_not_dropped_where_nobody_agrees(mnemos: Mnemos, lisbon: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mnemos("branches", "open", "what if")
    for answer, said in (("n\n", "Nothing was done."), ("", "say --yes")):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        refused = mnemos("branches", "drop", "what if")
        assert refused.code == 1
        assert said in refused.err
    assert len(mnemos("branches", "list", "--json").json["branches"]) == 1


def test_a_branch_starts_at_a_snapshot_and_an_empty_one_goes(mnemos: Mnemos, lisbon: str) -> None:
    mnemos("snapshots", "take", "first")
    mnemos("update", lisbon, "I moved to Porto.")
    mnemos("branches", "open", "old", "--at", "first")
    assert texts(mnemos, "--space", "old") == ["I moved to Lisbon in spring."]
    mnemos("branches", "open", "nothing", "--at", "1")
    assert mnemos("branches", "drop", "nothing", "--yes").out == "Dropped 'nothing'; nothing was left in it.\n"
    assert mnemos("branches", "drop", "nothing", "--yes", "--json").error["kind"] == "Invalid"


@pytest.mark.parametrize(
    "words",
    [
        ["rewind", "soon"], ["rewind", "99999999999"], ["rewind", "1", "x"], ["snapshots", "take", ""], ["snapshots", "take", "x", "--at", "soon"],
        ["branches", "open", "default"], ["branches", "open", "x", "--at", "none"], ["branches", "diff", "default"], ["branches", "diff", "none"],
        ["branches", "merge", "none"], ["branches", "drop", "default", "--yes"], ["--space", "none", "snapshots", "list"],
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_in_one_line(mnemos: Mnemos, lisbon: str, words: list[str]) -> None:
    said = mnemos(*words)
    assert (said.code, said.err.strip().count("\n")) == (1, 0)
    assert "fault of Mnemos" not in said.err
