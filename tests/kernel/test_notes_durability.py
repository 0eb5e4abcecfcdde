"""Notes after a kill, between two stores, and between two processes on one store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import mnemos
from mnemos.kernel.space import Space

TEXTS = [
    "Zorvan rang at noon.", "Ilse met Quoyle near the mill.", "Zorvan is the notary of the northern district.", "Quoyle sold the sloop.",
    "Ilse is a midwife from Perth.", "Zorvan cannot come on Friday.",
]  # fmt: skip
KILLED = """
import os, sys
import mnemos
from mnemos.kernel.writing import writes
left = int(sys.argv[2])
def dying(write):
    def one(*given):
        global left
        if left == 0:
            os._exit(9)
        left -= 1
        return write(*given)
    return one
writes.store, writes.revise = dying(writes.store), dying(writes.revise)
with mnemos.open(sys.argv[1], embedder="hashed") as mem:
    mem.space("box").consolidate()
"""
WORKING = "import mnemos, sys\nwith mnemos.open(sys.argv[1], embedder='hashed') as mem:\n    print(mem.space('box').consolidate().added)"


def described(space: Space) -> dict[str, str]:
    return {space.get(note.derived_from[0].id).text: note.text for note in space.list(types=["note"])}


def filled(path: Path) -> Path:
    with mnemos.open(path, embedder="hashed") as mem:
        space = mem.space("box", strategy="notes")
        space.add_many([{"text": text} for text in TEXTS[:2]])
        space.consolidate()
        space.add_many([{"text": text} for text in TEXTS[2:]])
    return path


@pytest.mark.parametrize("writes", [0, 1, 3, 5])
def test_a_kill_between_writes_leaves_all_or_none(tmp_path: Path, writes: int) -> None:
    """Four notes and two new versions of older ones are one transaction."""
    path = filled(tmp_path / "memory.db")
    with mnemos.open(path, embedder="hashed") as mem:
        before = described(mem.space("box"))
    assert subprocess.run([sys.executable, "-c", KILLED, str(path), str(writes)], check=False).returncode == 9
    with mnemos.open(path, embedder="hashed") as mem:
        space = mem.space("box")
        assert described(space) == before
        assert mem.verify().ok
        space.consolidate()
        assert set(described(space)) == set(TEXTS)
        assert "notary" in described(space)[TEXTS[0]]
        with mnemos.open(":memory:", embedder="hashed") as other:
            fresh = other.space("box", strategy="notes")
            fresh.add_many([{"text": text} for text in TEXTS[:2]])
            fresh.consolidate()
            fresh.add_many([{"text": text} for text in TEXTS[2:]])
            fresh.consolidate()
            assert described(fresh) == described(space), "as if nothing had happened"


def test_two_processes_on_one_store_do_nothing_twice(tmp_path: Path) -> None:
    path = filled(tmp_path / "memory.db")
    workers = [subprocess.Popen([sys.executable, "-c", WORKING, str(path)], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    added = [int(worker.communicate(timeout=60)[0]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert sum(added) == 4
    with mnemos.open(path, embedder="hashed") as mem:
        notes = mem.space("box").list(types=["note"])
        assert len(notes) == len(TEXTS)
        assert mem.verify().ok


def test_two_stores_in_one_process_are_two(tmp_path: Path) -> None:
    with mnemos.open(tmp_path / "a.db", embedder="hashed") as a, mnemos.open(tmp_path / "b.db", embedder="hashed") as b:
        one, other = a.space("box", strategy="notes"), b.space("box", strategy="notes")
        one.add(TEXTS[0])
        other.add(TEXTS[2])
        one.consolidate()
        other.consolidate()
        assert set(described(one)) == {TEXTS[0]}
        assert "notary" not in described(one)[TEXTS[0]]
        assert not other.list(types=["note"])[0].metadata["edges"]
