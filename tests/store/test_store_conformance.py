"""The conformance suite of the `Store` seam: every driver passes all of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from conformance import DRIVERS, Driver, new
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.chain import GENESIS, verify_entry
from mnemos.base.cube import Content, Link, State
from mnemos.base.errors import Conflict, Frozen, NotFound, StoreUnavailable
from mnemos.store.base import Filter

Store = Any


@pytest.fixture(params=DRIVERS, ids=str)
def driver(request: pytest.FixtureRequest) -> Driver:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def reopen(driver: Driver, tmp_path: Path, clock: Callable[[], int]) -> Iterator[Callable[[], Store]]:
    opened: list[Store] = []

    def open_() -> Store:
        for store in opened:
            store.close()
        opened.append(driver.open(tmp_path, clock))
        return opened[-1]

    yield open_
    for store in opened:
        store.close()


@pytest.fixture
def store(reopen: Callable[[], Store]) -> Store:
    return reopen()


@pytest.fixture
def space(store: Store) -> int:
    with store.transaction() as transaction:
        return transaction.create_space("home", {"owner": None}).num  # type: ignore[no-any-return]


def add(store: Store, space: int, *versions: Any) -> list[int]:
    with store.transaction() as transaction:
        return transaction.add(space, versions)  # type: ignore[no-any-return]


def check(store: Store) -> None:
    """The store is sound: verification finds nothing, positions have no gap, times do not go back, each hash follows."""
    assert store.verify()[1] == []
    with store.snapshot() as snapshot:
        entries = list(snapshot.log(0))
        assert [entry.seq for entry in entries] == list(range(1, snapshot.position + 1))
        assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)
        previous = GENESIS
        for entry in entries:
            assert verify_entry(previous, entry)
            previous = entry.hash


# ---- append and read ------------------------------------------------------------------------------------------------


def test_an_empty_store_is_sound(store: Store) -> None:
    with store.snapshot() as snapshot:
        assert (snapshot.position, snapshot.spaces(), snapshot.space("x"), list(snapshot.log(0))) == (0, [], None, [])
        assert snapshot.standing(UUID(int=1)) is None
        assert snapshot.query(1, Filter(), after=0, limit=5, now=0) == []
        assert snapshot.versions([1, 2]) == {}
        assert snapshot.position_at(2**60) == 0
    assert store.position() == 0
    check(store)


def test_a_version_reads_back_as_it_was_written(store: Store, space: int) -> None:
    version = new(
        "text with \x00 NUL, ünïcode, 中文, 🦊 and 'quotes\"; --",
        type="turn", author="A\x00b", source="s", origin="inference", event_at=-5, valid_from=1, valid_to=2, expires_at=2**60, tags=("a", "b"),
        entities=("E",), place="P", sensitivity="S", priority=0.5, fingerprint="f", metadata={"k": [1, {"z": None}], "é": "\x00"},
    )  # fmt: skip
    (seq,) = add(store, space, version)
    with store.snapshot() as snapshot:
        row = snapshot.versions([seq])[seq]
        assert row.content == version.content
        assert (row.seq, row.space, row.state, row.frozen, row.current, row.has_parts) == (seq, space, State.GENERATED, False, True, False)
        (entry,) = snapshot.log(seq - 1)
        assert (entry.kind, entry.space, entry.cube, entry.version, entry.digest) == ("add", space, version.content.id, 1, row.digest)
        assert entry.at == row.updated_at
        standing = snapshot.standing(version.content.id)
        assert (standing.space, standing.seq, standing.version, standing.state, standing.frozen) == (space, seq, 1, State.GENERATED, False)
        assert snapshot.version_seq(version.content.id, 1) == seq
        assert snapshot.version_seq(version.content.id, 2) is None
        assert snapshot.count(space)["cubes"] == snapshot.count()["cubes"] == 1
    check(store)


def test_what_is_written_is_there_after_reopening(driver: Driver, reopen: Callable[[], Store]) -> None:
    if not driver.durable:
        pytest.skip("a store in memory ends with its closing")
    store = reopen()
    with store.transaction("alice") as transaction:
        home = transaction.create_space("home", {"owner": "alice", "acl": {"read": ["bob"]}})
        one, two = new("one"), new("two", tags=("t",))
        transaction.add(home.num, [one, two])
        transaction.set_frozen(two.content.id, True)
    with store.snapshot() as snapshot:
        before = (list(snapshot.log(0)), snapshot.spaces(), snapshot.versions([2, 3]))
    store = reopen()
    with store.snapshot() as snapshot:
        assert (list(snapshot.log(0)), snapshot.spaces(), snapshot.versions([2, 3])) == before
        assert all(entry.actor == "alice" for entry in before[0])
    check(store)


def test_spaces_keep_their_settings(store: Store) -> None:
    with store.transaction() as transaction:
        row = transaction.create_space("naïve 🦊", {"owner": "a"})
        other = transaction.create_space("b", {})
        transaction.set_space(row.num, {"owner": "a", "acl": {"read": ["*"]}})
    with store.snapshot() as snapshot:
        assert [space.name for space in snapshot.spaces()] == ["naïve 🦊", "b"]
        assert snapshot.space("naïve 🦊").settings == {"owner": "a", "acl": {"read": ["*"]}}
        assert snapshot.space("B") is None
        assert other.num != row.num
    check(store)


def test_an_update_leaves_the_version_before_in_place(store: Store, space: int) -> None:
    one = new("one")
    (first,) = add(store, space, one)
    with store.transaction() as transaction:
        second = transaction.supersede(space, new("two", id=one.content.id, version=2, parents=(1,)), {"reverted_to": 1})
    with store.snapshot() as snapshot:
        rows = snapshot.versions([first, second])
        assert [(rows[s].content.text, rows[s].current) for s in (first, second)] == [("one", False), ("two", True)]
        assert [snapshot.seq_at(one.content.id, p) for p in (first - 1, first, second, second + 5)] == [None, first, second, second]
        assert snapshot.query(space, Filter(), after=0, limit=9, now=0) == [second]
        assert snapshot.query(space, Filter(), after=0, limit=9, now=0, at=first) == [first]
        assert [e.kind for e in snapshot.entries_of(one.content.id)] == ["add", "update"]
        assert next(iter(snapshot.log(first))).body_json() == {"reverted_to": 1}
    check(store)


@pytest.mark.parametrize("version", [1, 3])
def test_an_update_of_another_version_than_the_newest_is_refused(store: Store, space: int, version: int) -> None:
    one = new("one")
    add(store, space, one)
    with pytest.raises(Conflict), store.transaction() as transaction:
        transaction.supersede(space, new("x", id=one.content.id, version=version))
    check(store)


def test_changes_of_what_does_not_exist_are_refused(store: Store, space: int) -> None:
    unknown = UUID(int=77)
    known = new("known")
    add(store, space, known)
    before = store.position()
    attempts: list[Callable[[Any], object]] = [
        lambda t: t.supersede(space, new("x", id=unknown, version=2)),
        lambda t: t.set_state(unknown, State.ARCHIVED),
        lambda t: t.set_frozen(unknown, True),
        lambda t: t.forget([unknown], None),
        lambda t: t.forget([known.content.id, unknown], None),
        lambda t: t.link(unknown, 1, known.content.id, 1, "r"),
        lambda t: t.link(known.content.id, 1, unknown, 1, "r"),
    ]
    for attempt in attempts:
        with pytest.raises(NotFound), store.transaction() as transaction:
            attempt(transaction)
    assert store.position() == before
    check(store)


def test_an_id_serves_once(store: Store, space: int) -> None:
    one = new("one")
    add(store, space, one)
    for again in ([new("two", id=one.content.id)], [new("ok"), new("two", id=one.content.id)], [fresh := new("x"), new("y", id=fresh.content.id)]):
        before = store.position()
        with pytest.raises(Conflict):
            add(store, space, *again)
        assert store.position() == before
    with store.transaction() as transaction:
        transaction.forget([one.content.id], None)
    with pytest.raises(Conflict, match="forgotten"):
        add(store, space, new("back", id=one.content.id))
    check(store)


# ---- transactions ---------------------------------------------------------------------------------------------------


class _Stop(Exception):
    pass


def test_a_transaction_is_all_or_nothing(store: Store, space: int) -> None:
    kept = new("kept")
    add(store, space, kept)
    before = store.position()
    with pytest.raises(_Stop), store.transaction() as transaction:
        transaction.add(space, [new("a"), new("b")])
        transaction.set_state(kept.content.id, State.ARCHIVED)
        transaction.create_space("other", {})
        transaction.forget([kept.content.id], None)
        assert transaction.position == before + 5
        raise _Stop
    assert store.position() == before
    with store.snapshot() as snapshot:
        assert snapshot.space("other") is None
        assert snapshot.standing(kept.content.id).state is State.GENERATED
        assert len(snapshot.query(space, Filter(), after=0, limit=9, now=0)) == 1
    assert add(store, space, new("next")) == [before + 1]
    check(store)


def test_an_inner_transaction_joins_and_can_fail_alone(store: Store, space: int) -> None:
    with store.transaction("outer") as outer:
        outer.add(space, [new("one")])
        with pytest.raises(_Stop), store.transaction("inner") as inner:
            inner.add(space, [new("two")])
            with store.transaction() as third:
                third.add(space, [new("three")])
            raise _Stop
        with store.transaction("inner") as inner:
            inner.add(space, [new("four")])
        outer.add(space, [new("five")])
    with store.snapshot() as snapshot:
        seqs = snapshot.query(space, Filter(), after=0, limit=9, now=0)
        assert [snapshot.versions([s])[s].content.text for s in seqs] == ["one", "four", "five"]
        assert [entry.actor for entry in snapshot.log(1)] == ["outer", "inner", "outer"]
    check(store)


def test_an_outer_failure_undoes_finished_inner_transactions(store: Store, space: int) -> None:
    before = store.position()
    with pytest.raises(_Stop), store.transaction():
        with store.transaction() as inner:
            inner.add(space, [new("one")])
        raise _Stop
    assert store.position() == before
    check(store)


def test_a_transaction_sees_its_own_writes_and_nobody_else_does(store: Store, driver: Driver, space: int) -> None:
    before, seen = store.position(), []
    started, over = threading.Event(), threading.Event()

    def look() -> None:
        started.wait(10)
        if not driver.durable:
            over.wait(10)  # a store in memory has one connection: its readers wait for the writer
        seen.append(store.position())
        over.set()

    thread = threading.Thread(target=look)
    thread.start()
    with pytest.raises(_Stop), store.transaction(alone=True) as transaction:
        (seq,) = transaction.add(space, [new("x")])
        with store.snapshot() as snapshot:
            assert snapshot.position == seq
            assert snapshot.versions([seq])[seq].content.text == "x"
        started.set()
        if driver.durable:
            over.wait(10)
        raise _Stop
    over.set()
    thread.join()
    assert seen == [before]


def test_a_reader_keeps_its_position_while_others_write(store: Store, driver: Driver, space: int) -> None:
    if not driver.durable:
        pytest.skip("a store in memory has one connection: its readers and writers take turns")
    one = new("one")
    (seq,) = add(store, space, one)
    with store.snapshot() as snapshot:

        def write() -> None:
            add(store, space, new("two"))
            with store.transaction() as transaction:
                transaction.supersede(space, new("changed", id=one.content.id, version=2))
                transaction.set_state(one.content.id, State.ARCHIVED)

        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        assert snapshot.position == seq
        assert [e.seq for e in snapshot.log(0)] == list(range(1, seq + 1))
        assert snapshot.query(space, Filter(), after=0, limit=9, now=0) == [seq]
        assert snapshot.versions([seq])[seq].current
        assert snapshot.standing(one.content.id).version == 1
        assert snapshot.count()["cubes"] == 1
    assert store.position() == seq + 3


def test_threads_share_commits_and_lose_nothing(store: Store, space: int) -> None:
    acknowledged: list[int] = []
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for i in range(15):
                if i % 5 == 4:
                    with pytest.raises(_Stop), store.transaction() as transaction:
                        transaction.add(space, [new(f"undone {number} {i}")])
                        raise _Stop
                acknowledged.extend(add(store, space, new(f"{number} {i}"), new(f"{number} {i} b")))
        except BaseException as error:  # noqa: BLE001  (handed to the main thread)
            failures.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(acknowledged) == list(range(2, 2 + 180))
    with store.snapshot() as snapshot:
        assert not any("undone" in (row.content.text or "") for row in snapshot.versions(acknowledged).values())
    check(store)


def test_times_do_not_go_back_with_the_clock(store: Store, space: int, clock: Any) -> None:
    add(store, space, new("one"))
    clock.now -= 10**12
    add(store, space, new("two"))
    clock.now += 10**13
    (last,) = add(store, space, new("three"))
    with store.snapshot() as snapshot:
        entries = list(snapshot.log(0))
        assert snapshot.position_at(entries[0].at - 1) == 0
        assert snapshot.position_at(entries[1].at) == 3  # the second entry was given the time of the first after the step back
        assert snapshot.position_at(entries[-1].at - 1) == last - 1
        assert snapshot.position_at(2**62) == last
    check(store)


# ---- standing, lineage, parts ---------------------------------------------------------------------------------------


def test_frozen_cubes_do_not_change(store: Store, space: int) -> None:
    one = new("one")
    add(store, space, one)
    key = one.content.id
    with store.transaction() as transaction:
        transaction.set_frozen(key, True)
    before = store.position()
    attempts: list[Callable[[Any], object]] = [
        lambda t: t.supersede(space, new("x", id=key, version=2)),
        lambda t: t.set_state(key, State.ARCHIVED),
        lambda t: t.forget([key], None),
    ]
    for attempt in attempts:
        with pytest.raises(Frozen), store.transaction() as transaction:
            attempt(transaction)
    assert store.position() == before
    with store.transaction() as transaction:
        assert transaction.standing(key).frozen
        transaction.set_frozen(key, False)
        transaction.set_state(key, State.MERGED)
    check(store)


def test_states_of_the_past_are_known(store: Store, space: int) -> None:
    one, two = new("one"), new("two")
    add(store, space, one, two)
    a, b = one.content.id, two.content.id
    marks = {store.position(): {a: State.GENERATED, b: State.GENERATED}}
    for cube, state in ((a, State.ACTIVATED), (b, State.ARCHIVED), (a, State.EXPIRED), (a, State.GENERATED)):
        with store.transaction() as transaction:
            transaction.set_state(cube, state)
        marks[store.position()] = marks[max(marks)] | {cube: state}
    with store.snapshot() as snapshot:
        now = marks[snapshot.position]
        for position, states in marks.items():
            assert now | snapshot.states_at(space, position) == states
        assert snapshot.query(space, Filter(states=(State.ARCHIVED,)), after=0, limit=9, now=0) == [3]
        assert snapshot.query(space, Filter(states=(State.EXPIRED,)), after=0, limit=9, now=0, at=max(marks) - 1) == [2]
        assert snapshot.query(space, Filter(), after=0, limit=9, now=0, at=max(marks) - 1) == []


def test_a_documents_parts_come_in_reading_order(store: Store, space: int) -> None:
    head = new(None)
    link = Link(head.content.id, 1, "part_of")
    parts = [new(f"part {i}", part_of=head.content.id, derived_from=(link,)) for i in range(12)]
    seqs = add(store, space, head, *parts)
    with store.snapshot() as snapshot:
        assert snapshot.parts(head.content.id, 1) == seqs[1:]
        assert snapshot.parts(head.content.id, 2) == []
        assert snapshot.versions(seqs)[seqs[0]].has_parts
        assert not snapshot.versions(seqs)[seqs[1]].has_parts
        assert snapshot.query(space, Filter(), after=0, limit=99, now=0) == seqs[:1]
        assert snapshot.query(space, Filter(parts=True), after=0, limit=99, now=0) == seqs
        assert snapshot.count(space)["cubes"] == 1
        assert {child for child, _, _ in snapshot.children(head.content.id)} == {part.content.id for part in parts}
    check(store)


def test_links_are_edges(store: Store, space: int) -> None:
    one, two = new("one"), new("two")
    add(store, space, one, two)
    with store.transaction() as transaction:
        transaction.link(two.content.id, 1, one.content.id, 1, "supports")
    with store.snapshot() as snapshot:
        assert snapshot.children(one.content.id) == [(two.content.id, 1, "supports")]
        assert snapshot.children(two.content.id) == []
    check(store)


def test_forgetting_leaves_a_tombstone_and_nothing_else(store: Store, space: int) -> None:
    one, two, child = new("one"), new("two"), None
    add(store, space, one, two)
    child = new("child", derived_from=(Link(one.content.id, 1),))
    add(store, space, child)
    key = one.content.id
    with store.transaction() as transaction:
        second = transaction.supersede(space, new("one again", id=key, version=2, parents=(1,)))
        number = transaction.embedder("e", 2)
        transaction.put_vectors(number, [(2, bytes(8)), (second, bytes(8)), (3, bytes(8))])
    contents = {}
    with store.snapshot() as snapshot:
        for seq in (2, second):
            contents[seq] = snapshot.versions([seq])[seq].content
    with store.transaction() as transaction:
        (stone, other) = transaction.forget([key, child.content.id], "asked to")
    assert (stone.id, stone.space, stone.seq) == (key, space, other.seq - 1)
    assert [c.digest(salt) for c, salt in zip(contents.values(), stone.salts, strict=True)] == list(stone.digests)
    with store.snapshot() as snapshot:
        assert snapshot.forgotten(key)
        assert not snapshot.forgotten(two.content.id)
        assert snapshot.standing(key) is None
        assert snapshot.versions([2, second]) == {}
        assert snapshot.children(key) == []
        assert [row[0] for row in snapshot.vectors(space, 0)] == [3]
        assert [row[0] for row in snapshot.index_rows(space, 0)] == [3]
        entries = snapshot.entries_of(key)
        assert [entry.kind for entry in entries] == ["add", "update", "forget"]
        assert [entry.digest for entry in entries[:2]] == list(stone.digests)
        assert entries[2].body_json()["reason"] == "asked to"
        assert snapshot.seq_at(key, second) is None
        assert snapshot.version_seq(key, 1) is None
        assert snapshot.query(space, Filter(), after=0, limit=9, now=0, at=3) == [3]
    check(store)


# ---- vectors --------------------------------------------------------------------------------------------------------


def test_vectors_belong_to_versions_and_embedders(store: Store, space: int) -> None:
    seqs = add(store, space, new("one"), new("two"), new(None))
    with store.transaction() as transaction:
        old = transaction.embedder("old", 2)
        assert transaction.embedder("old", 2) == old
        transaction.put_vectors(old, [(seqs[0], b"aaaaaaaa"), (seqs[1], b"bbbbbbbb"), (9999, b"no version")])
    with store.snapshot() as snapshot:
        assert list(snapshot.vectors(space, 0)) == [(seqs[0], old, b"aaaaaaaa"), (seqs[1], old, b"bbbbbbbb")]
        assert list(snapshot.vectors(space, seqs[0])) == [(seqs[1], old, b"bbbbbbbb")]
        assert snapshot.embedders() == {old: ("old", 2)}
        assert snapshot.unembedded(old, 0, 9) == []
        before = snapshot.vector_round()
    with store.transaction() as transaction:
        fresh = transaction.embedder("new", 3)
        assert fresh != old
        assert [row[0] for row in transaction.unembedded(fresh, 0, 9)] == seqs[:2]
        assert [row[0] for row in transaction.unembedded(fresh, 0, 1)] == seqs[:1]
        assert [row[0] for row in transaction.unembedded(fresh, seqs[0], 9)] == seqs[1:2]
        transaction.put_vectors(fresh, [(seqs[0], b"cccccccccccc")], replace=True)
    with store.snapshot() as snapshot:
        assert list(snapshot.vectors(space, 0)) == [(seqs[0], fresh, b"cccccccccccc"), (seqs[1], old, b"bbbbbbbb")]
        assert snapshot.vector_round() > before
    check(store)


# ---- query ----------------------------------------------------------------------------------------------------------

_optional_time = st.none() | st.integers(0, 6)
_tag = st.sampled_from(["a", "b", "c"])
_fields = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["turn", "fact", "note"]),
        "author": st.sampled_from([None, "Ann", "Bob"]),
        "source": st.sampled_from([None, "s1", "s2"]),
        "created_at": st.integers(0, 6),
        "event_at": _optional_time,
        "valid_from": _optional_time,
        "valid_to": _optional_time,
        "expires_at": _optional_time,
        "tags": st.lists(_tag, max_size=2, unique=True).map(tuple),
        "metadata": st.sampled_from([{}, {"n": 1}, {"n": 2}]),
    }
)
_filters = st.builds(
    Filter,
    types=st.none() | st.lists(st.sampled_from(["turn", "fact", "note"]), max_size=2).map(tuple),
    tags=st.none() | st.lists(_tag, max_size=2).map(tuple),
    author=st.sampled_from([None, "Ann", "Nobody"]),
    source=st.sampled_from([None, "s1"]),
    since=_optional_time, until=_optional_time, valid_at=_optional_time,
    where=st.sampled_from([None, {"n": 1}, {"n": {"exists": False}}]),
)  # fmt: skip


def _passes(content: Content, where: Filter, now: int) -> bool:
    """What `Filter` means, said once more in plain Python."""
    when = content.created_at if content.event_at is None else content.event_at
    number = content.metadata.get("n")
    return (
        (where.types is None or content.type in where.types)
        and (where.tags is None or set(where.tags) <= set(content.tags))
        and (where.author is None or content.author == where.author)
        and (where.source is None or content.source == where.source)
        and (where.since is None or when >= where.since)
        and (where.until is None or when < where.until)
        and (where.valid_at is None or content.valid_from is None or content.valid_from <= where.valid_at)
        and (where.valid_at is None or content.valid_to is None or content.valid_to > where.valid_at)
        and (content.expires_at is None or content.expires_at > now)
        and (where.where is None or (number == 1 if where.where == {"n": 1} else number is None))
    )


@given(records=st.lists(_fields, max_size=12), wheres=st.lists(_filters, min_size=1, max_size=8), now=st.integers(0, 6), limit=st.integers(1, 14))
def test_a_query_gives_what_a_scan_gives(records: list[dict[str, Any]], wheres: list[Filter], now: int, limit: int) -> None:
    store = DRIVERS[1].open(Path(), lambda: 1)
    with store.transaction() as transaction:
        space = transaction.create_space("home", {}).num
        other = transaction.create_space("other", {}).num
        versions = [new("x", **record) for record in records]
        transaction.add(other, [new("x", author="Ann")])
        seqs = transaction.add(space, versions)
    with store.snapshot() as snapshot:
        for where in wheres:
            wanted = [seq for seq, version in zip(seqs, versions, strict=True) if _passes(version.content, where, now)]
            assert snapshot.query(space, where, after=0, limit=limit, now=now) == wanted[:limit]
            middle = seqs[len(seqs) // 2] if seqs else 0
            assert snapshot.query(space, where, after=middle, limit=limit, now=now) == [seq for seq in wanted if seq > middle][:limit]
            assert snapshot.query(space, where, after=0, limit=limit, now=now, at=middle) == [seq for seq in wanted if seq <= middle][:limit]
    store.close()


def test_the_log_is_read_from_anywhere(store: Store, space: int) -> None:
    add(store, space, *(new(str(i)) for i in range(5)))
    with store.snapshot() as snapshot:
        whole = list(snapshot.log(0))
        for since in range(7):
            assert list(snapshot.log(since)) == whole[since:]
            assert list(snapshot.log(since, 2)) == whole[since : since + 2]


def test_a_closed_store_says_so(store: Store, space: int) -> None:
    store.close()
    store.close()
    for use in (store.position, lambda: add(store, space, new("x")), store.verify):
        with pytest.raises(StoreUnavailable, match="closed"):
            use()
