"""A change of a space: applied, tried, taken back, finished; what a reader meets before and after going back is the same, bit for bit."""

from __future__ import annotations

from typing import Any

import pytest

from mnemos.base.errors import Invalid, NotFound, PermissionDenied
from mnemos.kernel.changes.loop import Terms
from mnemos.kernel.changes.spaces import SpaceChange
from mnemos.kernel.forgetting import verify_certificate
from mnemos.kernel.space import Space
from mnemos.kernel.system import Mnemos

QUESTIONS = ["Where does Nora live?", "What does Tomas play?", "Who has a parrot?", "What is the code of the cellar?"]


@pytest.fixture
def space(mem: Mnemos) -> Space:
    space = mem.space("alice")
    texts = ["Nora lives in Lisbon.", "Tomas plays the cello.", "Mei has a pet parrot.", "The code of the cellar is 4711.", "Hugo works as a baker."]
    space.add_many([{"text": text, "tags": ["told"], "author": "user"} for text in texts])
    return space


def met(space: Any, scores: bool = False) -> list[Any]:
    """What a reader meets: what is listed, and the hits of questions in their order, with their scores where asked for.

    A memory that was updated and taken back stands at the end of the log, and what stands around a memory counts a little for its score.
    """
    listed = sorted((c.id, c.text, c.type, c.tags, c.state, c.author) for c in space.list(limit=1000))
    return [listed, *([(hit.cube.id, hit.cube.text, hit.score if scores else None) for hit in space.search(q, k=4)] for q in QUESTIONS)]


def by_text(space: Space, start: str) -> str:
    return next(cube.id for cube in space.list() if cube.text.startswith(start))


def edits(space: Space) -> SpaceChange:
    return SpaceChange(
        space,
        add=[{"text": "Ingrid keeps a ferret."}, {"text": "Nora's dentist is in Porto."}],
        update={by_text(space, "Nora"): {"text": "Nora lives in Porto.", "tags": ["moved"]}},
        set_aside=[by_text(space, "Tomas")],
        forget=[by_text(space, "The code")],
    )


def test_apply_and_restore_bring_back_what_a_reader_meets(space: Space) -> None:
    before, change = met(space), edits(space)
    digest = change.digest()
    undo = change.apply()
    after = met(space)
    texts = {row[1] for row in after[0]}
    assert {"Ingrid keeps a ferret.", "Nora lives in Porto."} <= texts
    assert not any("cello" in text or "4711" in text for text in texts)
    assert change.digest() != digest
    assert not change.restored(undo)
    change.restore(undo)
    assert met(space) == before
    assert change.restored(undo)
    assert change.digest() == digest
    change.restore(undo)  # twice does no harm
    assert met(space) == before
    assert space.system.verify()


def test_an_open_store_has_its_changes_at_hand(mem: Mnemos, space: Space) -> None:
    change = mem.changes.propose("one more pet", [SpaceChange(space, add=[{"text": "Ingrid keeps a ferret."}])])
    mem.changes.register(change, Terms())  # the same object: it holds the parts
    assert mem.changes.ledger.changes() == [change]
    alice = mem.as_principal("alice")
    assert alice.changes is mem.as_principal("alice").changes
    assert (alice.changes.actor, mem.changes.actor) == ("alice", None)
    assert alice.changes.ledger.changes() == []


def test_without_updates_even_the_scores_come_back(space: Space) -> None:
    before = met(space, scores=True)
    change = SpaceChange(space, add=[{"text": "Nora lives in Porto."}, {"text": "Mei sold the parrot."}], set_aside=[by_text(space, "Tomas")])
    undo = change.apply()
    assert met(space, scores=True) != before
    change.restore(undo)
    assert met(space, scores=True) == before


def test_a_trial_is_met_inside_and_leaves_nothing(space: Space) -> None:
    before, position = met(space), space.system.position()
    change = edits(space)
    with change.trial():
        inside = met(space)
        assert any(row[1] == "Nora lives in Porto." for row in inside[0])
        assert [hit.cube.text for hit in space.search("What does Ingrid keep?", k=1)] == ["Ingrid keeps a ferret."]
    assert met(space) == before
    assert space.system.position() == position
    with pytest.raises(RuntimeError, match="measured wrongly"), change.trial():
        raise RuntimeError("measured wrongly")
    assert met(space) == before
    change.apply()  # the ids of a trial are free again
    assert met(space) == inside


def test_what_others_did_since_stays(space: Space) -> None:
    change = edits(space)
    nora, tomas = by_text(space, "Nora"), by_text(space, "Tomas")
    undo = change.apply()
    space.update(nora, "Nora lives in Ghent.")
    space.add("Rosa likes kefir.")
    space.forget([tomas])
    change.restore(undo)
    assert space.get(nora).text == "Nora lives in Ghent."
    assert not change.restored(undo)
    texts = {cube.text for cube in space.list()}
    assert "Rosa likes kefir." in texts
    assert "The code of the cellar is 4711." in texts
    assert "Ingrid keeps a ferret." not in texts


def test_another_process_can_go_back(space: Space) -> None:
    before = met(space)
    undo = edits(space).apply()
    SpaceChange(space).restore(undo)
    assert met(space) == before


def test_finishing_forgets_and_certifies(space: Space) -> None:
    change = edits(space)
    code = by_text(space, "The code")
    undo = change.apply()
    assert space.get(code).state == "quarantined"
    said = change.finish(undo)
    assert said["forgotten_at"] == change.certificates[0].position
    assert verify_certificate(change.certificates[0], space.system)
    with pytest.raises(NotFound, match="forgotten"):
        space.get(code)
    assert change.finish(undo) == {}
    assert SpaceChange(space).finish(SpaceChange(space, add=[{"text": "x y z"}]).apply()) == {}


def test_what_is_left_for_going_back_holds_no_text(space: Space) -> None:
    undo = edits(space).apply()
    written = str(undo)
    assert not any(word in written for word in ("Nora", "Porto", "ferret", "cello", "4711", "moved"))


def test_the_control_arm_reads_the_space_without_the_change(space: Space) -> None:
    before, change = met(space), edits(space)
    undo = change.apply()
    control = change.without(undo)
    assert [[(h.cube.id, h.cube.text, None) for h in control.search(q, k=4)] for q in QUESTIONS] == before[1:]
    assert "Lisbon" in control.context("Where does Nora live?").text
    nora = by_text(space, "Nora lives")
    assert control.get(nora).text == "Nora lives in Lisbon."
    with pytest.raises(NotFound):
        control.get(change.added[0])
    later = space.add("Nora has a new bicycle.")  # what others write meanwhile is met by both arms
    assert any(hit.cube.id == later.id for hit in control.search("Which bicycle does Nora have?", k=3))
    assert control.get(later.id).text == later.text


def test_a_long_document_is_changed_and_brought_back(space: Space) -> None:
    long = " ".join(f"Paragraph {i} of the manual says that valve {i} opens at {i} bar." for i in range(300))
    manual = space.add(long, type="document")
    before = met(space)
    change = SpaceChange(space, update={manual.id: {"text": long.replace("valve 7 opens", "valve 7 shuts")}})
    undo = change.apply()
    assert "valve 7 shuts" in space.get(manual.id).text
    control = change.without(undo)
    assert all("valve 7 shuts" not in hit.cube.text for hit in control.search("When does valve 7 open?", k=5))
    change.restore(undo)
    assert space.get(manual.id).text == long
    assert change.restored(undo)
    assert met(space)[0] == before[0]


def test_what_cannot_be_a_change_is_refused(space: Space, mem: Mnemos) -> None:
    nora = by_text(space, "Nora")
    with pytest.raises(Invalid, match="twice"):
        SpaceChange(space, update={nora: {"text": "a"}}, forget=[nora])
    mem.space("alice", acl={"read": ["bob"]})
    with pytest.raises(PermissionDenied):
        SpaceChange(mem.as_principal("bob").existing_space("alice"))
    broken = SpaceChange(space, add=[{"text": "fine"}], update={nora: {"text": ""}})
    before = met(space)
    with pytest.raises(Invalid):
        broken.apply()
    assert met(space) == before  # all of it or nothing
