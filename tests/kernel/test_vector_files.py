"""Vectors beyond memory: found as in memory, taken to disk while searches go on, erased with what is forgotten, and never more than derived."""

from __future__ import annotations

import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from mnemos.base.errors import Invalid, StoreFull, StoreUnavailable
from mnemos.base.protocols import Progress
from mnemos.index.disk_vectors import DiskVectors
from mnemos.index.exact import ExactIndex
from mnemos.kernel import vector_files
from mnemos.kernel.space import Space
from mnemos.kernel.system import Mnemos
from mnemos.kernel.vector_files import VectorFiles
from mnemos.kernel.vector_memory import bytes_of, memory_from_environment
from mnemos.kernel.work.running import Stopped
from mnemos.store.sqlite_read import Reader

SIZE = 32
MEMORY = 100 * SIZE * 4
"""Room for a hundred vectors."""
TESTS = Path(__file__).parents[1]
FIRST_ID = 0x0190_0000_0000_7000_8000_0000_0000_0000


class Stub:
    """Texts of the same first word lie near each other; a text without a letter has a vector of zeros."""

    dimensions = SIZE

    def __init__(self, name: str = "stub-1") -> None:
        self.fingerprint = name

    def embed(self, texts: Sequence[str], *, progress: Progress | None = None) -> np.ndarray[Any, np.dtype[np.float32]]:
        out = np.zeros((len(texts), SIZE), dtype=np.float32)
        for row, text in enumerate(texts):
            if any(letter.isalpha() for letter in text):
                word = text.split()[0].lower()
                value = self._noise(word) + 0.4 * self._noise(text)
                out[row] = value / np.linalg.norm(value)
        return out

    def _noise(self, text: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.random.default_rng([*self.fingerprint.encode(), 0, *text.encode()]).standard_normal(SIZE)


def texts(n: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    words = [f"{a}{b}" for a in ("har", "vio", "lan", "mel", "tor", "qui") for b in ("bour", "lin", "tern", "ody", "rent", "ver")]
    return [f"{rng.choice(words)} {rng.choice(words)} was seen {seed}-{i}" for i in range(n)]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Mnemos]]:
    """Opens the store of the test's folder with room for few vectors, and no work but the test's own."""
    open_now: list[Mnemos] = []

    def open_(location: str | Path | None = None, *, background: bool = False, **keywords: Any) -> Mnemos:
        options = {"embedder": Stub(), "vector_memory": MEMORY} | keywords
        mem = Mnemos(tmp_path / "memory.db" if location is None else location, **options)
        if not background:
            mem.vector_files._ask = lambda: None
        mem.vector_files.rest_seconds = 0.02
        open_now.append(mem)
        return mem

    yield open_
    for mem in reversed(open_now):
        mem.close()


def filled(mem: Mnemos, n: int, seed: int = 0) -> Space:
    space = mem.space("a")
    space.add_many([{"text": text} for text in texts(n, seed)])
    return space


def held(space: Space) -> Any:
    """What holds the space's vectors, as of now."""
    space.search("harbour")
    index = space.system.indexes.held(space.num)
    assert index is not None
    (vectors,) = index.vectors.values()
    return vectors


def same(one: Space, other: Space, query: str, **conditions: Any) -> None:
    """Both find the same memories, with the same scores; equal ones in whatever order."""
    found = [(hit.cube.text, hit.score) for hit in one.search(query, k=20, **conditions)]
    expected = [(hit.cube.text, hit.score) for hit in other.search(query, k=40, **conditions)]
    assert [score for _, score in found] == pytest.approx([score for _, score in expected[:20]], abs=1e-4)
    scores = dict(expected)
    assert [scores[text] for text, _ in found] == pytest.approx([score for _, score in found], abs=1e-4)


def traces(mem: Mnemos, text: str) -> list[str]:
    """The files beside the store that hold eight bytes in a row of a text's vector, as it was given or as the index turns it."""
    assert mem.vector_files.folder is not None
    vector = Stub().embed([text])
    wanted = [vector.tobytes()]
    for one in mem.vector_files._open.values():
        wanted.append(np.asarray(one.disk._parts.rotate(vector), dtype="<f4").tobytes())
    pieces = {whole[at : at + 8] for whole in wanted for at in range(0, len(whole) - 7, 4)}
    found = []
    for path in Path(mem.path).parent.rglob("*"):
        if path.is_file() and any(piece in path.read_bytes() for piece in pieces):
            found.append(path.name)
    return found


# -- finding --
def test_what_is_on_disk_is_found_as_in_memory(opened: Callable[..., Mnemos]) -> None:
    mem, plain = opened(), opened(":memory:")
    space, other = filled(mem, 300), filled(plain, 300)
    assert mem.vector_files.work() == 300
    assert isinstance(held(space), DiskVectors)
    assert held(space).tail == 0
    assert isinstance(held(other), ExactIndex)
    for query in ("harbour violin", "torrent was seen 0-17", "melody", "nothing of it"):
        same(space, other, query)
    added = space.add("harbour violin was added late")
    assert space.search("harbour violin was added late", k=1)[0].cube.id == added.id
    assert held(space).tail == 1


def test_of_many_the_nearest_are_found(opened: Callable[..., Mnemos]) -> None:
    mem = opened()
    space = filled(mem, 4000)
    before = held(space)
    assert isinstance(before, ExactIndex)
    mem.vector_files.work()
    after = held(space)
    assert isinstance(after, DiskVectors)
    assert after.nbytes < before.nbytes
    found = 0
    queries = Stub().embed(texts(40, seed=9))
    for query in queries:
        exact = before.scores(query, 4000)
        best = np.argsort(-exact)[:10]
        found += int(np.isclose(after.scores(query, 4000)[best], exact[best], atol=1e-5).sum())
    assert found >= 0.95 * 10 * len(queries)


def test_the_work_goes_on_in_the_background_and_searches_are_exact_meanwhile(opened: Callable[..., Mnemos]) -> None:
    mem, plain = opened(background=True), opened(":memory:")
    space, other = filled(mem, 300), filled(plain, 300)
    same(space, other, "harbour violin")  # it asks for the work
    deadline = time.monotonic() + 60
    while not isinstance(held(space), DiskVectors):
        assert time.monotonic() < deadline, "the vectors never went to disk"
        same(space, other, "lantern was seen")
        time.sleep(0.02)
    same(space, other, "harbour violin")
    assert not mem.jobs.dead()


def test_work_that_was_paused_is_asked_for_again(opened: Callable[..., Mnemos]) -> None:
    mem = opened(background=True)
    mem.jobs.pause("vectors")
    space = filled(mem, 200)
    space.search("harbour")
    deadline = time.monotonic() + 30
    while mem.vector_files._asked:  # whoever was asked finds that nothing may be begun, and ends
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert isinstance(held(space), ExactIndex)
    mem.jobs.resume("vectors")
    while not isinstance(held(space), DiskVectors):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_was_is_still_found_and_what_is_over_is_not(opened: Callable[..., Mnemos]) -> None:
    mem, plain = opened(), opened(":memory:")
    stores = [filled(mem, 150), filled(plain, 150)]
    mem.vector_files.work()
    positions = []
    for space in stores:
        first = sorted(space.list(limit=200), key=lambda cube: cube.text)[3]
        positions.append(space.system.position())
        space.update(first.id, "lantern lamp is another now")
    mem.vector_files.work()
    assert [s.search("lantern lamp is another now", k=1)[0].cube.text for s in stores] == ["lantern lamp is another now"] * 2
    for query in ("harbour bour", "lantern lamp"):
        same(*stores, query)
    past = [[(hit.cube.text, hit.score) for hit in space.search("lantern lamp", k=10, as_of=at)] for space, at in zip(stores, positions, strict=True)]
    assert past[0] == [(text, pytest.approx(score, abs=1e-4)) for text, score in past[1]]


def test_a_text_without_a_word_is_no_trouble(opened: Callable[..., Mnemos]) -> None:
    mem = opened()
    space = mem.space("a")
    space.add_many([{"text": text} for text in ["1 2 3", *texts(200), "4 5 6"]])
    assert mem.vector_files.work() == 200
    vectors = held(space)
    assert len(vectors) == 202
    assert vectors.tail == 2
    assert vectors.waiting == 0
    assert mem.vector_files.work() == 0
    assert mem.vector_files.problems() == []


def test_a_small_space_stays_in_memory(opened: Callable[..., Mnemos]) -> None:
    mem = opened()
    space = filled(mem, 90)
    assert mem.vector_files.work() == 0
    assert isinstance(held(space), ExactIndex)
    assert not mem.vector_files.folder.exists()  # type: ignore[union-attr]


def test_reopening_reads_what_came_since_and_no_more(opened: Callable[..., Mnemos], monkeypatch: pytest.MonkeyPatch) -> None:
    mem = opened()
    space = filled(mem, 300)
    mem.vector_files.work()
    late = [space.add(text).id for text in texts(7, seed=2)]
    mem.close()
    read: list[int] = []
    plain = Reader.vectors

    def counted(self: Reader, number: int, since: int) -> Iterator[tuple[int, int, bytes]]:
        for row in plain(self, number, since):
            read.append(row[0])
            yield row

    monkeypatch.setattr(Reader, "vectors", counted)
    again = opened()
    space = again.space("a")
    assert {hit.cube.id for hit in space.search(texts(7, seed=2)[3], k=3)} & set(late)
    assert len(read) == 7
    assert held(space).tail == 7


# -- transactions --
def test_a_transaction_sees_what_it_wrote_and_what_is_on_disk(opened: Callable[..., Mnemos]) -> None:
    mem = opened()
    space = filled(mem, 200)
    mem.vector_files.work()
    text = texts(200)[17]
    with pytest.raises(RuntimeError), mem.transaction():
        space.add("harbour is not there yet")
        assert space.search("harbour is not there yet", k=1)[0].cube.text == "harbour is not there yet"
        assert text in [hit.cube.text for hit in space.search(text, k=3)]
        raise RuntimeError
    assert space.search("harbour is not there yet", k=1)[0].cube.text != "harbour is not there yet"


def test_a_forget_that_is_undone_takes_nothing_from_disk(opened: Callable[..., Mnemos]) -> None:
    mem = opened()
    space = filled(mem, 200)
    mem.vector_files.work()
    text = texts(200)[17]
    chosen = space.search(text, k=1)[0].cube
    with pytest.raises(RuntimeError), mem.transaction():
        space.forget([chosen.id])
        raise RuntimeError
    assert len(held(space)) == 200
    assert space.search(text, k=1)[0].cube.id == chosen.id
    assert mem.vector_files.problems() == []
    with mem.transaction():
        space.forget([chosen.id])
    assert len(held(space)) == 199
    assert traces(mem, text) == []


# -- forgetting --
def test_forgetting_leaves_no_byte_of_a_vector(opened: Callable[..., Mnemos]) -> None:
    mem = opened()
    space = filled(mem, 300)
    mem.vector_files.work()
    for text in texts(300)[::60]:
        assert traces(mem, text)
        space.forget([space.search(text, k=1)[0].cube.id])
        assert traces(mem, text) == []
        assert text not in [hit.cube.text for hit in space.search(text, k=20)]
    assert mem.verify().ok
    mem.close()
    space = opened().space("a")
    for text in texts(300)[::60]:
        assert text not in [hit.cube.text for hit in space.search(text, k=20)]
    assert len(held(space)) == 295


@pytest.mark.parametrize("when", [1, 2, 6])
def test_forgetting_during_a_build(opened: Callable[..., Mnemos], when: int) -> None:
    mem = opened()
    space = filled(mem, 300)
    text, calls = texts(300)[123], 0
    chosen = space.search(text, k=1)[0].cube

    def forgetting(done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == when:
            space.forget([chosen.id])
            assert traces(mem, text) == []

    assert mem.vector_files.work(forgetting) == 299
    assert calls > when
    assert traces(mem, text) == []
    assert len(held(space)) == 299
    assert mem.vector_files.problems() == []


def test_a_build_that_is_undone_again_and_again_is_done_at_last(opened: Callable[..., Mnemos], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_files, "_SMALLEST", 120)
    mem = opened()
    space = filled(mem, 300)
    ids, calls, before = [cube.id for cube in space.list(limit=300)], 0, 0

    def forgetting(done: int, total: int) -> None:
        nonlocal calls, before
        calls += 1
        if done < before or (calls == 1 and len(ids) > 297):
            space.forget([ids.pop(0)])
        before = done if done < total else 0

    mem.vector_files.work(forgetting)
    assert isinstance(held(space), DiskVectors)
    assert len(held(space)) == len(ids) < 300
    assert mem.vector_files.problems() == []


def test_forgetting_while_vectors_are_taken_to_disk(opened: Callable[..., Mnemos], monkeypatch: pytest.MonkeyPatch) -> None:
    mem = opened()
    space = filled(mem, 200)
    mem.vector_files.work()
    text = "violin comes between two looks"
    chosen, plain = space.add(text), vector_files.next_block
    committed, threads = threading.Event(), list[threading.Thread]()

    def forget() -> None:
        space.forget([chosen.id])
        assert traces(mem, text) == []

    def slow(*given: Any) -> Any:
        block = plain(*given)
        if not threads:
            monkeypatch.setattr(mem.vector_files, "_drop", noted)
            threads.append(threading.Thread(target=forget))
            threads[0].start()
            assert committed.wait(10), "it is durable that it is forgotten, and the block that was read has it still"
        return block

    def noted(spaces: set[int] | None, drop: Callable[..., None] = mem.vector_files._drop) -> None:
        committed.set()
        drop(spaces)

    monkeypatch.setattr(vector_files, "next_block", slow)
    mem.vector_files.work()
    threads[0].join()
    assert traces(mem, text) == []
    assert len(held(space)) == 200
    assert mem.vector_files.problems() == []


KILLED = """
import os, signal, sys
from mnemos.kernel.system import Mnemos
from mnemos.kernel.vector_files import VectorFiles
from mnemos.kernel.vector_memory import bytes_of, memory_from_environment
sys.path.insert(0, sys.argv[2])
from kernel.test_vector_files import MEMORY, Stub
VectorFiles._drop = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
mem = Mnemos(sys.argv[1], embedder=Stub(), vector_memory=MEMORY)
space = mem.space("a")
space.forget([space.search(sys.argv[3], k=1)[0].cube.id])
"""


def test_what_was_forgotten_before_a_kill_is_erased_at_the_next_opening(opened: Callable[..., Mnemos]) -> None:
    mem = opened()
    filled(mem, 200)
    mem.vector_files.work()
    mem.close()
    text = texts(200)[55]
    done = subprocess.run([sys.executable, "-c", KILLED, mem.path, str(TESTS), text], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert traces(mem, text)
    again = opened()
    assert traces(again, text) == []
    space = again.space("a")
    assert text not in [hit.cube.text for hit in space.search(text, k=20)]
    assert len(held(space)) == 199
    assert traces(again, text) == []


STOPPED = """
import os, signal, sys
from mnemos.kernel.system import Mnemos
sys.path.insert(0, sys.argv[2])
from kernel.test_vector_files import MEMORY, Stub
mem = Mnemos(sys.argv[1], embedder=Stub(), vector_memory=MEMORY)
calls = 0
def dying(done, total):
    global calls
    calls += 1
    if calls == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
mem.vector_files.work(dying)
"""


@pytest.mark.parametrize("call", [1, 2, 5, 9])
def test_a_kill_during_a_build_loses_nothing_and_hides_nothing(opened: Callable[..., Mnemos], call: int) -> None:
    mem = opened()
    filled(mem, 300)
    mem.close()
    done = subprocess.run([sys.executable, "-c", STOPPED, mem.path, str(TESTS), str(call)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    again, plain = opened(), opened(":memory:")
    space, other = again.space("a"), filled(plain, 300)
    same(space, other, "harbour violin")
    text = texts(300)[91]
    space.forget([space.search(text, k=1)[0].cube.id])
    assert traces(again, text) == []
    assert again.vector_files.work() == 299
    assert len(held(space)) == 299
    assert again.verify().ok


def test_a_build_that_was_stopped_goes_on_where_it_was(opened: Callable[..., Mnemos], monkeypatch: pytest.MonkeyPatch) -> None:
    mem, stages = opened(), list[int]()

    def stopping(done: int, total: int) -> None:
        if done > 0.3 * total:
            raise Stopped

    space = filled(mem, 300)
    with pytest.raises(Stopped):
        mem.vector_files.work(stopping)
    mem.close()
    again, plain = opened(), opened(":memory:")
    space, other = again.space("a"), filled(plain, 300)
    space.add("harbour came meanwhile")
    other.add("harbour came meanwhile")
    same(space, other, "harbour violin")
    assert again.vector_files.work(lambda done, total: stages.append(done)) == 301
    assert stages[0] > 0.05 * 300, "the vectors were written before"
    assert isinstance(held(space), DiskVectors)
    same(space, other, "harbour violin")
    assert again.verify().ok


def test_closing_stops_a_build_in_the_background(opened: Callable[..., Mnemos], monkeypatch: pytest.MonkeyPatch) -> None:
    begun, plain = threading.Event(), vector_files.usable

    def slow(*given: Any) -> Any:
        begun.set()
        time.sleep(0.2)
        return plain(*given)

    monkeypatch.setattr(vector_files, "usable", slow)
    mem = opened(background=True)
    space = filled(mem, 300)
    space.search("harbour")
    assert begun.wait(30)
    mem.close()
    again = opened()
    assert again.vector_files.work() == 300
    assert len(held(again.space("a"))) == 300


# -- what the files are worth --
def test_a_full_disk_leaves_what_comes_in_memory(opened: Callable[..., Mnemos], monkeypatch: pytest.MonkeyPatch) -> None:
    mem, plain = opened(), opened(":memory:")
    space, other = filled(mem, 200), filled(plain, 200)
    mem.vector_files.work()
    for each in (space, other):
        filled(each.system, 100, seed=8)
    disk = held(space).disk._disk

    def full(*_: object) -> None:
        raise StoreFull("no room")

    with monkeypatch.context() as patch:
        patch.setattr(disk, "write", full)
        with pytest.raises(StoreFull):
            mem.vector_files.work()
        same(space, other, "harbour violin")
        assert held(space).tail == 100
    assert mem.vector_files.work() == 100
    assert held(space).tail == 0
    same(space, other, "harbour violin")
    assert mem.verify().ok


def test_vectors_that_are_made_anew_replace_what_is_on_disk(opened: Callable[..., Mnemos]) -> None:
    mem = opened()
    filled(mem, 200)
    mem.vector_files.work()
    mem.close()
    other = opened(embedder=Stub("stub-2"))
    space = other.space("a")
    other.embedding.wait()
    text = texts(200)[55]
    assert space.search(text, k=1)[0].cube.text == text
    other.vector_files.work()
    assert isinstance(held(space), DiskVectors)
    assert [one["embedder"] for one in other.vector_files.describe()] == [2]
    assert space.search(text, k=1)[0].cube.text == text
    assert [path.name for path in Path(mem.path + "-vectors").glob("space-*")] == ["space-1-embedder-2"]


def test_an_older_backup_takes_nothing_from_a_newer_history(opened: Callable[..., Mnemos], tmp_path: Path) -> None:
    mem = opened()
    filled(mem, 150)
    mem.close()
    shutil.copy(mem.path, tmp_path / "backup")
    mem = opened()
    mem.space("a").add_many([{"text": text} for text in texts(100, seed=5)])
    mem.vector_files.work()
    mem.close()
    os.replace(tmp_path / "backup", mem.path)
    os.unlink(mem.path + "-head")
    mem = opened()
    space = filled(mem, 100, seed=6)
    text = texts(100, seed=6)[44]
    assert space.search(text, k=1)[0].cube.text == text
    mem.vector_files.work()
    assert isinstance(held(space), DiskVectors)
    assert space.search(text, k=1)[0].cube.text == text
    assert len(held(space)) == 250
    assert mem.vector_files.problems() == []


@pytest.mark.parametrize("name", ["lists.dat", "vectors.dat", "tables.dat", "manifest"])
def test_files_that_are_damaged_are_as_good_as_none(opened: Callable[..., Mnemos], name: str) -> None:
    mem = opened()
    filled(mem, 200)
    mem.vector_files.work()
    mem.close()
    (path,) = Path(mem.path + "-vectors").glob(f"*/{name}")
    path.write_bytes(bytes(len(path.read_bytes())))
    again, plain = opened(), opened(":memory:")
    space, other = again.space("a"), filled(plain, 200)
    for query in ("harbour violin", "torrent was seen 0-17"):
        same(space, other, query)
    again.vector_files.work()
    same(space, other, "harbour violin")
    assert isinstance(held(space), DiskVectors)
    assert again.vector_files.problems() == []


def test_what_is_damaged_is_named_and_mended(opened: Callable[..., Mnemos]) -> None:
    mem = opened()
    space = filled(mem, 200)
    mem.vector_files.work()
    assert mem.verify().ok
    (path,) = Path(mem.path + "-vectors").glob("*/vectors.dat")
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    report = mem.verify()
    assert [finding.place for finding in report.findings] == ["vectors on disk"]
    assert "damaged" in report.findings[0].problem
    assert ["mended" in line for line in mem.vector_files.mend()] == [True]
    assert mem.verify().ok
    with mem.vector_files._lock:
        one = next(iter(mem.vector_files._open.values()))
        one.disk.remove(one.disk.ids()[:3])
    assert "3 vectors of the store are not there" in mem.verify().findings[0].problem
    assert ["thrown away" in line for line in mem.vector_files.mend()] == [True]
    assert mem.verify().ok
    mem.vector_files.work()
    assert len(held(space)) == 200


def test_a_disk_that_fails_during_a_search(opened: Callable[..., Mnemos], monkeypatch: pytest.MonkeyPatch) -> None:
    mem, plain = opened(), opened(":memory:")
    space, other = filled(mem, 200), filled(plain, 200)
    mem.vector_files.work()
    disk = held(space).disk

    def broken(*_: object, **__: object) -> None:
        raise StoreUnavailable("input/output error")

    monkeypatch.setattr(disk, "search", broken)
    same(space, other, "harbour violin")
    assert isinstance(held(space), ExactIndex)
    assert "input/output error" in mem.vector_files.told[-1]
    mem.vector_files.work()
    assert isinstance(held(space), DiskVectors)
    same(space, other, "harbour violin")


def test_a_folder_that_cannot_be_made_is_told_by_the_job(opened: Callable[..., Mnemos]) -> None:
    mem, plain = opened(background=True), opened(":memory:")
    Path(mem.path + "-vectors").write_text("somebody else's")
    space, other = filled(mem, 200), filled(plain, 200)
    same(space, other, "harbour violin")
    deadline = time.monotonic() + 30
    while not (told := [job.error for job in mem.jobs.list(kind="vectors") if job.error]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert "-vectors" in told[0]
    same(space, other, "harbour violin")
    assert space.forget([space.list(limit=1)[0].id])


# -- others --
def test_a_second_process_searches_in_memory_and_goes_on_with_the_files_when_the_first_ends(opened: Callable[..., Mnemos]) -> None:
    first = opened()
    space = filled(first, 200)
    first.vector_files.work()
    second = opened()
    other = second.space("a")
    same(space, other, "harbour violin")
    assert isinstance(held(other), ExactIndex)
    assert second.vector_files.work() == 0
    assert not second.vector_files.may_work()
    first.close()
    assert isinstance(held(other), DiskVectors)
    assert second.vector_files.may_work()


def test_a_job_that_only_the_first_process_can_do_is_left_to_it(opened: Callable[..., Mnemos]) -> None:
    first, second = opened(), opened()
    space = filled(first, 200)
    first.vector_files.work()
    filled(first, 100, seed=1)
    with second.jobs.work():
        job = first.jobs.enqueue("vectors")
        time.sleep(0.3)
        assert first.jobs.get(job.id).state == "waiting"
        with first.jobs.work():
            deadline = time.monotonic() + 30
            while first.jobs.get(job.id).state != "done":
                assert time.monotonic() < deadline
                time.sleep(0.01)
    assert held(space).tail == 0


def test_what_a_second_process_forgets_is_gone_from_the_files_of_the_first(opened: Callable[..., Mnemos]) -> None:
    first = opened()
    space = filled(first, 200)
    first.vector_files.work()
    second = opened()
    text = texts(200)[31]
    chosen = second.space("a").search(text, k=1)[0].cube
    second.space("a").forget([chosen.id])
    assert traces(first, text) == []
    assert text not in [hit.cube.text for hit in space.search(text, k=20)]
    space.add("harbour comes later")
    first.vector_files.work()
    assert traces(first, text) == []
    assert isinstance(held(space), DiskVectors)
    assert len(held(space)) == 200
    assert first.vector_files.problems() == []


def test_nothing_lies_in_the_open_beside_a_sealed_store(opened: Callable[..., Mnemos]) -> None:
    pytest.importorskip("cryptography")
    mem = opened()
    filled(mem, 200)
    mem.vector_files.work()
    folder = mem.vector_files.folder
    assert folder is not None
    assert folder.exists()
    mem.seal(b"k" * 32)
    assert not folder.exists()
    folder.mkdir()
    (folder / "left").write_text("by somebody who was killed")
    sealed = opened(key=b"k" * 32)
    assert not folder.exists()
    assert sealed.vector_files.folder is None
    assert isinstance(held(sealed.space("a")), ExactIndex)
    assert sealed.vector_files.work() == 0


def test_nothing_lies_beside_a_store_that_is_not_in_a_file(opened: Callable[..., Mnemos]) -> None:
    mem = opened(":memory:")
    space = filled(mem, 200)
    assert mem.vector_files.folder is None
    assert mem.vector_files.work() == 0
    assert isinstance(held(space), ExactIndex)
    assert VectorFiles(opened().store, here=False).folder is None


# -- a long life --
@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_a_search_finds_what_it_finds_in_memory(opened: Callable[..., Mnemos], seed: int) -> None:
    rng, mem, plain = random.Random(seed), opened(), opened(":memory:")
    stores, made, alive = [mem.space("a"), plain.space("a")], 0, list[str]()

    for step in range(60):
        what = rng.choices(["add", "update", "forget", "work", "reopen", "search"], [4, 3, 2, 2, 1, 4])[0]
        if what == "add" or len(alive) < 130:
            rows = [{"text": text, "id": str(UUID(int=FIRST_ID + made + i))} for i, text in enumerate(texts(25, seed=step))]
            made += 25
            alive += [row["id"] for row in rows]
            for space in stores:
                space.add_many(rows)
        elif what == "update":
            for id in rng.sample(alive, 3):
                for space in stores:
                    space.update(id, f"melody of {step} is changed {id[-3:]}")
        elif what == "forget":
            gone = rng.sample(alive, rng.choice([1, 1, 10]))
            alive = [id for id in alive if id not in gone]
            for space in stores:
                space.forget(gone)
        elif what == "work":
            mem.vector_files.work()
        elif what == "reopen":
            mem.close()
            mem = opened()
            stores[0] = mem.space("a")
        query = rng.choice(texts(25, seed=rng.randrange(step + 1)))
        same(stores[0], stores[1], query)
    mem.vector_files.work()
    assert isinstance(held(stores[0]), DiskVectors)
    assert mem.verify().ok


def test_searches_and_forgets_beside_the_work(opened: Callable[..., Mnemos]) -> None:
    mem = opened(background=True)
    space, failures, stop = filled(mem, 300), list[BaseException](), threading.Event()
    ids = [cube.id for cube in space.list(limit=300)]

    def searching(seed: int) -> None:
        rng = random.Random(seed)
        try:
            while not stop.is_set():
                space.search(rng.choice(texts(300)), k=5)
        except BaseException as error:  # noqa: BLE001  (told by the test)
            failures.append(error)

    threads = [threading.Thread(target=searching, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for step in range(12):
        space.add_many([{"text": text} for text in texts(20, seed=100 + step)])
        space.forget([ids.pop()])
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    mem.vector_files.work()
    assert len(held(space)) == 300 + 12 * 20 - 12
    assert mem.verify().ok


@pytest.mark.parametrize(("text", "count"), [("512M", 2**29), ("2 GiB", 2**31), ("1.5k", 1536), ("300000", 300_000), ("0", 0), ("1tb", 2**40)])
def test_bytes_are_said_in_words(text: str, count: int) -> None:
    assert bytes_of(text) == count
    assert memory_from_environment({"MNEMOS_VECTOR_MEMORY": text}) == count
    assert memory_from_environment({}) == memory_from_environment({"MNEMOS_VECTOR_MEMORY": ""}) == 2**29


@pytest.mark.parametrize("text", ["much", "-1", "1 x", "M", "1e9"])
def test_what_is_no_number_of_bytes_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="512M"):
        memory_from_environment({"MNEMOS_VECTOR_MEMORY": text})


def test_what_is_on_disk_is_described(opened: Callable[..., Mnemos]) -> None:
    mem = opened()
    space = filled(mem, 200)
    assert mem.vector_files.describe() == []
    mem.vector_files.work()
    (one,) = mem.vector_files.describe()
    assert (one["space"], one["embedder"], one["vectors"], one["position"]) == (space.num, 1, 200, mem.position())
    assert one["bytes_on_disk"] == sum(path.stat().st_size for path in Path(mem.path + "-vectors").glob("*/*"))
    assert mem.vector_files.spaces() == {space.num}
    second = opened()
    assert second.vector_files.describe() == [{"space": space.num, "embedder": 1}]


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(TESTS.parent / "examples" / "vectors.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert "384 vectors went to disk" in said
    assert "whole: True" in said
    assert "after erasing it: [9000]" in said


def test_a_wrong_amount_of_memory_is_refused(opened: Callable[..., Mnemos]) -> None:
    for wrong in (-1, True, 1.5):
        with pytest.raises(Invalid, match="vector_memory"):
            opened(vector_memory=wrong)


def test_no_memory_at_all(opened: Callable[..., Mnemos]) -> None:
    mem = opened(vector_memory=0)
    space = mem.space("a")
    for text in texts(5):
        space.add(text)
        mem.vector_files.work()
        assert space.search(text, k=1)[0].cube.text == text
    assert isinstance(held(space), DiskVectors)
    for cube in space.list():
        space.forget([cube.id])
        mem.vector_files.work()
    assert space.search("harbour") == []
    assert mem.verify().ok
