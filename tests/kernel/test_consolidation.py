"""Consolidation: views are made once, follow their sources, and are no way around any rule."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import mnemos
from mnemos.base.errors import Conflict, NotFound, PermissionDenied
from mnemos.kernel import consolidation
from mnemos.kernel.space import Space
from mnemos.text import registry
from mnemos.text.strategy import Recall, View

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
    assert sorted(members.node.tolist()) == [view.index.rows_of(cube_id(cube.id))[0] for cube in cubes]
    assert not len(view.relations.edges(view.index.first.view(), view.views, ["unheard of"]).source)


def cube_id(text: str) -> object:
    from mnemos.base.ids import parse_id

    return parse_id(text)


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
