"""Finding again: conditions, validity, expiry, states, cursors while others write."""

from __future__ import annotations

import itertools
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mnemos.base.errors import Invalid, NotFound
from mnemos.kernel.space import Space
from mnemos.kernel.system import Mnemos
from support import HandClock

LONG = "\n\n".join(f"Paragraph {i} speaks of the harbour, the {i}th tram and the violin at length, so that it fills a part." for i in range(60))


def now(clock: HandClock, seconds: float = 0) -> datetime:
    return datetime.fromtimestamp(clock.now / 1e6, UTC) + timedelta(seconds=seconds)


def shown(space: Space, **conditions: Any) -> set[str]:
    """The texts that a search finds; a list and a context must show the same."""
    found = {hit.cube.text for hit in space.search("harbour tram violin", k=100, **conditions)}
    assert {cube.text for cube in space.list(limit=100, **conditions)} == found
    context = space.context("harbour tram violin", 100_000, **conditions)
    assert {hit.cube.text for hit in context.hits} == found
    return found


def test_conditions_join_and_take_their_borders_right(mem: Mnemos) -> None:
    space = mem.space("a")
    space.add("one", type="turn", author="Ann", source="s1", tags=["x", "y"], event_at="2024-01-01", metadata={"n": 1, "deep": {"er": [1, 2]}})
    space.add("two", type="note", author="Bob", source="s2", tags=["x"], event_at="2024-01-02", metadata={"n": 2.5})
    space.add("three", type="note", author="Ann", tags=["y"], created_at="2024-01-03", metadata={"n": "2"})
    for conditions, wanted in (
        ({}, {"one", "two", "three"}),
        ({"types": ["note"]}, {"two", "three"}), ({"types": ["note", "turn"]}, {"one", "two", "three"}), ({"types": []}, set()),
        ({"types": ["No"]}, set()),
        ({"tags": ["x"]}, {"one", "two"}), ({"tags": ["x", "y"]}, {"one"}), ({"tags": []}, {"one", "two", "three"}), ({"tags": ["X"]}, set()),
        ({"author": "Ann"}, {"one", "three"}), ({"author": "ann"}, set()), ({"author": ""}, set()), ({"source": "s2"}, {"two"}),
        ({"since": "2024-01-02"}, {"two", "three"}), ({"until": "2024-01-02"}, {"one"}), ({"since": "2024-01-02", "until": "2024-01-02"}, set()),
        ({"since": "2024-01-02T00:00:00.000001"}, {"three"}),
        ({"filter": {"n": {"gte": 1, "lt": 3}}}, {"one", "two"}), ({"filter": {"deep.er": 2}}, {"one"}),
        ({"filter": {"not": {"n": "2"}}}, {"one", "two"}),
        ({"filter": {"any": [{"n": 1}, {"n": "2"}]}, "author": "Ann", "tags": ["y"], "types": ["note"]}, {"three"}),
    ):  # fmt: skip
        assert shown(space, **conditions) == wanted, conditions
        assert shown(space.at(mem.position()), **conditions) == wanted, conditions


@pytest.mark.parametrize(
    "wrong",
    [{"types": "note"}, {"tags": "x"}, {"author": 5}, {"since": "soon"}, {"until": 5}, {"valid_at": True}, {"filter": {"n": {"like": 1}}}, {"k": 0}],
)
def test_conditions_that_are_none_are_refused(mem: Mnemos, wrong: dict[str, Any]) -> None:
    space = mem.space("a")
    space.add("one")
    with pytest.raises(Invalid):
        space.search("one", **wrong)
    with pytest.raises(Invalid):
        space.context("one", **wrong)
    with pytest.raises(Invalid):
        space.list(**({"limit": 0} if "k" in wrong else wrong))


def test_conditions_see_the_present_version_only(mem: Mnemos) -> None:
    space = mem.space("a")
    cube = space.add("tram", tags=["old"], author="Ann", metadata={"n": 1})
    before = mem.position()
    space.update(cube.id, "violin", tags=["new"], author="Bob", metadata={"n": 2})
    for old, new in (({"tags": ["old"]}, {"tags": ["new"]}), ({"author": "Ann"}, {"author": "Bob"}), ({"filter": {"n": 1}}, {"filter": {"n": 2}})):
        assert (shown(space, **old), shown(space, **new)) == (set(), {"violin"})
        assert (shown(space, as_of=before, **old), shown(space, as_of=before, **new)) == ({"tram"}, set())
        assert {cube.text for cube in space.at(before).list(**old)} == {"tram"}


def test_valid_at_asks_what_held_then(mem: Mnemos) -> None:
    space = mem.space("a")
    space.add("in Porto", valid_from="2020-01-01", valid_to="2022-01-01")
    space.add("in Lisbon", valid_from="2022-01-01")
    space.add("since birth", valid_to="2021-01-01")
    space.add("always")
    for when, wanted in (
        ("2019-12-31", {"since birth", "always"}), ("2020-01-01", {"in Porto", "since birth", "always"}), ("2021-01-01", {"in Porto", "always"}),
        ("2021-12-31T23:59:59.999999", {"in Porto", "always"}), ("2022-01-01", {"in Lisbon", "always"}),
    ):  # fmt: skip
        assert shown(space, valid_at=when) == wanted
    assert len(shown(space)) == 4
    with pytest.raises(Invalid):
        space.add("turned round", valid_from="2022-01-01", valid_to="2021-01-01")
    cube = space.add("x", valid_from="2022-01-01")
    with pytest.raises(Invalid):
        space.update(cube.id, valid_to="2021-01-01")


# -- expiry --
@pytest.mark.parametrize("text", ["the tram", LONG], ids=["short", "document"])
@pytest.mark.parametrize("swept", [False, True])
def test_what_has_expired_is_not_shown_from_that_moment_on(mem: Mnemos, clock: HandClock, text: str, swept: bool) -> None:
    space = mem.space("a")
    space.add("stays")
    cube = space.add(text, expires_at=now(clock, 60))
    before = mem.position()
    assert len(space.search("tram", k=100)) > 1
    clock.now += 59_000_000
    assert len(space.search("tram", k=100)) > 1
    clock.now += 1_000_000
    if swept:
        assert mem.expire() >= 1
        assert mem.expire() == 0
    for view in (space, space.at(before), space.at(mem.position())):
        assert [hit.cube.text for hit in view.search("tram", k=100)] == ["stays"]
        assert [c.text for c in view.list(parts=True)] == ["stays"]
        assert [hit.cube.text for hit in view.context("tram", 10_000).hits] == ["stays"]
    assert [hit.cube.text for hit in space.search("tram", k=100, as_of=before)] == ["stays"]
    assert space.get(cube.id).text == text
    assert space.get(cube.id).state == ("expired" if swept else "generated")


@pytest.mark.parametrize("swept", [False, True])
def test_who_extends_what_has_expired_gets_it_back(mem: Mnemos, clock: HandClock, swept: bool) -> None:
    space = mem.space("a")
    cube = space.add("the tram", expires_at=now(clock, 60))
    clock.now += 61_000_000
    if swept:
        mem.expire()
    assert shown(space) == set()
    assert space.update(cube.id, "the tram, still").text == "the tram, still"
    assert shown(space) == set()
    changed = space.update(cube.id, expires_at=now(clock, 60))
    assert changed.state == "generated"
    assert shown(space) == {"the tram, still"}
    clock.now += 61_000_000
    assert shown(space) == set()
    assert mem.verify().ok


def test_the_end_comes_at_once_where_an_update_sets_it(mem: Mnemos, clock: HandClock) -> None:
    space = mem.space("a")
    cube = space.add("the tram")
    space.update(cube.id, expires_at=now(clock, -1))
    assert shown(space) == set()
    space.rollback(cube.id, 1)
    assert shown(space) == {"the tram"}


# -- lists --
def test_pages_are_the_list_in_pieces(mem: Mnemos) -> None:
    space = mem.space("a")
    texts = [f"number {i}" for i in range(23)]
    space.add_many({"text": text, "tags": ["even"] if i % 2 == 0 else []} for i, text in enumerate(texts))
    for limit in (1, 5, 22, 23, 24):
        for conditions, wanted in (({}, texts), ({"tags": ["even"]}, texts[::2])):
            pages, cursor = [], None
            while True:
                page = space.list(limit=limit, cursor=cursor, **conditions)
                pages.append([cube.text for cube in page])
                cursor = page.cursor
                if cursor is None:
                    break
            assert list(itertools.chain(*pages)) == wanted
            assert all(len(page) == limit for page in pages[:-1])
    for wrong in ("x", -1, 2**64, "1.5"):
        with pytest.raises(Invalid, match="cursor"):
            space.list(cursor=wrong)
    assert space.list(cursor=10**9) == []


def test_a_walk_with_cursors_misses_nothing_while_others_write(mem: Mnemos) -> None:
    space = mem.space("a")
    cubes = space.add_many({"text": f"number {i}"} for i in range(60))
    stop = threading.Event()

    def others() -> None:
        for i in itertools.count():
            if stop.is_set():
                return
            space.forget([space.add(f"passing {i}").id])
            space.update(cubes[i * 7 % 60].id, f"changed {i}")

    thread = threading.Thread(target=others)
    thread.start()
    try:
        for _ in range(3):
            seen, cursor = set(), None
            while True:
                page = space.list(limit=9, cursor=cursor)
                assert [cube.position for cube in page] == sorted(cube.position for cube in page)
                seen |= {cube.id for cube in page}
                cursor = page.cursor
                if cursor is None:
                    break
            assert seen >= {cube.id for cube in cubes}
    finally:
        stop.set()
        thread.join()


def test_a_list_can_be_asked_for_the_past(mem: Mnemos) -> None:
    space = mem.space("a")
    cube = space.add("one")
    space.update(cube.id, "two")
    assert [c.text for c in space.list(as_of=cube.position)] == ["one"]
    assert [c.text for c in space.at(cube.position).list(as_of=mem.position())] == ["one"]
    with pytest.raises(Invalid):
        space.list(as_of=10**6)


# -- searching --
def test_k_results_come_back_whenever_k_exist(mem: Mnemos) -> None:
    space = mem.space("a")
    space.add_many({"text": f"nothing in common {i}", "tags": ["x"] if i % 3 == 0 else []} for i in range(30))
    for k in (1, 9, 10, 11, 29, 30, 31, 2**40):
        assert len(space.search("zebra", k=k)) == min(k, 30)
        assert len(space.search("zebra", k=k, tags=["x"])) == min(k, 10)
    for wrong in (0, -1, 1.5, True, "3", None):
        with pytest.raises(Invalid, match="k:"):
            space.search("zebra", k=wrong)  # type: ignore[arg-type]


def test_hits_explain_themselves(mem: Mnemos) -> None:
    space = mem.space("a")
    space.add_many([{"text": "The tram to the harbour", "author": "Ann"}, {"text": "A violin"}, {"text": "The snow"}])
    for explain in (False, True):
        for hit in space.search("What did Ann say about the tram?", explain=explain):
            assert hit.exact
            assert sum(hit.signals.values()) == pytest.approx(hit.score, abs=1e-3)
            assert explain or all(hit.signals.values())
    assert len({frozenset(hit.signals) for hit in space.search("tram", explain=True)}) == 1


def test_a_strategy_is_chosen_by_name(mem: Mnemos) -> None:
    space = mem.space("a", strategy="auto")
    space.add("one")
    assert space.search("one", strategy="auto") == space.search("one")
    for act in (lambda: space.search("one", strategy="no such"), lambda: mem.space("b", strategy="no such")):
        with pytest.raises(NotFound, match="auto"):
            act()
    assert mem.spaces() == ["a"]
