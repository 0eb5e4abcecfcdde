"""Roles, denials, rules of single memories, read-only spaces, labels, licences, quotas and rates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from mnemos.base.errors import Invalid, MnemosError, NotFound, PermissionDenied, QuotaExceeded, RateLimited, StoreFull
from mnemos.kernel.space import Space
from mnemos.kernel.system import Mnemos
from support import START, HandClock

LONG = "The harbour office opens at nine. " * 120


def seen_by(mem: Mnemos, principal: str, name: str = "a") -> Space:
    return mem.as_principal(principal).existing_space(name)


def texts(space: Space, query: str = "tram") -> set[str]:
    return {hit.cube.text for hit in space.search(query, k=50)}


# ---- roles and denials ----------------------------------------------------------------------------------------------


def test_a_role_gives_its_members_what_it_is_given(mem: Mnemos) -> None:
    mem.set_role("editors", ["bob", "carol"])
    cube = mem.space("a", acl={"read": ["role:editors"], "write": ["role:editors"]}).add("The tram is yellow.")
    assert seen_by(mem, "bob").update(cube.id, "The tram is red.").version == 2
    with pytest.raises(NotFound):
        seen_by(mem, "dave")
    mem.set_role("editors", ["carol"])
    with pytest.raises(NotFound):
        seen_by(mem, "bob")
    space = seen_by(mem, "carol")
    mem.set_role("editors", None)
    with pytest.raises(PermissionDenied):
        space.search("tram")
    assert mem.roles() == {}


def test_who_is_denied_is_denied_whatever_else_allows(mem: Mnemos) -> None:
    mem.set_role("staff", ["bob"])
    mem.space("a", acl={"read": ["*", "role:staff", "bob"]}, deny={"read": ["bob"]}).add("The tram is yellow.")
    assert texts(seen_by(mem, "carol")) == {"The tram is yellow."}
    with pytest.raises(NotFound):
        seen_by(mem, "bob")


def test_only_the_program_itself_gives_roles_and_settings(mem: Mnemos) -> None:
    bob = mem.as_principal("bob")
    for step in (lambda: bob.set_role("editors", ["bob"]), lambda: bob.roles(), lambda: bob.set_setting("x", 1), lambda: bob.forget_again([])):
        with pytest.raises(PermissionDenied):
            step()
    assert mem.roles() == {}


@pytest.mark.parametrize("name", ["*", "role:editors", " ", ""])
def test_nobody_is_called_like_a_role(mem: Mnemos, name: str) -> None:
    with pytest.raises(Invalid):
        mem.as_principal(name)
    with pytest.raises(Invalid):
        mem.set_role("editors", [name])


# ---- rules of single memories ---------------------------------------------------------------------------------------


def test_a_memory_with_rules_of_its_own_does_not_exist_for_others(mem: Mnemos) -> None:
    space = mem.space("a", acl={"read": ["bob", "carol"], "write": ["bob"], "forget": ["bob"]})
    open_, closed = space.add("The tram is yellow."), space.add("The secret tram is black.", author="Mallory")
    space.set_acl(closed.id, {"read": ["carol"]})
    bob, carol = seen_by(mem, "bob"), seen_by(mem, "carol")
    assert texts(bob) == {open_.text}
    assert texts(carol) == {open_.text, closed.text}
    assert [cube.id for cube in bob.list()] == [open_.id]
    assert closed.text not in bob.context("tram").text
    missing = "018bcfe5-6803-77a9-ace5-000000000000"
    for step in (bob.get, bob.history, bob.explain, bob.forget, lambda id: bob.update(id, "x"), bob.freeze, bob.archive):
        messages = []
        for id in (closed.id, missing):
            with pytest.raises(NotFound) as caught:
                step(id)
            messages.append(str(caught.value).replace(id, "ID"))
        assert messages[0] == messages[1]
    with pytest.raises(NotFound):
        bob.add("copied", derived_from=[closed.id])
    assert {str(entry.cube) for entry in mem.as_principal("bob").log() if entry.cube} == {open_.id}
    assert space.get(closed.id).version == 1


def test_what_others_may_not_read_does_not_bear_on_what_they_find(mem: Mnemos) -> None:
    space, twin = mem.space("a", acl={"read": ["bob"]}), mem.space("twin", acl={"read": ["bob"]})
    for number in range(12):
        for one in (space, twin):
            one.add(f"The tram number {number} is yellow.", author="Ann")
    for number in range(30):
        hidden = space.add(f"The tram of Mallory number {number} is a secret yellow word.", author="Mallory")
        space.set_acl(hidden.id, {"read": []})
    for query in ("yellow tram 7", "What did Mallory say about the secret tram?", "word"):
        found = [[(hit.cube.text, pytest.approx(hit.score, abs=1e-5)) for hit in seen_by(mem, "bob", name).search(query)] for name in ("a", "twin")]
        assert found[0] == found[1]


def test_rules_narrow_every_verb(mem: Mnemos) -> None:
    everything = {verb: ["bob"] for verb in ("read", "write", "share", "derive", "forget")}
    space = mem.space("a", acl=everything)
    bob = seen_by(mem, "bob")
    for verb, step in (
        ("write", lambda id: bob.update(id, "x")), ("write", bob.freeze), ("write", bob.archive), ("forget", bob.forget),
        ("share", lambda id: bob.set_acl(id, {})),
    ):  # fmt: skip
        cube = space.add("The tram is yellow.")
        space.set_acl(cube.id, {verb: ["carol"]})
        with pytest.raises(PermissionDenied):
            step(cube.id)
        space.set_acl(cube.id, None)
        step(cube.id)
    cube = space.add("The tram is yellow.")
    space.set_acl(cube.id, {"derive": []})
    with pytest.raises(NotFound):
        bob.add("from it", derived_from=[cube.id])
    assert bob.get(cube.id).text == cube.text


def test_deriving_goes_with_reading_unless_it_is_named(mem: Mnemos) -> None:
    cube = mem.space("a", acl={"read": ["bob"]}).add("The tram is yellow.")
    own = mem.as_principal("bob").space("bob's")
    assert own.add("from it", derived_from=[cube.id]).derived_from
    mem.space("a", acl={"read": ["bob"], "derive": ["carol"]})
    with pytest.raises(NotFound):
        own.add("from it again", derived_from=[cube.id])


def test_the_rules_of_a_document_are_those_of_its_parts(mem: Mnemos) -> None:
    space = mem.space("a", acl={"read": ["bob"]})
    document = space.add(LONG)
    space.set_acl(document.id, {"read": ["carol"]})
    assert texts(seen_by(mem, "bob"), "harbour office") == set()
    space.update(document.id, LONG + "It closes at five.")
    assert texts(seen_by(mem, "bob"), "harbour office") == set()
    assert seen_by(mem, "bob").list(parts=True) == []
    assert texts(space, "harbour office closes")


# ---- read-only spaces and labels ------------------------------------------------------------------------------------


def test_a_read_only_space_is_changed_by_nobody(mem: Mnemos) -> None:
    cube = mem.space("a", acl={"read": ["bob"], "write": ["bob"]}).add("The tram is yellow.")
    space = mem.space("a", read_only=True)
    position = mem.position()
    for one in (space, seen_by(mem, "bob")):
        for step in (
            lambda one: one.add("x"), lambda one: one.update(cube.id, "x"), lambda one: one.forget(cube.id), lambda one: one.freeze(cube.id),
            lambda one: one.archive(cube.id), lambda one: one.add_many([{"text": "x"}]),
        ):  # fmt: skip
            with pytest.raises(PermissionDenied, match=r"read-only|may not"):
                step(one)
        assert texts(one) == {cube.text}
    assert mem.position() == position
    assert mem.space("a", read_only=False).add("x").version == 1


def test_labels_are_read_up_to_the_clearance(mem: Mnemos) -> None:
    mem.set_role("staff", ["carol"])
    space = mem.space("a", acl={"read": ["*"]}, clearance={"bob": "internal", "role:staff": "secret"})
    for label in (None, "public", "internal", "personal", "secret", "of my own"):
        space.add(f"The tram is {label}.", sensitivity=label)
    levels = {
        name: {cube.sensitivity for cube in seen_by(mem, name).list()} for name in ("bob", "carol", "dave")
    }
    assert levels == {
        "bob": {None, "public", "internal"}, "carol": {None, "public", "internal", "personal", "secret", "of my own"}, "dave": {None, "public"},
    }  # fmt: skip
    for name, allowed in levels.items():
        assert {hit.cube.sensitivity for hit in seen_by(mem, name).search("tram")} == allowed
    hidden = next(cube for cube in space.list() if cube.sensitivity == "secret")
    with pytest.raises(NotFound):
        seen_by(mem, "bob").get(hidden.id)
    assert mem.space("a", clearance={}) is not None
    assert {hit.cube.sensitivity for hit in seen_by(mem, "bob").search("tram")} == {None, "public"}


# ---- licences, quotas, rates ----------------------------------------------------------------------------------------


def test_a_licence_allows_exactly_so_many_reads_also_after_opening_again(open_memory: Callable[..., Mnemos]) -> None:
    mem = open_memory()
    mem.space("a", acl={"read": ["bob", "carol"]}, licences={"bob": {"reads": 7}}).add("The tram is yellow.")
    bob = seen_by(mem, "bob")
    reads: list[Callable[[], Any]] = [lambda: bob.search("tram"), bob.list, lambda: bob.context("tram"), lambda: bob.search("tram")]
    for read in reads:
        read()
    mem.close()
    mem = open_memory()
    bob = seen_by(mem, "bob")
    for _ in range(3):
        bob.search("tram")
    for read in (lambda: bob.search("tram"), bob.list, lambda: bob.context("tram")):
        with pytest.raises(PermissionDenied, match="allows 7 reads, and all are used"):
            read()
    assert len(seen_by(mem, "carol").search("tram")) == 1
    mem.space("a", licences={"bob": {"reads": 8}})
    bob.search("tram")
    with pytest.raises(PermissionDenied):
        bob.search("tram")


def test_a_licence_ends_at_its_time(mem: Mnemos, clock: HandClock) -> None:
    end = datetime.fromtimestamp((START + 3_600_000_000) / 1e6, UTC)
    mem.space("a", acl={"read": ["*"]}, licences={"*": {"until": end}}).add("The tram is yellow.")
    bob = seen_by(mem, "bob")
    assert bob.search("tram")
    clock.now = START + 3_600_000_000 - 50_000
    assert bob.search("tram")
    clock.now = START + 3_600_000_000
    with pytest.raises(PermissionDenied, match="ended on 2023-11-14T23:13:20"):
        bob.search("tram")
    assert mem.space("a").search("tram")


def test_a_quota_holds_for_everybody_and_is_freed_by_forgetting(mem: Mnemos) -> None:
    space = mem.space("a")
    first = space.add("0123456789")
    space = mem.space("a", quota={"cubes": 3, "bytes": 60})
    space.add("0123456789")
    space.add_many([{"text": "0123456789"}])
    with pytest.raises(StoreFull, match="may hold 3 cubes, and holds 3: 1 more do not fit"):
        space.add("x")
    with pytest.raises(StoreFull, match="may hold 60 bytes, and holds 30: 31 more do not fit"):
        space.update(first.id, "x" * 31)
    space.update(first.id, "x" * 30)
    assert len(space.list()) == 3
    space.forget(first.id)
    assert space.add("0123456789" * 4).version == 1
    with pytest.raises(StoreFull):
        space.add("x")
    mem.space("a", quota={}).add("x")


def test_documents_count_once_against_a_quota(mem: Mnemos) -> None:
    space = mem.space("a", quota={"cubes": 2, "bytes": 2 * len(LONG)})
    space.add(LONG)
    space.add(LONG)
    with pytest.raises(StoreFull):
        space.add("x")


def test_a_rate_is_kept_for_each_caller(mem: Mnemos, clock: HandClock) -> None:
    mem.space("a", acl={"read": ["*"], "write": ["*"]}, rate={"reads_per_minute": 5, "writes_per_minute": 2}).add("The tram is yellow.")
    bob, carol = seen_by(mem, "bob"), seen_by(mem, "carol")
    for _ in range(5):
        bob.search("tram")
    with pytest.raises(RateLimited) as caught:
        bob.search("tram")
    assert 11 < caught.value.retry_after < 12.1
    carol.search("tram")
    bob.add("one")
    bob.add("two")
    with pytest.raises(RateLimited, match="2 writes a minute"):
        bob.add("three")
    clock.now += 12_000_000
    bob.search("tram")
    with pytest.raises(RateLimited):
        bob.search("tram")
    for _ in range(20):
        mem.space("a").search("tram")  # the program itself is not kept to it


@pytest.mark.parametrize(
    "wrong",
    [
        {"acl": {"fly": ["bob"]}}, {"deny": ["bob"]}, {"read_only": "yes"}, {"clearance": {"bob": "cosmic"}}, {"clearance": ["bob"]},
        {"licences": {"bob": 5}}, {"licences": {"bob": {"reads": -1}}}, {"licences": {"bob": {"until": "soon"}}}, {"licences": {"bob": {"x": 1}}},
        {"quota": {"cubes": "many"}}, {"quota": {"cats": 1}}, {"quota": 7}, {"rate": {"reads_per_minute": 1.5}}, {"rate": {"reads": 1}},
    ],
)  # fmt: skip
def test_rules_that_are_none_are_refused_and_nothing_changes(mem: Mnemos, wrong: dict[str, Any]) -> None:
    mem.space("a")
    position = mem.position()
    with pytest.raises(MnemosError) as caught:
        mem.space("a", **wrong)
    assert next(iter(wrong)) in str(caught.value)
    assert mem.position() == position


def test_who_may_share_sees_the_rules_of_a_memory(mem: Mnemos) -> None:
    space = mem.space("a", acl={"read": ["bob", "carol"], "share": ["carol"]})
    cube = space.add("The tram is yellow.")
    assert space.acl(cube.id) == {}
    space.set_acl(cube.id, {"read": ["bob", "carol"], "write": []})
    mem.space("a", read_only=True)
    for one in (space, seen_by(mem, "carol")):
        assert one.acl(cube.id) == {"read": ["bob", "carol"], "write": []}
        assert "acl" in one.explain(cube.id).events[-1]
    bob = seen_by(mem, "bob")
    with pytest.raises(PermissionDenied):
        bob.acl(cube.id)
    assert [event["what"] for event in bob.explain(cube.id).events] == ["add", "permission"]
    assert not any("acl" in event for event in bob.explain(cube.id).events)
    mem.space("a", read_only=False)
    space.set_acl(cube.id, {"share": []})
    with pytest.raises(PermissionDenied):
        seen_by(mem, "carol").acl(cube.id)


def test_a_merge_counts_against_the_quota(mem: Mnemos) -> None:
    space = mem.space("a")
    one, two = space.add("Alice lives in Porto."), space.add("Alice has a cat.")
    mem.space("a", quota={"cubes": 2})
    with pytest.raises(QuotaExceeded):
        space.merge([one.id, two.id])
    assert {cube.state for cube in space.list()} == {"generated"}
    mem.space("a", quota={"cubes": 3})
    assert space.merge([one.id, two.id]).version == 1


def test_release_is_one_change_and_shows_nothing_to_who_may_only_write(mem: Mnemos) -> None:
    space = mem.space("a", acl={"read": ["bob"], "write": ["bob", "carol"]}, rate={"writes_per_minute": 1})
    cube = space.add("The tram is yellow.")
    with pytest.raises(PermissionDenied):
        seen_by(mem, "carol").release(cube.id)
    space.quarantine(cube.id)
    assert seen_by(mem, "bob").release(cube.id).state == "generated"


def test_settings_of_the_store_cannot_pass_for_roles(mem: Mnemos) -> None:
    with pytest.raises(Invalid, match="set_role"):
        mem.set_setting("role/editors", 5)
    mem.set_setting("team/contact", "desk 4")
    assert mem.as_principal("bob").setting("team/contact") == "desk 4"
    mem.set_setting("team/contact", None)
    assert mem.setting("team/contact") is None


def test_a_role_that_was_given_in_a_transaction_that_was_undone_is_not_remembered(mem: Mnemos) -> None:
    mem.space("a", acl={"read": ["role:editors"]}).add("The tram is yellow.")
    mem.space("b", acl={"read": ["bob"]}).add("The tram is red.")
    bob = mem.as_principal("bob")
    with pytest.raises(RuntimeError), mem.transaction():
        mem.set_role("editors", ["bob"])
        assert bob.existing_space("a").search("tram")
        raise RuntimeError
    mem.set_setting("something", "else")  # takes the position that the role had
    with pytest.raises(NotFound):
        bob.existing_space("a")
    assert bob.spaces() == ["b"]


def test_a_space_that_detects_labels_what_is_written_and_never_lowers_a_label(mem: Mnemos) -> None:
    space = mem.space("a", acl={"read": ["bob"]}, clearance={"bob": "internal"}, detect=True)
    plain = space.add("The tram is yellow.")
    mail = space.add("Write to alice.smith@example.org about the tram.")
    own = space.add("The tram is secret, says alice.smith@example.org.", sensitivity="secret")
    many = space.add_many([{"text": "The tram costs 2.40."}, {"text": "My password is: Tr4m-Gelb-99! for the tram."}])
    assert [cube.sensitivity for cube in (plain, mail, own, *many)] == [None, "personal", "secret", None, "secret"]
    assert {hit.cube.id for hit in seen_by(mem, "bob").search("tram")} == {plain.id, many[0].id}
    later = space.update(plain.id, "The tram driver is alice.smith@example.org.")
    assert later.sensitivity == "personal"
    assert space.update(own.id, "The tram is nobody's secret.").sensitivity == "secret"
    assert mem.space("b").add("Write to alice.smith@example.org.").sensitivity is None
