"""Vectors on disk, as the command line shows and mends them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_outcome import Mnemos

from mnemos.kernel.system import Mnemos as Store
from mnemos.models.hashed import HashedEmbedder


@pytest.fixture
def on_disk(mnemos: Mnemos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of vectors beside `memory.db`, of which one space has its vectors on disk and the other in memory."""
    monkeypatch.setenv("MNEMOS_VECTOR_MEMORY", "20k")
    with Store(tmp_path / "memory.db", embedder=HashedEmbedder(), vector_memory=20 * 1024) as mem:
        mem.space("large").add_many([{"text": f"the harbour of number {n}"} for n in range(150)])
        mem.space("small").add("one violin")
        assert mem.vector_files.work() == 150
    return tmp_path / "memory.db-vectors"


def checks(mnemos: Mnemos) -> list[dict[str, Any]]:
    return [check for check in mnemos("doctor", "--json").json["checks"] if check["name"] in ("vectors", "verify")]


def test_what_is_on_disk_is_shown(mnemos: Mnemos, on_disk: Path) -> None:
    spaces = {row["name"]: row["vectors"] for row in mnemos("spaces", "--json").json["spaces"]}
    assert spaces == {"large": "disk", "small": "memory"}
    assert "vectors in" in mnemos("spaces").out
    (told,) = [check["detail"] for check in checks(mnemos) if "space large" in check["detail"]]
    for piece in ("150 in ", " lists", "recall ", "on disk", "in memory", "log position 15"):
        assert piece in told, told
    assert mnemos("search", "the harbour of number 77", "--space", "large", "--json").json["hits"][0]["cube"]["text"] == "the harbour of number 77"


def test_doctor_makes_right_what_verify_finds(mnemos: Mnemos, on_disk: Path) -> None:
    (path,) = on_disk.glob("*/vectors.dat")
    data = bytearray(path.read_bytes())
    data[1000] ^= 4
    path.write_bytes(data)
    found = mnemos("verify")
    assert found.code == 1
    assert "vectors on disk" in found.out
    assert "mnemos doctor" in found.out + found.err
    assert [(check["state"], check["detail"].rpartition(": ")[0].rpartition(": ")[2]) for check in checks(mnemos) if check["state"] != "ok"] == [
        ("warn", "mended")
    ]
    assert mnemos("verify").code == 0


def test_an_index_that_is_beyond_mending_is_made_again(mnemos: Mnemos, on_disk: Path) -> None:
    (path,) = on_disk.glob("*/manifest")
    path.write_bytes(b"nothing")
    assert mnemos("doctor").code == 0
    assert mnemos("verify").code == 0
    assert not list(on_disk.glob("space-*"))
    assert mnemos("search", "the harbour of number 77", "--space", "large", "--json").json["hits"][0]["cube"]["text"] == "the harbour of number 77"


def test_a_wrong_amount_of_memory_is_told(mnemos: Mnemos, lisbon: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNEMOS_VECTOR_MEMORY", "plenty")
    found = mnemos("search", "Lisbon")
    assert found.code != 0
    assert "512M" in found.err
