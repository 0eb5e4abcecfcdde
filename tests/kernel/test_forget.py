"""Forgetting: down the lineage, certified, for good; the certificate cannot be bent."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import mnemos
from mnemos.base.cube import Content
from mnemos.base.errors import Conflict, Frozen, Invalid, NotFound
from mnemos.kernel.exchange.transfer import export_jsonl, import_jsonl
from mnemos.kernel.forgetting import Certificate
from mnemos.kernel.space import Space
from mnemos.kernel.system import Mnemos
from mnemos.store.base import NewVersion
from support import EMBEDDER

LONG = "\n\n".join(f"Paragraph {i} speaks of the harbour, the {i}th tram and the violin at length, so that it fills a part." for i in range(60))


def gone(space: Space, *ids: str) -> None:
    for id in ids:
        for act in (space.get, space.history, space.freeze, lambda id: space.update(id, "again"), lambda id: space.forget([id])):
            with pytest.raises(NotFound):
                act(id)
    left = {cube.id for cube in space.list(limit=1000, parts=True, states=["generated", "activated", "merged", "archived", "expired", "quarantined"])}
    assert not left & set(ids)
    assert not {hit.cube.id for hit in space.search("harbour tram violin", k=1000)} & set(ids)


# -- what goes --
def test_everything_of_a_cube_goes_and_the_rest_stays(mem: Mnemos) -> None:
    space = mem.space("a")
    kept = space.add("the tram stays", tags=["x"])
    cube = space.add("the harbour", author="Ann")
    space.update(cube.id, "the harbour at night")
    space.rollback(cube.id, 1)
    position = mem.position()
    certificate = space.forget([cube.id], reason="asked to")
    gone(space, cube.id)
    for view in (space.at(position), space.at(cube.position)):
        gone_in_view(view, cube.id)
    assert [hit.cube.id for hit in space.search("harbour night", as_of=position)] == [kept.id]
    assert space.get(kept.id) == kept
    assert len(certificate.cubes[0].digests) == len(certificate.cubes[0].openings) == 3
    with mem.snapshot() as snapshot:
        assert snapshot.count() == {"cubes": 1, "versions": 1, "vectors": 1, "entries": mem.position()}
    assert mem.verify().ok


def gone_in_view(view: Space, id: str) -> None:
    with pytest.raises(NotFound):
        view.get(id)
    with pytest.raises(NotFound):
        view.history(id)
    assert id not in {cube.id for cube in view.list(limit=1000)}


def test_the_deletion_runs_down_the_lineage_through_any_depth_and_space(mem: Mnemos) -> None:
    one, two = mem.space("one"), mem.space("two")
    root = one.add("the harbour")
    bystander = two.add("the tram")
    chain = [root]
    for depth in range(12):
        chain.append((one, two)[depth % 2].add(f"derived {depth} of the tram", derived_from=[chain[-1].id, bystander.id] if depth else [root.id]))
    diamond = one.add("from both ends", derived_from=[chain[1].id, chain[12].id, root.id])
    certificate = one.forget([root.id])
    family = {cube.id for cube in (*chain, diamond)}
    assert {cube.id for cube in certificate.cubes} == family
    assert {cube.space for cube in certificate.cubes} == {"one", "two"}
    gone(one, *family)
    gone(two, *family)
    assert two.get(bystander.id) == bystander
    assert mnemos.verify_certificate(certificate, mem)
    assert mem.verify().ok


def test_a_cube_that_was_derived_from_an_older_version_goes_too(mem: Mnemos) -> None:
    space = mem.space("a")
    root = space.add("the harbour")
    child = space.add("from the first version", derived_from=[root.id])
    space.update(root.id, "the tram")
    space.update(child.id, "and changed itself")
    space.forget([root.id])
    gone(space, root.id, child.id)


def test_a_document_goes_with_all_parts_of_all_its_versions(mem: Mnemos) -> None:
    space = mem.space("a")
    document = space.add(LONG, type="document", source="harbour.md")
    space.update(document.id, LONG.replace("violin", "guitar"))
    space.update(document.id, "short now")
    space.update(document.id, LONG.upper())
    parts = space.list(limit=1000, parts=True, states=["generated", "archived"])
    assert len(parts) > 9
    with pytest.raises(Invalid, match="part of document"):
        space.forget([parts[1].id])
    certificate = space.forget([document.id])
    assert {cube.id for cube in certificate.cubes} >= {part.id for part in parts}
    gone(space, *(part.id for part in parts))
    with mem.snapshot() as snapshot:
        assert snapshot.count()["versions"] == snapshot.count()["vectors"] == snapshot.count()["cubes"] == 0


def test_a_frozen_cube_anywhere_in_the_family_keeps_all_of_it(mem: Mnemos) -> None:
    space = mem.space("a")
    root = space.add("the harbour")
    leaf = space.add("leaf", derived_from=[space.add("middle", derived_from=[root.id]).id])
    space.freeze(leaf.id)
    before = mem.position()
    with pytest.raises(Frozen):
        space.forget([root.id])
    assert (mem.position(), len(space.list())) == (before, 3)
    space.unfreeze(leaf.id)
    assert len(space.forget([root.id]).cubes) == 3


@pytest.mark.parametrize(
    ("conditions", "left"),
    [
        ({"types": ["note"]}, {"b", "c"}), ({"tags": ["t"]}, {"a", "c"}), ({"author": "Ann"}, {"b", "c"}), ({"source": "s"}, {"a", "b"}),
        ({"since": "2024-06-01"}, {"a", "b"}), ({"until": "2024-06-01"}, {"c"}), ({"filter": {"n": {"gte": 2}}}, {"a"}),
        ({"filter": {"n": 9}}, {"a", "b", "c"}), ({"types": []}, {"a", "b", "c"}),
    ],
)  # fmt: skip
def test_forgetting_by_a_condition(mem: Mnemos, conditions: dict[str, Any], left: set[str]) -> None:
    space = mem.space("a")
    space.add("a", type="note", author="Ann", event_at="2024-01-01", metadata={"n": 1})
    space.add("b", tags=["t", "u"], event_at="2024-02-01", metadata={"n": 2}, expires_at="2001-01-01")
    space.add("c", source="s", event_at="2024-07-01", metadata={"n": 3})
    if "n" not in str(conditions):  # what has expired is hidden, and forgotten all the same
        mem.expire()
    certificate = space.forget(**conditions)
    with mem.snapshot() as snapshot:
        assert snapshot.count()["cubes"] == len(left)
    assert len(certificate.cubes) == 3 - len(left)
    assert mnemos.verify_certificate(certificate, mem)


@pytest.mark.parametrize(
    "nothing", [{}, {"filter": {}}, {"tags": []}, {"tags": (), "filter": {}}, {"ids": ["x"]}, {"ids": 5}, {"ids": None, "tags": []}]
)
def test_forgetting_what_nobody_chose_is_refused(mem: Mnemos, nothing: dict[str, Any]) -> None:
    space = mem.space("a")
    space.add("the harbour", tags=["t"])
    with pytest.raises(Invalid):
        space.forget(**nothing)
    assert len(space.list()) == 1


def test_ids_and_a_condition_together_are_refused(mem: Mnemos) -> None:
    cube = mem.space("a").add("the harbour", author="Ann")
    with pytest.raises(Invalid):
        mem.space("a").forget([cube.id], author="Ann")


def test_a_reason_must_not_repeat_what_is_forgotten(mem: Mnemos) -> None:
    space = mem.space("a")
    cube = space.add("My password is hunter2hunter2", author="Annabelle Lee", tags=["credentials"])
    space.update(cube.id, "nothing here")
    for reason in ("it said hunter2hunter2", "Annabelle Lee asked", "tagged credentials"):
        with pytest.raises(Invalid, match="reason"):
            space.forget([cube.id], reason=reason)
    assert len(space.history(cube.id)) == 2
    space.forget([cube.id], reason="the user asked")


def test_blobs_go_with_the_last_cube_that_holds_them(mem: Mnemos, tmp_path: Path) -> None:
    space = mem.space("a")
    shared, own = mem.store.blobs.put(b"shared " * 50), mem.store.blobs.put(b"only one " * 50)
    ids = []
    for blob in (shared, shared, own):
        with mem.writing() as transaction:
            content = Content(id=mem.new_id(), version=1, created_at=mem.clock(), kind="kv", type="kv", blob=blob)
            transaction.add(1, [NewVersion(content)])
            ids.append(str(content.id))
    space.forget([ids[2]])
    assert list(mem.store.blobs.names()) == [shared]
    space.forget([ids[0]])
    assert list(mem.store.blobs.names()) == [shared]
    transaction_ = mem.transaction()
    transaction_.__enter__()
    space.forget([ids[1]])
    transaction_.__exit__(KeyError, KeyError(), None)
    assert mem.store.blobs.get(shared) == b"shared " * 50
    space.forget([ids[1]])
    assert list(mem.store.blobs.names()) == []


def test_an_id_does_not_come_back(mem: Mnemos, tmp_path: Path) -> None:
    space = mem.space("a")
    cube = space.add("the harbour")
    file = tmp_path / "all.jsonl"
    export_jsonl(mem, file)
    space.forget([cube.id])
    for where in (space, mem.space("b")):
        with pytest.raises(Conflict):
            where.add("again", id=cube.id)
        with pytest.raises(Conflict):
            where.add_many([{"text": "other"}, {"text": "again", "id": cube.id}])
    with pytest.raises(Conflict):
        import_jsonl(mem, file)
    with pytest.raises(NotFound):
        space.add("derived", derived_from=[cube.id])
    assert space.list() == []
    assert "harbour" not in json.dumps([entry.body for entry in mem.log()])


# -- the certificate --
@pytest.fixture
def told(filed: Mnemos) -> tuple[Mnemos, Certificate]:
    space = filed.space("a")
    root = space.add("the harbour", author="Ann")
    space.update(root.id, "the harbour at night")
    filed.space("b").add("derived", derived_from=[root.id])
    space.add("something else")
    certificate = space.forget([root.id], reason="asked")
    space.add("later")
    return filed, certificate


def test_a_certificate_says_what_was_done(told: tuple[Mnemos, Certificate]) -> None:
    mem, certificate = told
    with mem.snapshot() as snapshot:
        entries = {entry.seq: entry for entry in snapshot.log(0)}
    assert certificate.store == mem.store_id
    assert certificate.head == entries[certificate.position].hash.hex()
    assert certificate.reason == "asked"
    assert [(cube.space, len(cube.digests), len(cube.openings)) for cube in certificate.cubes] == [("a", 2, 2), ("b", 1, 1)]
    for cube in certificate.cubes:
        assert entries[cube.position].kind == "forget"
        assert str(entries[cube.position].cube) == cube.id
    assert Certificate.from_json(json.loads(json.dumps(certificate.as_json()))) == certificate
    assert mnemos.verify_certificate(certificate, mem) == mnemos.Verdict(True)
    assert mnemos.verify_certificate(certificate.as_json(), mem)


def test_a_certificate_holds_after_closing_and_against_the_path(told: tuple[Mnemos, Certificate]) -> None:
    mem, certificate = told
    mem.close()
    assert mnemos.verify_certificate(certificate, mem.path)
    with pytest.raises(NotFound):
        mnemos.verify_certificate(certificate, mem.path + ".not")


def test_a_certificate_does_not_hold_before_the_forget_nor_elsewhere(open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    mem = open_memory()
    cube = mem.space("a").add("the harbour")
    copy = tmp_path / "copy.db"
    mem.close()
    shutil.copy(mem.path, copy)
    mem = open_memory()
    certificate = mem.space("a").forget([cube.id])
    assert mnemos.verify_certificate(certificate, mem)
    verdict = mnemos.verify_certificate(certificate, open_memory(copy))
    assert not verdict
    assert any("head" in reason for reason in verdict.reasons)
    assert any("still" in reason for reason in verdict.reasons)
    other = mnemos.verify_certificate(certificate, open_memory(":memory:"))
    assert any("another store" in reason for reason in other.reasons)


def test_a_certificate_of_a_transaction_that_was_undone_does_not_hold(mem: Mnemos) -> None:
    cube = mem.space("a").add("the harbour")
    transaction = mem.transaction()
    transaction.__enter__()
    certificate = mem.space("a").forget([cube.id])
    assert mnemos.verify_certificate(certificate, mem)
    transaction.__exit__(KeyError, KeyError(), None)
    assert mem.space("a").get(cube.id).text == "the harbour"
    assert not mnemos.verify_certificate(certificate, mem)


OTHER_HEX = hashlib.sha256(b"another").hexdigest()
TAMPERED: dict[str, Callable[[Certificate], Certificate]] = {
    "store": lambda c: replace(c, store="00" * 16),
    "position": lambda c: replace(c, position=c.position - 1),
    "head": lambda c: replace(c, head=OTHER_HEX),
    "time": lambda c: replace(c, forgotten_at="2020-01-01T00:00:00+00:00"),
    "reason": lambda c: replace(c, reason="none"),
    "no reason": lambda c: replace(c, reason=None),
    "id": lambda c: replace(c, cubes=(replace(c.cubes[0], id=c.cubes[1].id), c.cubes[1])),
    "space": lambda c: replace(c, cubes=(replace(c.cubes[0], space="b"), c.cubes[1])),
    "cube position": lambda c: replace(c, cubes=(replace(c.cubes[0], position=c.position), c.cubes[1])),
    "digest": lambda c: replace(c, cubes=(replace(c.cubes[0], digests=(OTHER_HEX, c.cubes[0].digests[1])), c.cubes[1])),
    "fewer digests": lambda c: replace(c, cubes=(replace(c.cubes[0], digests=c.cubes[0].digests[:1]), c.cubes[1])),
    "digests in another order": lambda c: replace(c, cubes=(replace(c.cubes[0], digests=c.cubes[0].digests[::-1]), c.cubes[1])),
    "opening": lambda c: replace(c, cubes=(replace(c.cubes[0], openings=("00" * 16, c.cubes[0].openings[1])), c.cubes[1])),
    "no openings": lambda c: replace(c, cubes=(replace(c.cubes[0], openings=()), c.cubes[1])),
    "without the last cube": lambda c: replace(c, cubes=c.cubes[:1]),
    "a cube twice": lambda c: replace(c, cubes=(*c.cubes, c.cubes[1])),
    "cubes in another order": lambda c: replace(c, cubes=c.cubes[::-1]),
}


@pytest.mark.parametrize("field", TAMPERED)
def test_a_certificate_that_was_changed_does_not_hold(told: tuple[Mnemos, Certificate], field: str) -> None:
    mem, certificate = told
    assert not mnemos.verify_certificate(TAMPERED[field](certificate), mem)


def test_a_certificate_cannot_be_moved_to_another_entry_of_the_log(told: tuple[Mnemos, Certificate]) -> None:
    mem, certificate = told
    with mem.snapshot() as snapshot:
        for entry in snapshot.log(0):
            at = mnemos.base.clock.iso(entry.at) or ""
            moved = replace(certificate, position=entry.seq, head=entry.hash.hex(), forgotten_at=at)
            assert bool(mnemos.verify_certificate(moved, mem)) is (entry.seq == certificate.position)


@pytest.mark.parametrize(
    "broken",
    [{"format": "mnemos-forget-2"}, {"cubes": None}, {"position": "x"}, {"cubes": [{"id": "no"}]}, {"cubes": [{"digests": ["xyz"]}]}],
)
def test_what_is_no_certificate_is_refused(told: tuple[Mnemos, Certificate], broken: dict[str, Any]) -> None:
    mem, certificate = told
    with pytest.raises(Invalid):
        mnemos.verify_certificate(certificate.as_json() | broken, mem)
    with pytest.raises(Invalid):
        mnemos.verify_certificate(replace(certificate, format="mnemos-forget-2"), mem)
    with pytest.raises(Invalid):
        mnemos.verify_certificate(replace(certificate, cubes=(replace(certificate.cubes[0], openings=("zz",)),)), mem)


def test_neither_certificate_nor_log_reveals_content(mem: Mnemos) -> None:
    space = mem.space("a")
    same = [space.add("the harbour", created_at="2024-01-01", author="Ann") for _ in range(2)]
    records = [Content(id=UUID(cube.id), version=1, created_at=cube_micros(mem, cube.id), text="the harbour", author="Ann") for cube in same]
    certificate = space.forget([cube.id for cube in same])
    said = json.dumps(certificate.as_json())
    assert "harbour" not in said
    assert "Ann" not in said
    digests = [cube.digests[0] for cube in certificate.cubes]
    assert len(set(digests)) == 2
    for record in records:
        for salt in (b"", bytes(16), mem.store_id.encode(), bytes.fromhex(mem.store_id)):
            assert record.digest(salt).hex() not in digests
    with mem.snapshot() as snapshot:
        log = b"".join(repr(entry).encode() for entry in snapshot.log(0))
    for cube in certificate.cubes:  # without the holder's opening, nobody can try a guess
        assert cube.openings[0].encode() not in log
    assert mnemos.verify_certificate(certificate, mem, records=[record.as_json() for record in records])
    wrong = [replace(records[0], text="the harbor").as_json()]
    assert not mnemos.verify_certificate(certificate, mem, records=wrong)


def cube_micros(mem: Mnemos, id: str) -> int:
    with mem.snapshot() as snapshot:
        standing = snapshot.standing(UUID(id))
        assert standing is not None
        return snapshot.versions([standing.seq])[standing.seq].content.created_at


def test_a_later_store_without_embedder_can_check(told: tuple[Mnemos, Certificate], open_memory: Callable[..., Mnemos]) -> None:
    mem, certificate = told
    assert mnemos.verify_certificate(certificate, open_memory(mem.path, embedder=EMBEDDER))
