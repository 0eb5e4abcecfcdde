"""Which format a file has, and the one call that reads any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mnemos.base.errors import Invalid
from mnemos.text.formats.chatgpt import read_chatgpt
from mnemos.text.formats.claude import read_claude
from mnemos.text.formats.folder import read_folder
from mnemos.text.formats.jsonlines import read_export, read_export_header, read_jsonlines
from mnemos.text.formats.locomo import read_locomo
from mnemos.text.formats.longmemeval import read_longmemeval
from mnemos.text.formats.messages import read_messages
from mnemos.text.formats.record import Notice, Place, Record, shown, warn
from mnemos.text.formats.source import archived, elements, is_zip, lines_suffix, reading


class Reader(Protocol):
    """Reads a path lazily. Raises `Invalid`, naming the file and the place in it; `NotFound`; `PermissionDenied`."""

    def __call__(self, path: Path, *, notice: Notice = warn) -> Iterator[Record]: ...


@dataclass(frozen=True)
class Format:
    """One format: what it is called, what a person would say it is, and its reader."""

    name: str
    about: str
    read: Reader


FORMATS: dict[str, Format] = {
    entry.name: entry
    for entry in (
        Format("text", "a text or Markdown file, or a folder of them", read_folder),
        Format("jsonl", 'JSON lines, or an array, of objects with a "text"', read_jsonlines),
        Format("export", "an export of Mnemos; gives its entries as they were written, not records", read_export),
        Format("messages", 'chat messages: objects with "role" and "content"', read_messages),
        Format("chatgpt", "a ChatGPT data export: zip, folder or conversations.json", read_chatgpt),
        Format("claude", "a Claude data export: zip, folder or conversations.json", read_claude),
        Format("locomo", "LoCoMo conversations", read_locomo),
        Format("longmemeval", "LongMemEval histories", read_longmemeval),
    )
}

_Rule = Callable[[dict[str, object]], bool]
_RULES: tuple[tuple[str, _Rule], ...] = (
    ("chatgpt", lambda first: "mapping" in first),
    ("claude", lambda first: "chat_messages" in first),
    ("longmemeval", lambda first: "haystack_sessions" in first),
    ("locomo", lambda first: "session_1" in first or isinstance(first.get("conversation"), dict)),
    ("messages", lambda first: "messages" in first or ("role" in first and "text" not in first)),
    ("jsonl", lambda first: "text" in first),
)


def detect(path: str | Path) -> str:
    """The name, in `FORMATS`, of the format of a file or folder, from its content. Raises `Invalid` where it fits none, `NotFound`."""
    path = Path(path)
    place = Place(str(path))
    with reading(place):
        if not path.exists():
            raise FileNotFoundError(path)
        is_folder = path.is_dir()
        holds_chats = is_folder and any(path.glob("conversations*.json"))
    if is_folder:
        return _of_first(next(archived(path), None), place) if holds_chats else "text"
    if is_zip(path):
        return _of_first(next(archived(path), None), place)
    name = path.name.lower().removesuffix(".gz")
    if not (name.endswith(".json") or lines_suffix(path)):
        return "text"
    if read_export_header(path) is not None:
        return "export"
    return _of_first(next(elements(path), None), place)


def _of_first(found: tuple[Place, object] | None, place: Place) -> str:
    """The format of the first element of a JSON file."""
    do = f"name one of {', '.join(FORMATS)}"
    if found is None:
        raise place.invalid("the file holds no JSON value, so that its format cannot be told", do)
    here, first = found
    if isinstance(first, list) and all(isinstance(item, dict) and "role" in item for item in first):
        return "messages"
    if isinstance(first, dict):
        for name, fits in _RULES:
            if fits(first):
                return name
        raise here.invalid(f"an object with {shown(sorted(first))} is of no known format", do)
    raise here.invalid("the JSON is of no known format", do)


def read(path: str | Path, format: str = "auto", *, notice: Notice = warn) -> Iterator[Record]:
    """The records of a file or folder, lazily; `format` is a name in `FORMATS`, or "auto". Raises `Invalid` at once for an unknown
    format, and while reading as the format's reader says."""
    if format != "auto" and format not in FORMATS:
        raise Invalid(f"there is no format {shown(format)}; name one of {', '.join(FORMATS)}, or auto")
    name = detect(path) if format == "auto" else format
    return FORMATS[name].read(Path(path), notice=notice)
