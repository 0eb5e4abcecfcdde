"""Consolidation in processes of its own: killed anywhere in a portion, two at once, in a sealed store, under another embedder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import mnemos
from mnemos.base.cube import MemCube
from mnemos.text import registry

ROOT = Path(__file__).parents[2]
ANIMALS = ("heron", "otter", "badger", "lynx", "stoat", "vole", "marten", "hare", "mole")
TEXTS = [f"The {animal} lives in room {n}." for n, animal in enumerate(ANIMALS)]
KEY = b"k" * 32
PROCESS = """
import os, signal, sys
sys.path.insert(0, {root!r})
import mnemos
from mnemos.kernel import consolidation
from mnemos.kernel.writing import writes
from mnemos.store.sqlite_write import Writer
from mnemos.text import registry
registry.STRATEGIES["echo"] = "tests.kernel.echo_strategy:Echo"
place, left = sys.argv[2], int(sys.argv[3])

def deadly(owner, name, after):
    do = getattr(owner, name)
    def dies(*given, **named):
        global left
        left -= not after
        if not after and left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        out = do(*given, **named)
        left -= after
        if after and left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return out
    setattr(owner, name, dies)

if place == "look":
    deadly(consolidation._Work, "_next", True)
elif place == "add":
    deadly(writes, "store", True)
elif place == "position":
    deadly(Writer, "set_setting", True)
elif place == "commit":
    deadly(consolidation._Portion, "commit", True)
with mnemos.open(sys.argv[1], embedder="hashed") as mem:
    print(mem.space("zoo").consolidate().added)
"""


@pytest.fixture(autouse=True)
def echo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.STRATEGIES, "echo", "tests.kernel.echo_strategy:Echo")


def process(path: Path, place: str = "", passes: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROCESS.format(root=str(ROOT)), str(path), place, str(passes)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)


def filled(path: Path, **options: object) -> None:
    with mnemos.open(path, embedder="hashed", **options) as mem:  # type: ignore[arg-type]
        mem.space("zoo", strategy="echo").add_many([{"text": text} for text in TEXTS])


def views(mem: mnemos.Mnemos, type: str = "note") -> list[MemCube]:
    return list(mem.space("zoo").list(types=[type], limit=100))


@pytest.mark.parametrize(
    ("place", "passes", "notes"), [("look", 0, 0), ("add", 3, 0), ("position", 0, 0), ("commit", 0, 4), ("add", 11, 4), ("position", 2, 8)]
)
def test_killed_anywhere_in_a_portion_it_goes_on_where_it_stood(tmp_path: Path, place: str, passes: int, notes: int) -> None:
    filled(tmp_path / "memory.db")
    killed = process(tmp_path / "memory.db", place, passes)
    assert (killed.wait(60), killed.communicate()[0]) == (-signal.SIGKILL, "")
    with mnemos.open(tmp_path / "memory.db", embedder="hashed") as mem:
        assert len(views(mem)) == notes
        assert mem.space("zoo").consolidate().seen == 9 - notes
        assert sorted(note.text for note in views(mem)) == sorted(text.upper() for text in TEXTS)
        assert len(views(mem, "relation")) == 9
        assert mem.verify().ok


def test_two_processes_at_once_do_nothing_twice(tmp_path: Path) -> None:
    filled(tmp_path / "memory.db")
    both = [process(tmp_path / "memory.db") for _ in range(2)]
    told = [one.communicate(timeout=60) for one in both]
    assert [one.returncode for one in both] == [0, 0], told
    assert sum(int(out) for out, _ in told) == 18
    with mnemos.open(tmp_path / "memory.db", embedder="hashed") as mem:
        assert sorted(note.text for note in views(mem)) == sorted(text.upper() for text in TEXTS)
        assert mem.space("zoo").consolidate().seen == 0
        assert mem.verify().ok


def test_in_a_sealed_store_the_files_show_no_word_of_a_view(tmp_path: Path) -> None:
    filled(tmp_path / "memory.db", key=KEY)
    with mnemos.open(tmp_path / "memory.db", embedder="hashed", key=KEY) as mem:
        assert mem.space("zoo").consolidate().added == 18
        note = next(note for note in views(mem) if "HERON" in note.text)
        source = note.derived_from[0].id
        assert mem.verify().ok
        certificate = mem.space("zoo").forget([source])
        assert {cube.id for cube in certificate.cubes} >= {str(source), note.id}
        assert "HERON" not in "".join(cube.text for cube in mem.space("zoo").list(limit=100))
    held = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
    for word in (b"HERON", b"OTTER", b"relation of", b"echo"):
        assert word not in held, word


def test_what_is_forgotten_leaves_no_trace_of_its_views_in_the_files(tmp_path: Path) -> None:
    filled(tmp_path / "memory.db")
    with mnemos.open(tmp_path / "memory.db", embedder="hashed") as mem:
        space = mem.space("zoo")
        space.consolidate()
        assert space.search("heron", types=["note"])[0].cube.text == TEXTS[0].upper()
        source = next(cube for cube in space.list(limit=100) if cube.text == TEXTS[0])
        space.forget([source.id])
        assert not any("HERON" in hit.cube.text for hit in space.search("heron", k=20, types=["note"]))
        log = [entry.body_json() for entry in mem.log()]
        assert "heron" not in str(log).lower()
    held = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
    assert b"HERON" not in held
    assert b"OTTER" in held, "or this test could not see it"


def test_another_embedder_takes_views_over(tmp_path: Path) -> None:
    from mnemos.models.hashed import HashedEmbedder

    filled(tmp_path / "memory.db")
    with mnemos.open(tmp_path / "memory.db", embedder="hashed") as mem:
        mem.space("zoo").consolidate()
    with mnemos.open(tmp_path / "memory.db", embedder=HashedEmbedder(dimensions=64)) as mem:
        mem.jobs.drain(30)
        space = mem.space("zoo")
        assert space.search("heron", types=["note"], explain=True)[0].cube.text == TEXTS[0].upper()
        assert space.consolidate().seen == 0
        space.add("The newt lives in the pond.")
        assert space.consolidate().added == 2
        assert mem.verify().ok
