"""Archives carry all that a store knows, are the same every time, and import to an equal store over every back end."""

from __future__ import annotations

import itertools
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy
from exchange_support import KEY, OTHER, files_of, fill, says

from mnemos.base.cube import Content
from mnemos.base.errors import Conflict, Corrupt, FingerprintMismatch, Invalid, NotFound, PermissionDenied, QuotaExceeded
from mnemos.base.signing import SignedDocument
from mnemos.kernel.exchange import Limits, diff, export_archive, import_archive, read_manifest, sync, verify_archive
from mnemos.kernel.exchange.transfer import import_jsonl
from mnemos.kernel.system import Mnemos
from mnemos.models.hashed import HashedEmbedder
from mnemos.store.base import NewVersion
from support import EMBEDDER

SUFFIXES = ("", ".zip", ".mip")


@pytest.fixture
def filled(filed: Mnemos) -> Mnemos:
    fill(filed)
    return filed


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_archive_imports_to_an_equal_store_over_every_back_end(
    filled: Mnemos, open_memory: Callable[..., Mnemos], tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"all{suffix}"
    manifest = export_archive(filled, path, sign_with=KEY)
    assert verify_archive(path, KEY.public)
    filed, in_memory, sealed = open_memory(tmp_path / "two.db"), open_memory(":memory:"), open_memory(tmp_path / "sealed.db", key=bytes(32))
    entries = next(payload.count for payload in manifest.payloads if payload.path == "cubes.jsonl")
    for other in (filed, in_memory, sealed):
        assert import_archive(other, path, public_key=KEY.public) == entries
        assert says(other) == says(filled)
        assert other.verify(), other.verify().findings
        position = other.position()
        assert import_archive(other, path) == 0, "importing again changes nothing"
        assert other.position() == position
    for number, (one, two) in enumerate(itertools.pairwise((filled, filed, in_memory, sealed))):  # dumped and loaded over all of them, on and on
        export_archive(two, tmp_path / f"again {number}")
        assert files_of(tmp_path / f"again {number}")["cubes.jsonl"].splitlines()[1:-1] == files_of_export(one, tmp_path / f"was {number}")


def files_of_export(mem: Mnemos, path: Path) -> list[bytes]:
    export_archive(mem, path)
    return (path / "cubes.jsonl").read_bytes().splitlines()[1:-1]


def test_the_same_store_gives_the_same_bytes_in_every_form(filled: Mnemos, tmp_path: Path) -> None:
    for name in ("a.zip", "b.mip", "c", "d"):
        export_archive(filled, tmp_path / name, sign_with=KEY)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.mip").read_bytes()
    assert files_of(tmp_path / "c") == files_of(tmp_path / "d")
    with zipfile.ZipFile(tmp_path / "a.zip") as unpacked:
        assert unpacked.testzip() is None
        assert {name: unpacked.read(name) for name in unpacked.namelist()} == files_of(tmp_path / "c")
        assert all(info.compress_type == zipfile.ZIP_STORED for info in unpacked.infolist())
    tested = subprocess.run(["unzip", "-tq", str(tmp_path / "a.zip")], capture_output=True, check=False) if _has_unzip() else None
    assert tested is None or tested.returncode == 0
    (tmp_path / "unpacked").mkdir()
    with zipfile.ZipFile(tmp_path / "a.zip") as packed:
        packed.extractall(tmp_path / "unpacked")
    assert verify_archive(tmp_path / "unpacked", KEY.public)


def _has_unzip() -> bool:
    try:
        return subprocess.run(["unzip", "-v"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def test_the_manifest_says_what_is_there(filled: Mnemos, tmp_path: Path) -> None:
    manifest = export_archive(filled, tmp_path / "all.zip", sign_with=KEY)
    assert read_manifest(tmp_path / "all.zip") == manifest
    assert (manifest.store, manifest.position) == (filled.store_id, filled.position())
    alice, library, bobs = manifest.spaces
    assert alice.settings == filled.settings("alice")
    assert (alice.name, alice.forgotten, library.name, bobs.cubes) == ("alice", 1, "library", 1)
    with filled.snapshot() as snapshot:
        assert sum(space.versions for space in manifest.spaces) == snapshot.count()["versions"]
    (vectors,) = manifest.embedders
    assert (vectors.fingerprint, vectors.dimensions) == (EMBEDDER.fingerprint, 32)
    assert manifest.lineage["part_of"] > 2
    assert manifest.redactions is None
    assert not manifest.chosen


def test_other_tools_read_the_payloads(filled: Mnemos, open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    export_archive(filled, tmp_path / "all")
    other = open_memory(":memory:")
    import_jsonl(other, tmp_path / "all" / "cubes.jsonl")
    assert says(other) == says(filled), "the cubes alone are an export in JSON lines"
    (path,) = (tmp_path / "all" / "vectors").iterdir()
    tensors = safetensors.numpy.load_file(path)
    assert tensors["vectors"].shape[1] == 32
    assert len(tensors["ids"]) == len(tensors["versions"]) == len(tensors["vectors"])


# -- vectors and models --
class Counting(HashedEmbedder):
    """Counts what it embeds."""

    embedded = 0

    def embed(self, texts: Any, *, progress: Any = None) -> Any:
        self.embedded += len(texts)
        return super().embed(texts, progress=progress)


def test_vectors_are_taken_over_where_the_embedder_agrees(filled: Mnemos, open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    export_archive(filled, tmp_path / "all.zip")
    export_archive(filled, tmp_path / "without", vectors=False)
    assert not (tmp_path / "without" / "vectors").exists()
    with filled.snapshot() as snapshot:
        held = snapshot.count()["vectors"]
    for options, size, expected in (({}, 32, 0), ({"vectors": False}, 32, held), ({}, 48, held)):
        embedder = Counting(dimensions=size)
        other = open_memory(":memory:", embedder=embedder)
        import_archive(other, tmp_path / "all.zip", **options)
        with other.snapshot() as snapshot:
            assert snapshot.count()["vectors"] == held
            assert [name for name, _ in snapshot.embedders().values()] == [embedder.fingerprint]
        assert bool(embedder.embedded) is bool(expected)
        assert other.verify()
    words_only = open_memory(":memory:", embedder="none")
    import_archive(words_only, tmp_path / "all.zip")
    with words_only.snapshot() as snapshot:
        assert snapshot.count()["vectors"] == 0


def with_blob(mem: Mnemos, data: bytes, kind: str = "kv", fingerprint: str | None = "llama:1") -> str:
    """A cube with a large payload, as the tiers of models write them."""
    mem.space("model")
    name = mem.store.blobs.put(data)
    content = Content(id=mem.new_id(), version=1, created_at=mem.clock(), kind=kind, blob=name, fingerprint=fingerprint, metadata={"layers": 2})
    with mem.writing() as transaction:
        row = transaction.space("model")
        assert row is not None
        transaction.add(row.num, [NewVersion(content)])
    return str(content.id)


@pytest.mark.parametrize("kind", ["kv", "adapter"])
def test_what_one_model_alone_can_use_is_refused_without_it(filed: Mnemos, open_memory: Callable[..., Mnemos], tmp_path: Path, kind: str) -> None:
    cube = with_blob(filed, b"keys and values" * 1000, kind)
    filed.space("model").add("a text beside it")
    manifest = export_archive(filed, tmp_path / "all.zip")
    assert manifest.models == {"llama:1": {kind: 1}}
    assert verify_archive(tmp_path / "all.zip")
    for models in ((), ["llama:2"]):
        other = open_memory(":memory:")
        with pytest.raises(FingerprintMismatch, match="llama:1"):
            import_archive(other, tmp_path / "all.zip", models=models)
        assert other.spaces() == []
    for number, options in enumerate(({}, {"key": bytes(32)})):
        other = open_memory(tmp_path / f"other {number}.db", **options)
        import_archive(other, tmp_path / "all.zip", models=["llama:1"])
        assert import_archive(other, tmp_path / "all.zip", models=["llama:1"]) == 0
        found = other.space("model").get(cube)
        assert other.store.blobs.get(str(found.blob)) == b"keys and values" * 1000
        assert found.fingerprint == "llama:1"
        assert other.verify()
        export_archive(other, tmp_path / f"back {number}.zip")
        again = read_manifest(tmp_path / f"back {number}.zip")
        assert [payload for payload in again.payloads if payload.path.startswith("blobs/")] == [manifest.payloads[-1]]
        assert verify_archive(tmp_path / f"back {number}.zip")
    export_archive(filed, tmp_path / "folder")
    with pytest.raises(Invalid, match="archive"):
        import_jsonl(open_memory(":memory:"), tmp_path / "folder" / "cubes.jsonl")


# -- choosing --
def test_a_part_is_chosen_with_its_whole_history(filled: Mnemos, open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    manifest = export_archive(filled, tmp_path / "travel.zip", tags=["travel"])
    assert manifest.chosen
    assert [space.cubes for space in manifest.spaces] == [0, 0, 0], "the version that holds the tag is not the current one"
    manifest = export_archive(filled, tmp_path / "book.zip", spaces=["library"], types=["document"])
    other = open_memory(":memory:")
    import_archive(other, tmp_path / "book.zip")
    (document,) = other.space("library").list(types=["document"])
    assert document.text == filled.space("library").get(document.id).text
    assert len(other.space("library").history(document.id)) == 2
    assert other.spaces() == ["library"]
    export_archive(filled, tmp_path / "across.zip", spaces=["library"])
    assert read_manifest(tmp_path / "across.zip").lineage["(outside)"] == 2
    import_archive(other, tmp_path / "across.zip")
    assert other.verify()
    with pytest.raises(NotFound):
        export_archive(filled, tmp_path / "x.zip", spaces=["nowhere"])
    assert not (tmp_path / "x.zip").exists()


def test_who_gets_a_part_is_not_told_what_else_was_forgotten(filled: Mnemos, tmp_path: Path) -> None:
    export_archive(filled, tmp_path / "part", tags=["home"])
    assert (tmp_path / "part" / "forgotten.jsonl").read_bytes() == b""
    assert [space.forgotten for space in read_manifest(tmp_path / "part").spaces] == [0, 0, 0]


def test_a_branch_is_an_ordinary_space_elsewhere(filled: Mnemos, open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    """Its setting speaks of positions of a log that is not there."""
    filled.space("library").branch("what if")
    assert "branch" in filled.settings("what if")
    export_archive(filled, tmp_path / "all.zip")
    other = open_memory(":memory:")
    import_archive(other, tmp_path / "all.zip")
    assert "branch" not in other.settings("what if")
    assert len(other.space("what if").list(limit=100)) == len(filled.space("what if").list(limit=100)) > 1
    assert not diff(filled, other)
    filled.space("what if", acl={"read": ["bob"]})
    assert sync(filled, other).settings == 1
    assert sync(other, filled).changes == 0
    assert "branch" in filled.settings("what if"), "it stays one here"


def test_what_is_archived_or_expired_is_chosen_too(filled: Mnemos, tmp_path: Path) -> None:
    manifest = export_archive(filled, tmp_path / "old", spaces=["library"], filter={"nothing": {"exists": False}})
    assert manifest.spaces[0].cubes == export_archive(filled, tmp_path / "all", spaces=["library"]).spaces[0].cubes


def test_a_principal_exports_and_imports_by_its_own_rights(filled: Mnemos, open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    carol = filled.as_principal("carol")
    manifest = export_archive(carol, tmp_path / "carol")
    assert [space.name for space in manifest.spaces] == ["alice"]
    assert "acl" not in manifest.spaces[0].settings
    written = b"".join(files_of(tmp_path / "carol").values())
    assert b"For Bob alone" not in written
    assert b"bob" not in written
    other = open_memory(":memory:")
    other.space("alice", acl={"read": ["dave"]})
    for principal in ("carol", "dave"):
        with pytest.raises(PermissionDenied):
            import_archive(other.as_principal(principal), tmp_path / "carol")
    assert other.space("alice").list() == []
    empty = open_memory(":memory:")
    import_archive(empty.as_principal("carol"), tmp_path / "carol")
    assert empty.settings("alice")["owner"] == "carol"


# -- what does not come back --
def test_what_was_forgotten_is_refused_before_anything_is_written(filled: Mnemos, open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    export_archive(filled, tmp_path / "all.zip")
    export_archive(filled, tmp_path / "library.zip", spaces=["library"])
    other = open_memory(":memory:")
    import_archive(other, tmp_path / "all.zip")
    (home,) = other.space("alice").list(tags=["home"])
    other.space("alice").forget([home.id])
    position = other.position()
    for name in ("all.zip", "library.zip"):
        with pytest.raises(Conflict, match="forgotten"):
            import_archive(other, tmp_path / name)
    assert other.position() == position


def test_a_batch_is_imported_whole_or_not_at_all(open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    first = open_memory(":memory:", embedder="none")
    first.space("a").add_many([{"text": f"number {n}"} for n in range(1200)])
    export_archive(first, tmp_path / "all.zip")
    other = open_memory(":memory:", embedder="none")
    other.space("a", quota={"cubes": 700})
    with pytest.raises(QuotaExceeded):
        import_archive(other, tmp_path / "all.zip")
    assert len(other.space("a").list(limit=2000)) == 511, "the first batch, which fits, is whole; the second is not there"
    other.space("a", quota={})
    assert import_archive(other, tmp_path / "all.zip") == 689
    assert says(other, searched=False)["a"][2] == says(first, searched=False)["a"][2]


def test_a_stop_in_the_middle_leaves_no_archive(filled: Mnemos, tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        with pytest.raises(KeyboardInterrupt):
            export_archive(filled, tmp_path / f"cut{suffix}", progress=_interrupt)
    assert sorted(path.name for path in tmp_path.iterdir() if "cut" in path.name) == []
    export_archive(filled, tmp_path / "there.zip")
    for target in (tmp_path / "there.zip", tmp_path, tmp_path / "no folder" / "x.zip"):
        with pytest.raises(Invalid):
            export_archive(filled, target)


def _interrupt(done: int, total: int) -> None:
    raise KeyboardInterrupt


def test_progress_is_told(filled: Mnemos, open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    out: list[tuple[int, int]] = []
    export_archive(filled, tmp_path / "all.zip", progress=lambda done, total: out.append((done, total)))
    assert out[-1][1] == filled.position()
    into: list[tuple[int, int]] = []
    import_archive(open_memory(":memory:"), tmp_path / "all.zip", progress=lambda done, total: into.append((done, total)))
    assert into[-1][0] == into[-1][1]


def test_an_empty_store_is_an_archive_too(filed: Mnemos, open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    export_archive(filed, tmp_path / "empty.zip", sign_with=KEY)
    assert verify_archive(tmp_path / "empty.zip", KEY.public)
    assert import_archive(open_memory(":memory:"), tmp_path / "empty.zip") == 0


def test_what_cannot_be_asked_is_refused(filled: Mnemos, tmp_path: Path) -> None:
    for options in ({"redact": "email"}, {"spaces": "alice"}, {"tags": "x"}, {"filter": 5}):
        with pytest.raises(Invalid):
            export_archive(filled, tmp_path / "x.zip", **options)  # type: ignore[arg-type]
    assert list(tmp_path.glob("x*")) == []
    with pytest.raises(NotFound):
        verify_archive(tmp_path / "nothing.zip")
    with pytest.raises(NotFound):
        import_archive(filled, tmp_path / "nothing.zip")


def test_imports_refuse_what_does_not_verify(filled: Mnemos, open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    export_archive(filled, tmp_path / "all", sign_with=OTHER)
    other = open_memory(":memory:")
    with pytest.raises(Corrupt, match="signed with key"):
        import_archive(other, tmp_path / "all", public_key=KEY.public)
    path = tmp_path / "all" / "cubes.jsonl"
    path.write_bytes(path.read_bytes().replace(b"Lisbon", b"London"))
    with pytest.raises(Corrupt, match="SHA-256"):
        import_archive(other, tmp_path / "all")
    with pytest.raises(Corrupt, match="larger"):
        import_archive(other, tmp_path / "all", limits=replace(Limits(), total_bytes=1000))
    assert other.spaces() == []


def test_the_manifest_is_a_signed_document(filled: Mnemos, tmp_path: Path) -> None:
    export_archive(filled, tmp_path / "all", sign_with=KEY)
    signed = SignedDocument.from_bytes((tmp_path / "all" / "manifest.json").read_bytes())
    assert signed.faults("archive", KEY.public) == []
    assert signed.document["format"] == "mnemos-archive"
