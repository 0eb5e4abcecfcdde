"""What-if branches: copies that rank like the originals, changes that stay there, and three ways back: diff, merge, drop."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from mnemos.base.clock import from_micros
from mnemos.base.errors import Conflict, Frozen, Invalid, NotFound, PermissionDenied, StoreFull
from mnemos.kernel.system import Mnemos
from mnemos.kernel.writing.drafts import CHANGEABLE
from store_contents import rankings, rows
from support import EMBEDDER, HandClock

WORDS = ["lisbon", "tram", "guitar", "coffee", "harbour", "violin", "snow", "bridge", "alice", "bob", "moved", "likes"]
QUESTIONS = ["Where did Alice move?", "tram in the harbour", "Who plays the violin?"]
LONG = "\n\n".join(f"Sentence {i} about the tram in the harbour of Lisbon." for i in range(600))


@pytest.fixture
def base(mem: Mnemos) -> Any:
    """A space with facts, turns, a document, a note derived from two of them, and one of each state."""
    rng = random.Random(4)
    space = mem.space("base")
    for number in range(12):
        space.add(" ".join(rng.choices(WORDS, k=7)), type="turn", author=rng.choice(["Alice", "Bob"]), metadata={"session": number // 4})
    turns = space.list()
    space.add(LONG, type="document", source="book")
    space.add("Alice likes trams.", type="note", derived_from=[turns[0], turns[1]])
    space.update(turns[2].id, "Bob moved to the bridge.")
    space.update(turns[1].id, "Alice moved to Porto.")  # the note is stale now
    space.archive(turns[4].id)
    space.quarantine(turns[5].id)
    space.freeze(turns[6].id)
    return space


def everything(space: Any) -> dict[str, Any]:
    """Text → what else is said, of every memory of a space."""
    states = ["generated", "activated", "archived", "merged", "quarantined", "expired"]
    return {
        cube.text: {name: getattr(cube, name) for name in (*CHANGEABLE, "created_at", "stale")} | {"hidden": cube.state in states[2:]}
        for cube in space.list(states=states, limit=1000)
    }


def by_text(mem: Mnemos, name: str) -> Any:
    """Rankings by text and score: ids are each space's own."""
    found = {}
    for question in QUESTIONS:
        found[question] = [(hit.cube.text, hit.score) for hit in mem.space(name).search(question, 60)]
    return found


def of(space: Any, text: str) -> Any:
    return next(cube for cube in space.list(limit=1000, states=["generated", "activated", "archived", "merged"]) if cube.text.startswith(text))


# -- making one --
def test_a_branch_is_a_copy_that_ranks_alike_and_leaves_the_original_alone(mem: Mnemos, base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before, position = rows(mem), mem.position()
    monkeypatch.setattr(mem.embedding, "vectors", lambda texts, progress=None: pytest.fail("vectors are to be copied"))
    branch = base.branch("what if")
    assert everything(branch.space) == everything(base)
    assert by_text(mem, "what if") == by_text(mem, "base")
    after = rows(mem)
    for table in ("cube", "version", "vector", "edge", "log", "forgotten"):
        assert [row for row in after[table] if row in before[table]] == before[table], table
    originals = {cube.id: cube for cube in base.list(limit=1000, states=["generated", "archived", "quarantined"])}
    for cube in branch.space.list(limit=1000, states=["generated", "archived", "quarantined"]):
        (link,) = [link for link in cube.derived_from if link.relation == "branched_from"]
        assert (originals[str(link.id)].version, cube.version, cube.frozen) == (link.version, 1, False)
    note = of(branch.space, "Alice likes")
    inside = {cube.id for cube in branch.space.list(limit=1000)}
    assert sum(str(link.id) in inside for link in note.derived_from if link.relation == "derived_from") == 2
    assert note.stale
    assert (branch.origin.of, branch.origin.position, branch.name) == ("base", position, "what if")
    assert [one.name for one in base.branches()] == ["what if"]
    assert not branch.diff()
    assert mem.verify().ok


@pytest.mark.parametrize("how", ["position", "time", "snapshot", "view"])
def test_a_branch_of_the_past(mem: Mnemos, base: Any, clock: HandClock, how: str) -> None:
    was, found, position, when = everything(base), by_text(mem, "base"), mem.position(), from_micros(clock.now)
    base.snapshot("then")
    for cube in base.list(limit=5, types=["turn"]):
        if not cube.frozen:
            base.update(cube.id, f"changed {cube.text}")
    base.update(of(base, "Sentence").id, "no document any more")
    base.add("written later")
    to = {"position": position, "time": when, "snapshot": "then"}.get(how)
    branch = base.at(position).branch("past") if how == "view" else base.branch("past", at=to)
    assert everything(branch.space) == was
    assert by_text(mem, "past") == found
    assert branch.origin.position == position
    assert mem.verify().ok


def test_what_cannot_be_branched(mem: Mnemos, base: Any) -> None:
    base.branch("b")
    for name, error in (("b", Conflict), ("base", Conflict), ("", Invalid), ("x\n", Invalid)):
        with pytest.raises(error):
            base.branch(name)
    for at, error in (("nowhere", NotFound), (10**9, Invalid)):
        with pytest.raises(error):
            base.branch("c", at=at)
    with pytest.raises(Invalid, match="'base' is no branch; make one"):
        base.as_branch()
    assert mem.spaces() == ["base", "b"]
    assert base.branch("empty", at=0).space.list() == []


def test_a_branch_of_a_branch(mem: Mnemos, base: Any) -> None:
    first = base.branch("first")
    first.space.update(of(first.space, "Bob moved").id, "Bob moved to the harbour.")
    second = first.space.branch("second")
    second.space.add("only here")
    second.merge()
    assert of(first.space, "only here")
    assert [change.kind for change in first.diff().changes] == ["changed", "added"]
    first.merge()
    assert of(base, "Bob moved to the harbour.").version == 3
    assert of(base, "only here")
    assert mem.verify().ok


def test_what_is_forgotten_is_gone_from_branches(mem: Mnemos, base: Any) -> None:
    branch = base.branch("b")
    cube = of(base, "Bob moved")
    base.forget([cube.id])
    with pytest.raises(StopIteration):
        of(branch.space, "Bob moved")
    base.update(of(base, "Alice moved").id, "Alice moved on.")
    assert of(branch.space, "Alice moved to Porto.").stale is False  # what happens to the original does not make the copy stale
    assert mem.verify().ok


def test_rules_go_with_the_copies(mem: Mnemos, base: Any) -> None:
    mem.space("base", acl={"read": ["bob"]})
    hidden = base.list()[0]
    base.set_acl(hidden.id, {"read": ["carol"]})
    only_read = base.list()[1]
    base.set_acl(only_read.id, {"derive": ["carol"]})
    document = of(base, "Sentence")
    base.set_acl(document.id, {"read": ["bob"]})
    bob = mem.as_principal("bob")
    theirs = bob.existing_space("base").branch("bobs")
    texts = set(everything(theirs.space))
    assert hidden.text not in texts
    assert only_read.text not in texts
    assert LONG in texts
    copy = of(mem.space("bobs"), "Sentence")
    with mem.snapshot() as snapshot:
        assert snapshot.standing(UUID(copy.id)).acl == {"read": ["bob"]}  # type: ignore[union-attr]
        assert all(snapshot.standing(UUID(part.id)).acl == {"read": ["bob"]} for part in mem.space("bobs").list(parts=True, limit=500)  # type: ignore[union-attr]
                   if part.source == "book")  # fmt: skip
    mem.space("base", acl={"read": ["bob"], "derive": []})
    with pytest.raises(PermissionDenied, match="may not derive"):
        bob.existing_space("base").branch("more")
    with pytest.raises(NotFound):
        mem.as_principal("carol").existing_space("base")
    with pytest.raises(PermissionDenied):
        theirs.merge()  # he may read the original, not write it
    assert not theirs.diff()  # what he was not given is no deletion of his


# -- comparing and merging --
def test_changes_are_told_and_merged(mem: Mnemos, base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    branch = base.branch("b")
    there = branch.space
    changed, archived, gone = of(there, "Bob moved"), there.list(types=["turn"])[0], there.list(types=["turn"])[3]
    restored = there.list(states=["archived"])[0]
    there.update(changed.id, "Bob moved to Lisbon.", tags=["new"])
    there.archive(archived.id)
    there.restore(restored.id)
    there.update(of(there, "Sentence").id, LONG.replace("harbour", "castle"))
    added = there.add("A new idea.", derived_from=[changed.id])
    more = there.add(f"Of boats.\n\n{LONG}", type="document", derived_from=[added.id])
    there.forget([gone.id])
    there.add("archived before it was merged, never to be seen")
    there.archive(of(there, "archived before").id)
    told = branch.diff()
    kinds: dict[str, list[Any]] = {}
    for change in told.changes:
        kinds.setdefault(change.kind, []).append(change)
    assert {kind: len(found) for kind, found in kinds.items()} == {"changed": 2, "archived": 2, "restored": 1, "added": 2}
    assert {change.base.text[:9]: change.fields for change in kinds["changed"]} == {"Bob moved": ("text", "tags"), "Sentence ": ("text",)}
    assert told.conflicts == ()
    assert told.as_json()["of"] == "base"
    asked: list[str] = []
    mem.embedding.drop([*mem.embedding._known])
    real = EMBEDDER.embed
    monkeypatch.setattr(type(EMBEDDER), "embed", lambda self, texts, progress=None: asked.extend(texts) or real(texts))
    merged = branch.merge()
    assert asked == []  # vectors are those of the branch
    monkeypatch.undo()
    assert (len(merged.added), len(merged.changed), len(merged.archived), len(merged.restored), merged.left) == (2, 2, 2, 1, ())
    moved = of(base, "Bob moved")
    assert (moved.text, moved.tags, moved.version) == ("Bob moved to Lisbon.", ("new",), 3)
    assert of(base, archived.text).state == of(base, gone.text).state == "archived"
    assert of(base, restored.text).state == "activated"
    assert of(base, "Sentence").text == LONG.replace("harbour", "castle")
    assert len(base.list(parts=True, limit=1000)) > 40
    idea = of(base, "A new idea.")
    assert [(str(link.id), link.version) for link in idea.derived_from] == [(moved.id, 3)]
    boat = of(base, "Of boats.")
    assert (boat.text, [str(link.id) for link in boat.derived_from]) == (more.text, [idea.id])
    assert not idea.stale
    assert base.search("castle sentence 7", 3)[0].cube.text.count("castle")
    assert not branch.diff()
    assert branch.merge() == type(merged)((), (), (), (), ())
    there.update(added.id, "A better idea.")
    assert [change.kind for change in branch.diff().changes] == ["changed"]
    assert branch.merge().changed == (idea.id,)
    assert base.get(idea.id).text == "A better idea."
    assert merged.as_json()["restored"] == [of(base, restored.text).id]
    assert mem.verify().ok
    base.forget([idea.id])  # gone from the branch, too, where it was first
    with pytest.raises(NotFound):
        there.get(added.id)


def test_both_sides_may_change_different_things(mem: Mnemos, base: Any) -> None:
    branch = base.branch("b")
    here, there = of(base, "Bob moved"), of(branch.space, "Bob moved")
    base.update(here.id, tags=["ours"], author="Carol")
    branch.space.update(there.id, "Bob moved to Lisbon.", author="Carol")
    assert branch.diff().conflicts == ()
    branch.merge()
    both = base.get(here.id)
    assert (both.text, both.tags, both.author, both.version) == ("Bob moved to Lisbon.", ("ours",), "Carol", 4)
    assert not branch.diff()
    base.update(here.id, "And on.")  # a change of the original alone is none of the branch
    assert not branch.diff()


@pytest.mark.parametrize("way", ["error", "ours", "theirs"])
def test_conflicts(mem: Mnemos, base: Any, way: str) -> None:
    branch = base.branch("b")
    pairs = [(of(base, cube.text), cube) for cube in branch.space.list(types=["turn"])[:4] if not of(base, cube.text).frozen]
    (one, there_one), (two, there_two), (three, there_three), (four, there_four) = pairs
    base.update(one.id, "ours", tags=["t"])
    branch.space.update(there_one.id, "theirs", place="there")
    base.archive(two.id)
    branch.space.update(there_two.id, "changed where it was archived")
    base.update(three.id, "changed where it was archived there")
    branch.space.archive(there_three.id)
    base.update(four.id, "the same")
    branch.space.update(there_four.id, "the same")
    conflicts = {change.base.id: change.conflicts for change in branch.diff().conflicts}  # type: ignore[union-attr]
    assert conflicts == {one.id: ("text",), two.id: ("state",), three.id: ("state",)}
    before = rows(mem)
    if way == "error":
        with pytest.raises(Conflict, match=rf"merge: changed on both sides: .*{one.id} \(text\); .*on_conflict='ours' or 'theirs'"):
            branch.merge()
        with pytest.raises(Invalid, match="on_conflict: 'mine' is none of"):
            branch.merge("mine")
        assert rows(mem) == before
        return
    merged = branch.merge(on_conflict=way)
    states = [base.get(cube.id).state for cube in (one, two, three)]
    if way == "ours":
        assert base.get(one.id).text == "ours"
        assert (base.get(one.id).place, base.get(one.id).tags) == ("there", ("t",))  # what nobody contradicts is taken
        assert states == ["generated", "archived", "generated"]
        assert merged.left == (three.id,)
    else:
        assert (base.get(one.id).text, base.get(one.id).tags) == ("theirs", ("t",))
        assert base.get(two.id).text == "changed where it was archived"
        assert states == ["generated", "activated", "archived"]
        assert merged.left == ()
    assert not branch.diff()  # it is settled
    assert not branch.merge().changed
    assert mem.verify().ok


def test_a_frozen_original_is_never_touched(mem: Mnemos, base: Any) -> None:
    branch = base.branch("b")
    frozen = next(cube for cube in base.list() if cube.frozen)
    branch.space.update(of(branch.space, frozen.text).id, "changed")
    branch.space.add("new")
    before = rows(mem)
    with pytest.raises(Frozen, match=frozen.id):
        branch.merge()
    assert rows(mem) == before
    base.unfreeze(frozen.id)
    branch.merge()
    assert base.get(frozen.id).text == "changed"


def test_a_merge_counts_against_the_quota(mem: Mnemos, base: Any) -> None:
    branch = base.branch("b")
    branch.space.add("one more")
    mem.space("base", quota={"cubes": 14})
    before = rows(mem)
    with pytest.raises(StoreFull):
        branch.merge()
    assert rows(mem) == before


# -- dropping --
def test_dropping_forgets_the_branch_and_nothing_else(mem: Mnemos, base: Any) -> None:
    was, found = everything(base), rankings(mem, ["base"], QUESTIONS)
    branch = base.branch("b")
    branch.space.add("an idea of the branch")
    branch.space.freeze(branch.space.list()[0].id)
    with pytest.raises(Frozen):
        branch.drop()
    branch.space.unfreeze(branch.space.list()[0].id)
    certificate = branch.drop("it led nowhere")
    assert certificate is not None
    assert certificate.reason == "it led nowhere"
    assert mem.space("b").list() == []
    assert base.branches() == []
    assert everything(base) == was
    assert rankings(mem, ["base"], QUESTIONS) == found
    with pytest.raises(Invalid, match="no branch, or not any more"):
        mem.space("b").as_branch()
    again = base.branch("b")  # the name is free
    assert everything(again.space) == was
    assert mem.verify().ok


def test_merged_memories_outlive_their_branch(mem: Mnemos, base: Any) -> None:
    branch = base.branch("b")
    branch.space.add("a good idea")
    branch.space.update(of(branch.space, "Bob moved").id, "Bob moved to Lisbon.")
    branch.merge()
    branch.drop()
    assert of(base, "a good idea")
    assert of(base, "Bob moved to Lisbon.")
    assert base.branch("empty", at=0).drop() is None
    assert mem.verify().ok


def test_only_its_owner_drops_a_branch(mem: Mnemos, base: Any) -> None:
    branch = base.branch("b")
    mem.space("b", acl={"read": ["bob"], "forget": ["bob"]})
    with pytest.raises(PermissionDenied, match="may not drop branch"):
        mem.as_principal("bob").existing_space("b").as_branch().drop()
    with pytest.raises(NotFound, match="none that you may see"):
        mem.as_principal("bob").existing_space("b").as_branch().diff()
    assert branch.space.list()


def test_a_branch_is_a_branch_after_opening_again(open_memory: Callable[..., Mnemos]) -> None:
    mem = open_memory()
    space = mem.space("base")
    cube = space.add("Alice moved to Lisbon.")
    space.branch("b").space.add("an idea")
    mem.close()
    mem = open_memory()
    branch = mem.space("b").as_branch()
    assert [change.kind for change in branch.diff().changes] == ["added"]
    assert branch.merge().added
    assert {found.text for found in mem.space("base").list()} == {cube.text, "an idea"}
