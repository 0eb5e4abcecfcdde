"""Any command line at all, on any files, ends in an exit code and at most one error: no traceback, no fault of our own, and nothing lost.

A few in the suite; thousands under the marker `torture`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_outcome import Mnemos
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NOBODY = "01890a5d-ac96-774b-bcce-b302099a8057"
EXAMPLES = int(os.environ.get("MNEMOS_FUZZ_EXAMPLES", "3000"))
FILES = {
    "empty.txt": b"",
    "noise.bin": bytes(range(256)) * 40,
    "nul.txt": b"one\x00two\n\n\xff\xfe three \xed\xa0\x80",
    "notes.md": b"# Lisbon\n\nI moved to Lisbon.\n\n## Trams\n\nThey are yellow.\n" * 3,
    "lines.jsonl": b'{"text": "a"}\n{"text": 5}\n{"text": "b", "event_at": "yesterday"}\n[]\n{"text": "\\ud800"}\n{"te',
    "deep.json": b"[" * 20_000 + b"]" * 20_000,
    "list.json": b'[{"role": "user", "content": "hello"}, {"role": 5, "content": [1, {"type": "text", "text": null}]}, null]',
    "chat.json": b'{"mapping": {"a": {"message": null, "parent": "a", "children": ["a"]}}, "title": 3}',
    "huge.json": b'{"n": 1e999, "m": ' + b"9" * 10_000 + b"}",
    "junk.db": b"SQLite format 3\x00" + b"junk" * 500,
}
COMMANDS = [
    "add", "search", "context", "show", "history", "update", "rollback", "freeze", "unfreeze", "list", "forget", "spaces", "strategies", "verify",
    "init", "import", "export", "doctor", "archive", "restore", "quarantine", "release", "merge", "supersede", "explain", "tend", "roles", "space",
    "acl", "rewind", "snapshots", "branches", "pipelines", "jobs", "nonsense", "",
]  # fmt: skip
OPTIONS = [
    "--author", "--source", "--since", "--until", "--where", "--as-of", "-k", "--limit", "--type", "--tag", "--space", "--version",
    "--cursor", "--json", "--metadata", "--event-at", "--reason", "--budget", "--strategy", "--state", "--valid-at", "--store", "-s", "--embedder",
    "--format", "--certificate", "--explain", "--yes", "--help", "--no-such-option", "--valid-from", "--valid-to", "--origin",
    "--id", "--progress", "--from", "--states", "--stale", "--no-stale", "--again", "--remove", "--policy", "--acl", "--quota", "--lifecycle",
    "--licences", "--derived-from", "--sensitivity", "--priority", "--text", "--at", "--on-conflict", "--file", "--input", "--inputs", "--",
]  # fmt: skip
VALUES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["KNOWN", NOBODY, "", "-", "--", "0", "1", "2", "-1", "1e9", "9" * 5000, "NaN", "true", "null", "x" * 5000, "\x00", "\ud800",
                     "\udcff\udcfe", "\u202eevil", "\x1b[2J", "'; DROP TABLE version; --", '"*" NEAR(a b) OR NOT -x', "2025-01-01", "2025-13-01",
                     '{"n": 1}', '{"read": ["bob"]}', '{"cubes": 0}', '{"archive_after_days": 0}', '{"bob": {"reads": 1, "until": "9999-12-31"}}',
                     "archived,all",  '{"n": {"like": 1}}', "{" * 3000, "[" * 100_000, "n=1", "=", "hashed", "none",
                     "magic", "auto", "folder", ".", "take", "open", "diff", "drop", "save", "run", "show"]),
    st.sampled_from(sorted(FILES)),
)  # fmt: skip
LINES = st.tuples(
    st.lists(st.sampled_from(["--json", "--store", "missing.db", "junk.db", "--space", "a\x00b", "-s", "folder"]), max_size=2),
    st.sampled_from(COMMANDS),
    st.lists(st.one_of(VALUES, st.sampled_from(OPTIONS)), max_size=6),
)


@pytest.fixture
def littered(mnemos: Mnemos, lisbon: str) -> tuple[Mnemos, str]:
    """A store with one frozen memory, in a folder full of files that are no stores."""
    for name, data in FILES.items():
        Path(name).write_bytes(data)
    Path("folder").mkdir()
    assert mnemos("freeze", lisbon).code == 0
    return mnemos, lisbon


def _prove(littered: tuple[Mnemos, str], count: int, *, derandomize: bool) -> None:
    mnemos, lisbon = littered
    quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]

    @settings(max_examples=count, deadline=None, derandomize=derandomize, database=None, suppress_health_check=quiet)
    @given(LINES)
    def any_line(line: Any) -> None:
        before, command, after = line
        arguments = [lisbon if part == "KNOWN" else part for part in (*before, command, *after)]
        said = mnemos(*arguments)
        assert said.code in (0, 1, 2), arguments
        assert "fault of Mnemos" not in said.err, said.err
        assert said.code != 1 or len(said.err.strip().splitlines()) <= 1, said.err

    any_line()
    print(f"cases: {count}")
    shown = mnemos("show", lisbon, "--json").json  # frozen: nothing may have changed or forgotten it
    assert shown["text"] == "I moved to Lisbon in spring."
    assert mnemos("verify").code == 0
    assert all(Path(name).read_bytes() == data for name, data in FILES.items())


def test_no_command_line_makes_it_fall(littered: tuple[Mnemos, str]) -> None:
    _prove(littered, 150, derandomize=True)


@pytest.mark.torture
@pytest.mark.timeout(7200)
def test_thousands_of_command_lines_do_not_make_it_fall(littered: tuple[Mnemos, str]) -> None:
    _prove(littered, EXAMPLES, derandomize=False)


@pytest.mark.parametrize("name", ["noise.bin", "nul.txt"])
def test_a_process_given_bytes_that_are_no_text_says_so(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    environment = {**os.environ, "MNEMOS_EMBEDDER": "hashed", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    for arguments in ([b"import", name.encode(), b"--json"], [b"add", b"caf\xe9 " + FILES[name][:200].replace(b"\x00", b""), b"--json"]):
        command = [os.fsencode(sys.executable), b"-m", b"mnemos.cli.main", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
        assert done.returncode in (0, 1, 2)
        assert b"Traceback" not in done.stderr
        assert b"fault of Mnemos" not in done.stderr, done.stderr
        json.loads(done.stdout if done.returncode == 0 else done.stderr)
