"""Consolidation: views are made once, follow their sources, and are no way around any rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import mnemos
from mnemos.base.cube import Link
from mnemos.base.errors import Conflict, NotFound, PermissionDenied
from mnemos.base.ids import parse_id
from mnemos.base.lineage import VIEW_OF
from mnemos.kernel import consolidation
from mnemos.kernel.exchange.exporting import export_archive
from mnemos.kernel.exchange.importing import import_archive
from mnemos.kernel.space import Space
from mnemos.text import registry
from mnemos.text.strategy import Draft, Recall, View, Workbench

ANIMALS = ("heron", "otter", "badger", "lynx", "stoat", "vole", "marten", "hare", "mole")
TEXTS = [f"The {animal} lives in room {n}." for n, animal in enumerate(ANIMALS)]


@pytest.fixture(autouse=True)
def echo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.STRATEGIES, "echo", "tests.kernel.echo_strategy:Echo")


@pytest.fixture
def space() -> Iterator[Space]:
    with mnemos.open(":memory:", embedder="hashed") as mem:
        yield mem.space("zoo", strategy="echo")


def look(space: Space, query: str = "heron") -> View:
    """What the space's strategy sees when it recalls."""
    seen: list[View] = []
    strategy = space.system.strategy_of(space)
    recall = strategy.recall

    def spy(question: object, view: View, k: int) -> Recall:
        seen.append(view)
        return recall(question, view, k)  # type: ignore[arg-type]

    strategy.recall = spy  # type: ignore[method-assign]
    try:
        space.search(query)
    finally:
        del strategy.recall  # type: ignore[attr-defined]
    return seen[0]


def test_each_memory_gets_its_views_once(space: Space) -> None:
    space.add_many([{"text": text} for text in TEXTS])
    first = space.consolidate()
    assert (first.seen, first.added, first.report) == (9, 18, {"echoed": 9})
    assert space.consolidate().as_json() | {"report": {}} == {"strategy": "echo", "seen": 0, "added": 0, "revised": 0, "retired": 0, "report": {}}
    space.add("The newt lives in the pond.")
    assert space.consolidate().added == 2
    assert len(space.list(types=["note"], limit=100)) == 10


def test_plain_searches_leave_views_out_and_a_type_asks_for_them(space: Space) -> None:
    space.add_many([{"text": text} for text in TEXTS])
    before = [hit.cube.id for hit in space.search("where does the heron live", k=9)]
    space.consolidate()
    assert [hit.cube.id for hit in space.search("where does the heron live", k=9)] == before
    assert [hit.cube.type for hit in space.search("heron", k=3, types=["note"])] == ["note"] * 3


def test_a_view_inherits_and_says_who_made_it(space: Space) -> None:
    space.add("Ask Ann.", sensitivity="personal", event_at="2024-05-01")
    space.consolidate()
    (note,) = space.list(types=["note"])
    assert (note.sensitivity, note.origin, note.tags) == ("personal", "inference", ("echo",))
    assert note.event_at is not None
    assert note.event_at.year == 2024
    assert note.metadata["strategy"] == "echo"
    assert note.metadata["by"] == "rules"


def test_what_becomes_of_a_source_becomes_of_its_views(space: Space) -> None:
    cubes = space.add_many([{"text": text} for text in TEXTS])
    space.consolidate()
    space.update(cubes[0].id, "The heron lives in the attic.")
    assert [note.text for note in space.list(types=["note"], stale=True)] == [TEXTS[0].upper()]
    done = space.consolidate()
    assert done.revised == 1
    assert not space.list(types=["note"], stale=True)
    space.forget([cubes[1].id])
    assert TEXTS[1].upper() not in {note.text for note in space.list(types=["note"], limit=100)}
    assert len(space.list(types=["note"], limit=100)) == 8


def test_views_of_what_may_not_be_seen_have_no_bearing(space: Space) -> None:
    cubes = space.add_many([{"text": text} for text in TEXTS])
    space.consolidate()
    assert np.count_nonzero(look(space).views) == 18
    space.quarantine(cubes[0].id)
    assert np.count_nonzero(look(space).views) == 16, "the note and the relation that is made of it"
    space.set_acl(cubes[1].id, {"read": ["ann"]})
    space.update(cubes[2].id, "The badger lives on the roof.")
    with pytest.raises(PermissionDenied):
        space.system.as_principal("bob").space("zoo").search("badger")
    system = space.system
    system.space("zoo", acl={"read": ["bob"]})
    theirs = system.as_principal("bob").space("zoo")
    assert np.count_nonzero(look(theirs).views) == 12
    assert np.count_nonzero(look(space).views) == 14


def test_what_has_rules_of_its_own_is_woven_into_nothing(space: Space) -> None:
    cube = space.add(TEXTS[0])
    space.set_acl(cube.id, {"read": ["ann"]})
    assert space.consolidate().added == 0


def test_a_view_follows_the_rules_that_its_source_is_given_later(space: Space) -> None:
    cube = space.add(TEXTS[0])
    space.consolidate()
    (note,) = space.list(types=["note"])
    (relation,) = space.list(types=["relation"])
    space.set_acl(cube.id, {"read": ["ann"]})
    assert space.acl(note.id) == space.acl(relation.id) == {"read": ["ann"]}
    space.system.space("zoo", acl={"read": ["bob"]})
    with pytest.raises(NotFound):
        space.system.as_principal("bob").space("zoo").get(note.id)


def test_relations_are_those_of_the_views_in_sight(space: Space) -> None:
    cubes = space.add_many([{"text": text} for text in TEXTS[:3]])
    space.consolidate()
    view = look(space)
    assert view.relations is not None
    assert view.views is not None
    edges = view.relations.edges(view.index.first.view(), view.views, ["after"])
    assert edges.weight.tolist() == [0.5, 0.5]
    assert len(set(edges.source.tolist() + edges.target.tolist())) == 3
    members = view.relations.incidence(view.views, ["subject"])
    assert sorted(members.node.tolist()) == [view.index.rows_of(parse_id(cube.id))[0] for cube in cubes]
    assert not len(view.relations.edges(view.index.first.view(), view.views, ["unheard of"]).source)


def test_a_kill_between_portions_loses_and_repeats_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mnemos.open(tmp_path / "memory.db", embedder="hashed") as mem:
        space = mem.space("zoo", strategy="echo")
        space.add_many([{"text": text} for text in TEXTS])
        commits = 0
        commit = consolidation._Portion.commit

        def dies(portion: consolidation._Portion) -> None:
            nonlocal commits
            commits += 1
            if commits == 2:
                raise KeyboardInterrupt
            commit(portion)

        monkeypatch.setattr(consolidation._Portion, "commit", dies)
        with pytest.raises(KeyboardInterrupt):
            space.consolidate()
        assert len(space.list(types=["note"])) == 4
    with mnemos.open(tmp_path / "memory.db", embedder="hashed") as mem:
        monkeypatch.undo()
        monkeypatch.setitem(registry.STRATEGIES, "echo", "tests.kernel.echo_strategy:Echo")
        assert mem.space("zoo").consolidate().seen == 5
        assert sorted(note.text for note in mem.space("zoo").list(types=["note"])) == sorted(text.upper() for text in TEXTS)
        assert mem.verify().ok


def test_two_workers_do_nothing_twice(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    space.add_many([{"text": text} for text in TEXTS])
    commit, other = consolidation._Portion.commit, [True]

    def overtaken(portion: consolidation._Portion) -> None:
        if other and other.pop():
            space.consolidate()
        commit(portion)

    monkeypatch.setattr(consolidation._Portion, "commit", overtaken)
    assert space.consolidate().added == 0
    assert len(space.list(types=["note"])) == 9


def test_who_changes_what_a_portion_rests_on_for_ever_is_told(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    space.add(TEXTS[0])

    def never(portion: consolidation._Portion) -> None:
        raise Conflict("changed meanwhile")

    monkeypatch.setattr(consolidation._Portion, "commit", never)
    with pytest.raises(Conflict):
        space.consolidate()


def test_a_space_that_consolidates_has_a_recurring_job(space: Space) -> None:
    space.add_many([{"text": text} for text in TEXTS])
    (job,) = [job for job in space.system.jobs.list() if job.kind == "consolidate"]
    assert (job.key, job.state) == ("zoo", "waiting")
    space.system.jobs.run_once()
    assert len(space.list(types=["note"])) == 9
    space.system.space("zoo", strategy="plain")
    assert [job.state for job in space.system.jobs.list() if job.kind == "consolidate"] == ["cancelled"]


def test_only_who_reads_all_of_a_space_consolidates_it(space: Space) -> None:
    space.system.space("zoo", acl={"read": ["bob"], "write": ["bob"]}, clearance={"bob": "public"})
    with pytest.raises(PermissionDenied, match="its owner may"):
        space.system.as_principal("bob").space("zoo").consolidate()


# ---- what somebody may not see, seen through views ---------------------------------------------------------------------


def test_an_earlier_version_of_a_view_follows_the_rules_of_what_it_was_made_of(space: Space) -> None:
    """A view that was renewed from other memories can still be read as it was: the rules of what it was made of then hold for it, too."""
    secret, plain = space.add("The vault's code is 4711."), space.add("The vault is in the cellar.")
    space.consolidate()
    note = next(note for note in space.list(types=["note"]) if "CODE" in note.text)
    space.update(note.id, "NOTHING", derived_from=[Link(parse_id(plain.id), 1, VIEW_OF)])
    space.set_acl(secret.id, {"read": ["ann"]})
    space.system.space("zoo", acl={"read": ["bob"]})
    theirs = space.system.as_principal("bob").space("zoo")
    with pytest.raises(NotFound):
        theirs.get(note.id, version=1)
    with pytest.raises(NotFound):
        theirs.history(note.id)
    assert "CODE" not in "".join(cube.text for cube in theirs.list(limit=100)).upper()


def test_a_source_that_gets_rules_while_it_is_worked_on_is_woven_into_nothing(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the commit rules are given: the portion comes again, without it."""
    cubes = space.add_many([{"text": text} for text in TEXTS[:3]])
    meanwhile(monkeypatch, lambda: space.set_acl(cubes[0].id, {"read": ["ann"]}))
    assert space.consolidate().added == 4
    assert TEXTS[0].upper() not in {note.text for note in space.list(types=["note"])}


@pytest.mark.parametrize("step", ["quarantine", "archive"])
def test_a_source_that_is_set_aside_while_it_is_worked_on_gets_no_view(space: Space, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    cubes = space.add_many([{"text": text} for text in TEXTS[:3]])
    meanwhile(monkeypatch, lambda: getattr(space, step)(cubes[0].id))
    done = space.consolidate()
    assert (done.added, done.report) == (4, {"echoed": 2}), "what the lost attempt counted does not count"


def test_views_of_views_at_any_depth_do_not_speak_for_what_is_not_seen(space: Space) -> None:
    cube = secret = space.add("The vault's code is 4711.")
    for depth in range(12):
        cube = space.add(f"View {depth} of 4711.", derived_from=[Link(parse_id(cube.id), 1, VIEW_OF)])
    assert np.count_nonzero(look(space).views) == 12
    space.quarantine(secret.id)
    assert np.count_nonzero(look(space).views) == 0
    assert not space.search("4711", types=["fact"])


def test_a_view_of_a_memory_in_another_space_has_no_bearing(space: Space) -> None:
    other = space.system.space("other").add("The vault's code is 4711.")
    space.add("THE VAULT'S CODE", derived_from=[Link(parse_id(other.id), 1, VIEW_OF)], metadata={"strategy": "echo"})
    assert np.count_nonzero(look(space).views) == 0
    space.add(TEXTS[0])
    assert space.consolidate().added == 2


# ---- who may write what ----------------------------------------------------------------------------------------------


def test_one_consolidation_is_one_write_against_a_rate(space: Space) -> None:
    system = space.system
    theirs = system.as_principal("ann").space("hers", strategy="echo", rate={"writes_per_minute": 3})
    theirs.add_many([{"text": text} for text in TEXTS])
    assert theirs.consolidate().added == 18


def test_a_full_space_is_consolidated_as_far_as_there_is_room(space: Space) -> None:
    space.add_many([{"text": text} for text in TEXTS])
    system = space.system
    system.space("zoo", quota={"cubes": 9 + 8})
    done = space.consolidate()
    assert (done.seen, done.added) == (4, 8)
    assert done.report["stopped: the space may hold no more"] == 1
    system.jobs.run_once()
    assert [job.state for job in system.jobs.list() if job.kind == "consolidate"] == ["waiting"]
    system.space("zoo", quota={"cubes": 100})
    assert (space.consolidate().seen, len(space.list(types=["note"]))) == (5, 9)


def test_a_read_only_space_is_left_alone_by_its_job(space: Space) -> None:
    space.add(TEXTS[0])
    space.system.space("zoo", read_only=True)
    space.system.jobs.run_once()
    (job,) = [job for job in space.system.jobs.list() if job.kind == "consolidate"]
    assert (job.state, job.error, job.attempts) == ("waiting", None, 0)
    with pytest.raises(PermissionDenied):
        space.consolidate()
    space.system.space("zoo", read_only=False)
    assert space.consolidate().added == 2


def test_a_frozen_view_stays_as_it_is_and_holds_nothing_up(space: Space) -> None:
    cubes = space.add_many([{"text": text} for text in TEXTS[:2]])
    space.consolidate()
    first = next(note for note in space.list(types=["note"]) if note.text == TEXTS[0].upper())
    space.freeze(first.id)
    for cube in cubes:
        space.update(cube.id, "They live in the attic.")
    assert space.consolidate().revised == 1
    assert space.get(first.id).text == TEXTS[0].upper()
    space.unfreeze(first.id)
    assert [note.stale for note in space.list(types=["note"], stale=True)] == [True]


def test_a_view_that_is_frozen_while_it_is_worked_on_is_left(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    cube = space.add(TEXTS[0])
    space.consolidate()
    (note,) = space.list(types=["note"])
    space.update(cube.id, "It lives in the attic.")
    meanwhile(monkeypatch, lambda: space.freeze(note.id))
    done = space.consolidate()
    assert (done.revised, done.report) == (0, {"left as it was: frozen": 1})


# ---- what comes back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("away", "back"), [("quarantine", "release"), ("archive", "restore"), ("hide", "show")])
def test_what_was_set_aside_when_its_time_was_is_looked_at_when_it_comes_back(space: Space, away: str, back: str) -> None:
    steps = {"hide": lambda id: space.set_acl(id, {"read": ["ann"]}), "show": lambda id: space.set_acl(id, None)}
    cubes = space.add_many([{"text": text} for text in TEXTS])
    for cube in cubes[:5]:
        steps.get(away, getattr(space, away, None))(cube.id)
    assert space.consolidate().seen == 4
    for cube in cubes[:5]:
        steps.get(back, getattr(space, back, None))(cube.id)
    assert space.consolidate().seen == 5, "more than a portion holds"
    assert len(space.list(types=["note"], limit=100)) == 9
    position = space.system.position()
    assert space.consolidate().seen == 0
    assert space.system.position() == position


def test_what_comes_back_with_its_views_is_not_looked_at_again(space: Space) -> None:
    cube = space.add(TEXTS[0])
    space.consolidate()
    space.archive(cube.id)
    space.restore(cube.id)
    assert space.consolidate().seen == 0


def test_a_memory_that_lost_its_view_with_another_gets_a_new_one(space: Space) -> None:
    cubes = space.add_many([{"text": text} for text in TEXTS[:2]])
    space.consolidate()
    note = next(note for note in space.list(types=["note"]) if note.text == TEXTS[0].upper())
    space.update(note.id, "BOTH", derived_from=[Link(parse_id(cube.id), 1, VIEW_OF) for cube in cubes])
    space.forget([cubes[1].id])
    assert not space.list(types=["note"])
    assert space.consolidate().seen == 1
    assert [note.text for note in space.list(types=["note"])] == [TEXTS[0].upper()]
    assert space.consolidate().seen == 0
    assert space.system.verify().ok


# ---- spaces that come from elsewhere, and strategies that go -----------------------------------------------------------


def test_a_branch_has_its_views_and_their_edges_and_merging_leaves_views_out(space: Space) -> None:
    space.add_many([{"text": text} for text in TEXTS[:4]])
    space.consolidate()
    branch = space.branch("what if")
    there = look(branch.space)
    assert there.relations is not None
    assert there.views is not None
    assert len(there.relations.edges(there.index.first.view(), there.views, ["after"]).source) == 3
    assert len(there.relations.incidence(there.views).node) == 4
    assert {job.key for job in space.system.jobs.list(kind="consolidate")} == {"zoo", "what if"}
    assert branch.space.consolidate().added == 0, "they are there already"
    branch.space.add(TEXTS[4])
    branch.space.consolidate()
    assert [change.branch.text for change in branch.diff().changes if change.branch] == [TEXTS[4]]
    branch.merge()
    assert len(space.list(types=["note"])) == 4
    assert space.consolidate().added == 2
    assert space.system.verify().ok


def test_views_and_edges_travel_in_archives(space: Space, tmp_path: Path) -> None:
    space.add_many([{"text": text} for text in TEXTS[:4]])
    space.consolidate()
    before = look(space)
    assert before.relations is not None
    assert before.views is not None
    export_archive(space.system, tmp_path / "zoo.mnemos")
    with mnemos.open(":memory:", embedder="hashed") as other:
        import_archive(other, tmp_path / "zoo.mnemos")
        view = look(other.space("zoo"))
        assert view.relations is not None
        assert view.views is not None
        first = view.index.first.view()
        edges, was = view.relations.edges(first, view.views), before.relations.edges(before.index.first.view(), before.views)
        ids = [view.index.id_at(row) for row in edges.target]
        assert ids == [before.index.id_at(row) for row in was.target]
        assert [job.key for job in other.jobs.list(kind="consolidate")] == ["zoo"]
        assert other.space("zoo").consolidate().added == 0


def test_a_strategy_that_is_not_here_any_more(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    space.add_many([{"text": text} for text in TEXTS[:4]])
    space.consolidate()
    monkeypatch.delitem(registry.STRATEGIES, "echo")
    with pytest.raises(NotFound, match=r"zoo.*'echo'.*plain"):
        space.search("heron")
    with pytest.raises(NotFound, match="'echo'"):
        space.consolidate()
    assert space.search("heron", strategy="plain")[0].cube.text == TEXTS[0]
    space.system.jobs.run_once()
    (job,) = space.system.jobs.list(kind="consolidate")
    assert "'echo'" in (job.error or "")
    again = space.system.space("zoo", strategy="plain")
    assert again.search("heron")[0].cube.text == TEXTS[0]
    assert len(again.list(types=["note"])) == 4, "its views are kept"
    assert [job.state for job in space.system.jobs.list(kind="consolidate")] == ["cancelled"]


def test_another_strategy_leaves_the_views_of_the_one_before(space: Space) -> None:
    cube = space.add("Ann moved to Lyon in May, she says.")
    space.consolidate()
    notes = space.system.space("zoo", strategy="notes")
    assert notes.consolidate().added == 1
    assert sorted(note.metadata["strategy"] for note in notes.list(types=["note"])) == ["echo", "notes"]
    again = space.system.space("zoo", strategy="echo")
    assert again.consolidate().seen == 0, "it goes on where it stood"
    space.forget([cube.id])
    assert not space.list(limit=100)


def meanwhile(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen between the look of the first portion and its commit."""
    commit, once = consolidation._Portion.commit, [True]

    def late(portion: consolidation._Portion) -> None:
        if once and once.pop():
            happens()
        commit(portion)

    monkeypatch.setattr(consolidation._Portion, "commit", late)


def test_a_long_view_by_hand_is_a_view_in_all_its_parts(space: Space) -> None:
    """A text that is searched by its parts: none of them is found, worked on, or shown to who may not see what it was made of."""
    secret = space.add("The vault's code is 4711.")
    text = " ".join(f"Vault {n} opens with 4711." for n in range(200))
    whole = space.add(text, type="summary", derived_from=[parse_id(secret.id)], metadata={"strategy": "echo"})
    view = space.add(text, type="summary", derived_from=[Link(parse_id(secret.id), 1, VIEW_OF)], metadata={"strategy": "echo"})
    assert {part.derived_from[0].id for part in space.list(parts=True, limit=1000) if part.type == "summary" and len(part.text) < 1400} == {
        parse_id(whole.id), parse_id(view.id),
    }  # fmt: skip
    own = {str(link.id) for hit in space.search("vault opens", k=100) for link in hit.cube.derived_from}
    assert whole.id in own
    assert view.id not in own
    assert space.search("vault opens", types=["summary"], k=100)
    space.forget([whole.id])
    assert space.consolidate().seen == 1, "the source alone"
    space.set_acl(secret.id, {"read": ["ann"]})
    space.system.space("zoo", acl={"read": ["bob"]})
    theirs = space.system.as_principal("bob").space("zoo")
    assert not theirs.search("vault opens", types=["summary"], k=100)
    assert not theirs.list(parts=True, limit=1000)
    space.update(view.id, "Nothing in particular.")
    space.update(view.id, text)
    assert not theirs.list(parts=True, limit=1000)


def test_what_a_strategy_writes_is_cut_to_one_memory(space: Space) -> None:
    cubes = space.add_many([{"text": f"{'word ' * 40}{n}"} for n in range(2)])
    strategy = space.system.strategy_of(space)

    def consolidate(work: Workbench) -> None:
        for portion in work.portions(4):
            portion.add(Draft("A view " * 400, "note", list(portion.fresh)))

    strategy.consolidate = consolidate  # type: ignore[method-assign]
    done = space.consolidate()
    assert (done.added, done.report) == (1, {"cut: longer than a memory": 1})
    (note,) = space.list(types=["note"], parts=True)
    assert len(note.text) <= 1400
    assert len(space.list(limit=100, parts=True)) == len(cubes) + 1


def test_a_reason_that_shares_words_with_the_view_is_left_out_of_the_log(space: Space) -> None:
    space.add("Its source has changed, they say.")
    space.consolidate()
    strategy = space.system.strategy_of(space)

    def consolidate(work: Workbench) -> None:
        for portion in work.portions(4):
            for views in portion.views_of([memory.id for memory in (*portion.fresh,)]).values():
                for view in views:
                    portion.retire(view, "ITS SOURCE HAS CHANGED")

    strategy.consolidate = consolidate  # type: ignore[method-assign]
    (source,) = (cube for cube in space.list(limit=10) if cube.origin != "inference")
    space.update(source.id, "Something else.")
    assert space.consolidate().retired == 1
    assert "ITS SOURCE" not in str([entry.body_json() for entry in space.system.log()])
