"""Tending: uses are noted at no durable cost, what is used comes to life, what is cold goes to the archive, what matters stays."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.errors import Invalid, NotFound, PermissionDenied
from mnemos.kernel.life import heat
from mnemos.kernel.life.heat import RECENT, TAU, AccessTracker
from mnemos.kernel.life.tending import LifecyclePolicy, Tended
from mnemos.kernel.system import Mnemos
from mnemos.store.base import Heat
from support import START, HandClock

DAY = 86_400_000_000
QUIET = LifecyclePolicy(merge_duplicates=False, settle_contradictions=False)
DECAY = LifecyclePolicy(archive_after_days=30, merge_duplicates=False, settle_contradictions=False)


def state(mem: Mnemos, id: str) -> str:
    with mem.snapshot() as snapshot:  # not through `get`, which is a use
        return str(snapshot.standing(UUID(id)).state.word)  # type: ignore[union-attr]


# ---- heat -----------------------------------------------------------------------------------------------------------


@given(times=st.lists(st.integers(START, START + 30 * DAY), min_size=1, max_size=30).map(sorted), cut=st.integers(0, 30))
def test_heat_is_the_sum_of_fading_uses_however_it_is_put_together(times: list[int], cut: int) -> None:
    cube = uuid4()
    first, second = AccessTracker(), AccessTracker()
    for tracker, part in ((first, times[:cut]), (second, times[cut:])):
        for time in part:
            tracker.note([cube], time)
    parts = [tracker.peek(cube) for tracker in (first, second) if len(tracker)]
    whole = parts[0] if len(parts) == 1 else heat.joined(*parts)
    now = times[-1] + DAY
    assert whole.hits == len(times)
    assert whole.recent == tuple(times[-RECENT:])
    assert heat.at(whole, now) == pytest.approx(sum(math.exp(-(now - time) / TAU) for time in times))


def test_a_tracker_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heat, "_MOST", 100)
    tracker = AccessTracker()
    cubes = [uuid4() for _ in range(1000)]
    for number, cube in enumerate(cubes):
        tracker.note([cube], START + number)
    assert 50 <= len(tracker) <= 101
    assert tracker.peek(cubes[-1]).hits == 1
    assert tracker.peek(cubes[0]) == Heat(0, 0.0, 0)


def test_reading_writes_nothing(mem: Mnemos) -> None:
    space = mem.space("a")
    cube = space.add("The tram is yellow.")
    position = mem.position()
    for _ in range(3):
        space.search("tram")
        space.get(cube.id)
    with mem.snapshot() as snapshot:
        assert (snapshot.position, snapshot.heat()) == (position, {})
    assert mem.tracker.peek(UUID(cube.id)).hits == 6
    assert space.get(cube.id).version == 1


def test_a_look_at_the_past_is_no_use(mem: Mnemos) -> None:
    space = mem.space("a")
    cube = space.add("The tram is yellow.")
    past = space.at(mem.position())
    past.get(cube.id)
    past.search("tram")
    space.search("tram", as_of=mem.position())
    space.list()
    assert len(mem.tracker) == 0


def test_uses_outlive_the_process(open_memory: Callable[..., Mnemos]) -> None:
    mem = open_memory()
    cube = mem.space("a").add("The tram is yellow.")
    mem.space("a").search("tram")
    mem.close()
    mem = open_memory()
    mem.space("a").search("tram")
    mem.tend(policy=QUIET)
    with mem.snapshot() as snapshot:
        assert snapshot.heat()[UUID(cube.id)].hits == 2


def test_what_one_process_used_another_tends(open_memory: Callable[..., Mnemos]) -> None:
    mem = open_memory()
    space = mem.space("a")
    used, unused = space.add("The tram is yellow."), space.add("Nothing else.")
    space.search("tram", k=1)
    mem.close()
    mem = open_memory()
    assert mem.tend(policy=QUIET) == Tended(activated=1)
    assert [state(mem, cube.id) for cube in (used, unused)] == ["activated", "generated"]
    mem.space("a").archive(used.id)
    assert not mem.tend(policy=QUIET)  # what was used before it went to the archive stays there
    mem.space("a").get(used.id)
    mem.close()
    assert open_memory().tend(policy=QUIET) == Tended(revived=1)


def test_uses_are_not_lost_where_they_cannot_be_kept(mem: Mnemos, monkeypatch: pytest.MonkeyPatch) -> None:
    cube = mem.space("a").add("The tram is yellow.")
    mem.space("a").search("tram")
    monkeypatch.setattr("mnemos.kernel.life.tending._keep", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        mem.tend(policy=QUIET)
    monkeypatch.undo()
    assert mem.tracker.peek(UUID(cube.id)).hits == 1
    assert mem.tend(policy=QUIET).activated == 1


# ---- coming to life, and back ---------------------------------------------------------------------------------------


def test_what_was_used_comes_to_life(mem: Mnemos) -> None:
    space = mem.space("a")
    used, unused, frozen = space.add("The tram is yellow."), space.add("Nothing else."), space.add("The tram is frozen.")
    space.freeze(frozen.id)
    space.search("tram", k=2)
    assert mem.tend(policy=QUIET) == Tended(activated=1)
    assert [state(mem, cube.id) for cube in (used, unused, frozen)] == ["activated", "generated", "generated"]
    position = mem.position()
    assert not mem.tend(policy=QUIET)
    assert mem.position() == position


def test_a_part_of_a_document_is_a_use_of_the_document(mem: Mnemos) -> None:
    space = mem.space("a")
    document = space.add("The harbour office opens at nine. " * 120)
    space.search("harbour office")
    assert mem.tend(policy=QUIET).activated == 1
    assert state(mem, document.id) == "activated"


def test_archived_comes_back_when_it_is_used_and_superseded_does_not(mem: Mnemos) -> None:
    space = mem.space("a")
    idle, old, new = space.add("The tram is yellow."), space.add("Alice lives in Lisbon."), space.add("Alice lives in Porto.")
    space.archive(idle.id)
    space.supersede(new.id, old.id)
    for cube in (idle, old):
        space.get(cube.id)
    assert mem.tend(policy=QUIET) == Tended(revived=1)
    assert [state(mem, cube.id) for cube in (idle, old)] == ["activated", "archived"]


# ---- decay and expiry -----------------------------------------------------------------------------------------------


def test_what_is_cold_goes_to_the_archive_unless_it_matters(mem: Mnemos, clock: HandClock) -> None:
    space = mem.space("a")
    cold, important, used, frozen = (
        space.add("cold"), space.add("important", priority=1.0), space.add("used tram"), space.add("frozen"),
    )  # fmt: skip
    document = space.add("The harbour office opens at nine. " * 120)
    space.freeze(frozen.id)
    clock.now += 29 * DAY
    assert mem.tend(policy=DECAY).archived == 0
    space.search("tram", k=1)
    late = space.add("written late")
    clock.now += 2 * DAY
    assert mem.tend(policy=QUIET).archived == 0  # by default nothing decays
    assert mem.tend(policy=DECAY).archived == 2
    assert {cube.text[:8]: state(mem, cube.id) for cube in (cold, important, used, frozen, late, document)} == {
        "cold": "archived", "importan": "generated", "used tra": "activated", "frozen": "generated", "written ": "generated",
        "The harb": "archived",
    }  # fmt: skip
    assert not any("harbour" in hit.cube.text for hit in space.search("harbour office", k=50))
    assert mem.tend(policy=DECAY).archived == 0


def test_what_comes_back_after_long_gaps_is_not_cold_between_them(mem: Mnemos, clock: HandClock) -> None:
    space = mem.space("a")
    once, monthly, burst = space.add("once"), space.add("monthly"), space.add("burst")
    for use in (once, monthly, burst, burst):
        space.get(use.id)
    clock.now += 40 * DAY
    space.get(monthly.id)
    clock.now += 100 * DAY
    mem.tend(policy=replace(DECAY, comes_back=0))
    assert {state(mem, cube.id) for cube in (once, monthly, burst)} == {"archived"}
    space.get(monthly.id)  # brings it back
    clock.now += 3 * 100 * DAY
    mem.tend(policy=DECAY)
    assert state(mem, monthly.id) == "activated"
    clock.now += DAY
    mem.tend(policy=DECAY)
    assert state(mem, monthly.id) == "archived"


def test_many_uses_keep_warm_longer_than_one(mem: Mnemos, clock: HandClock) -> None:
    space = mem.space("a")
    once, often = space.add("once"), space.add("often")
    space.get(once.id)
    for _ in range(200):
        space.get(often.id)
    clock.now += 6 * DAY
    policy = LifecyclePolicy(archive_after_days=5, heat_floor=0.1, merge_duplicates=False, settle_contradictions=False)
    assert mem.tend(policy=policy).archived == 1
    assert (state(mem, once.id), state(mem, often.id)) == ("archived", "activated")


def test_expiry_is_tended_too(mem: Mnemos, clock: HandClock) -> None:
    space = mem.space("a")
    cube = space.add("gone tomorrow", expires_at=datetime.fromtimestamp((START + DAY) / 1e6, UTC))
    clock.now += 2 * DAY
    assert mem.tend(policy=QUIET).expired == 1
    assert state(mem, cube.id) == "expired"
    assert space.search("tomorrow") == []


def test_a_space_says_how_its_memories_live(mem: Mnemos, clock: HandClock) -> None:
    mem.space("short", lifecycle={"archive_after_days": 1}).add("one")
    mem.space("long").add("two")
    clock.now += 3 * DAY
    assert mem.tend(["long"]).archived == 0
    assert mem.tend().archived == 1
    assert mem.settings("short")["lifecycle"]["archive_after_days"] == 1


# ---- who may, and what is wrong -------------------------------------------------------------------------------------


def test_only_what_may_be_written_is_tended(mem: Mnemos, clock: HandClock) -> None:
    mem.space("a", acl={"read": ["bob"]}).add("one")
    mem.space("b", acl={"read": ["bob"], "write": ["bob"]}).add("two")
    clock.now += 60 * DAY
    bob = mem.as_principal("bob")
    assert bob.tend(policy=DECAY).archived == 1
    with pytest.raises(PermissionDenied):
        bob.tend(["a"], DECAY)
    with pytest.raises(NotFound):
        mem.tend(["nowhere"])


def test_a_time_longer_than_any_archives_nothing(mem: Mnemos, clock: HandClock) -> None:
    mem.space("a").add("one")
    clock.now += 60 * DAY
    assert mem.tend(policy=LifecyclePolicy(archive_after_days=9e8, merge_duplicates=False, settle_contradictions=False)).archived == 0


def test_a_space_that_is_not_for_the_caller_is_not_there(mem: Mnemos) -> None:
    mem.space("diary")
    messages = []
    for name in ("diary", "nowhere"):
        with pytest.raises(NotFound) as caught:
            mem.as_principal("bob").tend([name])
        messages.append(str(caught.value).replace(name, "NAME"))
    assert messages[0] == messages[1]


@pytest.mark.parametrize(
    "wrong", [{"archive_after_days": -1}, {"heat_floor": "warm"}, {"merge_duplicates": 1}, {"records": "turn"}, {"cats": 1}, 7]
)
def test_policies_that_are_none_are_refused(mem: Mnemos, wrong: Any) -> None:
    with pytest.raises(Invalid, match="lifecycle"):
        mem.space("a", lifecycle=wrong)


# ---- what overlaps, and what no longer holds ------------------------------------------------------------------------


def texts(mem: Mnemos, *states: str) -> list[str]:
    return [cube.text for cube in mem.space("a").list(states=states or ("generated", "activated"), limit=2000)]


def test_what_is_contradicted_goes_and_stays_in_the_history(mem: Mnemos) -> None:
    space = mem.space("a")
    old = space.add("Alice lives in Lisbon.")
    other = space.add("Bob lives in Lisbon.")
    new = space.add("Alice lives in Porto now.")
    assert mem.tend() == Tended(superseded=1)
    assert texts(mem) == [other.text, new.text]
    assert texts(mem, "archived") == [old.text]
    assert [cube.text for cube in space.history(new.id)] == [old.text, new.text]
    assert not mem.tend()


def test_what_says_the_same_is_one_until_it_is_forgotten(mem: Mnemos) -> None:
    space = mem.space("a")
    first, second = space.add("Alice lives in Lisbon with her cat."), space.add("alice lives in lisbon with her cat")
    assert mem.tend() == Tended(merged=1)
    kept, merged = (space.get(cube.id) for cube in (first, second))
    if kept.state == "merged":
        kept, merged = merged, kept
    assert (kept.state, merged.state) == ("generated", "merged")
    assert texts(mem) == [kept.text]
    certificate = space.forget(kept.id)
    assert [cube.id for cube in certificate.cubes] == [kept.id]
    assert space.get(merged.id).state == "activated"


def test_a_record_of_what_was_said_stays_as_it_is(mem: Mnemos) -> None:
    space = mem.space("a")
    for kind in ("turn", "episode", "document"):
        for text in ("Alice lives in Lisbon.", "Alice lives in Porto now.", "Alice lives in Porto now."):
            space.add(text, type=kind)
    assert not mem.tend()
    assert mem.tend(policy=LifecyclePolicy(records=("turn",))) == Tended()  # they were looked at already
    assert len(texts(mem)) == 9


def test_what_has_other_rules_or_is_frozen_is_not_settled(mem: Mnemos) -> None:
    space = mem.space("a")
    hidden, frozen = space.add("Alice lives in Lisbon."), space.add("Bob lives in Lisbon.")
    space.set_acl(hidden.id, {"read": ["bob"]})
    space.freeze(frozen.id)
    space.add("Alice lives in Porto now.")
    space.add("Bob lives in Porto now.")
    assert mem.tend().superseded == 0
    assert len(texts(mem)) == 4


def test_settling_goes_on_where_it_was_interrupted(mem: Mnemos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnemos.kernel.life.tending._CHUNK", 4)
    space = mem.space("a")
    towns = ("Lisbon", "Porto", "Faro", "Braga", "Evora")
    people = ("Alice", "Bob", "Carol", "Dave", "Erin", "Frank")
    for town in towns:
        space.add_many({"text": f"{person} lives in {town} now."} for person in people)
    calls = 0
    real = mem.store.transaction

    def failing(*arguments: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise RuntimeError("interrupted")
        return real(*arguments, **keywords)

    monkeypatch.setattr(mem.store, "transaction", failing)
    with pytest.raises(RuntimeError):
        mem.tend()
    monkeypatch.setattr(mem.store, "transaction", real)
    mem.tend()
    assert sorted(texts(mem)) == sorted(f"{person} lives in Evora now." for person in people)
    assert mem.verify()


def test_what_holds_beside_the_contradicted_keeps_a_memory_in_use(mem: Mnemos) -> None:
    mem.space("a").add("Alice lives in Lisbon and has a dog called Rex.")
    mem.space("a").add("Alice lives in Porto now.")
    assert mem.tend().superseded == 0
    assert len(texts(mem)) == 2
