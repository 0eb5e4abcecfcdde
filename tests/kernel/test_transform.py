"""Transformations: what is accepted and what is declined, what a product carries, and how it follows its sources."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from mnemos.base.clock import from_micros
from mnemos.base.errors import Conflict, Invalid, ModelUnavailable, NotFound, PermissionDenied
from mnemos.base.lineage import MERGED, SUMMARISED
from mnemos.kernel.scheduling.costs import Cost
from mnemos.kernel.space import Space
from mnemos.kernel.system import Mnemos
from mnemos.kernel.transforms import transform as transforming
from mnemos.kernel.transforms.gates import Product, Source, Trial, adds_nothing, fingerprint_given, not_sensitive, pays
from mnemos.kernel.transforms.transform import TRANSFORMATIONS, demote, last_declined, rederive, rederive_stale, transform
from mnemos.kernel.transforms.transformation import Transformation, Transformations
from test_docs import blocks, statements

CRANE = [
    "The harbour master closed the north quay because the crane had lost a bolt.",
    "The crane on the north quay will be repaired by Ingrid on Tuesday.",
    "Until the crane is repaired, ships unload at the south quay.",
    "The harbour master asked Ingrid to order two spare bolts for the crane.",
    "Ingrid wants the north quay closed until the crane has been tested.",
]


@pytest.fixture
def space(mem: Mnemos) -> Space:
    return mem.space("harbour")


def noted(space: Space, texts: Sequence[str] = CRANE, **fields: Any) -> list[str]:
    return [cube.id for cube in space.add_many([{"text": text, "author": "Ada", **fields} for text in texts])]


class FixedChat:
    """A chat model that says what it is told to say."""

    fingerprint = "test:fixed"

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.asked: list[Any] = []

    def complete(self, conversations: Any, *, schema: Any = None, max_tokens: int | None = None) -> list[str]:
        self.asked += conversations
        return [self.answer for _ in conversations]


# ---- accepting ------------------------------------------------------------------------------------------------------


def test_a_summary_is_accepted_and_says_where_it_is_from(space: Space) -> None:
    ids = noted(space)
    done = transform(space, "summary", ids, options={"budget": 45})
    assert done.accepted, done.reasons
    assert done.changed
    assert done.cube is not None
    assert done.cube.type == "summary"
    assert done.cube.origin == "inference"
    assert done.cube.author == "Ada"
    assert {(str(link.id), link.version, link.relation) for link in done.cube.derived_from} == {(id, 1, SUMMARISED) for id in ids}
    recipe = done.cube.metadata["transformation"]
    assert recipe["name"] == "summary"
    assert recipe["options"] == {"budget": 45}
    assert recipe["bytes_in"] == sum(len(text) for text in CRANE)
    assert recipe["bytes_out"] == len(done.cube.text)
    assert recipe["seconds"] > 0
    assert all(gate["held"] for gate in recipe["gates"])
    assert space.get(done.cube.id).text == done.cube.text
    assert [space.get(id).state for id in ids] == ["generated"] * len(ids)


def test_a_merge_takes_the_place_of_its_sources(space: Space) -> None:
    ids = noted(space, ["Ingrid repairs the crane.", "Ingrid repairs the crane on Tuesday with two bolts."])
    done = transform(space, "merge", ids)
    assert done.accepted, done.reasons
    assert done.cube is not None
    assert done.cube.text == "Ingrid repairs the crane on Tuesday with two bolts."
    assert {space.get(id).state for id in ids} == {"merged"}
    assert {link.relation for link in done.cube.derived_from} == {MERGED}
    assert [hit.cube.id for hit in space.search("crane", k=5)] == [done.cube.id]


def test_a_profile_holds_the_newest_values(space: Space) -> None:
    start = 1_700_000_000_000_000
    texts = ["I live in Lisbon.", "My favorite color is blue.", "I moved to Berlin.", "I like jazz."]
    for number, text in enumerate(texts):
        space.add(text, author="Ada", event_at=from_micros(start + number * 86_400_000_000))
    done = transform(space, "profile", where={"author": "Ada"})
    assert done.accepted, done.reasons
    assert done.cube is not None
    assert done.cube.text == "ada:\n- favorite color: blue\n- home: Berlin\n- like: jazz"
    assert done.cube.entities == ("ada",)
    assert done.cube.event_at == from_micros(start + 3 * 86_400_000_000)


def test_a_product_inherits_what_protects_its_sources(space: Space) -> None:
    soon, late = from_micros(1_900_000_000_000_000), from_micros(1_950_000_000_000_000)
    ids = [
        space.add(CRANE[0], sensitivity="personal", expires_at=late, tags=["port", "crane"], priority=0.2).id,
        space.add(CRANE[1], expires_at=soon, tags=["crane"], priority=0.7).id,
    ]
    done = transform(space, "summary", ids, options={"gates": {"covers key phrases": 0.1}})
    assert done.cube is not None, done.reasons
    assert (done.cube.sensitivity, done.cube.expires_at, done.cube.tags, done.cube.priority) == ("personal", soon, ("crane",), 0.7)


def test_conditions_choose_and_leave_out_what_was_made(space: Space) -> None:
    noted(space)
    first = transform(space, "summary", where={"author": "Ada"})
    second = transform(space, "summary", where={"author": "Ada"})
    assert first.cube is not None
    assert second.cube is not None
    assert {link.id for link in second.cube.derived_from} == {link.id for link in first.cube.derived_from}
    space.add(CRANE[0], metadata={"wing": "east"})
    tagged = transform(space, "summary", where={"filter": {"wing": "east"}, "types": ["fact"]})
    assert tagged.cube is not None
    assert len(tagged.cube.derived_from) == 1


def test_a_summary_of_summaries_can_be_asked_for_by_ids(space: Space) -> None:
    ids = noted(space)
    halves = [transform(space, "summary", part).cube for part in (ids[:3], ids[2:])]
    whole = transform(space, "summary", [half.id for half in halves if half is not None])
    assert whole.accepted, whole.reasons


# ---- declining ------------------------------------------------------------------------------------------------------


def test_a_model_that_invents_is_declined_and_nothing_is_written(open_memory: Any) -> None:
    chat = FixedChat("The harbour master Zebulon closed the north quay for 14 days because the crane had lost a bolt.")
    mem = open_memory(":memory:", chat=chat)
    space = mem.space("harbour")
    ids = noted(space)
    before = mem.position()
    done = transform(space, "summary", ids, options={"by": "model", "budget": 60})
    assert not done.accepted
    assert done.cube is None
    assert any(reason.startswith("adds nothing") and "14" in reason for reason in done.reasons)
    assert len(chat.asked) == 1
    assert len(space.list()) == len(ids)
    record = last_declined(space)
    assert record is not None
    assert record["sources"] == ids
    assert [gate["gate"] for gate in record["gates"]] == ["adds nothing"]
    assert "Zebulon" not in str([entry.body for entry in mem.log(before)])
    assert mem.position() == before + 1


def test_a_faithful_model_is_accepted(open_memory: Any) -> None:
    said = "The harbour master closed the north quay because the crane lost a bolt. Ingrid repairs the crane on Tuesday. Ships unload south."
    space = open_memory(":memory:", chat=FixedChat(said)).space("harbour")
    done = transform(space, "summary", noted(space), options={"by": "model", "budget": 60})
    assert done.accepted, done.reasons
    assert done.cube is not None
    assert done.cube.text == said


def test_a_model_that_leaves_out_too_much_or_says_too_much_is_declined(open_memory: Any) -> None:
    space = open_memory(":memory:", chat=FixedChat("Ships unload.")).space("harbour")
    short = transform(space, "summary", noted(space), options={"by": "model"})
    assert [gate.gate for gate in short.gates if not gate.held] == ["covers key phrases"]
    long = transform(space, "summary", noted(space), options={"by": "model", "budget": 2, "gates": {"covers key phrases": 0.0}})
    assert [gate.gate for gate in long.gates if not gate.held] == ["within budget"]


def test_a_summary_by_a_model_needs_one(space: Space) -> None:
    with pytest.raises(ModelUnavailable, match="chat"):
        transform(space, "summary", noted(space), options={"by": "model"})
    with pytest.raises(Invalid, match="by: expected"):
        transform(space, "summary", noted(space), options={"by": "magic"})


def test_sources_in_quarantine_or_stale_are_declined(space: Space) -> None:
    ids = noted(space)
    space.quarantine(ids[0])
    done = transform(space, "summary", ids)
    assert [gate.gate for gate in done.gates if not gate.held] == ["sources in use"]
    space.release(ids[0])
    derived = space.add("A note on the crane.", derived_from=[ids[1]])
    space.update(ids[1], text=CRANE[1] + " At noon.")
    assert not transform(space, "summary", [derived.id, ids[2]]).accepted


def test_sources_with_different_readers_are_declined(mem: Mnemos) -> None:
    space = mem.space("harbour")
    ids = noted(space)
    space.set_acl(ids[0], {"read": ["bob"]})
    assert [gate.gate for gate in transform(space, "summary", ids).gates if not gate.held] == ["same readers"]
    for id in ids[1:]:
        space.set_acl(id, {"read": ["bob"]})
    done = transform(space, "summary", ids)
    assert done.cube is not None, done.reasons
    assert space.acl(done.cube.id) == {"read": ["bob"]}


def test_a_label_cannot_be_lowered(space: Space) -> None:
    ids = noted(space, sensitivity="secret")
    done = transform(space, "summary", ids, fields={"sensitivity": "public"})
    assert [gate.gate for gate in done.gates if not gate.held] == ["sensitivity kept"]


def test_what_is_asked_wrongly_is_refused(space: Space) -> None:
    ids = noted(space)
    with pytest.raises(NotFound, match="summary, merge, profile"):
        transform(space, "haiku", ids)
    with pytest.raises(Invalid, match="ids or by conditions"):
        transform(space, "summary")
    with pytest.raises(Invalid, match="ids or by conditions"):
        transform(space, "summary", ids, where={"author": "Ada"})
    with pytest.raises(Invalid, match="unknown condition"):
        transform(space, "summary", where={"colour": "red"})
    with pytest.raises(Invalid, match="unknown option"):
        transform(space, "summary", ids, options={"style": "terse"})
    with pytest.raises(Invalid, match="budget"):
        transform(space, "summary", ids, options={"budget": 0})
    with pytest.raises(Invalid, match="gates"):
        transform(space, "summary", ids, options={"gates": {"no such gate": 1}})
    with pytest.raises(Invalid, match="takes 2"):
        transform(space, "merge", ids[:1])
    with pytest.raises(NotFound):
        transform(space, "summary", ["0197b1c0-0000-7000-8000-000000000000"])
    with pytest.raises(Invalid, match="takes 1"):
        transform(space, "summary", where={"author": "Nobody"})


def test_who_may_not_derive_gets_no_product(mem: Mnemos) -> None:
    owner = mem.space("harbour", acl={"read": ["bob", "eve"], "write": ["bob"], "derive": ["eve"]})
    ids = noted(owner)
    bob = mem.as_principal("bob").existing_space("harbour")
    with pytest.raises((NotFound, PermissionDenied)):
        transform(bob, "summary", ids)
    owner.set_acl(ids[0], {"read": ["eve"]})
    with pytest.raises(NotFound):
        transform(bob, "summary", ids[:1])


# ---- following the sources ------------------------------------------------------------------------------------------


def test_a_stale_product_is_made_again_once(space: Space) -> None:
    ids = noted(space)
    made = transform(space, "summary", ids, options={"budget": 60}).cube
    assert made is not None
    assert not rederive(space, made.id).changed
    space.update(ids[1], text="The crane on the north quay will be repaired by Ingrid on Friday.")
    assert space.get(made.id).stale
    again = rederive(space, made.id)
    assert again.accepted, again.reasons
    assert again.changed
    assert again.cube is not None
    assert again.cube.version == 2
    assert "Tuesday" not in again.cube.text
    assert not space.get(made.id).stale
    assert {link.version for link in again.cube.derived_from} == {1, 2}
    assert not rederive(space, made.id).changed
    assert space.get(made.id).version == 2


def test_new_memories_enter_a_product_that_was_chosen_by_conditions(space: Space) -> None:
    noted(space)
    made = transform(space, "profile", where={"author": "Bob"}) if space.add("I live in Oslo.", author="Bob") else None
    assert made is not None
    assert made.cube is not None
    space.add("I like jazz.", author="Bob")
    again = rederive(space, made.cube.id)
    assert again.changed
    assert again.cube is not None
    assert again.cube.text == "bob:\n- home: Oslo\n- like: jazz"
    assert not rederive(space, made.cube.id).changed


def test_a_merge_is_made_again_and_absorbs_what_was_corrected(space: Space) -> None:
    ids = noted(space, ["Ingrid repairs the crane.", "Ingrid repairs the crane on Tuesday with two bolts."])
    made = transform(space, "merge", ids).cube
    assert made is not None
    space.update(ids[1], text="Ingrid repairs the crane on Friday with two bolts.")
    assert space.get(ids[1]).state == "activated"
    again = rederive(space, made.id)
    assert again.accepted, again.reasons
    assert again.cube is not None
    assert again.cube.text == "Ingrid repairs the crane on Friday with two bolts."
    assert {space.get(id).state for id in ids} == {"merged"}
    assert not space.get(made.id).stale


def test_what_cannot_be_made_again_stays_and_is_told(space: Space) -> None:
    ids = noted(space)
    made = transform(space, "summary", ids).cube
    assert made is not None
    space.update(ids[0], text="The harbour master opened the north quay.")
    space.quarantine(ids[1])
    again = rederive(space, made.id)
    assert not again.accepted
    assert again.cube is not None
    assert again.cube.text == made.text
    assert space.get(made.id).stale
    record = last_declined(space)
    assert record is not None
    assert record["cube"] == made.id


def test_all_that_is_stale_is_made_again_in_order_of_lineage(mem: Mnemos) -> None:
    space, other = mem.space("harbour"), mem.space("other")
    ids = noted(space)
    parts = [transform(space, "summary", half).cube for half in (ids[:3], ids[2:])]
    top = transform(space, "summary", [part.id for part in parts if part is not None]).cube
    assert top is not None
    assert rederive_stale(mem) == []
    space.update(ids[0], text="The harbour master closed the north quay because the crane had lost two bolts.")
    done = rederive_stale(mem, ["harbour", other.name])
    assert [outcome.accepted for outcome in done] == [True, True]
    assert done[-1].cube is not None
    assert done[-1].cube.id == top.id
    assert not space.list(stale=True)
    assert rederive_stale(mem) == []


def test_products_of_products_in_other_spaces_follow(mem: Mnemos) -> None:
    below, above = mem.space("below"), mem.space("above")
    ids = noted(below)
    part = transform(below, "summary", ids).cube
    assert part is not None
    copy = above.add(part.text, derived_from=[part.id])
    top = transform(above, "summary", [copy.id]).cube
    assert top is not None
    below.update(ids[0], text="The harbour master closed the north quay because the crane had lost two bolts.")
    assert [outcome.accepted for outcome in rederive_stale(mem, ["above", "below"])] == [False, True]  # the copy in between is nobody's product
    above.update(copy.id, text=below.get(part.id).text, derived_from=[part.id])
    assert [outcome.accepted for outcome in rederive_stale(mem)] == [True]
    assert not above.list(stale=True)


def test_what_was_given_to_a_product_stays_when_it_is_made_again(space: Space) -> None:
    ids = noted(space)
    end = from_micros(1_900_000_000_000_000)
    made = transform(space, "summary", ids, fields={"type": "briefing", "tags": ["mine"], "metadata": {"for": "Ben"}, "expires_at": end}).cube
    assert made is not None
    space.update(made.id, tags=["mine", "read"], sensitivity="personal")
    space.update(ids[0], text="The harbour master closed the north quay because the crane had lost two bolts.")
    again = rederive(space, made.id).cube
    assert again is not None
    assert (again.type, again.tags, again.sensitivity, again.expires_at) == ("briefing", ("mine", "read"), "personal", end)
    assert again.metadata["for"] == "Ben"


def test_a_product_with_too_few_sources_left_is_declined(space: Space) -> None:
    ids = noted(space, tags=["port"])
    made = space.transform("summary", tags=["port"])
    assert made.cube is not None
    for id in ids:
        space.archive(id)
    again = space.rederive(made.cube.id)
    assert not again.accepted
    assert again.reasons == ["enough sources: too few of its sources are left"]


def test_a_merge_that_was_chosen_by_conditions_takes_in_what_is_new(space: Space) -> None:
    for text in ("Bob likes tea.", "Bob likes jazz."):
        space.add(text, tags=["bob"])
    made = space.transform("merge", tags=["bob"])
    assert made.cube is not None, made.reasons
    assert not space.rederive(made.cube.id).changed
    new = space.add("Bob lives in Oslo.", tags=["bob"])
    again = space.rederive(made.cube.id)
    assert again.changed, again.reasons
    assert again.cube is not None
    assert len(again.cube.derived_from) == 3
    assert space.get(new.id).state == "merged"


def test_what_was_never_transformed_is_not_made_again(space: Space) -> None:
    id = noted(space)[0]
    for verb in (rederive, demote):
        with pytest.raises(Invalid, match="not made by a transformation"):
            verb(space, id)


def test_a_product_of_what_is_forgotten_is_gone_with_it(space: Space) -> None:
    ids = noted(space)
    made = transform(space, "summary", ids).cube
    assert made is not None
    space.forget(ids[0])
    with pytest.raises(NotFound):
        rederive(space, made.id)


def test_demoting_lets_the_product_go_and_keeps_the_texts(space: Space) -> None:
    ids = noted(space, ["Ingrid repairs the crane.", "Ingrid repairs the crane on Tuesday with two bolts."])
    merged = transform(space, "merge", ids).cube
    assert merged is not None
    assert demote(space, merged.id).state == "archived"
    assert {space.get(id).state for id in ids} == {"activated"}
    assert {hit.cube.id for hit in space.search("crane", k=5)} == set(ids)


def test_a_frozen_product_is_not_touched(space: Space) -> None:
    ids = noted(space)
    made = transform(space, "summary", ids).cube
    assert made is not None
    space.freeze(made.id)
    space.update(ids[0], text="The harbour master opened the north quay.")
    with pytest.raises(Conflict):
        rederive(space, made.id)
    assert space.get(made.id).version == 1


def test_a_space_has_the_verbs(space: Space) -> None:
    noted(space, tags=["port"])
    made = space.transform("summary", tags=["port"], budget=45)
    assert made.cube is not None
    assert made.cube.metadata["transformation"]["where"] == {"tags": ["port"]}
    assert not space.rederive(made.cube.id).changed
    assert space.rederive(made.cube.id, force=True).changed
    assert space.demote(made.cube.id, reason="no longer wanted").state == "archived"
    with pytest.raises(Invalid, match="unknown option"):
        space.transform("summary", tags=["port"], style="terse")


def test_an_outcome_is_plain_json(space: Space) -> None:
    done = space.transform("summary", noted(space))
    plain = orjson.loads(orjson.dumps(done.as_json()))
    assert plain["accepted"] is True
    assert plain["reasons"] == []
    assert plain["cube"]["id"] == (done.cube.id if done.cube else None)


# ---- the seam -------------------------------------------------------------------------------------------------------


def test_a_tier_registers_a_transformation_of_its_own(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Transformations([TRANSFORMATIONS.find("summary")])
    shout = Transformation("shout", "louder", lambda system, sources, options: Product(sources[0].text.upper()), after=(adds_nothing,))
    own.register(shout)
    with pytest.raises(Conflict, match="registered already"):
        own.register(shout)
    monkeypatch.setattr(transforming, "TRANSFORMATIONS", own)
    done = transform(space, "shout", noted(space)[:1])
    assert done.accepted, done.reasons
    assert done.cube is not None
    assert done.cube.text == CRANE[0].upper()


def test_another_kind_is_stored_as_its_tier_says(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    stored: list[Any] = []

    def write(space: Space, product: Product, fields: Any) -> Any:
        stored.append((product, fields))
        return space.add("the cache of a text", metadata=dict(fields["metadata"]), derived_from=fields["derived_from"])

    def make(system: Mnemos, sources: Sequence[Source], options: Any) -> Product:
        return Product(payload=b"kv", kind="kv", fingerprint=options.get("model"), cost=Cost(0.93, 2.04, 0.12, 2))

    cache = Transformation("cache", "keys and values", make, kind="kv", after=(fingerprint_given, pays), options=("model",), write=write)
    monkeypatch.setattr(transforming, "TRANSFORMATIONS", Transformations([cache]))
    id = noted(space)[0]
    assert [gate.gate for gate in transform(space, "cache", id).gates if not gate.held] == ["fingerprint given", "pays"]
    done = transform(space, "cache", id, options={"model": "m-1", "reuse": 1})
    assert done.accepted, done.reasons
    assert stored[0][0].payload == b"kv"
    assert [(str(link.id), link.version) for link in stored[0][1]["derived_from"]] == [(id, 1)]


@pytest.mark.parametrize(
    ("build", "full", "injected", "uses"), [(0.93, 2.04, 0.12, 1), (0.12, 0.29, 0.08, 1), (0.93, 1.0, 0.9, 10), (0.5, 0.2, 0.3, None)]
)
def test_what_pays_is_the_break_even_of_the_paper(build: float, full: float, injected: float, uses: int | None) -> None:
    product = Product(payload=b"kv", kind="kv", cost=Cost(build, full, injected, 2))
    for reuse in (1, 9, 10, 100):
        found = pays.look(Trial([], product, {"reuse": reuse}))
        assert found.held is (uses is not None and reuse >= uses)
        assert found.measured == uses


def test_sensitive_memories_never_reach_weights(space: Space) -> None:
    plain, secret = space.add("Plain."), space.add("Secret.", sensitivity="personal")
    with space.system.snapshot() as snapshot:
        sources = transforming._sources(space, snapshot, [transforming.parse_id(cube.id) for cube in (plain, secret)])
    assert not_sensitive.look(Trial(sources[:1], Product(), {})).held
    assert not not_sensitive.look(Trial(sources, Product(), {})).held


# ---- the page -------------------------------------------------------------------------------------------------------


def test_the_examples_of_the_page_give_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mnemos.models.catalog.DEFAULT_EMBEDDER", "hashed")
    monkeypatch.setattr(transforming, "TRANSFORMATIONS", Transformations([TRANSFORMATIONS.find(name) for name in TRANSFORMATIONS.names()]))
    names: dict[str, Any] = {}
    said = 0
    for block in blocks("transformations.md", "python"):
        for code, value in statements(block):
            if value is None:
                exec(compile(code, "transformations.md", "exec"), names)
            else:
                assert repr(eval(code, names)) == repr(ast.literal_eval(value)), code
                said += 1
    names["mem"].close()
    assert said == 13
