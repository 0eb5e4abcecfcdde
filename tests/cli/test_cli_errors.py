"""What goes wrong ends in one line that says what, where and what to do, and in the right exit code."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from cli_outcome import Mnemos
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from mnemos.cli.output import table

NOBODY = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["show", NOBODY], "NotFound"),
        (["show", "not-an-id"], "Invalid"),
        (["history", NOBODY], "NotFound"),
        (["update", NOBODY, "text"], "NotFound"),
        (["update", NOBODY], "Invalid"),
        (["rollback", NOBODY, "1"], "NotFound"),
        (["freeze", NOBODY], "NotFound"),
        (["forget", NOBODY, "--yes"], "NotFound"),
        (["forget", "--yes"], "Invalid"),
        (["forget", NOBODY, "--author", "Alice", "--yes"], "Invalid"),
        (["add", ""], "Invalid"),
        (["add", "  \n "], "Invalid"),
        (["add", "x", "--event-at", "yesterday"], "Invalid"),
        (["add", "x", "--valid-from", "2025-02-01", "--valid-to", "2025-01-01"], "Invalid"),
        (["add", "x", "--metadata", "{"], "Invalid"),
        (["add", "x", "--metadata", "[1]"], "Invalid"),
        (["add", "x", "--space", ""], "Invalid"),
        (["search", ""], "Invalid"),
        (["search", "x", "-k", "0"], "Invalid"),
        (["search", "x", "-k", "-3"], "Invalid"),
        (["search", "x", "--since", "2025-13-01"], "Invalid"),
        (["search", "x", "--as-of", "999999999999999999999999"], "Invalid"),
        (["search", "x", "--as-of", "99999"], "Invalid"),
        (["search", "x", "--where", "nonsense"], "Invalid"),
        (["search", "x", "--where", '{"a": {"like": 1}}'], "Invalid"),
        (["search", "x", "--strategy", "magic"], "NotFound"),
        (["search", "x", "--space", "nowhere"], "NotFound"),
        (["search", "x", "--embedder", "magic"], "Invalid"),
        (["context", "x", "--budget", "0"], "Invalid"),
        (["list", "--cursor", "abc"], "Invalid"),
        (["list", "--state", "asleep"], "Invalid"),
        (["import", "no-such-file.txt"], "NotFound"),
        (["import", "folder", "--format", "magic"], "Invalid"),
        (["export", "-"], "Invalid"),
        (["verify", "--certificate", "no-such-file.json"], "NotFound"),
        (["verify", "--certificate", "junk.json"], "Invalid"),
        (["bench", "no-such-benchmark"], "NotFound"),
        (["demo", "--question", "who?"], "Invalid"),
        (["demo", "--input", "no-such-file.txt"], "NotFound"),
        (["demo", "--keep", "junk.json"], "Conflict"),
        (["-s", "junk.json", "list"], ""),
        (["-s", "folder", "list"], "Invalid"),
        (["-s", "no/such/folder/x.db", "init"], "StoreUnavailable"),
        (["-s", "missing.db", "list"], "NotFound"),
    ],
)
def test_an_error_is_one_line_with_a_way_out(mnemos: Mnemos, lisbon: str, arguments: list[str], kind: str) -> None:
    Path("folder").mkdir()
    Path("junk.json").write_text('{"a": "certificate of nothing, and no store either"}' * 40)
    plain = mnemos(*arguments) if arguments != ["export", "-"] else None
    if plain is not None:
        assert plain.code == 1
        assert plain.err.startswith("error: ")
        assert len(plain.err.splitlines()) == 1
        assert plain.out == ""
    said = mnemos(*arguments, "--json")
    assert said.code == 1
    assert set(said.error) == {"kind", "message"}
    assert len(said.error["message"]) > 20
    assert "fault of Mnemos" not in said.error["message"]
    if kind:
        assert said.error["kind"] == kind


def test_what_is_no_store_is_left_alone(mnemos: Mnemos) -> None:
    Path("notes.txt").write_text("dear diary " * 500)
    assert mnemos("-s", "notes.txt", "add", "x").code == 1
    assert Path("notes.txt").read_text() == "dear diary " * 500


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(mnemos: Mnemos) -> None:
    Path("secret.txt").write_text("hello")
    Path("secret.txt").chmod(0)
    assert mnemos("import", "secret.txt", "--json").error["kind"] == "PermissionDenied"


@pytest.mark.parametrize(
    "arguments",
    [["search"], ["nonsense"], ["search", "x", "-k", "many"], ["list", "--no-such-option"], ["rollback", NOBODY], ["serve", "--port", "x"]],
)
def test_wrong_usage_is_2(mnemos: Mnemos, arguments: list[str]) -> None:
    assert mnemos(*arguments).code == 2
    assert mnemos(*arguments, "--json").error["kind"] == "Usage"


def test_a_fault_of_our_own_is_said_without_a_traceback(mnemos: Mnemos, lisbon: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("mnemos.kernel.space.Space.get", broken)
    said = mnemos("show", lisbon)
    assert said.code == 1
    assert "fault of Mnemos" in said.err


def test_interrupted_is_130(mnemos: Mnemos, lisbon: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mnemos.kernel.space.Space.get", interrupted)
    said = mnemos("show", lisbon)
    assert said.code == 130
    assert "Interrupted" in said.err


def test_stored_text_cannot_steer_a_terminal(mnemos: Mnemos) -> None:
    from mnemos.cli.output import clean, one_line

    assert clean("a\x1b[31mb\x07\u202ec\ttab\nline") == "a\ufffd[31mb\ufffd\ufffdc\ttab\nline"
    mnemos("add", "red \x1b[31malert\x1b[0m \u202eevil", "--author", "A\x1b]0;title\x07")
    for command in (["search", "alert"], ["list"]):
        assert "\x1b" not in mnemos(*command).out
    assert one_line("a\n\n b\t c") == "a b c"


_WORDS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["-", "--", "--json", "", "0", "-1", "99999999999999999999", NOBODY]),
    st.sampled_from(["NULL", "'; DROP TABLE cube; --", '"*" NEAR(', "\x00", "\ud800"]),
)
_COMMANDS = st.sampled_from(
    ["add", "search", "context", "show", "history", "update", "rollback", "freeze", "unfreeze", "list", "forget", "spaces", "strategies", "verify",
     "init", "archive", "restore", "quarantine", "release", "merge", "supersede", "explain", "tend", "roles", "space", "acl"]
)  # fmt: skip
_OPTIONS = st.sampled_from(
    ["--author", "--source", "--since", "--until", "--where", "--as-of", "-k", "--limit", "--type", "--tag", "--space", "--version", "--cursor",
     "--metadata", "--event-at", "--reason", "--budget", "--strategy", "--state", "--valid-at"]
)  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(command=_COMMANDS, words=st.lists(_WORDS, max_size=2), options=st.lists(st.tuples(_OPTIONS, _WORDS), max_size=3))
def test_no_arguments_make_it_fall(mnemos: Mnemos, command: str, words: list[str], options: list[tuple[str, str]]) -> None:
    if not Path("memory.db").exists():
        mnemos("add", "I moved to Lisbon.", "--author", "Alice")
    flat = [part for option in options for part in option]
    for form in ([command, *words, *flat], [command, *flat, "--yes", "--", *words]):
        said = mnemos(*form)
        assert said.code in (0, 1, 2)
        assert "fault of Mnemos" not in said.err, said.err


def test_a_narrow_terminal_cuts_no_id() -> None:
    rows = [("01a21a6d-fb0f-754f-9f5c-d08d41a485b9", "31", "9.7 kB", "kivi:bits=4,group=8", "ready", "Alice moved to Lisbon in May.")]
    for width in (40, 80, 140):
        out = Console(file=io.StringIO(), force_terminal=True, width=width, no_color=True)
        table(out, ("id", "tokens", "size", "policy", "state", "of"), rows, flexible="of")
        said = out.file.getvalue()  # type: ignore[attr-defined]
        assert all(cell in " ".join(said.split()) for cell in rows[0][:5])
        assert ("tokens" in said) == (width == 140)
