"""The examples of the documentation are run, one after the other as they stand on their page, and give what the page says they give."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mnemos.cli.main import run

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = ("lifecycle.md", "lineage.md", "access.md")
WITHOUT_COMMANDS = (
    "poisoning.md", "language-models.md", "program.md", "reading.md", "procedures.md", "vectors.md", "kv-memory.md", "reference-model.md"
)  # fmt: skip
SHORT = tuple(
    f"kv/{name}.md"
    for name in ("blocks", "eviction", "expected", "kivi", "landmark", "lazyeviction", "memorag", "rkv", "snapkv", "sparse", "think")
)
"""Pages of half a screen, whose examples say two values or more."""
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_GIVES = re.compile(r"^(?P<code>[^#\n].*?)\s+# → (?P<value>.+)$")


def blocks(page: str, language: str) -> list[str]:
    return [text for name, text in _BLOCK.findall((DOCS / page).read_text("utf-8")) if name == language]


def statements(block: str) -> Iterator[tuple[str, str | None]]:
    """(code, what it gives) of each line that says what it gives, and of what stands between such lines."""
    between: list[str] = []
    for line in block.splitlines():
        if told := _GIVES.match(line):
            yield "\n".join(between), None
            between = []
            yield told["code"], told["value"]
        else:
            between.append(line)
    yield "\n".join(between), None


@pytest.mark.parametrize(("page", "least"), [*((page, 6) for page in (*PAGES, *WITHOUT_COMMANDS)), *((page, 2) for page in SHORT)])
def test_python_examples_give_what_the_page_says(page: str, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MNEMOS_EMBEDDER", "hashed")
    monkeypatch.setattr("mnemos.models.catalog.DEFAULT_EMBEDDER", "hashed")
    names: dict[str, Any] = {}
    said = 0
    for block in blocks(page, "python"):
        for code, value in statements(block):
            if value is None:
                exec(compile(code, page, "exec"), names)
            else:
                assert repr(eval(code, names)) == repr(ast.literal_eval(value)), code
                said += 1
    if "mem" in names:
        names["mem"].close()
    assert said == sum(block.count("# → ") for block in blocks(page, "python")) >= least


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_page_end_well(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MNEMOS_EMBEDDER", "hashed")
    names: dict[str, str] = {}
    ran = 0
    for block in blocks(page, "sh"):
        for line in block.splitlines():
            kept = re.fullmatch(r"(\w+)=\$\((.*)\)", line)
            words = shlex.split(kept[2] if kept else line)
            words = [re.sub(r"\$(\w+)", lambda found: names[found[1]], word) for word in words]
            assert words[0] == "mnemos"
            capsys.readouterr()
            code = run(words[1:])
            told = capsys.readouterr()
            assert code == 0, (line, told.err)
            if kept:
                names[kept[1]] = told.out.strip()
            ran += 1
    assert ran >= 7
