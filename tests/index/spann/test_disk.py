"""A folder as a disk: what it promises, and the errors it raises."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from index.spann.faulty_disk import FaultyDisk
from mnemos.base.errors import StoreFull, StoreUnavailable
from mnemos.index.spann.disk import Disk, FolderDisk


@pytest.fixture(params=["folder", "memory"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return FolderDisk(tmp_path / "index") if request.param == "folder" else FaultyDisk()


def test_bytes_are_read_as_they_were_written(disk: Disk) -> None:
    disk.write("a", 5, b"hello")
    disk.write("a", 7, memoryview(b"LL"))
    disk.sync("a")
    assert disk.read("a", 0, 100) == b"\0\0\0\0\0heLLo"
    assert disk.read("a", 6, 2) == b"eL"
    assert disk.read_many("a", [(5, 5), (0, 2), (8, 100), (50, 3)]) == [b"heLLo", b"\0\0", b"Lo", b""]
    assert disk.size("a") == 10
    disk.truncate("a", 7)
    disk.truncate("a", 100)
    assert disk.read("a", 0, 100) == b"\0\0\0\0\0he"


def test_a_file_that_does_not_exist_is_empty(disk: Disk) -> None:
    assert (disk.read("a", 0, 5), disk.read_many("a", [(0, 5), (9, 1)]), disk.size("a"), disk.exists("a")) == (b"", [b"", b""], 0, False)
    disk.truncate("a", 0)
    disk.remove("a")
    assert not disk.exists("a")


def test_a_file_takes_the_name_of_another(disk: Disk) -> None:
    disk.write("a", 0, b"old")
    disk.write("b", 0, b"new!")
    assert disk.read("a", 0, 9) == b"old"
    disk.replace("b", "a")
    assert (disk.read("a", 0, 9), disk.exists("b")) == (b"new!", False)
    disk.remove("a")
    disk.settle()
    assert not disk.exists("a")


def test_a_folder_keeps_its_files_private_and_whole(tmp_path: Path) -> None:
    with FolderDisk(tmp_path / "deep" / "index") as disk:
        disk.write("a", 0, b"x" * 10)
    assert (tmp_path / "deep" / "index" / "a").stat().st_mode & 0o077 == 0
    with FolderDisk(tmp_path / "deep" / "index") as again:
        assert again.read("a", 0, 99) == b"x" * 10
    with pytest.raises(StoreUnavailable, match="closed"):
        again.read("a", 0, 1)
    with pytest.raises(StoreUnavailable, match="closed"):
        again.write("a", 0, b"x")
    with pytest.raises(StoreUnavailable, match="closed"):
        again.settle()


def test_reads_and_writes_go_on_until_all_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, pread, pwrite = FolderDisk(tmp_path), os.pread, os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda number, data, offset: pwrite(number, data[:3], offset))
    monkeypatch.setattr(os, "pread", lambda number, size, offset: pread(number, min(size, 4), offset))
    disk.write("a", 2, b"0123456789")
    assert disk.read("a", 2, 10) == b"0123456789"
    assert disk.read_many("a", [(2, 10), (5, 1)]) == [b"0123456789", b"3"]


@pytest.mark.parametrize(("code", "kind"), [(errno.ENOSPC, StoreFull), (errno.EDQUOT, StoreFull), (errno.EIO, StoreUnavailable)])
def test_what_fails_says_which_file_and_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]) -> None:
    disk = FolderDisk(tmp_path)
    disk.write("lists.dat", 0, b"abc")

    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        patch.setattr(os, "pread", fail)
        with pytest.raises(kind, match=r"lists\.dat at byte 8,192: .*writing 3 bytes"):
            disk.write("lists.dat", 8192, b"xyz")
        with pytest.raises(kind, match=r"lists\.dat at byte 1: .*reading 2 bytes"):
            disk.read("lists.dat", 1, 2)
        with pytest.raises(kind, match=r"lists\.dat at byte 1: .*reading 2 bytes"):
            disk.read_many("lists.dat", [(1, 2), (0, 1)])
    assert disk.read("lists.dat", 0, 9) == b"abc"


def test_a_file_whose_sync_failed_is_not_trusted_until_it_is_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FolderDisk(tmp_path)
    disk.write("a", 0, b"x")
    disk.write("b", 0, b"x")

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("mnemos.index.spann.disk._make_durable", fail)
        with pytest.raises(StoreUnavailable, match="making it durable"):
            disk.sync("a")
    with pytest.raises(StoreUnavailable, match="open it again"):
        disk.sync("a")
    disk.sync("b")
    disk.close()
    FolderDisk(tmp_path).sync("a")


def test_no_folder_can_be_made_where_a_file_lies(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnavailable, match="making the folder"):
        FolderDisk(tmp_path / "file")


def test_a_reader_is_never_given_bytes_of_another_file_by_a_close(tmp_path: Path) -> None:
    with FolderDisk(tmp_path) as first:
        first.write("a", 0, b"a" * 4096)
        first.write("b", 0, b"b" * 4096)
    wrong: list[bytes] = []

    for _ in range(20):
        disk, stop = FolderDisk(tmp_path), threading.Event()

        def read(disk: FolderDisk = disk, stop: threading.Event = stop) -> None:
            while not stop.is_set():
                try:
                    data = disk.read_many("a", [(0, 4096)] * 50)
                except StoreUnavailable:
                    return
                wrong.extend(piece for piece in data if piece != b"a" * 4096)

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        disk.close()
        others = [(tmp_path / "b").open("rb", buffering=0) for _ in range(4)]  # take the descriptors' numbers
        stop.set()
        for reader in readers:
            reader.join()
        for other in others:
            other.close()
    assert wrong == []
