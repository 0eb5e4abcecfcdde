"""A memory that keeps texts in a list, and an embedder of two letters: enough to test how a benchmark measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from mnemos.base.protocols import Embedder, Progress, Vectors


class LetterEmbedder:
    """Counts of a to z, as a unit vector."""

    fingerprint = "letters-v1"
    dimensions = 26

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def embed(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        self.calls.append(list(texts))
        counts = np.array([[text.lower().count(chr(97 + i)) + 1e-3 for i in range(26)] for text in texts], dtype=np.float32)
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)


@dataclass
class FakeSpace:
    embedder: Embedder
    records: list[Mapping[str, Any]]

    def add_many(self, records: Sequence[Mapping[str, Any]]) -> None:
        assert not any("evidence" in record or "has_answer" in record for record in records)
        self.embedder.embed([record["text"] for record in records])
        self.records.extend(records)

    def search(self, query: str, k: int) -> list[Any]:
        self.embedder.embed([query])
        words = set(query.lower().split())
        ranked = sorted(self.records, key=lambda record: -len(words & set(record["text"].lower().split())))
        return [SimpleNamespace(cube=SimpleNamespace(source=record["source"], text=record["text"])) for record in ranked[:k]]

    def context(self, query: str, budget_tokens: int) -> Any:
        hits = self.search(query, 3)
        return SimpleNamespace(hits=hits, text="\n".join(hit.cube.text for hit in hits), tokens=budget_tokens)


class FakeMemory:
    """Spaces outlive a close, as those of a file do."""

    files: dict[Path, dict[str, FakeSpace]]

    def __init__(self) -> None:
        self.files = {}

    def open(self, path: Path, embedder: Embedder) -> Any:
        path.touch()
        spaces = self.files.setdefault(path, {})
        return SimpleNamespace(space=lambda name: spaces.setdefault(name, FakeSpace(embedder, [])), close=lambda: None)
