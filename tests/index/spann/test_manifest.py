"""Checkpoints: whatever happens, the last one that was acknowledged, or the one that was being written, is there whole."""

from __future__ import annotations

import contextlib
import copy
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.spann.faulty_disk import BROKEN, FULL, FaultyDisk, Killed
from mnemos.base.errors import Corrupt, FingerprintMismatch, Invalid, StoreFull, StoreUnavailable
from mnemos.index.spann.disk import Disk, FolderDisk
from mnemos.index.spann.extents import PAGE, Extent, Extents
from mnemos.index.spann.manifest import MANIFEST, TABLES, Checkpoints
from mnemos.index.spann.tables import CHUNK, Table
from mnemos.index.spann.vector_file import VectorFile

RECORD = np.dtype([("page", "<i8"), ("pages", "<u4"), ("count", "<u4"), ("code", "<f4", (3,))])
WIDTH = 3000


class Shelf:
    """A little index: lists in extents, vectors in slots, and tables that say where. Each list and each vector is known by a number."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.checkpoints = Checkpoints(disk)
        self.lists = Extents(disk, "lists.dat")
        self.vectors = VectorFile(disk, "vectors.dat", 5)
        loaded = self.checkpoints.load()
        self.tables: dict[str, Table] = {"lists": Table(RECORD), "heads": Table(np.float32, WIDTH), "slots": Table(np.int64)}
        self.meta: dict[str, Any] = {"position": 0}
        if loaded:
            self.tables, self.meta = loaded
        records = self.tables["lists"].view()
        self.lists.restore(records["page"], records["pages"].astype(np.int64))

    def step(self, n: int) -> None:
        """Change a bit of everything, as number `n` says."""
        rng = random.Random(n)
        table, heads, slots = self.tables["lists"], self.tables["heads"], self.tables["slots"]
        if len(table) > 6 and rng.random() < 0.5:  # remove one: the last takes its place
            at, last = rng.randrange(len(table)), len(table) - 1
            old = self._extent(at)
            table.set(at, table.view()[last])
            heads.set(at, heads.view()[last])
            table.resize(last)
            heads.resize(last)
            self.lists.free(old)
        elif table.view().size and rng.random() < 0.3:  # append to one
            at = rng.randrange(len(table))
            count, extent = int(table.view()["count"][at]), self._extent(at)
            if extent.nbytes > count:
                self.lists.write(extent, count, _content(extent.page, count, min(700, extent.nbytes - count)))
                table.view()["count"][at] = min(count + 700, extent.nbytes)
                table.touch(at)
        else:
            nbytes = rng.randint(1, 3 * PAGE)
            extent = self.lists.allocate(nbytes + 100)
            self.lists.write(extent, 0, _content(extent.page, 0, nbytes))
            table.resize(len(table) + 1)
            table.set(len(table) - 1, np.array([(extent.page, extent.pages, nbytes, (n, n, n))], dtype=RECORD)[0])
            heads.resize(len(table))
            heads.set(len(table) - 1, np.float32(n))
        self.vectors.write(np.arange(len(slots), len(slots) + 2), np.full((2, 5), n, dtype=np.float32))
        slots.resize(len(slots) + 2)
        slots.set(np.arange(len(slots) - 2, len(slots)), n)
        self.meta["position"] = n

    def save(self) -> None:
        self.checkpoints.save(self.tables, self.meta, [self.lists], ["vectors.dat"])

    def contents(self) -> dict[str, Any]:
        """All there is. Raises where anything is not what it should be."""
        table, slots = self.tables["lists"].view(), self.tables["slots"].view()
        for at in range(len(table)):
            extent, count = self._extent(at), int(table["count"][at])
            assert self.lists.read(extent, count) == _content(extent.page, 0, count)
        assert np.array_equal(self.vectors.read(np.arange(len(slots))), np.repeat(slots[:, None], 5, axis=1).astype(np.float32))
        assert self.lists.bytes_used == int(table["pages"].sum()) * PAGE
        return {"meta": dict(self.meta), **{name: table.view().tobytes() for name, table in self.tables.items()}}

    def _extent(self, at: int) -> Extent:
        record = self.tables["lists"].view()[at]
        return Extent(int(record["page"]), int(record["pages"]))


_PATTERN = bytes(range(251)) * 100


def _content(page: int, offset: int, nbytes: int) -> bytes:
    """What belongs into an extent at these bytes: it depends on the place alone, so that appends can be checked."""
    start = page * 31 % 251 + offset
    return _PATTERN[start : start + nbytes]


def script(shelf: Shelf, saved: list[dict[str, Any]], begun: list[dict[str, Any]], steps: range) -> None:
    """Steps with a save after every third. `begun` and `saved` are told what each save wanted to keep, before and after it."""
    for n in steps:
        shelf.step(n)
        if n % 3 == 0:
            begun.append(shelf.contents())
            shelf.save()
            saved.append(begun[-1])


def test_what_was_saved_is_loaded() -> None:
    disk = FaultyDisk()
    shelf, saved = Shelf(disk), []
    script(shelf, saved, [], range(1, 41))
    again = Shelf(disk)
    assert again.contents() == saved[-1]
    assert again.meta == {"position": 39}
    assert (again.checkpoints.generation, again.checkpoints.problems()) == (13, [])
    assert again.tables["lists"].dtype == RECORD
    assert [table.width for table in again.tables.values()] == [WIDTH, None, None]
    script(again, saved, [], range(40, 61))
    assert Shelf(disk).contents() == saved[-1]


def test_before_the_first_save_there_is_nothing() -> None:
    disk = FaultyDisk()
    shelf = Shelf(disk)
    shelf.step(1)
    disk.write("manifest.new", 0, b"half a mani")
    assert Checkpoints(disk).load() is None
    assert not disk.exists("manifest.new")
    assert Shelf(disk).lists.bytes_total == disk.size("lists.dat") == 0


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.torture) for seed in range(2, 22))])
@pytest.mark.parametrize("power", [False, True], ids=["killed", "without power"])
def test_a_stop_in_any_call_leaves_the_last_checkpoint_whole(power: bool, seed: int) -> None:
    whole = FaultyDisk(1)
    script(Shelf(whole), [], [], range(1, 31))
    for n in range(1, whole.calls + 1):
        disk, saved, begun = FaultyDisk(1000 * seed + n), [], []
        disk.kill_at(n)
        with pytest.raises(Killed):
            script(Shelf(disk), saved, begun, range(1, 31))
        if power:
            disk.lose_power()
        disk.reopen()
        again = Shelf(disk)
        found = again.contents()
        assert found in [*saved[-1:], *begun[len(saved) :]] or (not saved and again.checkpoints.generation == 0)
        assert again.checkpoints.problems() == []
        again_from = again.meta["position"] + 1
        script(again, saved, begun, range(again_from, again_from + 6))  # and it goes on from there
        assert Shelf(disk).contents() == saved[-1]


@pytest.mark.parametrize("seed", [5, *(pytest.param(seed, marks=pytest.mark.torture) for seed in range(6, 46))])
def test_stops_after_stops_never_lose_a_checkpoint(seed: int) -> None:
    rng, disk = random.Random(seed), FaultyDisk(seed)
    saved: list[dict[str, Any]] = []
    for _ in range(100):
        disk.kill_at(rng.randint(1, 60))
        begun: list[dict[str, Any]] = []
        before = len(saved)
        with contextlib.suppress(Killed):
            shelf = Shelf(disk)
            script(shelf, saved, begun, range(shelf.meta["position"] + 1, shelf.meta["position"] + 31))
        if rng.random() < 0.5:
            disk.lose_power()
        disk.reopen()
        found = Shelf(disk)
        contents = found.contents()
        assert contents in [*saved[-1:], *begun[len(saved) - before :]] or (not saved and found.checkpoints.generation == 0)
        if found.checkpoints.generation and contents not in saved[-1:]:
            saved.append(contents)


@pytest.mark.parametrize("more", [0, 2], ids=["the same again", "more"])
@pytest.mark.parametrize("code", [FULL, BROKEN], ids=["full", "broken"])
def test_a_call_that_fails_leaves_all_to_read_and_the_last_checkpoint_whole(code: int, more: int) -> None:
    whole, prepared = FaultyDisk(1), FaultyDisk(1)
    shelf = Shelf(whole)
    script(shelf, [], [], range(1, 13))
    calls = whole.calls
    shelf.step(13)
    writes = whole.calls - calls
    shelf.save()
    script(Shelf(prepared), [], [], range(1, 13))
    for n in range(1, whole.calls - calls - writes + 1):
        disk = copy.deepcopy(prepared)
        shelf = Shelf(disk)
        before = shelf.contents()
        shelf.step(13)
        now = shelf.contents()
        disk.fail_at(n, code)
        with pytest.raises(StoreFull if code == FULL else StoreUnavailable):
            shelf.save()
        assert shelf.contents() == now
        lost = copy.deepcopy(disk)
        lost.lose_power()
        assert Shelf(lost).contents() in (before, now)
        for step in range(more):
            shelf.step(14 + step)
        if disk.unsure - {"manifest.new"}:  # what was not synced may be gone
            with pytest.raises(StoreUnavailable, match="an earlier sync failed"):
                shelf.save()
            disk.reopen()
            assert Shelf(disk).contents() in (before, now)
        else:
            shelf.save()
            disk.lose_power()
            assert Shelf(disk).contents() == shelf.contents()
            assert shelf.checkpoints.pages.bytes_waiting == shelf.lists.bytes_waiting == 0
            assert shelf.checkpoints.pages.bytes_used == Shelf(disk).checkpoints.pages.bytes_used


@pytest.mark.parametrize("kill", range(1, 14))
def test_after_a_rename_that_may_have_happened_or_not_both_checkpoints_are_kept(kill: int) -> None:
    for seed in range(8):
        disk = FaultyDisk(seed)
        shelf, replace = Shelf(disk), disk.replace
        script(shelf, [], [], range(1, 13))
        before = shelf.contents()
        shelf.step(13)
        now = shelf.contents()

        def doubtful(source: str, target: str, disk: FaultyDisk = disk, replace: Any = replace) -> None:
            disk.fail_at(1, BROKEN)
            replace(source, target)

        disk.replace = doubtful  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable, match=r"putting manifest\.new in its place"):
            shelf.save()
        disk.replace = replace  # type: ignore[method-assign]
        shelf.step(14)
        later = shelf.contents()
        disk.kill_at(kill)
        with contextlib.suppress(Killed):
            shelf.save()
        disk.lose_power()
        assert Shelf(disk).contents() in (before, now, later)


def test_a_checkpoint_is_what_was_when_it_was_begun() -> None:
    disk = FaultyDisk(3)
    shelf = Shelf(disk)
    for n in range(1, 20):
        shelf.step(n)
    shelf.save()
    for n in range(20, 80):
        shelf.step(n)
        begun = shelf.checkpoints.begin(shelf.tables, shelf.meta, [shelf.lists], ["vectors.dat"])
        then = shelf.contents()
        shelf.step(1000 + n)
        shelf.step(2000 + n)
        shelf.checkpoints.finish(begun)
        shelf.step(3000 + n)
        crashed = copy.deepcopy(disk)
        crashed.lose_power()
        assert Shelf(crashed).contents() == then


def test_every_file_is_durable_before_the_manifest_says_so() -> None:
    disk = FaultyDisk()
    shelf = Shelf(disk)
    shelf.step(1)
    disk.synced.clear()
    shelf.save()
    assert disk.synced == [TABLES, "lists.dat", "vectors.dat", "manifest.new"]


def test_only_chunks_that_changed_are_written() -> None:
    disk = FaultyDisk()
    checkpoints, table, written = Checkpoints(disk), Table(np.uint8), []
    write = disk.write

    def counted(name: str, offset: int, data: bytes | memoryview) -> None:
        if name == TABLES:
            written.append(len(data))
        write(name, offset, data)

    disk.write = counted  # type: ignore[method-assign]
    table.resize(10 * CHUNK + 1)
    checkpoints.save({"t": table}, {})
    assert written == [CHUNK] * 10 + [1]
    written.clear()
    checkpoints.save({"t": table}, {})
    assert written == []
    table.set([0, 1, 3 * CHUNK], 7)
    checkpoints.save({"t": table}, {})
    assert written == [CHUNK, CHUNK]
    written.clear()
    table.resize(10 * CHUNK + 3)
    checkpoints.save({"t": table}, {})
    assert written == [3]
    table.resize(CHUNK)
    checkpoints.save({"t": table, "u": Table(np.uint8)}, {})
    loaded = Checkpoints(disk).load()
    assert loaded is not None
    assert (loaded[0]["t"].view()[:2].tolist(), len(loaded[0]["t"]), len(loaded[0]["u"])) == ([7, 7], CHUNK, 0)
    checkpoints.save({}, {})
    assert disk.size(TABLES) == 0


def test_the_file_of_tables_stays_small() -> None:
    disk = FaultyDisk()
    checkpoints, table, rng = Checkpoints(disk), Table(np.int64), np.random.default_rng(0)
    table.resize(8 * CHUNK // 8)
    for n in range(60):
        table.set(rng.integers(0, len(table), 3), n)
        checkpoints.save({"t": table}, {"n": n})
    assert disk.size(TABLES) <= 8 * CHUNK + 4 * CHUNK


@pytest.mark.parametrize("name", [MANIFEST, TABLES])
def test_a_flipped_bit_is_found_and_named(name: str) -> None:
    disk = FaultyDisk()
    shelf = Shelf(disk)
    script(shelf, [], [], range(1, 13))
    used = [bit for page in _used(shelf.checkpoints) for bit in range(page[0] * 8, page[1] * 8)] if name == TABLES else range(disk.size(name) * 8)
    for bit in random.Random(5).sample(list(used), 300):
        disk.flip(name, bit)
        with pytest.raises((Corrupt, FingerprintMismatch), match=r"rows \d+ to \d+ of table '(heads|lists|slots)'" if name == TABLES else "manifest"):
            Checkpoints(disk).load()
        assert len(shelf.checkpoints.problems()) == 1
        disk.flip(name, bit)
    assert Checkpoints(disk).load() is not None


def _used(checkpoints: Checkpoints) -> list[tuple[int, int]]:
    """First byte and end of all chunks of the tables."""
    forms = [(table, Table(table.dtype, table.width)) for table in checkpoints._stored.values()]
    return [
        (extent.page * PAGE, extent.page * PAGE + form.chunk_nbytes(number, table.rows))
        for table, form in forms
        for number, (extent, _) in enumerate(table.chunks)
    ]


def test_a_manifest_or_tables_cut_short_are_damage() -> None:
    disk = FaultyDisk()
    shelf = Shelf(disk)
    script(shelf, [], [], range(1, 13))
    for name in (MANIFEST, TABLES):
        size = disk.size(name)
        for cut in (0, 1, size // 2, _used(shelf.checkpoints)[-1][1] - 1 if name == TABLES else size - 1):
            damaged = copy.deepcopy(disk)
            damaged.truncate(name, cut)
            with pytest.raises(Corrupt):
                Checkpoints(damaged).load()


def test_another_format_is_not_read_as_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FaultyDisk()
    shelf = Shelf(disk)
    shelf.step(1)
    with monkeypatch.context() as patch:
        patch.setattr("mnemos.index.spann.manifest._FORMAT", b"2")
        shelf.save()
    with pytest.raises(FingerprintMismatch, match="another version of Mnemos"):
        Checkpoints(disk).load()


def test_what_is_not_json_is_refused_before_anything_changes() -> None:
    disk = FaultyDisk()
    shelf = Shelf(disk)
    shelf.step(1)
    shelf.save()
    shelf.step(2)
    shelf.meta["wrong"] = object()
    with pytest.raises(Invalid, match="not JSON"):
        shelf.save()
    del shelf.meta["wrong"]
    shelf.save()
    assert Shelf(disk).contents() == shelf.contents()


_WRITER = """
    import sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from index.spann.test_manifest import Shelf
    from mnemos.index.spann.disk import FolderDisk
    shelf = Shelf(FolderDisk(Path(sys.argv[1])))
    print("ready", flush=True)
    n = shelf.meta["position"]
    while True:
        n += 1
        shelf.step(n)
        if n % 3 == 0:
            shelf.save()
            print(n, flush=True)
"""


def _killed(folder: Path, seconds: float) -> int:
    """Let a process write until it is killed `seconds` after it began; the position of the last save that it acknowledged, 0 for none."""
    tests = str(Path(__file__).parents[2])
    writer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(_WRITER), str(folder), tests], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    time.sleep(seconds)
    writer.send_signal(signal.SIGKILL)
    lines = writer.communicate()[0].split("\n")[:-1]
    return int(lines[-1]) if lines else 0


@pytest.mark.parametrize("times", [3, pytest.param(100, marks=pytest.mark.torture)])
def test_a_killed_process_leaves_its_last_checkpoint(tmp_path: Path, times: int) -> None:
    rng, before = random.Random(1), 0
    for _ in range(times):
        acknowledged = _killed(tmp_path, rng.uniform(0.02, 0.3))
        with FolderDisk(tmp_path) as disk:
            shelf = Shelf(disk)
            shelf.contents()
            assert shelf.checkpoints.problems() == []
            assert shelf.meta["position"] >= max(acknowledged, before)
            before = shelf.meta["position"]
    assert before > 0


def test_tables_grow_shrink_and_know_what_changed() -> None:
    table = Table("<f4", 3)
    table.resize(4)
    table.set([1, 2], np.ones((2, 3)))
    table.resize(2)
    table.resize(5)
    assert table.view().tolist() == [[0, 0, 0], [1, 1, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    table.set([3, 4], np.ones((2, 3)))
    table.resize(4)
    table.resize(5)
    assert table.view()[3:].tolist() == [[1, 1, 1], [0, 0, 0]]
    view = table.view()
    view[4] = 9
    table.touch(4)
    assert (len(table), table.chunks, table.chunk_nbytes(0, 5)) == (5, 1, 60)
    for wrong in (5, -1, [0, 5]):
        with pytest.raises(Invalid, match="there are rows 0 to 4"):
            table.set(wrong, 0)
    table.set(np.zeros(0, dtype=np.int64), np.zeros((0, 3)))
    with pytest.raises(Invalid):
        table.resize(-1)
    for dtype in (object, "V0", np.dtype([("a", "<u1"), ("b", "<u4")], align=True)):
        with pytest.raises(Invalid, match="cannot be written"):
            Table(dtype)
    with pytest.raises(Invalid):
        Table(np.uint8, 0)


def test_a_table_gives_memory_back() -> None:
    table = Table(np.int64)
    for rows in range(0, 100_000, 999):
        table.resize(rows)
    assert table.nbytes <= 800_000 * 1.27
    table.resize(10)
    assert table.nbytes < 1000
