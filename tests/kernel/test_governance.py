"""Who may do what: nothing unless it is allowed, and no word about what is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mnemos
from mnemos.base.errors import Invalid, MnemosError, NotFound, PermissionDenied
from mnemos.kernel.exchange.transfer import export_jsonl, import_jsonl
from mnemos.kernel.system import Mnemos
from mnemos.text.formats.jsonlines import write_export

SECRET = "the hidden harbour of Atlantis"
NOWHERE = "01890a5d-ac96-774b-bcce-b302099a8057"
LONG = "\n\n".join(f"Paragraph {i} speaks of the harbour, the {i}th tram and the violin at length, so that it fills a part." for i in range(60))
VERBS: dict[str, tuple[set[str], Callable[[Mnemos, str], object]]] = {
    "get": ({"read"}, lambda mem, id: mem.space("alice").get(id)),
    "get a version": ({"read"}, lambda mem, id: mem.space("alice").get(id, 1)),
    "history": ({"read"}, lambda mem, id: mem.space("alice").history(id)),
    "list": ({"read"}, lambda mem, id: mem.space("alice").list()),
    "search": ({"read"}, lambda mem, id: mem.space("alice").search("harbour")),
    "context": ({"read"}, lambda mem, id: mem.space("alice").context("harbour")),
    "at": ({"read"}, lambda mem, id: mem.space("alice").at(mem.position()).list()),
    "settings": ({"read"}, lambda mem, id: mem.settings("alice")),
    "add": ({"write"}, lambda mem, id: mem.space("alice").add("one more")),
    "add_many": ({"write"}, lambda mem, id: mem.space("alice").add_many([{"text": "one more"}])),
    "update": ({"write", "read"}, lambda mem, id: mem.space("alice").update(id, "changed")),
    "rollback": ({"write", "read"}, lambda mem, id: mem.space("alice").rollback(id, 1)),
    "freeze": ({"write", "read"}, lambda mem, id: mem.space("alice").freeze(id)),
    "unfreeze": ({"write", "read"}, lambda mem, id: mem.space("alice").unfreeze(id)),
    "forget": ({"forget"}, lambda mem, id: mem.space("alice").forget([id])),
    "forget by condition": ({"forget"}, lambda mem, id: mem.space("alice").forget(types=["fact"])),
    "share": ({"share"}, lambda mem, id: mem.space("alice", acl={"read": ["carol"]})),
    "strategy": ({"share"}, lambda mem, id: mem.space("alice", strategy="auto")),
}


@pytest.fixture
def store(mem: Mnemos) -> tuple[Mnemos, str]:
    """A store in which Alice owns a space with one memory that Bob knows the id of."""
    alice = mem.as_principal("alice")
    return mem, alice.space("alice").add(SECRET, author="Plato", tags=["myth"]).id


# -- verbs --
@pytest.mark.parametrize("act", VERBS)
def test_each_act_needs_its_verbs_and_no_others(store: tuple[Mnemos, str], act: str) -> None:
    mem, id = store
    needs, do = VERBS[act]
    bob = mem.as_principal("bob")
    for granted in ({}, {"read"}, {"write"}, {"share"}, {"forget"}, {"read", "write"}, {"read", "share", "forget"}):
        mem.space("alice", acl={verb: ["bob"] for verb in granted})
        if needs <= set(granted):
            try:
                do(bob, id)
            except NotFound:
                assert act.startswith("forget")  # done by an earlier grant
            if act == "strategy":
                break  # what is set already is no change
        else:
            before = mem.position()
            with pytest.raises((PermissionDenied, NotFound)) as refused:
                do(bob, id)
            assert mem.position() == before
            assert "Atlantis" not in str(refused.value)


@pytest.mark.parametrize("act", VERBS)
def test_owner_and_everybody(store: tuple[Mnemos, str], act: str) -> None:
    mem, id = store
    needs, do = VERBS[act]
    mem.space("alice", acl={verb: ["*"] for verb in needs})
    do(mem.as_principal("anybody"), id)
    with Mnemos(":memory:", embedder="none") as other:
        alice = other.as_principal("alice")
        do(alice, alice.space("alice").add(SECRET).id)
        do(other, other.space("alice").add(SECRET).id)


def test_rights_can_be_taken_back_at_once(store: tuple[Mnemos, str]) -> None:
    mem, id = store
    mem.space("alice", acl={"read": ["bob"]})
    bob = mem.as_principal("bob").space("alice")
    assert bob.get(id).text == SECRET
    past = bob.at(mem.position())
    mem.space("alice", acl={})
    for act in (lambda: bob.get(id), lambda: bob.search("harbour"), lambda: past.get(id), lambda: past.search("harbour"), lambda: past.list()):
        with pytest.raises(PermissionDenied):
            act()


@pytest.mark.parametrize("acl", ["read", {"reed": ["bob"]}, {"read": "bob"}, {"read": [5]}, {"read": [""]}, {"read": {"bob": 1}}])
def test_lists_that_are_none_are_refused(mem: Mnemos, acl: Any) -> None:
    with pytest.raises(Invalid, match="acl"):
        mem.space("a", acl=acl)
    assert mem.spaces() == []


def test_nobody_acts_as_another(mem: Mnemos, open_memory: Callable[..., Mnemos]) -> None:
    bob = mem.as_principal("bob")
    for name in ("alice", None):
        with pytest.raises(PermissionDenied):
            bob.as_principal(name)
    assert bob.as_principal("bob").principal == "bob"
    with pytest.raises(PermissionDenied):
        bob.verify()
    bob.close()
    assert mem.space("a").add("still open").text == "still open"
    assert open_memory(":memory:", principal="eve").principal == "eve"


def test_the_log_names_who_acted(mem: Mnemos) -> None:
    bob = mem.as_principal("bob")
    cube = bob.space("b").add("one")
    with mem.transaction():
        mem.space("b").update(cube.id, "two")
        bob.space("b").update(cube.id, "three")
        mem.space("b").update(cube.id, "four")
    assert [(entry.kind, entry.actor) for entry in mem.log()] == [
        ("space", "bob"), ("add", "bob"), ("update", None), ("update", "bob"), ("update", None)
    ]  # fmt: skip


# -- no leak --
def said(act: Callable[[], object]) -> str:
    try:
        return repr(act())
    except MnemosError as error:
        return f"{type(error).__name__}: {error}"


def test_what_is_not_there_and_what_is_not_yours_sound_the_same(store: tuple[Mnemos, str]) -> None:
    mem, id = store
    gone = mem.space("alice").add("forgotten soon").id
    mem.space("alice").forget([gone])
    bob = mem.as_principal("bob")
    mine = bob.space("bob")
    mine.add("my own")
    acts: list[Callable[[str], object]] = [
        mine.get, mine.history, mine.freeze, lambda id: mine.get(id, 1), lambda id: mine.update(id, "x"), lambda id: mine.rollback(id, 1),
        lambda id: mine.forget([id]), lambda id: mine.add("derived", derived_from=[id]),
    ]  # fmt: skip
    for act in acts:
        heard = {said(lambda act=act, x=x: act(x)).replace(x, "ID") for x in (id, gone, NOWHERE)}
        assert len(heard) == 1, heard
        assert "NotFound" in heard.pop()
    for look in (bob.existing_space, bob.settings, lambda name: export_jsonl(bob, "x.jsonl", spaces=[name])):
        heard = {said(lambda look=look, name=name: look(name)).replace(name, "NAME") for name in ("alice", "nobody")}
        assert len(heard) == 1, heard
    heard = {said(lambda acl=acl: bob.space("alice", acl=acl)) for acl in ({}, {"read": ["carol"]}, {"read": ["bob"]})}
    assert len(heard) == 1, heard
    mem.space("alice", acl={"read": ["carol"]})
    assert said(lambda: bob.space("alice", acl={"read": ["carol"]})) in heard  # no way to guess who is on the list


def test_nothing_of_another_space_shows_anywhere(store: tuple[Mnemos, str], tmp_path: Path) -> None:
    mem, id = store
    bob = mem.as_principal("bob")
    mine = bob.space("bob")
    mine.add("the harbour of Lisbon", author="Bob")
    mem.space("alice").update(id, SECRET + " again")
    assert bob.spaces() == ["bob"]
    assert {hit.cube.space for hit in mine.search("hidden harbour of Atlantis, said Plato", k=100)} == {"bob"}
    assert {cube.space for cube in mine.list(limit=100, parts=True)} == {"bob"}
    assert {entry.space for entry in bob.log()} == {2}
    assert not {str(entry.cube) for entry in bob.log()} & {id}
    export_jsonl(bob, tmp_path / "bob.jsonl")
    everything = (tmp_path / "bob.jsonl").read_text() + repr(bob.log()) + repr(mine.search("Plato", k=9, explain=True)) + mine.context("Plato").text
    assert not [word for word in ("Atlantis", "Plato", "myth", id) if word in everything.replace('"Plato"', "")]
    assert bob.expire() == 0


def test_a_certificate_speaks_of_no_space_of_others(store: tuple[Mnemos, str]) -> None:
    mem, _ = store
    mem.space("alice", acl={"read": ["bob"]})
    bob = mem.as_principal("bob")
    alice = mem.as_principal("alice")
    bob.space("bob", acl={"read": ["alice"]})
    root = bob.space("bob").add("root")
    alice.space("alice").add("derived from Bob's", derived_from=[root.id])
    before = mem.position()
    refused = said(lambda: bob.space("bob").forget([root.id]))
    assert refused.startswith("PermissionDenied")
    assert "alice" not in refused
    assert mem.position() == before
    mem.space("alice", acl={"read": ["bob"], "forget": ["bob"]})
    certificate = bob.space("bob").forget([root.id])
    assert {cube.space for cube in certificate.cubes} == {"alice", "bob"}
    assert mnemos.verify_certificate(certificate, mem)


def test_who_may_not_read_learns_nothing_by_forgetting(store: tuple[Mnemos, str]) -> None:
    mem, id = store
    mem.space("alice", acl={"forget": ["bob"]})
    bob = mem.as_principal("bob").space("alice")
    heard = {said(lambda guess=guess: bob.forget([id], reason=guess)) for guess in ("it said Atlantis", "it said Shangri-La", "myth of Plato")}
    assert len(heard) == 1, heard
    assert mem.space("alice").get(id).text == SECRET
    assert json.loads(json.dumps(bob.forget([id]).as_json()))["reason"] is None


def test_nobody_derives_from_what_he_may_not_read(store: tuple[Mnemos, str]) -> None:
    mem, id = store
    bob = mem.as_principal("bob").space("bob")
    with pytest.raises(NotFound):
        bob.add("derived", derived_from=[id])
    mem.space("alice", acl={"read": ["bob"]})
    assert bob.add("derived", derived_from=[id]).derived_from[0].version == 1


@pytest.mark.parametrize("relation", ["derived_from", "part_of"])
def test_an_import_cannot_reach_into_another_space(mem: Mnemos, tmp_path: Path, relation: str) -> None:
    alice = mem.as_principal("alice").space("alice")
    document = alice.add(LONG, type="document")
    bob = mem.as_principal("bob")
    content = {"id": NOWHERE, "version": 1, "created_at": 1, "type": "fact", "text": "a line that Alice never wrote"}
    record = content | {"derived_from": [[document.id, 1, relation]]}
    file = tmp_path / "forged.jsonl"
    write_export(file, [{"space": "bob", "settings": {}}, {"space": "bob", "record": record}], header={})
    if relation == "part_of":
        mem.space("alice", acl={"read": ["bob"]})
    with pytest.raises((NotFound, PermissionDenied)):
        import_jsonl(bob, file)
    assert alice.get(document.id).text == LONG
    assert len(alice.forget([document.id]).cubes) > 2
