"""Investigations of a space: rights, forgetting, what is kept and what becomes of it."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import mnemos
from mnemos.base.errors import Invalid, PermissionDenied
from mnemos.kernel.hypergraph import Investigation, replayed
from mnemos.kernel.space import Space
from mnemos.text.hypergraph.answering import Room
from mnemos.text.hypergraph.retrieval import Limits
from mnemos.text.hypergraph.session import Ended, Settings

QUESTION = "Whom has the actor married who has voiced the captain in Tin Harbour?"
FACTS = {
    "film": "Tin Harbour is an animated film in which the captain is voiced by Orso Velandi.",
    "actor": "Orso Velandi was born in Trieste. Orso Velandi married Lisbeth Quarn in Udine.",
    "painter": "Lisbeth Quarn is a painter of small pictures.",
}
SMALL = Settings(limits=Limits(of_names=2, plain=2, used=2), room=Room(passages=6))


def records() -> list[dict[str, object]]:
    people = ("Abel Arno", "Bea Brix", "Cleo Cass", "Dora Dunn", "Emil Egge", "Fay Fort", "Gus Gell", "Hal Hood")
    filler = [{"text": f"{name} is an actor who knows a captain.", "type": "document", "source": name} for name in people]
    facts = [{"text": text, "type": "document", "source": source} for source, text in FACTS.items()]
    return [*filler[:4], *facts, *filler[4:]]


@pytest.fixture
def space() -> Iterator[Space]:
    with mnemos.open(":memory:", embedder="hashed") as mem:
        space = mem.space("films")
        space.add_many(records())
        yield space


def cube_of(space: Space, source: str) -> str:
    return str(next(cube.id for cube in space.list(limit=100) if cube.source == source))


def sources(space: Space, investigation: Investigation) -> set[str]:
    return {space.get(passage.id).source or "" for passage in investigation.context().passages}


def test_turn_by_turn(space: Space) -> None:
    investigation = space.investigate(QUESTION, SMALL)
    steps = list(investigation)
    assert 2 <= len(steps) <= 4
    assert steps[-1].points == tuple(investigation.points)
    assert {"film", "actor"} <= sources(space, investigation)
    assert investigation.ended in Ended
    answer = investigation.answer()
    assert answer.quote is None or answer.quote.text in " ".join(FACTS.values())
    with pytest.raises(Invalid, match="one question"):
        list(investigation)


def test_reading_writes_nothing(space: Space) -> None:
    position = space.system.position()
    space.investigate(QUESTION, SMALL).context()
    assert space.system.position() == position


def test_only_what_the_caller_may_read_and_as_if_the_rest_were_not_there(space: Space) -> None:
    hidden = space.add("Orso Velandi married Berta Blank, a spy.", type="document", source="secret")
    space.set_acl(hidden.id, {"read": ["carol"]})
    space.system.space("films", acl={"read": ["bob"]})
    theirs = space.system.as_principal("bob").space("films")
    with mnemos.open(":memory:", embedder="hashed") as mem:
        without = mem.space("films")
        without.add_many(records())
        expected = [(point.statement, sorted(point.names)) for step in without.investigate(QUESTION, SMALL) for point in step.points]
    seen = theirs.investigate(QUESTION, SMALL)
    assert [(point.statement, sorted(point.names)) for step in seen for point in step.points] == expected
    assert hidden.id not in {passage.id for passage in seen.context().passages}
    with pytest.raises(PermissionDenied):
        space.system.as_principal("dave").space("films").investigate(QUESTION)


def test_what_is_forgotten_or_changed_meanwhile_is_in_no_answer(space: Space) -> None:
    for change in ("forget", "update", "quarantine"):
        investigation = space.investigate(QUESTION, SMALL)
        list(investigation)
        assert any("married Lisbeth Quarn" in point.statement for point in investigation.points)
        actor = cube_of(space, "actor")
        if change == "forget":
            space.forget([actor])
        elif change == "update":
            space.update(actor, "Orso Velandi was born in Trieste.")
        else:
            space.quarantine(actor)
        context = investigation.context()
        assert not any("married Lisbeth Quarn" in point.statement for point in context.points)
        assert "married Lisbeth Quarn" not in context.text
        space.add(FACTS["actor"], type="document", source="actor")
        if change != "forget":
            space.forget([actor])


def test_conditions_hold(space: Space) -> None:
    investigation = space.investigate(QUESTION, SMALL, source="film")
    assert sources(space, investigation) == {"film"}


def test_the_past(space: Space) -> None:
    position = space.system.position()
    before = [point.statement for point in _run(space.investigate(QUESTION, SMALL)).points]
    space.add("Orso Velandi married Berta Blank in Tin Harbour.", type="document")
    assert [point.statement for point in _run(space.at(position).investigate(QUESTION, SMALL)).points] == before


def _run(investigation: Investigation) -> Investigation:
    list(investigation)
    return investigation


def test_a_session_that_was_kept_can_be_built_anew_and_goes_with_its_sources(space: Space) -> None:
    investigation = _run(space.investigate(QUESTION, SMALL))
    cube = investigation.keep()
    assert cube.type == "investigation"
    memory = replayed(space.get(cube.id))
    assert list(memory) == investigation.points
    assert memory.journal == investigation.session.memory.journal
    assert not any(hit.cube.id == cube.id for hit in space.search(QUESTION, k=50))
    space.forget([cube_of(space, "actor")])
    assert all("married Lisbeth" not in one.text for one in space.list(limit=100, types=["investigation", "relation", "document"]))
    with pytest.raises(Invalid, match="no investigation"):
        replayed(space.get(cube_of(space, "film")))
    with pytest.raises(Invalid, match="no points"):
        space.system.space("empty").investigate(QUESTION).keep()


def test_points_of_two_sources_become_relations_once(space: Space) -> None:
    investigation = _run(space.investigate(QUESTION, SMALL))
    written = investigation.promote()
    assert written
    for cube in written:
        assert cube.type == "relation"
        assert len({link.id for link in cube.derived_from}) >= 2
        assert cube.metadata["strategy"] == "hypergraph"
        assert {member["id"] for member in cube.metadata["members"]} == {str(link.id) for link in cube.derived_from}
        for passage, start, end in cube.metadata["spans"]:
            assert space.get(passage).text[start:end] in cube.text or len(cube.metadata["spans"]) > 4
    assert any({"Tin Harbour", "Orso Velandi", "Lisbeth Quarn"} <= set(cube.entities) for cube in written)
    assert investigation.promote() == []
    assert _run(space.investigate(QUESTION, SMALL)).promote() == []
    assert [hit.cube.type for hit in space.search("Orso Velandi", k=3, types=["relation"])]
    assert all(hit.cube.type == "document" for hit in space.search("Orso Velandi", k=30))
    space.forget([cube_of(space, "actor")])
    assert not any("Lisbeth" in cube.text for cube in space.list(types=["relation"]))


def test_the_example_runs_and_joins_the_three_letters(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(Path(__file__).parents[2] / "examples" / "hypergraph.py"), run_name="__main__")
    told = capsys.readouterr().out
    assert "from 3 memories: The sloop Cormorant belongs to the firm of Halvard Lunde. Ines Cobo lent" in told
    assert "kept as a relation of Cormorant, Halvard Lunde, Ines Cobo, Trieste" in told


def test_relations_are_admitted_by_a_guard(space: Space) -> None:
    investigation = _run(space.investigate(QUESTION, SMALL))
    written = investigation.promote(space.guarded())
    assert written
    for cube in written:
        assert {link.relation for link in space.get(cube.id).derived_from} == {"view_of"}
    assert all(hit.cube.type == "document" for hit in space.search("Orso Velandi", k=30))


def test_what_only_some_may_read_is_woven_into_nothing(space: Space) -> None:
    space.set_acl(cube_of(space, "actor"), {"read": ["carol"]})
    investigation = _run(space.investigate(QUESTION, SMALL))
    assert any("Lisbeth" in point.statement for point in investigation.points)
    assert not any("Lisbeth" in cube.text for cube in investigation.promote())
    kept = investigation.keep()
    assert "married Lisbeth" not in kept.text
    assert "married Lisbeth" not in str(kept.metadata)


def test_a_relation_inherits_the_highest_label_and_the_earliest_end(space: Space) -> None:
    with mnemos.open(":memory:", embedder="hashed") as mem:
        other = mem.space("films")
        for record in records():
            more = {"sensitivity": "personal"} if record["source"] == "actor" else {}
            ends = {"expires_at": "2999-01-01T00:00:00+00:00"} if record["source"] == "film" else {}
            other.add(record.pop("text"), **record, **more, **ends)  # type: ignore[arg-type]
        cube = next(cube for cube in _run(other.investigate(QUESTION, SMALL)).promote() if "Lisbeth" in cube.text)
        assert cube.sensitivity == "personal"
        assert cube.expires_at is not None
        assert cube.expires_at.year == 2999


def test_it_is_the_same_with_and_without_an_embedder_in_form(space: Space) -> None:
    with mnemos.open(":memory:", embedder=None) as mem:
        other = mem.space("films")
        other.add_many(records())
        assert {"film", "actor"} <= sources(other, other.investigate(QUESTION, SMALL))
    assert space.investigate(QUESTION, SMALL).corpus.embed(["a"]) is not None
    assert np.isfinite(space.investigate(QUESTION, SMALL).context().tokens)
