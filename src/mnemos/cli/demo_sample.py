"""The shipped sample that the demo shows: a household's conversation, and questions about it with their answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Question:
    """A shipped question with the sources of the turns that answer it. The memory is shown the question alone."""

    text: str
    kind: str
    answer: str
    evidence: frozenset[str]


def sample_path(name: str) -> Path:
    """A file of the shipped sample."""
    return Path(str(resources.files("mnemos.cli").joinpath("sample", name)))


def sample_questions() -> list[Question]:
    """The shipped questions, in their order."""
    lines = sample_path("questions.jsonl").read_text(encoding="utf-8").splitlines()
    records: list[dict[str, Any]] = [json.loads(line) for line in lines if line.strip()]
    return [Question(record["question"], record["kind"], record["answer"] or "", frozenset(record["evidence"])) for record in records]
