"""KV memories beside everything else that the kernel does with memories."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import mnemos
from kernel.kv.byte_llama import model
from mnemos.kernel import system as system_module

torch.set_num_threads(1)
MODEL = model()
TEXTS = ("Alice moved to Lisbon in May.", "Bob keeps two grey cats.", "The boat leaves at seven.")


def opened(tmp_path: Path, **options: object) -> mnemos.Mnemos:
    return mnemos.open(tmp_path / "memory.db", **{"embedder": "none", "language_model": MODEL, **options})  # type: ignore[arg-type]


def test_what_has_no_vector_by_its_nature_is_not_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path, embedder="hashed") as mem:
        space = mem.space("alice")
        space.kv.warm(space.add(TEXTS[0]).id)
        space.add("A long text. " * 2000)  # a document has no vector of its own, either
    started: list[object] = []
    monkeypatch.setattr(system_module, "start_embedding", lambda *given: started.append(given))
    with opened(tmp_path, embedder="hashed") as mem:
        assert not started
        with mem.snapshot() as snapshot:
            assert snapshot.count_unsearched() == 2
