"""What the SQLite driver does with files: whose they are, which it refuses, and what two processes see of each other."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from conformance import new

from mnemos.base.errors import Corrupt, FingerprintMismatch, Invalid, MnemosError, NotFound, StoreUnavailable
from mnemos.store import schema, sqlite_open
from mnemos.store.base import Filter
from mnemos.store.blobs import FileBlobs, MemoryBlobs
from mnemos.store.sqlite import SqliteStore
from mnemos.store.sqlite_open import checksum_vfs, file_system, refuse_network, resolve


def _filled(path: Path, *texts: str) -> SqliteStore:
    store = SqliteStore(str(path))
    with store.transaction() as transaction:
        space = transaction.create_space("home", {}).num
        transaction.add(space, [new(text) for text in texts])
    return store


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _raw(path: Path) -> apsw.Connection:
    return apsw.Connection(str(path), vfs=checksum_vfs())


# ---- whose files they are -------------------------------------------------------------------------------------------


def test_only_the_owner_reads_the_files(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        store = _filled(tmp_path / "s.db", "private")
        store.blobs.put(b"private too")
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert len(files) >= 4
        for path in files:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        for path in tmp_path.rglob("*"):
            assert path.is_file() or stat.S_IMODE(path.stat().st_mode) == 0o700, path
        store.close()
    finally:
        os.umask(before)


def test_the_permissions_that_somebody_chose_stay(tmp_path: Path) -> None:
    _filled(tmp_path / "s.db", "x").close()
    os.chmod(tmp_path / "s.db", 0o640)
    SqliteStore(str(tmp_path / "s.db")).close()
    assert stat.S_IMODE((tmp_path / "s.db").stat().st_mode) == 0o640


# ---- what is refused, and left as it was ----------------------------------------------------------------------------


def test_another_programs_database_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine(a)")
        connection.execute("INSERT INTO mine VALUES(1)")
    connection.close()
    before = _contents(tmp_path)
    with pytest.raises(FingerprintMismatch, match="no Mnemos store"):
        SqliteStore(str(path))
    assert _contents(tmp_path) == before


@pytest.mark.parametrize("content", [b"just some notes\n" * 500, b"SQLite format 2\x00" + bytes(5000), b"x", os.urandom(9000)])
def test_a_file_that_is_no_database_is_refused_untouched(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "notes.txt").write_bytes(content)
    with pytest.raises(FingerprintMismatch, match="no Mnemos store"):
        SqliteStore(str(tmp_path / "notes.txt"))
    assert _contents(tmp_path) == {"notes.txt": content}


def test_a_store_whose_first_bytes_are_gone_is_damaged_not_foreign(tmp_path: Path) -> None:
    _filled(tmp_path / "s.db", "x").close()
    data = bytearray((tmp_path / "s.db").read_bytes())
    data[0] ^= 0xFF
    (tmp_path / "s.db").write_bytes(data)
    with pytest.raises(Corrupt):
        SqliteStore(str(tmp_path / "s.db"))


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "s.db").touch()
    _filled(tmp_path / "s.db", "x").close()
    with SqliteStore(str(tmp_path / "s.db")).snapshot() as snapshot:
        assert snapshot.position == 2


def test_a_newer_store_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    _filled(path, "x").close()
    connection = _raw(path)
    connection.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
    connection.close()
    before = _contents(tmp_path)
    with pytest.raises(FingerprintMismatch, match="newer Mnemos"):
        SqliteStore(str(path))
    assert _contents(tmp_path) == before


def test_an_older_store_is_brought_up_to_date_or_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.db"
    _filled(path, "x").close()
    newer = schema.SCHEMA_VERSION + 1
    monkeypatch.setattr(schema, "SCHEMA_VERSION", newer)
    monkeypatch.setitem(schema._MIGRATIONS, newer - 1, "CREATE TABLE extra(a) STRICT; SELECT * FROM no_such_table")
    with pytest.raises(MnemosError):
        SqliteStore(str(path))
    connection = _raw(path)
    assert connection.pragma("user_version") == newer - 1
    assert not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'extra'").fetchall()
    connection.close()
    monkeypatch.setitem(schema._MIGRATIONS, newer - 1, "CREATE TABLE extra(a INTEGER) STRICT; INSERT INTO extra VALUES(5)")
    store = SqliteStore(str(path))
    with store.snapshot() as snapshot:
        assert snapshot.position == 2
    assert store.verify()[1] == []
    store.close()
    connection = _raw(path)
    assert connection.pragma("user_version") == newer
    assert connection.execute("SELECT a FROM extra").get == 5
    connection.close()


def test_a_store_of_the_first_schema_becomes_one_of_this_schema(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    _filled(path, "x", "y").close()
    connection = _raw(path)
    fresh = _columns(connection)
    for statement in (
        "ALTER TABLE version DROP COLUMN stale", "ALTER TABLE cube DROP COLUMN acl", "DROP TABLE setting", "DROP TABLE job", "DROP TABLE heat",
        "DROP TABLE counter", "PRAGMA user_version = 1",
    ):  # fmt: skip
        connection.execute(statement)
    connection.close()
    store = SqliteStore(str(path))
    assert store.verify()[1] == []
    with store.transaction() as transaction:
        transaction.set_setting("a", 1)
        transaction.count_up("b")
    store.close()
    connection = _raw(path)
    assert _columns(connection) == fresh
    assert connection.pragma("user_version") == schema.SCHEMA_VERSION
    connection.close()


def _columns(connection: apsw.Connection) -> dict[str, list[tuple[object, ...]]]:
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type IN ('table', 'index')")]
    return {str(name): list(connection.execute(f"SELECT name, type, \"notnull\", pk FROM pragma_table_info('{name}')")) for name in names}


@pytest.mark.parametrize("location", ["", "  ", "a\x00b", "\ud800.db", "."])
def test_what_cannot_be_a_file_is_refused(location: str) -> None:
    with pytest.raises(Invalid):
        SqliteStore(location)


@pytest.mark.parametrize(
    "location", ["missing-folder/s.db", "x" * 300, "~no-such-user-here/s.db", "/sys/mnemos-test.db", "/proc/mnemos-test.db", "loop/s.db"]
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(StoreUnavailable):
        SqliteStore(location)
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreUnavailable, match="written"):
            SqliteStore(str(tmp_path / "s.db"))
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_that_refuses_new_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreUnavailable, match="Permission denied"):
        SqliteStore(str(tmp_path / "s.db"))


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "fuse.sshfs", "9p", "fuse.glusterfs"])
def test_network_file_systems_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(sqlite_open, "file_system", lambda path: kind)
    with pytest.raises(StoreUnavailable, match="network file system"):
        SqliteStore(str(tmp_path / "s.db"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["ext4", "xfs", "overlay", "tmpfs", "fuse.ntfs-3g", None])
def test_local_file_systems_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str | None) -> None:
    monkeypatch.setattr(sqlite_open, "file_system", lambda path: kind)
    refuse_network(tmp_path / "s.db")


def test_the_innermost_mount_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    table = "\n".join(
        [
            "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw",
            "30 22 0:40 / /mnt/my\\040disk\\134x rw - nfs4 server:/x rw",
            "31 30 0:41 / /mnt/my\\040disk\\134x/local rw master:5 - xfs /dev/sdb rw",
            "32 22 0:42 / /mnt/Größe rw - cifs //server/x rw",
        ]
    )
    monkeypatch.setattr(Path, "read_text", lambda self, **_: table)
    assert file_system(Path("/home")) == "ext4"
    assert file_system(Path("/mnt/my disk\\x/a/b")) == "nfs4"
    assert file_system(Path("/mnt/my disk\\x/local")) == "xfs"
    assert file_system(Path("/mnt/my disk\\xyz")) == "ext4"
    assert file_system(Path("/mnt/Größe/a")) == "cifs"
    monkeypatch.setattr(Path, "read_text", lambda self, **_: (_ for _ in ()).throw(FileNotFoundError()))
    assert file_system(Path("/home")) is None


def test_a_link_and_its_target_are_one_store(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "s.db").symlink_to(tmp_path / "real" / "s.db")
    first = _filled(tmp_path / "links" / "s.db", "x")
    second = SqliteStore(str(tmp_path / "real" / "s.db"))
    assert first.path == second.path == str(resolve(str(tmp_path / "real" / "s.db")))
    assert second.position() == first.position() == 2
    first.close()
    second.close()
    assert [path.name for path in (tmp_path / "links").iterdir()] == ["s.db"]


# ---- two processes --------------------------------------------------------------------------------------------------

_OTHER = """
import sys
sys.path.insert(0, {tests!r})
from conformance import new
from mnemos.store.base import Filter
from mnemos.store.sqlite import SqliteStore
store = SqliteStore({path!r})
for line in sys.stdin:
    with store.snapshot() as snapshot:
        space = snapshot.space("home").num
        if line.startswith("read"):
            rows = snapshot.versions(snapshot.query(space, Filter(), after=0, limit=99999, now=0))
            print(sorted(row.content.text for row in rows.values()), flush=True)
            continue
    for i in range(int(line)):
        with store.transaction() as transaction:
            transaction.add(space, [new(f"other {{i}}")])
    print("done", flush=True)
store.close()
"""


class _Other:
    """A process that has the store open, and does what it is told."""

    def __init__(self, path: Path) -> None:
        code = _OTHER.format(tests=str(Path(__file__).parent), path=str(path))
        self.process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def test_two_processes_see_each_others_writes_at_once(tmp_path: Path) -> None:
    store = _filled(tmp_path / "s.db", "first")
    other = _Other(tmp_path / "s.db")
    other.tell("read")
    assert other.hear() == "['first']"
    with store.transaction() as transaction:
        transaction.add(1, [new("second")])
    other.tell("read")
    assert other.hear() == "['first', 'second']"
    other.tell("1")
    assert other.hear() == "done"
    with store.snapshot() as snapshot:
        assert len(snapshot.query(1, Filter(), after=0, limit=9, now=0)) == 3
    other.tell("30")
    for i in range(30):  # both write at the same time
        with store.transaction() as transaction:
            transaction.add(1, [new(f"mine {i}")])
    assert other.hear() == "done"
    other.process.communicate()
    assert other.process.returncode == 0
    assert store.position() == 2 + 1 + 1 + 60
    assert store.verify()[1] == []
    store.close()


# ---- blobs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda folder: FileBlobs(str(folder / "b")), lambda folder: MemoryBlobs()], ids=["files", "memory"])
def test_blobs_are_named_by_their_content(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    blobs = make(tmp_path)
    assert list(blobs.names()) == []
    names = [blobs.put(data) for data in (b"", b"one", b"one", bytes(100_000))]
    assert names[1] == names[2]
    assert list(blobs.names()) == sorted(set(names))
    assert blobs.get(names[1]) == b"one"
    blobs.remove([names[1], "0" * 64])
    with pytest.raises(NotFound):
        blobs.get(names[1])
    assert blobs.get(names[3]) == bytes(100_000)


def test_a_damaged_blob_is_found(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "s.db"))
    name = store.blobs.put(b"payload")
    with store.transaction() as transaction:
        space = transaction.create_space("home", {}).num
        transaction.add(space, [new("x", blob=name), new("y", blob="f" * 64)])
    (path,) = tmp_path.glob("s.db-blobs/*/*")
    assert [finding.file for finding in store.verify()[1]] == [str(path.parent.parent / "ff" / ("f" * 64))]
    path.write_bytes(b"paXload")
    with pytest.raises(Corrupt):
        store.blobs.get(name)
    assert str(path) in {finding.file for finding in store.verify()[1]}
    store.close()


def test_a_blob_goes_with_the_last_cube_that_holds_it(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "s.db"))
    name = store.blobs.put(b"payload")
    with store.transaction() as transaction:
        space = transaction.create_space("home", {}).num
        one, two = new("one", blob=name), new("two", blob=name)
        transaction.add(space, [one, two])
    with store.transaction() as transaction:
        transaction.forget([one.content.id], None)
    assert store.blobs.get(name) == b"payload"
    with pytest.raises(KeyError), store.transaction() as transaction:
        transaction.forget([two.content.id], None)
        raise KeyError
    assert store.blobs.get(name) == b"payload"
    with store.transaction() as transaction:
        transaction.forget([two.content.id], None)
    assert list(store.blobs.names()) == []
    assert store.verify()[1] == []
    store.close()


# ---- the log cannot be changed --------------------------------------------------------------------------------------


def test_the_log_is_append_only_even_for_sql(tmp_path: Path) -> None:
    store = _filled(tmp_path / "s.db", "x")
    for statement in ("UPDATE log SET actor = 'me'", "DELETE FROM log WHERE seq = 1"):
        with pytest.raises(apsw.ConstraintError, match="append-only"):
            store._db.execute(statement)
    store.close()


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        ("UPDATE version SET text = 'y' WHERE seq = 2", "log position 2"),
        ("UPDATE version SET author = 'y' WHERE seq = 2", "log position 2"),
        ("UPDATE version SET metadata = '{\"a\":1}' WHERE seq = 2", "log position 2"),
        ("DELETE FROM version WHERE seq = 2", "log position 2"),
        ("DELETE FROM cube", "log position"),
        ("UPDATE cube SET seq = 3 WHERE seq = 2", "cube"),
        ("UPDATE cube SET version = 2", "cube"),
        ("UPDATE cube SET state = 3", "cube"),
        ("UPDATE cube SET frozen = 1", "cube"),
        ("UPDATE cube SET acl = '{}'", "cube"),
        ("UPDATE version SET stale = 2 WHERE seq = 2", "cube"),
        ("INSERT INTO setting VALUES('role/admin', '[\"eve\"]', 1)", "setting role/admin"),
        ("INSERT INTO edge VALUES(x'01', 1, x'02', 1, 'r')", "lineage"),
        ("INSERT INTO vector VALUES(99, 1, 1, x'00')", "vector 99"),
        ("DROP TRIGGER log_is_append_only_1; UPDATE log SET at = at + 1 WHERE seq = 2", "log entry 2"),
        ("DROP TRIGGER log_is_append_only_2; DELETE FROM log WHERE seq = 1", "log entry 1"),
        ("DROP TRIGGER log_is_append_only_1; UPDATE log SET digest = zeroblob(32) WHERE seq = 2", "log entry 2"),
    ],
)
def test_changes_behind_the_stores_back_are_named(tmp_path: Path, statement: str, place: str) -> None:
    _filled(tmp_path / "s.db", "x", "y").close()
    connection = _raw(tmp_path / "s.db")
    connection.execute(statement).fetchall()
    connection.close()
    store = SqliteStore(str(tmp_path / "s.db"))
    findings = store.verify()[1]
    assert any(place in finding.place and finding.file == store.path for finding in findings), findings
    store.close()


def test_a_log_that_lost_its_end_is_noticed(tmp_path: Path) -> None:
    _filled(tmp_path / "s.db", "x").close()
    earlier = (tmp_path / "s.db").read_bytes()
    store = SqliteStore(str(tmp_path / "s.db"))
    with store.transaction() as transaction:
        transaction.add(1, [new("acknowledged")])
    store.close()
    (tmp_path / "s.db").write_bytes(earlier)
    with pytest.raises(Corrupt, match="acknowledged"):
        SqliteStore(str(tmp_path / "s.db"))
    (tmp_path / "s.db-head").unlink()  # what the message says a restored backup needs
    restored = SqliteStore(str(tmp_path / "s.db"))
    assert restored.position() == 2
    restored.close()


def test_recovery_leaves_none_of_this_processs_memory_in_the_index_of_the_log(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = _filled(path, "x")
    header = Path(f"{path}-wal").read_bytes()[:32]
    store.close()
    Path(f"{path}-wal").write_bytes(header + os.urandom(2 * (24 + schema.PAGE_SIZE)))  # a process was killed before its first frame was whole
    held = [(b"a text that was forgotten " * 2000)[: 24 + schema.PAGE_SIZE + 32_768 - 33] for _ in range(50)]
    del held[::2]  # what is freed is what SQLite gets for its private copy of the index
    store = SqliteStore(str(path))
    assert b"forgotten" not in Path(f"{path}-shm").read_bytes()
    assert store.verify()[1] == []
    store.close()
