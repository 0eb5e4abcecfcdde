"""What every driver of the `Store` seam promises about lives, lineage, rules, and what lies beside the log."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from conformance import DRIVERS, Driver, new
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.base.cube import Link, State
from mnemos.base.errors import Conflict, NotFound
from mnemos.index.space_index import SpaceIndex
from mnemos.store.base import Filter, Heat
from mnemos.store.sqlite import SqliteStore

Store = Any


@pytest.fixture(params=DRIVERS, ids=str)
def driver(request: pytest.FixtureRequest) -> Driver:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def store(driver: Driver, tmp_path: Path, clock: Callable[[], int]) -> Iterator[Store]:
    store = driver.open(tmp_path, clock)
    yield store
    store.close()


@pytest.fixture
def space(store: Store) -> int:
    with store.transaction() as transaction:
        return transaction.create_space("home", {"owner": None}).num  # type: ignore[no-any-return]


def add(store: Store, space: int, text: str, *links: Link) -> UUID:
    version = new(text, derived_from=links)
    with store.transaction() as transaction:
        transaction.add(space, [version])
    return version.content.id


def update(store: Store, space: int, cube: UUID, *links: Link) -> None:
    with store.transaction() as transaction:
        version = transaction.standing(cube).version + 1
        transaction.supersede(space, new(f"version {version}", id=cube, version=version, derived_from=links))


def stale(store: Store, cube: UUID) -> int | None:
    with store.snapshot() as snapshot:
        return snapshot.versions([snapshot.standing(cube).seq])[snapshot.standing(cube).seq].stale  # type: ignore[no-any-return]


# ---- lives ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), list(itertools.product(State, State)))
def test_a_life_goes_only_where_a_life_goes(store: Store, space: int, before: State, after: State) -> None:
    ways = {
        State.GENERATED: (),
        State.ACTIVATED: (State.ACTIVATED,),
        State.MERGED: (State.MERGED,),
        State.ARCHIVED: (State.ARCHIVED,),
        State.EXPIRED: (State.EXPIRED,),
        State.QUARANTINED: (State.QUARANTINED,),
    }
    cube = add(store, space, "a life")
    with store.transaction() as transaction:
        for state in ways[before]:
            transaction.set_state(cube, state)
    position = store.position()
    if before.may_become(after):
        with store.transaction() as transaction:
            transaction.set_state(cube, after, {"reason": "a test"})
        with store.snapshot() as snapshot:
            entry = snapshot.entries_of(cube)[-1]
            assert snapshot.standing(cube).state is after
            assert entry.body_json() == {"from": int(before), "to": int(after), "reason": "a test"}
        return
    with pytest.raises(Conflict, match=f"is {before.word} and cannot become {after.word}"), store.transaction() as transaction:
        transaction.set_state(cube, after)
    assert store.position() == position
    with store.snapshot() as snapshot:
        assert snapshot.standing(cube).state is before


def test_expired_comes_back_only_by_a_longer_life() -> None:
    assert [state for state in State if State.EXPIRED.may_become(state)] == [State.GENERATED]
    assert not any(state.may_become(state) for state in State)


# ---- staleness ------------------------------------------------------------------------------------------------------


def test_an_update_outdates_what_was_derived_through_any_depth(store: Store, space: int) -> None:
    root = add(store, space, "root")
    chain = [root]
    for depth in range(6):
        chain.append(add(store, space, f"depth {depth}", Link(chain[-1], 1)))
    beside = add(store, space, "of something else")
    update(store, space, root)
    assert [stale(store, cube) is not None for cube in (*chain[1:], beside)] == [True] * 6 + [False]
    assert stale(store, root) is None
    with store.snapshot() as snapshot:
        last = snapshot.entries_of(chain[-1])[-1]
        assert last.kind == "stale"
        assert last.body_json() == {"of": str(root), "version": 2}


def test_what_is_derived_anew_is_fresh_and_what_is_derived_from_it_is_not_yet(store: Store, space: int) -> None:
    root = add(store, space, "root")
    child = add(store, space, "child", Link(root, 1))
    grandchild = add(store, space, "grandchild", Link(child, 1))
    update(store, space, root)
    update(store, space, child, Link(root, 2))
    assert stale(store, child) is None
    assert stale(store, grandchild) is not None


def test_what_is_derived_from_an_old_version_or_from_what_is_stale_is_stale_from_birth(store: Store, space: int) -> None:
    root = add(store, space, "root")
    update(store, space, root)
    late = add(store, space, "late", Link(root, 1))
    assert stale(store, late) is not None
    assert stale(store, add(store, space, "later", Link(late, 1))) is not None
    assert stale(store, add(store, space, "fresh", Link(root, 2))) is None


def test_a_correction_by_hand_is_fresh(store: Store, space: int) -> None:
    root = add(store, space, "root")
    child = add(store, space, "child", Link(root, 1))
    update(store, space, root)
    update(store, space, child, Link(root, 1))  # the links that it had: somebody read it, and wrote it as it should be
    assert stale(store, child) is None
    update(store, space, root)
    assert stale(store, child) is not None


@pytest.mark.parametrize(("relation", "outdated"), [("supersedes", False), ("related", False), ("branched_from", False), ("summarised", True)])
def test_only_what_carries_content_outdates(store: Store, space: int, relation: str, outdated: bool) -> None:
    root = add(store, space, "root")
    child = add(store, space, "child", Link(root, 1, relation))
    update(store, space, root)
    assert (stale(store, child) is not None) is outdated


def test_a_frozen_cube_becomes_stale_and_stays_what_it_is(store: Store, space: int) -> None:
    root = add(store, space, "root")
    child = add(store, space, "child", Link(root, 1))
    with store.transaction() as transaction:
        transaction.set_frozen(child, True)
    update(store, space, root)
    with store.snapshot() as snapshot:
        row = snapshot.versions([snapshot.standing(child).seq])[snapshot.standing(child).seq]
    assert row.stale is not None
    assert (row.content.text, row.content.version) == ("child", 1)


def test_a_write_that_is_undone_outdates_nothing(store: Store, space: int) -> None:
    root = add(store, space, "root")
    child = add(store, space, "child", Link(root, 1))
    with pytest.raises(RuntimeError), store.transaction() as transaction:
        transaction.supersede(space, new("root again", id=root, version=2))
        raise RuntimeError
    assert stale(store, child) is None


def test_the_past_knows_what_was_stale_then(store: Store, space: int) -> None:
    root = add(store, space, "root")
    child = add(store, space, "child", Link(root, 1))
    before = store.position()
    update(store, space, root)

    def listed(wanted: bool, at: int | None) -> list[str]:
        with store.snapshot() as snapshot:
            seqs = snapshot.query(space, Filter(stale=wanted), after=0, limit=9, now=0, at=at)
            return sorted(row.content.text for row in snapshot.versions(seqs).values())

    assert listed(True, None) == ["child"]
    assert listed(False, None) == ["version 2"]
    assert listed(True, before) == []
    assert listed(False, before) == ["child", "root"]
    assert stale(store, child) == store.position()


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_staleness_is_what_a_walk_over_the_log_says(data: st.DataObject) -> None:
    """Any history of adds and updates over an acyclic lineage: a version is stale where, since it was written, any of its ancestors changed."""
    store = SqliteStore(":memory:")
    with store.transaction() as transaction:
        space = transaction.create_space("home", {}).num
    cubes: list[UUID] = []
    made_from: dict[UUID, dict[UUID, int]] = {}
    version: dict[UUID, int] = {}
    expected: dict[UUID, bool] = {}
    for _ in range(data.draw(st.integers(1, 14))):
        cube = data.draw(st.sampled_from([None, *cubes]))
        if cube is None:
            parents = data.draw(st.lists(st.sampled_from(cubes), unique=True, max_size=3)) if cubes else []
            made = add(store, space, "new", *(Link(parent, version[parent]) for parent in parents))
            cubes.append(made)
            version[made] = 1
            made_from[made] = {parent: version[parent] for parent in parents}
            expected[made] = any(expected[parent] for parent in parents)
            continue
        again = data.draw(st.booleans())
        parents = list(made_from[cube])
        links = [Link(parent, version[parent] if again else made_from[cube][parent]) for parent in parents]
        changed = any(link.version != made_from[cube][link.id] for link in links)
        update(store, space, cube, *links)
        version[cube] += 1
        made_from[cube] = {link.id: link.version for link in links}
        expected[cube] = changed and any(expected[parent] or made_from[cube][parent] < version[parent] for parent in parents)
        waiting = [cube]
        while waiting:
            above = waiting.pop()
            for child in cubes:
                if above in made_from[child] and child != cube and child not in waiting:
                    expected[child] = True
                    waiting.append(child)
    assert {cube: stale(store, cube) is not None for cube in cubes} == expected
    store.close()


def test_an_index_that_catches_up_is_one_that_is_made_anew(store: Store, space: int) -> None:
    index = SpaceIndex(space)
    root = add(store, space, "root")
    child = add(store, space, "child", Link(root, 1))
    steps: list[Callable[[Any], Any]] = [
        lambda t: t.set_acl(child, {"read": ["bob"]}),
        lambda t: t.supersede(space, new("root again", id=root, version=2)),
        lambda t: t.set_acl(child, {"write": ["carol"]}),
        lambda t: t.set_acl(root, {"read": ["*"]}),
        lambda t: t.set_acl(child, None),
        lambda t: t.set_state(child, State.QUARANTINED),
    ]
    for step in steps:
        with store.transaction() as transaction:
            step(transaction)
        fresh = SpaceIndex(space)
        with store.snapshot() as snapshot:
            index.catch_up(snapshot)
            fresh.catch_up(snapshot)
            position = snapshot.position
        for principal in ("bob", "carol"):
            assert index.readable([principal, "*"]).tolist() == fresh.readable([principal, "*"]).tolist()
        assert (index.stale.view() <= position).tolist() == (fresh.stale.view() <= position).tolist()
        assert index.visible(position).tolist() == fresh.visible(position).tolist()


# ---- rules and settings ---------------------------------------------------------------------------------------------


def test_a_cubes_own_rules_narrow_who_reads_it(store: Store, space: int) -> None:
    cubes = [add(store, space, text) for text in ("open", "bob's", "everybody's", "closed", "writing only")]
    rules: list[Any] = [None, {"read": ["bob"]}, {"read": ["*"]}, {"read": []}, {"write": ["bob"]}]
    with store.transaction() as transaction:
        for cube, acl in zip(cubes[1:], rules[1:], strict=True):
            transaction.set_acl(cube, acl)
    seen = {}
    with store.snapshot() as snapshot:
        assert [snapshot.standing(cube).acl for cube in cubes] == rules
        for reader in ("bob", "carol", None):
            seqs = snapshot.query(space, Filter(readers=reader and (reader, "*")), after=0, limit=9, now=0)
            seen[reader] = [row.content.text for _, row in sorted(snapshot.versions(seqs).items())]
        assert snapshot.entries_of(cubes[1])[-1].kind == "permission"
    assert seen == {
        "bob": ["open", "bob's", "everybody's", "writing only"],
        "carol": ["open", "everybody's", "writing only"],
        None: ["open", "bob's", "everybody's", "closed", "writing only"],
    }
    with store.transaction() as transaction:
        transaction.set_acl(cubes[3], None)
    with store.snapshot() as snapshot:
        assert snapshot.standing(cubes[3]).acl is None


def test_settings_of_the_store_are_entries_of_the_log(store: Store) -> None:
    with store.transaction() as transaction:
        transaction.set_setting("role/reader", {"read": ["a", "b"]})
        transaction.set_setting("role/writer", 7)
        transaction.set_setting("other", "x")
        transaction.set_setting("role/reader", {"read": []})
        transaction.set_setting("role/writer", None)
    with store.snapshot() as snapshot:
        assert snapshot.setting("role/reader") == {"read": []}
        assert snapshot.setting("role/writer") is None
        assert snapshot.settings() == {"other": "x", "role/reader": {"read": []}}
        assert snapshot.settings("role/") == {"role/reader": {"read": []}}
        assert [(entry.kind, entry.space, entry.body_json()["name"]) for entry in snapshot.log(0)] == [
            ("setting", 0, name) for name in ("role/reader", "role/writer", "other", "role/reader", "role/writer")
        ]
    assert store.verify()[1] == []


# ---- beside the log -------------------------------------------------------------------------------------------------


def test_counters_count_and_are_undone_with_their_transaction(store: Store) -> None:
    with store.transaction() as transaction:
        assert [transaction.count_up("reads"), transaction.count_up("reads", 4), transaction.count_up("other", -1)] == [1, 5, -1]
    with pytest.raises(RuntimeError), store.transaction() as transaction:
        transaction.count_up("reads")
        raise RuntimeError
    with store.snapshot() as snapshot:
        assert [snapshot.counter(name) for name in ("reads", "other", "never")] == [5, -1, 0]
        assert snapshot.position == 0


def test_heat_lies_beside_the_cube_and_goes_with_it(store: Store, space: int) -> None:
    one, two = add(store, space, "one"), add(store, space, "two")
    heats = {one: Heat(3, 2.5, 99, (7, 8, 99)), two: Heat(1, 1.0, 5), UUID(int=1): Heat(1, 1.0, 1)}
    position = store.position()
    with store.transaction() as transaction:
        transaction.put_heat(heats)
    with store.snapshot() as snapshot:
        assert snapshot.position == position
        assert snapshot.heat() == {one: heats[one], two: heats[two]}
        assert snapshot.heat([two, UUID(int=1)]) == {two: heats[two]}
    with store.transaction() as transaction:
        transaction.forget([one], None)
    with store.snapshot() as snapshot:
        assert snapshot.heat() == {two: heats[two]}


def test_what_is_unknown_has_neither_rules_nor_staleness(store: Store) -> None:
    for step in (lambda t: t.set_acl(UUID(int=1), None), lambda t: t.set_stale(UUID(int=1), UUID(int=2), 1)):
        with pytest.raises(NotFound, match="does not exist"), store.transaction() as transaction:
            step(transaction)
