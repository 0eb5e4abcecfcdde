"""Writing an archive."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from uuid import UUID

import orjson

from mnemos.base import safetensors
from mnemos.base.clock import Moment
from mnemos.base.cube import Content, Json
from mnemos.base.errors import Invalid
from mnemos.base.protocols import Progress
from mnemos.base.signing import SigningKey
from mnemos.kernel.exchange.containers import create
from mnemos.kernel.exchange.files import CUBES, FORGOTTEN, MANIFEST, Sink
from mnemos.kernel.exchange.lines import Told
from mnemos.kernel.exchange.manifest import Manifest, Payload, SpaceEntry, Vectors
from mnemos.kernel.exchange.redaction import Redaction
from mnemos.kernel.exchange.transfer import Line
from mnemos.kernel.reading.conditions import conditions
from mnemos.store.base import Filter
from mnemos.text.encoding import terms_text
from mnemos.text.formats.jsonlines import write_export_stream
from mnemos.text.sensitivity import Redactor

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos

OUTSIDE = "(outside)"
"""In a manifest's lineage: links to what is not in the archive."""


def export_archive(
    memory: Mnemos,
    target: str | Path,
    *,
    spaces: Iterable[str] | None = None,
    types: Sequence[str] | None = None,
    tags: Sequence[str] | None = None,
    author: str | None = None,
    source: str | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    filter: Json | None = None,
    redact: Redactor | None = None,
    sign_with: SigningKey | None = None,
    vectors: bool = True,
    kv: bool = False,
    progress: Progress | None = None,
) -> Manifest:
    """Write the spaces (None: all that may be read) as an archive: one file where `target` ends in .zip or .mip, else a folder; give its manifest.

    Of a memory that fits the conditions (as in `search`, none: all) its whole history goes along, whatever state it is in. `redact` takes sensitive
    strings out of every field; what it cannot look into, large payloads and what is of use to one model alone, then stays behind, and so do vectors
    of texts that it changed. What a language model has read (`Space.kv`) goes along with `kv`, under the model's fingerprint; else it stays behind,
    and is read again where it is needed. `sign_with` signs the manifest. The archive appears whole or not at all, and of one position of a store it
    has always the same bytes. Raises `NotFound`, `Invalid`, `PermissionDenied`, `StoreFull`.
    """
    where = conditions(types=types, tags=tags, author=author, source=source, since=since, until=until, filter=filter)
    chosen = where != Filter()
    if redact is not None and not isinstance(redact, Redactor):
        raise Invalid(f"redact: expected a `Redactor` (mnemos.text.sensitivity), not {type(redact).__name__}")
    with memory.snapshot() as snapshot:
        told = Told(memory, snapshot, spaces, where if chosen else None, kv)
        writing = _Writing(told, create(Path(target)), None if redact is None else Redaction(redact))
        try:
            manifest = writing.write(vectors, chosen, progress)
            with writing.sink.file(MANIFEST) as stream:
                stream.write(manifest.signed(sign_with).as_bytes())
            writing.sink.finish()
        except BaseException:
            writing.sink.discard()
            raise
    return manifest


class _Counted(io.RawIOBase):
    """A stream into a file of the archive that knows what went through it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._stream.write(data)
        self._digest.update(data)
        self.bytes += len(data)
        return len(data)

    def sha256(self) -> str:
        return self._digest.hexdigest()


class _Writing:
    """One archive on its way: what was written so far, and what the manifest will say of it."""

    def __init__(self, told: Told, sink: Sink, redaction: Redaction | None) -> None:
        self._told = told
        self.sink = sink
        self._redaction = redaction
        self._payloads: list[Payload] = []
        self._settings: dict[str, Any] = {}
        self._cubes: Counter[str] = Counter()
        self._versions: Counter[str] = Counter()
        self._held: set[UUID] = set()
        self._left: set[UUID] = set()
        self._links: list[tuple[str, UUID]] = []
        self._models: dict[str, Counter[str]] = {}
        self._blobs: set[str] = set()
        self._embeddable: dict[int, tuple[bytes, int]] = {}
        """Position in the store's log → (cube, version), of the versions whose texts are written as they were embedded."""

    def write(self, vectors: bool, chosen: bool, progress: Progress | None) -> Manifest:
        snapshot = self._told.snapshot
        if self._redaction is not None:
            self._redaction.learn_all(lambda: (line for line in self._told.lines() if self._stays(line)))
        with self._file(CUBES) as (stream, count):
            header = {"store": snapshot.store_id(), "position": snapshot.position}
            count.append(write_export_stream(stream, self._lines(progress), header=header))
        forgotten = self._write_forgotten()
        embedders = tuple(self._write_vectors()) if vectors else ()
        for sha256 in sorted(self._blobs):
            with self._file(f"blobs/{sha256[:2]}/{sha256}") as (stream, count):
                stream.write(self._told.blob(sha256))
                count.append(1)
        newest = next(snapshot.log(snapshot.position - 1, 1), None) if snapshot.position else None
        lineage = Counter(relation for relation, _ in self._links)
        if outside := sum(other not in self._held for _, other in self._links):
            lineage[OUTSIDE] = outside
        return Manifest(
            store=snapshot.store_id(),
            position=snapshot.position,
            head=newest.hash.hex() if newest else bytes(32).hex(),
            at=newest.at if newest else 0,
            spaces=tuple(
                SpaceEntry(name, settings, self._cubes[name], self._versions[name], forgotten[name]) for name, settings in self._settings.items()
            ),
            payloads=tuple(self._payloads),
            embedders=embedders,
            models={name: dict(kinds) for name, kinds in sorted(self._models.items())},
            lineage=dict(sorted(lineage.items())),
            redactions=self._redactions(),
            chosen=chosen,
        )

    @contextmanager
    def _file(self, name: str) -> Iterator[tuple[IO[bytes], list[int]]]:
        """A new file; whoever writes it puts its count into the list."""
        count: list[int] = []
        with self.sink.file(name) as stream:
            counted = _Counted(stream)
            buffered = io.BufferedWriter(counted, 1 << 18)
            yield buffered, count
            buffered.flush()
        self._payloads.append(Payload(name, counted.sha256(), counted.bytes, sum(count)))

    # -- cubes --
    def _stays(self, line: Line) -> bool:
        """Whether a line can be written: of what cannot be redacted none is."""
        if self._redaction is None:
            return True
        record = line.get("record")
        if record is not None and (record.get("kind", "text") != "text" or "blob" in record):
            self._left.add(UUID(record["id"]))
            return False
        return UUID(record["id"] if record is not None else line["cube"]) not in self._left if "settings" not in line else True

    def _lines(self, progress: Progress | None) -> Iterator[Line]:
        for seq, line in self._told.entries(progress):
            if not self._stays(line):
                continue
            written = line if self._redaction is None else self._redaction.line(line)
            space = written["space"]
            if "settings" in written:
                self._settings[space] = written["settings"]
            elif "record" in written:
                self._note(space, seq, Content.from_json(line["record"]), Content.from_json(written["record"]))
            elif "link" in written:
                self._links.append((written["link"]["relation"], UUID(written["link"]["to"])))
            yield written

    def _note(self, space: str, seq: int, content: Content, written: Content) -> None:
        """Note what the manifest says of a version."""
        self._held.add(content.id)
        self._cubes[space] += content.version == 1
        self._versions[space] += 1
        self._links += [(link.relation, link.id) for link in written.derived_from]
        if content.blob is not None:
            self._blobs.add(content.blob)
        if content.kind != "text" and content.fingerprint is not None:
            self._models.setdefault(content.fingerprint, Counter())[content.kind] += 1
        if terms_text(content) == terms_text(written):
            self._embeddable[seq] = content.id.bytes, content.version

    def _redactions(self) -> dict[str, Any] | None:
        if self._redaction is None:
            return None
        return {"strings": dict(sorted(self._redaction.counts.items())), "cubes_left_out": len(self._left)}

    # -- the rest --
    def _write_forgotten(self) -> Counter[str]:
        """Write the ids of what was forgotten; give how many per space."""
        counts: Counter[str] = Counter()
        with self._file(FORGOTTEN) as (stream, count):
            for cube, space in self._told.forgotten():
                name = space if self._redaction is None else self._redaction.name(space)
                counts[name] += 1
                stream.write(orjson.dumps({"cube": str(cube), "space": name}) + b"\n")
            count.append(sum(counts.values()))
        return counts

    def _write_vectors(self) -> Iterator[Vectors]:
        """Write the vectors of each embedder, in the order of the log."""
        snapshot = self._told.snapshot
        by_embedder: dict[int, list[int]] = {}
        for row in self._told.rows:
            for seq, embedder, _ in snapshot.vectors(row.num, 0):
                if seq in self._embeddable:
                    by_embedder.setdefault(embedder, []).append(seq)
        for number, (fingerprint, dimensions) in sorted(snapshot.embedders().items(), key=lambda item: item[1]):
            if number not in by_embedder:
                continue
            seqs = by_embedder[number]
            named = [self._embeddable[seq] for seq in seqs]
            path = f"vectors/{hashlib.sha256(fingerprint.encode()).hexdigest()[:16]}.safetensors"
            with self._file(path) as (stream, count):
                tensors = (
                    safetensors.Tensor("ids", "U8", (len(seqs), 16), [cube for cube, _ in named]),
                    safetensors.Tensor("versions", "I64", (len(seqs),), [version.to_bytes(8, "little") for _, version in named]),
                    safetensors.Tensor("vectors", "F32", (len(seqs), dimensions), self._values(number)),
                )
                safetensors.write(stream, tensors, {"fingerprint": fingerprint})
                count.append(len(seqs))
            yield Vectors(fingerprint, dimensions, path)

    def _values(self, wanted: int) -> Iterator[bytes]:
        for row in self._told.rows:
            for seq, embedder, value in self._told.snapshot.vectors(row.num, 0):
                if embedder == wanted and seq in self._embeddable:
                    yield value
