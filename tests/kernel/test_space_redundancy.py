"""A space says how redundant it is, of what the caller may read, and changes nothing by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mnemos.base.errors import Invalid, PermissionDenied
from mnemos.kernel.system import Mnemos
from mnemos.models.hashed import HashedEmbedder

AGAIN = ("Ana moved to Lisbon in March.", "In March, Ana moved to Lisbon.", "Ana moved to Lisbon in March!")
OTHERS = (
    "The dentist has time on Tuesday.", "Bread needs flour, water and salt.", "The train to Porto leaves at nine.", "Tom plays the cello.",
    "Whales breathe air.", "The key lies under the pot.", "Ski season begins in December.", "Nora sold her car.", "Rice grows in wet fields.",
)  # fmt: skip


@pytest.fixture
def store(open_memory: Callable[..., Mnemos]) -> Mnemos:
    return open_memory(":memory:", embedder=HashedEmbedder(dimensions=256))


def filled(mem: Mnemos, name: str = "alice") -> Any:
    space = mem.space(name)
    for text in OTHERS:
        space.add(text, author="tom")
    return space


def test_what_is_said_again_is_found_and_nothing_is_changed(store: Mnemos) -> None:
    space = filled(store)
    before = space.redundancy()
    assert (before.memories, before.left_out) == (len(OTHERS), 0)
    copies = {space.add(text, author="ana").id for text in AGAIN}
    position = store.position()
    after = space.redundancy()
    assert after.redundancy > before.redundancy
    assert after.different < before.different + 1.5
    assert len(copies & set(after.overlaps[0].ids)) >= 2
    assert after.overlaps[0].ids[0] in copies
    assert after.as_json()["overlaps"][0]["ids"] == list(after.overlaps[0].ids)
    said = space.redundancy("author", least=0.5)
    assert [overlap.label for overlap in said.overlaps] == ["ana"]
    assert set(said.overlaps[0].ids) == copies
    assert space.redundancy(limit=1).overlaps == after.overlaps[:1]
    assert store.position() == position
    space.merge(said.overlaps[0].ids)
    assert space.redundancy().redundancy < after.redundancy
    assert space.at(position).redundancy() == after
    assert space.redundancy(types=["note"]).overlaps == ()
    assert space.redundancy(types=["note"]).memories == 0


def test_only_what_the_caller_may_read_counts(store: Mnemos) -> None:
    alice = store.as_principal("alice")
    space = filled(alice)
    known = space.redundancy()
    hidden = [space.add(text, author="ana").id for text in AGAIN]
    alice.space("alice", acl={"read": ["bob"]})
    bob = store.as_principal("bob").space("alice")
    assert bob.redundancy() == space.redundancy()
    for id in hidden:
        space.set_acl(id, {"read": ["alice"]})
    assert bob.redundancy() == known != space.redundancy()
    assert all(overlap.label != "ana" for overlap in bob.redundancy("author").overlaps)
    with pytest.raises(PermissionDenied):
        store.as_principal("carol").space("alice").redundancy()


def test_what_has_no_vector_is_left_out(open_memory: Callable[..., Mnemos]) -> None:
    space = filled(open_memory(":memory:", embedder="none"))
    assert space.redundancy().memories == 0
    assert space.redundancy().left_out == len(OTHERS)
    assert space.redundancy().overlaps == ()


def test_bad_asks_are_refused(store: Mnemos) -> None:
    space = store.space("alice")
    assert space.redundancy().memories == 0
    for wrong in ({"by": "colour"}, {"limit": 0}, {"least": 2}, {"least": "much"}, {"types": 3}):
        with pytest.raises(Invalid):
            space.redundancy(**wrong)
