"""Where memories come from: staleness that follows every change, explanations, and forgetting that leaves nothing, not even in a backup."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import mnemos
from mnemos.base.cube import Link, MemCube
from mnemos.base.errors import Invalid, NotFound
from mnemos.kernel.exchange.transfer import export_jsonl
from mnemos.kernel.lineage import Explanation
from mnemos.kernel.system import Mnemos
from mnemos.store.ledger import ForgottenLedger
from support import EMBEDDER

SECRET = "the vault opens with heliotrope"


def family(mem: Mnemos, widths: tuple[int, ...] = (2, 4, 8, 16, 20)) -> tuple[MemCube, list[MemCube]]:
    """A memory, and 50 that are derived from it over five levels, in three spaces."""
    root = mem.space("one").add(SECRET, author="Ada Lovelace", tags=["vault-tag"], metadata={"where": "cellar-7"})
    level, derived = [root], []
    for depth, width in enumerate(widths, 1):
        space = mem.space(("one", "two", "three")[depth % 3])
        level = [
            space.add(f"level {depth}, {number}: {SECRET}", type="note", derived_from=[level[number % len(level)]]) for number in range(width)
        ]
        derived += level
    return root, derived


# ---- staleness ------------------------------------------------------------------------------------------------------


def test_an_update_makes_what_was_derived_stale_in_every_space(mem: Mnemos) -> None:
    root, derived = family(mem)
    position = mem.position()
    mem.space("one").update(root.id, "the vault opens with marigold")
    kinds = [entry.kind for entry in mem.log(position)]
    assert kinds == ["update", *["stale"] * 50]
    assert all(mem.space(cube.space).get(cube.id).stale for cube in derived)
    assert not mem.space("one").get(root.id).stale
    assert mem.verify()


def test_searches_tell_and_leave_out_what_is_stale(mem: Mnemos) -> None:
    space = mem.space("a")
    root = space.add("The tram leaves at nine.")
    note = space.add("Somebody takes the tram at nine.", derived_from=[root.id])
    before = mem.position()
    space.update(root.id, "The tram leaves at ten.")

    def found(**conditions: Any) -> dict[str, bool]:
        return {hit.cube.id: hit.cube.stale for hit in space.search("tram", **conditions)}

    assert found() == {root.id: False, note.id: True}
    assert found(stale=False) == {root.id: False}
    assert found(stale=True) == {note.id: True}
    assert found(as_of=before) == {root.id: False, note.id: False}
    assert found(as_of=before, stale=True) == {}
    assert [cube.id for cube in space.list(stale=True)] == [note.id]
    assert space.at(before).get(note.id).stale is False
    space.update(note.id, "Somebody takes the tram at ten.", derived_from=[root.id])
    assert found(stale=True) == {}


def test_an_id_leads_to_the_version_that_is_current(mem: Mnemos) -> None:
    space = mem.space("a")
    root = space.add("one")
    space.update(root.id, "two")
    assert space.add("from it", derived_from=[root.id]).derived_from == (Link(UUID(root.id), 2),)
    late = space.add("from the old one", derived_from=[Link(UUID(root.id), 1)])
    assert late.stale
    assert space.get(late.id).stale
    with pytest.raises(NotFound, match="has no version 3"):
        space.add("from the future", derived_from=[Link(UUID(root.id), 3)])


def test_lineage_makes_no_circle(mem: Mnemos) -> None:
    space = mem.space("a")
    one = space.add("one")
    two = space.add("two", derived_from=[one.id])
    three = space.add("three", derived_from=[two.id])
    for source in (one, three):
        with pytest.raises(Invalid, match="circle"):
            space.update(one.id, "again", derived_from=[source.id])
    assert space.get(one.id).version == 1


# ---- explaining -----------------------------------------------------------------------------------------------------


def ids(steps: tuple[Any, ...], up: bool) -> set[str]:
    return {one for step in steps for one in (step.tree.cube.id, *ids(step.tree.sources if up else step.tree.derived, up))}


def test_an_explanation_shows_the_whole_tree_in_both_directions(mem: Mnemos) -> None:
    root, derived = family(mem)
    told = mem.space("one").explain(root.id)
    assert told.sources == ()
    assert ids(told.derived, False) == {cube.id for cube in derived}
    last = derived[-1]
    back = mem.space(last.space).explain(last.id)
    assert root.id in ids(back.sources, True)
    depth, step = 0, back
    while step.sources:
        depth, step = depth + 1, step.sources[0].tree
    assert (depth, step.cube.id) == (5, root.id)
    assert [event["what"] for event in back.events] == ["add"]
    assert SECRET[:20] in told.text()
    assert told.as_json()["derived"][0]["relation"] == "derived_from"


def test_an_explanation_says_what_has_changed_and_happened(mem: Mnemos) -> None:
    space = mem.space("a")
    root = space.add("The tram leaves at nine.")
    note = space.add("Take the tram.", derived_from=[root.id])
    space.update(root.id, "The tram leaves at ten.")
    space.archive(note.id, "old")
    told = space.explain(note.id)
    assert [(step.outdated, step.version, step.tree.cube.version) for step in told.sources] == [(True, 1, 2)]
    assert [event["what"] for event in told.events] == ["add", "stale", "state"]
    assert told.events[-1] | {"position": 0, "at": ""} == {
        "position": 0, "at": "", "what": "state", "version": 1, "by": None, "from": "generated", "to": "archived", "reason": "old",
    }  # fmt: skip
    assert "(changed since)" in told.text()


def test_what_may_not_be_read_is_left_out_with_what_is_behind_it(mem: Mnemos) -> None:
    open_, closed = mem.space("open", acl={"read": ["bob"]}), mem.space("closed")
    root = open_.add("root")
    hidden = closed.add("hidden", derived_from=[root.id])
    behind = open_.add("behind", derived_from=[hidden.id])
    own = open_.add("own", derived_from=[root.id])
    open_.set_acl(own.id, {"read": ["carol"]})
    seen = mem.as_principal("bob").existing_space("open")
    assert seen.explain(root.id).derived == ()
    assert seen.explain(behind.id).sources == ()
    assert ids(open_.explain(root.id).derived, False) == {hidden.id, behind.id, own.id}


def test_a_diamond_is_told_once_and_a_long_chain_ends(mem: Mnemos) -> None:
    space = mem.space("a")
    top = space.add("top")
    left, right = space.add("left", derived_from=[top.id]), space.add("right", derived_from=[top.id])
    bottom = space.add("bottom", derived_from=[left.id, right.id])
    space.add("below", derived_from=[bottom.id])
    told: Explanation = space.explain(top.id)
    assert sorted(len(step.tree.derived[0].tree.derived) for step in told.derived) == [0, 1]
    chain = top
    for number in range(150):
        chain = space.add(f"link {number}", derived_from=[chain.id])
    assert len(ids(space.explain(chain.id).sources, True)) == 100


# ---- forgetting -----------------------------------------------------------------------------------------------------


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_forgetting_leaves_no_trace_of_fifty_descendants(open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    mem = open_memory()
    root, derived = family(mem)
    keep = mem.space("two").add("The tram leaves at nine.")
    for name in ("one", "two", "three"):
        assert mem.space(name).search("vault heliotrope")
    certificate = mem.space("one").forget(root.id, reason="asked to")
    assert {cube.id for cube in certificate.cubes} == {root.id, *(cube.id for cube in derived)}
    for needle in (b"heliotrope", b"Ada Lovelace", b"vault-tag", b"cellar-7"):
        assert [name for name, data in files(tmp_path).items() if needle in data] == []
    for name in ("one", "two", "three"):
        assert {hit.cube.id for hit in mem.space(name).search("vault heliotrope")} <= {keep.id}
        assert {cube.id for cube in mem.space(name).list(states=[s.word for s in mnemos.base.cube.State])} <= {keep.id}
    assert not any(SECRET in text for text in mem.embedding._known)
    export_jsonl(mem, tmp_path / "after.jsonl")
    assert b"heliotrope" not in (tmp_path / "after.jsonl").read_bytes()
    assert mem.verify()
    mem.close()
    assert mnemos.verify_certificate(certificate, str(tmp_path / "memory.db"))


def _backup(folder: Path, target: Path) -> None:
    target.mkdir()
    for name in ("memory.db", "memory.db-blobs"):
        if (folder / name).is_file():
            shutil.copy(folder / name, target / name)


def test_an_older_backup_forgets_again_when_it_is_opened(open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    mem = open_memory()
    root, derived = family(mem)
    mem.space("one").freeze(root.id)
    keep = mem.space("two").add("The tram leaves at nine.")
    mem.close()
    _backup(tmp_path, tmp_path / "backup")
    mem = open_memory()
    mem.space("one").unfreeze(root.id)
    mem.space("one").forget(root.id)
    mem.close()
    shutil.copy(tmp_path / "backup" / "memory.db", tmp_path / "memory.db")
    (tmp_path / "memory.db-head").unlink()  # as the message of the witness says
    mem = open_memory()
    for cube in (root, *derived):
        with pytest.raises(NotFound, match="was forgotten"):
            mem.space(cube.space).get(cube.id)
    assert mem.space("two").get(keep.id).text == keep.text
    assert mem.verify()
    mem.close()
    assert not any(b"heliotrope" in path.read_bytes() for path in tmp_path.glob("memory.db*"))


def test_a_backup_elsewhere_is_caught_up_by_the_certificate(open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    mem = open_memory()
    root, derived = family(mem)
    mem.close()
    _backup(tmp_path, tmp_path / "elsewhere")
    mem = open_memory()
    certificate = mem.space("one").forget(root.id)
    old = open_memory(tmp_path / "elsewhere" / "memory.db")
    assert old.space("one").get(root.id).text == SECRET
    again = old.forget_again([certificate.as_json()])
    assert again is not None
    assert {cube.id for cube in again.cubes} == {root.id, *(cube.id for cube in derived)}
    assert mnemos.verify_certificate(again, old)
    assert old.forget_again([certificate]) is None
    old.close()
    assert not any(b"heliotrope" in data for data in files(tmp_path / "elsewhere").values())


def test_the_ledger_survives_damage_loss_and_a_torn_record(open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    ledger = tmp_path / "memory.db-forgotten"
    mem = open_memory()
    space = mem.space("a")
    for number in range(3):
        space.forget(space.add(f"number {number} of the list").id)
    mem.close()
    whole = ledger.read_bytes()
    assert len(whole) == 28 + 3 * 20
    for damaged in (b"", whole[:30], whole[:-7], b"x" * len(whole)):
        ledger.write_bytes(damaged)
        mem = open_memory()
        mem.space("a").forget(mem.space("a").add("one more to forget").id)
        mem.close()
        assert len(ledger.read_bytes()) >= len(whole)
        assert (tmp_path / "memory.db-forgotten").stat().st_mode & 0o777 == 0o600


def test_a_flipped_record_of_the_ledger_is_told_once_and_written_anew(open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    ledger = tmp_path / "memory.db-forgotten"
    mem = open_memory()
    gone = {UUID(mem.space("a").forget(mem.space("a").add(f"number {number} of the list").id).cubes[0].id) for number in range(3)}
    mem.close()
    whole = ledger.read_bytes()
    for at in (5, 28 + 3, 28 + 20 + 19, 28 + 40):  # the header, an id, a checksum, the last record
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        ledger.write_bytes(damaged)
        mem = open_memory()
        told = [finding.problem for finding in mem.verify().findings]
        assert len(told) == 1
        assert "checksum does not match; it is written anew" in told[0]
        mem.close()
        assert ForgottenLedger(str(ledger), whole[8:24]).ids() == gone
        assert ledger.stat().st_size == len(whole)
        mem = open_memory()
        assert mem.verify()
        mem.close()


def test_what_an_older_backup_has_to_forget_outlives_damage_of_the_ledger(open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    mem = open_memory()
    first, second = (mem.space("a").add(f"number {number} of the list").id for number in range(2))
    mem.space("a").forget(first)
    mem.close()
    _backup(tmp_path, tmp_path / "backup")
    mem = open_memory()
    mem.space("a").forget(second)
    mem.close()
    shutil.copy(tmp_path / "backup" / "memory.db", tmp_path / "memory.db")
    (tmp_path / "memory.db-head").unlink()
    data = bytearray((tmp_path / "memory.db-forgotten").read_bytes())
    data[28] ^= 1  # of the record that the backup knows itself
    (tmp_path / "memory.db-forgotten").write_bytes(data)
    mem = open_memory()
    with pytest.raises(NotFound, match="was forgotten"):
        mem.space("a").get(second)
    mem.close()
    assert ForgottenLedger(str(tmp_path / "memory.db-forgotten"), bytes(data[8:24])).ids() == {UUID(first), UUID(second)}


def test_what_is_undone_is_not_in_the_ledger(open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    mem = open_memory()
    cube = mem.space("a").add("stays after all")
    with pytest.raises(RuntimeError), mem.transaction():
        mem.space("a").forget(cube.id)
        raise RuntimeError
    mem.space("a").forget(mem.space("a").add("really goes away").id)
    mem.close()
    assert UUID(cube.id).bytes not in (tmp_path / "memory.db-forgotten").read_bytes()
    assert open_memory().space("a").get(cube.id).text == "stays after all"


def test_what_follows_is_gone_from_the_caches(mem: Mnemos) -> None:
    space = mem.space("a")
    cube = space.add("the vault opens with heliotrope")
    space.search("vault")
    assert mem.tracker.peek(UUID(cube.id)).hits == 1
    space.forget(cube.id)
    assert mem.tracker.peek(UUID(cube.id)).hits == 0
    assert EMBEDDER is mem.embedding.embedder
    assert not any("heliotrope" in text for text in mem.embedding._known)
