"""A sealed store: nothing of it can be read without its key, it answers as any other does, and what is forgotten in it is gone from every copy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

pytest.importorskip("cryptography", reason="sealed stores need the package cryptography")

import apsw
from conformance import new
from hypothesis import given
from hypothesis import strategies as st
from sealing_support import KEY, kept, opened, put_back, readable

from mnemos.base.cube import Link, State
from mnemos.base.errors import Conflict, Corrupt, FingerprintMismatch, Invalid, MnemosError, NotFound, WrongKey
from mnemos.store import sealing
from mnemos.store.base import Filter
from mnemos.store.keys import KeyFile
from mnemos.store.sealing import PAYLOAD, VECTOR, Unreadable
from mnemos.store.sqlite import SqliteStore
from mnemos.store.sqlite_open import checksum_vfs
from mnemos.store.sqlite_renew import begin, reseal

SECRET = {
    "text": "the violin lies in the harbour office", "author": "Annabella Quist", "source": "letter-of-march", "type": "confession",
    "tags": ("orchestra-tag", "harbour-tag"), "entities": ("Lighthouse Keeper",), "place": "Kirkwall pier", "sensitivity": "top-secret-label",
    "metadata": {"chapter-key": "chapter-value", "nested": {"inner-key": ["inner-value"]}},
}  # fmt: skip
STRINGS = [
    "the violin lies", "in the harbour office", "Annabella Quist", "letter-of-march", "confession", "orchestra-tag", "harbour-tag",
    "Lighthouse Keeper", "Kirkwall pier", "top-secret-label", "chapter-key", "chapter-value", "inner-key", "inner-value",
]  # fmt: skip
VECTOR_BYTES = bytes(range(64, 192))


def renew(store: SqliteStore, spaces: list[int] | None = None) -> int:
    assert store.keeper is not None
    with store.transaction(alone=True) as writer:
        begin(writer, store.keeper, spaces)
    return reseal(lambda: store.transaction(alone=True), 0)


def filled(store: SqliteStore, space: str = "the space's name") -> tuple[int, UUID]:
    """A space with one cube that says everything of `SECRET`; (its number, the cube)."""
    version = new(**SECRET)
    with store.transaction("principal-name") as writer:
        num = writer.create_space(space, {"owner": "principal-name", "acl": {"read": ["reader-name"]}}).num
        (seq,) = writer.add(num, [version])
        writer.put_vectors(writer.embedder("embedder", 32), [(seq, VECTOR_BYTES)])
    return num, version.content.id


# ---- who may read ---------------------------------------------------------------------------------------------------


def test_a_sealed_store_opens_with_its_key_alone(tmp_path: Path) -> None:
    opened(tmp_path).close()
    for wrong in (None, b"K" * 32, "a phrase"):
        with pytest.raises(WrongKey, match=r"store\.db"):
            opened(tmp_path, wrong)
    assert issubclass(WrongKey, PermissionError)
    opened(tmp_path, lambda: KEY).close()


def test_a_store_that_is_not_sealed_takes_no_key_and_stays_as_it_is(tmp_path: Path) -> None:
    opened(tmp_path, None).close()
    before = (tmp_path / "store.db").read_bytes()
    assert b"sealed" not in before
    assert b"shred" not in before
    with pytest.raises(Conflict, match="mnemos seal"):
        opened(tmp_path)
    assert (tmp_path / "store.db").read_bytes() == before
    assert not (tmp_path / "store.db-keys").exists()
    opened(tmp_path, None).close()


def test_a_store_in_memory_has_nothing_to_seal() -> None:
    with pytest.raises(Invalid, match="key:"):
        SqliteStore(":memory:", key=KEY)


def test_an_older_mnemos_does_not_take_a_sealed_store_for_its_own(tmp_path: Path) -> None:
    opened(tmp_path).close()
    connection = apsw.Connection(str(tmp_path / "store.db"), vfs=checksum_vfs())
    assert connection.pragma("application_id") == 0x4D4E4553
    connection.close()


def test_the_keys_of_another_store_are_told_from_damage(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    for name in ("one", "two"):
        opened(tmp_path / name).close()
    put_back(tmp_path / "two", tmp_path / "one", ["-keys"])
    with pytest.raises(FingerprintMismatch, match=r"store\.db-keys"):
        opened(tmp_path / "one")


def test_keys_on_which_a_store_depends_are_never_written_over(tmp_path: Path) -> None:
    store = opened(tmp_path)
    filled(store)
    store.close()
    held = (tmp_path / "store.db-keys").read_bytes()
    for file in ("store.db", "store.db-head"):
        (tmp_path / file).unlink()
    with pytest.raises(Conflict, match="move the key file away"):
        opened(tmp_path)
    assert (tmp_path / "store.db-keys").read_bytes() == held


def test_keys_that_a_killed_creation_left_are_made_anew(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert store.keeper is not None
    store.keeper.file.write(store.keeper.sealing.ring, settled=False)  # as it is before the store's first commit
    store.close()
    for file in ("store.db", "store.db-head"):
        (tmp_path / file).unlink()
    again = opened(tmp_path)
    filled(again)
    again.close()
    assert KeyFile(str(tmp_path / "store.db-keys"), KEY).settled()


# ---- nothing can be read --------------------------------------------------------------------------------------------


def test_no_file_shows_anything_at_any_time(tmp_path: Path) -> None:
    names = ["the space's name", "principal-name", "reader-name"]
    more = ["a second text of the cube", "setting-name", "setting-value", "counter-name", "why-it-was-archived", "sung-by-whom", "job-payload"]
    other = bytes(range(192, 256)) + bytes(range(64))
    store = opened(tmp_path)
    terms = new(**SECRET).derived.terms
    assert terms is not None
    secrets = [*STRINGS, *names, *more, VECTOR_BYTES, other, terms]

    def look() -> None:
        assert readable(tmp_path, secrets) == {}

    num, cube = filled(store)
    look()
    second = new("a second text of the cube", version=2, id=cube, tags=("harbour-tag",), derived_from=(Link(cube, 1, "sung-by-whom"),))
    third = new("the violin lies in the harbour office, too", author="Annabella Quist")
    with store.transaction("principal-name") as writer:
        (seq,) = writer.add(num, [third])
        writer.set_state(third.content.id, State.ARCHIVED, {"why": "why-it-was-archived"})
        writer.set_acl(third.content.id, {"read": ["reader-name"]})
        writer.set_setting("setting-name", {"value": "setting-value"})
        writer.count_up("counter-name")
        writer.link(third.content.id, 1, cube, 1, "sung-by-whom")
        writer.enqueue("kind", "job-payload", {"text": "job-payload"}, run_at=1, priority=0, every=None, now=1)
        writer.put_vectors(writer.embedder("another", 32), [(seq, other)])
    look()
    with store.transaction() as writer:
        updated = writer.supersede(num, second)
        writer.put_vectors(writer.embedder("another", 32), [(updated, VECTOR_BYTES)], replace=True)
        look()
    with pytest.raises(ZeroDivisionError), store.transaction() as writer:
        writer.add(num, [new("the violin lies in the harbour office, undone")])
        raise ZeroDivisionError
    look()
    renew(store)
    look()
    name = store.blobs.put(b"the violin lies in a large payload, and nobody reads it" * 100)
    with store.transaction() as writer:
        writer.add(num, [new(None, blob=name)])
    assert readable(tmp_path, [*secrets, name]) == {}
    with store.snapshot() as snapshot:  # and all of it is there
        assert snapshot.versions([seq])[seq].content == third.content
        assert snapshot.setting("setting-name") == {"value": "setting-value"}
        assert snapshot.counter("counter-name") == 1
        assert snapshot.jobs()[0].payload == {"text": "job-payload"}
        assert {edge.relation for edge in snapshot.derivations(cube)} == {"sung-by-whom"}
        assert snapshot.space("the space's name").settings["acl"] == {"read": ["reader-name"]}
        assert next(iter(snapshot.log(0))).actor == "principal-name"
        assert "why-it-was-archived" in "".join(entry.body or "" for entry in snapshot.log(0))
    with store.transaction() as writer:
        writer.forget([cube], "a reason that is sealed")
    store.erase([b"the violin lies in the harbour office"])
    assert readable(tmp_path, [*secrets, "a reason that is sealed"]) == {}
    store.close()
    assert readable(tmp_path, [*secrets, "a reason that is sealed"]) == {}


def test_the_search_for_readable_bytes_finds_them_where_they_are(tmp_path: Path) -> None:
    store = opened(tmp_path, None)
    filled(store)
    found = {secret for secrets in readable(tmp_path, [*STRINGS, "principal-name", "the space's name", VECTOR_BYTES]).values() for secret in secrets}
    store.close()
    assert len(found) == len(STRINGS) + 3


KILLED = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from conformance import new
from sealing_support import opened
from test_sealing_store import SECRET, filled
store = opened(Path(sys.argv[1]))
num, cube = filled(store)
print("begun", flush=True)
for number in range(10**6):
    version = new(**SECRET)
    with store.transaction("principal-name") as writer:
        writer.add(num, [version])
    if number % 5 == 4:
        with store.transaction() as writer:
            writer.forget([version.content.id], None)
        store.erase([SECRET["text"].encode()])
    print(number, flush=True)
"""


def test_no_file_shows_anything_after_kill_9(tmp_path: Path) -> None:
    for written in (1, 7):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            while (line := process.stdout.readline().strip()) != str(written):
                assert line
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert readable(tmp_path, [*STRINGS, "principal-name", "the space's name"]) == {}
        opened(tmp_path).close()
        assert readable(tmp_path, [*STRINGS, "principal-name", "the space's name"]) == {}
        for file in tmp_path.iterdir():
            file.unlink()


def test_equal_things_do_not_look_equal(tmp_path: Path) -> None:
    store = opened(tmp_path)
    with store.transaction() as writer:
        spaces = [writer.create_space(name, {"same": "settings"}).num for name in ("one", "two")]
        for space in spaces:
            seqs = writer.add(space, [new("the same text", author="the same"), new("the same text", author="the same")])
            writer.put_vectors(writer.embedder("e", 32), [(seq, VECTOR_BYTES) for seq in seqs])
    names = {store.blobs.put(b"the same payload") for _ in range(3)}
    db = store._db
    for query in ("SELECT sealed FROM version", "SELECT value FROM vector", "SELECT settings FROM space"):
        values = [bytes(value, "ascii") if isinstance(value, str) else value for (value,) in db.execute(query)]
        assert len({value[:40] for value in values}) == len(values) >= 2
        assert len({value[26:] for value in values}) == len(values)
    assert len(names) == 3
    assert len({(tmp_path / "store.db-blobs" / file[:2] / file).read_bytes() for file in store.blobs.names()}) == 3
    store.close()


# ---- nothing can be put in another's place --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE version SET sealed = (SELECT sealed FROM version WHERE seq = 3) WHERE seq = 2",  # of the same space
        "UPDATE version SET sealed = (SELECT value FROM vector WHERE seq = 2) WHERE seq = 2",  # of the same cube
        "UPDATE version SET sealed = (SELECT sealed FROM version WHERE seq = 4) WHERE seq = 2",  # of a later version of the same cube
        "UPDATE version SET sealed = CAST(substr(sealed, 1, 40) || zeroblob(length(sealed) - 40) AS BLOB) WHERE seq = 2",
        "UPDATE version SET sealed = zeroblob(5) WHERE seq = 2",
    ],
)
def test_a_cell_opens_in_its_own_place_alone(tmp_path: Path, statement: str) -> None:
    store = opened(tmp_path)
    first = new("one")
    with store.transaction() as writer:
        num = writer.create_space("home", {}).num
        writer.put_vectors(writer.embedder("e", 32), [(seq, VECTOR_BYTES) for seq in writer.add(num, [first, new("two")])])
        writer.supersede(num, new("one, again", version=2, id=first.content.id))
    store._db.execute(statement)
    with store.snapshot() as snapshot, pytest.raises(Corrupt, match="position 2"):
        snapshot.versions([2])
    with store.snapshot() as snapshot, pytest.raises(Corrupt, match="position 2"):
        list(snapshot.index_rows(num, 0))
    findings = store.verify()[1]
    assert any("position 2" in finding.place or "position 2" in finding.problem for finding in findings)
    store.close()


@pytest.mark.parametrize(
    ("statement", "read"),
    [
        ("UPDATE vector SET value = (SELECT value FROM vector WHERE seq = 4) WHERE seq = 3", lambda s: list(s.vectors(1, 0))),
        ("UPDATE vector SET embedder = 2 WHERE seq = 3", lambda s: list(s.vectors(1, 0))),
        ("UPDATE space SET settings = (SELECT settings FROM space WHERE num = 2) WHERE num = 1", lambda s: s.spaces()),
        ("UPDATE space SET name = (SELECT name FROM setting LIMIT 1) WHERE num = 1", lambda s: s.spaces()),
        ("UPDATE setting SET value = (SELECT settings FROM space WHERE num = 1)", lambda s: s.setting("a setting")),
        ("UPDATE space SET settings = '{}' WHERE num = 1", lambda s: s.spaces()),
        ("UPDATE space SET name = 'clear' WHERE num = 1", lambda s: s.spaces()),
    ],
)
def test_nor_does_a_vector_a_name_or_a_text(tmp_path: Path, statement: str, read: Callable[[Any], Any]) -> None:
    store = opened(tmp_path)
    with store.transaction() as writer:
        num = writer.create_space("home", {}).num
        writer.create_space("other", {"owner": "x"})
        writer.put_vectors(writer.embedder("e", 32), [(seq, VECTOR_BYTES) for seq in writer.add(num, [new("one"), new("two")])])
        writer.set_setting("a setting", 7)
    with store.snapshot() as snapshot:
        read(snapshot)
    store._db.execute(statement)
    with store.snapshot() as snapshot, pytest.raises(Corrupt, match=r"store\.db"):
        read(snapshot)
    store.close()


def test_an_entry_of_the_log_opens_in_its_own_place_alone(tmp_path: Path) -> None:
    store = opened(tmp_path)
    with store.transaction("somebody") as writer:
        writer.create_space("home", {})
        writer.create_space("other", {})
    store._db.execute("DROP TRIGGER log_is_append_only_1")
    store._db.execute("UPDATE log SET body = (SELECT body FROM log WHERE seq = 2) WHERE seq = 1")
    with store.snapshot() as snapshot, pytest.raises(Corrupt, match="log 1"):
        list(snapshot.log(0))
    assert {"log entry 1"} <= {finding.place for finding in store.verify()[1]}
    store.close()


# ---- it answers as any other does -----------------------------------------------------------------------------------

WORDS = st.sampled_from(["a", "b", "ab", ""])
MANY = st.lists(
    st.fixed_dictionaries(
        {"text": st.sampled_from(["one", "two words", None])},
        optional={
            "author": WORDS, "source": WORDS, "type": st.sampled_from(["fact", "turn"]), "event_at": st.integers(0, 5),
            "tags": st.lists(st.sampled_from("xyz"), unique=True).map(tuple), "sensitivity": st.sampled_from(["public", "secret"]),
            "metadata": st.fixed_dictionaries({"n": st.integers(0, 2)}),
        },
    ),
    min_size=1, max_size=8,
)  # fmt: skip
FILTERS = st.builds(
    Filter,
    types=st.none() | st.just(("fact",)), tags=st.none() | st.just(("x",)) | st.just(("x", "y")), author=st.none() | WORDS, source=st.none() | WORDS,
    since=st.none() | st.integers(0, 5), where=st.none() | st.just({"n": {"gte": 1}}), labels=st.none() | st.just(("public",)) | st.just(()),
    readers=st.none() | st.just(("ann", "*")) | st.just(("bob",)), parts=st.booleans(),
)  # fmt: skip


@given(records=MANY, rules=st.lists(st.sampled_from([None, {"read": ["ann"]}, {"read": []}, {"write": ["x"]}]), min_size=8, max_size=8),
       filters=st.lists(FILTERS, min_size=1, max_size=6), limit=st.integers(1, 5))  # fmt: skip
def test_a_query_answers_as_in_a_store_that_is_not_sealed(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]], rules: list[Any], filters: list[Filter], limit: int
) -> None:
    folder = tmp_path_factory.mktemp("queries")
    versions = [new(**record) for record in records]
    answers = []
    for store in (SqliteStore(":memory:", clock=lambda: 7), SqliteStore(str(folder / "store.db"), clock=lambda: 7, key=KEY)):
        with store.transaction() as writer:
            num = writer.create_space("home", {}).num
            writer.add(num, versions)
            for version, acl in zip(versions, rules, strict=False):
                if acl is not None:
                    writer.set_acl(version.content.id, acl)
        with store.snapshot() as snapshot:
            found: list[Any] = [snapshot.query(num, where, after=0, limit=limit, now=1) for where in filters]
            found += [list(snapshot.index_rows(num, 0)), list(snapshot.metadata(num, 0)), snapshot.unembedded(1, 0, 9), snapshot.usage(num)]
            found += [row.content for row in snapshot.versions(range(2, len(versions) + 2)).values()]
        answers.append(found)
        store.close()
    assert answers[0] == answers[1]


# ---- what is forgotten is gone from every copy ----------------------------------------------------------------------


def cells(folder: Path) -> list[tuple[int, bytes, bytes, bytes | None, bytes]]:
    """(position, cube, payload, vector, store) of every version in a copy, as whoever has the bytes reads them."""
    connection = apsw.Connection(str(folder / "store.db"), vfs=checksum_vfs())
    rows = connection.execute("SELECT v.seq, v.cube, v.sealed, x.value FROM version v LEFT JOIN vector x ON x.seq = v.seq ORDER BY v.seq").fetchall()
    store = connection.execute("SELECT value FROM store WHERE key = 'id'").get
    connection.close()
    return [(*row, store) for row in rows]  # type: ignore[misc]


def test_no_copy_of_the_database_its_log_or_a_blob_opens_with_the_keys_that_are_left(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    store = opened(home)
    num, cube = filled(store)
    name = store.blobs.put(b"a large payload")
    doomed, spared = new("goes, too", blob=name), new("stays")
    with store.transaction() as writer:
        writer.add(num, [doomed, spared])
        writer.supersede(num, new("a second text", version=2, id=cube))
    live = kept(home, tmp_path / "while it was open")  # with its write-ahead log
    store.close()
    copy = kept(home, tmp_path / "when it was closed")
    store = opened(home)
    with store.transaction() as writer:
        stones = writer.forget([cube, doomed.content.id], None)
    store.close()
    now, then = KeyFile(str(home / "store.db-keys"), KEY).read(), KeyFile(str(copy / "store.db-keys"), KEY).read()
    assert [len(stone.keys) for stone in stones] == [1, 1]
    for folder in (live, copy):
        seen = 0
        for seq, key, payload, vector, store_id in cells(folder):
            places = [(payload, sealing.place(store_id, PAYLOAD, key, seq))]
            places += [(vector, sealing.place(store_id, VECTOR, key, seq, 1))] if vector else []
            for cell, place in places:
                assert sealing.opened(then, cell, place)  # the copy of the keys that was made with it would open it
                if UUID(bytes=key) == spared.content.id:
                    assert sealing.opened(now, cell, place)
                else:
                    seen += 1
                    with pytest.raises(Unreadable, match="destroyed"):
                        sealing.opened(now, cell, place)
        assert seen == 4
    # The blob's own key follows from its name, which lay in the cube: with the keys that are left, and the file, nobody has it.
    from mnemos.store.sealed_blobs import SealedBlobs

    assert SealedBlobs(str(copy / "store.db-blobs"), lambda: now).get(name) == b"a large payload"
    assert name.encode() not in b"".join(file.read_bytes() for folder in (home, copy, live) for file in folder.rglob("*") if file.is_file())
    assert list(SealedBlobs(str(home / "store.db-blobs"), lambda: now).names()) == []


@pytest.mark.parametrize("ends", [["", "-head"], ["", "-head", "-forgotten"], ["", "-wal", "-shm", "-head"]])
def test_an_older_database_put_back_forgets_again_what_cannot_be_read(tmp_path: Path, ends: list[str]) -> None:
    home = tmp_path / "home"
    home.mkdir()
    store = opened(home)
    num, cube = filled(store)
    frozen, spared, name = new("frozen"), new("stays"), store.blobs.put(b"payload")
    holder = new("holds a payload", blob=name)
    with store.transaction() as writer:
        writer.add(num, [frozen, spared, holder])
    store.close()
    copy = kept(home, tmp_path / "copy")
    store = opened(home)
    with store.transaction() as writer:
        writer.add(num, [new("written later"), new("and later")])
        writer.forget([cube, frozen.content.id, holder.content.id], None)
    store.close()
    put_back(copy, home, ends)
    for _ in range(2):
        store = opened(home)
        assert store.verify()[1] == []
        with store.snapshot() as snapshot:
            assert [snapshot.forgotten(gone) for gone in (cube, frozen.content.id, holder.content.id)] == [True] * 3
            assert [row.content.text for row in snapshot.versions(snapshot.query(num, Filter(), after=0, limit=9, now=0)).values()][:1] == ["stays"]
        with store.transaction() as writer:  # where the keys of the numbers are gone that would be next, others are taken
            writer.add(num, [new(f"after {i}") for i in range(6)])
        store.close()
    store = opened(home)
    assert store.verify()[1] == []
    with store.snapshot() as snapshot:
        assert len(snapshot.query(num, Filter(), after=0, limit=99, now=0)) == 13
    store.close()


def test_an_older_key_file_put_back_loses_the_keys_again_that_were_destroyed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    store = opened(home)
    _, cube = filled(store)
    store.close()
    copy = kept(home, tmp_path / "copy")
    store = opened(home)
    with store.transaction() as writer:
        (stone,) = writer.forget([cube], None)
    assert store.living_keys(stone.keys) == []
    store.close()
    put_back(copy, home, ["-keys"])
    assert KeyFile(str(home / "store.db-keys"), KEY).read().lives(sealing.NAME.pack(1, 2))
    store = opened(home)
    assert store.living_keys(stone.keys) == []
    assert store.verify()[1] == []
    store.close()


def test_an_older_key_file_beside_an_open_store_is_noticed(tmp_path: Path) -> None:
    store = opened(tmp_path)
    _, cube = filled(store)
    held = (tmp_path / "store.db-keys").read_bytes()
    with store.transaction() as writer:
        writer.forget([cube], None)
    (tmp_path / "store.db-keys").write_bytes(held)
    assert [finding.file for finding in store.verify()[1]] == [str(tmp_path / "store.db-keys")]
    assert store.living_keys(["1:0:2"]) == ["1:0:2"]
    other = new("other")
    with store.transaction() as writer:
        writer.add(writer.spaces()[0].num, [other])
        writer.forget([other.content.id], None)
    assert store.living_keys(["1:0:2"]) == []  # the next forget destroys again what came back
    assert store.verify()[1] == []
    store.close()


@pytest.mark.parametrize("damage", [lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: data[:100], lambda data: b""])
def test_a_damaged_key_file_is_named_and_the_open_store_goes_on(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    store = opened(tmp_path)
    num, _ = filled(store)
    keys = tmp_path / "store.db-keys"
    sound = keys.read_bytes()
    keys.write_bytes(damage(sound))
    assert [finding.file for finding in store.verify()[1]] == [str(keys)]
    with store.transaction() as writer:
        writer.add(num, [new("still written")])
    store.close()
    with pytest.raises(Corrupt, match=r"store\.db-keys"):
        opened(tmp_path)
    keys.write_bytes(sound)
    store = opened(tmp_path)
    assert store.verify()[1] == []
    store.close()


def test_a_forget_that_is_taken_back_destroys_no_key(tmp_path: Path) -> None:
    store = opened(tmp_path)
    num, cube = filled(store)
    with store.transaction() as writer:
        with pytest.raises(ZeroDivisionError), store.transaction():
            (stone,) = writer.forget([cube], None)
            raise ZeroDivisionError
        other = new("other")
        writer.add(num, [other])
    assert store.living_keys(stone.keys) == list(stone.keys)
    with store.snapshot() as snapshot:
        assert snapshot.standing(cube) is not None
    assert store.verify()[1] == []
    with pytest.raises(NotFound), store.transaction() as writer:
        writer.forget([cube, UUID(int=5)], None)
    assert store.verify()[1] == []
    store.close()


def test_who_began_to_read_before_a_forget_reads_on(tmp_path: Path) -> None:
    store = opened(tmp_path)
    _, cube = filled(store)
    import threading

    begun, go_on, found = threading.Event(), threading.Event(), []

    def read() -> None:
        with store.snapshot() as snapshot:
            assert snapshot.standing(cube) is not None
            begun.set()
            go_on.wait(30)
            found.extend(row.content.text for row in snapshot.versions([2]).values())

    reader = threading.Thread(target=read)
    reader.start()
    begun.wait(30)
    with store.transaction() as writer:
        writer.forget([cube], None)
    go_on.set()
    reader.join()
    assert found == [SECRET["text"]]
    store.close()


def test_two_processes_do_not_bring_back_each_others_destroyed_keys(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    num, cube = filled(one)
    other = new("other")
    with two.transaction() as writer:
        writer.add(num, [other])
    with one.transaction() as writer:
        (first,) = writer.forget([cube], None)
    with two.transaction() as writer:
        (second,) = writer.forget([other.content.id], None)
    for store in (one, two):
        assert store.living_keys([*first.keys, *second.keys]) == []
        assert store.verify()[1] == []
    one.close()
    two.close()
    assert not KeyFile(str(tmp_path / "store.db-keys"), KEY).read().lives(sealing.NAME.pack(1, 2))


def test_many_cubes_forgotten_and_added_leave_a_small_key_file(tmp_path: Path) -> None:
    store = opened(tmp_path)
    with store.transaction() as writer:
        num = writer.create_space("home", {}).num
    alive: list[UUID] = []
    for _ in range(12):
        versions = [new(f"text {i}") for i in range(40)]
        with store.transaction() as writer:
            writer.add(num, versions)
            alive += [version.content.id for version in versions]
            writer.forget(alive[:-40], None) if len(alive) > 40 else None
            alive = alive[-40:]
    assert (tmp_path / "store.db-keys").stat().st_size < 6000
    assert store.verify()[1] == []
    store.close()


# ---- keys are renewed -----------------------------------------------------------------------------------------------


def test_renewed_keys_open_everything_and_the_old_ones_are_gone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    store = opened(home)
    num, cube = filled(store)
    other, _ = filled(store, "other space")
    with store.transaction() as writer:
        writer.supersede(num, new("a second text", version=2, id=cube))
        writer.set_setting("name of a setting", {"a": 1})
        writer.count_up("name of a counter")
    with store.snapshot() as snapshot:
        before = list(snapshot.index_rows(num, 0)), snapshot.versions([2, 4, 5]), list(snapshot.log(0)), list(snapshot.vectors(num, 0))
    store.close()
    copy = kept(home, tmp_path / "copy")
    store = opened(home)
    assert renew(store, [num]) == 2
    names = {row[2][:2] for row in cells(home)}
    assert names == {b"\x00\x01", b"\x00\x02"}, "one space has keys of the new era, the other those of the old one"
    assert renew(store) == 3
    assert {row[2][:2] for row in cells(home)} == {b"\x00\x03"}
    with store.snapshot() as snapshot:
        assert (list(snapshot.index_rows(num, 0)), snapshot.versions([2, 4, 5]), list(snapshot.log(0)), list(snapshot.vectors(num, 0))) == before
        assert snapshot.setting("name of a setting") == {"a": 1}
        assert snapshot.counter("name of a counter") == 1
        assert snapshot.space("other space").num == other
    with store.transaction() as writer:
        writer.forget([cube], None)
    assert store.verify()[1] == []
    store.close()
    now = KeyFile(str(home / "store.db-keys"), KEY).read()
    assert [len(era.tree) > 0 for era in now.eras.values()] == [False, False, True]
    for _, _, payload, _, _ in cells(copy):
        assert not now.lives(payload[:10])
    put_back(copy, home, ["", "-head", "-forgotten"])
    with pytest.raises(FingerprintMismatch, match="older than the renewal"):
        opened(home)
    put_back(copy, home, ["-keys"])
    store = opened(home)
    assert store.verify()[1] == []
    store.close()


def test_a_key_file_from_before_a_renewal_is_told(tmp_path: Path) -> None:
    store = opened(tmp_path)
    filled(store)
    held = (tmp_path / "store.db-keys").read_bytes()
    renew(store)
    store.close()
    (tmp_path / "store.db-keys").write_bytes(held)
    with pytest.raises(Corrupt, match="older than the store"):
        opened(tmp_path)


def test_a_renewal_that_stops_goes_on_and_what_is_forgotten_meanwhile_is_gone(tmp_path: Path) -> None:
    store = opened(tmp_path)
    with store.transaction() as writer:
        num = writer.create_space("home", {}).num
    versions = [new(f"text {i}") for i in range(1200)]
    with store.transaction() as writer:
        writer.add(num, versions)
    assert store.keeper is not None
    with store.transaction(alone=True) as writer:
        begin(writer, store.keeper)
    looks = iter([False, True])
    assert reseal(lambda: store.transaction(alone=True), 0, stop=lambda: next(looks)) == 512
    store.close()
    store = opened(tmp_path)
    assert store.keeper is not None
    sealed_anew, waiting = versions[3].content.id, versions[900].content.id
    with store.transaction() as writer:
        stones = writer.forget([sealed_anew, waiting], None)
        later = new("written meanwhile")
        writer.add(num, [later])
    assert [len(stone.keys) for stone in stones] == [2, 2]
    assert store.living_keys([name for stone in stones for name in stone.keys]) == []
    said: list[tuple[int, int]] = []
    assert reseal(lambda: store.transaction(alone=True), 1199, lambda done, total: said.append((done, total))) == 1198 - 511
    assert said[-1] == (1199, 1199)
    assert reseal(lambda: store.transaction(alone=True), 0) == 0
    assert {row[2][:2] for row in cells(tmp_path)} == {b"\x00\x02"}
    assert store.verify()[1] == []
    store.close()


def test_keys_of_an_era_that_did_not_begin_wait_for_it(tmp_path: Path) -> None:
    store = opened(tmp_path)
    num, cube = filled(store)
    keeper = store.keeper
    assert keeper is not None
    transaction = store.transaction(alone=True)
    begin(transaction.__enter__(), keeper)
    transaction.__exit__(KeyError, KeyError(), None)  # as if killed between the key file and the commit
    with store.transaction() as writer:
        writer.forget([cube], None)
        writer.add(num, [new("before")])
    assert list(keeper.file.read().eras) == [1, 2]
    assert renew(store) == 1
    assert list(keeper.file.read().eras) == [1, 2]
    with store.transaction() as writer:
        writer.add(num, [new("after")])
    assert {row[2][:2] for row in cells(tmp_path)} == {b"\x00\x02"}
    assert store.verify()[1] == []
    store.close()


def test_another_process_goes_on_while_keys_are_renewed(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    num, _ = filled(one)
    with two.snapshot() as snapshot:
        assert snapshot.space("the space's name").num == num
    renew(one)
    with two.snapshot() as snapshot:
        assert snapshot.space("the space's name").num == num
        assert snapshot.versions([2])[2].content.text == SECRET["text"]
    with two.transaction() as writer:
        writer.add(num, [new("with the new keys")])
    assert {row[2][:2] for row in cells(tmp_path)} == {b"\x00\x02"}
    renew(two)
    with one.snapshot() as snapshot:
        assert len(snapshot.query(num, Filter(), after=0, limit=9, now=0)) == 2
    for store in (one, two):
        assert store.verify()[1] == []
        store.close()


def test_the_master_key_is_changed_and_another_process_is_told(tmp_path: Path) -> None:
    keys = [KEY]
    one, two, three = opened(tmp_path), opened(tmp_path), opened(tmp_path, lambda: keys[0])
    num, cube = filled(one)
    assert one.keeper is not None
    with one.exclusively("changing the key"):
        one.keeper.change_key(b"n" * 32)
    keys[0] = b"n" * 32
    with two.snapshot() as snapshot:
        assert snapshot.versions([2])[2].content.text == SECRET["text"]  # it has the keys
    with pytest.raises(WrongKey, match="forgotten for good"), two.transaction() as writer:
        writer.forget([cube], None)
    two.close()
    other = new("other")
    with three.transaction() as writer:
        writer.add(num, [other])
        (stone,) = writer.forget([other.content.id], None)
    assert three.living_keys(stone.keys) == []
    three.close()
    one.close()
    with pytest.raises(WrongKey):
        opened(tmp_path)
    store = opened(tmp_path, b"n" * 32)
    assert store.verify()[1] == []
    assert store._db.execute("SELECT count(*) FROM shred").get == 0
    store.close()


def test_no_error_shows_the_key(tmp_path: Path) -> None:
    phrase = "correct horse battery staple"
    opened(tmp_path, KEY).close()
    said = []
    for wrong in (phrase, b"secretsecretsecretsecretsecret!!"):
        with pytest.raises(MnemosError) as caught:
            opened(tmp_path, wrong)
        said.append(str(caught.value))
    assert phrase not in "".join(said)
    assert "secretsecret" not in "".join(said)


def test_files_of_a_sealed_store_are_the_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        store = opened(tmp_path)
        _, cube = filled(store)
        store.blobs.put(b"private too")
        with store.transaction() as writer:
            writer.forget([cube], None)
        assert {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()} == {0o600}
        store.close()
    finally:
        os.umask(before)
