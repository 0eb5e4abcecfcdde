"""Plain text and Markdown: a file, or every text file of a folder, as one document each."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from mnemos.text.formats.record import Notice, Place, Record, utc, warn
from mnemos.text.formats.source import open_bytes, reading

SNIFF_BYTES = 8192
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_FIELD = re.compile(r"([A-Za-z_][\w .-]{0,60}?)[ \t]{0,8}:(?:[ \t]+(.*))?$")
_ITEM = re.compile(r"[ \t]*-[ \t]+(.*)$")
_TITLE = re.compile(r"\s*+(?:#[ \t]+(.+?)[ \t]*#*[ \t]*$|([^\n]{1,200})\n(?:={3,}|\*{3,}|-{3,})[ \t]*$)", re.MULTILINE)
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe\x00\x00", "utf-32"), (b"\x00\x00\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"),
         (b"\xfe\xff", "utf-16"))


def read_folder(path: Path, *, notice: Notice = warn) -> Iterator[Record]:
    """One document per text file under `path` (or of the one file), in the order of their relative paths, which are the sources.

    `metadata` holds `title` (front matter, first heading, or the file's name) and the other front-matter fields; `author`, `date` and
    `tags` of the front matter fill the record's own. Hidden files, links that leave the folder, empty and binary files are left out, and
    `notice` is told of each. Text that is not Unicode is read as Windows-1252, with a notice. Raises `NotFound`, `PermissionDenied`,
    `Invalid`."""
    place = Place(str(path), notice=notice)
    with reading(place):
        if not path.exists():
            raise FileNotFoundError(path)
        single = path.is_file()
    if single:
        yield from _document(path, path.name, notice)
        return
    for file in _files(path, notice):
        yield from _document(file, file.relative_to(path).as_posix(), notice)


def _files(root: Path, notice: Notice) -> Iterator[Path]:
    """The files below `root` in one fixed order, folder by folder."""
    with reading(Place(str(root))):
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
    inside = root.resolve()
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith("."):
            notice(f"{path}: hidden, left out")
        elif entry.is_symlink() and (not path.is_file() or not path.resolve().is_relative_to(inside)):
            notice(f"{path}: a link to a folder, to nothing, or out of the folder, left out")
        elif entry.is_dir():
            yield from _files(path, notice)
        elif entry.is_file():
            yield path
        else:
            notice(f"{path}: not a regular file, left out")


def _document(path: Path, source: str, notice: Notice) -> Iterator[Record]:
    place = Place(str(path), notice=notice)
    with reading(place), open_bytes(path) as stream:
        data = stream.read()
    text = decode(data, place)
    if text is None:
        return
    fields, body = front_matter(text)
    if not body.strip():
        place.say("empty, left out")
        return
    record: Record = {"text": place.text(body, "the text"), "type": "document", "source": source}
    tags, author = fields.pop("tags", None), fields.pop("author", None)
    if isinstance(author, list):
        author = ", ".join(author)
    if (date := fields.get("date")) and (moment := _date(date)):
        record["event_at"] = moment
        del fields["date"]
    if tags:
        record["tags"] = [tag.strip() for tag in tags.split(",")] if isinstance(tags, str) else tags
    if author:
        record["author"] = author
    record["metadata"] = {"title": _title(body) or Path(source.removesuffix(".gz")).stem, **fields}
    yield record


def decode(data: bytes, place: Place) -> str | None:
    """The text of a file's bytes, or `None` (and a notice) where they are not text."""
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            with reading(place):
                return data.decode(encoding)
    if b"\x00" in data[:SNIFF_BYTES]:
        place.say("binary, left out")
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        control = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in data[:SNIFF_BYTES])
        if control * 50 > len(data[:SNIFF_BYTES]):
            place.say("binary, left out")
            return None
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        place.say("neither UTF-8 nor Windows-1252 text, left out; save it as UTF-8")
        return None
    place.say("not UTF-8, read as Windows-1252")
    return text


def front_matter(text: str) -> tuple[dict[str, Any], str]:
    """The fields between a first line `---` and the next, and the text after them.

    Understands `key: value`, `key: [a, b]` and lists of `- item`; where anything else stands there, nothing is taken, and the text stays
    as it is, so that no line is lost."""
    normal = text.replace("\r\n", "\n") if text.startswith("---\r\n") else text
    block = _FRONT_MATTER.match(normal)
    if block is None:
        return {}, text
    fields: dict[str, Any] = {}
    key = ""
    for line in block.group(1).split("\n"):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if (item := _ITEM.match(line)) and key and (fields[key] == "" or isinstance(fields[key], list)):
            fields[key] = [*fields[key], _scalar(item.group(1))]
        elif field := _FIELD.match(line):
            key = field.group(1).lower()
            value = (field.group(2) or "").strip()
            listed = value.startswith("[") and value.endswith("]")
            fields[key] = [_scalar(part) for part in value[1:-1].split(",") if part.strip()] if listed else _scalar(value)
        else:
            return {}, text
    return fields, normal[block.end() :]


def _scalar(value: str) -> str:
    value = value.strip()
    return value[1:-1] if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'" else value


def _date(value: object) -> datetime | None:
    """The time that an ISO 8601 string names; any other date stays with the metadata, as it is written."""
    try:
        return utc(datetime.fromisoformat(str(value)))
    except (ValueError, OverflowError):
        return None


def _title(text: str) -> str | None:
    found = _TITLE.match(text)
    return (found.group(1) or found.group(2)).strip() if found else None
