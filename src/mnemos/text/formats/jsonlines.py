"""JSON lines: objects with a `text`, and Mnemos' own export, which imports again to an equal store."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from mnemos.base.errors import Invalid
from mnemos.text.formats.record import Notice, Place, Record, shown, warn
from mnemos.text.formats.source import elements, open_bytes, parse, reading

HEADER, END = "mnemos-export", "mnemos-export-end"
EXPORT_VERSION = 1
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_jsonlines(path: Path, *, notice: Notice = warn) -> Iterator[Record]:
    """A record per JSON object with a `text`: lines, or the elements of one array.

    The keywords of `space.add` are taken by name, `space` too; `event_at` is ISO 8601 or seconds since 1970; every other key goes into
    `metadata`. `type` is "document" unless the object names one or has an `author` (then "turn"). Raises `Invalid` at the first object
    that cannot be taken."""
    for place, value in elements(path, notice=notice):
        yield record_of(value, place)


def record_of(value: object, place: Place) -> Record:
    """The record of one JSON object. Raises `Invalid`."""
    fields = dict(place.mapping(value, "the element"))
    if "text" not in fields:
        raise place.invalid(f"the object has no text, only {shown(sorted(fields))}", 'give each object a "text"')
    record: Record = {"text": place.text(fields.pop("text"), "text")}
    author = place.label(fields.pop("author", None), "author")
    record["type"] = place.label(fields.pop("type", None), "type") or ("turn" if author else "document")
    metadata = fields.pop("metadata", None)
    extra: dict[str, Any] = {} if metadata is None else dict(place.mapping(place.json(metadata, "metadata"), "metadata"))
    found: dict[str, Any] = {
        "author": author,
        "event_at": place.time(fields.pop("event_at", None), "event_at"),
        "source": place.label(fields.pop("source", None), "source"),
        "space": place.label(fields.pop("space", None), "space"),
        "tags": place.labels(fields.pop("tags", None), "tags"),
    }
    clash = sorted(extra.keys() & fields.keys())
    if clash:
        raise place.invalid(f"{shown(clash)} stand both beside and inside metadata", "keep one of the two")
    found["metadata"] = {**extra, **place.json(fields, "the object")}
    record.update((key, item) for key, item in found.items() if item not in (None, [], {}))
    return record


def write_export(path: Path, entries: Iterable[Mapping[str, Any]], *, header: Mapping[str, Any] | None = None) -> int:
    """Writes an export: a header line, one JSON object a line, and a last line with their number and SHA-256, so that a copy cut
    short is noticed. The file appears whole or not at all. Returns the number of entries. Raises `Invalid` for an entry that is not JSON.
    """
    partial = path.with_name(f"{path.name}.partial")
    with reading(Place(str(path))):
        try:
            with partial.open("wb") as stream:
                number = write_export_stream(stream, entries, header=header)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return number


def write_export_stream(stream: IO[bytes], entries: Iterable[Mapping[str, Any]], *, header: Mapping[str, Any] | None = None) -> int:
    """As `write_export`, into an open stream."""
    digest, number = hashlib.sha256(), 0
    for entry in _headed(entries, dict(header or {})):
        line = encode_line(entry, number)
        digest.update(line)
        stream.write(line)
        number += 1
    stream.write(encode_line({END: number - 1, "sha256": digest.hexdigest()}, number))
    return number - 1


def _headed(entries: Iterable[Mapping[str, Any]], header: dict[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield {HEADER: EXPORT_VERSION, **header}
    for number, entry in enumerate(entries, 1):
        if END in entry:
            raise Invalid(f"export, entry {number}: the key {END!r} ends an export; rename it")
        yield entry


def encode_line(entry: Mapping[str, Any], number: int) -> bytes:
    """One line of an export. Every string survives, lone surrogates too. Raises `Invalid`."""
    try:
        text = json.dumps(entry, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        if _SURROGATE.search(text):
            text = json.dumps(entry, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid(f"export, entry {number}: not a JSON object ({error}); give only strings, numbers, lists, dicts") from error
    return text.encode() + b"\n"


def read_export_header(path: Path) -> dict[str, Any] | None:
    """The header of an export, or `None` where the file does not start with one. Raises `Invalid` for another version."""
    place = Place(str(path), "line 1")
    with reading(place), open_bytes(path) as stream:
        first = stream.readline(1 << 20)
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return None
    return _header(first, place) if isinstance(value, dict) and HEADER in value else None


def _header(line: bytes, place: Place) -> dict[str, Any]:
    with reading(place):
        header = place.mapping(parse(line.decode(), place), "the header")
    if header.get(HEADER) != EXPORT_VERSION:
        version = shown(header.get(HEADER))
        raise place.invalid(f"an export of version {version}, where {EXPORT_VERSION} is known", "read it with the Mnemos that wrote it")
    return header


def read_export(path: Path, *, notice: Notice = warn) -> Iterator[dict[str, Any]]:
    """The entries of an export, as they were written. Import them inside one transaction: damage, or a missing end, shows only when
    the last line is reached, and raises `Invalid`."""
    with reading(Place(str(path))), open_bytes(path) as stream:
        yield from read_export_stream(stream, str(path), notice=notice)


def read_export_stream(stream: IO[bytes], name: str, *, notice: Notice = warn, longest: int = -1) -> Iterator[dict[str, Any]]:
    """As `read_export`, from an open stream that messages call `name`. A line of more than `longest` bytes (-1: any) is refused."""
    place = Place(name, notice=notice)
    digest, number, ended = hashlib.sha256(), 0, False
    with reading(place):
        for number, line in enumerate(iter(lambda: stream.readline(longest), b""), 1):
            here = place.at(f"line {number}")
            if len(line) == longest and not line.endswith(b"\n"):
                raise here.invalid(f"is longer than {longest:,} bytes", "fetch or write the export again")
            if ended:
                raise here.invalid("text follows the end of the export", "fetch or write the export again")
            if number == 1:
                _header(line, here)
            elif (entry := _entry(line, here)).keys() >= {END, "sha256"}:
                _check_end(entry, number - 2, digest.hexdigest(), here)
                ended = True
            else:
                yield entry
            digest.update(line)
    if not ended:
        raise place.at(f"line {number}").invalid("the export has no end: it was cut short", "fetch or write it again")


def _entry(line: bytes, place: Place) -> dict[str, Any]:
    with reading(place):
        return place.mapping(parse(line.decode(), place), "the entry")


def _check_end(end: Mapping[str, Any], entries: int, digest: str, place: Place) -> None:
    if end[END] != entries or end["sha256"] != digest:
        raise place.invalid(f"the export is not what was written (counted {entries} entries of {shown(end[END])}; checksum "
                            f"{'right' if end['sha256'] == digest else 'wrong'})", "fetch or write it again")
