"""The page on local models: its examples run as they stand, and give what it says."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from families import model

from test_docs import blocks, statements


def test_examples_give_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model("llama").save(tmp_path / "tiny-model")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    said = 0
    for block in blocks("local-models.md", "python"):
        for code, value in statements(block):
            if value is None:
                exec(compile(code, "local-models.md", "exec"), names)
            else:
                assert repr(eval(code, names)) == repr(ast.literal_eval(value)), code
                said += 1
    assert said == 9
