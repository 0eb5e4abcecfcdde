"""Archives that somebody changed, or made to do harm: none verifies, none is imported, none makes the reader fail otherwise."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from exchange_support import KEY, OTHER, files_of
from hypothesis import given
from hypothesis import strategies as st

import mnemos
from mnemos.base import safetensors
from mnemos.base.errors import MnemosError
from mnemos.base.signing import SignedDocument
from mnemos.kernel.exchange import Limits, export_archive, import_archive, verify_archive
from mnemos.kernel.exchange.containers import create
from mnemos.kernel.exchange.manifest import Manifest, Payload, SpaceEntry
from mnemos.text.formats.jsonlines import write_export_stream


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small archive, signed, in both forms."""
    folder = tmp_path_factory.mktemp("honest")
    with mnemos.open(":memory:", embedder="hashed") as mem:
        space = mem.space("a", acl={"read": ["bob"]})
        root = space.add("the harbour", tags=["x"])
        space.update(root.id, "the harbour at night")
        space.add("derived", derived_from=[root.id])
        space.freeze(space.add("frozen").id)
        space.forget([space.add("gone").id])
        export_archive(mem, folder / "a.zip", sign_with=KEY)
        export_archive(mem, folder / "a", sign_with=KEY)
    return folder


def refused(path: Path, says: str = "", key: Any = None, **options: Any) -> None:
    verdict = verify_archive(path, key, **options)
    assert not verdict, "it verifies"
    assert says in " ".join(verdict.reasons), verdict.reasons
    with mnemos.open(":memory:", embedder="none") as mem:
        with pytest.raises(MnemosError):
            import_archive(mem, path, public_key=key, **options)
        assert mem.spaces() == []


# -- every byte --
def test_every_flipped_byte_of_a_zip_is_noticed_without_a_key(honest: Path, tmp_path: Path) -> None:
    data = (honest / "a.zip").read_bytes()
    path = tmp_path / "flipped.zip"
    for place in (*range(0, len(data), 61), *range(len(data) - 500, len(data), 3)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
        assert not verify_archive(path), place


def test_every_flipped_byte_of_a_folder_is_noticed(honest: Path, tmp_path: Path) -> None:
    shutil.copytree(honest / "a", tmp_path / "a")
    for name, data in files_of(tmp_path / "a").items():
        path = tmp_path / "a" / name
        for place in range(0, len(data), 53):
            path.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
            assert not verify_archive(tmp_path / "a"), (name, place)
        path.write_bytes(data)
    assert verify_archive(tmp_path / "a", KEY.public)


@pytest.mark.parametrize("cut", [1, 10, 100, 1000, -1])
def test_a_zip_that_was_cut_or_grew_is_noticed(honest: Path, tmp_path: Path, cut: int) -> None:
    data = (honest / "a.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(data[:-cut] if cut > 0 else data + b"\0")
    refused(tmp_path / "cut.zip")
    (tmp_path / "before.zip").write_bytes(b"\0" * abs(cut) + data)
    refused(tmp_path / "before.zip")


@given(st.binary(max_size=300))
def test_noise_is_refused(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.zip"
    for data in (noise, b"PK\x03\x04" + noise, noise + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0, 0, 0, 0, 0)):
        path.write_bytes(data)
        assert not verify_archive(path)


# -- files --
@pytest.mark.parametrize("name", ["cubes.jsonl", "forgotten.jsonl", "manifest.json"])
def test_a_missing_file_is_noticed(honest: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(honest / "a", tmp_path / "a")
    (tmp_path / "a" / name).unlink()
    refused(tmp_path / "a")


@pytest.mark.parametrize(
    "name", ["extra.txt", "blobs/ab/" + "ab" + "0" * 62, "vectors/0123456789abcdef.safetensors", ".DS_Store", "vectors/x", "deep/er/file"]
)
def test_an_extra_file_is_noticed(honest: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(honest / "a", tmp_path / "a")
    path = tmp_path / "a" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    refused(tmp_path / "a")


def test_links_and_odd_entries_are_refused(honest: Path, tmp_path: Path) -> None:
    for number, make in enumerate((_link_file, _link_folder, _pipe, _empty_folder)):
        folder = tmp_path / f"a{number}"
        shutil.copytree(honest / "a", folder)
        make(folder)
        refused(folder)


def _link_file(folder: Path) -> None:
    real = folder.with_name("outside")
    shutil.move(folder / "cubes.jsonl", real)
    (folder / "cubes.jsonl").symlink_to(real)


def _link_folder(folder: Path) -> None:
    real = folder.with_name("outside folder")
    shutil.move(folder / "vectors", real)
    (folder / "vectors").symlink_to(real)


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "blobs")


def _empty_folder(folder: Path) -> None:
    (folder / "blobs").mkdir()


# -- zips --
def zipped(path: Path, members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/passwd", "..\\evil", "C:\\evil", "blobs/../../evil", "cubes.jsonl/x", "vectors/../cubes.jsonl", "a" * 300],
)
def test_names_that_lead_elsewhere_are_refused(honest: Path, tmp_path: Path, name: str) -> None:
    honest_files = list(files_of(honest / "a").items())
    zipped(tmp_path / "foreign.zip", [*honest_files, (name, b"evil")])
    refused(tmp_path / "foreign.zip")
    same_length = name.encode().ljust(11, b"x")[:11]
    if same_length != b"cubes.jsonl":
        (tmp_path / "own.zip").write_bytes((honest / "a.zip").read_bytes().replace(b"cubes.jsonl", same_length))
        refused(tmp_path / "own.zip")
    assert not list(tmp_path.rglob("evil*"))


def test_compressed_and_overlapping_members_are_refused(honest: Path, tmp_path: Path) -> None:
    members = list(files_of(honest / "a").items())
    refused(zipped(tmp_path / "deflated.zip", members, zipfile.ZIP_DEFLATED))
    refused(zipped(tmp_path / "bomb.zip", [("cubes.jsonl", bytes(10_000_000))], zipfile.ZIP_DEFLATED))
    refused(zipped(tmp_path / "repacked.zip", members), "unpack")
    data = (honest / "a.zip").read_bytes()
    start = data.index(b"PK\x01\x02")
    at = data.index(b"PK\x01\x02", start + 4)
    offset = at + 46 + struct.unpack_from("<H", data, at + 28)[0] + 20
    overlapping = data[:offset] + struct.pack("<Q", 0) + data[offset + 8 :]  # the second member says that it begins where the first does
    (tmp_path / "overlap.zip").write_bytes(overlapping)
    refused(tmp_path / "overlap.zip")


def test_a_zip_that_claims_more_than_it_has_is_refused_quickly(honest: Path, tmp_path: Path) -> None:
    data = (honest / "a.zip").read_bytes()
    end = len(data) - 98
    for offset in (24, 32, 40, 48):
        huge = data[: end + offset] + struct.pack("<Q", 2**62) + data[end + offset + 8 :]
        (tmp_path / "huge.zip").write_bytes(huge)
        refused(tmp_path / "huge.zip")


def test_limits_are_kept(honest: Path) -> None:
    assert verify_archive(honest / "a.zip", limits=Limits())
    for limits in (Limits(files=2), Limits(total_bytes=100), Limits(manifest_bytes=100), Limits(line_bytes=50)):
        for form in ("a", "a.zip"):
            refused(honest / form, limits=limits)


# -- signatures --
def test_an_unsigned_archive_is_refused_where_a_key_is_asked_for(honest: Path, tmp_path: Path) -> None:
    assert verify_archive(honest / "a.zip", KEY.public)
    refused(honest / "a.zip", "is signed with key", OTHER.public)
    manifest = Manifest.of(orjson.loads((honest / "a" / "manifest.json").read_bytes())["document"])
    shutil.copytree(honest / "a", tmp_path / "a")
    (tmp_path / "a" / "manifest.json").write_bytes(manifest.signed(None).as_bytes())
    assert verify_archive(tmp_path / "a")
    refused(tmp_path / "a", "is not signed", KEY.public)
    (tmp_path / "a" / "manifest.json").write_bytes(manifest.signed(OTHER).as_bytes())
    refused(tmp_path / "a", "is signed with key", KEY.public)


# -- archives that were made whole, and lie --
def made(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """An archive with right checksums, whose parts `change` may replace: `lines`, `forgotten`, `vectors`, `blobs` and the manifest's fields."""
    with mnemos.open(":memory:", embedder="none") as mem:
        cube = mem.space("a").add("the harbour")
        record = {"id": cube.id, "version": 1, "created_at": 5, "text": "the harbour", "type": "fact"}
    ids = np.frombuffer(bytes.fromhex(cube.id.replace("-", "")), np.uint8).reshape(1, 16)
    vectors = {"ids": ids, "versions": np.array([1]), "vectors": np.array([[0.6, 0.8]], np.float32)}
    name = "vectors/0123456789abcdef.safetensors"
    parts: dict[str, Any] = {
        "lines": [{"space": "a", "settings": {}}, {"space": "a", "record": record}],
        "forgotten": [],
        "vectors": vectors,
        "blobs": {},
        "fingerprint": "x",
        "manifest": {
            "store": "00", "position": 2, "head": "00", "at": 5, "spaces": [asdict(SpaceEntry("a", {}, 1, 1, 0))], "payloads": None,
            "embedders": [{"fingerprint": "x", "dimensions": 2, "path": name}], "models": {}, "lineage": {}, "redactions": None, "chosen": False,
            "format": "mnemos-archive", "version": 1,
        },
        "counts": {},
    }  # fmt: skip
    change(parts)
    stream, tensors = io.BytesIO(), io.BytesIO()
    count = write_export_stream(stream, parts["lines"])
    if isinstance(parts["vectors"], bytes):
        tensors.write(parts["vectors"])
    else:
        arrays = [safetensors.Tensor.of(key, value) for key, value in parts["vectors"].items()]
        safetensors.write(tensors, arrays, {"fingerprint": parts["fingerprint"]})
    files = {"cubes.jsonl": stream.getvalue(), "forgotten.jsonl": b"".join(orjson.dumps(line) + b"\n" for line in parts["forgotten"]),
             name: tensors.getvalue(), **parts["blobs"]}  # fmt: skip
    counts = {"cubes.jsonl": count, "forgotten.jsonl": len(parts["forgotten"]), name: 1} | dict.fromkeys(parts["blobs"], 1) | parts["counts"]
    payloads = [asdict(Payload(key, hashlib.sha256(data).hexdigest(), len(data), counts[key])) for key, data in files.items()]
    document = parts["manifest"] | ({"payloads": payloads} if parts["manifest"]["payloads"] is None else {})
    sink = create(path)
    for key, data in files.items():
        with sink.file(key) as file:
            file.write(data)
    with sink.file("manifest.json") as file:
        file.write(SignedDocument.sign("archive", document, None).as_bytes())
    sink.finish()
    return path


def test_what_was_made_rightly_verifies(tmp_path: Path) -> None:
    verdict = verify_archive(made(tmp_path / "right.zip", lambda parts: None))
    assert verdict, verdict.reasons


BLOB = hashlib.sha256(b"data").hexdigest()
LIES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a count of lines": (lambda p: p["counts"].update({"cubes.jsonl": 3}), "entries"),
    "a count of vectors": (lambda p: p["counts"].update({"vectors/0123456789abcdef.safetensors": 2}), "vectors"),
    "a count of cubes": (lambda p: p["manifest"]["spaces"][0].update(cubes=2), "counts other spaces"),
    "a count of the forgotten": (lambda p: p["manifest"]["spaces"][0].update(forgotten=1), "counts other spaces"),
    "other rules": (lambda p: p["manifest"]["spaces"][0].update(settings={"acl": {"read": ["*"]}}), "counts other spaces"),
    "another space": (lambda p: p["manifest"]["spaces"].append(asdict(SpaceEntry("b", {}, 0, 0, 0))), "counts other spaces"),
    "links that are not there": (lambda p: p["manifest"].update(lineage={"derived_from": 1}), "links"),
    "models that are not there": (lambda p: p["manifest"].update(models={"llama": {"kv": 1}}), "models"),
    "an unknown field": (lambda p: p["manifest"].update(more=1), "fields"),
    "another format": (lambda p: p["manifest"].update(format="zip"), "format"),
    "a later version": (lambda p: p["manifest"].update(version=2), "format"),
    "a negative position": (lambda p: p["manifest"].update(position=-1), "type"),
    "a position that is none": (lambda p: p["manifest"].update(position=True), "type"),
    "spaces that are none": (lambda p: p["manifest"].update(spaces=[7]), "cannot be read"),
    "payloads that are none": (lambda p: p["manifest"].update(payloads=[{"path": "cubes.jsonl"}]), "cannot be read"),
    "no payloads": (lambda p: p["manifest"].update(payloads=[]), "is not in the manifest"),
    "a payload elsewhere": (lambda p: p["manifest"].update(payloads=[asdict(Payload("../../etc/passwd", "0" * 64, 1, 1))]), "missing"),
    "a line without a space": (lambda p: p["lines"].append({"record": {}}), "names no space"),
    "a space that is not described": (lambda p: p["lines"].append({"space": "b", "record": {}}), "before the line"),
    "a record that is none": (lambda p: p["lines"].append({"space": "a", "record": 7}), "no object"),
    "a record with an unknown field": (lambda p: p["lines"][1]["record"].update(evil=1), "unknown field"),
    "a version that does not follow": (lambda p: p["lines"][1]["record"].update(version=2), "does not follow"),
    "a change of what is not there": (lambda p: p["lines"].append({"space": "a", "cube": "0" * 32, "frozen": True}), "not there"),
    "a line that says nothing": (lambda p: p["lines"].append({"space": "a", "cube": "0" * 32}), "says nothing"),
    "something forgotten that is there": (lambda p: p["forgotten"].append({"cube": p["lines"][1]["record"]["id"], "space": "a"}), "was forgotten"),
    "something forgotten elsewhere": (lambda p: p["forgotten"].append({"cube": "0" * 32, "space": "b"}), "counts other spaces"),
    "a forgotten line that is none": (lambda p: p["forgotten"].append({"cubes": 1}), "cannot be read"),
    "a payload that no cube has": (lambda p: p["blobs"].update({f"blobs/{BLOB[:2]}/{BLOB}": b"data"}), "large payloads"),
    "a payload of another name": (
        lambda p: (p["lines"][1]["record"].update(blob="ab" + "0" * 62), p["blobs"].update({"blobs/ab/ab" + "0" * 62: b"data"})), "SHA-256"),
    "a payload that is not there": (lambda p: p["lines"][1]["record"].update(blob=BLOB), "large payloads"),
    "vectors that nobody lists": (lambda p: p["manifest"].update(embedders=[]), "other vectors"),
    "vectors of another embedder": (lambda p: p.update(fingerprint="y"), "types or shapes"),
    "vectors of other dimensions": (lambda p: p["manifest"]["embedders"][0].update(dimensions=3), "types or shapes"),
    "vectors without dimensions": (
        lambda p: (p["vectors"].update(vectors=np.zeros((1, 0), np.float32)), p["manifest"]["embedders"][0].update(dimensions=0)), "dimensions"),
    "vectors that are no unit vectors": (lambda p: p["vectors"].update(vectors=np.array([[6.0, 8.0]], np.float32)), "unit vectors"),
    "vectors that are no numbers": (lambda p: p["vectors"].update(vectors=np.array([[np.nan, 1.0]], np.float32)), "unit vectors"),
    "vectors of no version": (lambda p: p["vectors"].update(versions=np.array([2])), "not there"),
    "vectors of no cube": (lambda p: p["vectors"].update(ids=np.zeros((1, 16), np.uint8)), "not there"),
    "another tensor": (lambda p: p["vectors"].update(more=np.zeros(1)), "other tensors"),
    "tensors of other types": (lambda p: p["vectors"].update(versions=np.array([1], np.int32)), "types or shapes"),
    "no tensors": (lambda p: p.update(vectors=b"pickle"), "too short"),
    "a header beyond the file": (lambda p: p.update(vectors=struct.pack("<Q", 2**40) + b"{}"), "claims a header"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("form", ["lie.zip", "lie"])
def test_an_archive_that_lies_is_refused(tmp_path: Path, lie: str, form: str) -> None:
    change, says = LIES[lie]
    refused(made(tmp_path / form, change), says)


def test_settings_that_no_space_can_have_write_nothing(tmp_path: Path) -> None:
    def change(parts: dict[str, Any]) -> None:
        parts["lines"][0]["settings"] = parts["manifest"]["spaces"][0]["settings"] = {"acl": {"fly": ["*"]}}

    path = made(tmp_path / "rules.zip", change)
    assert verify_archive(path), "it is whole; what it says cannot be"
    with mnemos.open(":memory:", embedder="none") as mem:
        with pytest.raises(MnemosError, match="fly"):
            import_archive(mem, path)
        assert mem.spaces() == []


def test_a_manifest_for_another_purpose_is_refused(honest: Path, tmp_path: Path) -> None:
    shutil.copytree(honest / "a", tmp_path / "a")
    document = orjson.loads((tmp_path / "a" / "manifest.json").read_bytes())["document"]
    (tmp_path / "a" / "manifest.json").write_bytes(SignedDocument.sign("checkpoint", document, KEY).as_bytes())
    refused(tmp_path / "a", "signed for", KEY.public)
