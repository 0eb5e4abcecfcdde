"""Archives over REST: what goes out proves that it is whole, what comes in is checked; rates, licences and rights hold."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server_support import LOCAL, bearer, is_problem

import mnemos
from kernel.kv.byte_llama import model
from mnemos.base.signing import SigningKey
from mnemos.kernel.exchange import export_archive, read_manifest, verify_archive

OWNER, ALICE, BOB = bearer("owner"), bearer("alice"), bearer("bob")
ZIP = {"Content-Type": "application/zip"}
KEY = SigningKey(bytes(range(32)))


@pytest.fixture
def diary(memory: mnemos.Mnemos) -> Any:
    space = memory.as_principal("alice").space("diary")
    space.add("Write to bob@example.com about the tram.", tags=["work"])
    space.forget([space.add("goes away again").id])
    return space


@pytest.fixture
def other(tmp_path: Any) -> Iterator[tuple[Any, mnemos.Mnemos]]:
    """A client of another, empty store, and that store."""
    from starlette.testclient import TestClient

    from mnemos.server.app import create_app

    with contextlib.ExitStack() as stack:
        memory = stack.enter_context(mnemos.open(tmp_path / "other.db", embedder="hashed"))
        app = create_app(memory, max_body_bytes=100_000)
        yield stack.enter_context(TestClient(app, base_url=LOCAL, raise_server_exceptions=False)), memory


def kept(path: Path, response: Any) -> Path:
    assert (response.status_code, response.headers["content-type"]) == (200, "application/zip"), response.text
    assert int(response.headers["content-length"]) == len(response.content)
    path.write_bytes(response.content)
    return path


def test_an_archive_goes_out_and_comes_in(guarded: Any, diary: Any, other: Any, tmp_path: Path, memory: mnemos.Mnemos) -> None:
    archive = kept(tmp_path / "all.zip", guarded.post("/v1/archives", json={}, headers=ALICE))
    assert verify_archive(archive)
    assert archive.read_bytes() == kept(tmp_path / "again.zip", guarded.post("/v1/archives", json={}, headers=ALICE)).read_bytes()
    client, there = other
    taken = client.post("/v1/import-archive", content=archive.read_bytes(), headers=ZIP).json()
    assert taken == {"imported": 2, "spaces": ["diary"], "cubes": 1, "versions": 1}
    (here,), (copy,) = diary.list(), there.space("diary").list()
    assert (copy.id, copy.text, copy.tags, copy.created_at) == (here.id, here.text, here.tags, here.created_at)
    assert client.post("/v1/import-archive", content=archive.read_bytes(), headers=ZIP).json()["imported"] == 0
    assert memory.verify()
    assert there.verify()


def test_an_archive_is_of_what_is_asked_for(guarded: Any, diary: Any, memory: mnemos.Mnemos, tmp_path: Path) -> None:
    diary.add("The bus is late.", tags=["home"])
    memory.space("own").add("The owner's own.")
    some = kept(tmp_path / "some.zip", guarded.post("/v1/archives", json={"spaces": ["diary"], "tags": ["home"], "vectors": False}, headers=OWNER))
    found = read_manifest(some)
    assert ([space.cubes for space in found.spaces], found.embedders, found.chosen) == ([1], (), True)
    redacted = kept(tmp_path / "redacted.zip", guarded.post("/v1/archives", json={"redact": {"kinds": ["email"]}}, headers=ALICE))
    assert read_manifest(redacted).redactions == {"strings": {"email": 1}, "cubes_left_out": 0}
    assert b"bob@" not in redacted.read_bytes()
    named = kept(tmp_path / "named.zip", guarded.post("/v1/archives", json={"redact": {"names": ["tram"], "label": "secret"}}, headers=ALICE))
    assert b"bob@" in named.read_bytes()
    unlike: dict[str, Any] = {"filter": {"n": {"like": 1}}}
    for wrong in ({"spaces": []}, {"redact": {"kinds": ["colour"]}}, {"redact": True}, {"since": "soon"}, {"colour": 1}, unlike):
        is_problem(guarded.post("/v1/archives", json=wrong, headers=ALICE), 422)


def test_an_export_is_a_look_like_any_other(guarded: Any, diary: Any, memory: mnemos.Mnemos, tmp_path: Path) -> None:
    memory.space("own").add("The owner's own.")
    is_problem(guarded.post("/v1/archives", json={"spaces": ["diary"]}, headers=BOB), 404)
    nothing = kept(tmp_path / "nothing.zip", guarded.post("/v1/archives", json={}, headers=BOB))
    assert read_manifest(nothing).spaces == ()
    memory.space("diary", acl={"write": ["bob"]})
    is_problem(guarded.post("/v1/archives", json={"spaces": ["diary"]}, headers=BOB), 403)
    memory.space("diary", acl={"read": ["bob"]}, licences={"bob": {"reads": 1}})
    bobs = kept(tmp_path / "bobs.zip", guarded.post("/v1/archives", json={}, headers=BOB))
    assert [(space.name, "acl" in space.settings) for space in read_manifest(bobs).spaces] == [("diary", False)]
    is_problem(guarded.post("/v1/archives", json={"spaces": ["diary"]}, headers=BOB), 403)
    memory.space("diary", licences={}, rate={"reads_per_minute": 1})
    assert guarded.post("/v1/archives", json={}, headers=BOB).status_code == 200
    assert is_problem(guarded.post("/v1/archives", json={}, headers=BOB), 429)["retry_after"] > 0


def test_signed_with_the_key_of_the_server(guarded: Any, diary: Any, memory: mnemos.Mnemos, other: Any, tmp_path: Path) -> None:
    is_problem(guarded.post("/v1/archives", json={"sign": True}, headers=OWNER), 409)
    memory.work.signer = KEY
    is_problem(guarded.post("/v1/archives", json={"sign": True}, headers=ALICE), 403)
    archive = kept(tmp_path / "signed.zip", guarded.post("/v1/archives", json={"sign": True}, headers=OWNER))
    assert verify_archive(archive, KEY.public)
    client, there = other
    wrong, right = ({"public_key": key.public.raw.hex()} for key in (SigningKey(bytes(32)), KEY))
    refused = client.post("/v1/import-archive", params=wrong, content=archive.read_bytes(), headers=ZIP)
    assert "is signed with key" in is_problem(refused, 422)["detail"]
    assert there.spaces() == []
    assert client.post("/v1/import-archive", params=right, content=archive.read_bytes(), headers=ZIP).json()["imported"] == 2
    is_problem(client.post("/v1/import-archive", params={"public_key": "signing.key.pub"}, content=b"", headers=ZIP), 422)


def test_imports_are_for_the_owner(guarded: Any, diary: Any, memory: mnemos.Mnemos, tmp_path: Path) -> None:
    """An archive says states and rules of memories, too, and nobody vouches for one that is not signed."""
    export_archive(memory, tmp_path / "all.zip")
    position = memory.position()
    is_problem(guarded.post("/v1/import-archive", content=(tmp_path / "all.zip").read_bytes(), headers={**ALICE, **ZIP}), 403)
    assert memory.position() == position


def test_what_does_not_verify_is_refused_whole(other: Any, diary: Any, memory: mnemos.Mnemos, tmp_path: Path) -> None:
    client, there = other
    export_archive(memory, tmp_path / "all.zip")
    whole = (tmp_path / "all.zip").read_bytes()
    foreign = io.BytesIO()
    with zipfile.ZipFile(foreign, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", "{}" * 1000)
    for damaged in (b"", b"PK", whole[:-30], whole.replace(b"about the tram", b"about the cart"), b"x" * 1000, foreign.getvalue()):
        problem = is_problem(client.post("/v1/import-archive", content=damaged, headers=ZIP), 422)
        assert problem["type"] == "urn:mnemos:problem:invalid"
        assert "/" not in problem["detail"].replace("blobs/", "")
    is_problem(client.post("/v1/import-archive", content=b"x" * 100_001, headers=ZIP), 413)
    is_problem(client.post("/v1/import-archive", content=whole, headers={"Content-Type": "application/json"}), 415)
    assert there.position() == 0
    client.post("/v1/import-archive", content=whole, headers=ZIP)
    there.space("diary").forget([there.space("diary").list()[0].id])
    conflict = is_problem(client.post("/v1/import-archive", content=whole, headers=ZIP), 409)
    assert "was forgotten here" in conflict["detail"]
    assert str(tmp_path.parent) not in conflict["detail"]
    assert "/tmp" not in conflict["detail"]


def test_nothing_is_left_of_what_went_through(guarded: Any, other: Any, diary: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    archive = guarded.post("/v1/archives", json={}, headers=OWNER).content
    for body in (archive, archive[:-9]):
        other[0].post("/v1/import-archive", content=body, headers=ZIP)
    assert list(place.iterdir()) == []


def test_what_models_have_read_goes_along_where_that_is_asked_for(guarded: Any, other: Any, memory: mnemos.Mnemos, tmp_path: Path) -> None:
    memory.language_model = model()
    space = memory.as_principal("alice").space("diary")
    text = space.add("Alice moved to Lisbon in May.").id
    space.kv.warm(text)
    assert read_manifest(kept(tmp_path / "without.zip", guarded.post("/v1/archives", json={}, headers=ALICE))).models == {}
    archive = kept(tmp_path / "with.zip", guarded.post("/v1/archives", json={"kv": True}, headers=ALICE))
    (fingerprint,) = read_manifest(archive).models
    assert fingerprint == memory.language_model.fingerprint
    assert "taken out" in is_problem(guarded.post("/v1/archives", json={"kv": True, "redact": {}}, headers=ALICE), 422)["detail"]
    client, there = other
    is_problem(client.post("/v1/import-archive", content=archive.read_bytes(), headers=ZIP), 422)
    taken = client.post("/v1/import-archive", params={"model": fingerprint}, content=archive.read_bytes(), headers=ZIP)
    assert (taken.status_code, taken.json()["cubes"]) == (200, 2)
    there.language_model = memory.language_model
    assert there.space("diary").kv.take([text]).read == 0
