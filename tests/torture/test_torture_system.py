"""Faults of the operating system outside SQLite (blob files, the witness, locks), and what a killed process left for the next open."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import mnemos
from mnemos import errors
from mnemos.store.blobs import FileBlobs
from mnemos.store.sqlite import SqliteStore

DATA = bytes(range(256)) * 64
FAULTS = {errno.ENOSPC: errors.StoreFull, errno.EIO: errors.StoreUnavailable, errno.EACCES: errors.StoreUnavailable}


def fails_at(number: int, code: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """`real`, but its call `number` (from 1) raises the system's error `code`."""
    calls = iter(range(1, 1000))

    def call(*given: Any, **named: Any) -> Any:
        if next(calls) == number:
            raise OSError(code, os.strerror(code))
        return real(*given, **named)

    return call


@pytest.mark.parametrize("code", FAULTS)
@pytest.mark.parametrize(("function", "calls"), [("os.fsync", 4), ("os.rename", 1), ("os.open", 4)])
def test_a_blob_is_written_whole_or_not_at_all(tmp_path: Path, function: str, calls: int, code: int) -> None:
    for number in range(1, calls + 1):
        blobs = FileBlobs(str(tmp_path / f"blobs {number}"))
        with mock.patch(function, fails_at(number, code, eval(function))), pytest.raises(FAULTS[code]):
            blobs.put(DATA)
        for name in blobs.names():
            assert blobs.get(name) == DATA
        assert not list((tmp_path / f"blobs {number}").glob("??/.*")), "a half-written file stayed"
        assert blobs.get(blobs.put(DATA)) == DATA


def test_a_damaged_blob_is_written_anew(tmp_path: Path) -> None:
    blobs = FileBlobs(str(tmp_path / "blobs"))
    name = blobs.put(DATA)
    (tmp_path / "blobs" / name[:2] / name).write_bytes(DATA[:-1])
    assert blobs.put(DATA) == name
    assert blobs.get(name) == DATA


def test_a_blob_that_could_not_be_synced_is_synced_by_the_next_put(tmp_path: Path) -> None:
    blobs = FileBlobs(str(tmp_path / "blobs"))
    with mock.patch("os.fsync", fails_at(2, errno.EIO, os.fsync)), pytest.raises(errors.StoreUnavailable):
        blobs.put(DATA)
    with mock.patch("os.fsync", side_effect=os.fsync) as synced:
        blobs.put(DATA)
    assert synced.call_count >= 3, "the name was given out, though its folder may never have reached the disk"


@pytest.mark.parametrize("code", FAULTS)
def test_a_witness_that_cannot_be_written_costs_no_write_and_is_reported(tmp_path: Path, code: int) -> None:
    path = tmp_path / "memory.db"
    with mnemos.open(path, embedder="none") as mem:
        space = mem.space("a")
        with mock.patch("os.pwrite", side_effect=OSError(code, os.strerror(code))):
            space.add("durable all the same")
            assert [finding.file for finding in mem.verify().findings] == [f"{path}-head"]
        space.add("and the next")
        assert mem.verify().findings == ()
    with mnemos.open(path, embedder="none") as mem:
        assert [cube.text for cube in mem.space("a").list()] == ["durable all the same", "and the next"]


@pytest.mark.parametrize("code", FAULTS)
def test_an_open_that_the_system_refuses_ends_in_a_typed_error(tmp_path: Path, code: int) -> None:
    for number in (1, 2):
        with mock.patch("os.open", fails_at(number, code, os.open)), pytest.raises(FAULTS[code]):
            mnemos.open(tmp_path / "memory.db", embedder="none")
    mnemos.open(tmp_path / "memory.db", embedder="none").close()


def test_a_forget_that_a_kill_cut_short_is_finished_by_the_next_open(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    with mnemos.open(path, embedder="none") as mem:
        space = mem.space("a")
        cubes = space.add_many([{"text": f"memory {number} plughxyzzy{number}"} for number in range(300)])
        with mock.patch.object(SqliteStore, "erase"):  # as if killed between the commit and the erasing
            space.forget([cube.id for cube in cubes[::3]])
    with mnemos.open(path, embedder="none") as mem:
        assert mem.verify().findings == ()
        found = b"".join(file.read_bytes() for file in tmp_path.iterdir())
        assert not [number for number in range(0, 300, 3) if f"plughxyzzy{number} ".encode() in found + b" "]
        assert mem.store._db.execute("SELECT count(*) FROM store WHERE key LIKE 'forgotten%'").get == 0
        assert len(mem.space("a").list(limit=1000)) == 200


def test_blobs_that_nothing_speaks_of_go_at_the_open_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    script = (
        "import os, sys, mnemos\n"
        "mem = mnemos.open(sys.argv[1], embedder='none'); mem.space('a').add('one'); mem.store.blobs.put(b'nobody speaks of me')\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
    assert [file for file in tmp_path.rglob("*-blobs/*/*") if file.is_file()]
    with mnemos.open(path, embedder="none") as mem:
        assert list(mem.store.blobs.names()) == []


def test_a_log_that_lost_acknowledged_entries_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    script = (
        "import os, sys, mnemos\nmem = mnemos.open(sys.argv[1], embedder='none')\n"
        "for i in range(9): mem.space('a').add(f'note {i}')\nos._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
    log = Path(f"{path}-wal")
    log.write_bytes(log.read_bytes()[:-9000])
    left = log.read_bytes()
    for _ in range(2):
        with pytest.raises(errors.Corrupt, match="acknowledged"):
            mnemos.open(path, embedder="none")
        assert log.read_bytes() == left


def test_processes_that_create_a_store_at_the_same_time_agree(tmp_path: Path) -> None:
    script = "import sys, mnemos\nwith mnemos.open(sys.argv[1], embedder='none') as mem: mem.space('a').add(sys.argv[2])\n"
    for round_ in range(3):
        path = tmp_path / f"memory {round_}.db"
        running = [subprocess.Popen([sys.executable, "-c", script, str(path), f"note {number}"]) for number in range(5)]
        assert [process.wait(60) for process in running] == [0] * 5
        with mnemos.open(path, embedder="none") as mem:
            assert sorted(cube.text for cube in mem.space("a").list()) == [f"note {number}" for number in range(5)]
            assert mem.verify().findings == ()
