"""The file store as the control unit sees it: names that are safe anywhere, contents that are text, and edits that are checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mnemos.base.cube import check_text
from mnemos.base.errors import Invalid, shown

MOST_BYTES = 4 * 2**20
"""Of one file."""
LONGEST_NAME = 240
_FORBIDDEN = frozenset('<>:"|?*\\')
_DEVICES = frozenset(["con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))])


@dataclass(frozen=True, slots=True)
class FileEntry:
    """What is known of a file beside its content: its number in the program (a name that is used again after a deletion has another), version
    (from 1), SHA-256, the address of the instruction that wrote it, and the files, with the hashes they had, that this had read before."""

    number: int
    version: int
    hash: str
    author: int
    parents: Mapping[str, str]


def content_hash(text: str) -> str:
    """SHA-256 (hex) of a file's UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def check_name(name: object, taken: Mapping[str, object] | None = None) -> str:
    """A file's name as it is kept: a relative path with "/" between its parts, which no system reads as something else. Raises `Invalid`; also
    where a file of `taken` would be its folder, lie in it, or differ from it in case alone."""
    text = check_text(name, "path")
    while text.startswith("./"):
        text = text[2:]
    parts = text.split("/")
    if not text or len(text) > LONGEST_NAME or any(part in ("", ".", "..") or part != part.strip() or part.endswith(".") for part in parts):
        raise Invalid(f"path: {shown(name)} is no name of a file; give a relative path such as src/main.py")
    if any(part.partition(".")[0].casefold() in _DEVICES for part in parts):
        raise Invalid(f"path: {shown(name)} is the name of a device on some systems; choose another")
    if any(character in _FORBIDDEN or ord(character) < 32 or ord(character) == 127 for character in text):
        raise Invalid(f"path: {shown(name)} has a character that not every system allows")
    if taken is not None and text not in taken:
        for other in taken:
            if other.startswith(f"{text}/") or text.startswith(f"{other}/"):
                raise Invalid(f"path: {shown(name)} and {shown(other)} cannot both be there: one would be the other's folder")
            if other.casefold() == text.casefold():
                raise Invalid(f"path: {shown(name)} differs from {shown(other)} in case alone, and would replace it on some systems")
    return text


def check_content(text: object) -> str:
    """The content of a file. Raises `Invalid` for what is no text, or is longer than 4 MiB."""
    content = check_text(text, "contents")
    if len(content.encode()) > MOST_BYTES:
        raise Invalid(f"contents: {len(content):,} characters; a file holds at most {MOST_BYTES:,} bytes: divide it")
    return content


@dataclass(frozen=True, slots=True)
class Edit:
    """Put `replace` in the place of `find`, which has to be there exactly once."""

    find: str
    replace: str


def patched(name: str, content: str, edits: Sequence[Edit]) -> str:
    """A file's content with the edits, one after the other, all or none. Raises `Invalid`, saying which edit has no place, or more than one."""
    for number, edit in enumerate(edits, 1):
        found = content.count(edit.find) if edit.find else 0
        if found != 1:
            lines = [content.count("\n", 0, at) + 1 for at in _places(content, edit.find)][:5] if found else []
            where = f"is there {found} times (lines {', '.join(map(str, lines))}); quote more of what stands around it" if found else (
                "is not there; view the file, and quote it exactly" if edit.find else "is empty; quote what is to be replaced"
            )  # fmt: skip
            raise Invalid(f"{name}, edit {number}: what to find {where}, or write the whole file. Nothing was changed.")
        content = content.replace(edit.find, edit.replace)
    return content


def _places(content: str, find: str) -> list[int]:
    out, at = [], content.find(find)
    while at >= 0:
        out.append(at)
        at = content.find(find, at + len(find))
    return out
