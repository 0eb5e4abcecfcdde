"""Signed checkpoints notice whatever is done to the log, to the store, and to their own file."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import apsw
import orjson
import pytest

import mnemos
from mnemos.base.errors import Corrupt, Invalid, NotFound, PermissionDenied
from mnemos.base.signing import PublicKey, SignedDocument, SigningKey
from mnemos.kernel.audit import CHECKPOINT, checkpoint, checkpoints_path, read_checkpoints, verify_checkpoints
from mnemos.kernel.forgetting import Certificate, sign_certificate, verify_certificate
from mnemos.kernel.system import Mnemos
from mnemos.store.sqlite_open import checksum_vfs

KEY = SigningKey(bytes(range(32)))
OTHER = SigningKey(bytes(32))


def fill(mem: Mnemos, name: str, count: int = 3) -> None:
    mem.space("a").add_many([{"text": f"{name} {number}"} for number in range(count)])


@pytest.fixture
def kept(open_memory: Callable[..., Mnemos], tmp_path: Path) -> Path:
    """A closed store with three checkpoints, copied to `old.db` after the first and to `middle.db` after the second."""
    path = tmp_path / "memory.db"
    for number, copy in enumerate(("old.db", "middle.db", "new.db")):
        mem = open_memory()
        fill(mem, f"round {number}")
        checkpoint(mem, KEY)
        fill(mem, "between")
        mem.close()
        shutil.copy(path, tmp_path / copy)
    return path


def put(path: Path, source: Path) -> None:
    """Replace a store's file, as somebody would who can write everything that lies there."""
    shutil.copy(source, path)
    for end in ("-head", "-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)


def test_checkpoints_of_an_honest_store_hold(kept: Path) -> None:
    found = read_checkpoints(checkpoints_path(kept))
    assert [signed.document["number"] for signed in found] == [1, 2, 3]
    assert [signed.document["position"] for signed in found] == [4, 10, 16]
    assert found[2].document["counts"] == {"space": 1, "add": 15}
    assert verify_checkpoints(kept, KEY.public)
    assert verify_checkpoints(kept, [OTHER.public, KEY.public], known=[found[0], found[2].as_json()])
    assert verify_checkpoints(None, KEY.public, checkpoints=checkpoints_path(kept))
    assert stat.S_IMODE(checkpoints_path(kept).stat().st_mode) == 0o600


def test_a_process_with_a_key_makes_checkpoints_as_a_job(open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    path, now = tmp_path / "memory.db", [1_700_000_000_000_000]
    mem = open_memory(clock=lambda: now[0])
    fill(mem, "first")
    assert (mem.jobs.enqueue("checkpoint", key=KEY.id).state, mem.jobs.run_once()) == ("waiting", None)  # nobody here can sign
    with pytest.raises(Invalid, match="expected a SigningKey"):
        mem.jobs.sign_checkpoints("signing.key")  # type: ignore[arg-type]
    job = mem.jobs.sign_checkpoints(KEY, every=60)
    assert mem.jobs.drain(10)
    (made,) = read_checkpoints(checkpoints_path(path))
    assert (made.document["position"], made.key, job.every) == (mem.position(), KEY.id, 60.0)
    for written in (0, 1, 0):  # where nothing was written since, there is no other one
        now[0] += 61_000_000
        fill(mem, "more", written)
        assert mem.jobs.run_once() is not None
    assert [signed.document["position"] for signed in read_checkpoints(checkpoints_path(path))] == [4, 5]
    now[0] += 61_000_000
    mem.close()
    mem = open_memory(clock=lambda: now[0])
    mem.work.signer = OTHER
    assert mem.jobs.run_once() is None
    assert checkpoint(mem, OTHER, repeat=False).document["number"] == 3  # another key says it anew
    mem.close()
    assert verify_checkpoints(path, [KEY.public, OTHER.public])
    assert KEY.secret not in path.read_bytes()


def test_a_log_that_was_cut_is_noticed(kept: Path) -> None:
    put(kept, kept.with_name("old.db"))
    verdict = verify_checkpoints(kept, KEY.public)
    assert not verdict
    assert [reason for reason in verdict.reasons if "was cut" in reason] == list(verdict.reasons)
    assert len(verdict.reasons) == 2


def test_a_cut_that_the_witness_sees_is_a_verdict_too(kept: Path) -> None:
    shutil.copy(kept.with_name("old.db"), kept)
    assert "acknowledged" in verify_checkpoints(kept, KEY.public).reasons[0]


def test_a_history_that_was_written_anew_is_noticed(kept: Path) -> None:
    put(kept, kept.with_name("old.db"))
    with mnemos.open(kept, embedder="none") as mem:
        fill(mem, "another past", 20)
        with pytest.raises(Corrupt, match="rewritten"):
            checkpoint(mem, KEY)
        assert mem.verify(), "its own chain is whole"
    reasons = verify_checkpoints(kept, KEY.public).reasons
    assert len(reasons) == 2
    assert all("rewritten" in reason for reason in reasons)


def test_one_changed_entry_is_noticed(kept: Path) -> None:
    connection = apsw.Connection(str(kept), vfs=checksum_vfs())
    connection.execute("DROP TRIGGER log_is_append_only_1")
    connection.execute("UPDATE log SET actor = 'mallory' WHERE seq = 6")
    connection.close()
    reasons = verify_checkpoints(kept, KEY.public).reasons
    assert any("breaks at entry 6" in reason for reason in reasons)
    with mnemos.open(kept, embedder="none") as mem:
        checkpoint(mem, KEY)  # what is new since the last one follows from it


def test_another_store_in_its_place_is_noticed(kept: Path, tmp_path: Path) -> None:
    with mnemos.open(tmp_path / "other.db", embedder="none") as other:
        for _ in range(10):
            fill(other, "other")
    put(kept, tmp_path / "other.db")
    verdict = verify_checkpoints(kept, KEY.public)
    assert "not of this one" in verdict.reasons[0]
    with mnemos.open(kept, embedder="none") as mem, pytest.raises(Corrupt, match="another store's"):
        checkpoint(mem, KEY)


@pytest.mark.parametrize("removed", [0, 1])
def test_a_checkpoint_removed_before_the_last_is_noticed(kept: Path, removed: int) -> None:
    file = checkpoints_path(kept)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(line for number, line in enumerate(lines) if number != removed))
    assert "one was removed" in verify_checkpoints(kept, KEY.public).reasons[0]


def test_a_checkpoint_removed_from_the_end_is_noticed_by_who_kept_it(kept: Path) -> None:
    file = checkpoints_path(kept)
    last = read_checkpoints(file)[-1]
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    assert verify_checkpoints(kept, KEY.public), "the rest holds"
    assert "is not in the file" in verify_checkpoints(kept, KEY.public, known=[last]).reasons[0]
    file.write_bytes(b"")
    assert "no checkpoint" in verify_checkpoints(kept, KEY.public).reasons[0]
    file.unlink()
    with pytest.raises(NotFound):
        verify_checkpoints(kept, KEY.public)


def test_swapped_and_foreign_checkpoints_are_noticed(kept: Path) -> None:
    file = checkpoints_path(kept)
    first, second, third = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(second + first + third)
    assert not verify_checkpoints(kept, KEY.public)
    forged = SignedDocument.sign(CHECKPOINT, orjson.loads(second)["document"], OTHER).as_bytes()
    file.write_bytes(first + forged + third)
    assert any("is signed with key" in reason for reason in verify_checkpoints(kept, KEY.public).reasons)
    other_purpose = SignedDocument.sign("manifest", orjson.loads(second)["document"], KEY).as_bytes()
    file.write_bytes(first + other_purpose + third)
    assert any("no checkpoint" in reason for reason in verify_checkpoints(kept, KEY.public).reasons)
    assert not verify_checkpoints(kept, OTHER.public)


def test_one_changed_byte_of_the_file_is_noticed(kept: Path) -> None:
    file = checkpoints_path(kept)
    data = file.read_bytes()
    with mnemos.open(kept, embedder="none") as mem:
        for place in range(0, len(data), 3):
            file.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
            assert not verify_checkpoints(mem, KEY.public), place


def test_a_line_that_was_not_finished_is_cut_away(kept: Path) -> None:
    file = checkpoints_path(kept)
    data = file.read_bytes()
    file.write_bytes(data + data[:100])
    assert not verify_checkpoints(kept, KEY.public)
    with mnemos.open(kept, embedder="none") as mem:
        checkpoint(mem, KEY)
        assert verify_checkpoints(mem, KEY.public)
        assert len(read_checkpoints(file)) == 4
        file.write_bytes(file.read_bytes()[:-1])  # only its end was not written: it stays
        checkpoint(mem, KEY)
        assert [signed.document["number"] for signed in read_checkpoints(file)] == [1, 2, 3, 4, 5]
        assert verify_checkpoints(mem, KEY.public)
        file.write_bytes(data.replace(b"position", b"positron"))
        with pytest.raises(Corrupt, match="last line"):
            checkpoint(mem, KEY)


def test_only_the_owner_makes_checkpoints_and_a_store_in_memory_keeps_none(open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    mem = open_memory(":memory:")
    fill(mem, "in memory")
    signed = checkpoint(mem, KEY)
    assert signed.faults(CHECKPOINT, KEY.public) == []
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(PermissionDenied):
        checkpoint(mem.as_principal("bob"), KEY)
    with pytest.raises(Invalid):
        verify_checkpoints(None, KEY.public)
    with pytest.raises(NotFound):
        verify_checkpoints(tmp_path / "nothing.db", KEY.public)
    (tmp_path / "copy").write_bytes(signed.as_bytes())
    assert verify_checkpoints(mem, KEY, checkpoints=tmp_path / "copy")


def test_a_sealed_store_has_checkpoints(tmp_path: Path) -> None:
    with mnemos.open(tmp_path / "sealed.db", embedder="none", key=bytes(32)) as mem:
        fill(mem, "sealed")
        checkpoint(mem, KEY)
        mem.space("a").forget(filter={"n": {"exists": False}})
        checkpoint(mem, KEY)
    assert verify_checkpoints(tmp_path / "sealed.db", KEY.public, key=bytes(32))


def test_checkpoints_survive_forgetting(filed: Mnemos) -> None:
    fill(filed, "first")
    checkpoint(filed, KEY)
    filed.space("a").forget(filter={"n": {"exists": False}})
    checkpoint(filed, KEY)
    assert verify_checkpoints(filed, KEY.public)


# -- certificates --
def test_a_certificate_is_signed_with_the_same_key(filed: Mnemos) -> None:
    space = filed.space("a")
    certificate = space.forget([space.add("the harbour").id], reason="asked")
    signed = sign_certificate(certificate, KEY)
    for form in (signed, signed.as_json(), orjson.loads(signed.as_bytes())):
        assert verify_certificate(form, filed, public_key=KEY.public)
        assert verify_certificate(form, filed)
        assert verify_certificate(form, None, public_key=KEY.public)
        assert not verify_certificate(form, None, public_key=OTHER.public)
    assert Certificate.from_json(signed.as_json()) == certificate
    assert verify_certificate(certificate, filed)
    assert verify_certificate(certificate, filed, public_key=KEY.public).reasons == ("the certificate is not signed",)
    forged = SignedDocument.sign("forget-certificate", {**certificate.as_json(), "reason": "another"}, OTHER)
    assert len(verify_certificate(forged, filed, public_key=KEY.public).reasons) > 1
    changed = orjson.loads(signed.as_bytes())
    changed["document"]["reason"] = "another"
    with pytest.raises(Corrupt):
        verify_certificate(changed, filed)
    filed.close()
    assert verify_certificate(signed, filed.path, public_key=PublicKey.of(KEY))
    assert verify_certificate(signed, filed.path, public_key=OTHER.public).reasons[0].startswith("the certificate is signed with key")
