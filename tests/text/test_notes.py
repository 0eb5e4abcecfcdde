"""Notes: what they say, what they are linked with, what later memories add to them, and what is found by them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import mnemos
from mnemos.base.cube import Content
from mnemos.base.errors import Invalid
from mnemos.base.ids import parse_id
from mnemos.bench.notes_world import linked_world, telling
from mnemos.index.exact import ExactIndex
from mnemos.kernel import consolidation
from mnemos.kernel.space import Space
from mnemos.text.encoding import LONGEST_WHOLE
from mnemos.text.notes.describing import described
from mnemos.text.notes.evolving import Change, may_rewrite, refused
from mnemos.text.notes.explaining import explained, inserted
from mnemos.text.notes.neighbours import Signatures
from mnemos.text.notes.note import Description, Evolution, Note
from mnemos.text.notes.parameters import Parameters
from mnemos.text.notes.shelf import Shelf
from mnemos.text.notes.strategy import Notes
from mnemos.text.strategy import Recall, View

DAY = 86_400_000_000


@pytest.fixture
def space() -> Iterator[Space]:
    with mnemos.open(":memory:", embedder="hashed") as mem:
        yield mem.space("box", strategy="notes")


def notes(space: Space) -> dict[str, Any]:
    """The notes by the text of the memory that each is of."""
    return {space.get(note.derived_from[0].id).text: note for note in space.list(types=["note"], limit=10_000)}


def using(space: Space, **changes: Any) -> Space:
    space.system._strategies["notes"] = Notes(Parameters(**changes))
    return space


def look(space: Space, query: str = "anything") -> View:
    seen: list[View] = []

    class Spy(Notes):
        def recall(self, question: Any, view: View, k: int) -> Recall:
            seen.append(view)
            return super().recall(question, view, k)

    known = space.system._strategies
    before = known.get("notes")
    known["notes"] = Spy()
    space.search(query)
    known.pop("notes")
    if before is not None:
        known["notes"] = before
    return seen[0]


# ---- describing -----------------------------------------------------------------------------------------------------


def content(text: str, **fields: Any) -> Content:
    return Content(id=parse_id("01890a5d-ac96-774b-bcce-b302099a8057"), version=1, created_at=0, text=text, **fields)


def test_a_note_names_what_its_memory_turns_on() -> None:
    text = "I decided yesterday to sell the sloop to Henrik Moltke. Lovely weather!"
    found = described(content(text, author="Ann", type="turn", event_at=1_704_189_600_000_000))
    assert "Henrik Moltke" in found.keywords
    assert any("sloop" in word for word in found.keywords)
    assert {"turn", "decision", "dated"} <= set(found.tags)
    assert found.context == "Ann, 2024-01-02: I decided yesterday to sell the sloop to Henrik Moltke. (2024-01-01)"


def test_the_speaker_is_no_keyword() -> None:
    assert "Ann" not in described(content("As Ann I say: the mast is new.", author="Ann")).keywords


def test_what_the_author_gave_is_kept() -> None:
    found = described(content("It broke.", tags=("boats",), entities=("Sloop 7",)))
    assert "Sloop 7" in found.keywords
    assert "boats" in found.tags


@pytest.mark.parametrize("text", ["a", "…", "?!", "好的。", "x" * 5000, "word " * 400])
def test_any_text_is_described_and_a_note_is_one_memory(text: str) -> None:
    note = Note(described(content(text)), "rules")
    assert len(note.text(text)) <= LONGEST_WHOLE
    assert Note.from_metadata(json.loads(json.dumps(note.metadata()))) == note


def test_a_note_says_content_keywords_tags_and_context(space: Space) -> None:
    space.add("Henrik Moltke bought the sloop.")
    space.consolidate()
    (note,) = space.list(types=["note"])
    assert note.text.startswith("Henrik Moltke bought the sloop.\nKeywords: Henrik Moltke")
    assert "\nTags: fact" in note.text


# ---- links ----------------------------------------------------------------------------------------------------------


def linked(space: Space) -> set[tuple[str, str]]:
    """(later, earlier) texts of memories that are linked, as reading sees it."""
    view = look(space)
    links = Shelf(view).links()
    return {tuple(view.texts(pair)) for pair in zip(links.source.tolist(), links.target.tolist(), strict=True)}  # type: ignore[misc]


OLD, NEW = "Ilse works for Brannock.", "Brannock was fined for smuggling saffron."


def test_what_shares_a_rare_name_is_linked_however_unlike_it_is(space: Space) -> None:
    space.add_many([{"text": OLD}, {"text": "The pond is frozen."}, {"text": NEW}])
    space.consolidate()
    (edge,) = notes(space)[NEW].metadata["edges"]
    assert space.get(edge["to"]).text == OLD
    assert (edge["kind"], edge["reason"], edge["created_by"], edge["version"]) == ("detail", "shares brannock", "rules", 1)
    assert 0 < edge["weight"] <= 1
    assert linked(space) == {(NEW, OLD)}
    assert notes(space)[OLD].metadata["edges"] == []


def test_back_links_are_derived_and_boxes_are_what_is_linked(space: Space) -> None:
    space.add_many([{"text": OLD}, {"text": NEW}, {"text": "Brannock owns a mill."}])
    space.consolidate()
    view = look(space)
    shelf = Shelf(view)
    rows = {text: row for row, text in zip(np.flatnonzero(view.allowed).tolist(), view.texts(np.flatnonzero(view.allowed).tolist()), strict=True)}
    assert set(view.texts(shelf.box(rows[OLD]).tolist())) == {OLD, NEW, "Brannock owns a mill."}
    assert len(shelf.box(rows[NEW])) == 3


def test_links_end_with_either_of_their_ends(space: Space) -> None:
    cubes = space.add_many([{"text": OLD}, {"text": NEW}, {"text": "Brannock owns a mill."}])
    space.consolidate()
    assert len(linked(space)) == 3
    space.forget([cubes[0].id])
    assert linked(space) == {("Brannock owns a mill.", NEW)}
    space.archive(cubes[1].id)
    assert linked(space) == set()


def test_the_kind_of_a_link_follows_its_cue(space: Space) -> None:
    later = ("That is why Brannock left.", "However, Brannock stayed calm.", "Then came Brannock.")
    space.add_many([{"text": text} for text in (OLD, *later)])
    space.consolidate()
    kinds = {text: {edge["kind"] for edge in note.metadata["edges"]} for text, note in notes(space).items()}
    assert kinds["That is why Brannock left."] == {"cause"}
    assert kinds["However, Brannock stayed calm."] == {"contrast"}
    assert kinds["Then came Brannock."] == {"sequence"}


def test_a_linked_memory_takes_a_reserved_slot_and_no_more(space: Space) -> None:
    world = linked_world(np.random.default_rng(1), notes=200, asked=30)
    space.add_many(world.records)
    space.consolidate()
    for asked in world.asked["two hops"][:10]:
        with_links = list(space.search(asked.text, k=10))
        using(space, reserve=0.0)
        without = [hit.cube.id for hit in space.search(asked.text, k=10)]
        space.system._strategies.pop("notes")
        assert [hit.cube.id for hit in with_links][:7] == without[:7]
        assert sum(hit.signals.get("link", 0) > 0 for hit in with_links) <= 3


def test_the_worlds_second_fact_shares_no_word_with_its_question() -> None:
    world = linked_world(np.random.default_rng(2), notes=100, asked=20)
    texts = {record["source"]: record["text"] for record in world.records}
    for at, asked in enumerate(world.asked["two hops"]):
        assert not telling(asked.text) & telling(texts[f"second {at}"])
        assert telling(asked.text) & telling(texts[f"first {at}"])


# ---- evolution ------------------------------------------------------------------------------------------------------

EARLY = "Zorvan rang at noon and would not say why he had come all this way in the rain."
LATE = "Zorvan is the notary of the northern district."


def test_a_later_memory_says_what_an_earlier_one_means(space: Space) -> None:
    early, late = space.add_many([{"text": EARLY}, {"text": LATE}])
    assert space.consolidate().report["evolved"] == 1
    note = notes(space)[EARLY]
    assert note.version == 1, "both came in one portion, so the note is written once"
    assert "the notary of the northern district" in note.metadata["evolutions"][0]["keywords"]
    assert [str(link.id) for link in note.derived_from] == [early.id, late.id]
    assert (space.get(early.id).text, space.get(early.id).version) == (EARLY, 1)


def test_an_evolution_is_a_new_version_with_a_reason(space: Space) -> None:
    early = space.add(EARLY, event_at="2024-05-01")
    space.consolidate()
    late = space.add(LATE)
    assert space.consolidate().revised == 1
    note = notes(space)[EARLY]
    assert (note.version, note.parents) == (2, (1,))
    assert note.metadata["reason"] == f"says what zorvan is (memory {late.id})"
    assert note.event_at == space.get(early.id).event_at
    assert [hit.cube.id for hit in space.search("Who is the notary of the northern district?", k=2)] == [late.id, early.id]


def test_the_vector_is_that_of_the_note_as_it_is(space: Space) -> None:
    space.add(EARLY)
    space.consolidate()
    space.add(LATE)
    space.consolidate()
    view = look(space)
    assert view.vectors is not None
    rows = Shelf(view).rows.tolist()
    made = view.embed(view.texts(rows))
    assert made is not None
    assert np.allclose(view.vectors.vectors(np.array(rows)), made, atol=1e-6)


def test_what_an_evolution_drew_on_takes_it_along(space: Space) -> None:
    space.add(EARLY)
    space.consolidate()
    before = notes(space)[EARLY]
    late = space.add(LATE)
    space.consolidate()
    space.forget([late.id])
    assert EARLY not in notes(space), "the note held words of what was forgotten"
    space.add("The pond is frozen.")
    space.consolidate()
    after = notes(space)[EARLY]
    assert (after.text, after.tags) == (before.text, before.tags), "the next consolidation describes it anew, by itself"
    assert "notary" not in json.dumps([note.text + json.dumps(dict(note.metadata), default=str) for note in space.list(types=["note"])])


def test_what_is_corrected_is_drawn_on_anew(space: Space) -> None:
    space.add(EARLY)
    late = space.add(LATE)
    space.consolidate()
    space.update(late.id, "Zorvan is the midwife of the upper district.")
    space.consolidate()
    note = notes(space)[EARLY]
    assert "midwife" in note.text
    assert "notary" not in note.text
    assert len(note.metadata["evolutions"]) == 1


def test_a_memory_that_changes_is_described_anew(space: Space) -> None:
    early = space.add(EARLY)
    space.consolidate()
    space.update(early.id, "Zorvan left for Sweden.")
    done = space.consolidate()
    assert (done.added, done.revised) == (0, 1)
    assert "Sweden" in notes(space)["Zorvan left for Sweden."].text


def test_a_memory_that_is_gone_has_no_note(space: Space) -> None:
    early, _ = space.add_many([{"text": EARLY}, {"text": LATE}])
    space.consolidate()
    space.archive(early.id)
    space.add("The pond is frozen.")
    space.consolidate()
    view = look(space)
    assert EARLY not in view.texts(Shelf(view).of.tolist())


@pytest.mark.parametrize(
    ("early", "late", "evolves"),
    [
        ({}, {}, True),
        ({}, {"origin": "retrieval"}, False),
        ({"origin": "retrieval"}, {"origin": "retrieval"}, True),
        ({"origin": "retrieval"}, {}, True),
        ({"sensitivity": "personal"}, {"sensitivity": "public"}, False),
        ({"sensitivity": "public"}, {"sensitivity": "personal"}, False),
    ],
)
def test_who_is_less_trusted_links_but_does_not_rewrite(space: Space, early: dict[str, str], late: dict[str, str], evolves: bool) -> None:
    space.add(EARLY, **early)
    space.add(LATE, **late)
    done = space.consolidate()
    assert ("evolved" in done.report) is evolves
    assert len(notes(space)[LATE].metadata["edges"]) == 1
    assert ("evolutions" in notes(space)[EARLY].metadata) is evolves


def test_rewrites_are_few(space: Space) -> None:
    space.add(EARLY)
    for at in range(9):
        space.add(f"Zorvan is the {('notary', 'midwife', 'falconer', 'locksmith')[at % 4]} of district number {at}.")
    done = space.consolidate()
    assert done.report["evolution refused: budget"] > 0
    assert len(notes(space)[EARLY].metadata["evolutions"]) == Parameters().rewrites_a_day


def test_without_evolution_nothing_is_rewritten(space: Space) -> None:
    using(space, evolve=False).add_many([{"text": EARLY}, {"text": LATE}])
    assert "evolved" not in space.consolidate().report


def step(note: Note, context: str, at: int = 0) -> Note:
    one = content("x")
    return note.evolved(Evolution(((one.id, 1),), at, "why", "rules", Description.of(note.now.keywords, note.now.tags, context)))


def test_reverting_all_evolutions_gives_the_note_back_to_the_byte() -> None:
    first = Note(described(content(EARLY)), "rules")
    last = first
    for at in range(5):
        last = step(last, f"{last.now.context} and {at}")
    assert last.reverted(2).now.context.endswith("and 2")
    for back in (last.reverted(5), last.reverted(99)):
        assert back == first
        assert json.dumps(back.metadata()) == json.dumps(first.metadata())
        assert back.text(EARLY) == first.text(EARLY)


def test_a_stored_note_goes_back_to_any_version(space: Space) -> None:
    space.add(EARLY)
    space.consolidate()
    first = notes(space)[EARLY]
    space.add(LATE)
    space.consolidate()
    evolved = notes(space)[EARLY]
    assert evolved.text != first.text
    back = space.rollback(evolved.id, 1)
    assert (back.text, back.tags, back.metadata, back.derived_from) == (first.text, first.tags, first.metadata, first.derived_from)


def test_what_was_made_with_a_step_in_sight_goes_with_it() -> None:
    a, b = parse_id("01890a5d-ac96-774b-bcce-b302099a8057"), parse_id("01890a5d-ac96-774b-bcce-b302099a8058")
    note = Note(described(content(EARLY)), "rules")
    for id in (a, b, a):
        note = note.evolved(Evolution(((id, 1),), 0, "why", "rules", Description.of((), (), f"after {id}")))
    assert len(note.without({b}).evolutions) == 1
    assert note.without({a}).evolutions == ()
    assert note.without(set()) is not None
    assert len(note.without(set()).evolutions) == 3


def test_the_guard_bounds_one_step_and_all_of_them() -> None:
    parameters = Parameters(rewrites=1000, rewrites_a_day=1000)
    likeness: dict[str, float] = {"start": 0.9, "near": 0.8, "far": 0.7, "low": 0.62}

    def like(context: str, _: str) -> float:
        return likeness[context]

    note = Note(Description.of((), (), "start"), "rules")

    def why(note: Note, context: str) -> str | None:
        change = Change(Description.of((), (), context), (content("new"),), "why")
        return refused(note, content(EARLY), change, DAY, like, parameters)

    assert why(note, "near") is None
    assert why(note, "far") == "drift", "a step of 0.2"
    assert why(step(note, "near"), "far") is None
    assert why(step(note, "far"), "low") == "drift", "below 0.7 of the first"


def test_trust_is_of_origin_and_label() -> None:
    user, found = content("a"), content("a", origin="retrieval")
    assert may_rewrite(user, user)
    assert may_rewrite(user, found)
    assert may_rewrite(found, found)
    assert not may_rewrite(found, user)
    assert not may_rewrite(content("a", sensitivity="public"), content("a", sensitivity="personal"))


@pytest.mark.parametrize(
    ("text", "name", "what"),
    [
        ("Zorvan is the notary.", "zorvan", "the notary"),
        ("Ada Oduya (born 1970) is a Nigerian vet and painter.", "ada oduya", "a Nigerian vet and painter"),
        ("I met Zorvan, a notary who limps, in town.", "zorvan", "a notary"),
        ("My dentist is Zorvan.", "zorvan", "Ann's dentist"),
        ("Then my dentist, Zorvan, laughed.", "zorvan", "Ann's dentist"),
        ("Zorvan is not the notary.", "zorvan", None),
        ("Zorvan is late.", "zorvan", None),
        ("Zorvan rang the notary.", "zorvan", None),
    ],
)
def test_what_a_text_says_that_a_name_means(text: str, name: str, what: str | None) -> None:
    assert explained(content(text, author="Ann"), {name}).get(name) == what


def test_a_meaning_stands_behind_its_name() -> None:
    assert inserted("Then Zorvan rang.", "zorvan", "the notary") == "Then Zorvan (the notary) rang."
    assert inserted("He rang.", "zorvan", "the notary") == "He rang. (the notary)"


# ---- neighbours -----------------------------------------------------------------------------------------------------


def test_signatures_find_what_all_vectors_find() -> None:
    rng = np.random.default_rng(0)
    base = rng.standard_normal((400, 40)) @ rng.standard_normal((40, 128))
    vectors = np.repeat(base, 30, axis=0) + 4.0 * rng.standard_normal((12_000, 128))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    exact = ExactIndex(128)
    exact.put(np.arange(len(vectors)), vectors)
    mask = np.ones(len(vectors), dtype=bool)
    mask[::7] = False
    held = Signatures()
    held.catch_up(exact, mask[:5000])
    held.catch_up(exact, mask)
    shared = []
    queries = vectors[rng.integers(0, len(vectors), 40)]
    for query, (rows, cosines) in zip(queries, held.nearest(queries, mask, 10), strict=True):
        truth = np.flatnonzero(mask)[np.argsort(-(vectors[mask] @ query), kind="stable")[:10]]
        assert np.allclose(cosines, vectors[rows] @ query, atol=1e-6)
        assert mask[rows].all()
        assert (np.diff(cosines) <= 0).all()
        shared.append(len(set(rows.tolist()) & set(truth.tolist())) / 10)
    assert np.mean(shared) >= 0.95


def test_signatures_of_nothing_find_nothing() -> None:
    held = Signatures()
    held.catch_up(ExactIndex(8), np.zeros(3, dtype=bool))
    ((rows, cosines),) = held.nearest(np.ones((1, 8), dtype=np.float32), np.zeros(3, dtype=bool), 5)
    assert len(rows) == len(cosines) == 0


def test_wrong_parameters_are_named() -> None:
    for wrong in ({"reserve": 1.0}, {"through": 0.0}, {"links": 0}):
        with pytest.raises(Invalid, match="notes"):
            Parameters(**wrong)


# ---- others at work -------------------------------------------------------------------------------------------------


def test_who_was_overtaken_looks_again(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker evolves the same neighbour first: this one's portion comes again, on the newest version."""
    space.add(EARLY)
    space.consolidate()
    space.add(LATE)
    commit: Callable[..., None] = consolidation._Portion.commit
    rival = [True]

    def overtaken(portion: consolidation._Portion) -> None:
        if rival and rival.pop():
            note = notes(space)[EARLY]
            space.update(note.id, metadata={**note.metadata, "touched": True})
        commit(portion)

    monkeypatch.setattr(consolidation._Portion, "commit", overtaken)
    assert space.consolidate().revised == 1
    note = notes(space)[EARLY]
    assert note.version == 3
    assert len(note.metadata["evolutions"]) == 1
