"""Writing to a space: every keyword, versions, freezing, documents, transactions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest

from mnemos.base.cube import Link, MemCube
from mnemos.base.errors import Conflict, Frozen, Invalid, NotFound
from mnemos.kernel.space import Space
from mnemos.kernel.system import Mnemos
from support import HandClock

DAY = datetime(2024, 5, 8, tzinfo=UTC)
ID = "01890a5d-ac96-774b-bcce-b302099a8057"
LONG = "\n\n".join(f"Paragraph {i} speaks of the harbour, the {i}th tram and the violin at length, so that it fills a part." for i in range(60))
KEYWORDS: dict[str, tuple[Any, Any]] = {
    "type": ("turn", "turn"), "author": ("Alice", "Alice"), "source": ("D3:7", "D3:7"), "place": ("Lisbon", "Lisbon"),
    "sensitivity": ("private", "private"), "event_at": (date(2024, 5, 8), DAY), "valid_from": ("2024-05-08", DAY),
    "valid_to": (DAY, DAY), "expires_at": ("2999-01-01T00:00:00+00:00", datetime(2999, 1, 1, tzinfo=UTC)),
    "tags": (["home", "home", "b"], ("home", "b")), "entities": (["Lisbon"], ("Lisbon",)), "origin": ("inference", "inference"),
    "metadata": ({"session": 3, "deep": {"er": [1.5, None, True, "é"]}}, {"session": 3, "deep": {"er": [1.5, None, True, "é"]}}),
    "priority": (1, 1.0),
}  # fmt: skip
AT_BIRTH: dict[str, tuple[Any, Any]] = {"id": (ID, ID), "created_at": ("2024-05-08", DAY)}


def same(one: MemCube, two: MemCube, *but: str) -> None:
    for f in fields(MemCube):
        if f.name not in but:
            assert getattr(one, f.name) == getattr(two, f.name), f.name


# -- every keyword --
@pytest.mark.parametrize("name", [*KEYWORDS, *AT_BIRTH])
def test_each_keyword_of_add_is_kept(mem: Mnemos, name: str) -> None:
    given, kept = (KEYWORDS | AT_BIRTH)[name]
    space = mem.space("a")
    bare, cube = space.add("I moved to Lisbon."), space.add("I moved to Lisbon.", **{name: given})
    assert getattr(cube, name) == kept
    same(bare, cube, name, "id", "created_at", "updated_at", "position", "digest")
    found = {hit.cube.id: hit.cube for hit in space.search("Lisbon")}
    for shown in (space.get(cube.id), space.list()[1], space.history(cube.id)[0], found[cube.id]):
        assert shown == cube
    [many] = mem.space("b").add_many([{"text": "I moved to Lisbon.", **({name: given} if name != "id" else {})}])
    same(many, cube, "id", "space", "created_at", "updated_at", "position", "digest")


@pytest.mark.parametrize("name", KEYWORDS)
def test_each_keyword_of_update_changes_that_and_nothing_else(mem: Mnemos, name: str) -> None:
    given, kept = KEYWORDS[name]
    space = mem.space("a")
    everything = {key: value for key, (value, _) in KEYWORDS.items() if key != name}
    cube = space.add("I moved to Lisbon.", **everything)
    changed = space.update(cube.id, **{name: given})
    assert (getattr(changed, name), changed.version, changed.parents) == (kept, 2, (1,))
    same(cube, changed, name, "version", "parents", "updated_at", "position", "digest")
    assert changed == space.get(cube.id)
    back = space.rollback(cube.id, 1)
    same(cube, back, "version", "parents", "updated_at", "position", "digest")
    assert (back.version, back.parents) == (3, (2, 1))
    if name not in ("type", "origin"):
        emptied = space.update(cube.id, **{name: None})
        assert getattr(emptied, name) in (None, (), {})


def test_derived_from_takes_ids_cubes_and_links(mem: Mnemos) -> None:
    space = mem.space("a")
    root = space.add("root")
    second = space.update(root.id, "root again")
    cube = space.add("derived", derived_from=[root.id, second, Link(UUID(root.id), 2, "summary_of"), root.id])
    assert cube.derived_from == (Link(UUID(root.id), 2), Link(UUID(root.id), 2, "summary_of"))
    assert space.update(cube.id, "changed").derived_from == cube.derived_from
    with mem.snapshot() as snapshot:
        assert {child for child, _, _ in snapshot.children(UUID(root.id))} == {UUID(cube.id)}
    for wrong in ([ID], ID, [root.id, 5], [Link(UUID(root.id), 0)]):
        with pytest.raises((Invalid, NotFound)):
            space.add("derived", derived_from=wrong)
    assert len(space.list()) == 2


def test_records_keep_their_order_and_the_first_wrong_one_is_named(mem: Mnemos) -> None:
    space = mem.space("a")
    texts = [f"number {i}" if i % 7 else LONG for i in range(30)]
    assert [cube.text for cube in space.add_many({"text": text} for text in texts)] == texts
    assert [cube.text for cube in space.list()] == texts
    before = mem.position()
    for wrong in ({"text": ""}, {"text": "x", "tag": 1}, {"txt": "x"}, "x", {"text": "x", "metadata": {"a": object()}}):
        with pytest.raises(Invalid, match="record 2"):
            space.add_many([{"text": "fine"}, wrong, {"text": ""}])
    assert mem.position() == before
    assert space.add_many([]) == []


def test_with_progress_what_came_before_a_wrong_record_is_kept(mem: Mnemos) -> None:
    space, steps = mem.space("a"), list[tuple[int, int]]()
    made = space.add_many([{"text": f"number {i}"} for i in range(1100)], progress=lambda done, total: steps.append((done, total)))
    assert steps == [(512, 1100), (1024, 1100), (1100, 1100)]
    assert [cube.text for cube in made] == [f"number {i}" for i in range(1100)]
    with pytest.raises(Invalid, match="record 600"):
        space.add_many(({"text": f"more {i}" if i != 600 else ""} for i in range(1, 700)), progress=lambda done, total: None)
    assert len(space.list(limit=5000)) == 1612


# -- versions --
def test_versions_history_and_rollback(mem: Mnemos) -> None:
    space = mem.space("a")
    cube = space.add("one", tags=["t"])
    versions = [cube, space.update(cube.id, "two"), space.update(cube.id, tags=[]), space.rollback(cube.id, 1), space.rollback(cube.id, 2)]
    assert [(v.version, v.text, v.tags) for v in versions] == [
        (1, "one", ("t",)), (2, "two", ("t",)), (3, "two", ()), (4, "one", ("t",)), (5, "two", ("t",))
    ]  # fmt: skip
    assert space.history(cube.id) == versions
    assert [space.get(cube.id, n) for n in range(1, 6)] == versions
    assert [hit.cube for hit in space.search("one two")] == [versions[4]]
    for act in (lambda: space.get(cube.id, 6), lambda: space.rollback(cube.id, 6), lambda: space.get(ID), lambda: space.history(ID)):
        with pytest.raises(NotFound):
            act()
    with pytest.raises(NotFound):
        mem.space("b").get(cube.id)
    assert mem.verify().ok


def test_views_of_the_past_show_each_moment_and_nothing_later(mem: Mnemos, clock: HandClock) -> None:
    space = mem.space("a")
    start = mem.position()
    cube = space.add("one")
    before_second = datetime.fromtimestamp(clock.now / 1e6, UTC)
    clock.now += 60_000_000
    space.update(cube.id, "two")
    space.freeze(cube.id)
    later = space.add("later")
    first = space.at(cube.position)
    for view in (first, space.at(before_second), space.at(before_second.isoformat())):
        assert [c.text for c in view.list()] == ["one"]
        assert [c.text for c in view.history(cube.id)] == ["one"]
        assert [h.cube.text for h in view.search("one two later")] == ["one"]
        assert (view.get(cube.id).frozen, view.get(cube.id, 1).text) == (False, "one")
        for act in (lambda view=view: view.get(cube.id, 2), lambda view=view: view.get(later.id)):
            with pytest.raises(NotFound):
                act()
        assert view.at(mem.position()).list() == view.list()
        assert view.context("one two later").text.count("[") == 1
    nothing = space.at(start)
    empty = space.at(0)
    for view in (nothing, empty):
        assert view.list() == view.search("one") == []
        for act in (lambda view=view: view.get(cube.id), lambda view=view: view.get(cube.id, 1), lambda view=view: view.history(cube.id)):
            with pytest.raises(NotFound):
                act()
    writes: list[Callable[[], object]] = [
        lambda: first.add("x"), lambda: first.add_many([{"text": "x"}]), lambda: first.update(cube.id, "x"), lambda: first.rollback(cube.id, 1),
        lambda: first.freeze(cube.id), lambda: first.unfreeze(cube.id), lambda: first.forget([cube.id]),
    ]  # fmt: skip
    for write in writes:
        with pytest.raises(Invalid, match="past"):
            write()
    for when in (-1, mem.position() + 1, True, "yesterdayish", None):
        with pytest.raises(Invalid):
            space.at(when)  # type: ignore[arg-type]


def test_if_version_refuses_what_has_changed_since(mem: Mnemos) -> None:
    space = mem.space("a")
    cube = space.add("one")
    assert space.update(cube.id, "two", if_version=1).version == 2
    with pytest.raises(Conflict, match="version 2"):
        space.update(cube.id, "three", if_version=1)
    assert space.get(cube.id).text == "two"


def test_freezing_forbids_every_change(mem: Mnemos) -> None:
    space = mem.space("a")
    cube = space.add("one")
    space.update(cube.id, "two")
    assert space.freeze(cube.id).frozen
    assert space.freeze(cube.id) == space.get(cube.id)
    forgets: list[Callable[[], object]] = [lambda: space.forget([cube.id]), lambda: space.forget(types=["fact"])]
    for act in (lambda: space.update(cube.id, "x"), lambda: space.rollback(cube.id, 1), *forgets):
        with pytest.raises(Frozen):
            act()
    assert [hit.cube.frozen for hit in space.search("two")] == [True]
    assert not space.unfreeze(cube.id).frozen
    assert space.update(cube.id, "three").version == 3


def test_the_same_text_twice_is_two_memories_but_an_id_is_one(mem: Mnemos) -> None:
    space = mem.space("a")
    one, two = space.add("the tram"), space.add("the tram")
    assert {hit.cube.id for hit in space.search("tram")} == {one.id, two.id}
    for add in (lambda: space.add("x", id=one.id), lambda: mem.space("b").add("x", id=one.id), lambda: space.add_many([{"text": "x", "id": ID}] * 2)):
        with pytest.raises(Conflict):
            add()
    assert len(space.list()) == 2


# -- documents --
def test_a_document_is_one_memory_that_is_found_by_its_parts(mem: Mnemos) -> None:
    space = mem.space("a")
    document = space.add(LONG, type="document", source="trams.md", tags=["t"], metadata={"n": 1}, author="Ann")
    assert space.list() == [document] == [space.get(document.id)]
    parts = [cube for cube in space.list(parts=True) if cube.id != document.id]
    assert "".join(part.text for part in parts) == LONG
    for part in parts:
        assert (part.source, part.tags, part.author, part.metadata["n"]) == ("trams.md", ("t",), "Ann", 1)
        assert [(str(link.id), link.relation) for link in part.derived_from] == [(document.id, "part_of")]
        for act in (lambda id=part.id: space.update(id, "x"), lambda id=part.id: space.freeze(id), lambda id=part.id: space.forget([id])):
            with pytest.raises(Invalid, match="part of document"):
                act()
    assert {hit.cube.id for hit in space.search("harbour tram 17", k=100)} == {part.id for part in parts}
    assert "the 17th tram" in space.search("Paragraph 17 the 17th tram", k=1)[0].cube.text
    moment = mem.position()
    shorter = space.update(document.id, "No paragraphs any more.")
    assert [hit.cube.id for hit in space.search("harbour tram", k=100)] == [document.id]
    longer = space.update(document.id, LONG.replace("tram", "boat"))
    assert not [hit for hit in space.search("tram", k=100) if "tram" in hit.cube.text]
    assert [space.get(document.id, n).text for n in (1, 2, 3)] == [LONG, shorter.text, longer.text]
    assert space.rollback(document.id, 1).text == LONG
    assert {hit.cube.id for hit in space.search("harbour tram 17", k=100, as_of=moment)} == {part.id for part in parts}
    assert space.at(moment).get(document.id).text == LONG
    assert mem.verify().ok


# -- transactions --
class Undo(Exception):
    pass


def attempt(mem: Mnemos, act: Callable[[], Any]) -> None:
    def fail() -> None:
        with mem.transaction():
            act()
            raise Undo

    with pytest.raises(Undo):
        fail()


def all_of(space: Space) -> list[tuple[str, int, bool]]:
    return [(cube.text, cube.version, cube.frozen) for cube in space.list(limit=1000)]


def test_a_transaction_is_all_or_nothing_across_spaces(mem: Mnemos) -> None:
    one, two = mem.space("one"), mem.space("two")
    kept = one.add("kept")
    other = two.add("other")
    before, position = (all_of(one), all_of(two)), mem.position()

    def act() -> None:
        one.update(kept.id, "changed")
        two.freeze(other.id)
        two.add(LONG)
        mem.space("three").add("in a new space")
        one.forget([one.add("shortlived").id])
        one.add_many([{"text": "a"}, {"text": "b"}])
        mem.space("one", acl={"read": ["bob"]})
        assert {hit.cube.text for hit in one.search("changed a b")} == {"changed", "a", "b"}

    attempt(mem, act)
    assert ((all_of(one), all_of(two)), mem.position()) == (before, position)
    assert [hit.cube.text for hit in one.search("changed kept a b")] == ["kept"]
    assert (mem.spaces(), mem.settings("one").get("acl")) == (["one", "two"], None)
    with mem.transaction():
        act()
    assert all_of(one) == [("changed", 2, False), ("a", 1, False), ("b", 1, False)]
    assert [text for text, _, frozen in all_of(two) if frozen] == ["other"]
    assert mem.spaces() == ["one", "two", "three"]
    assert mem.verify().ok


def test_nested_transactions_can_fail_alone(mem: Mnemos) -> None:
    space = mem.space("a")
    with mem.transaction():
        space.add("outer")
        attempt(mem, lambda: [space.search("inner") for text in ("inner", "inner too") if space.add(text)])
        assert [hit.cube.text for hit in space.search("inner")] == ["outer"]
        with mem.transaction():
            space.add("second")
            space.forget([space.add("second, forgotten").id])
        with pytest.raises(Invalid):
            space.add("")
        with pytest.raises(Conflict):
            space.add_many([{"text": "third"}, {"text": "x", "id": space.list()[0].id}])
        assert {hit.cube.text for hit in space.search("outer inner second third")} == {"outer", "second"}
    assert [cube.text for cube in space.list()] == ["outer", "second"]

    def outer() -> None:
        with mem.transaction():
            space.add("kept by the inner one only")

    attempt(mem, outer)
    assert [cube.text for cube in space.list()] == ["outer", "second"]
    assert mem.verify().ok


def test_others_do_not_see_a_transaction_before_its_end(filed: Mnemos, open_memory: Callable[..., Mnemos]) -> None:
    space, other = filed.space("a"), open_memory(filed.path)
    space.add("before")
    with filed.transaction():
        space.add("inside")
        assert len(space.search("before inside")) == 2
        assert len(other.space("a").search("before inside")) == 1
        assert [cube.text for cube in other.space("a").list()] == ["before"]
    assert len(other.space("a").search("before inside")) == 2


def test_closing_inside_a_transaction_is_refused(mem: Mnemos) -> None:
    with mem.transaction():
        mem.space("a").add("one")
        for act in (mem.close, mem.verify):
            with pytest.raises(Invalid, match="transaction"):
                act()
    assert len(mem.space("a").list()) == 1
