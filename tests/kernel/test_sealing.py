"""A sealed store through `mnemos.open`: it holds and finds what any other does; sealing, renewing and changing keys lose nothing of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography", reason="sealed stores need the package cryptography")

import mnemos
from mnemos.base.cube import Content
from mnemos.errors import Conflict, Invalid, NotFound, PermissionDenied, StoreUnavailable, WrongKey
from mnemos.kernel.exchange.transfer import export_jsonl, import_jsonl
from mnemos.kernel.sealing import key_from, key_from_environment, key_in
from mnemos.kernel.system import Mnemos
from mnemos.models.hashed import HashedEmbedder
from mnemos.store.base import NewVersion
from mnemos.store.sqlite_renew import begin
from support import EMBEDDER

KEY = bytes(range(32))
SECRETS = ["violin-in-the-harbour", "Annabella Quist", "orchestra-tag", "chapter-value", "a space's own name", "principal-name", "reader-name",
           "archived-for-peace", "why-it-was-forgotten"]  # fmt: skip
Open = Callable[..., Mnemos]


def furnished(mem: Mnemos) -> tuple[mnemos.Certificate, list[str]]:
    """Some of everything: (a certificate of what was forgotten, the ids of what is there)."""
    space = mem.as_principal("principal-name").space("a space's own name", acl={"read": ["reader-name"]})
    first = space.add("The violin-in-the-harbour is played.", author="Annabella Quist", tags=["orchestra-tag"], metadata={"k": "chapter-value"})
    space.update(first.id, "The violin-in-the-harbour is played again.")
    space.rollback(first.id, 1)
    document = space.add("\n\n".join(f"# Part {n}\n\n" + f"The violin-in-the-harbour, verse {n}. " * 30 for n in range(4)), source="song")
    derived = space.add("Derived from the violin.", derived_from=[first.id])
    space.freeze(derived.id)
    quiet = space.add("Nothing to hear.")
    space.archive(quiet.id, reason="archived-for-peace")
    certificate = space.forget([space.add("A violin-in-the-harbour that goes.").id], reason="why-it-was-forgotten")
    mem.set_setting("a setting", {"value": 7})
    return certificate, [first.id, document.id, derived.id, quiet.id]


def everything(mem: Mnemos, tmp_path: Path) -> list[bytes]:
    """The lines of an export, but for the first, which names the store, and the last, which covers it."""
    target = tmp_path / "export.jsonl"
    target.unlink(missing_ok=True)
    export_jsonl(mem, target)
    return target.read_bytes().splitlines()[1:-1]


def found(mem: Mnemos) -> list[Any]:
    space = mem.space("a space's own name")
    asked = ["violin harbour", "what is played?", "verse 2", "Annabella"]
    return [[(hit.cube.id, hit.cube.text, round(hit.score, 6)) for hit in space.search(question)] for question in asked] + [
        [hit.cube.id for hit in space.search("violin", author="Annabella Quist", tags=["orchestra-tag"], filter={"k": "chapter-value"})],
        [cube.id for cube in space.list(author="Annabella Quist")],
    ]


def readable(folder: Path) -> set[str]:
    data = b"".join(file.read_bytes() for file in folder.rglob("memory.db*") if file.is_file())
    data += b"".join(file.read_bytes() for file in folder.rglob("*-blobs/*/*") if file.is_file())
    return {secret for secret in SECRETS if secret.encode() in data}


def test_a_sealed_store_holds_and_finds_what_an_open_one_does(open_memory: Open, tmp_path: Path) -> None:
    sealed = open_memory(key=KEY)
    furnished(sealed)
    lines = everything(sealed, tmp_path)
    (tmp_path / "plain").mkdir()
    plain = open_memory(tmp_path / "plain" / "memory.db")
    import_jsonl(plain, tmp_path / "export.jsonl")
    assert everything(plain, tmp_path) == lines
    assert [[row[1:] if isinstance(row, tuple) else row for row in rows] for rows in found(sealed)] == [
        [row[1:] if isinstance(row, tuple) else row for row in rows] for rows in found(plain)
    ]
    assert set(readable(tmp_path / "plain")) >= set(SECRETS[:4])
    shutil.rmtree(tmp_path / "plain")
    assert readable(tmp_path) == set()
    assert sealed.verify().ok
    sealed.close()
    again = open_memory(key=KEY)
    assert everything(again, tmp_path) == lines
    assert readable(tmp_path) == set()


def test_sealing_a_store_keeps_everything_and_leaves_nothing_readable(open_memory: Open, tmp_path: Path) -> None:
    mem = open_memory()
    certificate, _ = furnished(mem)
    name = mem.store.blobs.put(b"The violin-in-the-harbour as a large payload." * 50)
    _hold(mem, name)
    mem.jobs.enqueue("expire", payload={"note": "orchestra-tag"}, run_at="2100-01-01")
    lines, hits, log = everything(mem, tmp_path), found(mem), mem.log()
    assert readable(tmp_path) == set(SECRETS)
    mem.seal(KEY)
    assert readable(tmp_path) == set()
    with pytest.raises(StoreUnavailable):
        mem.position()
    with pytest.raises(WrongKey):
        open_memory()
    mem = open_memory(key=KEY)
    assert (everything(mem, tmp_path), found(mem)) == (lines, hits)
    assert mem.log()[:-1] == log
    assert mem.log()[-1].kind == "seal"
    assert mnemos.verify_certificate(certificate, mem)
    assert mem.store.blobs.get(name) == b"The violin-in-the-harbour as a large payload." * 50
    assert mem.setting("a setting") == {"value": 7}
    assert mem.jobs.list()[0].payload == {"note": "orchestra-tag"}
    assert mem.verify().ok
    mem.space("a space's own name").add("The violin-in-the-harbour, after it was sealed.")
    assert mem.rotate_keys() > 10
    assert mem.verify().ok
    mem.close()
    assert readable(tmp_path) == set()
    hashes = [entry.hash for entry in log]
    data = (tmp_path / "memory.db").read_bytes()
    assert not [digest for digest in hashes if digest in data], "who has the hashes from before can guess at what they stand for"
    assert mnemos.verify_certificate(certificate, tmp_path / "memory.db", key=KEY)


def _hold(mem: Mnemos, name: str) -> None:
    with mem.writing() as transaction:
        num = transaction.spaces()[0].num
        transaction.add(num, [NewVersion(Content(id=mem.new_id(), version=1, created_at=1, kind="kv", blob=name, text=None))])


def test_a_store_is_sealed_once_by_its_owner_and_alone(open_memory: Open, tmp_path: Path) -> None:
    mem = open_memory()
    mem.space("a").add("text")
    with pytest.raises(PermissionDenied):
        mem.as_principal("bob").seal(KEY)
    with pytest.raises(Invalid, match="key:"):
        mem.seal(b"short")
    assert mem.space("a").list()[0].text == "text"
    with mnemos.open(tmp_path / "memory.db", embedder="none"), pytest.raises(StoreUnavailable, match="somebody else"):
        mem.seal(KEY)
    open_memory().seal(KEY)
    mem = open_memory(key=KEY)
    with pytest.raises(Conflict, match="sealed already"):
        mem.seal(KEY)
    with pytest.raises(Invalid, match="memory"):
        open_memory(":memory:").seal(KEY)
    assert mem.space("a").list()[0].text == "text"


def test_sealing_beside_the_keys_of_another_store_writes_over_nothing(open_memory: Open, tmp_path: Path) -> None:
    open_memory(key=KEY).close()
    for end in ("", "-head"):
        (tmp_path / f"memory.db{end}").unlink()
    held = (tmp_path / "memory.db-keys").read_bytes()
    mem = open_memory()
    mem.space("a").add("text")
    with pytest.raises(Conflict, match="key file"):
        mem.seal(KEY)
    assert (tmp_path / "memory.db-keys").read_bytes() == held
    assert open_memory().space("a").list()[0].text == "text"


def test_a_certificate_names_the_keys_that_were_destroyed_and_is_checked_against_them(open_memory: Open, tmp_path: Path) -> None:
    mem = open_memory(key=KEY)
    space = mem.space("a")
    one, two = space.add("one"), space.add("two")
    held = (tmp_path / "memory.db-keys").read_bytes()
    certificate = space.forget([one.id])
    assert [len(cube.keys) for cube in certificate.cubes] == [1]
    assert mnemos.Certificate.from_json(certificate.as_json()) == certificate
    assert mnemos.verify_certificate(certificate, mem)
    assert mnemos.verify_certificate(certificate.as_json(), mem)
    record = certificate.as_json()
    record["cubes"][0]["keys"] = ["1:0:999"]
    verdict = mnemos.verify_certificate(record, mem)
    assert any("names other keys" in reason for reason in verdict.reasons)
    now = (tmp_path / "memory.db-keys").read_bytes()
    (tmp_path / "memory.db-keys").write_bytes(held)  # somebody put a copy back, which has the key still
    verdict = mnemos.verify_certificate(certificate, mem)
    assert [reason for reason in verdict.reasons if "is in the store's key file" in reason]
    (tmp_path / "memory.db-keys").write_bytes(now)
    assert mnemos.verify_certificate(certificate, mem)
    space.forget([two.id])
    mem.rotate_keys()
    assert mnemos.verify_certificate(certificate, mem)
    mem.close()
    with pytest.raises(WrongKey):
        mnemos.verify_certificate(certificate, tmp_path / "memory.db")
    assert mnemos.verify_certificate(certificate, tmp_path / "memory.db", key=KEY)


def test_a_certificate_of_a_store_that_is_not_sealed_says_what_it_always_said(open_memory: Open) -> None:
    space = open_memory().space("a")
    record = space.forget([space.add("one").id]).as_json()
    assert set(record["cubes"][0]) == {"id", "space", "position", "digests", "openings"}


def test_a_forget_inside_a_transaction_destroys_its_keys_with_it(open_memory: Open) -> None:
    mem = open_memory(key=KEY)
    space = mem.space("a")
    cubes = [space.add(f"text {i}") for i in range(3)]
    transaction = mem.transaction()
    transaction.__enter__()
    undone = space.forget([cubes[0].id])
    transaction.__exit__(KeyError, KeyError(), None)
    names = [name for cube in undone.cubes for name in cube.keys]
    assert mem.store.living_keys(names) == names
    with mem.transaction():
        certificate = space.forget([cubes[1].id])
        names = [name for cube in certificate.cubes for name in cube.keys]
        assert mem.store.living_keys(names) == names  # it may yet be undone
    assert mem.store.living_keys(names) == []
    assert mnemos.verify_certificate(certificate, mem)
    assert {cube.text for cube in space.list()} == {"text 0", "text 2"}
    assert mem.verify().ok


def test_store_and_keys_put_back_together_forget_again(open_memory: Open, tmp_path: Path) -> None:
    mem = open_memory(key=KEY)
    space = mem.space("a")
    gone, stays = space.add("gone"), space.add("stays")
    mem.close()
    shutil.copytree(tmp_path, tmp_path / "copy")
    mem = open_memory(key=KEY)
    certificate = mem.space("a").forget([gone.id])
    mem.close()
    for end in ("", "-head", "-keys"):
        shutil.copyfile(tmp_path / "copy" / f"memory.db{end}", tmp_path / f"memory.db{end}")
    mem = open_memory(key=KEY)  # the ledger of ids is not put back, and says what was forgotten
    assert [cube.id for cube in mem.space("a").list()] == [stays.id]
    assert mem.store.living_keys([name for cube in certificate.cubes for name in cube.keys]) == []
    assert mem.verify().ok


def test_vectors_are_made_anew_in_a_sealed_store_and_stay_sealed(open_memory: Open, tmp_path: Path) -> None:
    mem = open_memory(key=KEY)
    space = mem.space("a")
    space.add_many([{"text": f"text number {i}"} for i in range(40)])
    mem.close()
    other = HashedEmbedder(dimensions=48)
    mem = open_memory(key=KEY, embedder=other)
    mem.embedding.wait()
    assert mem.space("a").search("text number 7")[0].cube.text == "text number 7"
    with mem.snapshot() as snapshot:
        numbers = {embedder for _, embedder, _ in snapshot.vectors(1, 0)}
        values = [value for _, _, value in snapshot.vectors(1, 0)]
    assert len(numbers) == 1
    data = b"".join(file.read_bytes() for file in tmp_path.glob("memory.db*"))
    assert not [value for value in [*values, *(vector.tobytes() for vector in EMBEDDER.embed(["text number 7"]))] if value[:16] in data]
    assert mem.verify().ok


def test_keys_are_renewed_for_one_space_or_by_a_job(open_memory: Open) -> None:
    mem = open_memory(key=KEY)
    for name in ("a", "b"):
        mem.space(name).add_many([{"text": f"{name} {i}"} for i in range(5)])
    said: list[tuple[int, int]] = []
    assert mem.rotate_keys(["a"], progress=lambda done, total: said.append((done, total))) == 5
    assert said == [(5, 5)]
    assert mem.reseal() == 0
    with pytest.raises(NotFound):
        mem.rotate_keys(["c"])
    with pytest.raises(PermissionDenied):
        mem.as_principal("bob").rotate_keys()
    assert mem.store.keeper is not None
    with mem.writing(alone=True) as transaction:
        begin(transaction, mem.store.keeper)
    mem.jobs.enqueue("reseal")
    done = mem.jobs.run_once()
    assert done is not None
    assert (done.kind, done.state) == ("reseal", "done")
    assert mem.reseal() == 0
    assert mem.verify().ok
    assert {cube.text for cube in mem.space("b").list()} == {f"b {i}" for i in range(5)}


def test_without_sealing_there_are_no_keys_to_look_after(open_memory: Open) -> None:
    mem = open_memory()
    with pytest.raises(Conflict, match="not sealed"):
        mem.rotate_keys()
    with pytest.raises(Conflict, match="not sealed"):
        mem.change_key(KEY)
    assert mem.reseal() == 0


def test_the_master_key_is_changed(open_memory: Open) -> None:
    mem = open_memory(key=KEY)
    mem.space("a").add("text")
    mem.change_key(bytes(32))
    mem.space("a").forget([mem.space("a").add("another").id])
    mem.close()
    with pytest.raises(WrongKey):
        open_memory(key=KEY)
    assert [cube.text for cube in open_memory(key=bytes(32)).space("a").list()] == ["text"]


# ---- keys from files and the environment ----------------------------------------------------------------------------


def test_a_key_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    for written, key in (
        (b"\xff" * 32, b"\xff" * 32), (KEY.hex().encode(), KEY), (KEY.hex().upper().encode() + b"\r\n", KEY),
        (b"a phrase of words\n", "a phrase of words"), ("pässwörd".encode(), "pässwörd"),
    ):  # fmt: skip
        file.write_bytes(written)
        assert key_in(file) == key
    for wrong in (b"", b"\n", b"\xff" * 31, b"two\nlines\n", b"\x00\x01"):
        file.write_bytes(wrong)
        with pytest.raises(Invalid, match="holds no key"):
            key_in(file)
    with pytest.raises(NotFound):
        key_in(tmp_path / "none")
    with pytest.raises(Invalid, match="cannot be read"):
        key_in(tmp_path)


def test_a_key_is_taken_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY.hex())
    assert key_from_environment({}) is None
    assert key_from_environment({"MNEMOS_KEY": "", "MNEMOS_KEY_FILE": ""}) is None
    assert key_from_environment({"MNEMOS_KEY": KEY.hex()}) == KEY
    assert key_from_environment({"MNEMOS_KEY_FILE": str(tmp_path / "key")}) == KEY
    assert key_from_environment({"MNEMOS_KEY": "a phrase", "MNEMOS_KEY_FILE": "elsewhere"}) == "a phrase"
    assert key_from("ab" * 31) == "ab" * 31
