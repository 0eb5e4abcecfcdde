"""What shares a transaction or a commit: a part that fails takes back only itself, an interrupt harms nobody else, nothing is half kept."""

# ruff: noqa: PT012  (what goes on inside a transaction is what is tested)

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from torture_vfs import Disk, failing_disk

import mnemos
from mnemos import errors


@pytest.fixture
def mem(tmp_path: Path) -> Iterator[Any]:
    with mnemos.open(tmp_path / "memory.db", embedder="hashed") as opened:
        opened.space("a")
        yield opened


@pytest.fixture(scope="module")
def failing() -> Iterator[tuple[str, Disk]]:
    name, disk, keep = failing_disk()
    yield name, disk
    del keep


def texts(mem: Any, space: str = "a") -> list[str]:
    return [cube.text for cube in mem.space(space).list()]


def test_a_part_that_fails_takes_back_only_itself(mem: Any) -> None:
    space = mem.space("a")
    with mem.transaction():
        space.add("first")
        with pytest.raises(RuntimeError), mem.transaction():
            space.add("second")
            with mem.transaction():
                space.add("third")
            raise RuntimeError
        with pytest.raises(errors.Conflict):
            space.add("twice", id=space.add("once").id)
        space.add("fourth")
    assert texts(mem) == ["first", "once", "fourth"]
    assert mem.verify().findings == ()


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_whatever_ends_a_transaction_early_leaves_nothing_of_it(mem: Any, interruption: type[BaseException]) -> None:
    with pytest.raises(interruption), mem.transaction():
        mem.space("a").add("lost")
        mem.space("new").add("lost too")
        raise interruption
    assert texts(mem) == []
    assert mem.spaces() == ["a"]
    mem.space("a").add("kept")
    assert texts(mem) == ["kept"]
    assert mem.verify().findings == ()


def test_an_interrupt_in_the_commit_tells_nobody_a_lie(mem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        """The connection, with Ctrl-C before, or right after, SQLite's commit."""

        def __init__(self, connection: apsw.Connection, after: bool) -> None:
            self._connection, self._after = connection, after

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

        def execute(self, sql: str, *rest: Any) -> Any:
            if sql != "COMMIT":
                return self._connection.execute(sql, *rest)
            if self._after:
                self._connection.execute(sql, *rest)
            raise KeyboardInterrupt

    space = mem.space("a")
    for after, expected in ((False, []), (True, ["with an interrupt"])):
        with monkeypatch.context() as patch:
            patch.setattr(mem.store, "_db", Interrupted(mem.store._db, after))
            with pytest.raises(KeyboardInterrupt):
                space.add("with an interrupt")
        assert texts(mem) == expected
        mem.space("b").add("the next write works")
    assert texts(mem, "b") == ["the next write works"] * 2
    assert mem.verify().findings == ()


def test_one_member_of_a_shared_commit_fails_and_the_others_do_not(mem: Any) -> None:
    space = mem.space("a")
    taken = space.add("taken")
    refused: list[str] = []
    barrier = threading.Barrier(8)

    def work(thread: int) -> None:
        barrier.wait()
        for number in range(25):
            try:
                if thread % 2:
                    space.add(f"{thread} {number}")
                else:
                    with mem.transaction() if number % 3 == 0 else mem.writing():
                        space.add(f"never {thread} {number}")
                        space.add("refused", id=taken.id)
            except errors.Conflict as error:
                refused.append(str(error))

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 100
    found = [cube.text for cube in space.list(limit=1000)]
    assert sorted(found) == sorted(["taken", *(f"{thread} {number}" for thread in (1, 3, 5, 7) for number in range(25))])
    assert mem.verify().findings == ()


def test_a_disk_that_fails_in_a_shared_commit_fails_every_member(tmp_path: Path, failing: tuple[str, Disk]) -> None:
    name, disk = failing
    disk.count()
    with mnemos.open(tmp_path / "memory.db", embedder="hashed", vfs=name) as mem:
        space = mem.space("a")
        for round_ in range(10):
            outcome: dict[str, bool] = {}
            barrier = threading.Barrier(6)
            disk.fail("full", 3 + round_)

            def work(text: str, outcome: dict[str, bool] = outcome, barrier: threading.Barrier = barrier) -> None:
                barrier.wait()
                try:
                    space.add(text)
                    outcome[text] = True
                except (errors.StoreFull, errors.StoreUnavailable):
                    outcome[text] = False

            threads = [threading.Thread(target=work, args=(f"round {round_} thread {number}",)) for number in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            disk.count()
            found = {text for text in (cube.text for cube in space.list(limit=1000)) if text.startswith(f"round {round_} ")}
            assert found == {text for text, acknowledged in outcome.items() if acknowledged}
            assert len(outcome) == 6
        assert mem.verify().findings == ()


def test_a_transaction_that_sqlite_gave_up_keeps_nothing_of_what_follows(tmp_path: Path, failing: tuple[str, Disk]) -> None:
    name, disk = failing
    disk.count()
    with mnemos.open(tmp_path / "memory.db", embedder="none", vfs=name) as mem:
        space = mem.space("a")
        space.add("before")
        mem.store._db.execute("PRAGMA cache_size=1")  # so that pages are written, and fail, before the commit
        with pytest.raises(errors.StoreUnavailable), mem.transaction():
            space.add("lost")
            disk.fail("io", 1)
            with pytest.raises(errors.MnemosError):
                for number in range(500):
                    space.add(f"fills the cache {number} " + "x" * 1000)
            disk.count()
            with pytest.raises(errors.StoreUnavailable):
                space.add("after the failure, in the same transaction")
        assert texts(mem) == ["before"]
        space.add("after")
        assert texts(mem) == ["before", "after"]
        assert mem.verify().findings == ()


def test_forget_inside_a_transaction_waits_for_its_end(mem: Any, tmp_path: Path) -> None:
    space = mem.space("a")
    secret = space.add("the secret word is xyzzyplugh")

    def in_files() -> bool:
        return any(b"xyzzyplugh" in file.read_bytes() for file in tmp_path.iterdir())

    with pytest.raises(RuntimeError), mem.transaction():
        space.forget([secret.id])
        raise RuntimeError
    assert texts(mem) == ["the secret word is xyzzyplugh"]
    with mem.transaction():
        space.add("another")
        certificate = space.forget([secret.id])
        space.add("a third")
    assert texts(mem) == ["another", "a third"]
    assert mnemos.verify_certificate(certificate, mem)
    assert not in_files()


@pytest.mark.parametrize("verb", ["verify", "close", "compact"])
def test_what_would_tear_a_transaction_apart_is_refused_inside_one(mem: Any, verb: str) -> None:
    with pytest.raises(errors.Invalid, match="transaction"), mem.transaction():
        mem.space("a").add("one")
        (mem.store if verb == "compact" else mem).__getattribute__(verb)()
    assert texts(mem) == []


def test_a_space_whose_creation_was_undone_is_not_another_one(mem: Any) -> None:
    with pytest.raises(RuntimeError), mem.transaction():
        undone = mem.space("alice")
        raise RuntimeError
    bob = mem.space("bob")
    with pytest.raises(errors.NotFound):
        undone.add("a secret of Alice")
    assert list(bob.list()) == []


def test_a_search_inside_a_transaction_that_is_undone_leaves_no_trace_in_the_index(mem: Any) -> None:
    space = mem.space("a")
    space.add("the otter sleeps")
    assert space.search("otter")
    with pytest.raises(RuntimeError), mem.transaction():
        space.add("a phantom zebra")
        space.forget([space.search("otter", 1)[0].cube.id])
        assert space.search("zebra", 1)[0].cube.text == "a phantom zebra"
        raise RuntimeError
    space.add("a real giraffe")
    assert space.search("giraffe", 1)[0].cube.text == "a real giraffe"
    assert space.search("otter", 1)[0].cube.text == "the otter sleeps"
    assert space.search("zebra", 1)[0].signals.get("words", 0) == 0
