"""The example of programs runs, and ends as it says."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(Path(__file__).resolve().parents[2] / "examples" / "program.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert "then: done {'done': 2}" in said
    assert "shelf.py: version 2, by instruction 1" in said
