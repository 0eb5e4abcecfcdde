"""Whatever is done to a space: its notes stay in order."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

import mnemos
from mnemos.base.ids import parse_id
from mnemos.base.lineage import VIEW_OF
from mnemos.kernel.space import Space
from mnemos.text.notes.note import Note
from mnemos.text.notes.parameters import Parameters
from mnemos.text.notes.shelf import Shelf
from mnemos.text.notes.strategy import Notes
from mnemos.text.strategy import Recall, View

PEOPLE = ("Zorvan", "Ilse Brann", "Quoyle", "Tamsin", "Ödön", "Kpandi", "Mirel", "Wendt")
ROLES = ("notary", "midwife", "falconer", "locksmith", "cartographer", "bookbinder")
DOINGS = ("rang at noon", "left an umbrella", "cannot come on Friday", "sold the sloop", "moved to Perth", "owes two jars of honey")


def sentence(source: random.Random) -> str:
    person, other = source.sample(PEOPLE, 2)
    return source.choice(
        (
            f"{person} {source.choice(DOINGS)}.",
            f"{person} is the {source.choice(ROLES)} of district {source.randint(1, 9)}.",
            f"{person} met {other}, a {source.choice(ROLES)}, near the mill.",
            f"My {source.choice(ROLES)} is {person}.",
            f"{source.choice(DOINGS)} … {source.choice(('', '?', 'ok'))}",
        )
    )


def operations(space: Space, other: Space, source: random.Random, count: int) -> None:
    """Random adds, corrections, archivings, forgettings and consolidations, in two spaces; the invariants are checked at consolidations."""
    before: dict[str, Any] = {}
    for _ in range(count):
        here = other if source.random() < 0.15 else space
        cubes = here.list(types=["fact"], limit=400)
        chance = source.random()
        if chance < 0.62 or not cubes:
            here.add(sentence(source), origin=source.choice(("user", "user", "retrieval")), sensitivity=source.choice((None, None, "personal")))
        elif chance < 0.72:
            here.update(source.choice(cubes).id, sentence(source))
        elif chance < 0.78:
            here.archive(source.choice(cubes).id)
        elif chance < 0.84:
            here.forget([source.choice(cubes).id])
        elif chance < 0.88 and here.list(types=["note"], limit=1):
            note = source.choice(here.list(types=["note"], limit=100))
            here.rollback(note.id, 1)
        else:
            here.add("Nothing happened today.")  # what has lost its note with a memory gets one when there is something new
            here.consolidate()
            before = check(here, before if here is space else {})
            if here is not space:
                before = {}
    for one in (space, other):
        one.add("Nothing happened today.")
        one.consolidate()
        check(one, {})


def look(space: Space) -> View:
    seen: list[View] = []

    class Spy(Notes):
        def recall(self, question: Any, view: View, k: int) -> Recall:
            seen.append(view)
            return super().recall(question, view, k)

    known = space.system._strategies
    known["notes"] = Spy()
    space.search("Zorvan")
    del known["notes"]
    return seen[0]


def check(space: Space, before: dict[str, Any]) -> dict[str, Any]:
    """The invariants of A-MEM's sheet. Gives what stands for the next time: the content and time of each note's memory."""
    ids = {cube.id: cube for cube in space.list(types=["fact"], limit=10_000)}
    for note in space.list(types=["note"], limit=10_000, stale=False):
        made_of = [link for link in note.derived_from if link.relation == VIEW_OF]
        memory = space.get(made_of[0].id, made_of[0].version)
        kept = Note.from_metadata(note.metadata)
        # The text that is embedded is that of the fields; content and time are the memory's.
        assert note.text == kept.text(memory.text)
        assert list(note.tags) == list(kept.now.tags)
        assert note.event_at in (memory.event_at, memory.created_at)
        # What evolution drew on is among the sources, and nothing else is.
        drawn = {id for step in kept.evolutions for id, _ in step.sources}
        assert {str(link.id) for link in made_of[1:]} == {str(id) for id in drawn}
        assert len(kept.evolutions) <= Parameters().rewrites
        # No tenant's memory is linked, or drawn on, by another's; none links itself.
        for link in kept.links:
            assert str(link.to) != str(made_of[0].id)
        # Reverting all gives the note that its memory gives by itself.
        bare = kept.reverted(len(kept.evolutions))
        assert bare.now == kept.own
        assert bare.metadata() == {key: value for key, value in kept.metadata().items() if key != "evolutions"}
        first = Note.from_metadata(space.get(note.id, 1).metadata)
        if space.get(note.id, 1).derived_from[0].version == made_of[0].version and not first.evolutions:
            assert space.get(note.id, 1).text == bare.text(memory.text)
    view = look(space)
    shelf = Shelf(view)
    # Each memory that may be shown has one note, but for those that hardly say anything.
    assert len(set(shelf.of.tolist())) == len(shelf.of)
    noted = {view.index.id_at(row) for row in shelf.of.tolist()}
    for id, cube in ids.items():
        assert parse_id(id) in noted or len(cube.text.split()) < 6 or _hidden(space, cube)
    # Links join rows that may be shown, and can be followed from either end.
    links = shelf.links()
    assert view.allowed[links.source].all()
    assert view.allowed[links.target].all()
    assert {view.index.id_at(row) for row in links.target.tolist()} <= {parse_id(id) for id in ids}
    for row in np.unique(links.source)[:5].tolist():
        for other in shelf.box(row).tolist():
            assert row in shelf.box(other).tolist()
    # The stored vectors are those of the notes as they are.
    if len(shelf.rows) and view.vectors is not None:
        made = view.embed(view.texts(shelf.rows.tolist()))
        assert made is not None
        assert np.allclose(view.vectors.vectors(shelf.rows), made, atol=1e-6)
    for id, (text, at) in before.items():
        if id in ids and ids[id].version == at[1]:
            assert (ids[id].text, ids[id].event_at) == (text, at[0])
    return {id: (cube.text, (cube.event_at, cube.version)) for id, cube in ids.items()}


def _hidden(space: Space, cube: Any) -> bool:
    """Whether a memory's note is out of sight: it draws on one that is archived."""
    notes = [note for note in space.list(types=["note"], limit=10_000) if note.derived_from[0].id == parse_id(cube.id)]
    return any(str(link.id) not in {one.id for one in space.list(types=["fact"], limit=10_000)} for note in notes for link in note.derived_from)


def run(seed: int, count: int) -> None:
    with mnemos.open(":memory:", embedder="hashed") as mem:
        space, other = mem.space("one", strategy="notes"), mem.space("other", strategy="notes")
        operations(space, other, random.Random(seed), count)
        owned = {cube.id for cube in space.list(types=["fact"], limit=10_000, stale=None)}
        for note in other.list(types=["note"], limit=10_000):
            assert not owned & {edge["to"] for edge in note.metadata["edges"]}
            assert not owned & {str(link.id) for link in note.derived_from}
        assert mem.verify().ok


@pytest.mark.parametrize("seed", range(2))
def test_notes_stay_in_order(seed: int) -> None:
    run(seed, 120)


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(100, 120))
def test_notes_stay_in_order_for_long(seed: int) -> None:
    run(seed, 250)
