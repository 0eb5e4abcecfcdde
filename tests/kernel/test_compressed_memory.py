"""A compressed memory as the source of clues, on the reference model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mnemos.activation.beacon.asking import Prompts
from mnemos.activation.beacon.beacons import Beacons
from mnemos.activation.beacon.library import Library
from mnemos.activation.beacon.windows import Windows
from mnemos.base.errors import FingerprintMismatch, NotFound
from mnemos.kernel.kv.recalling import CompressedMemory
from mnemos.models import reference
from mnemos.models.local.model import LocalModel
from mnemos.text.clues.evidence import Hit, gather
from mnemos.text.clues.memory import GlobalMemory

torch.set_num_threads(1)
PROMPTS = Prompts(recall="<q> key {question} <a>", rewrite="", answer="<q> key {question} <a>", summarise="")
LINES = ["boze bupa : febe fiti ;", "febe fiti : bupa boze ;"]


@pytest.fixture(scope="module")
def parts() -> Iterator[tuple[LocalModel, Beacons]]:
    module, tokenizer = reference.load()
    beacons = Beacons(module)
    yield LocalModel(module, tokenizer), beacons
    beacons.remove()


@pytest.fixture
def memory(parts: tuple[LocalModel, Beacons]) -> CompressedMemory:
    model, beacons = parts
    # nothing is lost, so that the model can do without training
    library = Library(beacons, Windows(64, None), first=model.encode("<s>", special=False))
    out = CompressedMemory(model, library, PROMPTS, tokens=8)
    for number, line in enumerate(LINES):
        out.memorise(f"line {number}", line)
    return out


def test_what_is_recalled_leads_to_the_evidence(memory: CompressedMemory) -> None:
    driver: GlobalMemory = memory
    clues = driver.clues("boze bupa")
    assert [(clue.text, clue.kind) for clue in clues] == [("febe fiti", "recall")]

    def search(text: str, k: int) -> list[Hit[int]]:
        hits = [Hit(number, line, float(line.startswith(text))) for number, line in enumerate(LINES) if line.startswith(text)]
        return hits[:k]

    found = gather("boze bupa", clues, search, k=2)
    assert [one.item for one in found.evidence] == [0, 1]
    assert found.evidence[1].clues == tuple(clues)


def test_a_question_leaves_no_trace_and_its_copy_is_no_clue(memory: CompressedMemory) -> None:
    first = memory.clues("boze bupa")
    memory.clues("febe fiti")
    assert memory.clues("boze bupa") == first
    assert memory.clues("febe fiti boze bupa") == []  # all that is recalled stands in the question


def test_a_draft_comes_last_and_counts_less(memory: CompressedMemory) -> None:
    memory.draft = True
    memory.prompts = Prompts(recall="", rewrite="", answer="<q> key {question} <a>", summarise="")
    assert [(clue.text, clue.kind, clue.weight) for clue in memory.clues("boze bupa")] == [("febe fiti", "answer", 0.5)]


def test_a_forgotten_document_is_not_recalled(memory: CompressedMemory) -> None:
    memory.forget("line 0")
    assert "febe fiti" not in [clue.text for clue in memory.clues("boze bupa")]
    with pytest.raises(NotFound):
        memory.forget("line 0")


def test_it_is_saved_and_loaded(memory: CompressedMemory, parts: tuple[LocalModel, Beacons], tmp_path: Path) -> None:
    model, beacons = parts
    memory.save(tmp_path / "memory")
    assert [path.name for path in tmp_path.iterdir()] == ["memory"]
    back = CompressedMemory.load(model, beacons, tmp_path / "memory", PROMPTS)
    assert back.clues("boze bupa") == memory.clues("boze bupa")
    with pytest.raises(NotFound):
        CompressedMemory.load(model, beacons, tmp_path / "none")
    with torch.no_grad():
        beacons.embedding[0] += 1
    try:
        with pytest.raises(FingerprintMismatch):
            CompressedMemory.load(model, beacons, tmp_path / "memory")
    finally:
        with torch.no_grad():
            beacons.embedding[0] -= 1
