"""An archive that lies somewhere: read, and checked in every part before anything of it is used."""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import orjson
from numpy.typing import NDArray

from mnemos.base import safetensors
from mnemos.base.cube import Content
from mnemos.base.errors import Corrupt, Invalid, MnemosError, shown
from mnemos.base.ids import parse_id
from mnemos.base.signing import PublicKey, SignedDocument
from mnemos.kernel.exchange.containers import members
from mnemos.kernel.exchange.files import CUBES, FORGOTTEN, MANIFEST, Region
from mnemos.kernel.exchange.manifest import ARCHIVE, Manifest, Vectors
from mnemos.kernel.exchange.transfer import Line
from mnemos.text.formats.jsonlines import read_export_stream

_COPY_BYTES = 1 << 20
_UNIT = 1e-3  # how far from 1 the length of a unit vector may be
_MOST_REASONS = 20
_STANDING = ("state", "frozen", "acl", "link")


@dataclass(frozen=True)
class Limits:
    """What is read of an archive that may come from anybody: a larger one is refused before it is read.

    `files` and `total_bytes` of the archive (None: any number), `manifest_bytes`, and `line_bytes` of a line: a text of 64 MiB takes up to six
    times as many where every character is escaped.
    """

    files: int = 1_000_000
    total_bytes: int | None = None
    manifest_bytes: int = 1 << 26
    line_bytes: int = 400 << 20


DEFAULT_LIMITS = Limits()


class Archive:
    """An archive's files and its manifest. `faults` says what is wrong with the rest."""

    def __init__(self, path: str | Path, limits: Limits = DEFAULT_LIMITS) -> None:
        """Raises `NotFound`, and `Corrupt` or `Invalid` where it is no archive, or its manifest is not as it was written."""
        self.path = Path(path)
        self.limits = limits
        self.files = members(self.path, limits.files)
        if MANIFEST not in self.files:
            raise Corrupt(f"{path}: has no {MANIFEST}: it is no archive, or was not written to its end")
        total = sum(region.size for region in self.files.values())
        if self.files[MANIFEST].size > limits.manifest_bytes or (limits.total_bytes is not None and total > limits.total_bytes):
            raise Corrupt(f"{path}: is larger than it may be: {total:,} bytes, {self.files[MANIFEST].size:,} in its manifest")
        with self._open(MANIFEST) as stream:
            data = stream.read()
        self.signed = SignedDocument.from_bytes(data)
        if self.files[MANIFEST].crc not in (None, zlib.crc32(data)):
            raise Corrupt(f"{path}: the checksum of {MANIFEST} is not as it was written")
        if self.signed.purpose != ARCHIVE:
            raise Invalid(f"{path}: its manifest is signed for {self.signed.purpose!r}, and is none of an archive")
        self.manifest = Manifest.of(self.signed.document)

    def _open(self, name: str) -> Any:
        return self.files[name].open()

    # -- what is in it --
    def lines(self) -> Iterator[Line]:
        """What the spaces say, in order, as `kernel.exchange.transfer` writes it. Raises `Invalid`."""
        with self._open(CUBES) as stream:
            yield from read_export_stream(stream, f"{self.path}/{CUBES}", longest=self.limits.line_bytes)

    def forgotten(self) -> Iterator[tuple[UUID, str]]:
        """(cube, space) of what was forgotten in them. Raises `Invalid`."""
        with self._open(FORGOTTEN) as stream:
            for number, line in enumerate(iter(lambda: stream.readline(4096), b""), 1):
                try:
                    found = orjson.loads(line)
                    yield parse_id(found["cube"]), str(found["space"])
                except (orjson.JSONDecodeError, KeyError, TypeError, Invalid) as error:
                    raise Invalid(f"{self.path}/{FORGOTTEN}: line {number} cannot be read ({error})") from None

    def blob(self, name: str) -> bytes:
        """The large payload of this SHA-256. Raises `Invalid` where there is none."""
        path = f"blobs/{name[:2]}/{name}"
        if path not in self.files:
            raise Invalid(f"{self.path}: has no payload {shown(name)}")
        with self._open(path) as stream:
            data: bytes = stream.read()
        if hashlib.sha256(data).hexdigest() != name:
            raise Corrupt(f"{self.path}: the payload {name} is not what its name says")
        return data

    def vectors(self, fingerprint: str) -> Callable[[Content], bytes | None]:
        """Gives the vector of a version, float32 bytes, where the archive has one of this embedder."""
        entry = next((entry for entry in self.manifest.embedders if entry.fingerprint == fingerprint), None)
        if entry is None:
            return lambda content: None
        ids, versions, values = self.arrays(entry)
        rows = {(id.tobytes(), int(version)): row for row, (id, version) in enumerate(zip(ids, versions, strict=True))}

        def vector(content: Content) -> bytes | None:
            row = rows.get((content.id.bytes, content.version))
            return None if row is None else values.read(row, row + 1).tobytes()

        return vector

    def arrays(self, entry: Vectors) -> tuple[NDArray[Any], NDArray[Any], safetensors.Rows]:
        """(cube ids (n, 16) uint8, versions (n,) int64, rows of vectors (n, dimensions) float32). Raises `Corrupt`."""
        name, region = f"{self.path}/{entry.path}", self.files[entry.path]
        with region.open() as stream:
            header = safetensors.Header.read(stream, region.size, name)
        places = [header.tensors.get(tensor) for tensor in ("ids", "versions", "vectors")]
        ids, versions, vectors = places
        if len(header.tensors) != 3 or ids is None or versions is None or vectors is None:
            raise Corrupt(f"{name}: holds other tensors than ids, versions and vectors")
        count = versions.shape[0] if len(versions.shape) == 1 else -1
        wanted = [("U8", (count, 16)), ("I64", (count,)), ("F32", (count, entry.dimensions))]
        if [(place.dtype, place.shape) for place in (ids, versions, vectors)] != wanted or header.metadata.get("fingerprint") != entry.fingerprint:
            raise Corrupt(f"{name}: its tensors have other types or shapes than vectors of {entry.fingerprint} have")
        found = [safetensors.Rows(region.path, place, region.offset) for place in (ids, versions, vectors)]
        return found[0].read(), found[1].read(), found[2]

    # -- whether it is sound --
    def faults(self, keys: PublicKey | None = None) -> list[str]:
        """What is wrong with the archive; empty where nothing is. `keys`: who has to have signed it."""
        reasons = [f"the manifest {fault}" for fault in self.signed.faults(ARCHIVE, keys)]
        reasons += self._wrong_files()
        if not reasons:  # what is not what it was is not looked into
            try:
                reasons += _Contents(self).faults()
            except MnemosError as error:
                reasons.append(str(error))
        return reasons[:_MOST_REASONS]

    def _wrong_files(self) -> Iterator[str]:
        listed = {payload.path: payload for payload in self.manifest.payloads}
        if len(listed) != len(self.manifest.payloads) or MANIFEST in listed:
            yield "the manifest lists a file twice, or itself"
        for name in sorted({*listed, CUBES, FORGOTTEN} - set(self.files)):
            yield f"{name} is missing"
        for name in sorted(set(self.files) - set(listed) - {MANIFEST}):
            yield f"{name} is not in the manifest"
        for name, payload in sorted(listed.items()):
            region = self.files.get(name)
            if region is None:
                continue
            if region.size != payload.bytes:
                yield f"{name} has {region.size:,} bytes, not {payload.bytes:,}"
            elif not _has_digest(region, payload.sha256):
                yield f"{name} is not what it was: its SHA-256 is another one"


def _has_digest(region: Region, sha256: str) -> bool:
    digest, crc = hashlib.sha256(), 0
    with region.open() as stream:
        while block := stream.read(_COPY_BYTES):
            digest.update(block)
            crc = zlib.crc32(block, crc)
    return digest.hexdigest() == sha256 and region.crc in (None, crc)


class _Contents:
    """What an archive's files say, compared with what its manifest says of them."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._counts = {payload.path: payload.count for payload in archive.manifest.payloads}
        self._settings: dict[str, Any] = {}
        self._newest: dict[UUID, tuple[int, str]] = {}
        self._cubes: Counter[str] = Counter()
        self._versions: Counter[str] = Counter()
        self._blobs: set[str] = set()
        self._models: dict[str, Counter[str]] = {}
        self._links: list[tuple[str, UUID]] = []

    def faults(self) -> Iterator[str]:
        lines = 0
        for lines, line in enumerate(self._archive.lines(), 1):
            if fault := self._read(line):
                yield f"{CUBES}, entry {lines}: {fault}"
        if lines != self._counts[CUBES]:
            yield f"{CUBES} has {lines:,} entries, not {self._counts[CUBES]:,}"
        yield from self._spaces()
        yield from self._others()
        for entry in self._archive.manifest.embedders:
            yield from self._vectors(entry)

    def _read(self, line: Line) -> str | None:
        space = line.get("space")
        if not isinstance(space, str):
            return "names no space"
        if "settings" in line:
            self._settings[space] = line["settings"]
            return None
        if space not in self._settings:
            return f"speaks of space {shown(space)} before the line that describes it"
        if "record" in line:
            return self._version(space, line["record"])
        if not any(name in line for name in _STANDING):
            return "says nothing that is known"
        cube = parse_id(line.get("cube", ""), "cube")
        if "link" in line and isinstance(line["link"], Mapping):
            self._links.append((str(line["link"].get("relation")), parse_id(line["link"].get("to", ""))))
        return None if cube in self._newest and self._newest[cube][1] == space else f"speaks of cube {cube}, which is not there"

    def _version(self, space: str, record: Any) -> str | None:
        if not isinstance(record, Mapping):
            return "the record is no object"
        content = Content.from_json(record)
        before, home = self._newest.get(content.id, (0, space))
        if content.version != before + 1 or home != space:
            return f"version {content.version} of cube {content.id} does not follow version {before} in space {home!r}"
        self._newest[content.id] = content.version, space
        self._cubes[space] += content.version == 1
        self._versions[space] += 1
        self._links += [(link.relation, link.id) for link in content.derived_from]
        if content.blob is not None:
            self._blobs.add(content.blob)
        if content.kind != "text" and content.fingerprint is not None:
            self._models.setdefault(content.fingerprint, Counter())[content.kind] += 1
        return None

    def _spaces(self) -> Iterator[str]:
        manifest = self._archive.manifest
        forgotten: Counter[str] = Counter()
        for cube, space in self._archive.forgotten():
            forgotten[space] += 1
            if cube in self._newest:
                yield f"{FORGOTTEN}: cube {cube} was forgotten, and is there"
        if forgotten.total() != self._counts[FORGOTTEN]:
            yield f"{FORGOTTEN} has {forgotten.total():,} lines, not {self._counts[FORGOTTEN]:,}"
        said = [(entry.name, entry.settings, entry.cubes, entry.versions, entry.forgotten) for entry in manifest.spaces]
        found = [(name, settings, self._cubes[name], self._versions[name], forgotten[name]) for name, settings in self._settings.items()]
        if said != found or set(forgotten) - set(self._settings):
            yield "the manifest counts other spaces, rules, cubes or versions than are there"

    def _others(self) -> Iterator[str]:
        manifest, files = self._archive.manifest, self._archive.files
        if {name for name in files if name.startswith("blobs/")} != {f"blobs/{blob[:2]}/{blob}" for blob in self._blobs}:
            yield "there are other large payloads than the cubes speak of"
        for payload in manifest.payloads:
            if payload.path.startswith("blobs/") and (payload.sha256 != payload.path.rpartition("/")[2] or payload.count != 1):
                yield f"{payload.path} is not called by its SHA-256"
        if {name for name in files if name.startswith("vectors/")} != {entry.path for entry in manifest.embedders}:
            yield "there are other vectors than the manifest says"
        if {name: dict(kinds) for name, kinds in self._models.items()} != {name: dict(kinds) for name, kinds in manifest.models.items()}:
            yield "the manifest counts other models than the cubes are made for"
        lineage: Counter[str] = Counter(relation for relation, _ in self._links)
        if outside := sum(other not in self._newest for _, other in self._links):
            lineage["(outside)"] = outside
        if dict(lineage) != dict(manifest.lineage):
            yield "the manifest counts other links than there are"

    def _vectors(self, entry: Vectors) -> Iterator[str]:
        ids, versions, values = self._archive.arrays(entry)
        if entry.dimensions < 1:
            yield f"{entry.path} has vectors without dimensions"
        if len(versions) != self._counts[entry.path]:
            yield f"{entry.path} has {len(versions):,} vectors, not {self._counts[entry.path]:,}"
        named = {(UUID(bytes=id.tobytes()), int(version)) for id, version in zip(ids, versions, strict=True)}
        if len(named) != len(versions) or any(not 1 <= version <= self._newest.get(cube, (0, ""))[0] for cube, version in named):
            yield f"{entry.path} has vectors of versions that are not there, or two of one"
        for start in range(0, len(values), 4096):
            lengths = np.linalg.norm(values.read(start, start + 4096).astype(np.float64), axis=1)
            if not ((lengths == 0) | (np.abs(lengths - 1) < _UNIT)).all():
                yield f"{entry.path} has vectors that are no unit vectors"
                return

