"""KV memories beside everything else that the kernel does with memories."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
import torch

import mnemos
from kernel.kv.byte_llama import model
from mnemos.base.clock import from_micros
from mnemos.errors import Conflict, FingerprintMismatch, Frozen, Invalid
from mnemos.kernel import system as system_module
from mnemos.kernel.exchange import diff, export_archive, import_archive, sync
from mnemos.kernel.exchange.transfer import export_jsonl, import_jsonl
from mnemos.kernel.forgetting import verify_certificate
from mnemos.kernel.kv.reading import tokens_of
from mnemos.kernel.life.tending import LifecyclePolicy
from mnemos.kernel.space import Space
from support import HandClock

torch.set_num_threads(1)
MODEL = model()
DAY = 86_400_000_000
TEXTS = ("Alice moved to Lisbon in May.", "Bob keeps two grey cats.", "The boat leaves at seven.")


def opened(tmp_path: Path, **options: object) -> mnemos.Mnemos:
    tmp_path.mkdir(exist_ok=True)
    return mnemos.open(tmp_path / "memory.db", **{"embedder": "none", "language_model": MODEL, **options})  # type: ignore[arg-type]


def test_what_has_no_vector_by_its_nature_is_not_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path, embedder="hashed") as mem:
        space = mem.space("alice")
        space.kv.warm(space.add(TEXTS[0]).id)
        space.add("A long text. " * 2000)  # a document has no vector of its own, either
    started: list[object] = []
    monkeypatch.setattr(system_module, "start_embedding", lambda *given: started.append(given))
    with opened(tmp_path, embedder="hashed") as mem:
        assert not started
        with mem.snapshot() as snapshot:
            assert snapshot.count_unsearched() == 2


def warmed(mem: mnemos.Mnemos, name: str = "alice") -> tuple[Space, list[str]]:
    space = mem.space(name)
    ids = [space.add(text).id for text in TEXTS]
    space.kv.warm(ids)
    return space, ids


def sources(space: Space) -> list[str]:
    return [entry.source for entry in space.kv.entries() if entry.state == "ready"]


def blobs(tmp_path: Path) -> int:
    return len([path for path in (tmp_path / "memory.db-blobs").rglob("*") if path.is_file()])


# ---- lives ----------------------------------------------------------------------------------------------------------


def test_a_text_in_the_archive_is_taken_only_where_that_is_said(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space, ids = warmed(mem)
        space.archive(ids[0])
        with pytest.raises(Conflict, match="archived=True"):
            space.kv.take(ids)
        with pytest.raises(Conflict, match="archived"):
            space.kv.warm(ids[0])
        assert space.kv.take([ids[0]], archived=True).read == 0
        assert [entry.state for entry in space.kv.entries()] == ["archived", "ready", "ready"]
        space.restore(ids[0])
        assert space.kv.take([ids[0]]).read == 0
        space.quarantine(ids[0])
        with pytest.raises(Conflict, match="quarantined"):
            space.kv.take([ids[0]], archived=True)


def test_what_is_out_of_use_gives_way_first(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space, ids = warmed(mem)
        size = sum(entry.bytes for entry in space.kv.entries())
    with opened(tmp_path, kv_memory=size) as mem:
        space = mem.space("alice")
        for _ in range(5):
            space.kv.take([ids[2]])
        space.archive(ids[2])
        space.kv.warm(space.add("Carol sells maps.").id)
        assert sources(space)[:2] == ids[:2]
        assert ids[2] not in {entry.source for entry in space.kv.entries()}


def test_a_kv_memory_that_was_set_aside_is_not_taken_and_comes_back(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space, ids = warmed(mem)
        own = space.kv.inspect(ids[0]).id
        space.demote(own)
        assert space.kv.take([ids[0]]).taken == 0
        assert space.kv.warm(ids[0]) == []
        assert sources(space) == ids
        assert space.kv.inspect(ids[0]).id == own
        space.quarantine(own)
        assert space.kv.take([ids[0]]).taken == 0


def test_tending_leaves_what_is_used_by_way_of_its_text(tmp_path: Path) -> None:
    clock = HandClock()
    policy = LifecyclePolicy(archive_after_days=1)
    with opened(tmp_path, clock=clock) as mem:
        space, ids = warmed(mem)
        clock.now += 3 * DAY
        space.kv.take([ids[0]])
        mem.tend(policy=policy)
        assert [entry.state for entry in space.kv.entries()] == ["ready", "archived", "archived"]
        space.restore(ids[1])
        assert sources(space) == ids[:2]
        space.update(ids[1], expires_at=from_micros(clock.now + DAY))
        space.kv.warm(ids[1])
        clock.now += 2 * DAY
        assert mem.expire() == 2  # the text, and what is of it
        with pytest.raises(Conflict, match="expired"):
            space.kv.take([ids[1]])


# ---- changes --------------------------------------------------------------------------------------------------------


def test_it_is_no_text_that_could_be_changed_merged_or_summarised(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space, ids = warmed(mem)
        own = space.kv.inspect(ids[0]).id
        for change in (
            lambda: space.update(own, text="Something else."), lambda: space.update(own, tags=["a"]), lambda: space.merge([ids[1], own]),
            lambda: space.transform("summary", [own]), lambda: space.transform("read", [own]), lambda: space.rederive(own, force=True),
        ):  # fmt: skip
            with pytest.raises(Invalid, match="kind 'kv'"):
                change()
        assert sources(space) == ids
        assert mem.verify().ok


def test_a_merged_text_is_another_and_those_it_was_made_of_are_out_of_use(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space, ids = warmed(mem)
        whole = space.merge(ids[:2])
        assert space.kv.take([whole.id]).taken == 0
        with pytest.raises(Conflict, match="merged"):
            space.kv.take(ids[:1])
        space.kv.warm(whole.id)
        assert sources(space) == [ids[2], whole.id]
        space.forget([whole.id])
        assert sources(space) == ids  # they are in use again
        assert mem.verify().ok


def test_a_frozen_kv_memory_stays_and_keeps_nothing_new_away(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space, ids = warmed(mem)
        space.freeze(space.kv.inspect(ids[0]).id)
        space.update(ids[0], text="Alice moved to Porto in June.")
        assert [outcome.accepted for outcome in space.kv.warm(ids[0])] == [True]
        assert [entry.state for entry in space.kv.entries() if entry.source == ids[0]] == ["stale", "ready"]
        assert space.kv.take([ids[0]]).read == 0
        with pytest.raises(Frozen):
            space.forget([ids[0]])


# ---- the past, branches ---------------------------------------------------------------------------------------------


def test_the_past_takes_what_was_read_of_the_text_as_it_was(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space = mem.space("alice")
        ids = [space.add(text).id for text in TEXTS]
        before = mem.position()
        space.kv.warm(ids)
        then = space.at(mem.position())
        space.update(ids[0], text="Alice moved to Porto.")
        assert then.kv.take([ids[0]]).read == 0
        assert tuple(then.kv.take([ids[0]]).tokens) == tokens_of(MODEL, TEXTS[0])[0]
        assert [entry.state for entry in then.kv.entries()] == ["ready"] * 3
        assert space.at(before).kv.entries() == []
        assert space.at(before).kv.take([ids[1]]).taken == 0


def test_going_back_leaves_what_was_read_since(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space = mem.space("alice")
        ids = [space.add(text).id for text in TEXTS]
        space.snapshot("before")
        space.kv.warm(ids)
        space.update(ids[0], text="Alice moved to Porto.")
        gone = space.rewind("before")
        assert (gone.reverted, gone.archived) == ((ids[0],), ())
        assert sources(space) == ids[1:]
        assert [entry.state for entry in space.kv.entries() if entry.source == ids[0]] == ["stale"]
        space.kv.warm(ids)
        assert sorted(sources(space)) == sorted(ids)


def test_a_branch_reads_for_itself_and_brings_nothing_of_it_back(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space, ids = warmed(mem)
        branch = space.branch("what if")
        there = mem.space("what if")
        assert there.kv.entries() == []
        new = there.add("Dora paints boats.").id
        there.kv.warm([cube.id for cube in there.list() if cube.kind == "text"])
        assert len(there.kv.entries()) == 4
        assert [change.branch.id for change in branch.diff().changes if change.branch] == [new]
        there.kv.drop(there.kv.entries()[0].id)
        merged = branch.merge()
        assert (len(merged.added), merged.changed, merged.archived) == (1, (), ())
        assert sources(space) == ids
        branch.drop()
        assert sources(space) == ids
        assert blobs(tmp_path) == 3
        assert mem.verify().ok


# ---- between stores -------------------------------------------------------------------------------------------------


def test_json_lines_and_archives_leave_it_to_be_read_again(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space, ids = warmed(mem)
        space.freeze(space.kv.inspect(ids[0]).id)  # lines that speak of it stay behind with it
        space.kv.drop(ids[1])
        export_jsonl(mem, tmp_path / "all.jsonl")
        manifest = export_archive(mem, tmp_path / "all.mip")
        assert manifest.models == {}
        with opened(tmp_path / "a") as other:
            import_jsonl(other, tmp_path / "all.jsonl")
            assert {cube.text for cube in other.space("alice").list()} == set(TEXTS)
            assert other.space("alice").kv.entries() == []
            assert not diff(mem, other)
            other.space("alice").kv.warm(ids)
            assert not diff(mem, other)
        with opened(tmp_path / "b") as other:
            import_archive(other, tmp_path / "all.mip")
            other.space("alice").kv.warm(ids)
            assert sync(mem, other).changes == 0
            assert sources(other.space("alice")) == ids


def test_an_archive_carries_it_under_its_fingerprint_where_that_is_asked_for(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        _, ids = warmed(mem)
        manifest = export_archive(mem, tmp_path / "all.mip", kv=True)
        assert manifest.models == {MODEL.fingerprint: {"kv": 3}}
    with opened(tmp_path / "a") as other:
        with pytest.raises(FingerprintMismatch):
            import_archive(other, tmp_path / "all.mip")
        import_archive(other, tmp_path / "all.mip", models=[MODEL.fingerprint])
        assert other.space("alice").kv.take([ids[0]]).read == 0
        other.space("alice").update(ids[0], text="Changed.")
        assert other.space("alice").kv.take([ids[0]]).taken == 0


# ---- care -----------------------------------------------------------------------------------------------------------


def test_another_embedder_and_consolidation_pass_it_by(tmp_path: Path) -> None:
    with opened(tmp_path, embedder="hashed") as mem:
        mem.space("alice", strategy="notes")
        space, ids = warmed(mem)
        space.consolidate()
        assert {link.id for cube in space.list(types=["note"]) for link in cube.derived_from} <= {UUID(id) for id in ids}
        with mem.snapshot() as snapshot:
            assert snapshot.count_unembedded(1) == 0
        assert {link.id for cube in space.list(types=["note"]) for link in cube.derived_from}
        assert sources(space) == ids
        assert mem.verify().ok


@pytest.mark.parametrize("key", [None, bytes(range(32))], ids=["plain", "sealed"])
def test_forgetting_a_text_proves_that_what_was_read_of_it_is_gone(tmp_path: Path, key: bytes | None) -> None:
    more = {} if key is None else {"key": key}
    with opened(tmp_path, **more) as mem:
        space, ids = warmed(mem)
        own = space.kv.inspect(ids[0]).id
        certificate = space.forget([ids[0]])
        assert {cube.id for cube in certificate.cubes} == {ids[0], own}
        assert all(cube.keys for cube in certificate.cubes) is (key is not None)
        assert verify_certificate(certificate, mem).ok
        assert blobs(tmp_path) == 2
        assert mem.verify().ok
        assert sources(space) == ids[1:]
        if key is not None:
            mem.rotate_keys()
            assert space.kv.take([ids[1]]).read == 0
    with opened(tmp_path, **more) as mem:
        assert mem.space("alice").kv.take([ids[1]]).read == 0
        assert sources(mem.space("alice")) == ids[1:]


def test_sealing_a_store_seals_what_was_read(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        _, ids = warmed(mem)
        mem.seal(bytes(range(32)))
    with opened(tmp_path, key=bytes(range(32))) as mem:
        assert mem.space("alice").kv.take([ids[0]]).read == 0
        assert all(b"mnemos.kv" not in path.read_bytes() for path in (tmp_path / "memory.db-blobs").rglob("*") if path.is_file())
        assert mem.verify().ok
