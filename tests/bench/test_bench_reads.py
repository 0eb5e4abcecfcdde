"""The copies that searches are timed among are true to what was consolidated: views of their own memories, linked among themselves."""

from __future__ import annotations

import mnemos
from mnemos.bench.strategy_reads import COPIES, _consolidated, _named, _write
from mnemos.text.notes.note import Note

SAID = ("Zorvan rang at noon.", "Zorvan is the notary of the northern district.", "The bridge was closed for a week.", "Ilse met Zorvan there.")


def test_views_are_copied_with_what_they_are_of_and_what_they_link() -> None:
    with mnemos.open(":memory:", embedder="hashed") as memory:
        memories, views = _consolidated(memory, "notes", [{"text": text, "metadata": {"session": 1}} for text in SAID])
        assert len(memories) == len(views) == len(SAID)
        space = memory.space("many", strategy="notes")
        for copy in range(3):
            _write(space, memories, views, copy)
        facts, notes = space.list(types=["fact"]), space.list(types=["note"])
        assert len(facts) == len(notes) == 3 * len(SAID)
        number = {cube.id: at // len(SAID) for at, cube in enumerate(facts)}
        links = 0
        for at, note in enumerate(notes):
            copy = at // len(SAID)
            assert {number[str(link.id)] for link in note.derived_from} == {copy}
            for link in Note.from_metadata(note.metadata).links:
                assert number[str(link.to)] == copy
                links += 1
        assert links >= 3 * 2
        assert len({cube.metadata["session"] for cube in facts}) == 3
        assert {hit.cube.id for hit in space.search(_named("what of Zorvan?", 2), k=3)} <= {cube.id for cube in facts[2 * len(SAID) :]}


def test_each_copy_has_names_of_its_own_and_all_other_words_in_common() -> None:
    said = [_named("The notary met Zorvan.", copy) for copy in range(COPIES)]
    assert len(set(said)) == COPIES
    assert said[0] == "The notary met Zorvan."
    assert all(text.startswith("The notary met Zorvan") for text in said)
