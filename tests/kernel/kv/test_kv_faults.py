"""Keeping what was read, broken off: by a kill at every point at which something is written, and by what refuses it."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

import mnemos
from kernel.kv.byte_llama import model
from mnemos.errors import QuotaExceeded
from mnemos.kernel.kv import reading

torch.set_num_threads(1)
MODEL = model()
WRITES = {"mkdir", "open", "write", "fsync", "rename", "execute", "executemany", "pwrite"}
"""What writes, a payload or rows: functions of the system, and of SQLite."""


def opened(path: Path, **options: Any) -> mnemos.Mnemos:
    return mnemos.open(path, embedder="none", language_model=MODEL, **options)


def files(path: Path) -> set[str]:
    return {file.name for file in Path(f"{path}-blobs").rglob("*") if file.is_file()}


def spoken_of(mem: mnemos.Mnemos) -> set[str]:
    with mem.snapshot() as snapshot:
        return set(snapshot.blob_names())


def killed(path: Path, id: str, point: int, **options: Any) -> bool:
    """Keeps a text in another process, which dies at the write of that number after the text is read; False where it ended before that."""
    pid = os.fork()
    if not pid:
        with contextlib.suppress(BaseException):
            left = point

            def count(frame: Any, event: str, function: Any) -> None:
                nonlocal left
                if event == "c_call" and function.__name__ in WRITES:
                    if not left:
                        os._exit(9)
                    left -= 1

            with opened(path, **options) as mem:
                shelf, put = mem.space("alice").kv, mem.store.blobs.put
                mem.store.blobs.put = lambda data: (sys.setprofile(count), put(data))[1]  # type: ignore[method-assign]
                shelf.warm(id)
                sys.setprofile(None)
            os._exit(0)
        os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) in (0, 9)
    return os.waitstatus_to_exitcode(status) == 9


def left_whole(path: Path, points: Iterable[int], **options: Any) -> set[int]:
    """Kills at these points, as far as there are any, and looks at what is left; gives how many files there were after the kills."""
    seen = set()
    with opened(path, **options) as mem:
        id = mem.space("alice").add("Alice moved to Lisbon in May.").id
    for point in points:
        if not killed(path, id, point, **options):
            break
        seen.add(len(files(path)))
        with opened(path, **options) as mem:
            assert files(path) == spoken_of(mem)
            shelf = mem.space("alice").kv
            given = shelf.take([id])
            assert given.taken in (0, len(given.tokens))
            assert (given.taken > 0) is (len(shelf.entries()) == 1) is (len(files(path)) == 1)
            if shelf.entries():
                assert mem.verify().ok
                shelf.drop(id)
    return seen


@pytest.mark.parametrize("options", [{}, {"key": bytes(range(32)), "kv_policy": "kivi:group=8,recent=8"}], ids=["plain", "sealed, by a policy"])
def test_a_kill_leaves_all_or_nothing(tmp_path: Path, options: dict[str, Any]) -> None:
    points = [*range(9), *range(9, 200, 24)]  # while the file is written, each; while the row is, some
    assert left_whole(tmp_path / "memory.db", points, **options) == {0, 1}


@pytest.mark.torture
@pytest.mark.parametrize("options", [{}, {"key": bytes(range(32)), "kv_policy": "kivi:group=8,recent=8"}], ids=["plain", "sealed, by a policy"])
def test_a_kill_at_any_write_leaves_all_or_nothing(tmp_path: Path, options: dict[str, Any]) -> None:
    assert left_whole(tmp_path / "memory.db", itertools.count(), **options) == {0, 1}


def test_what_is_refused_after_it_was_read_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "memory.db"
    with opened(path) as mem:
        space = mem.space("alice", quota={"cubes": 1})
        id = space.add("Alice moved to Lisbon in May.").id
        with pytest.raises(QuotaExceeded):
            space.kv.warm(id)
        assert files(path) == set()
        there = mem.space("bob")
        other = there.add("Alice moved to Lisbon in May.").id
        there.kv.warm(other)
        with pytest.raises(QuotaExceeded):
            space.kv.warm(id)  # the same bytes, which somebody else has kept
        assert len(files(path)) == 1
        assert there.kv.take([other]).read == 0
        assert mem.verify().ok

        def broken(*given: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(reading.writes, "store", broken)
        with pytest.raises(KeyboardInterrupt):
            there.kv.warm(there.add("The boat leaves at seven.").id)
        assert len(files(path)) == 1


def test_what_a_write_that_was_undone_left_is_cleared_away_at_the_next_opening(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    with opened(path) as mem:
        space = mem.space("alice")
        id = space.add("Alice moved to Lisbon in May.").id
        with contextlib.suppress(ZeroDivisionError), mem.transaction():
            space.kv.warm(id)
            raise ZeroDivisionError
        assert (space.kv.entries(), len(files(path))) == ([], 1)
        with opened(path):
            assert len(files(path)) == 1  # somebody else may be about to write its row
    with opened(path) as mem:
        assert files(path) == set()
        space = mem.space("alice")
        space.kv.warm(id)
    with opened(path) as mem:
        assert mem.space("alice").kv.take([id]).read == 0
