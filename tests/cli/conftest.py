"""The command line, run in this process on a store in an empty folder, with the embedder that needs no model."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_outcome import Mnemos, Outcome

from mnemos.cli.main import run


@pytest.fixture
def mnemos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Mnemos:
    """Runs `mnemos …` in an empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    for name in ("MNEMOS_STORE", "MNEMOS_SPACE", "MNEMOS_DEBUG", "MNEMOS_KEY", "MNEMOS_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MNEMOS_EMBEDDER", "hashed")

    def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = run(list(arguments))
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Outcome(code, said.out, said.err)

    return call


@pytest.fixture
def lisbon(mnemos: Mnemos) -> str:
    """The id of the one memory in the store."""
    added = mnemos("add", "I moved to Lisbon in spring.", "--author", "Alice", "--source", "D3:7", "--event-at", "2025-03-02", "--json")
    return str(added.json["id"])
