"""The lives of memories: legal steps only, each one entry of the log; what is hidden stays hidden, what is frozen stays as it is."""

from __future__ import annotations

import random

import pytest

from mnemos.base.cube import MemCube, State
from mnemos.base.errors import Conflict, Frozen, Invalid, MnemosError, NotFound, PermissionDenied
from mnemos.kernel.system import Mnemos
from support import EMBEDDER, HandClock

LONG = "The harbour office opens at nine. " * 120


def found(mem: Mnemos, query: str) -> set[str]:
    return {hit.cube.id for hit in mem.space("a").search(query, k=100)}


def test_each_step_is_one_entry_that_says_why(mem: Mnemos) -> None:
    space = mem.space("a")
    cube = space.add("The tram leaves at nine.")
    position = mem.position()
    assert space.archive(cube.id, "not needed now").state == "archived"
    assert mem.position() == position + 1
    entry = mem.log(position)[0]
    assert (entry.kind, entry.body_json()) == ("state", {"from": 0, "to": 3, "reason": "not needed now"})
    assert space.archive(cube.id).state == "archived"
    assert mem.position() == position + 1  # it is there already


@pytest.mark.parametrize("verb", ["archive", "quarantine"])
def test_what_is_hidden_is_found_by_its_state_only(mem: Mnemos, verb: str) -> None:
    space = mem.space("a")
    cube, other = space.add("The tram leaves at nine."), space.add("The tram is yellow.")
    hidden = getattr(space, verb)(cube.id)
    assert found(mem, "tram") == {other.id}
    assert [c.id for c in space.list()] == [other.id]
    assert [c.id for c in space.list(states=[hidden.state])] == [cube.id]
    assert space.get(cube.id).text == "The tram leaves at nine."
    assert cube.text not in space.context("tram").text
    back = space.restore(cube.id) if verb == "archive" else space.release(cube.id)
    assert back.state == ("activated" if verb == "archive" else "generated")
    assert found(mem, "tram") == {cube.id, other.id}


def test_release_leads_back_to_where_it_was(mem: Mnemos) -> None:
    space = mem.space("a")
    cube = space.add("one")
    space.archive(cube.id)
    space.quarantine(cube.id, "looks odd")
    assert space.release(cube.id).state == "archived"
    with pytest.raises(Conflict, match="release is for what is quarantined"):
        space.release(cube.id)
    with pytest.raises(Conflict, match=r"cannot|is for what is"):
        space.restore(space.quarantine(cube.id).id)


def test_a_document_is_hidden_and_shown_whole(mem: Mnemos) -> None:
    space = mem.space("a")
    document = space.add(LONG)
    assert len(space.list(parts=True)) > 1
    space.quarantine(document.id)
    assert found(mem, "harbour office") == set()
    space.update(document.id, LONG + "It closes at five.")
    assert found(mem, "harbour office") == set()  # quarantine does not end because somebody wrote to it
    assert space.list(parts=True) == []
    space.release(document.id)
    assert found(mem, "harbour office closes at five")
    assert space.get(document.id).text == LONG + "It closes at five."


def test_what_is_corrected_is_in_use_again(mem: Mnemos) -> None:
    space = mem.space("a")
    cube = space.add("The tram leaves at nine.")
    space.archive(cube.id)
    assert space.update(cube.id, "The tram leaves at ten.").state == "activated"
    assert found(mem, "tram") == {cube.id}


def test_frozen_forbids_every_step(mem: Mnemos) -> None:
    space = mem.space("a")
    cube, other = space.add("one"), space.add("two")
    space.freeze(cube.id)
    position = mem.position()
    for step in (
        lambda: space.archive(cube.id), lambda: space.quarantine(cube.id), lambda: space.update(cube.id, "x"), lambda: space.forget(cube.id),
        lambda: space.merge([cube.id, other.id]), lambda: space.supersede(other.id, cube.id), lambda: space.rollback(cube.id, 1),
    ):  # fmt: skip
        with pytest.raises(Frozen):
            step()
    assert mem.position() == position
    assert space.get(cube.id) == cube.__class__(**{**{f: getattr(cube, f) for f in cube.__slots__}, "frozen": True})


def test_a_reason_that_repeats_the_memory_is_refused(mem: Mnemos) -> None:
    space = mem.space("a")
    cube = space.add("My password is swordfish99.")
    with pytest.raises(Invalid, match="repeats a piece"):
        space.quarantine(cube.id, "says swordfish99")
    assert space.get(cube.id).state == "generated"


# ---- merging --------------------------------------------------------------------------------------------------------


def test_a_merge_says_what_its_sources_say_and_takes_their_place(mem: Mnemos) -> None:
    space = mem.space("a")
    one = space.add("Alice lives in Porto. She works at the harbour.", tags=["home"], author="Alice", priority=0.5)
    two = space.add("Alice lives in Porto. She has a cat.", tags=["pets"], author="Alice", sensitivity="personal")
    merged = space.merge([one.id, two.id])
    assert merged.text == "Alice lives in Porto. She works at the harbour. She has a cat."
    assert (merged.tags, merged.author, merged.sensitivity, merged.priority) == (("home", "pets"), "Alice", "personal", 0.5)
    assert [(str(link.id), link.version, link.relation) for link in merged.derived_from] == [(one.id, 1, "merged"), (two.id, 1, "merged")]
    assert found(mem, "Alice Porto cat") == {merged.id}
    assert {space.get(cube.id).state for cube in (one, two)} == {"merged"}


def test_forgetting_a_source_of_a_merge_takes_the_merge_and_leaves_the_others(mem: Mnemos) -> None:
    space = mem.space("a")
    one, two = space.add("Alice lives in Porto."), space.add("Alice has a cat.")
    merged = space.merge([one.id, two.id])
    certificate = space.forget(one.id)
    assert {cube.id for cube in certificate.cubes} == {one.id, merged.id}
    assert found(mem, "Alice") == {two.id}
    assert space.get(two.id).state == "activated"
    assert mem.verify()


def test_what_cannot_be_merged_stays_as_it_is(mem: Mnemos) -> None:
    space = mem.space("a")
    one, two, three = space.add("one"), space.add("two"), space.add("three")
    space.set_acl(three.id, {"read": ["bob"]})
    position = mem.position()
    for ids, message in (([one.id], "two or more"), ([one.id, one.id], "two or more"), ([one.id, three.id], "different rules")):
        with pytest.raises((Invalid, Conflict), match=message):
            space.merge(ids)
    with pytest.raises(NotFound):
        space.merge([one.id, "018bcfe5-6803-77a9-ace5-000000000000"])
    space.quarantine(two.id)
    with pytest.raises(Conflict, match="is quarantined"):
        space.merge([one.id, two.id])
    assert mem.position() == position + 1


# ---- superseding ----------------------------------------------------------------------------------------------------


def test_the_newer_holds_and_the_older_is_history(mem: Mnemos) -> None:
    space = mem.space("a")
    first = space.add("Alice lives in Lisbon.")
    second = space.add("Alice lives in Porto.")
    third = space.add("Alice lives in Faro.")
    space.supersede(second.id, first.id, "she said so")
    space.supersede(third.id, second.id)
    assert found(mem, "Where does Alice live?") == {third.id}
    assert [cube.text for cube in space.history(third.id)] == [first.text, second.text, third.text]
    assert [cube.text for cube in space.history(first.id)] == [first.text]
    assert mem.log()[-1].kind == "link"
    for newer, older in ((first, third), (third, first), (third, third)):
        with pytest.raises(Conflict, match="cannot supersede"):
            space.supersede(newer.id, older.id)


def test_forgetting_the_older_leaves_the_newer(mem: Mnemos) -> None:
    space = mem.space("a")
    older, newer = space.add("Alice lives in Lisbon."), space.add("Alice lives in Porto.")
    space.supersede(newer.id, older.id)
    assert [cube.id for cube in space.forget(older.id).cubes] == [older.id]
    assert space.get(newer.id).stale is False
    assert [cube.text for cube in space.history(newer.id)] == [newer.text]


# ---- many random lives (sheet memos, check 8) -----------------------------------------------------------------------


def test_ten_thousand_random_steps_keep_every_promise() -> None:
    rng = random.Random(8)
    clock = HandClock()
    mem = Mnemos(":memory:", embedder=EMBEDDER, clock=clock)
    space = mem.space("a")
    state: dict[str, State] = {}
    frozen: dict[str, MemCube] = {}
    ends: dict[str, int] = {}
    refused = 0
    legal = {
        "archive": (State.GENERATED, State.ACTIVATED, State.MERGED), "restore": (State.ARCHIVED, State.MERGED),
        "quarantine": (State.GENERATED, State.ACTIVATED, State.MERGED, State.ARCHIVED), "release": (State.QUARANTINED,),
    }  # fmt: skip
    target = {"archive": State.ARCHIVED, "restore": State.ACTIVATED, "quarantine": State.QUARANTINED}
    before: dict[str, State] = {}
    for number in range(10_000):
        verb = rng.choice(("add", "archive", "restore", "quarantine", "release", "freeze", "unfreeze", "update", "forget", "expire", "search"))
        cube = rng.choice(list(state)) if state else None
        if verb == "add" and len(state) < 60:
            end = clock.now + rng.randrange(10**6, 10**8) if rng.random() < 0.3 else None
            made = space.add(f"memory number {number} of the harbour", **({"expires_at": _time(end)} if end else {}))
            state[made.id] = State.GENERATED
            if end:
                ends[made.id] = end
        elif cube is None or verb == "add":
            continue
        elif verb in legal:
            expected = state[cube] is target.get(verb) or (cube not in frozen and state[cube] in legal[verb])
            try:
                getattr(space, verb)(cube)
                assert expected, (verb, state[cube])
                if verb == "quarantine" and state[cube] is not State.QUARANTINED:
                    before[cube] = state[cube]
                state[cube] = before[cube] if verb == "release" else target[verb]
            except (Conflict, Frozen):
                assert not expected, (verb, state[cube])
                refused += 1
        elif verb in ("freeze", "unfreeze"):
            getattr(space, verb)(cube)
            if verb == "freeze":
                frozen[cube] = space.get(cube)
            else:
                frozen.pop(cube, None)
        elif verb == "update":
            try:
                space.update(cube, f"memory number {number} of the harbour, again")
                assert cube not in frozen
                if state[cube] in (State.ARCHIVED, State.MERGED):
                    state[cube] = State.ACTIVATED
            except Frozen:
                assert cube in frozen
                refused += 1
        elif verb == "forget" and rng.random() < 0.2:
            try:
                space.forget(cube)
                assert cube not in frozen
                for known in (state, ends, before):
                    known.pop(cube, None)
            except Frozen:
                assert cube in frozen
        elif verb == "expire":
            clock.now += 10**6
            mem.expire()
            for one, end in ends.items():
                if end <= clock.now and one not in frozen:
                    state[one] = State.EXPIRED
        elif verb == "search" and number % 5 == 0:
            shown = {hit.cube.id for hit in space.search("harbour", k=200)}
            over = {one for one, end in ends.items() if end <= clock.now}
            assert shown == {one for one, at in state.items() if at in (State.GENERATED, State.ACTIVATED)} - over
            for one, then in frozen.items():
                assert space.get(one) == then
    assert refused > 500
    assert {one: space.get(one).state for one in state} == {one: at.word for one, at in state.items()}
    assert mem.verify()
    mem.close()


def _time(micros: int) -> str:
    from mnemos.base.clock import iso

    return str(iso(micros))


def test_what_a_principal_may_not_write_it_may_not_lead_elsewhere(mem: Mnemos) -> None:
    cube = mem.space("a", acl={"read": ["bob"]}).add("one")
    other = mem.space("a").add("two")
    space = mem.as_principal("bob").existing_space("a")
    for step in (
        lambda: space.archive(cube.id), lambda: space.restore(cube.id), lambda: space.quarantine(cube.id), lambda: space.release(cube.id),
        lambda: space.freeze(cube.id), lambda: space.merge([cube.id, other.id]), lambda: space.supersede(cube.id, other.id),
        lambda: space.set_acl(cube.id, {"read": []}),
    ):  # fmt: skip
        with pytest.raises(PermissionDenied):
            step()
    assert space.get(cube.id).state == "generated"


@pytest.mark.parametrize("verb", ["archive", "restore", "quarantine", "release", "freeze", "explain", "history"])
@pytest.mark.parametrize("id", ["018bcfe5-6803-77a9-ace5-000000000000", "nonsense", "", None, 7])
def test_what_does_not_exist_has_no_life(mem: Mnemos, verb: str, id: object) -> None:
    with pytest.raises(MnemosError):
        getattr(mem.space("a"), verb)(id)
